//! AdamW (Loshchilov & Hutter 2019).

use super::{OptimizerConfig, PIECE, Tensor, Update};
use crate::{
    pool::Pool,
    real::{Real, simd},
};

/// One update as `torch.optim.AdamW` makes it, in one pass over memory.
pub(super) fn update<R: Real>(
    tensor: Tensor<R>,
    config: &OptimizerConfig,
    update: &Update,
    pool: &Pool,
) {
    let [beta1, beta2] = config.betas();
    let correction1 = 1.0 - beta1.powi(update.step as i32);
    let correction2 = 1.0 - beta2.powi(update.step as i32);
    let (b1, b2) = (R::of(beta1), R::of(beta2));
    let (c1, c2) = (R::of(1.0 - beta1), R::of(1.0 - beta2));
    let (clip, rate) = (R::of(update.clip), R::of(update.lr / correction1));
    let (root2, eps) = (R::of(1.0 / correction2.sqrt()), R::of(config.eps()));
    let keep = R::of(1.0 - update.lr * update.decay);
    let grads = tensor.grads;
    pool.pieces3(
        (tensor.values, PIECE),
        (tensor.first, PIECE),
        (tensor.second, PIECE),
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
