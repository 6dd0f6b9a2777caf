//! The `[model]` table: options, what follows from them, and what they cost.

use super::variants::Variant;
use crate::{
    ops::{activation::Activation, norm::NormKind},
    params::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[model]` table of a recipe; nanoGPT's defaults at its smallest published size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GptConfig {
    /// Blocks.
    pub n_layer: usize,
    /// Heads H of queries; they divide the width.
    pub n_head: usize,
    /// Width C of the stream, in channels.
    pub n_embd: usize,
    /// Longest sequence, in tokens.
    pub block_size: usize,
    /// Probability of dropping an activation in training, 0 to 1.
    pub dropout: f64,
    /// Biases in linear layers and norms.
    pub bias: bool,
    /// Before attention, before the MLP, and last.
    pub norm: NormKind,
    /// Added to the variance or the mean square in the norms; GPT-2's 1e-5 unless written.
    #[serde(skip_serializing_if = "is_usual_eps")]
    pub norm_eps: f64,
    /// Of the MLP.
    pub activation: Activation,
    /// Width F of the MLP; 0 means 4C, and for a gate 8C/3 in whole eights, which is about as many
    /// parameters (Shazeer 2020).
    pub n_inner: usize,
    /// The head's weights are the token embedding's.
    pub tied: bool,
    /// How the model knows a token's place.
    pub positions: Positions,
    /// Base of rotary angles.
    pub rope_base: f64,
    /// Heads G of keys and values, each shared by H/G heads of queries; 0 means H.
    pub n_kv_head: usize,
    /// Queries and keys are divided by the root of their mean square.
    pub qk_norm: bool,
    /// Tokens that a token sees, itself included; 0 means all before it.
    pub window: usize,
    /// Blocks without an MLP.
    pub attention_only: bool,
    /// Logits go through cap·tanh(z/cap); 0 leaves them.
    pub logit_cap: f64,
    /// Weight of the squared log-sum-exp in the training loss.
    pub z_loss: f64,
    /// How weights start and what grows with the width.
    pub init: Parametrization,
    /// `mup` alone has one: the width at which it is the same as `gpt2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_width: Option<usize>,
    /// `mup` alone has one: channels of a head at that width; `base_width` / `n_head` unless
    /// written, as if heads grew wider and not more numerous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_head_dim: Option<usize>,
    /// Code of somebody's own, by name: one of [`super::variants`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
}

/// How weights start and what grows with the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parametrization {
    /// Every matrix with the same spread, every step as long, as GPT-2 and nanoGPT have it.
    #[default]
    Gpt2,
    /// Maximal update parametrisation (Yang et al. 2022): what is felt of a step, and so the best
    /// rate, is the same at every width.
    Mup,
}

impl Parametrization {
    /// As a recipe writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::Mup => "mup",
        }
    }
}

/// How the model knows a token's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// An embedding for each place.
    Learned,
    /// Queries and keys are turned by their place.
    Rotary,
    /// Only by what it may attend to.
    None,
}

const USUAL_EPS: f64 = 1e-5;

/// Left out where it is the usual one, so that what was written before it had a key reads the same.
fn is_usual_eps(eps: &f64) -> bool {
    *eps == USUAL_EPS
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
            norm: NormKind::Layer,
            norm_eps: USUAL_EPS,
            activation: Activation::Gelu,
            n_inner: 0,
            tied: true,
            positions: Positions::Learned,
            rope_base: 10_000.0,
            n_kv_head: 0,
            qk_norm: false,
            window: 0,
            attention_only: false,
            logit_cap: 0.0,
            z_loss: 0.0,
            init: Parametrization::Gpt2,
            base_width: None,
            base_head_dim: None,
            variant: None,
        }
    }
}

impl GptConfig {
    /// Parameters of the whole model, position embeddings included.
    pub fn n_params(&self, vocab_size: usize) -> u64 {
        let (c, l) = (self.n_embd as u64, self.n_layer as u64);
        let (f, gate) = (self.inner() as u64, self.activation.fan_in() as u64);
        let kv = self.kv_width() as u64;
        let norm = if self.bias { 2 * c } else { c };
        let bias = if self.bias { 1 } else { 0 };
        let attention = 2 * c * c + 2 * kv * c + norm + bias * (2 * c + 2 * kv);
        let mlp = match self.attention_only {
            true => 0,
            false => (gate + 1) * f * c + norm + bias * (gate * f + c),
        };
        let tables = if self.tied { 1 } else { 2 };
        let embeddings = vocab_size as u64 * tables + self.places() as u64;
        let own: usize = self.variant_specs(vocab_size).iter().map(Spec::len).sum();
        embeddings * c + l * (attention + mlp) + norm + own as u64
    }

