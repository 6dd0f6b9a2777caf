//! The two number types that ops are written for: f32 for training, f64 for tests.
//!
//! Loops are plain Rust; [`simd`] compiles them once per instruction set (baseline, AVX2 with FMA,
//! AVX-512) and picks one at run time, so one binary is fast everywhere.

use crate::memory::Recycler;
use candle_core::WithDType;
use std::cell::RefCell;

/// A real number that a kernel computes with. All functions inline into vector loops.
pub trait Real:
    WithDType
    + Copy
    + Send
    + Sync
    + Default
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::ops::SubAssign
    + std::ops::MulAssign
{
    const ZERO: Self;
    const ONE: Self;
    const LOWEST: Self;
    fn of(x: f64) -> Self;
    fn f64(self) -> f64;
    /// self·a + b, fused where the instruction set has it.
    fn mul_add(self, a: Self, b: Self) -> Self;
    fn larger(self, other: Self) -> Self;
    fn sqrt(self) -> Self;
    /// e to the power of `self`; within 2 units in the last place for f32.
    fn exp(self) -> Self;
    /// (Φ(x), φ(x)): the standard normal's distribution function and density.
    fn normal(self) -> (Self, Self);
    fn is_finite(self) -> bool;
    /// The nearest number of bf16's 8 bits of mantissa, ties to even; NaN stays NaN.
    fn bf16(self) -> Self;
    /// Buffers that this thread keeps from one use to the next.
    fn with_scratch<T>(f: impl FnOnce(&mut Recycler<Self>) -> T) -> T;
}

/// The scratch of one number type.
macro_rules! scratch {
    ($number:ty) => {
        fn with_scratch<T>(f: impl FnOnce(&mut Recycler<Self>) -> T) -> T {
            thread_local! {
                static SCRATCH: RefCell<Recycler<$number>> = RefCell::default();
            }
            SCRATCH.with_borrow_mut(f)
        }
    };
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LOWEST: Self = f32::MIN;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f32::mul_add(self, a, b)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }

    /// Range reduction to |r| ≤ ln 2 / 2 (Cody and Waite), a polynomial, then 2ⁿ by its bits.
    /// Without branches, so that it vectorises; NaN stays NaN.
    #[inline(always)]
    fn exp(self) -> Self {
        // Adding and subtracting 1.5·2²³ rounds to the nearest whole number.
        const ROUND: f32 = 12_582_912.0;
        let x = if self > 88.0 { 88.0 } else { self };
        let x = if x < -87.0 { -87.0 } else { x };
        let n = x.mul_add(std::f32::consts::LOG2_E, ROUND) - ROUND;
        // ln 2 in two parts, the first with few bits, so that its product with n is exact.
        let r = n.mul_add(-355.0 / 512.0, x);
        let r = n.mul_add(2.121_944_4e-4, r);
        let mut p = 1.987_569_1e-4_f32;
        p = p.mul_add(r, 1.398_199_9e-3);
        p = p.mul_add(r, 8.333_452e-3);
        p = p.mul_add(r, 4.166_579_6e-2);
        p = p.mul_add(r, 1.666_666_5e-1);
        p = p.mul_add(r, 0.5);
        p = p.mul_add(r * r, r) + 1.0;
        // The low bits of n + 1.5·2²³ are n itself, which spares a conversion that saturates.
        let bits = (n + ROUND).to_bits().wrapping_add(127) << 23;
        let scaled = p * f32::from_bits(bits);
        if self < -87.0 { 0.0 } else { scaled }
    }

    /// Abramowitz and Stegun 7.1.26: absolute error below 3e-7, and φ comes with it.
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        let z = self.abs() * std::f32::consts::FRAC_1_SQRT_2;
        let e = Real::exp(-z * z);
        let t = 1.0 / z.mul_add(0.327_591_1, 1.0);
        let mut p = 1.061_405_4_f32;
        p = p.mul_add(t, -1.453_152_1);
        p = p.mul_add(t, 1.421_413_8);
        p = p.mul_add(t, -0.284_496_72);
        p = p.mul_add(t, 0.254_829_6);
        let tail = 0.5 * p * t * e;
        let phi = if self < 0.0 { tail } else { 1.0 - tail };
        (phi, e * 0.398_942_3)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
    /// By its bits: half of the last place that stays is added, less one where that place is even.
    #[inline(always)]
    fn bf16(self) -> Self {
        let bits = self.to_bits();
        let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
        // A NaN's mantissa must not overflow into the exponent.
        f32::from_bits(if self.is_nan() { bits } else { nearest })
    }
    scratch!(f32);
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LOWEST: Self = f64::MIN;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f64::mul_add(self, a, b)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        let phi = 0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2);
        (phi, (-0.5 * self * self).exp() * 0.398_942_280_401_432_7)
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
    #[inline(always)]
    fn bf16(self) -> Self {
        f64::from((self as f32).bf16())
    }
    scratch!(f64);
}

/// Runs `f` compiled for the best instruction set that this processor has.
#[inline(always)]
pub fn simd<T>(f: impl FnOnce() -> T) -> T {
    pulp::Arch::new().dispatch(f)
}

/// Which of [`simd`]'s versions runs here: part of the device class, since results differ in the
/// last bits between them.
pub fn instruction_set() -> &'static str {
    match format!("{:?}", pulp::Arch::new()) {
        name if name.starts_with("V4") => "x86-64-v4",
        name if name.starts_with("V3") => "x86-64-v3",
        name if name.starts_with("Neon") => "neon",
        _ => "scalar",
    }
}

