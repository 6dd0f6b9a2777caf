//! Trunks: what runs with a cooldown have in common before it begins.
//!
//! Until its cooldown a warm-up–stable–decay run does not know how long it will be, nor how it will
//! cool down. So runs that differ in nothing else are the same
//! run up to there, bit for bit. The first of them leaves its state at that step in
//! `<home>/trunks/<id>/step-NNNNNNNN`, and the others, whether arms of one study or runs of another
//! day, begin there instead of at step 0.

use crate::{
    checkpoint::{self, Checkpoint, Saved},
    device::DeviceClass,
    digest::sha256_json,
    error::{Error, Result},
    files,
    run::Run,
    run_dir::{RunDir, numerics_of},
    schedule::Schedule,
};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The trunk of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trunk {
    folder: PathBuf,
    /// Steps before the run's cooldown: at least 1.
    step: u64,
}

impl Trunk {
    /// The trunk of `run` on the data with these digests and this device. `None` when it has no
    /// cooldown, nothing before it, or does not keep one.
    pub fn of(home: &Path, run: &Run, data: &[String], device: &DeviceClass) -> Option<Self> {
        let schedule = Schedule::new(&run.schedule, run.optimizer.lr, run.steps);
        let step = schedule.cooldown_start().filter(|step| *step > 0)?;
        let mut identity = run.identity();
        if let Some(map) = identity.as_object_mut() {
            // Weights and the steps at which they change are plain numbers of the identity; which rows
            // keep a cap depends on how many there are to come.
            if !run.data.is_capped() {
                map.remove("steps");
            }
            map.insert("schedule".into(), schedule.warmup_steps().into());
        }
        let id = sha256_json(&serde_json::json!({
            "run": identity,
            "seed": (run.seed, run.init_seed, run.data_seed),
            // Its records are copied too.
            "log": run.log,
            "data": data,
            "numerics": numerics_of(run, device),
        }));
        let folder = home.join("trunks").join(&id[..16]);
        run.checkpoint.trunk.then(|| Self::new(folder, step))
    }

    /// The trunk that is kept in `folder`, of a run that leaves it after `step` steps.
    pub(crate) fn new(folder: PathBuf, step: u64) -> Self {
        Self { folder, step }
    }

    /// Where the run's cooldown begins.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Equal for runs that share a trunk, however far along it they go.
    pub fn id(&self) -> &Path {
        &self.folder
    }

    /// The furthest state that is kept and that the run passes through.
    pub fn furthest(&self) -> Option<u64> {
        let entries = fs::read_dir(&self.folder).ok()?;
        let steps = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix("step-")?.parse().ok()
        });
        steps.filter(|step| *step <= self.step).max()
    }

    /// Whether all that the run shares is there.
    pub fn is_whole(&self) -> bool {
        self.furthest() == Some(self.step)
    }

    fn at(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step:08}"))
    }

    /// Makes `dir` the folder of a run that was stopped at the furthest state; gives its step, or
    /// `None` when there is none. Errors when what is kept can't be read, or written again.
    pub fn graft(&self, dir: &RunDir) -> Result<Option<u64>> {
        let Some(step) = self.furthest() else {
            return Ok(None);
        };
        let from = self.at(step);
        let damaged = |e: Error| Error {
            remedy: format!("delete {}; it is made again", from.display()),
            ..e
        };
        let read = |path: &Path| fs::read(path).map_err(|e| damaged(Error::io(path, "read", &e)));
        let metrics = read(&from.join("metrics.jsonl"))?;
        let state = checkpoint::path(&from, step);
        let whole = Checkpoint::open(&state).and_then(|file| file.header::<serde_json::Value>());
        whole.map_err(damaged)?;
        let state = read(&state)?;
        let to = dir.checkpoints();
        fs::create_dir_all(&to).map_err(|e| Error::io(&to, "create the folder", &e))?;
        files::replace(&dir.path().join("metrics.jsonl"), &metrics)?;
        // Last: the run goes on from its checkpoints.
        files::replace(&checkpoint::path(&to, step), &state)?;
        Ok(Some(step))
    }

    /// Keeps the state at the run's own branching step, whole or not at all. `dir` has the metrics
    /// that led there.
    pub fn keep<E: Serialize>(&self, dir: &RunDir, extra: &E, saved: Saved) -> Result<()> {
        let place = self.at(self.step);
        // Two runs of one trunk may come here at the same time.
        let own = dir.path().file_name().unwrap_or_default();
        let temporary = self
            .folder
            .join(format!("{}.{}.tmp", self.step, own.display()));
        let write = || -> Result<()> {
            checkpoint::save(&temporary, (self.step, extra), saved, 1)?;
            let metrics = dir.path().join("metrics.jsonl");
            let bytes = fs::read(&metrics).map_err(|e| Error::io(&metrics, "read", &e))?;
            files::replace(&temporary.join("metrics.jsonl"), &bytes)
        };
        let written = write();
        if written.is_ok() {
            // Fails where the other run was first: then its folder is as good.
            let _ = fs::rename(&temporary, &place);
        }
        let _ = fs::remove_dir_all(&temporary);
        written
    }
}
