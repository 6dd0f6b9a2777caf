//! Products against sums in f64.

use super::*;
use windtunnel::device::gpu::{Dtype, Epilogue, Matrix, Product};

const COUNT: usize = 2;
const ROWS: usize = 3;
const COLS: usize = 5;
const DEPTH: usize = 7;
/// Of each row, beyond its numbers.
const SLACK: usize = 2;

/// A matrix's numbers on the device and how they lie, with gaps between rows and between matrices.
struct Operand {
    numbers: Vec<f32>,
    slab: Slab,
    lies: Matrix,
}

impl Operand {
    fn new(gpu: &Emulated, name: &str, [rows, cols]: [usize; 2], dtype: Dtype) -> Self {
        let (row, each) = (cols + SLACK, rows * (cols + SLACK) + 4);
        let numbers = rounded(dtype, &random(name, COUNT * each));
        let slab = gpu.slab(dtype, &numbers);
        let lies = Matrix {
            at: slab.at(),
            dtype,
            row,
            each,
            transposed: false,
        };
        Self {
            numbers,
            slab,
            lies,
        }
    }

    fn transposed(mut self) -> Self {
        self.lies.transposed = true;
        self
    }

    /// The element that is meant.
    fn get(&self, index: usize, i: usize, j: usize) -> f64 {
        let (i, j) = if self.lies.transposed { (j, i) } else { (i, j) };
        f64::from(self.numbers[index * self.lies.each + i * self.lies.row + j])
    }
}

fn rounded(dtype: Dtype, numbers: &[f32]) -> Vec<f32> {
    let bytes = crate::emulated::numbers::to_bytes(dtype, numbers);
    crate::emulated::numbers::of_bytes(dtype, &bytes)
}

fn close(dtype: Dtype, x: f32, want: f64) -> bool {
    let tolerance = match dtype {
        Dtype::F32 => 1e-5,
        // Half of the last of bf16's eight bits.
        Dtype::Bf16 => 1.0 / 256.0,
    };
    (f64::from(x) - want).abs() <= tolerance * want.abs().max(0.1)
}

/// A product of random operands, and what it has to do with them.
struct Case {
    gpu: Emulated,
    a: Operand,
    b: Operand,
    d: Operand,
    product: Product,
}

impl Case {
    fn new(dtypes: [Dtype; 3], transposed: [bool; 2]) -> Self {
        let gpu = gpu();
        let turned = |x: Operand, is: bool| if is { x.transposed() } else { x };
        let shape = |rows, cols, is: bool| if is { [cols, rows] } else { [rows, cols] };
        let a = Operand::new(&gpu, "a", shape(ROWS, DEPTH, transposed[0]), dtypes[0]);
        let b = Operand::new(&gpu, "b", shape(DEPTH, COLS, transposed[1]), dtypes[1]);
        let d = Operand::new(&gpu, "d", [ROWS, COLS], dtypes[2]);
        let (a, b) = (turned(a, transposed[0]), turned(b, transposed[1]));
        let product = Product {
            count: COUNT,
            rows: ROWS,
            cols: COLS,
            depth: DEPTH,
            alpha: 0.5,
            a: a.lies,
            b: b.lies,
            d: d.lies,
            add: false,
            epilogue: Epilogue::Plain,
            tf32: false,
        };
        Self {
            gpu,
            a,
            b,
            d,
            product,
        }
    }

    /// Half of A·B.
    fn half(&self, index: usize, i: usize, j: usize) -> f64 {
        let terms = (0..DEPTH).map(|k| self.a.get(index, i, k) * self.b.get(index, k, j));
        0.5 * terms.sum::<f64>()
    }

    /// Multiplies; every element of the target is `want`, and what lies between is as it was.
    fn check(&self, want: impl Fn(usize, usize, usize) -> f64) {
        self.gpu.multiply(&self.product).unwrap();
        let dtype = self.d.lies.dtype;
        self.same(&self.gpu.numbers(dtype, &self.d.slab), &self.d, want);
    }

    fn same(&self, out: &[f32], into: &Operand, want: impl Fn(usize, usize, usize) -> f64) {
        let Matrix {
            row, each, dtype, ..
        } = into.lies;
        for (place, &x) in out.iter().enumerate() {
            let (index, i, j) = (place / each, place % each / row, place % each % row);
            if i < ROWS && j < COLS {
                let want = want(index, i, j);
                assert!(close(dtype, x, want), "({index}, {i}, {j}): {x}, {want}");
            } else {
                assert_eq!(x, into.numbers[place]);
            }
        }
    }
}

fn gelu(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
    0.5 * x * (1.0 + u.tanh())
}

