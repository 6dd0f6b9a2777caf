//! The training loop: runs, from checked recipes to outcomes in folders of their own.
//!
//! A run folder is the truth: `recipe.toml` (resolved), `env.json`, `metrics.jsonl`,
//! `events.jsonl`, `checkpoints/` and, once it ended, `outcome.json`. A run that was interrupted
//! goes on from its newest checkpoint and writes the same numbers, bit for bit.
//!
//! Runs of one shape may be trained as one program, a *pack*: a small model does not fill a GPU, and
//! sixteen of them side by side do. A run alone is a pack of one, so there is one training loop.
//! [`Trainer`] makes the steps, [`pack`] says who may share them and keeps the folders.

mod data;
mod lane;
pub mod need;
mod on_device;
pub mod pack;
mod trainer;

pub use data::{RunData, windows_digest};
pub use pack::{train, train_pack};
pub use trainer::{Diverged, Stepped, Trainer};

use crate::{
    data::Tokenizer,
    device::Compute,
    metrics::{Branched, Cost, EvalRecord, StepRecord},
    run::Run,
    run_dir::{Design, RunDir, TrialId},
    trunk::Trunk,
};
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicBool;

/// What a checkpoint holds beside the weights: enough to sample from it alone, and to go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointExtra {
    pub trial: String,
    pub tokenizer: Tokenizer,
    pub cost: Cost,
    /// The first part was another trial's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branched: Option<Branched>,
}

/// What happens while a run goes on, for progress bars.
#[derive(Debug, Clone)]
pub enum Progress<'a> {
    /// The run starts, or goes on, at this step.
    Started {
        step: u64,
        steps: u64,
        /// Runs that are trained as one with it, itself included.
        pack: usize,
    },
    Step(&'a StepRecord),
    Eval(&'a EvalRecord),
}

/// One run to be trained in its folder.
pub struct Job<'a> {
    pub run: &'a Run,
    pub data: RunData,
    pub compute: &'a Compute,
    pub dir: &'a RunDir,
    pub design: &'a Design,
    pub trial: &'a TrialId,
    pub trunk: Option<&'a Trunk>,
    /// Set from outside to stop: the run saves and ends with
    /// [`Kind::Interrupted`](crate::error::Kind::Interrupted).
    pub stop: &'a AtomicBool,
}
