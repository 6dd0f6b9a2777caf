//! Muon: momentum, made orthogonal by a Newton–Schulz iteration (Jordan 2024,
//! kellerjordan.github.io/posts/muon), as `torch.optim.Muon` has it with its defaults.
//!
//! The scale is Jordan's: a matrix (A, B) of A outputs and B inputs moves by √max(1, A/B) times
//! the rate (PyTorch's `adjust_lr_fn = "original"`). PyTorch iterates in bfloat16, and so do bf16
//! models on a device; here the iteration has the number type of the weights. A matrix is taken
//! whole: queries, keys and values are made orthogonal together.

use super::{OptimizerConfig, PIECE, Tensor, Update};
use crate::{
    device::Precision,
    memory::Buffer,
    ops::gemm::{Mat, MatMut, gemm},
    pool::Pool,
    real::{Real, dot, simd},
    tape::Into,
};

/// The quintic's coefficients, of x, x³ and x⁵: steep at zero, and not quite convergent.
pub(super) const QUINTIC: [f64; 3] = [3.4445, -4.7750, 2.0315];
pub(super) const ITERATIONS: usize = 5;
/// The least norm that a matrix is divided by.
pub(super) const LEAST_NORM: f64 = 1e-7;

/// Room for the iteration on the largest matrix.
pub(super) struct Scratch<R> {
    x: Buffer<R>,
    next: Buffer<R>,
    gram: Buffer<R>,
    poly: Buffer<R>,
}

impl<R: Real> Scratch<R> {
    /// For matrices of these shapes; without any, of no size.
    pub(super) fn new<'a>(shapes: impl Iterator<Item = &'a [usize]>) -> Self {
        let (mut len, mut square) = (0, 0);
        for shape in shapes {
            let n = shape[0].min(shape[1]);
            len = len.max(shape[0] * shape[1]);
            square = square.max(n * n);
        }
        Self {
            x: Buffer::zeros(len),
            next: Buffer::zeros(len),
            gram: Buffer::zeros(square),
            poly: Buffer::zeros(square),
        }
    }

    /// Elements held.
    pub(super) fn len(&self) -> usize {
        2 * (self.x.len() + self.gram.len())
    }

    /// Brings the singular values of `x` (rows, cols) near 1, in place: X ← p(X·Xᵀ)·X with
    /// p(G) = a + b·G + c·G², five times, from the matrix divided by its Frobenius norm.
    fn orthogonalise(&mut self, rows: usize, cols: usize, pool: &Pool) {
        let (len, n) = (rows * cols, rows.min(cols));
        let scale = R::of(1.0 / norm(&self.x[..len], pool).max(LEAST_NORM));
        pool.pieces(&mut self.x[..len], PIECE, |_, x| {
            x.iter_mut().for_each(|x| *x *= scale);
        });
        let [a, b, c] = QUINTIC.map(R::of);
        for _ in 0..ITERATIONS {
            let x = Mat::new(&self.x[..len], rows, cols);
            // The smaller of the two products: p is the same on either side of X.
            let (left, right) = if rows <= cols { (x, x.t()) } else { (x.t(), x) };
            let square = MatMut::new(&mut self.gram[..n * n], n, n);
            gemm((pool, Precision::F32), left, right, square, Into::Overwrite); // G = X·Xᵀ or Xᵀ·X: (n, n)
            let g = Mat::new(&self.gram[..n * n], n, n);
            let square = MatMut::new(&mut self.poly[..n * n], n, n);
            gemm((pool, Precision::F32), g, g, square, Into::Overwrite);
            for (i, (p, g)) in self.poly[..n * n].iter_mut().zip(&*self.gram).enumerate() {
                *p = c.mul_add(*p, b * *g);
                // The diagonal.
                if i % (n + 1) == 0 {
                    *p += a;
                }
            }
            let p = Mat::new(&self.poly[..n * n], n, n);
            let next = MatMut::new(&mut self.next[..len], rows, cols);
            match rows <= cols {
                true => gemm((pool, Precision::F32), p, x, next, Into::Overwrite),
                false => gemm((pool, Precision::F32), x, p, next, Into::Overwrite),
            }
            std::mem::swap(&mut self.x, &mut self.next);
        }
    }
}

/// √Σx², of partial sums that do not depend on the number of threads.
fn norm<R: Real>(x: &[R], pool: &Pool) -> f64 {
    let mut partial = vec![0.0; x.len().div_ceil(PIECE)];
    pool.pieces(&mut partial, 1, |i, sum| {
        let part = &x[i * PIECE..][..PIECE.min(x.len() - i * PIECE)];
        sum[0] = simd(
            #[inline(always)]
            || dot(part, part),
        )
        .f64();
    });
    partial.iter().sum::<f64>().sqrt()
}