#[test]
fn factors_may_be_transposed_strided_and_of_either_type() {
    use Dtype::{Bf16, F32};
    for dtypes in [[F32; 3], [Bf16; 3], [Bf16, Bf16, F32]] {
        for transposed in [[false, false], [true, false], [false, true], [true, true]] {
            let mut case = Case::new(dtypes, transposed);
            case.check(|index, i, j| case.half(index, i, j));
            case = Case::new(dtypes, transposed);
            case.product.add = true;
            case.check(|index, i, j| case.half(index, i, j) + case.d.get(index, i, j));
        }
    }
}

#[test]
fn biases_and_gelu_are_part_of_a_product() {
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let mut case = Case::new([dtype; 3], [false, true]);
        let biases = rounded(dtype, &random("bias", COUNT * 6));
        let slab = case.gpu.slab(dtype, &biases);
        let bias = |index: usize, j: usize| f64::from(biases[6 * index + j]);
        case.product.epilogue = Epilogue::Bias {
            at: slab.at(),
            each: 6,
        };
        case.check(|index, i, j| case.half(index, i, j) + bias(index, j));

        let before = Operand::new(&case.gpu, "before", [ROWS, COLS], dtype);
        for with in [None, Some((slab.at(), 6))] {
            case.product.epilogue = Epilogue::Gelu {
                before: before.lies.at,
                bias: with,
            };
            let inner = |index, i, j| case.half(index, i, j) + with.map_or(0.0, |_| bias(index, j));
            case.check(|index, i, j| gelu(inner(index, i, j)));
            case.same(&case.gpu.numbers(dtype, &before.slab), &before, inner);
        }

        let inner = Operand::new(&case.gpu, "inner", [ROWS, COLS], dtype);
        case.product.epilogue = Epilogue::GeluBack {
            before: inner.lies.at,
        };
        case.check(|index, i, j| {
            let (x, h) = (inner.get(index, i, j), 1e-5);
            case.half(index, i, j) * (gelu(x + h) - gelu(x - h)) / (2.0 * h)
        });
    }
}

#[test]
fn tf32_has_ten_bits_of_mantissa() {
    let gpu = gpu();
    // 1 + 2⁻¹¹ is halfway between two numbers of TF32; 1 + 2⁻¹² is nearer to 1.
    let (a, b) = ([1.0 + 2f32.powi(-11), 1.0 + 2f32.powi(-12)], [1.0, 0.0]);
    let (a, b, d) = (
        gpu.slab(Dtype::F32, &a),
        gpu.slab(Dtype::F32, &b),
        room(&gpu, 2),
    );
    let matrix = |slab: &Slab| Matrix {
        at: slab.at(),
        dtype: Dtype::F32,
        row: 1,
        each: 2,
        transposed: false,
    };
    let mut product = Product {
        count: 1,
        rows: 2,
        cols: 1,
        depth: 1,
        alpha: 1.0,
        a: matrix(&a),
        b: matrix(&b),
        d: matrix(&d),
        add: false,
        epilogue: Epilogue::Plain,
        tf32: false,
    };
    gpu.multiply(&product).unwrap();
    assert_eq!(gpu.numbers(Dtype::F32, &d), gpu.numbers(Dtype::F32, &a));
    product.tf32 = true;
    gpu.multiply(&product).unwrap();
    assert_eq!(gpu.numbers(Dtype::F32, &d), [1.0 + 2f32.powi(-10), 1.0]);
}

#[test]
fn a_product_that_is_none_reaches_outside_or_overlaps_is_refused() {
    let refused = |change: &dyn Fn(&mut Case)| {
        let mut case = Case::new([Dtype::F32; 3], [false, false]);
        change(&mut case);
        case.gpu.multiply(&case.product).unwrap_err().problem
    };
    let far = refused(&|case| case.product.b.each += 8);
    assert!(far.contains("B reaches byte"), "{far}");
    let far = refused(&|case| case.product.d.row += 6);
    assert!(far.contains("the target reaches byte"), "{far}");
    let over = refused(&|case| case.product.a.at = case.product.d.at);
    assert!(over.contains("A overlaps the target"), "{over}");
    let bias = refused(&|case| {
        case.product.epilogue = Epilogue::Bias {
            at: case.b.slab.at(),
            each: 1000,
        }
    });
    assert!(bias.contains("the bias reaches"), "{bias}");
    let mixed = refused(&|case| case.product.a.dtype = Dtype::Bf16);
    assert!(mixed.contains("two number types"), "{mixed}");
    let narrow = refused(&|case| case.product.d.dtype = Dtype::Bf16);
    assert!(narrow.contains("f32 factors"), "{narrow}");
    let added = refused(&|case| {
        case.product.add = true;
        case.product.epilogue = Epilogue::GeluBack {
            before: case.b.slab.at(),
        }
    });
    assert!(added.contains("no epilogue"), "{added}");
}
