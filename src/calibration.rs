//! What was measured on this machine of runs' speed and memory, kept in a home: one entry for each
//! shape of run, number of threads, and number of runs side by side.
//!
//! An entry is first what a few steps showed. Runs that end add what they really took: their ratio
//! to what was foreseen, which knows of all that a few steps do not show. The file is a cache:
//! deleted, it is measured anew.

use crate::{
    device::{DeviceClass, Machine},
    digest::sha256_json,
    error::{Error, Result},
    files,
    run::Run,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

/// How many runs a device trains at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AtOnce {
    /// Programs side by side.
    pub jobs: usize,
    /// Runs of each, as one.
    pub pack: usize,
}

impl AtOnce {
    pub const ONE: Self = Self { jobs: 1, pack: 1 };
}

/// Seconds and bytes of a run, as a few of its steps showed them; of a pack, a run's share of its
/// seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Before the first step: weights drawn, a folder written.
    pub start_seconds: f64,
    pub seconds_per_step: f64,
    /// Standard error of `seconds_per_step`, relative to it.
    pub noise: f64,
    /// Of one whole evaluation.
    pub eval_seconds: f64,
    /// Of one checkpoint.
    pub save_seconds: f64,
    /// The most that one run holds, or all runs of a pack together.
    pub memory_bytes: u64,
}

impl Timing {
    /// Seconds of what `run` has still to do after `done` steps, its start included.
    pub fn run_seconds(&self, run: &Run, done: u64) -> f64 {
        let due = |every: u64| match every {
            0 => 0,
            // The last step is evaluated and saved in any case.
            every => ((run.steps - 1) / every).saturating_sub(done / every),
        };
        self.start_seconds
            + run.steps.saturating_sub(done) as f64 * self.seconds_per_step
            + (1 + due(run.eval.every)) as f64 * self.eval_seconds
            + (1 + due(run.checkpoint.every)) as f64 * self.save_seconds
    }

    fn is_sound(&self) -> bool {
        let seconds = [
            self.start_seconds,
            self.seconds_per_step,
            self.noise,
            self.eval_seconds,
            self.save_seconds,
        ];
        seconds.iter().all(|x| x.is_finite() && *x >= 0.0)
    }
}

/// What runs that ended took, against what was foreseen from their timing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learnt {
    /// Mean of real over foreseen seconds.
    pub ratio: f64,
    /// Standard deviation of a run's, relative to the mean.
    pub spread: f64,
    pub runs: u64,
}

/// More runs than this do not make older ones weigh more: machines change.
const MEMORY: u64 = 24;

impl Learnt {
    /// With one more run's ratio.
    fn and(self, ratio: f64) -> Self {
        let n = self.runs.min(MEMORY) as f64;
        let mean = (n * self.ratio + ratio) / (n + 1.0);
        let variance = (n * (self.spread * self.ratio).powi(2)
            + (ratio - self.ratio) * (ratio - mean))
            / (n + 1.0);
        Self {
            ratio: mean,
            spread: variance.max(0.0).sqrt() / mean,
            runs: self.runs + 1,
        }
    }
}

/// One entry of the file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub timing: Timing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learnt: Option<Learnt>,
    /// Seconds since 1970 at which it was measured.
    pub at: u64,
    /// It was but a glance, since somebody waited for the first step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub glance: bool,
}

/// A run that took this much more or less than foreseen would be no surprise after a probe alone:
/// one second says how the machine was in that second.
const PROBED: f64 = 0.15;
/// After a step or two.
const GLANCED: f64 = 0.3;
/// After many runs that agree: what they say of the next.
const LEAST: f64 = 0.05;

impl Entry {
    pub fn new(timing: Timing, glance: bool) -> Self {
        Self {
            timing,
            learnt: None,
            at: now(),
            glance,
        }
    }

    /// Seconds of what `run` has still to do after `done` steps.
    pub fn run_seconds(&self, run: &Run, done: u64) -> f64 {
        let ratio = self.learnt.map_or(1.0, |learnt| learnt.ratio);
        ratio * self.timing.run_seconds(run, done)
    }

    /// How far off the estimate may well be, relative to it.
    pub fn uncertainty(&self) -> f64 {
        match self.learnt {
            Some(learnt) if learnt.runs > 1 => (2.0 * learnt.spread).clamp(LEAST, PROBED),
            _ if self.glance => GLANCED,
            _ => PROBED.hypot(2.0 * self.timing.noise),
        }
    }

