//! What the processor could do at most: multiply-adds in registers, and numbers through memory.
//!
//! A kernel's speed says little beside nothing; beside these it says what is left to gain (Williams
//! et al. 2009, "Roofline").

use crate::{device::Precision, memory::Buffer, pool::Pool, real::simd};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Long enough for the clock to settle, short beside what is measured next to it.
const MEASURED: Duration = Duration::from_millis(60);
/// Rounds of a multiply-add of every register between two looks at the clock: some 20 µs.
const ROUNDS: usize = 4096;
/// Numbers that a portable loop keeps in registers: sixteen of AVX2's.
const PORTABLE: usize = 128;
/// Numbers of each array of [`memory_speed`]: larger together than any cache.
const STREAMED: usize = 16 << 20;

/// FLOP/s of `threads` threads that multiply and add in registers alone; a bf16 product and its sum
/// count as two operations too. Where there are no bf16 instructions it is f32's.
pub fn peak_flops(threads: usize, precision: Precision) -> f64 {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1))
            .map(|_| scope.spawn(|| fastest(|| multiply_add(precision))))
            .collect();
        let rates = workers.into_iter().map(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        rates.sum()
    })
}

/// Bytes per second of a = b + s·c over arrays that fit in no cache, counted as STREAM counts them:
/// two reads and a write.
pub fn memory_speed(pool: &Pool) -> f64 {
    const PIECE: usize = 64 << 10;
    let mut a = Buffer::<f32>::zeros(STREAMED);
    let mut b = Buffer::<f32>::zeros(STREAMED);
    b.fill(1.0);
    let c = b.to_vec();
    let mut pass = || {
        pool.pieces2((&mut a, PIECE), (&mut b, PIECE), |i, a, b| {
            let c = &c[i * PIECE..];
            simd(
                #[inline(always)]
                || {
                    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                        *a = *b + 3.0 * *c;
                    }
                },
            );
        });
        (3 * STREAMED * size_of::<f32>()) as f64
    };
    // The first pass touches the pages.
    pass();
    fastest(pass)
}

/// The best rate of `work`, which says how much it did, over many calls: what else the machine does
/// only slows.
fn fastest(mut work: impl FnMut() -> f64) -> f64 {
    let started = Instant::now();
    let mut best = 0.0_f64;
    while started.elapsed() < MEASURED {
        let now = Instant::now();
        let done = work();
        best = best.max(done / now.elapsed().as_secs_f64());
    }
    best
}

/// Multiplies and adds, and says how many operations that were.
fn multiply_add(precision: Precision) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if precision == Precision::Bf16 && precision.is_native() {
            // SAFETY: the processor has AVX-512 with bf16.
            return unsafe { avx512::brain(ROUNDS) };
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512.
            return unsafe { avx512::single(ROUNDS) };
        }
    }
    let _ = precision;
    let mut sums = black_box([1.0_f32; PORTABLE]);
    let (x, y) = (black_box(0.5_f32), black_box(0.25_f32));
    simd(
        #[inline(always)]
        || {
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = sum.mul_add(x, y);
                }
            }
        },
    );
    black_box(sums);
    (2 * ROUNDS * PORTABLE) as f64
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::{
        arch::x86_64::{
            __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_set1_epi16,
            _mm512_set1_ps,
        },
        hint::black_box,
        mem::transmute,
    };

    /// Sums that do not wait for each other: more than two units times four cycles.
    const SUMS: usize = 16;
    const LANES: usize = 16;

    /// SAFETY: the processor has AVX-512.
    #[target_feature(enable = "avx512f")]
    pub fn single(rounds: usize) -> f64 {
        let mut sums: [__m512; SUMS] = black_box([_mm512_set1_ps(1.0); SUMS]);
        let (x, y) = black_box((_mm512_set1_ps(0.5), _mm512_set1_ps(0.25)));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        black_box(sums);
        (2 * rounds * SUMS * LANES) as f64
    }

    /// SAFETY: the processor has AVX-512 with bf16.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub fn brain(rounds: usize) -> f64 {
        let mut sums: [__m512; SUMS] = black_box([_mm512_set1_ps(1.0); SUMS]);
        // Zeros: the sums stay finite, and an instruction takes no account of values.
        let x: __m512i = black_box(_mm512_set1_epi16(0));
        // SAFETY: both are 512 bits without a meaning of their own.
        let x: __m512bh = unsafe { transmute(x) };
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, x, x);
            }
        }
        black_box(sums);
        // Two products a lane.
        (4 * rounds * SUMS * LANES) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_multiplies_faster_than_it_reads_memory() {
        let flops = peak_flops(1, Precision::F32);
        let bytes = memory_speed(&Pool::new(1));
        assert!(flops > 1e9, "{flops}");
        assert!(bytes > 1e8, "{bytes}");
        // Of a triad's two operations a 12 bytes, memory is the bound on every processor there is.
        assert!(flops / 2.0 > bytes / 12.0, "{flops} {bytes}");
    }
}
