//! Whether a device computes what the host does: a kernel and three products, in no time.

use super::gpu::{Arg, At, Dtype, Epilogue, Gpu, Launch, Matrix, Product, Slab};
use crate::{error::Result, rng::Rng};
use std::{f64::consts::PI, sync::Arc};

/// How far the device's numbers are from the host's, as a part of the largest, and how far they may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    pub what: &'static str,
    pub error: f64,
    pub bound: f64,
}

impl Agreement {
    pub fn holds(&self) -> bool {
        // Nor may it be NaN.
        self.error <= self.bound
    }
}

// No multiples of a tile.
const ROWS: usize = 67;
const DEPTH: usize = 72;
const COLS: usize = 40;

/// Of sums of 72 products in f32, in any order, and of exponentials that are a few last bits off.
const F32: f64 = 1e-5;
/// One rounding to bf16's 8 bits of significand, and a second of what that makes of its neighbour.
const BF16: f64 = 1.0 / 128.0;

/// Errors when the device fails; numbers that differ are no error here.
pub fn check(gpu: &Arc<dyn Gpu>) -> Result<Vec<Agreement>> {
    Ok(vec![
        kernel(gpu)?,
        product(gpu, Dtype::F32, "a product of f32")?,
        product(gpu, Dtype::Bf16, "a product of bf16 added up in f32")?,
        fused(gpu)?,
    ])
}

/// GELU's slope in place, by the kernel that follows products.
fn kernel(gpu: &Arc<dyn Gpu>) -> Result<Agreement> {
    let d = Operand::new(gpu, Dtype::F32, (ROWS, COLS), 1)?;
    let before = Operand::new(gpu, Dtype::F32, (ROWS, COLS), 2)?;
    gpu.launch(Launch {
        kernel: "epilogue_f32",
        grid: [1, ROWS as u32, 1],
        threads: 256,
        shared: 0,
        args: &[
            Arg::At(d.slab.at()),
            Arg::At(0),
            Arg::At(before.slab.at()),
            Arg::U32(2),
            Arg::U32(ROWS as u32),
            Arg::U32(COLS as u32),
            Arg::U64(COLS as u64),
            Arg::U64(0),
            Arg::U64(0),
        ],
    })?;
    let expected = d.values.iter().zip(&before.values);
    let expected: Vec<f64> = expected.map(|(d, x)| d * gelu(*x).1).collect();
    Ok(Agreement {
        what: "a kernel",
        error: distance(&expected, &d.download()?),
        bound: F32,
    })
}

/// A product that is added to what is there, in f32, with a transposed factor, as gradients of weights
/// are.
fn product(gpu: &Arc<dyn Gpu>, dtype: Dtype, what: &'static str) -> Result<Agreement> {
    let a = Operand::new(gpu, dtype, (DEPTH, ROWS), 1)?;
    let b = Operand::new(gpu, dtype, (DEPTH, COLS), 2)?;
    let d = Operand::new(gpu, Dtype::F32, (ROWS, COLS), 3)?;
    gpu.multiply(&Product {
        add: true,
        ..multiplied(a.matrix(true), b.matrix(false), d.matrix(false))
    })?;
    let expected = places(|row, col| {
        let terms = (0..DEPTH).map(|i| a.values[i * ROWS + row] * b.values[i * COLS + col]);
        d.values[row * COLS + col] + terms.sum::<f64>()
    });
    Ok(Agreement {
        what,
        error: distance(&expected, &d.download()?),
        bound: F32,
    })
}