    /// What the variant adds to the model's own parameters.
    pub(super) fn variant_specs(&self, vocab_size: usize) -> Vec<Spec> {
        self.variant
            .map_or_else(Vec::new, |variant| variant.specs(self, vocab_size))
    }

    /// Position embeddings.
    fn places(&self) -> usize {
        match self.positions {
            Positions::Learned => self.block_size,
            _ => 0,
        }
    }

    /// Channels D of a head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Heads G of keys and values.
    pub fn kv_heads(&self) -> usize {
        match self.n_kv_head {
            0 => self.n_head,
            n => n,
        }
    }

    /// How many times wider than the base model this one is, which is of the same proportions; 1
    /// where widths are not compared.
    pub fn width_multiplier(&self) -> f64 {
        match self.init {
            Parametrization::Gpt2 => 1.0,
            Parametrization::Mup => self.n_embd as f64 / self.base_width() as f64,
        }
    }

    fn base_width(&self) -> usize {
        self.base_width.unwrap_or(self.n_embd).max(1)
    }

    /// What scores are multiplied by: 1/√D, or √D₀/D under muP, for queries and keys that grow
    /// alike in D add up to D and not to √D.
    pub fn score_scale(&self) -> f64 {
        let dim = self.head_dim() as f64;
        match self.init {
            Parametrization::Gpt2 => 1.0 / dim.sqrt(),
            Parametrization::Mup => {
                let base = self.base_width() as f64 / self.n_head as f64;
                self.base_head_dim.map_or(base, |dim| dim as f64).sqrt() / dim
            }
        }
    }

    pub(super) fn kv_width(&self) -> usize {
        self.kv_heads() * self.head_dim()
    }

    /// Width F of the MLP.
    pub fn inner(&self) -> usize {
        match (self.n_inner, self.activation) {
            (0, Activation::Swiglu) => (8 * self.n_embd).div_ceil(3).next_multiple_of(8),
            (0, _) => 4 * self.n_embd,
            (n, _) => n,
        }
    }

    /// FLOPs of training on one token, forward and backward: 6 for each parameter but embeddings
    /// that are only looked up, and 12·L·C·T for attention (PaLM's appendix B; nanoGPT's
    /// `estimate_mfu`), with the window in place of T where that is shorter.
    pub fn flops_per_token(&self, vocab_size: usize) -> f64 {
        let untied = if self.tied { 0 } else { vocab_size };
        let own = self.variant_specs(vocab_size);
        let tables = own.iter().filter(|spec| spec.name.contains("wte"));
        let tables: usize = tables.map(Spec::len).sum();
        let looked_up = ((self.places() + untied) * self.n_embd + tables) as u64;
        let seen = match self.window {
            0 => self.block_size,
            window => window.min(self.block_size),
        };
        let attention = 12 * self.n_layer * self.n_embd * seen;
        (6 * (self.n_params(vocab_size) - looked_up)) as f64 + attention as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Gpt;

    #[test]
    fn counts_agree_with_the_arenas_and_with_gpt_2() {
        for (bias, activation) in [(false, Activation::Gelu), (true, Activation::Swiglu)] {
            for (tied, n_inner) in [(true, 0), (false, 100)] {
                let config = GptConfig {
                    n_kv_head: if tied { 0 } else { 2 },
                    bias,
                    activation,
                    tied,
                    n_inner,
                    ..Default::default()
                };
                let (_, specs) = Gpt::new(&config, 65);
                let total: usize = specs.iter().map(Spec::len).sum();
                assert_eq!(config.n_params(65), total as u64);
            }
        }
        // GPT-2 small as released: 124,439,808 parameters with the head tied.
        let gpt2 = GptConfig {
            n_layer: 12,
            n_head: 12,
            n_embd: 768,
            block_size: 1024,
            bias: true,
            ..Default::default()
        };
        assert_eq!(gpt2.n_params(50257), 124_439_808);
    }
}
