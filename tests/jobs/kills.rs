//! `kill -9` of the supervisor, of its child, and of both, in the middle of a study.

use super::{Bench, LONG, PATIENCE, clock::verdict_without_clock, processes, signal};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

const SUPERVISOR: &str = "supervise";
const CHILD: &str = "--stop-with-stdin";

/// Waits for a process of a kind that is not `but`, and for the study to be in training by it.
fn one(home: &Path, kind: &str, but: Option<u32>) -> u32 {
    let begun = Instant::now();
    loop {
        let pids = processes(home, kind);
        if let Some(pid) = pids.into_iter().find(|pid| Some(*pid) != but) {
            return pid;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "no {kind} in {}",
            home.display()
        );
        sleep(Duration::from_millis(20));
    }
}

fn gone(pid: u32) {
    let begun = Instant::now();
    let path = format!("/proc/{pid}/status");
    // A zombie is gone, too.
    while fs::read_to_string(&path).is_ok_and(|status| !status.contains("Z (zombie)")) {
        assert!(begun.elapsed() < PATIENCE, "{pid} lives on");
        sleep(Duration::from_millis(20));
    }
}

fn timeless(home: &Path, study: &Value) -> Value {
    let folder = home.join("studies").join(study.as_str().unwrap());
    let text = fs::read_to_string(folder.join("verdict.json")).unwrap();
    verdict_without_clock(&serde_json::from_str(&text).unwrap())
}

#[test]
fn killing_the_supervisor_its_child_or_both_loses_nothing() {
    let bench = Bench::new(LONG);
    let home = bench.home();
    bench.submit("study.toml", "k");
    // The supervisor: its child sees its stdin end, saves and stops.
    let child = one(&home, CHILD, None);
    trained(&bench);
    signal(one(&home, SUPERVISOR, None), "KILL");
    gone(child);
    // The child: the supervisor tries once more. Whoever looks has started another supervisor.
    bench.until("job-1", &["running"]);
    let child = one(&home, CHILD, Some(child));
    signal(child, "KILL");
    let again = one(&home, CHILD, Some(child));
    // Both.
    signal(one(&home, SUPERVISOR, None), "KILL");
    signal(again, "KILL");
    gone(again);
    let done = bench.until("job-1", &["done", "failed"]);
    assert_eq!(done["state"], "done", "{done}");
    let events = bench.json(&["jobs", "job-1"])["events"].to_string();
    for words in ["its supervisor was gone", "ended by signal 9"] {
        assert!(events.contains(words), "{words}: {events}");
    }
    assert_eq!(bench.outcomes().len(), 4);
    for outcome in bench.outcomes() {
        let events = fs::read_to_string(outcome.with_file_name("events.jsonl")).unwrap();
        let finishes = events.matches("\"finish\"").count();
        assert!(finishes <= 1, "{events}");
    }
    bench.audited();
    // What came of it is what an undisturbed study comes to.
    let other = bench.path("undisturbed");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .args(["run", "study.toml", "--json", "--home", "undisturbed"])
        .args(["--device", "cpu", "--threads", "1"])
        .current_dir(bench.folder.path())
        .output()
        .unwrap();
    let run: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(run["study"], done["study"]);
    assert_eq!(
        timeless(&home, &done["study"]),
        timeless(&other, &run["study"])
    );
}

/// Waits until trials are in training.
fn trained(bench: &Bench) {
    let begun = Instant::now();
    while !bench.home().join("runs").exists() {
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_process_that_dies_twice_has_failed_and_its_trials_are_kept() {
    let bench = Bench::new(LONG);
    let home = bench.home();
    bench.submit("study.toml", "k");
    let first = one(&home, CHILD, None);
    trained(&bench);
    signal(first, "KILL");
    signal(one(&home, CHILD, Some(first)), "KILL");
    let job = bench.until("job-1", &["failed", "done"]);
    assert_eq!(
        (&job["state"], &job["deaths"]),
        (&"failed".into(), &2.into())
    );
    assert!(job["spent_minutes"].as_f64().unwrap() > 0.0);
    bench.audited();
}
