//! Comparisons that nothing can be concluded from are refused, or come out invalid.

use crate::{Bench, SLOW, frequent};
use std::fs;

/// Adds the corpus "copied": tales, most of whose validation documents it trains on.
fn add_copied(bench: &Bench) {
    bench.json(&["data", "synth", "tales", "tales.txt"]);
    let shares = ["--validation", "0.02", "--test", "0.02"];
    bench.json(&[&["data", "add", "tales.txt", "copied"], &shares[..]].concat());
}

#[test]
fn validation_text_in_training_text_is_refused_with_counts_and_an_example() {
    let bench = frequent();
    add_copied(&bench);
    let arm = "[arms.more]\nfactor = \"data.mixture\"\nset = { \"data.mixture\" = [{ corpus = \"tales\" }, { corpus = \"copied\" }] }";
    bench.study(
        "study.toml",
        "margin = 0.1\nseeds = 2\neval = [{ corpus = \"tales\" }]",
        arm,
    );
    for command in ["plan", "run"] {
        let words = bench.refused(&[command, "study.toml"], 2);
        for said in [
            "arms.more",
            "validation text",
            "documents",
            "such as",
            "study.toml",
        ] {
            assert!(words.contains(said), "{said}: {words}");
        }
    }
    assert!(!bench.home().join("studies").exists());
}

#[test]
fn the_built_in_corpora_pass_and_what_was_found_is_kept() {
    let bench = frequent();
    let all = "data.mixture=[{corpus=\"tales\"},{corpus=\"sums\"},{corpus=\"facts\"},{corpus=\"programs\"}]";
    let eval = "decision.eval=[{corpus=\"tales\"},{corpus=\"sums\"},{corpus=\"facts\"},{corpus=\"programs\"}]";
    bench.study("study.toml", "margin = 0.1\nseeds = 2", SLOW);
    let plan = bench.json(&["plan", "study.toml", all, eval]);
    let overlaps = plan["overlaps"].as_array().unwrap();
    assert_eq!(overlaps.len(), 16);
    for overlap in overlaps {
        let (train, of) = (&overlap["train"], &overlap["validation"]);
        let share = |part: &str, whole: &str| {
            overlap[part].as_f64().unwrap() / overlap[whole].as_f64().unwrap()
        };
        assert!(overlap["documents"].as_u64().unwrap() > 100);
        assert_eq!(overlap["copied"], 0, "{train} {of}");
        assert!(
            share("covered", "passages") < 0.06,
            "{train} {of}: {overlap}"
        );
        // Texts of one kind share phrases, and kinds do not.
        assert_eq!(
            share("shared", "runs") > 0.001,
            train == of,
            "{train} {of}: {overlap}"
        );
    }
    assert!(
        !bench.home().join("overlaps").exists(),
        "a plan writes nothing"
    );
    bench.json(&["run", "study.toml"]);
    assert_eq!(
        fs::read_dir(bench.home().join("overlaps")).unwrap().count(),
        1
    );
}

#[test]
fn another_stretch_of_text_is_not_a_matter_of_repetition() {
    let bench = frequent();
    let arm = |subset: &str, factor: &str| {
        format!(
            "[arms.part]\nfactor = \"{factor}\"\nset = {{ \"data.mixture\" = [{{ corpus = \"tales\", subset = {subset} }}] }}"
        )
    };
    for (subset, factor, confounded) in [
        (
            "{ fraction = 0.15, kind = \"leading\" }",
            "data.mixture",
            true,
        ),
        ("{ fraction = 0.15 }", "data.mixture", false),
        ("{ fraction = 0.15, kind = \"leading\" }", "stack", false),
    ] {
        bench.study(
            "study.toml",
            "margin = 5.0\nseeds = 2",
            &arm(subset, factor),
        );
        let plan = bench.json(&["plan", "study.toml"]);
        assert_eq!(
            plan["arms"][1]["confounded"].is_string(),
            confounded,
            "{subset} {factor}"
        );
        let run = bench.json(&["run", "study.toml"]);
        let call = run["verdict"]["arms"][0]["call"].as_str().unwrap();
        assert_eq!(call == "invalid", confounded, "{subset} {factor}: {call}");
        let report = fs::read_to_string(bench.study_dir(&run).join("report.md")).unwrap();
        assert_eq!(
            report.contains("confounded"),
            confounded,
            "{subset} {factor}"
        );
    }
}

#[test]
fn a_trial_that_ran_another_recipe_or_other_windows_makes_it_invalid() {
    let bench = frequent();
    bench.study("study.toml", "margin = 0.1\nseeds = 2", SLOW);
    let run = bench.json(&["run", "study.toml"]);
    let contract = fs::read_to_string(bench.study_dir(&run).join("contract.json")).unwrap();
    let contract: serde_json::Value = serde_json::from_str(&contract).unwrap();
    let trial = contract["terms"]["arms"][1]["trials"][0].as_str().unwrap();
    let recipe = bench.home().join("runs").join(trial).join("recipe.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(
        &recipe,
        text.replace("weight_decay = 0.1", "weight_decay = 0.0"),
    )
    .unwrap();
    assert_ne!(fs::read_to_string(&recipe).unwrap(), text);
    let again = bench.json(&["run", "study.toml"]);
    let arm = &again["verdict"]["arms"][0];
    assert_eq!(arm["call"], "invalid");
    assert!(
        arm["invalid"]
            .as_str()
            .unwrap()
            .contains("optimizer.weight_decay"),
        "{arm}"
    );
    fs::write(&recipe, text).unwrap();
    assert_eq!(
        bench.json(&["run", "study.toml"])["verdict"],
        run["verdict"]
    );
}

#[test]
fn noise_subsets_and_domains_that_can_not_be_meant_are_refused() {
    let bench = frequent();
    for (change, words) in [
        ("data.token_noise=1.5", "data.token_noise"),
        ("data.token_noise=-0.1", "data.token_noise"),
        (
            "data.mixture=[{corpus=\"tales\",subset={fraction=0.0}}]",
            "fraction",
        ),
        (
            "data.mixture=[{corpus=\"tales\",subset={fraction=1.2}}]",
            "fraction",
        ),
        (
            "data.mixture=[{corpus=\"tales\",subset={fraction=0.5,kind=\"odd\"}}]",
            "spread",
        ),
        (
            "data.mixture=[{corpus=\"tales\"},{corpus=\"tales\"}]",
            "domain",
        ),
        ("data.mixture=[{corpus=\"tales\",domain=\"a b\"}]", "domain"),
        (
            "eval.corpora=[{corpus=\"tales\",subset={fraction=0.5}}]",
            "subset",
        ),
    ] {
        let said = bench.refused(&["train", "recipe.toml", change], 2);
        assert!(said.contains(words), "{change}: {said}");
    }
    assert!(!bench.home().join("runs").exists());
}
