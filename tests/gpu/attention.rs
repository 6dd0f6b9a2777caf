//! Attention on a device: heads of every size that a kernel has and of sizes between, sequences that
//! are no multiple of a tile, windows, shared heads, dropout.

use crate::{
    compare::{Case, agree, close, device_tape, on_device, round},
    device::Device,
};
use windtunnel::{
    device::Precision,
    error::Result,
    ops::attention::Heads,
    params::Params,
    rng::Rng,
    tape::{Mode, Shape, Tape, Value},
};

/// In f32 a kernel sums in another order than the CPU. In bf16 it rounds weights to eight bits before
/// they meet values, and the results: each rounding is within 2⁻⁹ of a number, and sums of such differ
/// by a few times that from the CPU's, which read the same bf16 inputs and round nothing.
const TOLERANCE: [f64; 2] = [1e-5, 1e-2];

#[derive(Clone, Copy)]
struct Attention {
    k: usize,
    sequences: usize,
    t: usize,
    queries: usize,
    keys: usize,
    dim: usize,
    window: usize,
    dropout: f64,
    /// Whether a gradient is there already, to which this one is added.
    adds: bool,
}

/// One lane of one sequence with one head, which sees all, drops nothing, and is alone.
fn plain(t: usize, dim: usize) -> Attention {
    Attention {
        k: 1,
        sequences: 1,
        t,
        queries: 1,
        keys: 1,
        dim,
        window: 0,
        dropout: 0.0,
        adds: false,
    }
}

impl Attention {
    fn input(self) -> Shape {
        Shape {
            k: self.k,
            rows: self.sequences * self.t,
            cols: (self.queries + 2 * self.keys) * self.dim,
        }
    }

    fn heads(self) -> Heads {
        Heads {
            queries: self.queries,
            keys: self.keys,
            window: self.window,
            scale: (self.dim as f64).powf(-0.5),
        }
    }

    fn run(self, tape: &mut Tape<f32>, qkv: Value) -> Result<Value> {
        if self.adds && tape.mode() == Mode::Train {
            let mut rng = Rng::named(9, "gradient before");
            let before: Vec<f32> = (0..self.input().len())
                .map(|_| round(rng.normal() as f32))
                .collect();
            tape.seed_grad(qkv, &before)?;
        }
        tape.attention(qkv, self.t, self.heads(), self.dropout)
    }

    fn case(self) -> Case {
        let mut case = Case::new(&[self.input()], &[]);
        case.tolerance = TOLERANCE;
        // Not the first pass of its step.
        case.position.first_row = 2;
        case
    }

    fn agrees(self) {
        let Self { t, dim, .. } = self;
        let name = format!("heads of {dim} over {t} tokens");
        agree(&name, &self.case(), &|tape, x, _| self.run(tape, x[0]));
    }
}

#[test]
fn heads_of_every_size_give_the_cpu_s_values_and_gradients() {
    // Sizes with kernels of their own, and sizes padded to them.
    for dim in [32, 64, 128, 16, 40, 48] {
        plain(100, dim).agrees();
    }
}

#[test]
fn odd_and_wide_heads_give_the_cpu_s_values_and_gradients() {
    for dim in [1, 7, 130, 256] {
        plain(37, dim).agrees();
    }
}

#[test]
fn sequences_of_any_length_end_where_they_end() {
    for (t, dim) in [(1, 64), (17, 32), (64, 64), (130, 64), (130, 32), (65, 128)] {
        let sequences = 2;
        Attention {
            sequences,
            ..plain(t, dim)
        }
        .agrees();
    }
}

#[test]
fn heads_may_share_keys_and_add_to_a_gradient_that_is_there() {
    for (k, queries, keys, dim) in [(3, 3, 1, 64), (1, 4, 2, 32), (1, 3, 1, 128)] {
        Attention {
            k,
            queries,
            keys,
            adds: true,
            ..plain(33, dim)
        }
        .agrees();
    }
}

#[test]
fn a_window_hides_what_is_further_back() {
    for (t, window, dim) in [
        (130, 70, 64),
        (100, 1, 32),
        (200, 33, 64),
        (64, 64, 16),
        (70, 1000, 48),
    ] {
        Attention {
            window,
            ..plain(t, dim)
        }
        .agrees();
    }
}

#[test]
fn dropout_drops_what_the_cpu_drops() {
    // Four keys that one call of the generator serves, where T is a multiple of four, and not.
    for (t, dim, window) in [
        (64, 64, 0),
        (100, 32, 33),
        (33, 64, 0),
        (70, 128, 0),
        (18, 7, 5),
        (20, 7, 0),
    ] {
        Attention {
            k: 3,
            sequences: 2,
            queries: 2,
            window,
            dropout: 0.3,
            ..plain(t, dim)
        }
        .agrees();
    }
}

