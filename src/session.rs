//! From names to things: a recipe's corpora opened, its trial addressed, a run's weights read back.

use crate::{
    checkpoint::{self, Checkpoint},
    data::{EvalWindows, Library, Tokenizer, mixture::Mixture},
    device::Compute,
    error::{Error, Result},
    eval::evaluate,
    metrics::EvalRecord,
    model::Gpt,
    params::Params,
    pool::Pool,
    real::Real,
    recipe::{Facts, Recipe, Run},
    rng::Rng,
    run_dir::{RunDir, TrialId},
    tape::{Mode, Tape},
    train::{CheckpointExtra, RunData},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A home and a device: what every command that computes has.
pub struct Session {
    pub home: PathBuf,
    pub compute: Compute,
    pub library: Library,
}

/// A recipe made ready to train.
#[derive(Clone)]
pub struct Trial {
    pub run: Run,
    pub data: RunData,
    pub id: TrialId,
    pub dir: RunDir,
}

impl Session {
    pub fn new(home: &Path, compute: Compute) -> Self {
        Self {
            home: home.into(),
            library: Library::new(home),
            compute,
        }
    }
}
