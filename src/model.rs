//! A GPT-2 shaped decoder, to be read from top to bottom beside nanoGPT's `model.py`.
//!
//! Shape letters: K packed variants, B sequences, T tokens, C = `n_embd` channels, V vocabulary.
//! A parameter has the leading axis K, left out in the comments here.

use crate::{
    error::Result,
    ops::{
        activation::Activation,
        attention::Heads,
        cross_entropy::{Score, Tame},
        norm::{Norm, NormKind},
        rotary::Turned,
    },
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
    pub norm: NormKind,
    pub activation: Activation,
    /// Width F of the MLP; 0 means 4C, and for a gate 8C/3 in whole eights, which is about as many
    /// parameters (Shazeer 2020).
    pub n_inner: usize,
    /// The head's weights are the token embedding's.
    pub tied: bool,
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
}

/// How the model knows a token's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// An embedding for each place.
    Learned,
    /// Queries and keys are turned by their place.
    Rotary,
    /// Only by what it may attend to.
    None,
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
    c_attn: Weights, // (C + 2·G·D, C): queries, keys, values
    c_proj: Weights, // (C, C)
    mlp: Option<Mlp>,
}

#[derive(Debug, Clone, Copy)]
struct Mlp {
    ln_2: Weights,  // (C,)
    c_fc: Weights,  // (F, C), or (2F, C) for a gate: its rows first, then the values'
    c_out: Weights, // (C, F)
}

/// The model: handles into the arenas, and the order in which they are used.
#[derive(Debug, Clone)]
pub struct Gpt {
    config: GptConfig,
    vocab_size: usize,
    wte: Param,         // (V, C)
    wpe: Option<Param>, // (T, C)
    blocks: Vec<Block>,
    ln_f: Weights,
    head: Param, // (V, C), which is wte where they are tied
}

impl Gpt {
    /// The model and the parameters that it needs, in arena order.
    pub fn new(config: &GptConfig, vocab_size: usize) -> (Self, Vec<Spec>) {
        let (c, f, kv) = (config.n_embd, config.inner(), config.kv_width());
        let mut make = Maker {
            bias: config.bias,
            specs: Vec::new(),
        };
        let gate = config.activation.fan_in();
        let small = Init::Normal(0.02);
        // Smaller, so that the stream's variance does not grow with depth (GPT-2).
        let onto_stream = Init::Normal(0.02 / (2.0 * config.n_layer as f64).sqrt());
        let wte = make.param("transformer.wte.weight", &[vocab_size, c], small);
        let wpe = (config.positions == Positions::Learned)
            .then(|| make.param("transformer.wpe.weight", &[config.block_size, c], small));
        let blocks = (0..config.n_layer)
            .map(|i| {
                let at = |name| format!("transformer.h.{i}.{name}");
                Block {
                    ln_1: make.weights(at("ln_1"), &[c], Init::Ones),
                    c_attn: make.weights(at("attn.c_attn"), &[c + 2 * kv, c], small),
                    c_proj: make.weights(at("attn.c_proj"), &[c, c], onto_stream),
                    mlp: (!config.attention_only).then(|| Mlp {
                        ln_2: make.weights(at("ln_2"), &[c], Init::Ones),
                        c_fc: make.weights(at("mlp.c_fc"), &[f * gate, c], small),
                        c_out: make.weights(at("mlp.c_proj"), &[c, f], onto_stream),
                    }),
                }
            })
            .collect();
        let ln_f = make.weights("transformer.ln_f".into(), &[c], Init::Ones);
        let head = match config.tied {
            true => wte,
            false => make.param("lm_head.weight", &[vocab_size, c], small),
        };
        let gpt = Self {
            config: config.clone(),
            vocab_size,
            wte,
            wpe,
            blocks,
            ln_f,
            head,
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
            dropout,
            norm: kind,
            activation,
            ..
        } = self.config;
        let x = tape.embed(tokens, t, self.wte, self.wpe)?; // (K, B·T, C)
        let mut x = tape.dropout(x, dropout, t)?;
        let mut branch = None;
        for block in &self.blocks {
            let h;
            (x, h) = norm(tape, (x, branch), kind, block.ln_1)?;
            let qkv = linear(tape, h, block.c_attn)?; // (K, B·T, C + 2·G·D)
            let qkv = self.place(tape, qkv, t)?;
            let h = tape.attention(qkv, t, self.heads(), dropout)?; // (K, B·T, C)
            let h = linear(tape, h, block.c_proj)?;
            branch = Some(tape.dropout(h, dropout, t)?);

            let Some(mlp) = block.mlp else { continue };
            let h;
            (x, h) = norm(tape, (x, branch), kind, mlp.ln_2)?;
            let h = linear(tape, h, mlp.c_fc)?; // (K, B·T, F), or 2F for a gate
            let h = tape.activation(h, activation)?; // (K, B·T, F)
            let h = linear(tape, h, mlp.c_out)?; // (K, B·T, C)
            branch = Some(tape.dropout(h, dropout, t)?);
        }
        Ok(norm(tape, (x, branch), kind, self.ln_f)?.1)
    }

    /// Queries and keys normed and turned by their place, where the configuration says so.
    fn place<R: Real>(&self, tape: &mut Tape<R>, mut qkv: Value, t: usize) -> Result<Value> {
        let (heads, dim) = (self.heads(), self.config.head_dim());
        let turned = Turned {
            heads: heads.queries + heads.keys,
            dim,
            t,
        };
        if self.config.qk_norm {
            qkv = tape.head_norm(qkv, turned)?;
        }
        if self.config.positions == Positions::Rotary {
            qkv = tape.rotary(qkv, turned, self.config.rope_base)?;
        }
        Ok(qkv)
    }

    fn heads(&self) -> Heads {
        Heads {
            queries: self.config.n_head,
            keys: self.config.kv_heads(),
            window: self.config.window,
        }
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
        tape.classifier(h, self.head, (targets, denominator), self.tame())
    }

    /// The score of every target: its nats, and whether it is the likeliest token after those
    /// before it.
    pub fn scores<R: Real>(
        &self,
        tape: &mut Tape<R>,
        (tokens, targets): (&Arc<[u32]>, &[u32]),
        t: usize,
    ) -> Result<Vec<Score>> {
        let h = self.hidden(tape, tokens, t)?;
        tape.scores(h, self.head, targets, self.tame())
    }

    fn tame(&self) -> Tame {
        Tame {
            cap: self.config.logit_cap,
            z_loss: self.config.z_loss,
        }
    }

    /// Logits (K, B·T, V) of every position.
    pub fn logits<R: Real>(
        &self,
        tape: &mut Tape<R>,
        tokens: &Arc<[u32]>,
        t: usize,
    ) -> Result<Value> {
        let h = self.hidden(tape, tokens, t)?;
        let z = tape.linear(h, self.head, None)?;
        match self.config.logit_cap {
            0.0 => Ok(z),
            cap => tape.composed(&[z], &[], |z, _| (&z[0] / cap)?.tanh()? * cap),
        }
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
    (x, branch): (Value, Option<Value>),
    kind: NormKind,
    Weights { weight, bias }: Weights,
) -> Result<(Value, Value)> {
    tape.add_norm(x, branch, Norm { kind, weight, bias })
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
        embeddings * c + l * (attention + mlp) + norm
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

    fn kv_width(&self) -> usize {
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
        let looked_up = ((self.places() + untied) * self.n_embd) as u64;
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
