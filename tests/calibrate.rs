//! How often verdicts are right, by simulation: the gates hold, and they can fail.

use std::process::Command;
use windtunnel::study::calibrate::{Calibration, Gate, Row, calibrate};

fn rows(calibration: &Calibration) -> impl Iterator<Item = &Row> {
    calibration.tables.iter().flat_map(|table| &table.rows)
}

fn found(calibration: &Calibration, what: &str) -> f64 {
    let mut found = rows(calibration).filter(|row| row.what == what);
    found
        .next()
        .unwrap_or_else(|| panic!("no line {what}"))
        .found
}

#[test]
fn verdicts_are_right_as_often_as_they_say_over_ten_thousand_studies() {
    let calibration = calibrate(1, 10_000);
    assert!(calibration.wrong().is_empty(), "{}", calibration.in_words());
    let gated = rows(&calibration).filter(|row| row.gate != Gate::Reported);
    assert!(gated.count() >= 30);
    // Where theory promises nothing the lines do show what goes wrong, so they can.
    let skewed = found(&calibration, "fixed, 3 seeds, skewed (exponential)");
    assert!(skewed > 0.08, "{skewed}");
    let peeking = found(
        &calibration,
        "t test after every seed from 3 to 20, Gaussian",
    );
    // Simulated elsewhere: .228.
    assert!((peeking - 0.228).abs() < 0.02, "{peeking}");
}

#[test]
fn the_same_seed_gives_the_same_tables_and_another_seed_others() {
    let first = calibrate(3, 1000);
    assert_eq!(first, calibrate(3, 1000));
    let what = "fixed, 8 seeds, Gaussian";
    assert_ne!(found(&first, what), found(&calibrate(4, 1000), what));
}

fn windtunnel(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn the_command_prints_one_object_and_trains_nothing() {
    let home = tempfile::TempDir::new().unwrap();
    let folder = home.path().join("home").display().to_string();
    let output = windtunnel(&[
        "calibrate",
        "--fast",
        "--seed",
        "1",
        "--repeats",
        "2000",
        "--json",
        "--home",
        &folder,
    ]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["schema"], "windtunnel.calibrate_fast.v1");
    assert_eq!((&said["seed"], &said["studies"]), (&1.into(), &2000.into()));
    assert_eq!(said["tables"][0]["rows"][0]["gate"]["near"], 0.05);
    assert_eq!(output.status.code(), Some(0));
    assert!(!home.path().join("home").exists());
}

#[test]
fn options_that_make_no_sense_together_are_refused() {
    for args in [
        vec!["calibrate", "--seed", "3"],
        vec!["calibrate", "--fast", "--repeats", "10"],
        vec!["calibrate", "--fast", "--from", "outcomes.jsonl"],
    ] {
        assert_eq!(windtunnel(&args).status.code(), Some(2), "{args:?}");
    }
}
