//! A GPT-2 shaped decoder, to be read from top to bottom beside nanoGPT's `model.py`.
//!
//! Shape letters: K packed variants, B sequences, T tokens, C = `n_embd` channels, V vocabulary.
//! A parameter has the leading axis K, left out in the comments here.

use crate::{
    error::Result,
    params::{Init, Param, Spec},
    real::Real,
    tape::{Tape, Value},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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

/// A weight, and a bias where the configuration has biases.
#[derive(Debug, Clone, Copy)]
struct Weights {
    weight: Param,
    bias: Option<Param>,
}

#[derive(Debug, Clone)]
struct Block {
    ln_1: Weights,   // (C,)
    c_attn: Weights, // (3C, C)
    c_proj: Weights, // (C, C)
    ln_2: Weights,   // (C,)
    c_fc: Weights,   // (4C, C)
    c_out: Weights,  // (C, 4C)
}

/// The model: handles into the arenas, and the order in which they are used.
#[derive(Debug, Clone)]
pub struct Gpt {
    config: GptConfig,
    vocab_size: usize,
    wte: Param, // (V, C), also the head
    wpe: Param, // (T, C)
    blocks: Vec<Block>,
    ln_f: Weights,
}

impl Gpt {
    /// The model and the parameters that it needs, in arena order.
    pub fn new(config: &GptConfig, vocab_size: usize) -> (Self, Vec<Spec>) {
        let c = config.n_embd;
        let mut make = Maker {
            bias: config.bias,
            specs: Vec::new(),
        };
        let small = Init::Normal(0.02);
        // Smaller, so that the stream's variance does not grow with depth (GPT-2).
        let onto_stream = Init::Normal(0.02 / (2.0 * config.n_layer as f64).sqrt());
        let wte = make.param("transformer.wte.weight", &[vocab_size, c], small);
        let wpe = make.param("transformer.wpe.weight", &[config.block_size, c], small);
        let blocks = (0..config.n_layer)
            .map(|i| {
                let at = |name| format!("transformer.h.{i}.{name}");
                Block {
                    ln_1: make.weights(at("ln_1"), &[c], Init::Ones),
                    c_attn: make.weights(at("attn.c_attn"), &[3 * c, c], small),
                    c_proj: make.weights(at("attn.c_proj"), &[c, c], onto_stream),
                    ln_2: make.weights(at("ln_2"), &[c], Init::Ones),
                    c_fc: make.weights(at("mlp.c_fc"), &[4 * c, c], small),
                    c_out: make.weights(at("mlp.c_proj"), &[c, 4 * c], onto_stream),
                }
            })
            .collect();
        let ln_f = make.weights("transformer.ln_f".into(), &[c], Init::Ones);
        let gpt = Self {
            config: config.clone(),
            vocab_size,
            wte,
            wpe,
            blocks,
            ln_f,
        };
        (gpt, make.specs)
    }

    /// The stream before the head: tokens (K, B·T) → (K, B·T, C).
    pub fn hidden<R: Real>(
        &self,
        tape: &mut Tape<R>,
        tokens: &Arc<[u32]>,
        t: usize,
    ) -> Result<Value> {
        let GptConfig {
            n_head, dropout, ..
        } = self.config;
        let x = tape.embed(tokens, t, self.wte, self.wpe)?; // (K, B·T, C)
        let mut x = tape.dropout(x, dropout, t)?;
        let mut branch = None;
        for block in &self.blocks {
            let h;
            (x, h) = norm(tape, x, branch, block.ln_1)?;
            let qkv = linear(tape, h, block.c_attn)?; // (K, B·T, 3C)
            let h = tape.attention(qkv, t, n_head, dropout)?; // (K, B·T, C)
            let h = linear(tape, h, block.c_proj)?;
            branch = Some(tape.dropout(h, dropout, t)?);

            let h;
            (x, h) = norm(tape, x, branch, block.ln_2)?;
            let h = linear(tape, h, block.c_fc)?; // (K, B·T, 4C)
            let h = tape.gelu(h)?;
            let h = linear(tape, h, block.c_out)?; // (K, B·T, C)
            branch = Some(tape.dropout(h, dropout, t)?);
        }
        Ok(norm(tape, x, branch, self.ln_f)?.1)
    }

    /// Cross-entropy summed over `targets` and divided by `denominator`, in nats, one for each
    /// variant. `tokens` and `targets` are K·B·T ids; sequences have `t` ≤ `block_size` tokens.
    pub fn loss<R: Real>(
        &self,
        tape: &mut Tape<R>,
        (tokens, targets): (&Arc<[u32]>, &[u32]),
        t: usize,
        denominator: f64,
    ) -> Result<Vec<f64>> {
        let h = self.hidden(tape, tokens, t)?;
        tape.classifier(h, self.wte, targets, denominator)
    }

    /// Logits (K, B·T, V) of every position.
    pub fn logits<R: Real>(
        &self,
        tape: &mut Tape<R>,
        tokens: &Arc<[u32]>,
        t: usize,
    ) -> Result<Value> {
        let h = self.hidden(tape, tokens, t)?;
        tape.linear(h, self.wte, None)
    }

    pub fn config(&self) -> &GptConfig {
        &self.config
    }

    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

fn norm<R: Real>(
    tape: &mut Tape<R>,
    x: Value,
    branch: Option<Value>,
    w: Weights,
) -> Result<(Value, Value)> {
    tape.add_norm(x, branch, w.weight, w.bias)
}

fn linear<R: Real>(tape: &mut Tape<R>, x: Value, w: Weights) -> Result<Value> {
    tape.linear(x, w.weight, w.bias)
}

/// Hands out handles in arena order.
struct Maker {
    bias: bool,
    specs: Vec<Spec>,
}

impl Maker {
    fn param(&mut self, name: impl Into<String>, shape: &[usize], init: Init) -> Param {
        self.specs.push(Spec::new(name, shape, init));
        Param(self.specs.len() - 1)
    }

    fn weights(&mut self, name: String, shape: &[usize], init: Init) -> Weights {
        let weight = self.param(format!("{name}.weight"), shape, init);
        let bias = self
            .bias
            .then(|| self.param(format!("{name}.bias"), &shape[..1], Init::Zeros));
        Weights { weight, bias }
    }
}

impl GptConfig {
    /// Parameters of the whole model, position embeddings included.
    pub fn n_params(&self, vocab_size: usize) -> u64 {
        let (c, l) = (self.n_embd as u64, self.n_layer as u64);
        let vectors = if self.bias {
            l * (4 * c + 9 * c) + 2 * c
        } else {
            l * 2 * c + c
        };
        (vocab_size as u64 + self.block_size as u64) * c + l * 12 * c * c + vectors
    }

    /// FLOPs of training on one token, forward and backward: 6 for each parameter but the position
    /// embeddings, and 12·L·C·T for attention (PaLM's appendix B; nanoGPT's `estimate_mfu`).
    pub fn flops_per_token(&self, vocab_size: usize) -> f64 {
        let positions = (self.block_size * self.n_embd) as u64;
        let attention = 12 * self.n_layer * self.n_embd * self.block_size;
        (6 * (self.n_params(vocab_size) - positions)) as f64 + attention as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_the_arenas_and_with_gpt_2() {
        for bias in [false, true] {
            let config = GptConfig {
                bias,
                ..Default::default()
            };
            let (_, specs) = Gpt::new(&config, 65);
            let total: usize = specs.iter().map(Spec::len).sum();
            assert_eq!(config.n_params(65), total as u64);
        }
        // GPT-2 small as released: 124,439,808 parameters with the head tied.
        let gpt2 = GptConfig {
            n_layer: 12,
            n_head: 12,
            n_embd: 768,
            block_size: 1024,
            dropout: 0.0,
            bias: true,
        };
        assert_eq!(gpt2.n_params(50257), 124_439_808);
    }
}
