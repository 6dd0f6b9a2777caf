//! f32 as it is.

use super::{
    DEPTH, Format, Kernel, LANES, LEFT, LEFT_ROWS, LEFT_TILE, Scratch, TILE_ROWS, View, kernels,
    mask, table, transposed,
};
use crate::memory::Buffer;
use std::{
    arch::x86_64::{
        _MM_HINT_T0, _mm_prefetch, _mm512_maskz_loadu_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    },
    cell::RefCell,
    thread::LocalKey,
};

/// Inputs in f32.
pub struct Single;

/// So many columns of a are asked for before they are copied.
const AHEAD: usize = 16;
/// Columns that start so many numbers apart are asked for.
const FAR: usize = 256;

thread_local! {
    static SCRATCH: Scratch<f32> = RefCell::new((Buffer::zeros(0), Buffer::zeros(0)));
}

impl Format for Single {
    type Unit = f32;
    const NEIGHBOURS: usize = 1;
    const SCRATCH: &'static LocalKey<Scratch<f32>> = &SCRATCH;
    const KERNELS: [[Kernel<f32>; TILE_ROWS]; 3] = table!();

    fn available() -> bool {
        is_x86_feature_detected!("avx512f")
    }

    unsafe fn pack(b: View<f32>, size: (usize, usize), to: *mut f32, width: usize) {
        // SAFETY: the caller's.
        unsafe {
            match b.col == 1 {
                true => pack_along(b, size, to, width),
                false => pack_across(b, size, to, width),
            }
        }
    }

    fn copies(a: View<f32>) -> bool {
        a.row == 1 && a.col != 1
    }

    /// Tile after tile, for each column its eight elements. Reads along a's columns, each cache line
    /// once.
    unsafe fn copy(a: View<f32>, (rows, k): (usize, usize), left: &mut [f32]) -> View<f32> {
        assert!(rows <= LEFT_ROWS && k <= DEPTH && left.len() == LEFT);
        let to = left.as_mut_ptr();
        // Where columns are far apart no hardware foresees them.
        let asked_for = if a.col >= FAR { rows } else { 0 };
        for q in 0..k {
            let ahead = a.start.wrapping_add((q + AHEAD) * a.col);
            for line in (0..asked_for).step_by(LANES) {
                // SAFETY: a prefetch reads nothing, wherever it points.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line).cast()) };
            }
            for tile in 0..rows.div_ceil(TILE_ROWS) {
                let height = rows - tile * TILE_ROWS;
                // SAFETY: the caller's: rows × k elements are in a; the assertion: in `left`.
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
        View {
            start: to,
            row: 1,
            col: TILE_ROWS,
        }
    }

    fn as_it_is(a: View<f32>) -> View<f32> {
        a
    }
}

/// Rows of contiguous elements.
#[target_feature(enable = "avx512f")]
unsafe fn pack_along(b: View<f32>, (k, cols): (usize, usize), to: *mut f32, width: usize) {
    for p in 0..k {
        for v in (0..cols).step_by(LANES) {
            // SAFETY: `pack`'s contract.
            unsafe {
                let from = b.start.add(p * b.row + v);
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD * b.row).cast());
                let row = _mm512_maskz_loadu_ps(mask(cols - v), from);
                _mm512_storeu_ps(to.add(p * width + v), row);
            }
        }
    }
}

/// Columns of contiguous elements: transposed in registers, 16×16 at a time.
#[target_feature(enable = "avx512f")]
unsafe fn pack_across(b: View<f32>, (k, cols): (usize, usize), to: *mut f32, width: usize) {
    for v in (0..cols).step_by(LANES) {
        for p in (0..k).step_by(LANES) {
            let mut block = [_mm512_setzero_ps(); LANES];
            for (j, column) in block.iter_mut().enumerate().take(cols - v) {
                // SAFETY: `pack`'s contract: column v + j from row p on is in b.
                let from = unsafe { b.start.add((v + j) * b.col + p) };
                // SAFETY: as above, k − p elements of it.
                *column = unsafe { _mm512_maskz_loadu_ps(mask(k - p), from) };
            }
            let rows = transposed(block).into_iter().enumerate();
            for (i, row) in rows.take(k - p) {
                // SAFETY: `pack`'s contract.
                unsafe { _mm512_storeu_ps(to.add((p + i) * width + v), row) };
            }
        }
    }
}

kernels!(
    f32,
    "avx512f",
    |b| _mm512_loadu_ps(b),
    |x| _mm512_set1_ps(x),
    |sum, x, row| _mm512_fmadd_ps(x, row, sum)
);
