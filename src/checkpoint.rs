//! Checkpoints: parameters and moments in one `safetensors` file.

use serde::{Deserialize, Serialize};

/// The `[checkpoint]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between checkpoints; the last step always has one. 0 saves at the end only.
    pub every: u64,
    /// How many of the newest to keep, at least 1.
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: 250,
            keep: 2,
        }
    }
}
