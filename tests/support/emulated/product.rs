//! `Gpu::multiply` on the CPU: plain loops over rows, with the factors' and the target's number
//! types and roundings.

use super::{memory::Memory, numbers};
use windtunnel::device::gpu::{At, Dtype, Epilogue, Matrix, Product};

/// √(2/π) and the cube's factor of GELU's tanh approximation.
const ROOT: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

/// Why a product cannot be: it is none that [`Product`] promises, or an operand is not all inside of an
/// allocation, or is written while it is read.
pub fn refused(p: &Product, memory: &Memory) -> Option<String> {
    if p.a.dtype != p.b.dtype {
        return Some("its factors are of two number types".into());
    }
    if p.a.dtype == Dtype::F32 && p.d.dtype != Dtype::F32 {
        return Some("a target of f32 factors is f32".into());
    }
    if p.add && p.epilogue != Epilogue::Plain {
        return Some("what is added to the target has no epilogue".into());
    }
    let biases = |each: usize| ((p.count - 1) * each + p.cols) * p.d.dtype.bytes();
    let d = extent(&p.d, p.count, p.rows, p.cols);
    let mut operands = vec![
        ("A", p.a.at, extent(&p.a, p.count, p.rows, p.depth)),
        ("B", p.b.at, extent(&p.b, p.count, p.depth, p.cols)),
    ];
    match p.epilogue {
        Epilogue::Plain => {}
        Epilogue::Bias { at, each } => operands.push(("the bias", at, biases(each))),
        Epilogue::Gelu { before, bias } => {
            operands.push(("what goes into GELU", before, d));
            if let Some((at, each)) = bias {
                operands.push(("the bias", at, biases(each)));
            }
        }
        Epilogue::GeluBack { before } => operands.push(("what went into GELU", before, d)),
    }
    for &(name, at, bytes) in &operands {
        if at < p.d.at + d as At && p.d.at < at + bytes as At {
            return Some(format!("{name} overlaps the target"));
        }
    }
    operands.push(("the target", p.d.at, d));
    operands.into_iter().find_map(|(name, at, bytes)| {
        let outside = memory.outside(at, bytes)?;
        Some(format!("{name} reaches {outside}"))
    })
}

/// Bytes from a matrix's first number to its last; `rows` and `cols` as they are meant.
fn extent(m: &Matrix, count: usize, rows: usize, cols: usize) -> usize {
    let (rows, cols) = if m.transposed {
        (cols, rows)
    } else {
        (rows, cols)
    };
    ((count - 1) * m.each + (rows - 1) * m.row + cols) * m.dtype.bytes()
}

/// Computes it. What [`refused`] refuses must not come here.
pub fn multiply(p: &Product) {
    // In f64: how a device cuts its sums is its own affair, and the exact one is as near as any.
    let mut sums = vec![0.0_f64; p.rows * p.cols];
    let mut row_of_sums = vec![0.0_f32; p.cols];
    for index in 0..p.count {
        let a = factor(&p.a, index, [p.rows, p.depth], p.tf32);
        let b = factor(&p.b, index, [p.depth, p.cols], p.tf32);
        sums.fill(0.0);
        for (row, sums) in sums.chunks_exact_mut(p.cols).enumerate() {
            for (k, &x) in a[row * p.depth..(row + 1) * p.depth].iter().enumerate() {
                let b = &b[k * p.cols..(k + 1) * p.cols];
                let terms = b.iter().map(|y| f64::from(x) * f64::from(*y));
                sums.iter_mut().zip(terms).for_each(|(sum, xy)| *sum += xy);
            }
        }
        for (row, sums) in sums.chunks_exact(p.cols).enumerate() {
            let rounded = row_of_sums.iter_mut().zip(sums);
            rounded.for_each(|(to, sum)| *to = *sum as f32);
            finish(p, index, row, &mut row_of_sums);
        }
    }
}

/// One of a batch's factors, row by row as it is meant.
fn factor(m: &Matrix, index: usize, [rows, cols]: [usize; 2], tf32: bool) -> Vec<f32> {
    let each = (index * m.each * m.dtype.bytes()) as At;
    let round = |x: f32| {
        if tf32 && m.dtype == Dtype::F32 {
            to_tf32(x)
        } else {
            x
        }
    };
    let lies = if m.transposed { cols } else { rows };
    let len = if m.transposed { rows } else { cols };
    let mut meant = vec![0.0; rows * cols];
    let mut row = vec![0.0; len];
    for i in 0..lies {
        let at = m.at + each + (i * m.row * m.dtype.bytes()) as At;
        numbers::read(m.dtype, at, &mut row);
        for (j, &x) in row.iter().enumerate() {
            let place = if m.transposed {
                j * cols + i
            } else {
                i * cols + j
            };
            meant[place] = round(x);
        }
    }
    meant
}

/// Scales a row, adds what is there, does the epilogue, and writes it.
fn finish(p: &Product, index: usize, row: usize, sums: &mut [f32]) {
    let offset = ((index * p.d.each + row * p.d.row) * p.d.dtype.bytes()) as At;
    let mut other = vec![0.0; p.cols];
    sums.iter_mut().for_each(|sum| *sum *= p.alpha);
    let mut plus = |sums: &mut [f32], at: At| {
        numbers::read(p.d.dtype, at, &mut other);
        sums.iter_mut().zip(&other).for_each(|(sum, x)| *sum += x);
    };
    let bias_at = |at: At, each: usize| at + (index * each * p.d.dtype.bytes()) as At;
    if p.add {
        plus(sums, p.d.at + offset);
    }
    match p.epilogue {
        Epilogue::Plain => {}
        Epilogue::Bias { at, each } => plus(sums, bias_at(at, each)),
        Epilogue::Gelu { before, bias } => {
            if let Some((at, each)) = bias {
                plus(sums, bias_at(at, each));
            }
            numbers::write(p.d.dtype, before + offset, sums);
            sums.iter_mut().for_each(|sum| *sum = gelu(*sum));
        }
        Epilogue::GeluBack { before } => {
            numbers::read(p.d.dtype, before + offset, &mut other);
            sums.iter_mut()
                .zip(&other)
                .for_each(|(sum, &x)| *sum *= gelu_slope(x));
        }
    }
    numbers::write(p.d.dtype, p.d.at + offset, sums);
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + (ROOT * (x + CUBE * x * x * x)).tanh())
}

fn gelu_slope(x: f32) -> f32 {
    let t = (ROOT * (x + CUBE * x * x * x)).tanh();
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * ROOT * (1.0 + 3.0 * CUBE * x * x)
}

/// Ten bits of mantissa, to nearest, ties away from zero: PTX's `cvt.rna.tf32.f32`.
fn to_tf32(x: f32) -> f32 {
    if x.is_finite() {
        f32::from_bits(x.to_bits().wrapping_add(0x1000) & 0xffff_e000)
    } else {
        x
    }
}
