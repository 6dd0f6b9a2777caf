//! Every product that the trait promises, through the code that asks cuBLASLt for it.

use super::{device, floats, read};
use std::sync::Arc;
use windtunnel::{
    device::gpu::{Dtype, Epilogue, Gpu, Matrix, Product, Slab},
    rng::Rng,
};

const K: usize = 3;
const ROWS: usize = 5;
const DEPTH: usize = 7;

/// A matrix of f32 with gaps behind rows and matrices.
struct Operand {
    slab: Slab,
    values: Vec<f32>,
    matrix: Matrix,
}

fn operand(
    gpu: &Arc<dyn Gpu>,
    (rows, cols): (usize, usize),
    transposed: bool,
    seed: u64,
) -> Operand {
    let (lie_rows, lie_cols) = if transposed {
        (cols, rows)
    } else {
        (rows, cols)
    };
    // Multiples of 8, as cuBLASLt asks of what lies beside a target.
    let row = (lie_cols + 1).next_multiple_of(8);
    let each = row * (lie_rows + 1);
    let mut rng = Rng::named(seed, "numbers");
    let values: Vec<f32> = (0..K * each).map(|_| rng.normal() as f32).collect();
    let slab = floats(gpu, &values);
    let matrix = Matrix {
        at: slab.at(),
        dtype: Dtype::F32,
        row,
        each,
        transposed,
    };
    Operand {
        slab,
        values,
        matrix,
    }
}

impl Operand {
    fn number(&self, k: usize, row: usize, col: usize) -> f32 {
        let (row, col) = if self.matrix.transposed {
            (col, row)
        } else {
            (row, col)
        };
        self.values[k * self.matrix.each + row * self.matrix.row + col]
    }
}

fn gelu(x: f32) -> (f32, f32) {
    let scale = (2.0 / std::f32::consts::PI).sqrt();
    let t = (scale * (x + 0.044715 * x.powi(3))).tanh();
    let slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * scale * (1.0 + 0.134145 * x * x);
    (0.5 * x * (1.0 + t), slope)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum After {
    Nothing,
    Sum,
    Bias,
    Gelu,
    GeluOfBias,
    GeluBack,
}

/// `cols` decides whether the library can reach what lies beside the target.
fn check(gpu: &Arc<dyn Gpu>, cols: usize, transposed: [bool; 2], after: After) {
    let a = operand(gpu, (ROWS, DEPTH), transposed[0], 1);
    let b = operand(gpu, (DEPTH, cols), transposed[1], 2);
    let mut d = operand(gpu, (ROWS, cols), false, 3);
    let mut before = operand(gpu, (ROWS, cols), false, 4);
    let bias = operand(gpu, (1, cols), false, 5);
    if cols % 2 == 1 {
        // Out of the library's reach: rows of an odd distance, as many numbers as before.
        for beside in [&mut d, &mut before] {
            beside.matrix.row = cols;
        }
    }
    let with_bias = (bias.slab.at(), bias.matrix.each);
    let epilogue = match after {
        After::Nothing | After::Sum => Epilogue::Plain,
        After::Bias => Epilogue::Bias {
            at: with_bias.0,
            each: with_bias.1,
        },
        After::Gelu | After::GeluOfBias => Epilogue::Gelu {
            before: before.slab.at(),
            bias: (after == After::GeluOfBias).then_some(with_bias),
        },
        After::GeluBack => Epilogue::GeluBack {
            before: before.slab.at(),
        },
    };
    let product = Product {
        count: K,
        rows: ROWS,
        cols,
        depth: DEPTH,
        alpha: 0.75,
        a: a.matrix,
        b: b.matrix,
        d: d.matrix,
        add: after == After::Sum,
        epilogue,
        tf32: false,
    };
    gpu.multiply(&product).unwrap();
    let found = (read(gpu, &d.slab), read(gpu, &before.slab));
    for k in 0..K {
        for (row, col) in (0..ROWS).flat_map(|r| (0..cols).map(move |c| (r, c))) {
            let terms = (0..DEPTH).map(|i| a.number(k, row, i) * b.number(k, i, col));
            let sum = 0.75 * terms.sum::<f32>();
            let biased = sum + bias.number(k, 0, col);
            let (expected, beside) = match after {
                After::Nothing => (sum, None),
                After::Sum => (sum + d.number(k, row, col), None),
                After::Bias => (biased, None),
                After::Gelu => (gelu(sum).0, Some(sum)),
                After::GeluOfBias => (gelu(biased).0, Some(biased)),
                After::GeluBack => (sum * gelu(before.number(k, row, col)).1, None),
            };
            let at = k * d.matrix.each + row * d.matrix.row + col;
            let close = |found: f32, expected: f32| (found - expected).abs() < 1e-5;
            let what = format!("{after:?}, {cols} columns, {transposed:?}: {k}, {row}, {col}");
            assert!(close(found.0[at], expected), "{what}");
            assert!(
                beside.is_none_or(|beside| close(found.1[at], beside)),
                "{what}"
            );
        }
    }
    // What lies in the gaps is left as it was.
    let touched = |at: usize| {
        at % d.matrix.each % d.matrix.row < cols && at % d.matrix.each / d.matrix.row < ROWS
    };
    let gaps = (0..d.values.len()).filter(|at| !touched(*at));
    assert!(gaps.clone().count() > 0);
    for at in gaps {
        assert_eq!(found.0[at].to_bits(), d.values[at].to_bits());
    }
}

#[test]
fn products_are_the_host_s_whatever_lies_transposed_and_whatever_follows() {
    let (gpu, _turn) = device();
    let after = [
        After::Nothing,
        After::Sum,
        After::Bias,
        After::Gelu,
        After::GeluOfBias,
        After::GeluBack,
    ];
    // Of 9 columns what follows is done by a kernel of our own.
    for cols in [6, 9] {
        for transposed in [[false, false], [true, false], [false, true], [true, true]] {
            for after in after {
                // Twice: the second time all is known.
                check(&gpu, cols, transposed, after);
                check(&gpu, cols, transposed, after);
            }
        }
    }
}

#[test]
fn an_empty_product_is_nothing_and_one_without_a_depth_is_an_error() {
    let (gpu, _turn) = device();
    let x = operand(&gpu, (ROWS, DEPTH), false, 1);
    let product = Product {
        count: 1,
        rows: 0,
        cols: DEPTH,
        depth: DEPTH,
        alpha: 1.0,
        a: x.matrix,
        b: x.matrix,
        d: x.matrix,
        add: false,
        epilogue: Epilogue::Plain,
        tf32: true,
    };
    gpu.multiply(&product).unwrap();
    assert_eq!(read(&gpu, &x.slab), x.values);
    let no_depth = Product {
        rows: ROWS,
        depth: 0,
        ..product
    };
    assert!(gpu.multiply(&no_depth).is_err());
}
