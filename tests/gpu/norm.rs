use crate::compare::{Case, agree};
use windtunnel::{
    error::Result,
    ops::norm::{Norm, NormKind},
    params::{Init, Param, Spec},
    tape::{Shape, Tape, Value},
};

fn case(shape: Shape, inputs: usize) -> Case {
    let vector = |name: &str| Spec::new(name, &[shape.cols], Init::Zeros);
    Case::new(&vec![shape; inputs], &[vector("weight"), vector("bias")])
}

fn norm(kind: NormKind, params: &[Param], bias: bool) -> Norm {
    Norm {
        kind,
        eps: 1e-5,
        weight: params[0],
        bias: bias.then_some(params[1]),
    }
}

/// The same norm once more, of the sum of both results of the first: the sum's gradient is added to one
/// that is there, and so are the weights'.
fn twice(tape: &mut Tape<f32>, x: &[Value], norm: Norm) -> Result<Value> {
    let (s, y) = tape.add_norm(x[0], x.get(1).copied(), norm)?;
    Ok(tape.add_norm(s, Some(y), norm)?.1)
}

#[test]
fn rows_of_any_width_are_normed_and_weights_gather_gradients() {
    // One for each way in which a row can be held, in f32 and in bf16, and the edges of some.
    let widths = [1, 7, 64, 100, 256, 384, 640, 768, 1000, 1030, 1032, 2056];
    for (i, cols) in widths.into_iter().enumerate() {
        let shape = Shape {
            k: 1 + i % 2 * 2,
            rows: [5, 1, 9][i % 3],
            cols,
        };
        for kind in [NormKind::Layer, NormKind::Rms] {
            let branch = 1 + (i + kind as usize) % 2;
            let mut case = case(shape, branch);
            if cols == 1 {
                // RMSNorm of one number s is its sign but for eps, so that of the gradient is left
                // dy·w·eps/s³: three times the rounding errors of s, and of each step of the way back.
                case.tolerance[1] = 6e-2;
            }
            agree(&format!("{kind:?} {shape:?}"), &case, &|tape, x, p| {
                twice(tape, x, norm(kind, p, i % 4 < 2))
            });
        }
    }
}

#[test]
fn norms_come_with_and_without_bias_and_branch() {
    for (k, rows, cols) in [(1, 130, 16), (3, 33, 9), (3, 37, 40)] {
        let shape = Shape { k, rows, cols };
        for n in 0..8 {
            let (layer, bias, branch) = (n % 2 == 0, n / 2 % 2 == 0, n / 4 == 0);
            let kind = if layer {
                NormKind::Layer
            } else {
                NormKind::Rms
            };
            let case = case(shape, 1 + usize::from(branch));
            let name = format!("{kind:?}, bias {bias}, branch {branch}, {shape:?}");
            agree(&name, &case, &|tape, x, p| {
                Ok(tape
                    .add_norm(x[0], x.get(1).copied(), norm(kind, p, bias))?
                    .1)
            });
        }
    }
}

#[test]
fn a_sum_that_nothing_norms_hands_its_gradient_to_both_terms() {
    let shape = Shape {
        k: 3,
        rows: 4,
        cols: 24,
    };
    agree("sum", &case(shape, 2), &|tape, x, p| {
        Ok(tape
            .add_norm(x[0], Some(x[1]), norm(NormKind::Rms, p, false))?
            .0)
    });
    // Evaluation keeps no statistics.
    let mut case = case(shape, 2);
    case.mode = windtunnel::tape::Mode::Eval;
    agree("evaluation", &case, &|tape, x, p| {
        twice(tape, x, norm(NormKind::Layer, p, true))
    });
}
