//! Evaluation on fixed windows, in nats per token and bits per byte.

use serde::{Deserialize, Serialize};

/// The `[eval]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Steps between evaluations; the last step is always evaluated. 0 evaluates at the end only.
    pub every: u64,
    /// Windows per corpus, spread evenly over its validation part; 0 means all of them.
    pub windows: usize,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            every: 250,
            windows: 0,
        }
    }
}
