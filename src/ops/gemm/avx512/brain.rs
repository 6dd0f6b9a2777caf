//! Inputs rounded to bf16 on their way into the kernel, products summed in f32: two neighbours along
//! k at a time, by the dot-product instruction of AVX-512-BF16.

use super::{
    DEPTH, Format, Kernel, LANES, LEFT, LEFT_ROW, LEFT_ROWS, LEFT_TILE, Scratch, TILE_ROWS, View,
    kernels, mask, table, transposed,
};
use crate::{device::Precision, memory::Buffer};
use std::{
    arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cvtne2ps_pbh,
        _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16,
        _mm512_setzero_ps, _mm512_storeu_ps, _mm512_storeu_si512,
    },
    cell::RefCell,
    mem::transmute,
    thread::LocalKey,
};

/// Inputs in bf16.
pub struct Brain;

/// Two bf16 numbers, the first in the low half.
type Pair = u32;
/// Numbers along k that become one register.
const BOTH: usize = 2 * LANES;

thread_local! {
    static SCRATCH: Scratch<Pair> = RefCell::new((Buffer::zeros(0), Buffer::zeros(0)));
}

impl Format for Brain {
    type Unit = Pair;
    const NEIGHBOURS: usize = 2;
    const SCRATCH: &'static LocalKey<Scratch<Pair>> = &SCRATCH;
    const KERNELS: [[Kernel<Pair>; TILE_ROWS]; 3] = table!();

    fn available() -> bool {
        Precision::Bf16.is_native()
    }

    unsafe fn pack(b: View<f32>, size: (usize, usize), to: *mut Pair, width: usize) {
        // SAFETY: the caller's.
        unsafe {
            match b.col == 1 {
                true => pack_along(b, size, to, width),
                false => pack_across(b, size, to, width),
            }
        }
    }

    fn copies(_: View<f32>) -> bool {
        true
    }

    unsafe fn copy(a: View<f32>, (rows, k): (usize, usize), left: &mut [Pair]) -> View<Pair> {
        assert!(rows <= LEFT_ROWS && k <= 2 * DEPTH && left.len() == LEFT);
        let start = left.as_mut_ptr();
        // SAFETY: the caller's: rows × k elements are in a; the assertion: in `left`.
        unsafe {
            match a.col == 1 {
                true => {
                    copy_along(a, (rows, k), start);
                    let (row, col) = (LEFT_ROW, 1);
                    View { start, row, col }
                }
                false => {
                    copy_across(a, (rows, k), start);
                    let (row, col) = (1, TILE_ROWS);
                    View { start, row, col }
                }
            }
        }
    }

    fn as_it_is(_: View<f32>) -> View<Pair> {
        unreachable!("f32 is always copied to become bf16")
    }
}

/// Both registers rounded to nearest, ties to even: `first`'s in the lower half.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn rounded(first: __m512, second: __m512) -> __m512i {
    // SAFETY: both are 512 bits without an invariant.
    unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first)) }
}

/// Element i of both registers as pair i.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn paired(first: __m512, second: __m512) -> __m512i {
    const INTERLEAVE: [u16; BOTH] = {
        let mut order = [0; BOTH];
        let mut i = 0;
        while i < LANES {
            (order[2 * i], order[2 * i + 1]) = (i as u16, (LANES + i) as u16);
            i += 1;
        }
        order
    };
    // SAFETY: the array has 512 bits.
    let order = unsafe { _mm512_loadu_si512(INTERLEAVE.as_ptr().cast()) };
    _mm512_permutexvar_epi16(order, rounded(first, second))
}

/// `n` numbers from `from` on, and zeros.
#[target_feature(enable = "avx512f")]
unsafe fn load(from: *const f32, n: usize) -> __m512 {
    // SAFETY: the caller's.
    unsafe { _mm512_maskz_loadu_ps(mask(n), from) }
}

/// 2·16 neighbours as pairs, of which `n` are there.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn load_pairs(from: *const f32, n: usize) -> __m512i {
    // SAFETY: the caller's; the second address is not read where nothing is there.
    unsafe {
        let second = load(from.wrapping_add(LANES), n.saturating_sub(LANES));
        rounded(load(from, n), second)
    }
}

