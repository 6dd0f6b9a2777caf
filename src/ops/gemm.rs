//! Matrix products: our own kernels where there is AVX-512, the `gemm` crate's elsewhere, called
//! from each thread on its own rows.

#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::{
    device::Precision,
    pool::Pool,
    real::{Real, simd},
    tape::{Into, PIECE},
};

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

/// c = scale·a·b, or c += scale·a·b, on the calling thread, with a and b read in a precision.
pub fn gemm_serial<R: Real>(
    (scale, precision): (R, Precision),
    a: Mat<R>,
    b: Mat<R>,
    mut c: MatMut<R>,
    into: Into,
) {
    assert_eq!((a.rows, a.cols, b.cols), (c.rows, b.rows, c.cols));
    if own_kernel((scale, precision), (a, b), &mut c, into, None) {
        return;
    }
    if precision == Precision::Bf16 {
        return rounded(None, a, |a| {
            rounded(None, b, |b| {
                gemm_serial((scale, Precision::F32), a, b, c, into);
            });
        });
    }
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

/// c = a·b, or c += a·b, with a and b read in a precision and c's rows shared among the pool's threads.
pub fn gemm<R: Real>(
    (pool, precision): (&Pool, Precision),
    a: Mat<R>,
    b: Mat<R>,
    mut c: MatMut<R>,
    into: Into,
) {
    assert_eq!((a.rows, a.cols, b.cols), (c.rows, b.rows, c.cols));
    // A few pieces for each thread, so that one can help another, but of many rows, which read b once.
    let pieces = (c.rows / PIECE_ROWS).clamp(pool.threads(), 4 * pool.threads());
    let share = c.rows.div_ceil(pieces).next_multiple_of(16);
    let alone = share >= c.rows || c.rows * c.cols * a.cols < SMALL;
    let on = (!alone).then_some((pool, share));
    if own_kernel((R::ONE, precision), (a, b), &mut c, into, on) {
        return;
    }
    if precision == Precision::Bf16 {
        return rounded(Some(pool), a, |a| {
            rounded(Some(pool), b, |b| {
                gemm((pool, Precision::F32), a, b, c, into);
            });
        });
    }
    if alone {
        return gemm_serial((R::ONE, precision), a, b, c, into);
    }
    let (rows, cols, stride) = (c.rows, c.cols, c.row_stride);
    pool.pieces(c.data, share * stride, |i, c| {
        let rows = share.min(rows - i * share);
        let c = MatMut::strided(c, rows, cols, stride);
        gemm_serial((R::ONE, precision), a.rows(i * share, rows), b, c, into);
    });
}

/// Whether a kernel of our own was there for this processor, and computed it: on a pool with so many
/// rows a piece, or on the calling thread.
#[cfg(target_arch = "x86_64")]
fn own_kernel<R: Real>(
    (scale, precision): (R, Precision),
    inputs: (Mat<R>, Mat<R>),
    c: &mut MatMut<R>,
    into: Into,
    on: Option<(&Pool, usize)>,
) -> bool {
    use avx512::{Brain, Product, Single};
    let found = match precision {
        // No tape on the CPU multiplies in TF32.
        Precision::F32 | Precision::Tf32 => {
            Product::<Single>::new(scale, inputs, c, into).map(|p| p.run(on))
        }
        Precision::Bf16 => Product::<Brain>::new(scale, inputs, c, into).map(|p| p.run(on)),
    };
    found.is_some()
}

#[cfg(not(target_arch = "x86_64"))]
fn own_kernel<R: Real>(
    _: (R, Precision),
    _: (Mat<R>, Mat<R>),
    _: &mut MatMut<R>,
    _: Into,
    _: Option<(&Pool, usize)>,
) -> bool {
    false
}

/// The way of processors without bf16: a matrix whose numbers were rounded beforehand.
fn rounded<R: Real>(pool: Option<&Pool>, m: Mat<R>, then: impl FnOnce(Mat<R>)) {
    let mut data = R::with_scratch(|memory| memory.take(m.data.len()));
    let round = |i: usize, data: &mut [R]| {
        let from = &m.data[i * PIECE..][..data.len()];
        simd(
            #[inline(always)]
            || {
                for (to, x) in data.iter_mut().zip(from) {
                    *to = x.bf16();
                }
            },
        );
    };
    match pool {
        Some(pool) => pool.pieces(&mut data, PIECE, round),
        None => data
            .chunks_mut(PIECE)
            .enumerate()
            .for_each(|(i, piece)| round(i, piece)),
    }
    then(Mat { data: &data, ..m });
    R::with_scratch(|memory| memory.give(data));
}

/// Rows that a piece has at least where there are more pieces than threads.
const PIECE_ROWS: usize = 192;

/// Multiply-adds below which waking a thread costs more than it brings.
const SMALL: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A matrix of whole numbers, so that sums are exact in any order.
    fn whole<R: Real>(rows: usize, cols: usize, rng: &mut Rng) -> Vec<R> {
        let draws = (0..rows * cols).map(|_| R::of(rng.below(7) as f64 - 3.0));
        draws.collect()
    }

    fn transposed<R: Copy>(x: &[R], rows: usize, cols: usize) -> Vec<R> {
        (0..rows * cols)
            .map(|i| x[(i % rows) * cols + i / rows])
            .collect()
    }

    /// Every layout of both inputs against three loops, with the result in a wider matrix whose
    /// other columns stay as they are.
    fn agrees<R: Real>((m, n, k): (usize, usize, usize), precision: Precision, threads: usize) {
        let mut rng = Rng::named((m * n * k) as u64, "gemm");
        let (a, b) = (whole::<R>(m, k, &mut rng), whole::<R>(k, n, &mut rng));
        let wide = n + 3;
        let c0 = whole::<R>(m, wide, &mut rng);
        let mut want = c0.clone();
        for i in 0..m {
            for j in 0..n {
                let sum: f64 = (0..k)
                    .map(|l| a[i * k + l].f64() * b[l * n + j].f64())
                    .sum();
                want[i * wide + j] = R::of(c0[i * wide + j].f64() + sum);
            }
        }
        let (at, bt) = (transposed(&a, m, k), transposed(&b, k, n));
        for left in [Mat::new(&a, m, k), Mat::new(&at, k, m).t()] {
            for right in [Mat::new(&b, k, n), Mat::new(&bt, n, k).t()] {
                let mut c = c0.clone();
                let target = MatMut::strided(&mut c, m, n, wide);
                gemm(
                    (&Pool::new(threads), precision),
                    left,
                    right,
                    target,
                    Into::Add,
                );
                assert!(c == want, "{m}×{k} by {k}×{n}");
            }
        }
    }

    #[test]
    fn products_agree_with_three_loops_for_every_layout_and_size() {
        for size in [
            (1, 1, 1),
            (7, 5, 3),
            (33, 65, 17),
            (70, 48, 64),
            (16, 31, 0),
        ] {
            agrees::<f64>(size, Precision::F32, 2);
            agrees::<f32>(size, Precision::F32, 2);
            agrees::<f32>(size, Precision::Bf16, 2);
            agrees::<f64>(size, Precision::Bf16, 2);
        }
        for m in 1..20 {
            agrees::<f32>((m, 53 - m, 2 * m + 5), Precision::F32, 1);
            agrees::<f32>((m, 53 - m, 2 * m + 5), Precision::Bf16, 1);
        }
    }

    #[test]
    fn products_too_large_for_one_block_agree_too() {
        // More columns than panels at a time, more depth than a tile's, and more than a block.
        for size in [
            (70, 450, 40),
            (9, 50, 1100),
            (3, 1500, 1600),
            (2, 2200, 700),
        ] {
            agrees::<f32>(size, Precision::F32, 3);
            agrees::<f32>(size, Precision::Bf16, 3);
        }
    }

    #[test]
    fn a_product_is_the_same_to_the_last_bit_on_any_number_of_threads() {
        let mut rng = Rng::named(2, "gemm");
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.normal() as f32).collect() };
        let (m, n, k) = (200, 130, 700);
        let (a, b) = (draw(m * k), draw(k * n));
        let on = |threads: usize| {
            let mut c = vec![0.0f32; m * n];
            let (a, b) = (Mat::new(&a, k, m).t(), Mat::new(&b, k, n));
            gemm(
                (&Pool::new(threads), Precision::F32),
                a,
                b,
                MatMut::new(&mut c, m, n),
                Into::Overwrite,
            );
            c
        };
        let one = on(1);
        assert!([2, 3, 5].into_iter().all(|threads| on(threads) == one));
    }

    #[test]
    fn overwriting_ignores_what_was_there_even_when_it_is_not_a_number() {
        let mut c = vec![f32::NAN; 4];
        let a = [1.0f32, 2.0, 3.0, 4.0];
        gemm_serial(
            (2.0, Precision::F32),
            Mat::new(&a, 2, 2),
            Mat::new(&a, 2, 2),
            MatMut::new(&mut c, 2, 2),
            Into::Overwrite,
        );
        assert_eq!(c, [14.0, 20.0, 30.0, 44.0]);
    }
}
