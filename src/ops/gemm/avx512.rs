//! Our own f32 matrix product for processors with AVX-512.
//!
//! The `gemm` crate's kernel is as fast, but packs both matrices anew on every thread of every
//! call, an eighth of a training step at the sizes of small models. Here the right-hand matrix is
//! packed once for all threads, the left-hand one only where its rows are not contiguous. Every
//! element is a sum over k in one order, whatever the threads and tiles.

use super::{Mat, MatMut};
use crate::{memory::Buffer, pool::Pool, real::Real, tape::Into};
use std::arch::x86_64::{
    __m512, __mmask16, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd,
    _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};
use std::{any::TypeId, cell::RefCell, marker::PhantomData, ops::Range};

/// Floats of one register.
const LANES: usize = 16;
/// A tile of the result is 8 rows by 3 registers: 24 sums, 3 registers of b and a broadcast fit
/// into 32 registers.
const TILE_ROWS: usize = 8;
const TILE_COLS: usize = 3 * LANES;
/// Of the left-hand tile so many columns at a time, which keeps it in the first-level cache.
const DEPTH: usize = 512;
/// Rows of a that are copied at a time, where they are.
const LEFT_ROWS: usize = 64;
/// From one copied tile to the next: not a power of two, which would put all of them into the same
/// sets of the cache.
const LEFT_TILE: usize = (DEPTH + 2) * TILE_ROWS;
const LEFT: usize = LEFT_ROWS / TILE_ROWS * LEFT_TILE;
/// So many panels at a time stay in the second-level cache.
const PANELS: usize = 8;

/// A packed block of b has at most so many floats (4 MiB), more only for its least size.
const BLOCK: usize = 1 << 20;

/// A matrix in memory: element (i, j) is at `start + i·row + j·col`.
#[derive(Clone, Copy)]
struct View {
    start: *const f32,
    row: usize,
    col: usize,
}

impl View {
    fn of<R>(m: Mat<R>) -> Self {
        Self {
            start: m.data.as_ptr().cast(),
            row: m.row_stride,
            col: m.col_stride,
        }
    }

    /// The same from element (i, j) on, which is in the matrix.
    unsafe fn from(self, i: usize, j: usize) -> Self {
        // SAFETY: the caller's.
        let start = unsafe { self.start.add(i * self.row + j * self.col) };
        Self { start, ..self }
    }
}

/// The matrix that is written, its rows contiguous.
#[derive(Clone, Copy)]
struct Target {
    start: *mut f32,
    row: usize,
    scale: f32,
    /// Added to what is there, or put over it.
    add: bool,
}

/// c = scale·a·b or c += scale·a·b, with a (m×k), b (k×n), c (m×n) borrowed for its life.
pub struct Product<'a> {
    a: View,
    b: View,
    c: Target,
    m: usize,
    k: usize,
    n: usize,
    borrows: PhantomData<&'a mut [f32]>,
}

// SAFETY: pointers into slices that are borrowed; threads write disjoint rows of c.
unsafe impl Sync for Product<'_> {}

thread_local! {
    /// Where b is packed: kept from call to call, so that it is never faulted in anew.
    static PACKED: RefCell<Buffer<f32>> = RefCell::new(Buffer::zeros(0));
    /// Where a few rows of a are copied.
    static COPIED: RefCell<Buffer<f32>> = RefCell::new(Buffer::zeros(LEFT));
}

impl<'a> Product<'a> {
    /// None for numbers other than f32, and on processors without AVX-512.
    pub fn new<R: Real>(
        scale: R,
        (a, b): (Mat<'a, R>, Mat<'a, R>),
        c: &'a mut MatMut<R>,
        into: Into,
    ) -> Option<Self> {
        let single = TypeId::of::<R>() == TypeId::of::<f32>();
        (single && is_x86_feature_detected!("avx512f")).then(|| Self {
            a: View::of(a),
            b: View::of(b),
            c: Target {
                start: c.data.as_mut_ptr().cast(),
                row: c.row_stride,
                scale: scale.f64() as f32,
                add: into == Into::Add,
            },
            m: c.rows,
            k: a.cols,
            n: c.cols,
            borrows: PhantomData,
        })
    }