#[test]
fn lanes_may_drop_with_probabilities_of_their_own() {
    let it = Attention {
        k: 3,
        dropout: 0.1,
        queries: 3,
        ..plain(40, 32)
    };
    let mut case = it.case();
    case.position.dropout = vec![0.0, 0.5, 0.2];
    agree("a probability a lane", &case, &|tape, x, _| {
        it.run(tape, x[0])
    });
}

#[test]
fn large_scores_do_not_overflow() {
    let heads = |it: Attention| Heads {
        scale: 20.0,
        ..it.heads()
    };
    for (dim, dropout) in [(64, 0.0), (64, 0.5), (7, 0.0)] {
        let it = plain(70, dim);
        let mut case = it.case();
        // Scores of hundreds differ by as much as f32 rounds them. In bf16 the result is rounded before
        // δ = Σ dy·y is made of it, and where one weight is nearly all, dP − δ is what is left of two
        // large numbers, times a scale of 20.
        case.tolerance = [1e-3, 5e-2];
        agree("large scores", &case, &|tape, x, _| {
            tape.attention(x[0], it.t, heads(it), dropout)
        });
    }
}

#[test]
fn evaluation_drops_nothing_and_gives_the_same_values() {
    for dim in [32, 64, 7] {
        let it = plain(50, dim);
        let mut evaluated = it.case();
        evaluated.mode = Mode::Eval;
        let op = |tape: &mut Tape<f32>, x: &[Value], dropout| {
            tape.attention(x[0], it.t, it.heads(), dropout)
        };
        for precision in [Precision::F32, Precision::Bf16] {
            let trained = on_device(&it.case(), precision, 0, &|t, x, _| op(t, x, 0.0));
            let evaluated = on_device(&evaluated, precision, 0, &|t, x, _| op(t, x, 0.3));
            assert_eq!(trained.y, evaluated.y);
        }
    }
}

/// A change of one token's query, key and value, by hand, and what of the result it reaches.
#[test]
fn the_future_does_not_reach_the_past() {
    let it = plain(140, 64);
    for precision in [Precision::F32, Precision::Bf16] {
        let result = |changed: Option<usize>| {
            let mut tape = device_tape(&it.case(), precision, 0);
            let mut rng = Rng::named(5, "inputs");
            let mut numbers: Vec<f32> = (0..it.input().len())
                .map(|_| round(rng.normal() as f32))
                .collect();
            if let Some(token) = changed {
                numbers[token * 192..(token + 1) * 192].fill(3.0);
            }
            tape.begin(Mode::Eval);
            let x = tape.leaf(it.input(), &numbers).unwrap();
            let y = it.run(&mut tape, x).unwrap();
            tape.to_host(y).unwrap()
        };
        let before = result(None);
        for token in [0, 63, 64, 100, 139] {
            let after = result(Some(token));
            let same = |(a, b): (&[f32], &[f32])| a == b;
            let rows = before.chunks(64).zip(after.chunks(64));
            let first = rows.map(same).position(|same| !same);
            assert_eq!(first, Some(token));
        }
    }
}

#[test]
fn a_step_that_is_repeated_allocates_nothing() {
    let it = Attention {
        dropout: 0.2,
        ..plain(40, 64)
    };
    let gpu = Device::new();
    let params = Params::new(1, Vec::new());
    let mut tape = Tape::<f32>::on_device(params, &gpu.gpu(), Precision::Bf16).unwrap();
    let numbers = vec![0.5; it.input().len()];
    let mut found = Vec::new();
    for step in 0..3 {
        if step == 1 {
            gpu.mark();
        }
        tape.begin(Mode::Train);
        tape.position = it.case().position;
        let x = tape.leaf(it.input(), &numbers).unwrap();
        let y = it.run(&mut tape, x).unwrap();
        let dy = vec![1.0; tape.shape(y).len()];
        tape.seed_grad(y, &dy).unwrap();
        tape.backward().unwrap();
        found.push(tape.grad_to_host(x).unwrap().unwrap());
    }
    assert_eq!(gpu.counts().allocations, 0);
    assert_eq!(gpu.counts().frees, 0);
    close("again", &found[2], &found[0], 0.0);
}

#[test]
fn heads_wider_than_any_kernel_s_are_an_error_that_names_their_width() {
    let it = plain(4, 257);
    for precision in [Precision::F32, Precision::Bf16] {
        let mut tape = device_tape(&it.case(), precision, 0);
        tape.begin(Mode::Eval);
        let x = tape.leaf(it.input(), &vec![0.0; it.input().len()]).unwrap();
        let error = it.run(&mut tape, x).unwrap_err().to_string();
        assert!(error.contains("257") && error.contains("256"), "{error}");
    }
}
