//! Each op against central differences.

use crate::{K, check, check_some, contract, input};
use std::sync::Arc;
use windtunnel::{
    ops::{
        activation::Activation,
        attention::Heads,
        cross_entropy::{IGNORE, Tame},
        norm::{Norm, NormKind},
        rotary::Turned,
    },
    params::Param,
};

fn norm(kind: NormKind, weight: Param, bias: Option<Param>) -> Norm {
    Norm {
        kind,
        eps: 1e-5,
        weight,
        bias,
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
fn norms_with_the_residual_add() {
    let specs: &[(&str, &[usize])] = &[
        ("x", &[70, 19]),
        ("r", &[70, 19]),
        ("w", &[19]),
        ("b", &[19]),
    ];
    for kind in [NormKind::Layer, NormKind::Rms] {
        check(specs, &|tape, pass| {
            let h: Vec<Param> = tape.params.handles().collect();
            let (x, r) = (input(tape, h[0], 70, 19), input(tape, h[1], 70, 19));
            let (s, y) = tape
                .add_norm(x, Some(r), norm(kind, h[2], Some(h[3])))
                .unwrap();
            // The sum is read twice, as in a residual stream.
            let (_, z) = tape.add_norm(s, Some(y), norm(kind, h[2], None)).unwrap();
            contract(tape, z, pass)
        });
    }
}

#[test]
fn norms_alone() {
    let specs: &[(&str, &[usize])] = &[("x", &[4, 6]), ("w", &[6])];
    for kind in [NormKind::Layer, NormKind::Rms] {
        check(specs, &|tape, pass| {
            let h: Vec<Param> = tape.params.handles().collect();
            let x = input(tape, h[0], 4, 6);
            let (_, y) = tape.add_norm(x, None, norm(kind, h[1], None)).unwrap();
            contract(tape, y, pass)
        });
    }
}

#[test]
fn attention_over_several_panels_heads_and_sequences() {
    // 67 tokens: two whole panels of queries and a ragged one.
    let specs: &[(&str, &[usize])] = &[("qkv", &[134, 6])];
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let qkv = input(tape, h[0], 134, 6);
        let y = tape.attention(qkv, 67, heads(2, 2, 0), 0.0).unwrap();
        contract(tape, y, pass)
    });
}

fn heads(queries: usize, keys: usize, window: usize) -> Heads {
    Heads {
        queries,
        keys,
        window,
        scale: 0.7,
    }
}

#[test]
fn attention_with_shared_keys_and_a_window() {
    // 4 heads of 2 queries, 2 of keys and values; windows shorter and longer than a panel.
    let specs: &[(&str, &[usize])] = &[("qkv", &[70, 16])];
    for window in [1, 5, 34] {
        check(specs, &|tape, pass| {
            let h: Vec<Param> = tape.params.handles().collect();
            let qkv = input(tape, h[0], 70, 16);
            let y = tape.attention(qkv, 70, heads(4, 2, window), 0.2).unwrap();
            contract(tape, y, pass)
        });
    }
}

#[test]
fn attention_over_sequences_of_several_blocks_of_keys() {
    // 600 tokens: panels of 128 queries, blocks of 256 keys, some behind a panel's first query.
    let specs: &[(&str, &[usize])] = &[("qkv", &[1200, 8])];
    for window in [0, 300] {
        check_some(specs, 1999, &|tape, pass| {
            let h: Vec<Param> = tape.params.handles().collect();
            let qkv = input(tape, h[0], 1200, 8);
            let y = tape.attention(qkv, 600, heads(2, 1, window), 0.1).unwrap();
            contract(tape, y, pass)
        });
    }
}

#[test]
fn rotary_positions_and_normed_heads() {
    // 3 heads of 4 channels, and 3 channels that stay.
    let turned = Turned {
        heads: 3,
        dim: 4,
        t: 5,
    };
    let specs: &[(&str, &[usize])] = &[("x", &[10, 15])];
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let x = input(tape, h[0], 10, 15);
        let y = tape.rotary(x, turned, 100.0).unwrap();
        contract(tape, y, pass)
    });
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let x = input(tape, h[0], 10, 15);
        let y = tape.head_norm(x, turned).unwrap();
        contract(tape, y, pass)
    });
}

#[test]
fn attention_with_dropout() {
    let specs: &[(&str, &[usize])] = &[("qkv", &[18, 12])];
    check(specs, &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let qkv = input(tape, h[0], 18, 12);
        let y = tape.attention(qkv, 9, heads(2, 2, 0), 0.3).unwrap();
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
        let (s, _) = tape
            .add_norm(x, Some(y), norm(NormKind::Layer, h[1], None))
            .unwrap();
        let (_, z) = tape
            .add_norm(s, Some(y), norm(NormKind::Layer, h[1], None))
            .unwrap();
        contract(tape, z, pass)
    });
}

#[test]
fn activations() {
    let specs: &[(&str, &[usize])] = &[("x", &[33, 6])];
    for activation in [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu2,
        Activation::Swiglu,
    ] {
        check(specs, &|tape, pass| {
            let h: Vec<Param> = tape.params.handles().collect();
            let x = input(tape, h[0], 33, 6);
            let y = tape.activation(x, activation).unwrap();
            // The input is read twice, so that one gradient is added to another.
            let z = tape.activation(x, activation).unwrap();
            let y = tape
                .composed(&[y, z], &[], |xs, _| xs[0].mul(&xs[1]))
                .unwrap();
            contract(tape, y, pass)
        });
    }
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
        let x = tape.embed(&tokens, 4, h[0], Some(h[1])).unwrap();
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
        // As many targets count in no two variants.
        let of = (&targets[..], &[10.0, 7.0, 20.0][..K]);
        tape.classifier(x, h[1], of, Tame::default()).unwrap();
        tape.take_losses().unwrap().iter().sum()
    });
}

#[test]
fn classifier_with_capped_logits_and_a_z_loss() {
    let specs: &[(&str, &[usize])] = &[("x", &[20, 3]), ("w", &[6, 3])];
    let targets: Vec<u32> = (0..K * 20).map(|i| (i * 5 % 6) as u32).collect();
    for (cap, z_loss) in [(2.0, 0.0), (0.0, 0.3), (1.5, 0.2)] {
        check(specs, &|tape, _| {
            let h: Vec<Param> = tape.params.handles().collect();
            let x = input(tape, h[0], 20, 3);
            let tame = Tame { cap, z_loss };
            let of = (&targets[..], &[10.0; K][..]);
            tape.classifier(x, h[1], of, tame).unwrap();
            tape.take_losses().unwrap().iter().sum()
        });
    }
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

#[test]
fn a_factor_on_an_activation() {
    check(&[("x", &[5, 7])], &|tape, pass| {
        let h: Vec<Param> = tape.params.handles().collect();
        let x = input(tape, h[0], 5, 7);
        let y = tape.scale(x, -0.3).unwrap();
        // Read twice, so that gradients add up.
        let z = tape.scale(y, 2.0).unwrap();
        let sum = tape
            .composed(&[x, y, z], &[], |v, _| (&v[0] + &v[1])? * &v[2])
            .unwrap();
        contract(tape, sum, pass)
    });
}