    /// Computes it, on a pool with so many rows a piece, or on the calling thread.
    pub fn run(&self, pool: Option<(&Pool, usize)>) {
        let depth = (BLOCK / self.n.max(1) / DEPTH * DEPTH).max(DEPTH);
        let cols = (BLOCK / depth.min(self.k.max(1)) / TILE_COLS * TILE_COLS).max(TILE_COLS);
        PACKED.with_borrow_mut(|packed| {
            for p in (0..self.k.max(1)).step_by(depth) {
                for j in (0..self.n).step_by(cols) {
                    let (k, n) = (depth.min(self.k - p), cols.min(self.n - j));
                    let len = packed_len(k, n);
                    if packed.len() < len {
                        *packed = Buffer::zeros(len);
                    }
                    // SAFETY: (p, j) is in b and (0, p) in a, or they are empty; (0, j) is in c.
                    let block = unsafe {
                        Self {
                            a: self.a.from(0, p),
                            b: self.b.from(p, j),
                            c: Target {
                                start: self.c.start.add(j),
                                add: self.c.add || p > 0,
                                ..self.c
                            },
                            k,
                            n,
                            ..*self
                        }
                    };
                    block.run_packed(pool, &mut packed[..len]);
                }
            }
        });
    }

    fn run_packed(&self, pool: Option<(&Pool, usize)>, packed: &mut [f32]) {
        let piece = (self.k * TILE_COLS).max(1);
        match pool {
            None => {
                let panels = packed.chunks_mut(piece).enumerate();
                panels.for_each(|(index, panel)| self.pack(index, panel));
                self.rows(packed, 0, self.m);
            }
            Some((pool, share)) => {
                pool.pieces(packed, piece, |index, panel| self.pack(index, panel));
                pool.each(self.m.div_ceil(share), |i| {
                    self.rows(packed, i * share, share.min(self.m - i * share));
                });
            }
        }
    }

    /// Packs one panel of b: row after row its columns, with zeros for those beyond the last.
    fn pack(&self, index: usize, panel: &mut [f32]) {
        let (width, first) = (panel_cols(self.n, index), index * TILE_COLS);
        assert_eq!(panel.len(), self.k * width);
        let cols = (self.n - first).min(TILE_COLS);
        let across = match self.b.row == 1 {
            true => cols / LANES * LANES,
            false => 0,
        };
        // SAFETY: columns from `first` on, `cols` of them, are in b and in the panel, and `new`
        // found AVX-512.
        unsafe {
            let (b, to) = (self.b.from(0, first), panel.as_mut_ptr());
            for v in (0..across).step_by(LANES) {
                pack_across(b.from(0, v), self.k, to.add(v), width);
            }
            pack_along(
                b.from(0, across),
                (self.k, cols - across),
                to.add(across),
                width,
            );
        }
    }

    /// Rows `first..first + rows` of c.
    fn rows(&self, packed: &[f32], first: usize, rows: usize) {
        assert!(packed.len() == packed_len(self.k, self.n) && first + rows <= self.m);
        let panels = self.n.div_ceil(TILE_COLS);
        COPIED.with_borrow_mut(|left| {
            for some in (0..panels).step_by(PANELS) {
                let some = some..panels.min(some + PANELS);
                // At least once, so that a product over nothing is zero.
                for p in (0..self.k.max(1)).step_by(DEPTH) {
                    let depth = DEPTH.min(self.k - p);
                    for i in (first..first + rows).step_by(LEFT_ROWS) {
                        let height = LEFT_ROWS.min(first + rows - i);
                        self.block((i, height), (p, depth), (some.clone(), packed), left);
                    }
                }
            }
        });
    }

