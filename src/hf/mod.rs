//! Models to and from folders as Hugging Face's `transformers` writes them: `config.json`,
//! `model.safetensors` (whole or in shards) and a tokenizer.
//!
//! Two of its layouts are known, GPT-2's and Llama's. What neither can say is refused by name in both
//! directions: a model that loads and computes something else is worse than one that does not load.

pub mod config;
pub mod export;
pub mod import;
mod names;
mod tokenizer;
mod weights;

pub use export::export;
pub use import::{Imported, Origin};

use crate::{
    model::{GptConfig, Positions},
    ops::{activation::Activation, norm::NormKind},
};
use serde::{Deserialize, Serialize};

/// A `model_type` of `transformers` that ours can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// LayerNorm, learned positions, GELU, biases everywhere.
    Gpt2,
    /// RMSNorm, rotary positions, SwiGLU, shared keys and values, no biases.
    Llama,
}

impl Layout {
    pub const ALL: [Self; 2] = [Self::Gpt2, Self::Llama];

    /// As `config.json` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::Llama => "llama",
        }
    }

    /// What a model has to be, in the words of a recipe.
    fn needs(self) -> &'static str {
        match self {
            Self::Gpt2 => {
                "norm = \"layer\", positions = \"learned\", activation = \"gelu\" or \"gelu_tanh\", n_kv_head = 0"
            }
            Self::Llama => {
                "norm = \"rms\", positions = \"rotary\", activation = \"swiglu\", bias = false"
            }
        }
    }

    /// The keys of `[model]` that it has no place for, with their values; none if a model fits.
    pub fn obstacles(self, m: &GptConfig) -> Vec<String> {
        let gelu = matches!(m.activation, Activation::Gelu | Activation::GeluTanh);
        let own = match self {
            Self::Gpt2 => [
                (m.norm != NormKind::Layer, "norm", word(&m.norm)),
                (
                    m.positions != Positions::Learned,
                    "positions",
                    word(&m.positions),
                ),
                (!gelu, "activation", word(&m.activation)),
                (
                    m.kv_heads() != m.n_head,
                    "n_kv_head",
                    m.n_kv_head.to_string(),
                ),
            ],
            Self::Llama => [
                (m.norm != NormKind::Rms, "norm", word(&m.norm)),
                (
                    m.positions != Positions::Rotary,
                    "positions",
                    word(&m.positions),
                ),
                (
                    m.activation != Activation::Swiglu,
                    "activation",
                    word(&m.activation),
                ),
                (m.bias, "bias", m.bias.to_string()),
            ],
        };
        // A window of a whole block hides nothing.
        let windowed = m.window > 0 && m.window < m.block_size;
        let of_both = [
            (m.qk_norm, "qk_norm", m.qk_norm.to_string()),
            (windowed, "window", m.window.to_string()),
            (
                m.attention_only,
                "attention_only",
                m.attention_only.to_string(),
            ),
            (m.logit_cap != 0.0, "logit_cap", m.logit_cap.to_string()),
        ];
        let all = own.into_iter().chain(of_both);
        all.filter(|(stands, ..)| *stands)
            .map(|(_, key, value)| format!("{key} = {value}"))
            .collect()
    }
}

/// A word of a recipe as TOML writes it.
fn word(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a word is plain data")
}
