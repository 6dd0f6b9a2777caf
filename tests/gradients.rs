//! Every op and the whole model against central differences in f64, and fused against composed.

use std::sync::Arc;
use windtunnel::{
    device::Backend,
    model::{Gpt, GptConfig},
    ops::{cross_entropy::IGNORE, grad_norm::grad_norm},
    optim::{Optimizer, OptimizerConfig},
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
        tape.seed_grad(y, &weights);
    }
    values.iter().zip(&weights).map(|(y, w)| y * w).sum()
}

/// Differentiates `build` both ways, for every element of every parameter.
fn check(specs: &[(&str, &[usize])], build: &Build) {
    check_tape(tape(specs, Backend::Fused, 2), build);
}

fn check_tape(mut tape: Tape<f64>, build: &Build) {
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
            for i in tape.params.range(p, k) {
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

#[test]
fn linear_with_and_without_bias() {
    let specs: &[(&str, &[usize])] = &[("x", &[5, 7]), ("w", &[6, 7]), ("b", &[6])];
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let x = input(tape, h[0], 5, 7);
        let y = tape.linear(x, h[1], Some(h[2])).unwrap();
        contract(tape, y, pass)
    });
    check(&specs[..2], &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let x = input(tape, h[0], 5, 7);
        let y = tape.linear(x, h[1], None).unwrap();
        contract(tape, y, pass)
    });
}

#[test]
fn layer_norm_with_the_residual_add() {
    let specs: &[(&str, &[usize])] = &[
        ("x", &[70, 19]),
        ("r", &[70, 19]),
        ("w", &[19]),
        ("b", &[19]),
    ];
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let (x, r) = (input(tape, h[0], 70, 19), input(tape, h[1], 70, 19));
        let (s, y) = tape.add_norm(x, Some(r), h[2], Some(h[3])).unwrap();
        // The sum is read twice, as in a residual stream.
        let (_, z) = tape.add_norm(s, Some(y), h[2], None).unwrap();
        contract(tape, z, pass)
    });
}

#[test]
fn layer_norm_alone() {
    let specs: &[(&str, &[usize])] = &[("x", &[4, 6]), ("w", &[6])];
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let x = input(tape, h[0], 4, 6);
        let (_, y) = tape.add_norm(x, None, h[1], None).unwrap();
        contract(tape, y, pass)
    });
}

#[test]
fn attention_over_several_panels_heads_and_sequences() {
    // 67 tokens: one whole panel of queries and a ragged one.
    let specs: &[(&str, &[usize])] = &[("qkv", &[134, 6])];
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let qkv = input(tape, h[0], 134, 6);
        let y = tape.attention(qkv, 67, 2, 0.0).unwrap();
        contract(tape, y, pass)
    });
}

#[test]
fn attention_with_dropout() {
    let specs: &[(&str, &[usize])] = &[("qkv", &[18, 12])];
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let qkv = input(tape, h[0], 18, 12);
        let y = tape.attention(qkv, 9, 2, 0.3).unwrap();
        contract(tape, y, pass)
    });
}

#[test]
fn gelu_and_a_value_that_is_used_twice() {
    let specs: &[(&str, &[usize])] = &[("x", &[4, 9]), ("w", &[9])];
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let x = input(tape, h[0], 4, 9);
        let y = tape.gelu(x).unwrap();
        let (s, _) = tape.add_norm(x, Some(y), h[1], None).unwrap();
        let (_, z) = tape.add_norm(s, Some(y), h[1], None).unwrap();
        contract(tape, z, pass)
    });
}

#[test]
fn dropout() {
    let specs: &[(&str, &[usize])] = &[("x", &[6, 7])];
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let x = input(tape, h[0], 6, 7);
        let y = tape.dropout(x, 0.4, 3).unwrap();
        contract(tape, y, pass)
    });
}

#[test]
fn embedding_with_repeated_tokens() {
    let specs: &[(&str, &[usize])] = &[("wte", &[5, 20]), ("wpe", &[4, 20])];
    let tokens: Arc<[u32]> = (0..K * 8).map(|i| (i * i % 5) as u32).collect();
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let x = tape.embed(&tokens, 4, h[0], h[1]).unwrap();
        contract(tape, x, pass)
    });
}

#[test]
fn classifier_over_several_chunks_with_ignored_targets() {
    let specs: &[(&str, &[usize])] = &[("x", &[130, 3]), ("w", &[6, 3])];
    let targets: Vec<u32> = (0..K * 130)
        .map(|i| {
            if i % 7 == 3 {
                IGNORE
            } else {
                (i * 5 % 6) as u32
            }
        })
        .collect();
    check(specs, &|tape, _| {
        let h: Vec<Param> = tape.params.handles().collect();
        let x = input(tape, h[0], 130, 3);
        tape.classifier(x, h[1], &targets, 10.0)
            .unwrap()
            .iter()
            .sum()
    });
}

