//! `calibrate`'s real part on a set so small that it takes seconds.

use crate::{RECIPE, SLOW, frequent};
use std::{fs, path::Path};
use windtunnel::{
    study::{
        known_answers::{Expect, Expected},
        proposal::Study,
    },
    toml_file::Source,
};

const EXPECTED: &str = r#"
[[hypothesis]]
id = "same"
claim = "identical seeds differ"
truth = "false"
study = "same.toml"
arm = "again"
expect = "zero"

[[hypothesis]]
id = "slow"
claim = "a hundredth of the rate is worse"
truth = "true"
study = "slow.toml"
arm = "slow"
expect = { verdict = ["worse"] }

[[hypothesis]]
id = "mostly"
claim = "so do most small studies"
truth = "true"
study = "slow.toml"
arm = "slow"
expect = { mostly = { verdicts = ["worse"], seeds = 3, share = 0.9 } }

[[hypothesis]]
id = "null"
claim = "seeds differ from other seeds"
truth = "false"
study = "slow.toml"
expect = { resampled = { pairs = 2 } }

[[hypothesis]]
id = "copied"
claim = "validation text in training"
truth = "invalid"
study = "copied.toml"
expect = { refused = "validation text" }
"#;

#[test]
fn a_calibration_keeps_its_outcomes_and_the_table_comes_from_them_alone() {
    let bench = frequent();
    let folder = bench.folder.path().join("set");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("recipe.toml"), RECIPE).unwrap();
    fs::write(folder.join("expected.toml"), EXPECTED).unwrap();
    bench.study(
        "set/same.toml",
        "margin = 0.1\nseeds = 2",
        "[arms.again]\nfactor = \"none\"",
    );
    bench.study("set/slow.toml", "margin = 0.1\nseeds = 5", SLOW);
    let copied = "[arms.more]\nfactor = \"data.mixture\"\nset = { \"data.mixture\" = [{ corpus = \"tales\" }, { corpus = \"copied\" }] }";
    bench.study(
        "set/copied.toml",
        "margin = 0.1\nseeds = 2\neval = [{ corpus = \"tales\" }]",
        copied,
    );
    for file in ["same", "slow", "copied"] {
        let path = folder.join(format!("{file}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("name = \"set/", "name = \"")).unwrap();
    }
    // A trial that is in the home already: the calibration must not take it from there.
    bench.json(&["run", "set/same.toml"]);
    let args = ["calibrate", "--studies", "set", "--out", "outcomes.jsonl"];
    let table = bench.json(&args);
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        let right = &row["right"];
        assert!(
            *right == true || (row["id"] == "null" && right.is_null()),
            "{row}"
        );
    }
    assert_eq!(table["trials"], 10);
    let fresh = bench.home().join("calibrations/1/runs");
    assert_eq!(fs::read_dir(fresh).unwrap().count(), 10);
    assert_eq!(
        bench.json(&["calibrate", "--from", "outcomes.jsonl"]),
        table
    );
    // Going on trains nothing again: the same trials, with the same seconds.
    let resumed = bench.json(&[&args[..], &["--resume"]].concat());
    assert_eq!(resumed["trial_minutes"], table["trial_minutes"]);
    assert_eq!(resumed["rows"], table["rows"]);
    assert!(!bench.home().join("calibrations/2").exists());
    // Gates bite: the same outcomes under another expectation fail, and name the line.
    let path = bench.folder.path().join("outcomes.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let other = text.replacen("\"verdict\":[\"worse\"]", "\"verdict\":[\"better\"]", 1);
    assert_ne!(text, other);
    fs::write(&path, other).unwrap();
    let words = bench.refused(&["calibrate", "--from", "outcomes.jsonl"], 4);
    assert!(words.contains("slow (a hundredth of the rate"), "{words}");
}

#[test]
fn the_committed_set_names_studies_that_are_there_and_well_formed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/studies/calibration");
    let expected: Expected = Source::read(&folder.join("expected.toml"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(expected.hypothesis.len() >= 15);
    for hypothesis in &expected.hypothesis {
        let study = Study::load(&folder.join(&hypothesis.study), &[]);
        match (&hypothesis.expect, study) {
            (Expect::Refused(_), _) => {}
            (_, Err(error)) => panic!("{}: {error}", hypothesis.study),
            (_, Ok(study)) => {
                let named = hypothesis.arm.as_ref();
                assert!(named.is_none_or(|arm| study.arms.iter().any(|a| a.name == *arm)));
            }
        }
    }
}
