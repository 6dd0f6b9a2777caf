//! The whole model: central differences, packed against alone, fused against composed.

use crate::{K, check_tape};
use std::sync::Arc;
use windtunnel::{
    device::Backend,
    model::{Gpt, GptConfig, Parametrization, Positions},
    ops::{activation::Activation, cross_entropy::IGNORE, grad_norm::grad_norm, norm::NormKind},
    optim::{Optimizer, OptimizerConfig},
    params::{Init, Params, Spec},
    pool::Pool,
    rng,
    tape::{Mode, Tape},
};

/// GPT-2's shape, each option alone, and mixtures of them.
fn configs() -> Vec<GptConfig> {
    let plain = GptConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 8,
        block_size: 6,
        ..Default::default()
    };
    let with = |change: fn(&mut GptConfig)| {
        let mut config = plain.clone();
        config.n_layer = 1;
        change(&mut config);
        config
    };
    vec![
        plain.clone(),
        biased(),
        with(|c| c.norm = NormKind::Rms),
        with(|c| c.norm_eps = 1e-3),
        with(|c| c.activation = Activation::GeluTanh),
        with(|c| c.activation = Activation::Relu2),
        with(|c| c.activation = Activation::Swiglu),
        with(|c| c.n_inner = 5),
        with(|c| c.tied = false),
        with(|c| c.positions = Positions::Rotary),
        with(|c| c.positions = Positions::None),
        with(|c| c.n_kv_head = 1),
        with(|c| c.qk_norm = true),
        with(|c| c.window = 3),
        with(|c| c.attention_only = true),
        with(|c| c.logit_cap = 3.0),
        with(|c| c.z_loss = 0.1),
        with(|c| {
            c.init = Parametrization::Mup;
            c.base_width = Some(4);
        }),
        with(|c| {
            c.n_layer = 2;
            c.norm = NormKind::Rms;
            c.activation = Activation::Swiglu;
            c.tied = false;
            c.dropout = 0.1;
            c.positions = Positions::Rotary;
            c.qk_norm = true;
            c.n_kv_head = 1;
        }),
        with(|c| {
            c.norm = NormKind::Rms;
            c.norm_eps = 1e-3;
            c.activation = Activation::Relu2;
            c.positions = Positions::Rotary;
            c.window = 4;
            c.bias = true;
        }),
        with(|c| {
            c.activation = Activation::Swiglu;
            c.bias = true;
            c.n_inner = 7;
            c.logit_cap = 4.0;
            c.z_loss = 0.05;
            c.tied = false;
        }),
    ]
}

/// With biases and dropout.
fn biased() -> GptConfig {
    GptConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 8,
        block_size: 6,
        dropout: 0.2,
        bias: true,
        ..Default::default()
    }
}

fn small_gpt(config: &GptConfig) -> (Gpt, Vec<Spec>) {
    let (gpt, mut specs) = Gpt::new(config, 7);
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
    for (i, config) in configs().into_iter().enumerate() {
        let (gpt, specs) = small_gpt(&config);
        let (tokens, targets) = gpt_batch();
        // All of the plain models; of the options, which share most ops, a part of each tensor.
        let stride = if i < 2 { 1 } else { 5 };
        check_tape(gpt_tape(specs, Backend::Fused), stride, &|tape, _| {
            let losses = gpt.loss(tape, (&tokens, &targets), 6, 12.0).unwrap();
            losses.iter().sum()
        });
    }
}

#[test]
fn the_whole_model_where_few_targets_count() {
    let (gpt, specs) = small_gpt(&biased());
    let (tokens, mut targets) = gpt_batch();
    // Of each variant's two rows one has no target, the other two.
    for (i, target) in targets.iter_mut().enumerate() {
        if ![2, 5].contains(&(i % 12)) {
            *target = IGNORE;
        }
    }
    check_tape(gpt_tape(specs, Backend::Fused), 1, &|tape, _| {
        let losses = gpt.loss(tape, (&tokens, &targets), 6, 2.0).unwrap();
        losses.iter().sum()
    });
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
    for config in configs() {
        let (gpt, specs) = small_gpt(&config);
        let (tokens, targets) = gpt_batch();
        let run = |backend| {
            let mut tape = gpt_tape(specs.clone(), backend);
            tape.position.dropout = DROPOUTS.to_vec();
            tape.clear_losses().unwrap();
            tape.begin(Mode::Train);
            let pass = (&tokens, &targets[..]);
            gpt.add_loss(&mut tape, pass, 6, &DENOMINATORS).unwrap();
            tape.backward().unwrap();
            let losses = tape.take_losses().unwrap();
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

/// What three variants drop, and what they divide their losses by.
const DROPOUTS: [f64; K] = [0.2, 0.0, 0.5];
const DENOMINATORS: [f64; K] = [12.0, 5.0, 7.0];

#[test]
fn three_packed_equal_three_alone() {
    let (gpt, specs) = small_gpt(&biased());
    let (tokens, targets) = gpt_batch();
    let mut packed = gpt_tape(specs.clone(), Backend::Fused);
    packed.position.dropout = DROPOUTS.to_vec();
    packed.begin(Mode::Train);
    let pass = (&tokens, &targets[..]);
    gpt.add_loss(&mut packed, pass, 6, &DENOMINATORS).unwrap();
    packed.backward().unwrap();
    let losses = packed.take_losses().unwrap();
    assert_eq!(packed.take_losses().unwrap(), [0.0; K], "they were read");
    for k in 0..K {
        // Its own model, whose ops drop what it drops.
        let dropout = DROPOUTS[k];
        let (gpt, _) = small_gpt(&GptConfig {
            dropout,
            ..biased()
        });
        let mut params = Params::<f64>::new(1, specs.clone());
        params.init(0, k as u64);
        let mut alone = Tape::new(params, Backend::Fused, Arc::new(Pool::new(1)));
        alone.position.keys = vec![rng::key(k as u64, "dropout")];
        alone.begin(Mode::Train);
        let (tokens, targets): (Arc<[u32]>, _) =
            (tokens[12 * k..][..12].into(), &targets[12 * k..][..12]);
        let pass = (&tokens, targets);
        let loss = gpt.loss(&mut alone, pass, 6, DENOMINATORS[k]).unwrap();
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
    for config in configs() {
        let config = GptConfig {
            n_embd: 16,
            block_size: 8,
            dropout: 0.0,
            ..config
        };
        let (gpt, specs) = Gpt::new(&config, 11);
        let mut params = Params::new(1, specs);
        params.init(0, 3);
        let mut tape: Tape<f64> = Tape::new(params, Backend::Fused, Arc::new(Pool::new(1)));
        let before = tape.params.values.to_vec();
        let tokens: Arc<[u32]> = (0..32).map(|i| i * 5 % 11).collect();
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
            // A key's bias adds the same to all scores of a query, and softmax does not see it;
            // unless keys are turned by their place, or normed.
            let plain = config.positions != Positions::Rotary && !config.qk_norm;
            let is_key_bias =
                |i: usize| plain && name.ends_with("attn.c_attn.bias") && (16..32).contains(&i);
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
        let (gpt, specs) = small_gpt(&GptConfig {
            dropout: 0.0,
            ..biased()
        });
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
    let (gpt, specs) = small_gpt(&biased());
    let (tokens, targets) = gpt_batch();
    let mut params = Params::<f64>::new(1, specs);
    params.init(0, 0);
    let mut tape = Tape::new(params, Backend::Fused, Arc::new(Pool::new(2)));
    tape.position.keys = vec![rng::key(0, "dropout")];
    let mut grads = |rows_per_pass: usize| {
        tape.zero_grads().unwrap();
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
