//! What a step's ops have to compute and to move, from the model's shape alone.
//!
//! Letters: N tokens of a step, C channels, F width of the MLP, L layers, V vocabulary, P parameters.

use crate::{model::Positions, optim::OptimizerKind, profile::Half, run::Run};

/// What one op needs for one step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Needs {
    /// Of matrix products.
    pub flops: Option<f64>,
    /// Read and written at least once, of ops that are bound by memory.
    pub bytes: Option<f64>,
}

/// A step's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    n: f64,
    c: f64,
    f: f64,
    l: f64,
    p: f64,
    vocab: f64,
    /// Weights of the blocks' linear layers.
    weights: f64,
    /// Tokens that a token sees, on average.
    seen: f64,
    fan_in: f64,
    rotary: bool,
    moments: f64,
    sites: f64,
}

const F32: f64 = 4.0;

impl Work {
    pub fn of(run: &Run) -> Self {
        let m = &run.model;
        let (c, f, l) = (m.n_embd as f64, m.inner() as f64, m.n_layer as f64);
        let kv = (m.kv_heads() * m.head_dim()) as f64;
        let fan_in = m.activation.fan_in() as f64;
        let mlp = if m.attention_only { 0.0 } else { 1.0 };
        let t = m.block_size;
        let reach = if m.window == 0 { t } else { m.window.min(t) };
        // The first tokens see fewer.
        let seen = (0..t).map(|i| (i + 1).min(reach)).sum::<usize>() as f64 / t as f64;
        Self {
            n: run.tokens_per_step() as f64,
            c,
            f: mlp * f,
            l,
            p: m.n_params(run.vocab_size) as f64,
            vocab: run.vocab_size as f64,
            weights: l * (c * (c + 2.0 * kv) + c * c + mlp * (fan_in + 1.0) * f * c),
            seen,
            fan_in,
            rotary: m.positions == Positions::Rotary,
            moments: match run.optimizer.kind {
                OptimizerKind::Adamw => 2.0,
                _ => 1.0,
            },
            sites: l * (1.0 + mlp),
        }
    }

    /// What an op needs, or nothing where that is not known.
    pub fn needs(&self, op: &str, half: Half) -> Needs {
        let flops = |x: f64| Needs {
            flops: Some(x),
            bytes: None,
        };
        let bytes = |numbers: f64| Needs {
            flops: None,
            bytes: Some(F32 * numbers),
        };
        let forward = half == Half::Forward;
        let (n, nc, nf) = (self.n, self.n * self.c, self.n * self.f * self.l);
        match op {
            // Forward, inputs and weights are three products of the same size.
            "linear" => flops(2.0 * n * self.weights),
            "cross_entropy" => flops(6.0 * nc * self.vocab),
            // Scores and their use; backward four such products.
            "attention" => flops(if forward { 4.0 } else { 8.0 } * self.l * nc * self.seen),
            // The stream and the branch, read; their sum and the normed, written.
            "norm" => bytes(4.0 * nc * (self.sites + 1.0)),
            "activation" => bytes(match forward {
                true => (self.fan_in + 1.0) * nf,
                false => (2.0 * self.fan_in + 1.0) * nf,
            }),
            "dropout" => bytes(2.0 * nc * (self.sites + 1.0)),
            "rotary" if self.rotary => bytes(4.0 * nc * self.l),
            "embedding" => bytes(3.0 * nc),
            "zero_grads" | "grad_norm" => bytes(self.p),
            // Weights and moments, read and written; gradients, read.
            "optimizer" => bytes((3.0 + 2.0 * self.moments) * self.p),
            _ => Needs::default(),
        }
    }
}
