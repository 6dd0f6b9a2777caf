use crate::{
    compare::{self, Case, agree},
    device::Device,
};
use windtunnel::{
    device::Precision,
    error::Result,
    ops::activation::Activation,
    params::{Init, Param, Spec},
    tape::{Mode, Shape, Tape, Value},
};

/// A case of (K, rows, in) with weights of these shapes.
fn case(shape: (usize, usize, usize), weights: &[&[usize]]) -> Case {
    let (k, rows, cols) = shape;
    let params: Vec<Spec> = weights.iter().enumerate().map(spec).collect();
    Case::new(&[Shape { k, rows, cols }], &params)
}

fn spec((i, shape): (usize, &&[usize])) -> Spec {
    Spec::new(format!("p{i}"), shape, Init::Zeros)
}

/// (K, rows, in, out), of which none is a multiple of a tile.
const SHAPES: [(usize, usize, usize, usize); 7] = [
    (1, 5, 1, 7),
    (3, 9, 7, 64),
    (1, 70, 64, 100),
    (3, 130, 100, 8),
    (2, 3, 13, 1),
    (1, 1, 64, 264),
    // More rows than there are pieces of 64.
    (1, 8_300, 2, 9),
];

#[test]
fn a_linear_layer_with_and_without_a_bias() {
    for (k, rows, cols, out) in SHAPES {
        let name = format!("linear {k}×{rows}×{cols}×{out}");
        let biased = case((k, rows, cols), &[&[out, cols], &[out]]);
        agree(&name, &biased, &|tape, x, p| {
            tape.linear(x[0], p[0], Some(p[1]))
        });
        let plain = case((k, rows, cols), &[&[out, cols]]);
        agree(&name, &plain, &|tape, x, p| tape.linear(x[0], p[0], None));
    }
}

#[test]
fn gradients_of_a_weight_and_of_an_input_that_are_used_twice_add_up() {
    let case = case((3, 11, 24), &[&[24, 24], &[24]]);
    agree("linear twice", &case, &|tape, x, p| {
        let y = tape.linear(x[0], p[0], Some(p[1]))?;
        // The same weights again, on what they made and on the input itself.
        let z = tape.linear(y, p[0], Some(p[1]))?;
        let again = tape.linear(x[0], p[0], Some(p[1]))?;
        sum(tape, z, again)
    });
}

fn sum(tape: &mut Tape<f32>, a: Value, b: Value) -> Result<Value> {
    tape.composed(&[a, b], &[], |x, _| &x[0] + &x[1])
}

const ACTIVATIONS: [Activation; 4] = [
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu2,
    Activation::Swiglu,
];

/// A block's MLP.
fn mlp(tape: &mut Tape<f32>, x: Value, p: &[Param], activation: Activation) -> Result<Value> {
    let h = tape.linear_activation(x, (p[0], Some(p[1])), activation)?;
    tape.linear(h, p[2], Some(p[3]))
}

#[test]
fn an_mlp_whatever_its_activation_and_width() {
    for activation in ACTIVATIONS {
        // Of 8 GELU is the product's epilogue; of 10 it is not.
        for (k, inner) in [(1, 40), (3, 16), (3, 10)] {
            let wide = inner * activation.fan_in();
            let shapes: [&[usize]; 4] = [&[wide, 12], &[wide], &[12, inner], &[12]];
            let name = format!("mlp of {inner}, {activation:?}");
            let case = case((k, 9, 12), &shapes);
            agree(&name, &case, &|tape, x, p| mlp(tape, x[0], p, activation));
        }
    }
}

#[test]
fn what_else_reads_a_gelu_that_was_an_epilogue_counts_in_its_gradient() {
    let case = case((3, 9, 12), &[&[16, 12], &[16], &[12, 16], &[12]]);
    let gelu = Activation::GeluTanh;
    agree("gelu read twice by layers", &case, &|tape, x, p| {
        let h = tape.linear_activation(x[0], (p[0], Some(p[1])), gelu)?;
        let a = tape.linear(h, p[2], Some(p[3]))?;
        let b = tape.linear(h, p[2], None)?;
        sum(tape, a, b)
    });
    agree(
        "gelu read by a layer and by others",
        &case,
        &|tape, x, p| {
            let h = tape.linear_activation(x[0], (p[0], Some(p[1])), gelu)?;
            let half = tape.scale(h, 0.5)?;
            let a = tape.linear(h, p[2], Some(p[3]))?;
            let b = tape.linear(half, p[2], None)?;
            sum(tape, a, b)
        },
    );
    agree("gelu read by no layer", &case, &|tape, x, p| {
        tape.linear_activation(x[0], (p[0], Some(p[1])), gelu)
    });
}

#[test]
fn an_mlp_in_evaluation() {
    let mut case = case((3, 9, 12), &[&[16, 12], &[16], &[12, 16], &[12]]);
    case.mode = Mode::Eval;
    agree("mlp", &case, &|tape, x, p| {
        mlp(tape, x[0], p, Activation::GeluTanh)
    });
}

#[test]
fn gelu_and_its_slope_take_no_kernels_of_their_own() {
    let case = case((3, 9, 12), &[&[16, 12], &[12, 16]]);
    let launches = |activation| {
        let gpu = Device::new();
        let device = gpu.gpu();
        let tape = Tape::on_device(compare::params(&case), &device, Precision::Bf16).unwrap();
        gpu.mark();
        compare::run(&case, tape, &|tape, x, p| {
            let h = tape.linear_activation(x[0], (p[0], None), activation)?;
            tape.linear(h, p[1], None)
        });
        (gpu.counts().launches, gpu.counts().products)
    };
    assert_eq!(launches(Activation::GeluTanh), (0, 6));
    // Forth and back.
    assert_eq!(launches(Activation::Gelu), (2, 6));
}
