//! Runs that are trained as one program end as each would alone, bit for bit.

#[path = "support/bench.rs"]
mod bench;
#[path = "support/clock.rs"]
mod clock;
#[path = "packed/folders.rs"]
mod folders;
#[path = "packed/memory.rs"]
mod memory;
#[path = "packed/numbers.rs"]
mod numbers;
#[path = "packed/studies.rs"]
mod studies;
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
    error::{Error, Result},
    metrics::Outcome,
    recipe::Recipe,
    run_dir::RunDir,
    session::{Session, Trial},
    train::{Job, Progress, train, train_pack},
};

/// Small, with all that a pack could mix up: dropout, micro-batches, two corpora of which one has
/// answers, warm-up, evaluations between checkpoints.
const RECIPE: &str = r#"
seed = 7
[data]
tokenizer = "char"
vocabulary = ["tales", "facts"]
mixture = [{ corpus = "tales", weight = 2 }, { corpus = "facts", weight = 1 }]
[model]
n_layer = 2
n_head = 2
n_embd = 20
block_size = 24
dropout = 0.1
bias = true
[batch]
rows = 6
rows_per_pass = 2
[budget]
steps = 14
[eval]
every = 6
windows = 11
corpora = [{ corpus = "tales" }, { corpus = "facts", weight = 3 }]
[checkpoint]
every = 4
keep = 9
[log]
every = 2
"#;

/// A home of its own, and the runs that some changes of [`RECIPE`] make.
struct Place {
    _home: TempDir,
    session: Session,
    trials: Vec<Trial>,
}

impl Place {
    /// Runs of `threads` threads: of each, changes of its own beside those that all of them have.
    fn new(threads: usize, all: &[&str], own: &[&[&str]]) -> Self {
        let home = TempDir::new().unwrap();
        let compute = Compute::open(DeviceChoice::Cpu, threads).unwrap();
        let session = Session::new(&home.path().join("home"), compute);
        let trials = own.iter().map(|own| trial(&session, &[all, own].concat()));
        Self {
            trials: trials.collect(),
            session,
            _home: home,
        }
    }

    fn jobs<'a>(&'a self, stop: &'a AtomicBool) -> Vec<Job<'a>> {
        let trials = self.trials.iter();
        trials.map(|trial| self.session.job(trial, stop)).collect()
    }

    /// Trains each alone.
    fn alone(self) -> Self {
        for job in self.jobs(&AtomicBool::new(false)) {
            train(job, &mut |_| {}).unwrap();
        }
        self
    }

    /// Trains all as one.
    fn packed(self) -> Self {
        self.pack().unwrap();
        self
    }

    fn pack(&self) -> Result<Vec<Outcome>> {
        train_pack(&self.jobs(&AtomicBool::new(false)), &mut |_, _| {})
    }

    /// Trains all as one, and asks to stop after step `step`.
    fn stopped_at(&self, step: u64) -> Error {
        let stop = AtomicBool::new(false);
        let mut hear = |_, event: Progress| {
            if let Progress::Step(record) = event
                && record.step == step
            {
                stop.store(true, Ordering::Relaxed);
            }
        };
        train_pack(&self.jobs(&stop), &mut hear).unwrap_err()
    }

    fn numbers(&self) -> Vec<Numbers> {
        self.trials.iter().map(numbers).collect()
    }

    fn kinds(&self, idx: usize) -> Vec<String> {
        let events = self.trials[idx].dir.events().into_iter();
        events.map(|event| event.kind).collect()
    }
}

fn trial(session: &Session, changes: &[&str]) -> Trial {
    let path = session.home.with_extension("recipe.toml");
    std::fs::write(&path, RECIPE).unwrap();
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let recipe = Recipe::load(&path, &changes).unwrap().0;
    session.resolve(&recipe).unwrap()
}

/// Everything that a run computed: its records and its outcome without the clock, and every
/// checkpoint's tensors with their step.
#[derive(Debug, PartialEq)]
struct Numbers {
    records: Vec<String>,
    outcome: Outcome,
    checkpoints: Vec<(u64, Vec<u8>)>,
}

fn numbers(trial: &Trial) -> Numbers {
    let mut outcome = trial.dir.outcome().unwrap().unwrap();
    outcome.cost.seconds = 0.0;
    Numbers {
        records: records_without_clock(&trial.dir),
        outcome,
        checkpoints: checkpoints(&trial.dir),
    }
}

fn checkpoints(dir: &RunDir) -> Vec<(u64, Vec<u8>)> {
    let folder = dir.checkpoints();
    let steps = checkpoint::steps(&folder).into_iter();
    steps
        .map(|step| (step, tensors(&checkpoint::path(&folder, step))))
        .collect()
}

/// A checkpoint's bytes after its header, which holds the seconds spent.
fn tensors(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

/// Fails where the runs of two places differ, and says in what.
fn assert_same(alone: &Place, packed: &Place) {
    for (lane, (alone, packed)) in alone.numbers().iter().zip(packed.numbers()).enumerate() {
        assert_eq!(alone.records, packed.records, "lane {lane}");
        assert_eq!(alone.outcome, packed.outcome, "lane {lane}");
        let equal = alone.checkpoints == packed.checkpoints;
        assert!(equal, "lane {lane}: checkpoints differ");
        assert!(!alone.checkpoints.is_empty() || alone.outcome.eval().is_none());
    }
}