    pub fn age_seconds(&self) -> u64 {
        now().saturating_sub(self.at)
    }
}

/// Names one kind of run on one machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// Runs of the same key take the same time: a learning rate or a seed makes no difference.
    pub fn new(run: &Run, device: &DeviceClass, at: AtOnce) -> Self {
        static MACHINE: OnceLock<Machine> = OnceLock::new();
        let machine = MACHINE.get_or_init(Machine::read);
        let digest = sha256_json(&serde_json::json!({
            "model": run.model,
            "vocab_size": run.vocab_size,
            "batch": run.batch,
            "optimizer": run.optimizer.kind,
            "eval": { "corpora": run.eval.corpora, "windows": run.eval.windows, "ema": run.eval.ema > 0.0 },
            "targets": run.data.targets,
            "device": device,
            "at_once": at,
            "machine": [machine.cpu, machine.cores.to_string()],
            // Other kernels have other speeds.
            "numerics": env!("WINDTUNNEL_NUMERICS"),
        }));
        Self(digest[..16].to_string())
    }
}

/// The file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Calibration {
    entries: BTreeMap<Key, Entry>,
    changed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    schema: String,
    entries: BTreeMap<Key, Entry>,
}

const SCHEMA: &str = "windtunnel.calibration.v1";
/// An older entry is measured anew: machines, and what runs beside us on them, change.
const OLDEST_SECONDS: u64 = 30 * 24 * 3600;

impl Calibration {
    fn path(home: &Path) -> PathBuf {
        home.join("calibration.json")
    }

    /// What a home has; nothing where there is no file. Errors when the file is damaged.
    pub fn read(home: &Path) -> Result<Self> {
        let path = Self::path(home);
        if !path.exists() {
            return Ok(Self::default());
        }
        let remedy = "delete this file; what it holds is measured again";
        let stored: Stored = files::read_json(&path, remedy)?;
        let unsound = stored.entries.iter().find(|(_, entry)| {
            let ratio = entry.learnt.map_or(1.0, |learnt| learnt.ratio);
            !(entry.timing.is_sound() && ratio.is_finite() && ratio > 0.0)
        });
        match unsound {
            None if stored.schema == SCHEMA => Ok(Self {
                entries: stored.entries,
                changed: false,
            }),
            None => Err(Error::input(
                path.display().to_string(),
                format!("its schema is \"{}\", this is {SCHEMA}", stored.schema),
                remedy,
            )),
            Some((key, _)) => Err(Error::input(
                path.display().to_string(),
                format!("entry {} has a time that is none", key.0),
                remedy,
            )),
        }
    }

