//! Matrix products: the `gemm` crate's kernels, called from each thread on its own rows.
//!
//! The crate's kernels reach 85–95% of the FMA peak on one thread; its own threading does not.

use crate::{pool::Pool, real::Real, tape::Into};

/// A matrix in a slice, with strides counted in elements.
#[derive(Clone, Copy)]
pub struct Mat<'a, R> {
    data: &'a [R],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, R> Mat<'a, R> {
    /// Row-major and dense.
    pub fn new(data: &'a [R], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Row-major with `row_stride` elements from one row to the next.
    pub fn strided(data: &'a [R], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * row_stride + cols <= data.len());
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// The transpose: the same numbers, seen the other way.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Rows `first..first + rows`.
    fn rows(self, first: usize, rows: usize) -> Self {
        Self {
            data: &self.data[(first * self.row_stride).min(self.data.len())..],
            rows,
            ..self
        }
    }
}

/// A row-major matrix to write.
pub struct MatMut<'a, R> {
    data: &'a mut [R],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a, R> MatMut<'a, R> {
    pub fn new(data: &'a mut [R], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    pub fn strided(data: &'a mut [R], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * row_stride + cols <= data.len());
        Self {
            data,
            rows,
            cols,
            row_stride,
        }
    }
}

/// c = scale·a·b, or c += scale·a·b, on the calling thread.
pub fn gemm_serial<R: Real>(scale: R, a: Mat<R>, b: Mat<R>, c: MatMut<R>, into: Into) {
    assert_eq!((a.rows, a.cols, b.cols), (c.rows, b.rows, c.cols));
    let add = into == Into::Add;
    // SAFETY: the constructors checked that every index lies inside its slice; `c` is borrowed
    // mutably, so it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            c.rows,
            c.cols,
            a.cols,
            c.data.as_mut_ptr(),
            1,
            c.row_stride as isize,
            add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            if add { R::ONE } else { R::ZERO },
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// c = a·b, or c += a·b, with c's rows shared among the pool's threads.
pub fn gemm<R: Real>(pool: &Pool, a: Mat<R>, b: Mat<R>, c: MatMut<R>, into: Into) {
    let (rows, cols, stride) = (c.rows, c.cols, c.row_stride);
    // Whole kernel tiles, so that no thread gets a ragged edge in the middle.
    let share = rows.div_ceil(pool.threads()).next_multiple_of(16);
    if share >= rows || rows * cols * a.cols < SMALL {
        return gemm_serial(R::ONE, a, b, c, into);
    }
    pool.pieces(c.data, share * stride, |i, c| {
        let rows = share.min(rows - i * share);
        let c = MatMut::strided(c, rows, cols, stride);
        gemm_serial(R::ONE, a.rows(i * share, rows), b, c, into);
    });
}

/// Multiply-adds below which waking a thread costs more than it brings.
const SMALL: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn draw(n: usize, rng: &mut Rng) -> Vec<f64> {
        (0..n).map(|_| rng.normal()).collect()
    }

    #[test]
    fn products_agree_with_three_loops_for_every_layout() {
        let mut rng = Rng::named(1, "gemm");
        for (m, n, k) in [(1, 1, 1), (7, 5, 3), (33, 65, 17), (70, 48, 64)] {
            let (a, b, c0) = (
                draw(m * k, &mut rng),
                draw(k * n, &mut rng),
                draw(m * n, &mut rng),
            );
            for layout in 0..4 {
                let transpose = |x: &[f64], rows: usize, cols: usize| -> Vec<f64> {
                    (0..rows * cols)
                        .map(|i| x[(i % rows) * cols + i / rows])
                        .collect()
                };
                let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
                let left = if layout & 1 == 0 {
                    Mat::new(&a, m, k)
                } else {
                    Mat::new(&at, k, m).t()
                };
                let right = if layout & 2 == 0 {
                    Mat::new(&b, k, n)
                } else {
                    Mat::new(&bt, n, k).t()
                };
                let mut c = c0.clone();
                gemm(
                    &Pool::new(2),
                    left,
                    right,
                    MatMut::new(&mut c, m, n),
                    Into::Add,
                );
                for i in 0..m {
                    for j in 0..n {
                        let want = c0[i * n + j]
                            + (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum::<f64>();
                        assert!((c[i * n + j] - want).abs() < 1e-10);
                    }
                }
            }
        }
    }

    #[test]
    fn overwriting_ignores_what_was_there_even_when_it_is_not_a_number() {
        let mut c = vec![f32::NAN; 4];
        let a = [1.0f32, 2.0, 3.0, 4.0];
        gemm_serial(
            2.0,
            Mat::new(&a, 2, 2),
            Mat::new(&a, 2, 2),
            MatMut::new(&mut c, 2, 2),
            Into::Overwrite,
        );
        assert_eq!(c, [14.0, 20.0, 30.0, 44.0]);
    }
}
