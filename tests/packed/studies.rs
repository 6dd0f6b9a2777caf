//! Studies whose trials are packed: the same trials, outcomes and verdict.

use super::{
    bench::{Bench, SLOW},
    clock::verdict_without_clock,
    support::records_without_clock,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};
use windtunnel::study::ledger::Ledger;

/// Two arms and three seeds.
fn bench() -> Bench {
    let bench = Bench::new().one_thread();
    bench.study("study.toml", "margin = 0.1\nseeds = 3", SLOW);
    bench
}

/// What was computed: of each trial its records and how it ended.
fn numbers(bench: &Bench, home: &str) -> BTreeMap<String, (Vec<String>, String)> {
    let of_run = |dir: windtunnel::run_dir::RunDir| {
        let outcome = dir.outcome().unwrap().unwrap();
        let ending = serde_json::to_string(&(&outcome.ending, &outcome.realised)).unwrap();
        let id = dir.path().file_name().unwrap().to_string_lossy().into();
        (id, (records_without_clock(&dir), ending))
    };
    bench.run_dirs(home).into_iter().map(of_run).collect()
}

/// With how many each trial was packed.
fn packs(bench: &Bench, home: &str) -> Vec<usize> {
    let dirs = bench.run_dirs(home).into_iter();
    let mut packs: Vec<usize> = dirs.map(|d| d.environment().unwrap().pack).collect();
    packs.sort_unstable();
    packs
}

fn without_clock(run: &Value) -> Value {
    verdict_without_clock(&run["verdict"])
}

#[test]
fn packing_changes_neither_a_trial_nor_a_verdict() {
    let bench = bench();
    let run = |home: &str, pack: &str| {
        let args = ["run", "study.toml", "--jobs", "1", "--pack", pack];
        bench.json_in(home, &args)
    };
    let (alone, packed) = (run("alone", "1"), run("packed", "4"));
    assert_eq!(alone["study"], packed["study"]);
    assert_eq!(without_clock(&alone), without_clock(&packed));
    let expected = numbers(&bench, "alone");
    assert_eq!(expected.len(), 6);
    assert_eq!(expected, numbers(&bench, "packed"));
    assert_eq!(packs(&bench, "alone"), [1; 6]);
    assert_eq!(packs(&bench, "packed"), [2, 2, 4, 4, 4, 4]);
    // A CPU left to decide trains each alone.
    assert_eq!(without_clock(&run("left", "0")), without_clock(&alone));
    assert_eq!(packs(&bench, "left"), [1; 6]);
    // Costs add up to less than the wall's clock, which saw each pack once.
    let stretch = &packed["stretches"][0];
    let (wall, trials) = (
        stretch["spent"]["minutes"].as_f64().unwrap(),
        stretch["spent"]["trial_minutes"].as_f64().unwrap(),
    );
    assert!(0.0 < trials && trials < wall, "{stretch}");
    assert!(packed["cost"]["seconds"].as_f64().unwrap() < 60.0 * wall);
    assert_eq!(
        (&stretch["pack"], &stretch["trials"]),
        (&4.into(), &6.into())
    );
    // The ledger sees ordinary trials, and knows them from the folders alone.
    let home = bench.path("packed");
    let trials = Ledger::read(&home).unwrap().trials().unwrap();
    assert_eq!(trials.len(), 6);
    assert_eq!(Ledger::rebuild(&home).unwrap().trials().unwrap(), trials);
    // Again: nothing is trained.
    let again = run("packed", "3");
    assert_eq!(again["verdict"], packed["verdict"]);
    assert_eq!(again["stretches"].as_array().unwrap().len(), 1);
}

#[test]
fn a_plan_says_how_trials_are_packed_and_counts_their_shares() {
    let bench = bench();
    let plan = |pack: &str| bench.json(&["plan", "study.toml", "--jobs", "1", "--pack", pack]);
    let (alone, packed) = (plan("1"), plan("4"));
    assert_eq!((&alone["pack"], &packed["pack"]), (&1.into(), &4.into()));
    assert_eq!(alone["study"], packed["study"]);
    assert_eq!(alone["tokens"], packed["tokens"]);
    // No more are packed than there are.
    assert_eq!(plan("1000")["pack"], 6);
    for plan in [&alone, &packed] {
        let (all, trials) = (
            plan["minutes"].as_f64().unwrap(),
            plan["trial_minutes"].as_f64().unwrap(),
        );
        assert!(
            all > 0.0 && (trials / all - 1.0).abs() < 1e-9,
            "{all} {trials}"
        );
    }
    let said = bench.run(&["plan", "study.toml", "--jobs", "2", "--pack", "3"]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.contains("2 of 1 thread side by side in packs of 3"),
        "{said}"
    );
}

#[test]
fn a_pack_size_is_a_number_that_makes_sense() {
    let bench = bench();
    for command in ["run", "plan"] {
        for wrong in ["-1", "many", "1025", "2.5", ""] {
            let said = bench.refused(&[command, "study.toml", &format!("--pack={wrong}")], 2);
            assert!(said.contains("--pack"), "{said}");
        }
    }
    assert!(bench.run_dirs("home").is_empty());
}

#[test]
fn a_study_killed_in_the_middle_of_a_pack_goes_on_with_the_same_bits() {
    let bench = bench();
    let long = [
        "run",
        "study.toml",
        "budget.steps=400",
        "eval.every=90",
        "checkpoint.every=20",
    ];
    let how = ["--jobs", "1", "--pack", "6"];
    let alone = bench.json_in("alone", &[&long[..], &["--jobs", "2"]].concat());
    let mut kills = 0;
    // After a first checkpoint, and after a few more.
    for least in [20, 160] {
        let mut child = bench
            .command_in("killed", &[&long[..], &how].concat())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let newest = || {
            let dirs = bench.run_dirs("killed").into_iter();
            let steps = dirs.filter_map(|d| windtunnel::checkpoint::steps(&d.checkpoints()).pop());
            steps.max().unwrap_or(0)
        };
        while newest() < least && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            sleep(Duration::from_millis(1));
        }
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0, "the study ended before it was killed");
    let killed = bench.json_in("killed", &[&long[..], &how].concat());
    assert_eq!(without_clock(&killed), without_clock(&alone));
    assert_eq!(numbers(&bench, "killed"), numbers(&bench, "alone"));
}