    /// Writes the file if anything is new. Entries too old to be used are left out.
    pub fn keep(&mut self, home: &Path) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        fs::create_dir_all(home).map_err(|e| Error::io(home, "create the home folder", &e))?;
        let fresh = |entry: &Entry| entry.age_seconds() < OLDEST_SECONDS;
        self.entries.retain(|_, entry| fresh(entry));
        let stored = Stored {
            schema: SCHEMA.into(),
            entries: self.entries.clone(),
        };
        files::write_json(&Self::path(home), &stored)?;
        self.changed = false;
        Ok(())
    }

    /// The entry of this key, unless it is too old.
    pub fn get(&self, key: &Key) -> Option<Entry> {
        let entry = self.entries.get(key).copied();
        entry.filter(|entry| entry.age_seconds() < OLDEST_SECONDS)
    }

    pub fn put(&mut self, key: Key, entry: Entry) {
        self.entries.insert(key, entry);
        self.changed = true;
    }

    /// Adds a run that took `real` seconds where `foreseen` were expected of its entry as it was in
    /// `before`. What is no time is left out.
    pub fn learn(&mut self, key: &Key, before: &Entry, (real, foreseen): (f64, f64)) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let assumed = before.learnt.map_or(1.0, |learnt| learnt.ratio);
        let ratio = assumed * real / foreseen;
        if !(ratio.is_finite() && ratio > 0.0) {
            return;
        }
        let first = Learnt {
            ratio,
            spread: 0.0,
            runs: 1,
        };
        entry.learnt = Some(entry.learnt.map_or(first, |learnt| learnt.and(ratio)));
        entry.at = now();
        self.changed = true;
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        start_seconds: 1.0,
        seconds_per_step: 0.5,
        noise: 0.01,
        eval_seconds: 10.0,
        save_seconds: 100.0,
        memory_bytes: 1,
    };

    fn run(steps: u64, every: u64) -> Run {
        let text = format!(
            "data = {{ tokenizer = \"char\", mixture = [{{ corpus = \"tales\" }}] }}\n\
             budget = {{ steps = {steps} }}\neval = {{ every = {every} }}\ncheckpoint = {{ every = {every} }}"
        );
        let recipe: crate::recipe::Recipe = toml::from_str(&text).unwrap();
        let facts = crate::recipe::Facts {
            vocab_size: 65,
            seconds_per_step: None,
        };
        recipe.resolve(facts).unwrap()
    }

    #[test]
    fn a_run_is_its_start_its_steps_its_evaluations_and_its_checkpoints() {
        let seconds = |steps, every, done| TIMING.run_seconds(&run(steps, every), done);
        // At 100, 200 and, in any case, at the end.
        assert_eq!(seconds(250, 100, 0), 1.0 + 125.0 + 3.0 * 110.0);
        // At the end, once, though it is a multiple.
        assert_eq!(seconds(200, 100, 0), 1.0 + 100.0 + 2.0 * 110.0);
        assert_eq!(seconds(200, 0, 0), 1.0 + 100.0 + 110.0);
        // What was done before step 100 and at it is not done again.
        assert_eq!(seconds(250, 100, 100), 1.0 + 75.0 + 2.0 * 110.0);
    }

    #[test]
    fn runs_that_take_twice_as_long_double_the_estimate_and_narrow_it() {
        let key = Key("k".into());
        let mut calibration = Calibration::default();
        calibration.put(key.clone(), Entry::new(TIMING, false));
        let before = calibration.get(&key).unwrap();
        let foreseen = before.run_seconds(&run(10, 0), 0);
        for _ in 0..4 {
            calibration.learn(&key, &before, (2.0 * foreseen, foreseen));
        }
        let after = calibration.get(&key).unwrap();
        assert_eq!(after.run_seconds(&run(10, 0), 0), 2.0 * foreseen);
        assert_eq!(after.learnt.unwrap().runs, 4);
        assert!(after.uncertainty() < before.uncertainty());
        // Foreseen twice as long from then on, and so it comes: nothing changes.
        calibration.learn(&key, &after, (2.0 * foreseen, 2.0 * foreseen));
        assert_eq!(calibration.get(&key).unwrap().learnt.unwrap().ratio, 2.0);
        // No time at all is not believed.
        calibration.learn(&key, &after, (0.0, foreseen));
        assert_eq!(calibration.get(&key).unwrap().learnt.unwrap().runs, 5);
    }

    #[test]
    fn the_spread_is_that_of_the_ratios() {
        let first = Learnt {
            ratio: 0.9,
            spread: 0.0,
            runs: 1,
        };
        let learnt = first.and(1.1).and(0.9).and(1.1);
        assert!((learnt.ratio - 1.0).abs() < 1e-12);
        assert!((learnt.spread - 0.1).abs() < 1e-12, "{learnt:?}");
    }

    #[test]
    fn the_file_comes_back_as_it_was_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut calibration = Calibration::read(dir.path()).unwrap();
        // Nothing new makes no file.
        calibration.keep(dir.path()).unwrap();
        assert!(!Calibration::path(dir.path()).exists());
        calibration.put(Key("k".into()), Entry::new(TIMING, false));
        calibration.keep(dir.path()).unwrap();
        assert_eq!(Calibration::read(dir.path()).unwrap(), calibration);
        let text = fs::read_to_string(Calibration::path(dir.path())).unwrap();
        for (from, to) in [
            ("0.5", "-0.5"),
            ("calibration.v1", "calibration.v9"),
            ("{", ""),
        ] {
            fs::write(Calibration::path(dir.path()), text.replacen(from, to, 1)).unwrap();
            let error = Calibration::read(dir.path()).unwrap_err();
            assert!(error.place.contains("calibration.json"), "{error}");
            assert!(error.remedy.contains("delete"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
