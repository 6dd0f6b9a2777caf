//! A GPT-2 shaped decoder, to be read from top to bottom beside nanoGPT's `model.py`.
//!
//! Shape letters: K packed variants, B sequences, T tokens, C = `n_embd` channels, V vocabulary.
//! A parameter has the leading axis K, left out in the comments here.

mod config;
pub mod variants;

pub use config::{GptConfig, Parametrization, Positions};

use crate::{
    error::Result,
    ops::{
        attention::Heads,
        cross_entropy::{Score, Tame},
        norm::{Norm, NormKind},
        rotary::{Placing, Turned},
    },
    params::{Init, Param, Spec},
    real::Real,
    tape::{Tape, Value},
};
use std::sync::Arc;
use variants::{Pass, Site};

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
    head: Param,     // (V, C), which is wte where they are tied
    own: Vec<Param>, // the variant's
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
        // Under muP a sum over a width has the variance that it has at the base width.
        let matrix = 0.02 / config.width_multiplier().sqrt();
        // Smaller, so that the stream's variance does not grow with depth (GPT-2).
        let onto_stream = Init::Normal(matrix / (2.0 * config.n_layer as f64).sqrt());
        let matrix = Init::Normal(matrix);
        let wte = make.param("transformer.wte.weight", &[vocab_size, c], small);
        let wpe = (config.positions == Positions::Learned)
            .then(|| make.param("transformer.wpe.weight", &[config.block_size, c], small));
        let blocks = (0..config.n_layer)
            .map(|i| {
                let at = |name| format!("transformer.h.{i}.{name}");
                Block {
                    ln_1: make.weights(at("ln_1"), &[c], Init::Ones),
                    c_attn: make.weights(at("attn.c_attn"), &[c + 2 * kv, c], matrix),
                    c_proj: make.weights(at("attn.c_proj"), &[c, c], onto_stream),
                    mlp: (!config.attention_only).then(|| Mlp {
                        ln_2: make.weights(at("ln_2"), &[c], Init::Ones),
                        c_fc: make.weights(at("mlp.c_fc"), &[f * gate, c], matrix),
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
        let own = config.variant_specs(vocab_size).into_iter();
        let own = own.map(|spec| make.add(spec)).collect();
        let gpt = Self {
            config: config.clone(),
            vocab_size,
            wte,
            wpe,
            blocks,
            ln_f,
            head,
            own,
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
        self.hidden_seen(tape, tokens, t, &mut |_, _, _| {})
    }

    /// The same, with `see` shown what passes each [`Site`].
    pub fn hidden_seen<R: Real>(
        &self,
        tape: &mut Tape<R>,
        tokens: &Arc<[u32]>,
        t: usize,
        see: &mut dyn FnMut(Site, &Tape<R>, Value),
    ) -> Result<Value> {
        let GptConfig {
            dropout,
            norm: kind,
            norm_eps: eps,
            activation,
            ..
        } = self.config;
        let mut at = |tape: &mut Tape<R>, site: Site, x: Value| {
            let x = self.vary(tape, site, x, tokens, t)?;
            see(site, tape, x);
            Ok::<Value, crate::error::Error>(x)
        };
        let x = tape.embed(tokens, t, self.wte, self.wpe)?; // (K, B·T, C)
        let x = at(tape, Site::Embedded, x)?;
        let mut x = tape.dropout(x, dropout, t)?;
        let mut branch = None;
        for (i, block) in self.blocks.iter().enumerate() {
            let h;
            (x, h) = norm(tape, (x, branch), (kind, eps), block.ln_1)?;
            let qkv = linear(tape, h, block.c_attn)?; // (K, B·T, C + 2·G·D)
            let qkv = at(tape, Site::Qkv(i), qkv)?;
            let qkv = self.place(tape, qkv, t)?;
            let h = tape.attention(qkv, t, self.heads(), dropout)?; // (K, B·T, C)
            let h = at(tape, Site::Attended(i), h)?;
            let h = linear(tape, h, block.c_proj)?;
            let h = at(tape, Site::AttentionOut(i), h)?;
            branch = Some(tape.dropout(h, dropout, t)?);

            let Some(mlp) = block.mlp else { continue };
            let h;
            (x, h) = norm(tape, (x, branch), (kind, eps), mlp.ln_2)?;
            // To (K, B·T, F), or 2F for a gate, and from there to (K, B·T, F).
            let c_fc = (mlp.c_fc.weight, mlp.c_fc.bias);
            let h = tape.linear_activation(h, c_fc, activation)?;
            let h = at(tape, Site::Inner(i), h)?;
            let h = linear(tape, h, mlp.c_out)?; // (K, B·T, C)
            let h = at(tape, Site::MlpOut(i), h)?;
            branch = Some(tape.dropout(h, dropout, t)?);
        }
        let (_, h) = norm(tape, (x, branch), (kind, eps), self.ln_f)?;
        let h = at(tape, Site::Final, h)?;
        // Under muP, for a head that does not start smaller in a wider model.
        tape.scale(h, 1.0 / self.config.width_multiplier())
    }

    /// What the variant makes of a value, if there is one.
    fn vary<R: Real>(
        &self,
        tape: &mut Tape<R>,
        site: Site,
        x: Value,
        tokens: &Arc<[u32]>,
        t: usize,
    ) -> Result<Value> {
        let Some(variant) = self.config.variant else {
            return Ok(x);
        };
        let pass = Pass {
            config: &self.config,
            own: &self.own,
            tokens,
            t,
        };
        variant.apply(tape, site, x, &pass)
    }

    /// Queries and keys normed and turned by their place, where the configuration says so.
    fn place<R: Real>(&self, tape: &mut Tape<R>, qkv: Value, t: usize) -> Result<Value> {
        let (heads, dim) = (self.heads(), self.config.head_dim());
        let turned = Turned {
            heads: heads.queries + heads.keys,
            dim,
            t,
        };
        let rotary = self.config.positions == Positions::Rotary;
        let placing = Placing {
            norm: self.config.qk_norm,
            base: rotary.then_some(self.config.rope_base),
        };
        tape.place(qkv, turned, placing)
    }

    fn heads(&self) -> Heads {
        Heads {
            queries: self.config.n_head,
            keys: self.config.kv_heads(),
            window: self.config.window,
            scale: self.config.score_scale(),
        }
    }

    /// Cross-entropy summed over `targets` and divided by `denominator`, in nats, one for each
    /// variant. `tokens` and `targets` are K·B·T ids; sequences have `t` ≤ `block_size` tokens.
    pub fn loss<R: Real>(
        &self,
        tape: &mut Tape<R>,
        pass: (&Arc<[u32]>, &[u32]),
        t: usize,
        denominator: f64,
    ) -> Result<Vec<f64>> {
        tape.clear_losses()?;
        let denominators = vec![denominator; tape.k()];
        self.add_loss(tape, pass, t, &denominators)?;
        tape.take_losses()
    }

    /// The same with a denominator for each variant, added to what the tape has of other passes.
    pub fn add_loss<R: Real>(
        &self,
        tape: &mut Tape<R>,
        (tokens, targets): (&Arc<[u32]>, &[u32]),
        t: usize,
        denominators: &[f64],
    ) -> Result<()> {
        let h = self.hidden(tape, tokens, t)?;
        tape.classifier(h, self.head, (targets, denominators), self.tame())
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
    (kind, eps): (NormKind, f64),
    Weights { weight, bias }: Weights,
) -> Result<(Value, Value)> {
    let norm = Norm {
        kind,
        eps,
        weight,
        bias,
    };
    tape.add_norm(x, branch, norm)
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
    fn add(&mut self, spec: Spec) -> Param {
        self.specs.push(spec);
        Param(self.specs.len() - 1)
    }

    fn param(&mut self, name: impl Into<String>, shape: &[usize], init: Init) -> Param {
        self.add(Spec::new(name, shape, init))
    }

    fn weights(&mut self, name: String, shape: &[usize], init: Init) -> Weights {
        let weight = self.param(format!("{name}.weight"), shape, init);
        let bias = self
            .bias
            .then(|| self.param(format!("{name}.bias"), &shape[..1], Init::Zeros));
        Weights { weight, bias }
    }
}