#[test]
fn a_composed_op_with_inputs_and_parameters() {
    let specs: &[(&str, &[usize])] = &[("x", &[4, 5]), ("w", &[5])];
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let x = input(tape, h[0], 4, 5);
        let x = tape.gelu(x).unwrap();
        let y = tape
            .composed(&[x], &[h[1]], |x, w| {
                x[0].sqr()?.broadcast_mul(&w[0].unsqueeze(1)?)
            })
            .unwrap();
        contract(tape, y, pass)
    });
}

fn small_gpt(bias: bool, dropout: f64) -> (Gpt, Vec<Spec>) {
    let config = GptConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 8,
        block_size: 6,
        dropout,
        bias,
    };
    let (gpt, mut specs) = Gpt::new(&config, 7);
    // Larger than the real start, so that every path carries a gradient worth measuring.
    for spec in &mut specs {
        spec.init = Init::Normal(0.4);
    }
    (gpt, specs)
}

fn gpt_tape(specs: Vec<Spec>, backend: Backend) -> Tape<f64> {
    let mut params = Params::new(K, specs);
    for k in 0..K {
        params.init(k, k as u64);
    }
    let mut tape = Tape::new(params, backend, Arc::new(Pool::new(2)));
    tape.position.keys = (0..K as u64).map(|k| rng::key(k, "dropout")).collect();
    tape
}

fn gpt_batch() -> (Arc<[u32]>, Vec<u32>) {
    let tokens = (0..K * 12).map(|i| (i * i % 7) as u32).collect();
    let targets = (0..K * 12).map(|i| (i * 3 % 7) as u32).collect();
    (tokens, targets)
}

#[test]
fn the_whole_model() {
    for (bias, dropout) in [(false, 0.0), (true, 0.2)] {
        let (gpt, specs) = small_gpt(bias, dropout);
        let (tokens, targets) = gpt_batch();
        check_tape(gpt_tape(specs, Backend::Fused), &|tape, _| {
            let losses = gpt.loss(tape, (&tokens, &targets), 6, 12.0).unwrap();
            losses.iter().sum()
        });
    }
}

/// Largest difference of two tensors over the largest number in the second.
fn relative(a: &[f64], b: &[f64]) -> f64 {
    let scale = b.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let worst = a
        .iter()
        .zip(b)
        .fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
    worst / scale.max(1e-300)
}

#[test]
fn fused_equals_composed_in_loss_and_every_gradient() {
    for (bias, dropout) in [(false, 0.0), (true, 0.2)] {
        let (gpt, specs) = small_gpt(bias, dropout);
        let (tokens, targets) = gpt_batch();
        let run = |backend| {
            let mut tape = gpt_tape(specs.clone(), backend);
            tape.begin(Mode::Train);
            let losses = gpt.loss(&mut tape, (&tokens, &targets), 6, 12.0).unwrap();
            tape.backward().unwrap();
            (losses, tape.params.grads.to_vec())
        };
        let (fused_losses, fused) = run(Backend::Fused);
        let (composed_losses, composed) = run(Backend::Composed(candle_core::Device::Cpu));
        assert!(relative(&fused_losses, &composed_losses) < 1e-12);
        assert!(
            relative(&fused, &composed) < 1e-11,
            "{:e}",
            relative(&fused, &composed)
        );
    }
}

#[test]
fn three_packed_equal_three_alone() {
    let (gpt, specs) = small_gpt(true, 0.2);
    let (tokens, targets) = gpt_batch();
    let mut packed = gpt_tape(specs.clone(), Backend::Fused);
    packed.begin(Mode::Train);
    let losses = gpt.loss(&mut packed, (&tokens, &targets), 6, 12.0).unwrap();
    packed.backward().unwrap();
    for k in 0..K {
        let mut params = Params::<f64>::new(1, specs.clone());
        params.init(0, k as u64);
        let mut alone = Tape::new(params, Backend::Fused, Arc::new(Pool::new(1)));
        alone.position.keys = vec![rng::key(k as u64, "dropout")];
        alone.begin(Mode::Train);
        let (tokens, targets): (Arc<[u32]>, _) =
            (tokens[12 * k..][..12].into(), &targets[12 * k..][..12]);
        let loss = gpt.loss(&mut alone, (&tokens, targets), 6, 12.0).unwrap();
        alone.backward().unwrap();
        assert!((loss[0] - losses[k]).abs() < 1e-13);
        for p in alone.params.handles() {
            let name = &alone.params.spec(p).name;
            assert!(
                relative(packed.params.grad(p, k), alone.params.grad(p, 0)) < 1e-12,
                "{name}"
            );
        }
    }
}

