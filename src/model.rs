//! A GPT-2 shaped decoder, to be read from top to bottom beside nanoGPT's `model.py`.

use serde::{Deserialize, Serialize};

/// The `[model]` table of a recipe; nanoGPT's defaults at its smallest published size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GptConfig {
    pub n_layer: usize,
    pub n_head: usize,
    pub n_embd: usize,
    /// Longest sequence, in tokens.
    pub block_size: usize,
    /// Probability of dropping an activation in training, 0 to 1.
    pub dropout: f64,
    /// Biases in linear layers and norms.
    pub bias: bool,
}

impl Default for GptConfig {
    fn default() -> Self {
        Self {
            n_layer: 4,
            n_head: 4,
            n_embd: 128,
            block_size: 64,
            dropout: 0.0,
            bias: false,
        }
    }
}