/// A linear layer with bias and GELU, all in bf16.
fn fused(gpu: &Arc<dyn Gpu>) -> Result<Agreement> {
    let a = Operand::new(gpu, Dtype::Bf16, (ROWS, DEPTH), 1)?;
    let b = Operand::new(gpu, Dtype::Bf16, (COLS, DEPTH), 2)?;
    let bias = Operand::new(gpu, Dtype::Bf16, (1, COLS), 3)?;
    let d = Operand::new(gpu, Dtype::Bf16, (ROWS, COLS), 4)?;
    let before = Operand::new(gpu, Dtype::Bf16, (ROWS, COLS), 5)?;
    gpu.multiply(&Product {
        epilogue: Epilogue::Gelu {
            before: before.slab.at(),
            bias: Some((bias.slab.at(), 0)),
        },
        ..multiplied(a.matrix(false), b.matrix(true), d.matrix(false))
    })?;
    let linear = places(|row, col| {
        let terms = (0..DEPTH).map(|i| a.values[row * DEPTH + i] * b.values[col * DEPTH + i]);
        bias.values[col] + terms.sum::<f64>()
    });
    let expected: Vec<f64> = linear.iter().map(|x| gelu(*x).0).collect();
    let of_target = distance(&expected, &d.download()?);
    Ok(Agreement {
        what: "a product of bf16 with bias and GELU",
        error: of_target.max(distance(&linear, &before.download()?)),
        bound: BF16,
    })
}

/// A matrix without gaps on the device, and its numbers.
struct Operand {
    gpu: Arc<dyn Gpu>,
    slab: Slab,
    dtype: Dtype,
    cols: usize,
    values: Vec<f64>,
}

impl Operand {
    /// Numbers of which half are below zero, and which bf16 holds exactly.
    fn new(
        gpu: &Arc<dyn Gpu>,
        dtype: Dtype,
        (rows, cols): (usize, usize),
        seed: u64,
    ) -> Result<Self> {
        let mut rng = Rng::named(seed, "a device's numbers");
        let values: Vec<f64> = (0..rows * cols)
            .map(|_| (rng.below(256) as f64 - 127.5) / 256.0)
            .collect();
        let bytes: Vec<u8> = match dtype {
            Dtype::F32 => values
                .iter()
                .flat_map(|x| (*x as f32).to_le_bytes())
                .collect(),
            Dtype::Bf16 => values
                .iter()
                .flat_map(|x| (((*x as f32).to_bits() >> 16) as u16).to_le_bytes())
                .collect(),
        };
        let slab = Slab::new(gpu, bytes.len())?;
        gpu.upload(slab.at(), &bytes)?;
        Ok(Self {
            gpu: gpu.clone(),
            slab,
            dtype,
            cols,
            values,
        })
    }

    fn matrix(&self, transposed: bool) -> Matrix {
        let at: At = self.slab.at();
        Matrix {
            at,
            dtype: self.dtype,
            row: self.cols,
            each: 0,
            transposed,
        }
    }

    /// What is there now.
    fn download(&self) -> Result<Vec<f64>> {
        let mut bytes = vec![0; self.slab.bytes()];
        self.gpu.download(self.slab.at(), &mut bytes)?;
        let number = |bytes: &[u8]| match *bytes {
            [a, b] => f32::from_le_bytes([0, 0, a, b]),
            [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
            _ => f32::NAN,
        };
        let numbers = bytes.chunks(self.dtype.bytes()).map(number);
        Ok(numbers.map(f64::from).collect())
    }
}

fn multiplied(a: Matrix, b: Matrix, d: Matrix) -> Product {
    Product {
        count: 1,
        rows: ROWS,
        cols: COLS,
        depth: DEPTH,
        alpha: 1.0,
        a,
        b,
        d,
        add: false,
        epilogue: Epilogue::Plain,
        tf32: false,
    }
}

fn places(number: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let places = (0..ROWS).flat_map(|row| (0..COLS).map(move |col| (row, col)));
    places.map(|(row, col)| number(row, col)).collect()
}

/// GELU by its tanh approximation, and its slope.
fn gelu(x: f64) -> (f64, f64) {
    let scale = (2.0 / PI).sqrt();
    let t = (scale * (x + 0.044715 * x.powi(3))).tanh();
    let slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * scale * (1.0 + 0.134145 * x * x);
    (0.5 * x * (1.0 + t), slope)
}

/// The largest difference, as a part of the largest number that was expected.
fn distance(expected: &[f64], found: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    let differences = expected.iter().zip(found).map(|(e, f)| (e - f).abs());
    // `max` would forget a NaN.
    differences.fold(0.0, |most: f64, d| if d <= most { most } else { d }) / largest
}