    /// A few tiles' rows, a part of k, some panels.
    fn block(
        &self,
        (first, rows): (usize, usize),
        (p, depth): (usize, usize),
        (panels, packed): (Range<usize>, &[f32]),
        left: &mut [f32],
    ) {
        let copied = self.a.row == 1 && self.a.col != 1;
        if copied {
            // SAFETY: `rows` gives rows and columns of a.
            unsafe { copy_left(self.a.from(first, p), (rows, depth), left) };
        }
        for i in (0..rows).step_by(TILE_ROWS) {
            let height = TILE_ROWS.min(rows - i);
            let a = match copied {
                // SAFETY: as above.
                false => unsafe { self.a.from(first + i, p) },
                true => View {
                    start: left[i / TILE_ROWS * LEFT_TILE..].as_ptr(),
                    row: 1,
                    col: TILE_ROWS,
                },
            };
            for panel in panels.clone() {
                let (width, j) = (panel_cols(self.n, panel), panel * TILE_COLS);
                let b = packed[panel * self.k * TILE_COLS + p * width..].as_ptr();
                // SAFETY: the tile's rows and columns are in c, and no other thread has them;
                // `new` found AVX-512.
                unsafe {
                    let c = Target {
                        start: self.c.start.add((first + i) * self.c.row + j),
                        add: self.c.add || p > 0,
                        ..self.c
                    };
                    tile((height, width / LANES), depth, (a, b), c, self.n - j);
                }
            }
        }
    }
}

/// Columns of panel `panel` of an n-column matrix, padded to whole registers.
fn panel_cols(n: usize, panel: usize) -> usize {
    (n - panel * TILE_COLS)
        .min(TILE_COLS)
        .next_multiple_of(LANES)
}

/// Floats of a packed k×n matrix.
fn packed_len(k: usize, n: usize) -> usize {
    let whole = n / TILE_COLS * TILE_COLS;
    k * (whole + (n - whole).next_multiple_of(LANES))
}

