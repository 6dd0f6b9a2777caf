//! `schema` and `new study --draft` through the binary.

use super::{bench::Bench, draft};
use serde_json::{Value, json};
use windtunnel::claude::schema;

#[test]
fn schemas_are_printed_plain_and_wrapped() {
    let bench = Bench::new();
    for (kind, expected) in [
        ("study", schema::study()),
        ("recipe", schema::recipe()),
        ("proposal", schema::proposal()),
    ] {
        let plain = bench.run(&["schema", kind]);
        let plain: Value = serde_json::from_slice(&plain.stdout).unwrap();
        // As text, for the order of keys is part of it.
        assert_eq!(plain.to_string(), expected.to_string(), "{kind}");
        let wrapped = bench.json(&["schema", kind]);
        assert_eq!(wrapped["schema"], "windtunnel.schema.v1");
        assert_eq!(wrapped["json_schema"], expected);
    }
    bench.refused(&["schema", "stduy"], 2);
    assert!(!bench.home().exists());
}

#[test]
fn a_draft_from_a_file_becomes_a_study_that_can_be_planned() {
    let bench = Bench::new();
    let mut draft = draft();
    draft["base"] = "recipe.toml".into();
    draft["set"] = json!([]);
    draft["eval"] = json!([]);
    draft["arms"][1]["factor"] = "optimizer.lr".into();
    draft["arms"][1]["set"] = json!([{ "key": "optimizer.lr", "value": 1e-5 }]);
    bench.write("draft.json", &draft.to_string());
    let args = [
        "new",
        "study",
        "mine",
        "--draft",
        "draft.json",
        "--proposer",
        "claude",
    ];
    let said = bench.json(&args);
    assert_eq!(said["path"], "configs/studies/mine.toml", "{said}");
    assert_eq!(said["next"], "windtunnel plan configs/studies/mine.toml");
    let limit = "limits.device_minutes=1e6";
    let plan = bench.json(&["plan", "configs/studies/mine.toml", limit]);
    assert_eq!(plan["arms"][1]["factor"], "optimizer.lr", "{plan}");

    assert!(bench.refused(&args, 2).contains("is there already"));
    bench.write("draft.json", "{\n\"name\": }");
    let other = ["new", "study", "other", "--draft", "draft.json"];
    assert!(bench.refused(&other, 2).contains("draft.json:2: not JSON"));
    assert!(!bench.path("configs/studies/other.toml").exists());
}

#[test]
fn without_a_key_a_question_says_so_and_how_claude_code_does_the_same() {
    let bench = Bench::new();
    let about = ["new", "study", "mine", "--about", "Does warm-up matter?"];
    let output = bench
        .command(&about)
        .env_remove("ANTHROPIC_API_KEY")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("ANTHROPIC_API_KEY") && said.contains("windtunnel init --claude"),
        "{said}"
    );
    assert!(!bench.path("configs").exists() && !bench.home().exists());
    // What rules the name out is said first.
    let slash = ["new", "study", "a/b", "--about", "Does warm-up matter?"];
    assert!(bench.refused(&slash, 2).contains("use letters"));
    let both = [&about[..], &["--draft", "x.json"]].concat();
    bench.refused(&both, 2);
}
