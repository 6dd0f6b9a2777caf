//! Stochastic gradient descent, with or without momentum.

use super::{OptimizerConfig, PIECE, Tensor, Update};
use crate::{
    pool::Pool,
    real::{Real, simd},
};

/// One update as `torch.optim.SGD` makes it without dampening: the decay is part of the gradient,
/// and of its momentum.
pub(super) fn update<R: Real>(
    tensor: Tensor<R>,
    config: &OptimizerConfig,
    update: &Update,
    pool: &Pool,
) {
    let (clip, decay, lr) = (R::of(update.clip), R::of(update.decay), R::of(update.lr));
    let grads = tensor.grads;
    if config.momentum() == 0.0 {
        return pool.pieces(tensor.values, PIECE, |i, w| {
            let grads = &grads[i * PIECE..][..w.len()];
            simd(
                #[inline(always)]
                || {
                    for (w, g) in w.iter_mut().zip(grads) {
                        let g = decay.mul_add(*w, *g * clip);
                        *w = lr.mul_add(-g, *w);
                    }
                },
            );
        });
    }
    let mu = R::of(config.momentum());
    // The direction is this much of the gradient and this much of the momentum.
    let (of_g, of_m) = match config.nesterov() {
        true => (R::ONE, mu),
        false => (R::ZERO, R::ONE),
    };
    pool.pieces2((tensor.values, PIECE), (tensor.first, PIECE), |i, w, m| {
        let grads = &grads[i * PIECE..][..w.len()];
        simd(
            #[inline(always)]
            || {
                for ((w, m), g) in w.iter_mut().zip(m).zip(grads) {
                    let g = decay.mul_add(*w, *g * clip);
                    *m = mu.mul_add(*m, g);
                    let direction = of_m.mul_add(*m, of_g * g);
                    *w = lr.mul_add(-direction, *w);
                }
            },
        );
    });
}