/// Accumulators side by side, so that a sum vectorises without reordering at the compiler's whim.
const LANES: usize = 16;

/// Sum of f over two slices' elements, in a fixed order.
#[inline(always)]
pub fn sum2<R: Real>(a: &[R], b: &[R], f: impl Fn(R, R, R) -> R) -> R {
    let mut lanes = [R::ZERO; LANES];
    let (a_head, a_tail) = a.as_chunks::<LANES>();
    let (b_head, b_tail) = b.as_chunks::<LANES>();
    for (a, b) in a_head.iter().zip(b_head) {
        for lane in 0..LANES {
            lanes[lane] = f(lanes[lane], a[lane], b[lane]);
        }
    }
    for (lane, (a, b)) in a_tail.iter().zip(b_tail).enumerate() {
        lanes[lane] = f(lanes[lane], *a, *b);
    }
    fold(lanes, |a, b| a + b)
}

/// The same over three slices.
#[inline(always)]
pub fn sum3<R: Real>(a: &[R], b: &[R], c: &[R], f: impl Fn(R, R, R, R) -> R) -> R {
    let mut lanes = [R::ZERO; LANES];
    let (a_head, a_tail) = a.as_chunks::<LANES>();
    let (b_head, b_tail) = b.as_chunks::<LANES>();
    let (c_head, c_tail) = c.as_chunks::<LANES>();
    for ((a, b), c) in a_head.iter().zip(b_head).zip(c_head) {
        for lane in 0..LANES {
            lanes[lane] = f(lanes[lane], a[lane], b[lane], c[lane]);
        }
    }
    for (lane, ((a, b), c)) in a_tail.iter().zip(b_tail).zip(c_tail).enumerate() {
        lanes[lane] = f(lanes[lane], *a, *b, *c);
    }
    fold(lanes, |a, b| a + b)
}

#[inline(always)]
pub fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    sum2(a, b, |sum, a, b| a.mul_add(b, sum))
}

#[inline(always)]
pub fn sum<R: Real>(a: &[R]) -> R {
    sum2(a, a, |sum, a, _| sum + a)
}

#[inline(always)]
pub fn max<R: Real>(a: &[R]) -> R {
    let mut lanes = [R::LOWEST; LANES];
    let (head, tail) = a.as_chunks::<LANES>();
    for a in head {
        for lane in 0..LANES {
            lanes[lane] = a[lane].larger(lanes[lane]);
        }
    }
    for (lane, a) in tail.iter().enumerate() {
        lanes[lane] = a.larger(lanes[lane]);
    }
    fold(lanes, |a, b| a.larger(b))
}

/// Halves the lanes until one is left.
#[inline(always)]
fn fold<R: Real>(mut lanes: [R; LANES], f: impl Fn(R, R) -> R) -> R {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = f(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let ulp = exact * f64::from(f32::EPSILON);
            worst = worst.max(
                (f64::from(simd(
                    #[inline(always)]
                    || Real::exp(x),
                )) - exact)
                    .abs()
                    / ulp,
            );
        }
        assert!(worst < 2.0, "{worst} ulp");
        assert_eq!(Real::exp(f32::MIN), 0.0);
        assert_eq!(Real::exp(-200.0f32), 0.0);
        assert!(Real::exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_normal_distribution_is_right_to_three_in_ten_million() {
        for i in -6000..6000 {
            let x = f64::from(i) * 1e-3;
            let (phi, density) = Real::normal(x as f32);
            let (exact_phi, exact_density) = Real::normal(x);
            assert!(
                (f64::from(phi) - exact_phi).abs() < 3e-7,
                "at {x}: {phi} {exact_phi}"
            );
            assert!((f64::from(density) - exact_density).abs() < 3e-7);
        }
        // Φ(1.96) from a printed table.
        assert!((Real::normal(1.96f64).0 - 0.975_002_1).abs() < 1e-7);
    }

    #[test]
    fn bf16_is_the_nearest_of_its_numbers_and_the_even_one_of_two() {
        let ulp = 2f32.powi(-7);
        for (x, want) in [
            (1.0 + 0.49 * ulp, 1.0),
            (1.0 + 0.51 * ulp, 1.0 + ulp),
            (1.0 + 0.5 * ulp, 1.0),
            (1.0 + 1.5 * ulp, 1.0 + 2.0 * ulp),
            (-1.0 - 0.51 * ulp, -1.0 - ulp),
            (f32::MAX, f32::INFINITY),
            (f32::INFINITY, f32::INFINITY),
            (0.0, 0.0),
        ] {
            assert_eq!(x.bf16(), want, "{x}");
        }
        assert!(f32::from_bits(0x7f80_0001).bf16().is_nan());
        assert!(f32::from_bits(0x7fff_ffff).bf16().is_nan());
    }

    #[test]
    fn vector_reductions_agree_with_plain_loops() {
        for n in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f64> = (0..n).map(|i| f64::from(i) * 0.5 - 3.0).collect();
            let b: Vec<f64> = (0..n).map(|i| f64::from(i % 7)).collect();
            let want: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert!((dot(&a, &b) - want).abs() < 1e-9);
            assert!((sum(&a) - a.iter().sum::<f64>()).abs() < 1e-9);
            if n > 0 {
                assert_eq!(max(&a), a.iter().copied().fold(f64::MIN, f64::max));
            }
        }
    }
}
