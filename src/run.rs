//! A run: a recipe resolved and checked, all that training needs to know.

use crate::{
    checkpoint::CheckpointConfig,
    data::{BatchConfig, DataConfig},
    error::Result,
    eval::EvalConfig,
    model::GptConfig,
    optim::OptimizerConfig,
    schedule::ScheduleConfig,
    toml_file::Source,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A recipe resolved and checked: what is trained. `recipe.toml` in a run folder holds one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u64>,
    pub steps: u64,
    pub vocab_size: usize,
    /// Weights sum to 1; corpora in order of name.
    pub data: DataConfig,
    pub model: GptConfig,
    pub batch: BatchConfig,
    pub optimizer: OptimizerConfig,
    pub schedule: ScheduleConfig,
    /// `corpora` is filled in, its weights sum to 1, in order of name.
    pub eval: EvalConfig,
    pub checkpoint: CheckpointConfig,
    pub log: LogConfig,
}

impl Run {
    pub fn tokens_per_step(&self) -> u64 {
        (self.batch.rows * self.model.block_size) as u64
    }

    /// Tokens of the whole run.
    pub fn tokens(&self) -> u64 {
        self.steps * self.tokens_per_step()
    }

    /// What the first weights are drawn with.
    pub fn init_seed(&self) -> u64 {
        self.init_seed.unwrap_or(self.seed)
    }

    /// What the data's order and noise are drawn with.
    pub fn data_seed(&self) -> u64 {
        self.data_seed.unwrap_or(self.seed)
    }

    /// FLOPs of the whole run's training.
    pub fn flops(&self) -> f64 {
        self.tokens() as f64 * self.model.flops_per_token(self.vocab_size)
    }

    /// All that decides the run's numbers: how often it is saved or logged does not.
    pub fn identity(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).expect("a run is plain data");
        if let Some(map) = value.as_object_mut() {
            for key in ["seed", "init_seed", "data_seed", "checkpoint", "log"] {
                map.remove(key);
            }
        }
        value
    }

    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a run is plain data")
    }

    /// Reads back what [`Run::to_toml`] wrote. Errors name file and line.
    pub fn load(path: &Path) -> Result<Self> {
        Source::read(path)?.parse()
    }
}

/// The `[log]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Steps between two records of `metrics.jsonl`, at least 1.
    pub every: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { every: 1 }
    }
}
