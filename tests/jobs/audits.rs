//! Who can write to the files can change them; an audit says where.

use super::{Bench, QUICK};
use rusqlite::Connection;
use std::fs;

/// What an audit finds wrong after a change to the store; the store is as before afterwards.
fn after(bench: &Bench, sql: &str) -> String {
    let path = bench.home().join("jobs.sqlite");
    let kept = fs::read(&path).unwrap();
    let connection = Connection::open(&path).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
    drop(connection);
    let audit = bench.said(&["audit"], 3);
    fs::write(&path, kept).unwrap();
    audit["wrong"].to_string()
}

#[test]
fn edits_of_jobs_events_limits_texts_and_verdicts_are_found() {
    let bench = Bench::new(QUICK);
    bench.submit("study.toml", "k");
    let done = bench.until("job-1", &["done"]);
    bench.audited();
    for (sql, words) in [
        (
            "UPDATE events SET words = 'nothing' WHERE seq = 2",
            "event 2 was edited",
        ),
        (
            "DELETE FROM events WHERE seq = 3",
            "event 4 stands where event 3",
        ),
        (
            "DELETE FROM events WHERE seq >= 3",
            "which had another digest then",
        ),
        (
            "UPDATE jobs SET body = replace(body, '\"verdict\":\"slow: worse\"', '\"verdict\":\"slow: better\"')",
            "the journal says",
        ),
        ("DELETE FROM jobs", "it is gone"),
    ] {
        let found = after(&bench, sql);
        assert!(found.contains(words), "{sql}: {found}");
    }
    bench.audited();
    let study = bench
        .home()
        .join("studies")
        .join(done["study"].as_str().unwrap());
    let edits = [
        (
            bench.home().join("jobs/job-1/files/recipe.toml"),
            "not what was submitted",
        ),
        (study.join("contract.json"), "the contract was edited"),
        (study.join("verdict.json"), "not what the outcomes say"),
    ];
    for (path, words) in edits {
        let kept = fs::read_to_string(&path).unwrap();
        let changed = kept
            .replace("worse", "better")
            .replace("0.003", "0.004")
            .replace("3e-3", "4e-3");
        assert_ne!(kept, changed, "{}", path.display());
        fs::write(&path, changed).unwrap();
        let audit = bench.said(&["audit"], 3);
        let found = audit["wrong"].to_string();
        assert!(found.contains(words), "{words}: {found}");
        fs::write(&path, kept).unwrap();
    }
    let tokens = fs::read_dir(bench.home().join("corpora")).unwrap().next();
    let tokens = tokens.unwrap().unwrap().path().join("tokens.bin");
    let kept = fs::read(&tokens).unwrap();
    let mut edited = kept.clone();
    *edited.last_mut().unwrap() ^= 1;
    fs::write(&tokens, edited).unwrap();
    let found = bench.said(&["audit"], 3)["wrong"].to_string();
    assert!(found.contains("the file was changed"), "{found}");
    fs::write(&tokens, kept).unwrap();
    let connection = Connection::open(bench.home().join("ledger.sqlite")).unwrap();
    let lower = "UPDATE trials SET bpb = bpb - 1 WHERE seed = 1";
    assert_eq!(connection.execute(lower, []).unwrap(), 2);
    let found = bench.said(&["audit"], 3)["wrong"].to_string();
    assert!(found.contains("the ledger says of"), "{found}");
    bench.json(&["ls", "--rebuild"]);
    bench.audited();
    fs::write(bench.home().join("limits.toml"), "[day]\ndollars = 1e6\n").unwrap();
    let audit = bench.said(&["audit"], 3);
    let found = audit["wrong"].to_string();
    assert!(found.contains("day.dollars: 20 → 1000000"), "{found}");
}

#[test]
fn files_that_were_changed_after_they_were_submitted_do_not_run() {
    let bench = Bench::new(QUICK);
    fs::write(
        bench.home().join("limits.toml"),
        "[proposal]\ndevice_minutes = 0.0\n",
    )
    .unwrap();
    bench.submit("study.toml", "k");
    let recipe = bench.home().join("jobs/job-1/files/recipe.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, text.replace("windows = 20", "windows = 1")).unwrap();
    bench.json(&["approve", "job-1"]);
    let job = bench.until("job-1", &["refused", "done"]);
    // An approval that nobody gave.
    bench.submit("study.toml", "other");
    let connection = Connection::open(bench.home().join("jobs.sqlite")).unwrap();
    let queued =
        "UPDATE jobs SET body = replace(body, '\"state\":\"waiting\"', '\"state\":\"queued\"')";
    assert!(connection.execute(queued, []).unwrap() > 0);
    let forged = bench.until("job-2", &["refused", "done"]);
    let why = forged["why"].as_str().unwrap();
    assert!(why.contains("its row in the store was changed"), "{why}");
    // The first job's file is still another one.
    let remarks = bench.said(&["audit"], 3)["remarks"].to_string();
    assert!(remarks.contains("the journal says"), "{remarks}");
    assert_eq!(job["state"], "refused");
    assert!(
        job["why"]
            .as_str()
            .unwrap()
            .contains("changed after it was submitted")
    );
    assert!(!bench.home().join("runs").exists());
}

#[test]
fn watch_prints_one_object_a_line_and_nothing_else() {
    let bench = Bench::new(QUICK);
    bench.submit("study.toml", "k");
    let output = bench.run(&["watch", "--jsonl"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines: Vec<_> = lines.collect();
    assert!(
        lines
            .iter()
            .all(|line| line["schema"] == "windtunnel.event.v1")
    );
    let states: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["state"].as_str())
        .collect();
    assert_eq!(states, ["queued", "running", "done"]);
    let since = lines[1]["seq"].to_string();
    let output = bench.run(&["watch", "job-1", "--jsonl", "--since", &since]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
}
