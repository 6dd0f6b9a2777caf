//! The same seed gives the same bits; a run that was stopped goes on as if it had not been.

mod support;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};
use support::records_without_clock;
use tempfile::TempDir;
use windtunnel::{
    checkpoint,
    device::{Compute, DeviceChoice},
    error::Kind,
    metrics::Outcome,
    recipe::Recipe,
    session::{Session, Trial},
    train::{Progress, train},
};

/// Small, with all that could break a resume: dropout, accumulation, two corpora, warm-up, evals.
const RECIPE: &str = r#"
seed = 7
[data]
tokenizer = "char"
mixture = [{ corpus = "tales", weight = 2 }, { corpus = "sums", weight = 1 }]
[model]
n_layer = 2
n_head = 2
n_embd = 32
block_size = 32
dropout = 0.1
bias = true
[batch]
rows = 6
rows_per_pass = 3
[budget]
steps = 24
[eval]
every = 10
windows = 20
[checkpoint]
every = 5
keep = 2
"#;

fn session(home: &Path, threads: usize) -> Session {
    let compute = Compute::open(DeviceChoice::Cpu, threads).unwrap();
    Session::new(home, compute)
}

fn trial(session: &Session, changes: &[&str]) -> Trial {
    let path = session.home.with_extension("recipe.toml");
    std::fs::write(&path, RECIPE).unwrap();
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    session
        .resolve(&Recipe::load(&path, &changes).unwrap().0)
        .unwrap()
}

/// Trains to the end, but asks to stop after each of the steps in `stops`, and goes on again.
fn train_with_stops(session: &Session, trial: &Trial, stops: &[u64]) -> Outcome {
    for stop_at in stops {
        let stop = AtomicBool::new(false);
        let error = train(session.job(trial, &stop), &mut |progress| {
            if let Progress::Step(record) = progress
                && record.step == *stop_at
            {
                stop.store(true, Ordering::Relaxed);
            }
        })
        .unwrap_err();
        assert_eq!((error.kind, error.exit_code()), (Kind::Interrupted, 130));
    }
    train(session.job(trial, &AtomicBool::new(false)), &mut |_| {}).unwrap()
}

/// Everything that a run computed: records without their wall-clock, and the last weights' bytes.
fn numbers(trial: &Trial) -> (Vec<String>, Vec<u8>) {
    let newest = checkpoint::path(&trial.dir.checkpoints(), trial.run.steps);
    let bytes = std::fs::read(newest).unwrap();
    // The header holds the seconds spent; the tensors begin after it.
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (
        records_without_clock(&trial.dir),
        bytes[8 + header..].to_vec(),
    )
}

fn run_once(threads: usize, stops: &[u64], changes: &[&str]) -> (Vec<String>, Vec<u8>) {
    let home = TempDir::new().unwrap();
    let session = session(&home.path().join("home"), threads);
    let trial = trial(&session, changes);
    train_with_stops(&session, &trial, stops);
    numbers(&trial)
}

#[test]
fn the_same_seed_gives_the_same_bits_at_one_thread_and_at_two() {
    for threads in [1, 2] {
        let (first, second) = (run_once(threads, &[], &[]), run_once(threads, &[], &[]));
        assert!(first == second, "{threads} threads");
    }
}

#[test]
fn another_seed_gives_other_numbers() {
    assert_ne!(run_once(1, &[], &[]).0, run_once(1, &[], &["seed=8"]).0);
}

#[test]
fn a_run_that_was_stopped_ends_with_the_same_bits() {
    let whole = run_once(2, &[], &[]);
    // Before, on and between checkpoints, within and after the warm-up, and the last step but one.
    for stops in [&[1][..], &[5], &[7, 8], &[10, 11, 23]] {
        let resumed = run_once(2, stops, &[]);
        assert_eq!(whole.0, resumed.0, "{stops:?}");
        assert!(whole.1 == resumed.1, "{stops:?}: the weights differ");
    }
}

/// Changes that make a run of each other optimizer, all it remembers included.
const OPTIMIZERS: [&[&str]; 4] = [
    &["optimizer.kind=sgd", "optimizer.nesterov=true"],
    &["optimizer.kind=sgd", "optimizer.momentum=0"],
    &["optimizer.kind=lion", "schedule.kind=wsd"],
    &["optimizer.kind=muon", "optimizer.adamw_lr=3e-3"],
];

#[test]
fn every_optimizer_goes_on_with_the_same_bits() {
    let mut weights = vec![run_once(2, &[], &[]).1];
    for changes in OPTIMIZERS {
        let whole = run_once(2, &[], changes);
        let resumed = run_once(2, &[7, 13], changes);
        assert_eq!(whole.0, resumed.0, "{changes:?}");
        assert!(whole.1 == resumed.1, "{changes:?}: the weights differ");
        assert!(!weights.contains(&whole.1), "{changes:?} is one before it");
        weights.push(whole.1);
    }
}

