//! Our own matrix product for processors with AVX-512, in f32 or from inputs rounded to bf16.
//!
//! The `gemm` crate's kernel is as fast, but packs both matrices anew on every thread of every
//! call, an eighth of a training step at the sizes of small models. Here the right-hand matrix is
//! packed once for all threads, the left-hand one only where it can't be read as it is. Every
//! element is a sum over k in one order, whatever the threads and tiles.

mod brain;
mod single;

use super::{Mat, MatMut};
use crate::{memory::Buffer, pool::Pool, real::Real, tape::Into};
use std::{
    any::TypeId,
    arch::x86_64::{
        __m512, __mmask16, _mm512_castpd_ps, _mm512_castps_pd, _mm512_shuffle_f32x4,
        _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
    },
    cell::RefCell,
    marker::PhantomData,
    ops::Range,
    thread::LocalKey,
};

pub use {brain::Brain, single::Single};

/// Numbers of 32 bits of one register.
const LANES: usize = 16;
/// A tile of the result is 8 rows by 3 registers: 24 sums, 3 registers of b and a broadcast fit
/// into 32 registers.
const TILE_ROWS: usize = 8;
const TILE_COLS: usize = 3 * LANES;
/// Of the left-hand tile so many units at a time, which keeps it in the first-level cache.
const DEPTH: usize = 512;
/// Rows of a that are copied at a time, where they are.
const LEFT_ROWS: usize = 64;
/// From one copied row to the next, and eight times that from one tile: no power of two, which would
/// put all of them into the same sets of the cache.
const LEFT_ROW: usize = DEPTH + 2;
const LEFT_TILE: usize = LEFT_ROW * TILE_ROWS;
const LEFT: usize = LEFT_ROWS / TILE_ROWS * LEFT_TILE;
/// Units of b, of some panels, that stay in the second-level cache beside rows of a (608 KiB).
const IN_CACHE: usize = 152 << 10;

/// A packed block of b has at most so many units (4 MiB), more only for its least size.
const BLOCK: usize = 1 << 20;

/// How a kernel holds its inputs: in units of 32 bits, each one or more neighbours along k.
pub trait Format: 'static {
    type Unit: Copy + Send + Sync + 'static;
    /// Neighbours along k in a unit. The last unit is filled up with zeros.
    const NEIGHBOURS: usize;
    /// Where b is packed and rows of a are copied: kept from call to call, so that they are never
    /// faulted in anew.
    const SCRATCH: &'static LocalKey<Scratch<Self::Unit>>;
    /// By registers of the result's columns, then rows.
    const KERNELS: [[Kernel<Self::Unit>; TILE_ROWS]; 3];

    fn available() -> bool;

    /// Packs k rows of `cols` columns: unit row after unit row, `width` units from one to the next.
    ///
    /// # Safety
    /// The rows and columns are in b, the units at `to` are the caller's; see [`Format::available`].
    unsafe fn pack(b: View<f32>, size: (usize, usize), to: *mut Self::Unit, width: usize);

    /// Whether a kernel can't read a itself.
    fn copies(a: View<f32>) -> bool;

    /// Copies rows×k of a, at most [`LEFT_ROWS`] rows and [`DEPTH`] units, and says how a tile lies.
    ///
    /// # Safety
    /// The rows and columns are in a; see [`Format::available`].
    unsafe fn copy(a: View<f32>, size: (usize, usize), left: &mut [Self::Unit])
    -> View<Self::Unit>;

    /// What a kernel reads where nothing is copied.
    fn as_it_is(a: View<f32>) -> View<Self::Unit>;
}

/// Adds `depth` units of a tile's sums: left-hand tile, packed panel, target, and how many of the
/// result's columns are there from this tile's first on.
type Kernel<U> = unsafe fn(usize, (View<U>, *const U), Target, usize);

type Scratch<U> = RefCell<(Buffer<U>, Buffer<U>)>;

/// A matrix in memory: element (i, j) is at `start + i·row + j·col`.
#[derive(Clone, Copy)]
pub struct View<U> {
    start: *const U,
    row: usize,
    col: usize,
}

impl View<f32> {
    fn of<R>(m: Mat<R>) -> Self {
        Self {
            start: m.data.as_ptr().cast(),
            row: m.row_stride,
            col: m.col_stride,
        }
    }
}

impl<U> View<U> {
    /// The same from element (i, j) on, which is in the matrix.
    unsafe fn from(self, i: usize, j: usize) -> Self {
        // SAFETY: the caller's.
        let start = unsafe { self.start.add(i * self.row + j * self.col) };
        Self { start, ..self }
    }
}

/// The matrix that is written, its rows contiguous.
#[derive(Clone, Copy)]
pub struct Target {
    start: *mut f32,
    row: usize,
    scale: f32,
    /// Added to what is there, or put over it.
    add: bool,
}

/// Where b is packed, for several threads, each its own panels.
struct Packed<U>(*mut U);

