//! AdamW over the flat arenas (Loshchilov & Hutter 2019), with decay groups and global-norm clipping.

use crate::{
    memory::Buffer,
    params::Params,
    pool::Pool,
    real::{Real, simd},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    Adamw,
}

/// The `[optimizer]` table of a recipe; nanoGPT's defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    pub kind: OptimizerKind,
    /// Peak learning rate.
    pub lr: f64,
    pub betas: [f64; 2],
    pub eps: f64,
    /// Decoupled decay on matrices and embeddings; vectors (norms, biases) have none.
    pub weight_decay: f64,
    /// Largest global gradient norm; 0 turns clipping off.
    pub max_grad_norm: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::Adamw,
            lr: 1e-3,
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: 0.1,
            max_grad_norm: 1.0,
        }
    }
}

/// First and second moments, laid out as the parameters are.
pub struct AdamW<R> {
    pub m: Buffer<R>,
    pub v: Buffer<R>,
}

/// Elements updated by one thread at a time: four streams of them fit the second-level cache.
const PIECE: usize = 16 << 10;

impl<R: Real> AdamW<R> {
    pub fn new(params: &Params<R>) -> Self {
        Self {
            m: Buffer::zeros(params.values.len()),
            v: Buffer::zeros(params.values.len()),
        }
    }

    /// One update of variant `k` as `torch.optim.AdamW` makes it, in one pass over memory. `step`
    /// counts from 1; gradients, whose global norm is `grad_norm`, are first scaled down to
    /// `max_grad_norm` if they are longer.
    pub fn step(
        &mut self,
        (params, k): (&mut Params<R>, usize),
        config: &OptimizerConfig,
        (step, lr): (u64, f64),
        grad_norm: f64,
        pool: &Pool,
    ) {
        let clip = match config.max_grad_norm {
            max if max > 0.0 && grad_norm > max => max / (grad_norm + 1e-6),
            _ => 1.0,
        };
        let [beta1, beta2] = config.betas;
        let correction1 = 1.0 - beta1.powi(step as i32);
        let correction2 = 1.0 - beta2.powi(step as i32);
        let (b1, b2) = (R::of(beta1), R::of(beta2));
        let (c1, c2) = (R::of(1.0 - beta1), R::of(1.0 - beta2));
        let (clip, rate) = (R::of(clip), R::of(lr / correction1));
        let (root2, eps) = (R::of(1.0 / correction2.sqrt()), R::of(config.eps));
        for p in params.handles() {
            let decay = if params.spec(p).decay {
                config.weight_decay
            } else {
                0.0
            };
            let keep = R::of(1.0 - lr * decay);
            let range = params.range(p, k);
            let grads = &params.grads[range.clone()];
            pool.pieces3(
                (&mut params.values[range.clone()], PIECE),
                (&mut self.m[range.clone()], PIECE),
                (&mut self.v[range], PIECE),
                |i, w, m, v| {
                    let grads = &grads[i * PIECE..][..w.len()];
                    simd(
                        #[inline(always)]
                        || {
                            for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(grads) {
                                let g = *g * clip;
                                *m = b1.mul_add(*m, c1 * g);
                                *v = b2.mul_add(*v, c2 * g * g);
                                let step = *m / v.sqrt().mul_add(root2, eps);
                                *w = w.mul_add(keep, -(rate * step));
                            }
                        },
                    );
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Init, Spec};

    /// Two steps worked by hand from the formulas of the paper, in exact decimals.
    #[test]
    fn two_steps_agree_with_hand_computation_and_vectors_do_not_decay() {
        let specs = vec![
            Spec::new("w", &[1, 1], Init::Ones),
            Spec::new("b", &[1], Init::Ones),
        ];
        let mut params = Params::<f64>::new(1, specs);
        params.init(0, 0);
        let config = OptimizerConfig {
            betas: [0.9, 0.99],
            eps: 0.0,
            weight_decay: 0.5,
            max_grad_norm: 0.0,
            ..Default::default()
        };
        let mut adamw = AdamW::new(&params);
        let pool = Pool::new(1);
        let handles: Vec<_> = params.handles().collect();
        for (step, g) in [(1, 2.0), (2, -1.0)] {
            for p in &handles {
                params.grad_mut(*p, 0)[0] = g;
            }
            adamw.step((&mut params, 0), &config, (step, 0.1), 0.0, &pool);
        }
        // Step 1: m̂ = 2, v̂ = 4, so the step is −0.1. Step 2: m = .9·.2 − .1 = .08, m̂ = .08/.19,
        // v = .99·.04 + .01 = .0496, v̂ = .0496/.0199.
        let second = 0.1 * (0.08 / 0.19) / (0.0496f64 / 0.0199).sqrt();
        let b = 1.0 - 0.1 - second;
        let w = (1.0 * 0.95 - 0.1) * 0.95 - second;
        assert!((params.value(handles[1], 0)[0] - b).abs() < 1e-12);
        assert!((params.value(handles[0], 0)[0] - w).abs() < 1e-12);
    }
}
