//! Limits, and a person's yes and no.

use super::{Bench, LONG, QUICK, SLOW};
use std::{
    fs,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

fn limits(bench: &Bench, text: &str) {
    fs::write(bench.home().join("limits.toml"), text).unwrap();
}

#[test]
fn a_study_over_a_limit_waits_until_a_person_says_yes_or_no() {
    let bench = Bench::new(QUICK);
    limits(&bench, "[proposal]\ndevice_minutes = 0.0001\n");
    let job = bench.submit("study.toml", "yes");
    assert_eq!(job["state"], "waiting");
    let why = job["why"].as_str().unwrap();
    assert!(why.contains("proposal.device_minutes"), "{why}");
    let other = SLOW.replace("1e-5", "2e-5");
    bench.study("other.toml", "other", &other);
    bench.submit("other.toml", "no");
    let rejected = bench.json(&["reject", "job-2", "--why", "too dear"]);
    assert_eq!(
        (&rejected["state"], &rejected["why"]),
        (&"rejected".into(), &"too dear".into())
    );
    // Handed in again it stays as it was judged.
    assert_eq!(bench.submit("other.toml", "no")["state"], "rejected");
    assert!(!bench.home().join("runs").exists());
    let approved = bench.json(&["approve", "job-1"]);
    assert_eq!(approved["approval"]["terminal"], false);
    assert_eq!(approved["approval"]["text"], approved["text"]);
    assert!(approved["approval"]["device_minutes"].as_f64() > approved["minutes"].as_f64());
    bench.until("job-1", &["done"]);
    let error = bench.said(&["approve", "job-2"], 2);
    assert!(error["problem"].as_str().unwrap().contains("rejected"));
    assert_eq!(bench.outcomes().len(), 4);
    bench.audited();
}

#[test]
fn a_study_that_goes_over_its_limit_while_it_runs_is_stopped_and_goes_on_once_approved() {
    let bench = Bench::new(LONG);
    bench.submit("study.toml", "k");
    running(&bench, "job-1");
    limits(&bench, "[day]\ndevice_minutes = 0.001\n");
    let stopped = bench.until("job-1", &["stopped", "done"]);
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    assert!(
        stopped["why"]
            .as_str()
            .unwrap()
            .contains("day.device_minutes")
    );
    // The change of limits is said, and stays wrong until a person says that it is meant.
    let jobs = bench.json(&["jobs"]);
    let words = jobs["limits_changed"][0]["words"].as_str().unwrap();
    assert!(words.contains("day.device_minutes: 480 → 0.001"), "{words}");
    let audit = bench.said(&["audit"], 3);
    assert!(audit["wrong"][0].as_str().unwrap().contains("limits.toml"));
    bench.json(&["approve", "limits"]);
    bench.audited();
    let approved = bench.json(&["approve", "job-1"]);
    assert_eq!(approved["state"], "queued");
    let on = bench.until("job-1", &["running", "done"]);
    assert!(on["spent_minutes"].as_f64().unwrap() > 0.0);
    cancelled(&bench, "job-1");
}

/// Waits until a trial is in training.
fn running(bench: &Bench, id: &str) {
    bench.until(id, &["running"]);
    let begun = Instant::now();
    while !bench.home().join("runs").exists() {
        assert!(begun.elapsed() < super::PATIENCE);
        sleep(Duration::from_millis(20));
    }
}

fn cancelled(bench: &Bench, id: &str) {
    bench.run(&["cancel", id]);
    bench.until(id, &["cancelled", "done"]);
}

#[test]
fn a_cancelled_study_stops_and_saves_and_a_persons_own_run_is_waited_for() {
    let bench = Bench::new(LONG);
    // A person trains in this home.
    let mut own = bench
        .command(&["train", "recipe.toml", "seed=7", "budget.steps=60000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !bench.home().join("runs").exists() {
        assert!(begun.elapsed() < super::PATIENCE);
        sleep(Duration::from_millis(20));
    }
    bench.submit("study.toml", "k");
    let begun = Instant::now();
    loop {
        let events = bench.json(&["jobs", "job-1"])["events"].to_string();
        if events.contains("it waits: this home is in use") {
            break;
        }
        assert!(begun.elapsed() < super::PATIENCE, "{events}");
        sleep(Duration::from_millis(50));
    }
    assert_eq!(bench.job("job-1")["state"], "queued");
    own.kill().unwrap();
    own.wait().unwrap();
    bench.until("job-1", &["running"]);
    bench.json(&["cancel", "job-1"]);
    let job = bench.until("job-1", &["cancelled", "done"]);
    assert_eq!(job["state"], "cancelled");
    assert!(super::processes(&bench.home(), "--stop-with-stdin").is_empty());
    let error = bench.said(&["cancel", "job-1"], 2);
    assert!(error["problem"].as_str().unwrap().contains("cancelled"));
    bench.audited();
}
