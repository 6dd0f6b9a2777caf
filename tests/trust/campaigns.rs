//! Campaigns: a shared error budget, fresh seeds, and what is exploratory for good.

use crate::{Bench, SLOW, frequent};
use serde_json::Value;
use std::fs;
use windtunnel::study::{
    campaign::check_place,
    contract::{Contract, StudyDir, Terms},
};

const LARGE: &str = "margin = 0.05\nseeds = { min = 2, max = 30 }\nrule = \"anytime\"";

fn contract(bench: &Bench, run: &Value) -> Value {
    let text = fs::read_to_string(bench.study_dir(run).join("contract.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["terms"].clone()
}

#[test]
fn levels_fall_along_the_stream_rise_with_discoveries_and_seeds_are_never_used_twice() {
    let bench = frequent();
    let file = bench.folder.path().join("campaign.toml");
    fs::write(&file, "name = \"rates\"\nalpha = 0.1\n").unwrap();
    bench.study("one.toml", LARGE, SLOW);
    let same = "[arms.again]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 3.0001e-3 }";
    bench.study("two.toml", "margin = 2.0\nseeds = 6", same);
    bench.study("three.toml", "margin = 2.0\nseeds = 6", same);
    let runs = ["one.toml", "two.toml", "three.toml"].map(|study| bench.json(&["run", study]));
    let terms = runs.each_ref().map(|run| contract(&bench, run));
    let level = |i: usize| terms[i]["campaign"]["level"].as_f64().unwrap();
    assert_eq!(runs[0]["verdict"]["arms"][0]["call"], "worse");
    assert_eq!(runs[1]["verdict"]["arms"][0]["call"], "equivalent");
    // α/(t(t+1)), doubled by the one discovery.
    assert!((level(0) - 0.1 / 2.0).abs() < 1e-12);
    assert!((level(1) - 2.0 * 0.1 / 6.0).abs() < 1e-12);
    assert!((level(2) - 2.0 * 0.1 / 12.0).abs() < 1e-12);
    let seeds = |i: usize| -> Vec<u64> {
        let seeds = terms[i]["seeds"].as_array().unwrap().iter();
        seeds.map(|seed| seed.as_u64().unwrap()).collect()
    };
    let mut all: Vec<u64> = (0..3).flat_map(seeds).collect();
    let n = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!((all.len(), n), (42, 42));
    // The same study again is the same one, not a fourth.
    let again = bench.json(&["run", "two.toml"]);
    assert_eq!(
        (&again["study"], &again["verdict"]),
        (&runs[1]["study"], &runs[1]["verdict"])
    );
    let campaign = bench.json(&["campaign", "."]);
    assert_eq!(campaign["studies"].as_array().unwrap().len(), 3);
    assert_eq!(campaign["discoveries"], 1);
    let reads: u64 = runs
        .iter()
        .map(|run| 2 * run["verdict"]["seeds"].as_u64().unwrap())
        .sum();
    assert_eq!(campaign["validation_reads"], reads);
    // The locked test part is read once, and what it said is kept.
    assert!(campaign["test"].is_null());
    let read = bench.json(&["campaign", ".", "--read-test", "one"]);
    let readings = read["test"]["readings"].as_array().unwrap();
    assert_eq!(readings.len(), 2);
    let seeds = runs[0]["verdict"]["seeds"].as_u64().unwrap() as usize;
    assert!(
        readings
            .iter()
            .all(|arm| arm["values"].as_array().unwrap().len() == seeds)
    );
    assert!(
        read["test"]["effects"][0]["mean"].as_f64().unwrap() > 0.05,
        "{read}"
    );
    let words = bench.refused(&["campaign", ".", "--read-test", "two"], 3);
    assert!(words.contains("read before, for one"), "{words}");
    assert_eq!(bench.json(&["campaign", "."])["test"], read["test"]);
    // Another budget is another campaign.
    fs::write(&file, "name = \"rates\"\nalpha = 0.2\n").unwrap();
    bench.study("four.toml", "margin = 2.0\nseeds = 6", same);
    let words = bench.refused(&["plan", "four.toml"], 2);
    assert!(words.contains("another name"), "{words}");
}

#[test]
fn a_study_on_seeds_that_were_used_is_exploratory() {
    let bench = frequent();
    let text = "name = \"shared\"\nfresh_seeds = false\nstudies = 2\n";
    fs::write(bench.folder.path().join("campaign.toml"), text).unwrap();
    bench.study("one.toml", "margin = 2.0\nseeds = 4", SLOW);
    let near = "[arms.near]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 2e-3 }";
    bench.study("two.toml", "margin = 2.0\nseeds = 4", near);
    let first = bench.json(&["run", "one.toml"]);
    assert!(first["verdict"]["exploratory"].is_null());
    let second = bench.json(&["run", "two.toml"]);
    let why = second["verdict"]["exploratory"][0].as_str().unwrap();
    assert!(why.contains("reuses seeds"), "{why}");
    assert_eq!(bench.json(&["run", "two.toml"])["study"], second["study"]);
    // A study that was planned before the second one began can't take its place.
    let dir = StudyDir::find(&bench.home(), second["study"].as_str().unwrap()).unwrap();
    let terms = dir.contract().unwrap().terms;
    check_place(&bench.home(), &Contract::new(terms.clone())).unwrap();
    let late = Contract::new(Terms {
        proposer: "late".into(),
        ..terms
    });
    let error = check_place(&bench.home(), &late).unwrap_err();
    assert!(error.problem.contains("meanwhile"), "{error}");
    bench.study("three.toml", "margin = 2.0\nseeds = 4", SLOW);
    let words = bench.refused(&["plan", "three.toml"], 2);
    assert!(words.contains("all 2 studies"), "{words}");
}

#[test]
fn the_winner_of_several_arms_is_a_candidate_until_a_study_of_its_own_confirms_it() {
    let bench = frequent();
    let arms = "[arms.fast]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 3e-2 }\n[arms.faster]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 6e-2 }";
    bench.study("many.toml", "margin = 0.2\nseeds = 6", arms);
    let many = bench.json(&["run", "many.toml"]);
    let calls: Vec<&Value> = many["verdict"]["arms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arm| &arm["call"])
        .collect();
    assert_eq!(calls, ["candidate", "candidate"]);
    bench.refused(&["run", "many.toml", "--expect", "better"], 1);
    bench.json(&["run", "many.toml", "--expect", "not-worse"]);
    let written = bench.json(&["new", "study", "confirm", "--confirm", "many"]);
    let path = written["path"].as_str().unwrap();
    let confirm = bench.json(&["run", path, "--expect", "better"]);
    let terms = contract(&bench, &confirm);
    assert_eq!(terms["arms"].as_array().unwrap().len(), 2);
    let used: Vec<u64> = (1..=6).collect();
    let seeds = terms["seeds"].as_array().unwrap();
    assert!(
        seeds
            .iter()
            .all(|seed| !used.contains(&seed.as_u64().unwrap())),
        "{seeds:?}"
    );
}