#[test]
fn every_parameter_gets_a_gradient_and_moves_in_one_step() {
    for bias in [false, true] {
        let config = GptConfig {
            n_layer: 2,
            n_head: 2,
            n_embd: 16,
            block_size: 8,
            dropout: 0.0,
            bias,
        };
        let (gpt, specs) = Gpt::new(&config, 11);
        let mut params = Params::new(1, specs);
        params.init(0, 3);
        let mut tape: Tape<f64> = Tape::new(params, Backend::Fused, Arc::new(Pool::new(1)));
        let before = tape.params.values.to_vec();
        let tokens: Arc<[u32]> = (0..32).map(|i| i * i % 11).collect();
        let targets: Vec<u32> = (0..32).map(|i| i * 3 % 11).collect();
        tape.begin(Mode::Train);
        gpt.loss(&mut tape, (&tokens, &targets), 8, 32.0).unwrap();
        tape.backward().unwrap();
        // Without decay, so that nothing moves but by its gradient.
        let optimizer = OptimizerConfig {
            weight_decay: 0.0,
            ..Default::default()
        };
        let mut adamw = Optimizer::new(&tape.params, &optimizer);
        let norm = grad_norm(&tape.params, &Pool::new(1))[0];
        let params = (&mut tape.params, 0);
        adamw.step(params, (1, 1e-3), norm, &Pool::new(1));
        for p in tape.params.handles() {
            let name = tape.params.spec(p).name.clone();
            let gradients = tape.params.grad(p, 0);
            let moved = tape
                .params
                .range(p, 0)
                .filter(|i| before[*i] != tape.params.values[*i])
                .count();
            // A key's bias adds the same to all scores of a query, and softmax does not see it.
            let is_key_bias =
                |i: usize| name.ends_with("attn.c_attn.bias") && (16..32).contains(&i);
            for (i, gradient) in gradients.iter().enumerate() {
                match is_key_bias(i) {
                    true => assert!(gradient.abs() < 1e-12, "{name}[{i}]: {gradient}"),
                    false => assert!(gradient.abs() > 1e-12, "{name}[{i}]: {gradient}"),
                }
            }
            assert!(moved > 0, "{name} did not move");
        }
    }
}

#[test]
fn the_future_does_not_reach_the_past() {
    for backend in [Backend::Fused, Backend::Composed(candle_core::Device::Cpu)] {
        let (gpt, specs) = small_gpt(true, 0.0);
        let mut tape = gpt_tape(specs, backend);
        let logits = |tape: &mut Tape<f64>, changed: Option<usize>| {
            let mut tokens: Vec<u32> = (0..K * 6).map(|i| (i * i % 7) as u32).collect();
            if let Some(at) = changed {
                (0..K).for_each(|k| tokens[k * 6 + at] = (tokens[k * 6 + at] + 1) % 7);
            }
            tape.begin(Mode::Eval);
            let y = gpt.logits(tape, &tokens.into(), 6).unwrap();
            tape.to_host(y).unwrap()
        };
        let before = logits(&mut tape, None);
        for at in 0..6 {
            let after = logits(&mut tape, Some(at));
            for k in 0..K {
                let row = |pos: usize| (k * 6 + pos) * 7..(k * 6 + pos + 1) * 7;
                assert_eq!(
                    before[row(0).start..row(at).start],
                    after[row(0).start..row(at).start]
                );
                assert_ne!(before[row(at)], after[row(at)], "position {at} sees itself");
                assert_ne!(before[row(5)], after[row(5)], "the last position sees {at}");
            }
        }
    }
}

#[test]
fn a_micro_batch_meets_the_masks_and_gradients_of_the_whole_batch() {
    let (gpt, specs) = small_gpt(true, 0.2);
    let (tokens, targets) = gpt_batch();
    let mut params = Params::<f64>::new(1, specs);
    params.init(0, 0);
    let mut tape = Tape::new(params, Backend::Fused, Arc::new(Pool::new(2)));
    tape.position.keys = vec![rng::key(0, "dropout")];
    let mut grads = |rows_per_pass: usize| {
        tape.zero_grads();
        let mut loss = 0.0;
        for first_row in (0..4).step_by(rows_per_pass) {
            tape.position.first_row = first_row;
            tape.begin(Mode::Train);
            let part = first_row * 6..(first_row + rows_per_pass) * 6;
            let pass: Arc<[u32]> = tokens[part.clone()].into();
            loss += gpt
                .loss(&mut tape, (&pass, &targets[part]), 6, 24.0)
                .unwrap()[0];
            tape.backward().unwrap();
        }
        (loss, tape.params.grads.to_vec())
    };
    let (whole, halves, singles) = (grads(4), grads(2), grads(1));
    for parts in [halves, singles] {
        assert!((parts.0 - whole.0).abs() < 1e-13);
        assert!(relative(&parts.1, &whole.1) < 1e-12);
    }
}
