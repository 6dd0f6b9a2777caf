//! The global gradient norm of each packed variant.

use crate::{
    params::Params,
    pool::Pool,
    real::{Real, dot, simd},
};

/// Elements of one partial sum: fixed, so that the norm does not depend on the number of threads.
const PARTIAL: usize = 16 << 10;

/// √Σg² over all parameters, one for each variant; partial sums are added in f64, in arena order.
pub fn grad_norm<R: Real>(params: &Params<R>, pool: &Pool) -> Vec<f64> {
    (0..params.k())
        .map(|k| {
            let mut total = 0.0;
            for p in params.handles() {
                let grad = params.grad(p, k);
                let mut partial = vec![0.0; grad.len().div_ceil(PARTIAL)];
                pool.pieces(&mut partial, 1, |i, sum| {
                    let part = &grad[i * PARTIAL..][..PARTIAL.min(grad.len() - i * PARTIAL)];
                    sum[0] = simd(
                        #[inline(always)]
                        || dot(part, part),
                    )
                    .f64();
                });
                total += partial.iter().sum::<f64>();
            }
            total.sqrt()
        })
        .collect()
}
