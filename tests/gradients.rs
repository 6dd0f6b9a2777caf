//! Every op and the whole model against central differences in f64, and fused against composed.

mod gradients {
    mod model;
    mod ops;
}

use std::sync::Arc;
use windtunnel::{
    device::Backend,
    params::{Init, Param, Params, Spec},
    pool::Pool,
    rng::{self, Rng},
    tape::{Mode, PassPosition, Tape, Value},
};

/// Packed variants in every test: the pack axis is never 1 here.
const K: usize = 3;
/// Largest error of a derivative, relative to the largest derivative of its tensor. Central
/// differences with a step of 1e-5 are good to about 1e-9 here.
const TOLERANCE: f64 = 1e-7;
const STEP: f64 = 1e-5;

/// A graph under test: builds on a fresh pass, returns a scalar.
type Build<'a> = dyn Fn(&mut Tape<f64>, Pass) -> f64 + 'a;

#[derive(Clone, Copy, PartialEq)]
enum Pass {
    /// Forward and backward.
    Differentiate,
    /// Forward only.
    Value,
}

fn draws(n: usize, name: &str) -> Vec<f64> {
    let mut rng = Rng::named(11, name);
    (0..n).map(|_| rng.normal()).collect()
}

fn tape(specs: &[(&str, &[usize])], backend: Backend, threads: usize) -> Tape<f64> {
    let specs = specs
        .iter()
        .map(|(name, shape)| Spec::new(*name, shape, Init::Normal(0.5)))
        .collect();
    let mut params = Params::new(K, specs);
    for k in 0..K {
        params.init(k, 100 + k as u64);
    }
    let mut tape = Tape::new(params, backend, Arc::new(Pool::new(threads)));
    tape.position = PassPosition {
        keys: (0..K as u64).map(|k| rng::key(k, "dropout")).collect(),
        step: 5,
        first_row: 2,
        ..Default::default()
    };
    tape
}

/// Parameters as an activation (K, rows, cols): what lets an op's input be differentiated.
fn input(tape: &mut Tape<f64>, p: Param, rows: usize, cols: usize) -> Value {
    let k = tape.k();
    tape.composed(&[], &[p], move |_, w| w[0].reshape((k, rows, cols)))
        .unwrap()
}

/// Σ y·weights with fixed random weights, and its gradient started at y.
fn contract(tape: &mut Tape<f64>, y: Value, pass: Pass) -> f64 {
    let values = tape.to_host(y).unwrap();
    let weights = draws(values.len(), "contract");
    if pass == Pass::Differentiate {
        tape.seed_grad(y, &weights).unwrap();
    }
    values.iter().zip(&weights).map(|(y, w)| y * w).sum()
}

/// Differentiates `build` both ways, for every element of every parameter.
fn check(specs: &[(&str, &[usize])], build: &Build) {
    check_tape(tape(specs, Backend::Fused, 2), 1, build);
}

/// The same for every `stride`-th element, where there are many.
fn check_some(specs: &[(&str, &[usize])], stride: usize, build: &Build) {
    check_tape(tape(specs, Backend::Fused, 2), stride, build);
}

/// The same for every `stride`-th element of each variant of each parameter.
fn check_tape(mut tape: Tape<f64>, stride: usize, build: &Build) {
    // Twice, so that gradients accumulate and recycled buffers are dirty.
    for _ in 0..2 {
        tape.begin(Mode::Train);
        build(&mut tape, Pass::Differentiate);
        tape.backward().unwrap();
    }
    // Kept apart: a classifier makes its gradient on the way forward, in probes too.
    let analytic = tape.params.grads.to_vec();
    let handles: Vec<Param> = tape.params.handles().collect();
    for p in handles {
        let name = tape.params.spec(p).name.clone();
        let (mut worst, mut scale) = (0.0f64, 0.0f64);
        for k in 0..K {
            for i in tape.params.range(p, k).skip(k % stride).step_by(stride) {
                let mut probe = |shift: f64| {
                    let was = tape.params.values[i];
                    tape.params.values[i] = was + shift;
                    tape.begin(Mode::Train);
                    let loss = build(&mut tape, Pass::Value);
                    tape.params.values[i] = was;
                    loss
                };
                let numeric = (probe(STEP) - probe(-STEP)) / (2.0 * STEP);
                worst = worst.max((numeric - analytic[i] / 2.0).abs());
                scale = scale.max(numeric.abs());
            }
        }
        assert!(scale > 1e-4, "{name}: the test sees no gradient at all");
        assert!(
            worst <= TOLERANCE * scale.max(1.0),
            "{name}: off by {worst:e} of {scale:e}"
        );
    }
}