#[test]
fn averaged_weights_are_evaluated_beside_the_others_and_survive_a_stop() {
    let plain = run_once(2, &[], &[]);
    let whole = run_once(2, &[], &["eval.ema=0.9"]);
    let resumed = run_once(2, &[7, 13], &["eval.ema=0.9"]);
    assert_eq!(whole.0, resumed.0);
    assert!(whole.1 == resumed.1, "the weights differ");
    let without_ema = |line: &String| {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        let ema = record.as_object_mut().unwrap().remove("ema");
        if record["kind"] == "eval" {
            let bpb = ema.unwrap()["bpb"].as_f64().unwrap();
            // Behind while the loss falls, and another number.
            assert!(bpb > record["bpb"].as_f64().unwrap(), "{line}");
        }
        record
    };
    let averaged: Vec<_> = whole.0.iter().map(without_ema).collect();
    let plain = plain
        .0
        .iter()
        .map(|line| serde_json::from_str(line).unwrap());
    assert_eq!(averaged, plain.collect::<Vec<serde_json::Value>>());
}

#[test]
fn a_checkpoint_names_what_its_optimizer_remembers() {
    for (changes, matrix, vector) in [
        (&[][..], &["", "m.", "v."][..], &["", "m.", "v."][..]),
        (OPTIMIZERS[0], &["", "momentum."], &["", "momentum."]),
        (OPTIMIZERS[1], &[""], &[""]),
        (OPTIMIZERS[2], &["", "m."], &["", "m."]),
        (OPTIMIZERS[3], &["", "momentum."], &["", "m.", "v."]),
    ] {
        let home = TempDir::new().unwrap();
        let session = session(&home.path().join("home"), 1);
        let trial = trial(&session, &[changes, &["budget.steps=1"]].concat());
        train_with_stops(&session, &trial, &[]);
        let bytes = std::fs::read(checkpoint::path(&trial.dir.checkpoints(), 1)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for (name, prefixes) in [
            ("transformer.h.1.mlp.c_fc.weight", matrix),
            ("transformer.wte.weight", vector),
            ("transformer.ln_f.bias", vector),
        ] {
            let mut found: Vec<&str> = file.names();
            found.retain(|found| found.ends_with(name));
            found.sort_unstable();
            let expected: Vec<String> = prefixes.iter().map(|p| format!("{p}{name}")).collect();
            let mut expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{changes:?}");
        }
    }
}

#[test]
fn how_often_a_run_is_saved_or_logged_changes_neither_its_id_nor_its_weights() {
    let home = TempDir::new().unwrap();
    let session = session(&home.path().join("home"), 1);
    let plain = trial(&session, &[]);
    let other = trial(&session, &["checkpoint.every=3", "log.every=6"]);
    assert_eq!(plain.id, other.id);
    let (_, plain) = run_once(1, &[], &[]);
    let (_, other) = run_once(1, &[], &["checkpoint.every=3", "log.every=6"]);
    assert!(plain == other);
}

#[test]
fn a_finished_run_is_not_run_again() {
    let home = TempDir::new().unwrap();
    let session = session(&home.path().join("home"), 1);
    let trial = trial(&session, &[]);
    let first = train_with_stops(&session, &trial, &[]);
    let mut steps = 0;
    let again = train(
        session.job(&trial, &AtomicBool::new(false)),
        &mut |progress| {
            steps += usize::from(matches!(progress, Progress::Step(_)));
        },
    );
    assert_eq!((again.unwrap(), steps), (first, 0));
    let finishes = trial
        .dir
        .events()
        .into_iter()
        .filter(|e| e.kind == "finish");
    assert_eq!(finishes.count(), 1);
}

#[test]
fn old_checkpoints_go_and_as_many_as_asked_stay() {
    let home = TempDir::new().unwrap();
    let session = session(&home.path().join("home"), 1);
    let trial = trial(&session, &[]);
    train_with_stops(&session, &trial, &[]);
    assert_eq!(checkpoint::steps(&trial.dir.checkpoints()), [20, 24]);
}

#[test]
fn a_rate_beyond_reason_is_an_outcome_that_says_when() {
    let home = TempDir::new().unwrap();
    let session = session(&home.path().join("home"), 1);
    let trial = trial(&session, &["optimizer.lr=1e38", "schedule.warmup=0"]);
    let outcome = train_with_stops(&session, &trial, &[]);
    assert!(outcome.eval().is_none(), "{:?}", outcome.ending);
    assert!(trial.dir.outcome().unwrap().is_some());
}

#[test]
fn a_run_that_saw_more_text_knows_it_better() {
    // The trainer learns: far below a uniform guess, and below its own first steps.
    let (records, _) = run_once(
        1,
        &[],
        &["budget.steps=120", "model.dropout=0", "optimizer.lr=3e-3"],
    );
    let losses: Vec<f64> = records
        .iter()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64()
        })
        .collect();
    let uniform = 82f64.ln();
    assert!((losses[0] - uniform).abs() < 0.3, "{}", losses[0]);
    assert!(*losses.last().unwrap() < 3.0, "{:?}", losses.last());
}
