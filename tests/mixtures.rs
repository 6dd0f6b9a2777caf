//! Mixtures through the binary: declared before a run, drawn in it, told after it; killed and gone on
//! with; changed by the arms of a study.

#[path = "support/bench.rs"]
mod bench;
mod support;

use bench::{Bench, RECIPE};
use serde_json::Value;
use std::{
    fs,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};
use support::records_without_clock;
use windtunnel::{checkpoint, run_dir::RunDir};

/// Tales, then a line to sums, of which there is a cap that binds.
const CHANGING: &str =
    r#"data.mixture=[{corpus="tales",weight=3.0},{corpus="sums",weight=1.0,max_tokens=8000}]"#;
const PHASES: &str =
    r#"data.phases=[{at=0.5,over=0.25,mixture=[{corpus="facts"},{corpus="sums",weight=9.0}]}]"#;

fn bench() -> Bench {
    Bench::with(&RECIPE.replace("steps = 30", "steps = 40")).one_thread()
}

#[test]
fn a_run_says_what_it_will_draw_and_then_what_it_drew() {
    let bench = bench();
    let output = bench.run(&["train", "recipe.toml", CHANGING, PHASES, "budget.steps=600"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    for words in [
        "steps 0 to 299",
        "steps 300 to 449, in a straight line",
        "steps 450 to 599",
        "at most 8000",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let dir = &bench.run_dirs("home")[0];
    let recipe = fs::read_to_string(dir.recipe()).unwrap();
    assert!(recipe.contains("at_step = 300") && recipe.contains("over_steps = 150"));
    assert!(!recipe.contains("weighting"), "{recipe}");
    let outcome = dir.outcome().unwrap().unwrap();
    let of = |name: &str| outcome.realised.iter().find(|r| r.corpus == name).unwrap();
    assert_eq!(of("sums").tokens, 8000);
    assert_eq!(of("facts").phases[0].tokens, 0);
    assert!(of("facts").phases[2].share > 0.1);
    for realised in &outcome.realised {
        let off = (realised.share - realised.declared.unwrap()).abs();
        assert!(off < 0.01, "{realised:?}");
        for phase in &realised.phases {
            assert!((phase.share - phase.declared).abs() < 0.01, "{phase:?}");
        }
    }
    let id = dir
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_string();
    let shown = bench.run(&["show", &id]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("declared") && shown.contains("steps 300 to 449"),
        "{shown}"
    );
    let metrics = fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    assert!(metrics.contains("\"declared\"") && metrics.contains("\"from_step\":300"));
}

/// `[data]` of a resolved run, as it was written before mixtures had weightings, caps and phases.
const PLAIN: &str = r#"[data]
tokenizer = "char"
vocabulary = ["facts", "sums", "tales"]

[[data.mixture]]
corpus = "facts"
weight = 0.166666666667

[data.mixture.subset]
fraction = 0.25
kind = "spread"

[[data.mixture]]
corpus = "sums"
weight = 0.333333333333

[[data.mixture]]
corpus = "tales"
weight = 0.5

[model]"#;

#[test]
fn a_plain_mixture_resolves_to_what_it_always_did() {
    let bench = bench();
    let plain = r#"data.mixture=[{corpus="tales",weight=3},{corpus="sums",weight=2},{corpus="facts",weight=1,subset={fraction=0.25}}]"#;
    bench.json(&["train", "recipe.toml", plain]);
    let recipe = fs::read_to_string(bench.run_dirs("home")[0].recipe()).unwrap();
    assert!(recipe.contains(PLAIN), "{recipe}");
}

#[test]
fn weightings_resolve_to_numbers_that_the_run_shows() {
    let bench = bench();
    let both = r#"data.mixture=[{corpus="tales",weight=5.0},{corpus="sums",weight=1.0}]"#;
    let weights = |change: &str| -> Vec<f64> {
        let home: String = change.chars().filter(char::is_ascii_alphanumeric).collect();
        bench.json_in(&home, &["train", "recipe.toml", both, change]);
        let text = fs::read_to_string(bench.run_dirs(&home)[0].recipe()).unwrap();
        let run: toml::Table = toml::from_str(&text).unwrap();
        assert!(run["data"].get("weighting").is_none());
        let mixture = run["data"]["mixture"].as_array().unwrap();
        mixture
            .iter()
            .map(|share| share["weight"].as_float().unwrap())
            .collect()
    };
    assert_eq!(weights("data.weighting=uniform"), [0.5, 0.5]);
    let natural = weights("data.weighting=natural");
    assert!(natural[0] != 0.5 && (natural.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let rooted = weights("data.weighting={temperature=2}");
    let odds = |of: &[f64]| of[0] / of[1];
    assert!((odds(&rooted).powi(2) / odds(&natural) - 1.0).abs() < 1e-6);
    assert_eq!(weights("data.weighting.unimax_epochs=4.0"), [0.5, 0.5]);
    assert_eq!(
        weights("data.weighting=given"),
        [1.0 / 6.0, 5.0 / 6.0].map(|w: f64| (w * 1e12).round() / 1e12)
    );
}

/// What a cap or a phase needs of a run that is killed: it goes on with the same rows.
#[test]
fn a_run_killed_in_the_middle_of_its_phases_draws_the_same_rows() {
    let bench = bench();
    let args = [
        "train",
        "recipe.toml",
        CHANGING,
        PHASES,
        "budget.steps=600",
        "model.n_embd=32",
        "batch.rows=8",
        "checkpoint.every=25",
        "eval.every=50",
    ];
    bench.json_in("whole", &args);
    let mut kills = 0;
    // In the first phase, on the line, after it.
    for at in [150, 350, 500] {
        let mut child = bench
            .command_in("killed", &args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let reached = || {
            let dirs = bench.run_dirs("killed");
            let steps = dirs
                .first()
                .map(|dir| checkpoint::steps(&dir.checkpoints()));
            steps.and_then(|steps| steps.last().copied()).unwrap_or(0) >= at
        };
        while !reached() && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(120), "no step {at}");
            sleep(Duration::from_millis(1));
        }
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    assert!(kills >= 2, "{kills}");
    bench.json_in("killed", &args);
    let [whole, killed] = ["whole", "killed"].map(|home| bench.run_dirs(home).remove(0));
    let resumed = killed
        .events()
        .iter()
        .filter(|e| e.kind == "resume")
        .count();
    assert!(resumed >= 2, "{:?}", killed.events());
    assert!(records_without_clock(&whole) == records_without_clock(&killed));
    let of = |dir: &RunDir| dir.outcome().unwrap().unwrap().realised;
    assert_eq!(of(&whole), of(&killed));
}

const ARMS: &str = r#"
[arms.late_sums]
factor = "data.phases"
set = { "data.phases" = [{ at = 0.5, mixture = [{ corpus = "tales" }, { corpus = "sums" }] }] }
[arms.mixed]
factor = "data.mixture"
set = { "data.mixture" = [{ corpus = "tales" }, { corpus = "facts", max_epochs = 1.0 }] }
"#;

#[test]
fn arms_may_change_phases_and_share_all_that_is_measured() {
    let bench = bench();
    bench.study("study.toml", "margin = 5.0\nseeds = 2", ARMS);
    let plan = bench.json(&["plan", "study.toml"]);
    let mixtures = plan["mixtures"].as_array().unwrap();
    let arms: Vec<&str> = mixtures
        .iter()
        .map(|m| m["arm"].as_str().unwrap())
        .collect();
    assert_eq!(arms, ["plain", "late_sums", "mixed"]);
    assert_eq!(mixtures[1]["phases"].as_array().unwrap().len(), 2);
    assert_eq!(mixtures[1]["phases"][1]["from_step"], 20);
    assert!(mixtures[2]["corpora"][0]["most_tokens"].is_u64(), "{plan}");
    let words = bench.run(&["plan", "study.toml"]);
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(
        words.contains("draws     plain:") && words.contains("steps 20 to 39"),
        "{words}"
    );
    let run = bench.json(&["run", "study.toml"]);
    let study = bench
        .path("home/studies")
        .join(run["study"].as_str().unwrap());
    let contract = fs::read_to_string(study.join("contract.json")).unwrap();
    let contract: Value = serde_json::from_str(&contract).unwrap();
    for arm in contract["terms"]["arms"].as_array().unwrap() {
        let vocabulary = &arm["run"]["data"]["vocabulary"];
        assert_eq!(
            vocabulary,
            &serde_json::json!(["facts", "sums", "tales"]),
            "{arm}"
        );
        let eval = arm["run"]["eval"]["corpora"].as_array().unwrap();
        assert_eq!(eval.len(), 3, "{arm}");
    }
    let report = fs::read_to_string(study.join("report.md")).unwrap();
    assert!(report.contains("sums, steps 20 to 39"), "{report}");
    assert!(report.contains("| declared |"), "{report}");
}

#[test]
fn a_weighting_is_a_factor_of_its_own() {
    let bench = bench();
    let arm =
        |factor: &str, set: &str| format!("[arms.other]\nfactor = \"{factor}\"\nset = {{ {set} }}");
    let both = r#"data.mixture=[{corpus="tales",weight=5.0},{corpus="sums"}]"#;
    let decision = "margin = 5.0\nseeds = 2";
    for set in [
        "\"data.weighting\" = \"natural\"",
        "\"data.weighting\" = { temperature = 2.0 }",
    ] {
        bench.study("study.toml", decision, &arm("data.weighting", set));
        let plan = bench.json(&["plan", "study.toml", both]);
        let weight = |idx: usize| {
            plan["mixtures"][idx]["corpora"][0]["weight"]
                .as_f64()
                .unwrap()
        };
        assert!((weight(0) - 1.0 / 6.0).abs() < 1e-9 && (weight(1) - weight(0)).abs() > 0.05);
    }
    // One weighting in the place of another.
    let natural = "data.weighting.unimax_epochs=2.0";
    bench.study(
        "study.toml",
        decision,
        &arm(
            "data.weighting",
            "\"data.weighting\" = { temperature = 2.0 }",
        ),
    );
    bench.json(&["plan", "study.toml", both, natural]);
    bench.study(
        "study.toml",
        decision,
        &arm("data.mixture", "\"data.weighting\" = \"natural\""),
    );
    let said = bench.refused(&["plan", "study.toml", both], 2);
    assert!(said.contains("data.weighting besides its factor"), "{said}");
}

#[test]
fn what_only_phases_name_is_searched_for_validation_text_and_confounding() {
    let bench = bench();
    bench.json(&["data", "synth", "tales", "tales.txt"]);
    let shares = ["--validation", "0.02", "--test", "0.02"];
    bench.json(&[&["data", "add", "tales.txt", "copied"], &shares[..]].concat());
    let arm = |corpus: &str| {
        format!(
            "[arms.late]\nfactor = \"data.phases\"\nset = {{ \"data.phases\" = [{{ at = 0.5, mixture = [{corpus}] }}] }}"
        )
    };
    bench.study(
        "study.toml",
        "margin = 5.0\nseeds = 2\neval = [{ corpus = \"tales\" }]",
        &arm("{ corpus = \"copied\" }"),
    );
    let said = bench.refused(&["plan", "study.toml"], 2);
    assert!(
        said.contains("arms.late trains on validation text"),
        "{said}"
    );
    bench.study(
        "study.toml",
        "margin = 5.0\nseeds = 2\neval = [{ corpus = \"tales\" }]",
        &arm("{ corpus = \"sums\", subset = { fraction = 0.1, kind = \"leading\" } }"),
    );
    let phases = r#"data.phases=[{at=0.5,mixture=[{corpus="sums"}]}]"#;
    let plan = bench.json(&["plan", "study.toml", phases]);
    assert!(plan["arms"][1]["confounded"].is_string(), "{plan}");
}

#[test]
fn runs_share_a_trunk_only_where_their_weights_are_the_same_step_by_step() {
    let bench = bench();
    let long = [
        "schedule.kind=wsd",
        "schedule.cooldown=0.25",
        "schedule.warmup_steps=4",
    ];
    let train = |home: &str, changes: &[&str]| {
        let args = [&["train", "recipe.toml"], &long[..], changes].concat();
        bench.json_in(home, &args)
    };
    let at_step = r#"data.phases=[{at_step=6,mixture=[{corpus="sums"}]}]"#;
    let fraction = r#"data.phases=[{at=0.25,mixture=[{corpus="sums"}]}]"#;
    let capped = r#"data.mixture=[{corpus="tales"},{corpus="sums",max_tokens=640}]"#;
    for (home, change, shared) in [
        ("steps", at_step, true),
        ("fraction", fraction, false),
        ("capped", capped, false),
    ] {
        train(home, &[change, "budget.steps=16"]);
        let outcome = train(home, &[change]);
        assert_eq!(outcome.get("branched").is_some(), shared, "{change}");
        let alone = format!("{home}-alone");
        let again = train(&alone, &[change]);
        assert_eq!(outcome["realised"], again["realised"]);
        assert_eq!(outcome["eval"], again["eval"]);
    }
}

#[test]
fn a_budget_in_seconds_knows_its_phases_once_it_has_steps() {
    let bench = bench();
    let args = ["train", "recipe.toml", "budget.seconds=0.5", PHASES];
    bench.json(&args);
    let recipe = fs::read_to_string(bench.run_dirs("home")[0].recipe()).unwrap();
    let run: toml::Table = toml::from_str(&recipe).unwrap();
    let steps = run["steps"].as_integer().unwrap();
    let phase = &run["data"]["phases"].as_array().unwrap()[0];
    let expected = (0.5 * steps as f64).round() as i64;
    assert_eq!(phase["at_step"].as_integer(), Some(expected));
}