// SAFETY: `run_packed` packs every panel once, and panels are disjoint.
unsafe impl<U: Send> Sync for Packed<U> {}

impl<U> Packed<U> {
    fn get(&self) -> *mut U {
        self.0
    }
}

/// c = scale·a·b or c += scale·a·b, with a (m×k), b (k×n), c (m×n) borrowed for its life.
pub struct Product<'a, F> {
    a: View<f32>,
    b: View<f32>,
    c: Target,
    m: usize,
    k: usize,
    n: usize,
    borrows: PhantomData<(&'a mut [f32], F)>,
}

// SAFETY: pointers into slices that are borrowed; threads write disjoint rows of c.
unsafe impl<F> Sync for Product<'_, F> {}

impl<'a, F: Format> Product<'a, F> {
    /// None for numbers other than f32, and on processors without what the format needs.
    pub fn new<R: Real>(
        scale: R,
        (a, b): (Mat<'a, R>, Mat<'a, R>),
        c: &'a mut MatMut<R>,
        into: Into,
    ) -> Option<Self> {
        let single = TypeId::of::<R>() == TypeId::of::<f32>();
        (single && F::available()).then(|| Self {
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
        let depth = (BLOCK / self.n.max(1) / DEPTH * DEPTH).max(DEPTH) * F::NEIGHBOURS;
        let all = units::<F>(depth.min(self.k.max(1)));
        let cols = (BLOCK / all / TILE_COLS * TILE_COLS).max(TILE_COLS);
        // Taken out while it is used: what runs in a piece may be a product itself.
        let mut packed = F::SCRATCH.with_borrow_mut(|(packed, _)| std::mem::take(packed));
        for p in (0..self.k.max(1)).step_by(depth) {
            for j in (0..self.n).step_by(cols) {
                let (k, n) = (depth.min(self.k - p), cols.min(self.n - j));
                let len = units::<F>(k) * packed_cols(n);
                if packed.len() < len {
                    packed = Buffer::zeros(len);
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
        F::SCRATCH.with_borrow_mut(|(kept, _)| *kept = packed);
    }

    fn run_packed(&self, pool: Option<(&Pool, usize)>, packed: &mut [F::Unit]) {
        let (all, n_panels) = (units::<F>(self.k), self.n.div_ceil(TILE_COLS));
        assert_eq!(packed.len(), all * packed_cols(self.n));
        let to = Packed(packed.as_mut_ptr());
        // SAFETY: each panel is packed once, and lies in `packed` beside the others.
        let pack = |panel| unsafe { self.pack(panel, to.get()) };
        match pool {
            None => {
                (0..n_panels).for_each(pack);
                self.rows(packed, 0, self.m);
            }
            Some((pool, share)) => {
                pool.each(n_panels, pack);
                pool.each(self.m.div_ceil(share), |i| {
                    self.rows(packed, i * share, share.min(self.m - i * share));
                });
            }
        }
    }

    /// Packs one panel of b, with zeros for columns beyond the last, into its place in `packed`.
    ///
    /// # Safety
    /// All of k and of the padded columns fit at `packed`, and nobody else uses this panel's part.
    unsafe fn pack(&self, panel: usize, packed: *mut F::Unit) {
        let first = panel_first(self.n, panel);
        let width = panel_cols(self.n, panel);
        let cols = (self.n - first).min(width);
        // SAFETY: columns from `first` on, `cols` of them, are in b; the panel's place is the caller's;
        // `new` asked whether the format is available.
        unsafe {
            let to = packed.add(first * units::<F>(self.k));
            F::pack(self.b.from(0, first), (self.k, cols), to, width);
        }
    }

    /// Rows `first..first + rows` of c.
    fn rows(&self, packed: &[F::Unit], first: usize, rows: usize) {
        let depth = units::<F>(self.k);
        assert!(packed.len() == depth * packed_cols(self.n) && first + rows <= self.m);
        let panels = self.n.div_ceil(TILE_COLS);
        F::SCRATCH.with_borrow_mut(|(_, left)| {
            if F::copies(self.a) && left.len() < LEFT {
                *left = Buffer::zeros(LEFT);
            }
            let group = IN_CACHE / (TILE_COLS * depth.clamp(1, DEPTH));
            for some in (0..panels).step_by(group) {
                let some = some..panels.min(some + group);
                // At least once, so that a product over nothing is zero.
                for p in (0..depth.max(1)).step_by(DEPTH) {
                    let depth = DEPTH.min(depth - p);
                    for i in (first..first + rows).step_by(LEFT_ROWS) {
                        let height = LEFT_ROWS.min(first + rows - i);
                        self.block((i, height), (p, depth), (some.clone(), packed), left);
                    }
                }
            }
        });
    }

    /// A few tiles' rows, a part of k in units, some panels.
    fn block(
        &self,
        (first, rows): (usize, usize),
        (p, depth): (usize, usize),
        (panels, packed): (Range<usize>, &[F::Unit]),
        left: &mut [F::Unit],
    ) {
        let from = p * F::NEIGHBOURS;
        let k = (depth * F::NEIGHBOURS).min(self.k - from);
        let all = units::<F>(self.k);
        // SAFETY: `rows` gives rows and columns of a, and `new` asked for the format.
        let (a, tile) = unsafe {
            let a = self.a.from(first, from);
            match F::copies(a) {
                true => (F::copy(a, (rows, k), left), LEFT_TILE),
                false => (F::as_it_is(a), a.row * TILE_ROWS),
            }
        };
        for i in (0..rows).step_by(TILE_ROWS) {
            let height = TILE_ROWS.min(rows - i);
            // SAFETY: the tile is in a, or in `left`.
            let start = unsafe { a.start.add(i / TILE_ROWS * tile) };
            let a = View { start, ..a };
            for panel in panels.clone() {
                let (width, j) = (panel_cols(self.n, panel), panel_first(self.n, panel));
                let b = packed[j * all + p * width..].as_ptr();
                let kernel = F::KERNELS[width / LANES - 1][height - 1];
                // SAFETY: the tile's rows and columns are in c, and no other thread has them;
                // `new` asked for the format.
                unsafe {
                    let c = Target {
                        start: self.c.start.add((first + i) * self.c.row + j),
                        add: self.c.add || p > 0,
                        ..self.c
                    };
                    kernel(depth, (a, b), c, self.n - j);
                }
            }
        }
    }
}

fn units<F: Format>(k: usize) -> usize {
    k.div_ceil(F::NEIGHBOURS)
}

/// The first column of panel `panel` of an n-column matrix. Where one register would be left over for
/// the last panel, the last two share four: a kernel of one register has too few sums to keep busy.
fn panel_first(n: usize, panel: usize) -> usize {
    let registers = n.div_ceil(LANES);
    let is_last = (panel + 1) * TILE_COLS >= n;
    match registers % 3 == 1 && panel > 0 && is_last {
        true => (registers - 2) * LANES,
        false => panel * TILE_COLS,
    }
}

/// Columns of panel `panel`, padded to whole registers.
fn panel_cols(n: usize, panel: usize) -> usize {
    let end = match (panel + 1) * TILE_COLS >= n {
        true => packed_cols(n),
        false => panel_first(n, panel + 1),
    };
    end - panel_first(n, panel)
}

/// Columns of all panels together.
fn packed_cols(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

fn mask(lanes: usize) -> __mmask16 {
    match lanes >= LANES {
        true => !0,
        false => (1 << lanes) - 1,
    }
}

/// Rows and columns of 32-bit numbers exchanged.
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

/// The kernels of a format by name, for its table: M rows by V registers, with `$fma` adding the
/// product of a broadcast unit and a register of b.
macro_rules! kernels {
    ($unit:ty, $features:literal, $load:expr, $broadcast:expr, $fma:expr) => {
        #[target_feature(enable = $features)]
        unsafe fn kernel<const M: usize, const V: usize>(
            depth: usize,
            (a, b): (super::View<$unit>, *const $unit),
            c: super::Target,
            cols: usize,
        ) {
            use std::arch::x86_64::*;
            let mut sums = [[_mm512_setzero_ps(); V]; M];
            if c.add {
                // What is added to is there by the time that it is needed.
                for i in 0..M {
                    for v in 0..V {
                        let to = c.start.wrapping_add(i * c.row + v * super::LANES);
                        _mm_prefetch::<_MM_HINT_T0>(to.cast());
                    }
                }
            }
            // SAFETY: `Product::rows` gives what is in bounds: M×depth units of a, depth×V registers
            // of b.
            unsafe {
                for p in 0..depth {
                    let mut row = [_mm512_setzero_ps(); V];
                    for (v, row) in row.iter_mut().enumerate() {
                        *row = $load(b.add((p * V + v) * super::LANES));
                    }
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let x = $broadcast(*a.start.add(i * a.row + p * a.col));
                        for (sum, row) in sums.iter_mut().zip(row) {
                            *sum = $fma(*sum, x, row);
                        }
                    }
                }
                let scale = _mm512_set1_ps(c.scale);
                for (i, sums) in sums.into_iter().enumerate() {
                    for (v, sum) in sums.into_iter().enumerate() {
                        let to = c.start.add(i * c.row + v * super::LANES);
                        let mask = super::mask(cols - v * super::LANES);
                        let mut sum = _mm512_mul_ps(sum, scale);
                        if c.add {
                            sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, to));
                        }
                        _mm512_mask_storeu_ps(to, mask, sum);
                    }
                }
            }
        }
    };
}

/// All heights of all widths.
macro_rules! table {
    () => {
        [table!(1), table!(2), table!(3)]
    };
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

use {kernels, table};