/// Rows 2p and 2p + 1, or one and zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn load_rows(from: *const f32, stride: usize, (rows, n): (usize, usize)) -> __m512i {
    // SAFETY: the caller's.
    unsafe {
        let second = match rows > 1 {
            true => load(from.add(stride), n),
            false => _mm512_setzero_ps(),
        };
        paired(load(from, n), second)
    }
}

/// Rows of contiguous elements: two rows become one of pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_along(b: View<f32>, (k, cols): (usize, usize), to: *mut Pair, width: usize) {
    for p in (0..k).step_by(2) {
        for v in (0..cols).step_by(LANES) {
            // SAFETY: `pack`'s contract.
            unsafe {
                let pairs = load_rows(b.start.add(p * b.row + v), b.row, (k - p, cols - v));
                _mm512_storeu_si512(to.add(p / 2 * width + v).cast(), pairs);
            }
        }
    }
}

/// Columns of contiguous elements: 32 of each of 16 columns are 16 pairs, transposed in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_across(b: View<f32>, (k, cols): (usize, usize), to: *mut Pair, width: usize) {
    for v in (0..cols).step_by(LANES) {
        for p in (0..k).step_by(BOTH) {
            let mut block = [_mm512_setzero_ps(); LANES];
            for (j, column) in block.iter_mut().enumerate().take(cols - v) {
                // SAFETY: `pack`'s contract: column v + j from row p on is in b.
                let pairs = unsafe { load_pairs(b.start.add((v + j) * b.col + p), k - p) };
                *column = _mm512_castsi512_ps(pairs);
            }
            let rows = transposed(block).into_iter().enumerate();
            for (i, row) in rows.take((k - p).div_ceil(2)) {
                // SAFETY: `pack`'s contract.
                unsafe { _mm512_storeu_ps(to.add((p / 2 + i) * width + v).cast(), row) };
            }
        }
    }
}

/// Rows of contiguous elements, each on its own.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn copy_along(a: View<f32>, (rows, k): (usize, usize), to: *mut Pair) {
    for i in 0..rows {
        for p in (0..k).step_by(BOTH) {
            // SAFETY: `copy`'s assertions; a row has DEPTH pairs, whole registers, and more.
            unsafe {
                let pairs = load_pairs(a.start.add(i * a.row + p), k - p);
                _mm512_storeu_si512(to.add(i * LEFT_ROW + p / 2).cast(), pairs);
            }
        }
    }
}

/// Columns of contiguous elements: two of them become, for two tiles, each one's eight pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn copy_across(a: View<f32>, (rows, k): (usize, usize), to: *mut Pair) {
    for p in (0..k).step_by(2) {
        for i in (0..rows).step_by(LANES) {
            // SAFETY: `copy`'s assertions; there are LEFT_ROWS rows, whole registers, in `left`.
            unsafe {
                let pairs = load_rows(a.start.add(p * a.col + i), a.col, (k - p, rows - i));
                let pairs: [[Pair; TILE_ROWS]; 2] = transmute(pairs);
                for (tile, pairs) in pairs.into_iter().enumerate() {
                    let tile = to.add((i / TILE_ROWS + tile) * LEFT_TILE + p / 2 * TILE_ROWS);
                    *tile.cast() = pairs;
                }
            }
        }
    }
}

/// Sum of two products in each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot(sum: __m512, x: __m512i, row: __m512) -> __m512 {
    // SAFETY: all are 512 bits without an invariant.
    unsafe {
        let row = transmute::<__m512i, __m512bh>(_mm512_castps_si512(row));
        _mm512_dpbf16_ps(sum, transmute::<__m512i, __m512bh>(x), row)
    }
}

kernels!(
    Pair,
    "avx512f,avx512bf16",
    |b: *const Pair| _mm512_loadu_ps(b.cast()),
    |x: Pair| _mm512_set1_epi32(x as i32),
    |sum, x, row| dot(sum, x, row)
);
