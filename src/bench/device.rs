//! What a GPU could do at most: a large product and a large copy.

use crate::{
    device::{
        Precision,
        gpu::{Dtype, Epilogue, Gpu, Matrix, Product, Slab},
    },
    error::Result,
    real::Real,
    rng::Rng,
};
use std::{sync::Arc, time::Instant};

/// What is multiplied and copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Rows and columns of both factors.
    pub product: usize,
    pub copied_bytes: usize,
}

impl Sizes {
    /// A product as large as the field measures it, and more bytes than any cache holds.
    pub const FULL: Self = Self {
        product: 8192,
        copied_bytes: 256 << 20,
    };
}

/// Done between two looks at the clock, which wait for the device.
const QUEUED: usize = 10;

/// FLOP/s of a product of square matrices in the number type that training in `precision` multiplies:
/// the median over about `seconds`.
pub fn product_flops(
    gpu: &Arc<dyn Gpu>,
    precision: Precision,
    (sizes, seconds): (Sizes, f64),
) -> Result<f64> {
    let n = sizes.product;
    let dtype = match precision {
        Precision::Bf16 => Dtype::Bf16,
        Precision::F32 | Precision::Tf32 => Dtype::F32,
    };
    let slabs = [1, 2, 3].map(|seed| random(gpu, dtype, n * n, seed));
    let [a, b, d] = slabs;
    let (a, b, d) = (a?, b?, d?);
    let square = |slab: &Slab| Matrix {
        at: slab.at(),
        dtype,
        row: n,
        each: n * n,
        transposed: false,
    };
    let product = Product {
        count: 1,
        rows: n,
        cols: n,
        depth: n,
        alpha: 1.0,
        a: square(&a),
        b: square(&b),
        d: square(&d),
        add: false,
        epilogue: Epilogue::Plain,
        tf32: precision == Precision::Tf32,
    };
    let rate = rate(gpu, seconds, || gpu.multiply(&product))?;
    Ok(rate * 2.0 * (n as f64).powi(3))
}

/// Bytes read and written in a second by a copy within the device's memory.
pub fn copy_bytes_per_second(gpu: &Arc<dyn Gpu>, (sizes, seconds): (Sizes, f64)) -> Result<f64> {
    let bytes = sizes.copied_bytes;
    let (from, to) = (Slab::zeros(gpu, bytes)?, Slab::new(gpu, bytes)?);
    let rate = rate(gpu, seconds, || gpu.copy(from.at(), to.at(), bytes))?;
    Ok(rate * 2.0 * bytes as f64)
}

/// How often a second `work` is done.
fn rate(gpu: &Arc<dyn Gpu>, seconds: f64, work: impl Fn() -> Result<()>) -> Result<f64> {
    let block = || -> Result<f64> {
        let started = Instant::now();
        for _ in 0..QUEUED {
            work()?;
        }
        gpu.wait()?;
        Ok(QUEUED as f64 / started.elapsed().as_secs_f64())
    };
    // The first chooses algorithms, and wakes a device that saved power.
    block()?;
    let mut rates = Vec::new();
    let started = Instant::now();
    while rates.len() < 3 || started.elapsed().as_secs_f64() < seconds {
        rates.push(block()?);
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[rates.len() / 2])
}

/// Numbers of a normal distribution. Zeros would flatter a device: it draws less power for them, and
/// its clock stays higher.
fn random(gpu: &Arc<dyn Gpu>, dtype: Dtype, len: usize, seed: u64) -> Result<Slab> {
    /// Drawn once, and laid out again and again.
    const DRAWN: usize = 1 << 18;
    let slab = Slab::new(gpu, len * dtype.bytes())?;
    let mut rng = Rng::named(seed, "bench.product");
    let drawn: Vec<u8> = (0..DRAWN.min(len))
        .map(|_| rng.normal() as f32)
        .flat_map(|x| match dtype {
            Dtype::F32 => x.to_le_bytes().to_vec(),
            // A number of bf16 is the upper half of the same one of f32.
            Dtype::Bf16 => Real::bf16(x).to_le_bytes()[2..].to_vec(),
        })
        .collect();
    for first in (0..slab.bytes()).step_by(drawn.len()) {
        let n = drawn.len().min(slab.bytes() - first);
        gpu.upload(slab.at() + first as u64, &drawn[..n])?;
    }
    Ok(slab)
}