/// Columns as they are: whole registers where a row's elements are contiguous.
#[target_feature(enable = "avx512f")]
unsafe fn pack_along(b: View, (k, cols): (usize, usize), to: *mut f32, width: usize) {
    for p in 0..k {
        // SAFETY: `pack`'s contract.
        unsafe {
            let (from, to) = (b.start.add(p * b.row), to.add(p * width));
            for v in (0..cols).step_by(LANES) {
                if b.col == 1 {
                    let row = _mm512_maskz_loadu_ps(mask(cols - v), from.add(v));
                    _mm512_storeu_ps(to.add(v), row);
                } else {
                    for j in v..v + LANES {
                        *to.add(j) = if j < cols { *from.add(j * b.col) } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// Sixteen columns whose own elements are contiguous: transposed in registers, 16×16 at a time.
#[target_feature(enable = "avx512f")]
unsafe fn pack_across(b: View, k: usize, to: *mut f32, width: usize) {
    let whole = k / LANES * LANES;
    for p in (0..whole).step_by(LANES) {
        let mut block = [_mm512_setzero_ps(); LANES];
        for (j, row) in block.iter_mut().enumerate() {
            // SAFETY: sixteen elements of column j from row p on are in `b`.
            *row = unsafe { _mm512_loadu_ps(b.start.add(j * b.col + p)) };
        }
        for (i, row) in transposed(block).into_iter().enumerate() {
            // SAFETY: `pack`'s contract.
            unsafe { _mm512_storeu_ps(to.add((p + i) * width), row) };
        }
    }
    for p in whole..k {
        for j in 0..LANES {
            // SAFETY: as above.
            unsafe { *to.add(p * width + j) = *b.start.add(j * b.col + p) };
        }
    }
}

#[target_feature(enable = "avx512f")]
fn transposed(r: [__m512; LANES]) -> [__m512; LANES] {
    let mut t = r;
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    let mut r = t;
    for i in (0..LANES).step_by(4) {
        let pairs = |a: __m512, b: __m512| {
            let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
            [_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b)].map(|x| _mm512_castpd_ps(x))
        };
        [r[i], r[i + 1]] = pairs(t[i], t[i + 2]);
        [r[i + 2], r[i + 3]] = pairs(t[i + 1], t[i + 3]);
    }
    // r[4i + j] holds column 4l + j of rows 4i to 4i + 3 in its quarter l.
    let mut out = r;
    for j in 0..4 {
        let even = |a, b| _mm512_shuffle_f32x4::<0x88>(a, b);
        let odd = |a, b| _mm512_shuffle_f32x4::<0xdd>(a, b);
        let (low, high) = ((r[j], r[4 + j]), (r[8 + j], r[12 + j]));
        let (low_even, high_even) = (even(low.0, low.1), even(high.0, high.1));
        let (low_odd, high_odd) = (odd(low.0, low.1), odd(high.0, high.1));
        out[j] = even(low_even, high_even);
        out[4 + j] = even(low_odd, high_odd);
        out[8 + j] = odd(low_even, high_even);
        out[12 + j] = odd(low_odd, high_odd);
    }
    out
}

fn mask(lanes: usize) -> __mmask16 {
    match lanes >= LANES {
        true => !0,
        false => (1 << lanes) - 1,
    }
}

/// Copies rows that are not contiguous so that a tile's are neighbours: tile after tile, for each
/// column its eight elements. Reads along a's columns, each cache line once.
unsafe fn copy_left(a: View, (rows, depth): (usize, usize), left: &mut [f32]) {
    assert!(rows <= LEFT_ROWS && depth <= DEPTH && left.len() == LEFT);
    let to = left.as_mut_ptr();
    for q in 0..depth {
        for tile in 0..rows.div_ceil(TILE_ROWS) {
            let height = rows - tile * TILE_ROWS;
            // SAFETY: the caller's: rows × depth elements are in a; the assertion: in `left`.
            unsafe {
                let from = a.start.add(q * a.col + tile * TILE_ROWS);
                let to = to.add(tile * LEFT_TILE + q * TILE_ROWS);
                match height >= TILE_ROWS {
                    true => *to.cast::<[f32; TILE_ROWS]>() = *from.cast(),
                    false => std::ptr::copy_nonoverlapping(from, to, height),
                }
            }
        }
    }
}

type Kernel = unsafe fn(usize, (View, *const f32), Target, usize);

/// Runs the kernel of this height and number of registers.
unsafe fn tile(
    (height, registers): (usize, usize),
    k: usize,
    (a, b): (View, *const f32),
    c: Target,
    cols: usize,
) {
    macro_rules! heights {
        ($v:literal) => {
            [
                kernel::<1, $v>,
                kernel::<2, $v>,
                kernel::<3, $v>,
                kernel::<4, $v>,
                kernel::<5, $v>,
                kernel::<6, $v>,
                kernel::<7, $v>,
                kernel::<8, $v>,
            ]
        };
    }
    const KERNELS: [[Kernel; TILE_ROWS]; 3] = [heights!(1), heights!(2), heights!(3)];
    // SAFETY: `Product::rows` gives what is in bounds.
    unsafe { KERNELS[registers - 1][height - 1](k, (a, b), c, cols) }
}

/// M rows by V registers; `cols` of the result's columns are there from this tile's first on.
#[target_feature(enable = "avx512f")]
unsafe fn kernel<const M: usize, const V: usize>(
    k: usize,
    (a, b): (View, *const f32),
    c: Target,
    cols: usize,
) {
    let mut sums = [[_mm512_setzero_ps(); V]; M];
    // SAFETY: `Product::rows` gives what is in bounds: M×k elements of a, k×V registers of b.
    unsafe {
        for p in 0..k {
            let mut row = [_mm512_setzero_ps(); V];
            for (v, row) in row.iter_mut().enumerate() {
                *row = _mm512_loadu_ps(b.add((p * V + v) * LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*a.start.add(i * a.row + p * a.col));
                for (sum, row) in sums.iter_mut().zip(row) {
                    *sum = _mm512_fmadd_ps(x, row, *sum);
                }
            }
        }
        let scale = _mm512_set1_ps(c.scale);
        for (i, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                let to = c.start.add(i * c.row + v * LANES);
                let mask = mask(cols - v * LANES);
                let mut sum = _mm512_mul_ps(sum, scale);
                if c.add {
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, to));
                }
                _mm512_mask_storeu_ps(to, mask, sum);
            }
        }
    }
}
