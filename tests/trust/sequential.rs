//! Studies that look after every seed: they stop at the first look that decides, whatever else is
//! there, and say what would decide where nothing did.

use crate::{Bench, SLOW, frequent};
use serde_json::Value;
use std::{fs, thread::sleep, time::Duration};

const ANYTIME: &str = "margin = 0.05\nrule = \"anytime\"\nseeds = { min = 2, max = 12 }";

fn trials(bench: &Bench) -> usize {
    let listing = bench.json(&["ls"]);
    listing["trials"].as_array().unwrap().len()
}

#[test]
fn a_large_effect_stops_the_study_early_and_the_verdict_is_its_last_look() {
    let bench = frequent();
    bench.study("study.toml", ANYTIME, SLOW);
    let run = bench.json(&["run", "study.toml", "--jobs", "1"]);
    let arm = &run["verdict"]["arms"][0];
    assert_eq!(arm["call"], "worse");
    let seeds = run["verdict"]["seeds"].as_u64().unwrap();
    assert!((2..12).contains(&seeds), "{seeds}");
    assert_eq!(
        trials(&bench) as u64,
        2 * seeds,
        "no pair was trained in vain"
    );
    let looks = arm["looks"].as_array().unwrap();
    assert_eq!(looks.len() as u64, seeds - 1);
    let last = looks.last().unwrap();
    assert_eq!(
        (&last["decision"], &last["n"]),
        (&"worse".into(), &seeds.into())
    );
    assert!(
        looks[..looks.len() - 1]
            .iter()
            .all(|look| look["decision"] == "continue")
    );
    assert_eq!(arm["effect"]["low"], last["interval"][0]);
    // What was looked at is frozen.
    let contract = fs::read_to_string(bench.study_dir(&run).join("contract.json")).unwrap();
    let contract: Value = serde_json::from_str(&contract).unwrap();
    assert_eq!(contract["terms"]["decision"]["rule"], "anytime");
    assert_eq!(contract["terms"]["seeds"].as_array().unwrap().len(), 12);
    let report = fs::read_to_string(bench.study_dir(&run).join("report.md")).unwrap();
    assert!(report.contains("paired seeds of at most 12"), "{report}");
}

#[test]
fn seeds_finished_beyond_the_stop_and_a_new_run_change_nothing() {
    let bench = frequent();
    bench.study("study.toml", ANYTIME, SLOW);
    let run = bench.json(&["run", "study.toml", "--jobs", "1"]);
    let path = bench.study_dir(&run).join("verdict.json");
    let verdict = fs::read_to_string(&path).unwrap();
    // The same trials are a fixed study of more seeds; so now there are more of them.
    let fixed = ["decision.rule=\"fixed\"", "decision.seeds=9"];
    bench.json(&["run", "study.toml", fixed[0], fixed[1]]);
    assert_eq!(trials(&bench), 18);
    fs::remove_file(&path).unwrap();
    let again = bench.json(&["run", "study.toml"]);
    assert_eq!(again["study"], run["study"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), verdict);
    // More at a time may be trained than the stop needs; the stop is the same.
    let other = frequent();
    other.study("study.toml", ANYTIME, SLOW);
    let ahead = other.json(&["run", "study.toml", "--jobs", "6"]);
    assert_eq!(ahead["verdict"]["seeds"], run["verdict"]["seeds"]);
    assert_eq!(
        ahead["verdict"]["arms"][0]["looks"],
        run["verdict"]["arms"][0]["looks"]
    );
}

#[test]
fn a_killed_study_stops_where_an_undisturbed_one_does() {
    let calm = frequent();
    calm.study("study.toml", ANYTIME, SLOW);
    let undisturbed = calm.json(&["run", "study.toml", "--jobs", "2"]);
    let bench = frequent();
    bench.study("study.toml", ANYTIME, SLOW);
    for wait_ms in [150, 250, 400] {
        let mut child = bench.command(&["run", "study.toml", "--jobs", "2"]);
        let mut child = child.stderr(std::process::Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(wait_ms));
        // SIGKILL, wherever it is; it may have ended before.
        let _ = child.kill();
        child.wait().unwrap();
    }
    let run = bench.json(&["run", "study.toml", "--jobs", "2"]);
    for key in ["seeds", "control_mean"] {
        assert_eq!(run["verdict"][key], undisturbed["verdict"][key], "{key}");
    }
    assert_eq!(
        run["verdict"]["arms"][0]["looks"],
        undisturbed["verdict"]["arms"][0]["looks"]
    );
    bench.json(&["report", "study"]);
}

#[test]
fn an_undecided_study_says_what_would_decide() {
    let bench = frequent();
    // The same text in another order: its differences have no sign.
    let parts = "[{ corpus = \"tales\", domain = \"a\" }, { corpus = \"tales\", domain = \"b\" }]";
    let near =
        format!("[arms.near]\nfactor = \"data.mixture\"\nset = {{ \"data.mixture\" = {parts} }}");
    for (file, rule, fresh) in [
        ("fixed.toml", "rule = \"fixed\"\nseeds = 3", true),
        ("anytime.toml", "rule = \"anytime\"\nseeds = 3", false),
    ] {
        bench.study(file, &format!("margin = 1e-6\n{rule}"), &near);
        let run = bench.json(&["run", file, "--exploratory"]);
        let arm = &run["verdict"]["arms"][0];
        assert_eq!(arm["call"], "inconclusive", "{file}");
        let needed = &arm["needed"];
        assert_eq!(needed["fresh"], fresh, "{file}: {needed}");
        let (pairs, chance) = (&needed["pairs"], needed["chance"].as_f64().unwrap());
        assert!(pairs.as_u64().unwrap() > 0 && chance > 0.0);
        let tokens = needed["tokens"].as_u64().unwrap();
        assert_eq!(tokens, pairs.as_u64().unwrap() * 2 * 30 * 64);
        let report = fs::read_to_string(bench.study_dir(&run).join("report.md")).unwrap();
        assert!(report.contains("would decide with chance"), "{report}");
    }
}

#[test]
fn a_small_study_is_fixed_and_a_large_one_looks_after_every_seed() {
    let bench = frequent();
    for (seeds, rule) in [
        ("8", "once"),
        ("9", "each_seed"),
        ("{ min = 3, max = 8 }", "refused"),
    ] {
        bench.study(
            "study.toml",
            &format!("margin = 0.1\nseeds = {seeds}"),
            SLOW,
        );
        if rule == "refused" {
            let words = bench.refused(&["plan", "study.toml", "decision.rule=\"fixed\""], 2);
            assert!(words.contains("anytime"), "{words}");
            continue;
        }
        let plan = bench.json(&["plan", "study.toml"]);
        assert_eq!(
            plan["looks"].to_string().contains("each_seed"),
            rule == "each_seed"
        );
    }
    for wrong in [
        "{ min = 1, max = 8 }",
        "{ min = 9, max = 8 }",
        "{ min = 2 }",
        "\"many\"",
    ] {
        bench.study(
            "study.toml",
            &format!("margin = 0.1\nseeds = {wrong}"),
            SLOW,
        );
        let words = bench.refused(&["plan", "study.toml"], 2);
        assert!(
            words.contains("decision.seeds") && words.contains("study.toml"),
            "{words}"
        );
    }
}
