//! What a study was foreseen to take and what it took, once for every process that trained some of
//! it: `cost.json` in its folder.

use super::{contract::StudyDir, forecast::Forecast};
use crate::{
    device::peak_memory_bytes,
    error::Result,
    files,
    metrics::{Ending, Outcome},
    session::Session,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Time and memory, foreseen or real.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// By the clock on the wall.
    pub minutes: f64,
    /// Of all trials, added up.
    pub trial_minutes: f64,
    /// The most that the process held at any moment; 0 where the system does not say.
    pub memory_bytes: u64,
}

/// One process's part of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// When it ended, in seconds since 1970.
    pub at: u64,
    pub jobs: usize,
    /// The most trials that were trained as one program.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub pack: usize,
    pub threads: usize,
    pub predicted: Amount,
    /// How far off `predicted.minutes` was said to be, relative to it.
    pub uncertainty: f64,
    pub spent: Amount,
    /// Trials that ended in it.
    pub trials: usize,
    /// It ended before the study did, and the prediction was for more.
    pub interrupted: bool,
}

fn one() -> usize {
    1
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

impl Stretch {
    /// In words: what was foreseen, and what came.
    pub fn words(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let minutes = |minutes: f64| match minutes < 1.5 {
            true => format!("{:.1} s", 60.0 * minutes),
            false => format!("{minutes:.1} minutes"),
        };
        let (p, s) = (&self.predicted, &self.spent);
        let end = if self.interrupted {
            ", then interrupted"
        } else {
            ""
        };
        format!(
            "predicted {} ± {:.0}% and {:.0} MiB, spent {} and {:.0} MiB{end} ({} side by side{}, threads {})",
            minutes(p.minutes),
            100.0 * self.uncertainty,
            mib(p.memory_bytes),
            minutes(s.minutes),
            mib(s.memory_bytes),
            self.jobs,
            in_packs(self.pack),
            self.threads,
        )
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    schema: String,
    stretches: Vec<Stretch>,
}

const SCHEMA: &str = "windtunnel.cost.v1";

impl StudyDir {
    fn cost_path(&self) -> PathBuf {
        self.path().join("cost.json")
    }

    /// Every stretch that was written down, first to last; a process that was killed wrote none.
    /// Errors when the file is damaged.
    pub fn stretches(&self) -> Result<Vec<Stretch>> {
        let path = self.cost_path();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let stored: Stored = files::read_json(
            &path,
            "delete this file; verdict and trials need nothing of it",
        )?;
        Ok(stored.stretches)
    }

    fn add_stretch(&self, stretch: Stretch) -> Result<()> {
        let mut stretches = self.stretches()?;
        stretches.push(stretch);
        let schema = SCHEMA.into();
        files::write_json(&self.cost_path(), &Stored { schema, stretches })
    }
}

/// Watches the trials of one process.
pub struct Clock {
    started: Instant,
    trials: Mutex<Trials>,
}

#[derive(Default)]
struct Trials {
    /// When each began, and of how many that are trained as one it is.
    running: BTreeMap<String, (Instant, usize)>,
    seconds: f64,
    ended: usize,
    /// Seconds of those that were trained from their first step to their last.
    whole: Vec<(String, f64)>,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            trials: Mutex::default(),
        }
    }

    /// A trial begins, or goes on, as one of `pack`.
    pub fn begun(&self, trial: &str, pack: usize) {
        let begun = (Instant::now(), pack);
        self.trials().running.insert(trial.into(), begun);
    }

    /// A trial has an outcome; one that had it before does not count.
    pub fn ended(&self, outcome: &Outcome) {
        let mut trials = self.trials();
        let Some(begun) = trials.running.remove(&outcome.trial) else {
            return;
        };
        trials.seconds += share(begun);
        trials.ended += 1;
        if let Ending::Finished { .. } = outcome.ending {
            let whole = (outcome.trial.clone(), outcome.cost.seconds);
            trials.whole.push(whole);
        }
    }

    /// Writes down what was foreseen and what was spent, and teaches the calibration what trials
    /// really take. Nothing where nothing was trained.
    pub fn stop(
        self,
        session: &Session,
        dir: &StudyDir,
        (forecast, interrupted): (&Forecast, bool),
    ) -> Result<()> {
        let minutes = self.started.elapsed().as_secs_f64() / 60.0;
        let mut trials = self.trials();
        let unfinished: f64 = trials.running.values().copied().map(share).sum();
        let seconds = trials.seconds + unfinished;
        if seconds == 0.0 {
            return Ok(());
        }
        for (trial, real) in std::mem::take(&mut trials.whole) {
            if let Some((key, before, foreseen)) = forecast.whole.get(&trial) {
                session.calibrated(|calibration| {
                    calibration.learn(key, before, (real, *foreseen));
                })?;
            }
        }
        session.keep_calibration()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        dir.add_stretch(Stretch {
            at: since.map_or(0, |since| since.as_secs()),
            jobs: forecast.jobs,
            pack: forecast.pack,
            threads: forecast.threads,
            predicted: Amount {
                minutes: forecast.minutes,
                trial_minutes: forecast.trial_minutes,
                memory_bytes: forecast.memory_bytes,
            },
            uncertainty: forecast.basis.uncertainty,
            spent: Amount {
                minutes,
                trial_minutes: seconds / 60.0,
                memory_bytes: peak_memory_bytes(),
            },
            trials: trials.ended,
            interrupted,
        })
    }

    fn trials(&self) -> MutexGuard<'_, Trials> {
        self.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// " in packs of 4", or nothing where each trial is trained alone.
pub fn in_packs(pack: usize) -> String {
    match pack {
        1 => String::new(),
        pack => format!(" in packs of {pack}"),
    }
}

/// A trial's share of the seconds since it began.
fn share((begun, pack): (Instant, usize)) -> f64 {
    begun.elapsed().as_secs_f64() / pack as f64
}