/// How much further than by the rate a matrix of these outputs and inputs moves.
pub(super) fn scale(rows: usize, cols: usize) -> f64 {
    (rows as f64 / cols as f64).max(1.0).sqrt()
}

/// One update of a matrix: m ← µ·m + (1 − µ)·g, and the weights decay by the rate and move against
/// the orthogonalised momentum, or (Nesterov) against that of one gradient further.
pub(super) fn update<R: Real>(
    tensor: Tensor<R>,
    config: &OptimizerConfig,
    update: &Update,
    (scratch, pool): (&mut Scratch<R>, &Pool),
) {
    let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
    let (mu, rest) = (R::of(config.momentum()), R::of(1.0 - config.momentum()));
    let clip = R::of(update.clip);
    // The direction is this much of the gradient and this much of the momentum.
    let (of_g, of_m) = match config.nesterov() {
        true => (rest, mu),
        false => (R::ZERO, R::ONE),
    };
    let grads = tensor.grads;
    let x = &mut scratch.x[..rows * cols];
    pool.pieces2((x, PIECE), (tensor.first, PIECE), |i, x, m| {
        let grads = &grads[i * PIECE..][..x.len()];
        simd(
            #[inline(always)]
            || {
                for ((x, m), g) in x.iter_mut().zip(m).zip(grads) {
                    let g = *g * clip;
                    *m = mu.mul_add(*m, rest * g);
                    *x = of_m.mul_add(*m, of_g * g);
                }
            },
        );
    });
    scratch.orthogonalise(rows, cols, pool);
    let keep = R::of(1.0 - update.lr * update.decay);
    let rate = R::of(update.lr * scale(rows, cols));
    let x = &scratch.x[..rows * cols];
    pool.pieces(tensor.values, PIECE, |i, w| {
        let x = &x[i * PIECE..][..w.len()];
        simd(
            #[inline(always)]
            || {
                for (w, x) in w.iter_mut().zip(x) {
                    *w = w.mul_add(keep, -(rate * *x));
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn orthogonalised(x: &[f64], rows: usize, cols: usize) -> Vec<f64> {
        let mut scratch = Scratch::<f64>::new([&[rows, cols][..]].into_iter());
        scratch.x.copy_from_slice(x);
        scratch.orthogonalise(rows, cols, &Pool::new(1));
        scratch.x.to_vec()
    }

    /// On a diagonal matrix the iteration is the quintic, number by number.
    #[test]
    fn a_diagonal_goes_through_the_quintic_five_times() {
        let norm = (9.0f64 + 16.0 + 1e-4).sqrt();
        let expected = [3.0, 4.0, 0.01].map(|d| {
            (0..5).fold(d / norm, |x: f64, _| {
                3.4445 * x - 4.7750 * x.powi(3) + 2.0315 * x.powi(5)
            })
        });
        for (rows, cols) in [(3, 3), (3, 5), (5, 3)] {
            let mut x = vec![0.0; rows * cols];
            for (i, d) in [3.0, 4.0, 0.01].into_iter().enumerate() {
                x[i * cols + i] = d;
            }
            let y = orthogonalised(&x, rows, cols);
            for (i, y) in y.iter().enumerate() {
                let (row, col) = (i / cols, i % cols);
                let expected = if row == col { expected[row] } else { 0.0 };
                assert!((y - expected).abs() < 1e-12, "{rows}×{cols} at {i}: {y}");
            }
        }
    }

    #[test]
    fn a_transpose_is_orthogonalised_to_the_transpose() {
        let (rows, cols) = (7, 4);
        let mut rng = Rng::named(1, "muon");
        let x: Vec<f64> = (0..rows * cols).map(|_| rng.normal()).collect();
        let t: Vec<f64> = (0..rows * cols)
            .map(|i| x[(i % rows) * cols + i / rows])
            .collect();
        let (x, t) = (
            orthogonalised(&x, rows, cols),
            orthogonalised(&t, cols, rows),
        );
        for (i, t) in t.iter().enumerate() {
            assert!((t - x[(i % rows) * cols + i / rows]).abs() < 1e-12);
        }
    }

    #[test]
    fn no_gradient_is_no_update_and_no_division_by_zero() {
        assert_eq!(orthogonalised(&[0.0; 6], 2, 3), [0.0; 6]);
    }
}
