//! Lion: the sign of an interpolated momentum (Chen et al. 2023, arXiv 2302.06675).

use super::{OptimizerConfig, PIECE, Tensor, Update};
use crate::{
    pool::Pool,
    real::{Real, simd},
};

/// One update: the weights decay by the rate and move by the rate against the sign of
/// β₁·m + (1 − β₁)·g; then the momentum is β₂·m + (1 − β₂)·g.
pub(super) fn update<R: Real>(
    tensor: Tensor<R>,
    config: &OptimizerConfig,
    update: &Update,
    pool: &Pool,
) {
    let [beta1, beta2] = config.betas();
    let (b1, b2) = (R::of(beta1), R::of(beta2));
    let (c1, c2) = (R::of(1.0 - beta1), R::of(1.0 - beta2));
    let (clip, lr) = (R::of(update.clip), R::of(update.lr));
    let keep = R::of(1.0 - update.lr * update.decay);
    let grads = tensor.grads;
    pool.pieces2((tensor.values, PIECE), (tensor.first, PIECE), |i, w, m| {
        let grads = &grads[i * PIECE..][..w.len()];
        simd(
            #[inline(always)]
            || {
                for ((w, m), g) in w.iter_mut().zip(m).zip(grads) {
                    let g = *g * clip;
                    let mixed = b1.mul_add(*m, c1 * g);
                    let up = if mixed > R::ZERO { lr } else { R::ZERO };
                    let step = if mixed < R::ZERO { -lr } else { up };
                    *w = w.mul_add(keep, -step);
                    *m = b2.mul_add(*m, c2 * g);
                }
            },
        );
    });
}
