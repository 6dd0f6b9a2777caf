//! The coordinate check of muP (Yang et al. 2022): what a few steps change in the
//! activations is as large in a wide model as in a narrow one.

use std::{collections::BTreeMap, sync::Arc};
use windtunnel::{
    device::Backend,
    model::{Gpt, GptConfig, Parametrization, variants::Site},
    ops::grad_norm::grad_norm,
    optim::{Optimizer, OptimizerConfig, OptimizerKind},
    params::Params,
    pool::Pool,
    rng::Rng,
    tape::{Mode, Tape},
};

const WIDTHS: [usize; 4] = [32, 64, 128, 256];
const T: usize = 16;
const ROWS: usize = 8;
const VOCAB: usize = 32;
const STEPS: u64 = 4;
const SEEDS: u64 = 3;

fn config(n_embd: usize, init: Parametrization) -> GptConfig {
    GptConfig {
        n_layer: 2,
        n_head: 2,
        n_embd,
        block_size: T,
        init,
        base_width: (init == Parametrization::Mup).then_some(32),
        ..Default::default()
    }
}

fn optimizer(kind: OptimizerKind) -> OptimizerConfig {
    OptimizerConfig {
        kind,
        lr: match kind {
            OptimizerKind::Adamw => 4e-3,
            OptimizerKind::Lion => 3e-3,
            OptimizerKind::Muon => 2e-2,
            OptimizerKind::Sgd => 0.2,
        },
        weight_decay: 0.0,
        // Clipping would hide a gradient that grows with the width.
        max_grad_norm: 0.0,
        ..Default::default()
    }
}

type Seen = BTreeMap<String, Vec<f32>>;

/// Every site's activations, the scores of the first head, and the logits.
fn coordinates(gpt: &Gpt, tape: &mut Tape<f32>, tokens: &Arc<[u32]>) -> Seen {
    let mut seen = Seen::new();
    tape.begin(Mode::Eval);
    let config = gpt.config();
    gpt.hidden_seen(tape, tokens, T, &mut |site, tape, x| {
        let values = tape.to_host(x).unwrap();
        if let Site::Qkv(block) = site {
            seen.insert(format!("scores {block}"), scores(config, &values));
        }
        seen.insert(format!("{site:?}"), values);
    })
    .unwrap();
    tape.begin(Mode::Eval);
    let logits = gpt.logits(tape, tokens, T).unwrap();
    seen.insert("logits".into(), tape.to_host(logits).unwrap());
    seen
}

/// q·k times the scale, of every two tokens of the first sequence in the first head.
fn scores(config: &GptConfig, qkv: &[f32]) -> Vec<f32> {
    let (c, dim) = (config.n_embd, config.head_dim());
    let row = |token: usize, start: usize| &qkv[token * 3 * c + start..][..dim];
    let pairs = (0..T * T).map(|i| (row(i / T, 0), row(i % T, c)));
    let products = pairs.map(|(q, k)| q.iter().zip(k).map(|(q, k)| q * k).sum::<f32>());
    products.map(|p| p * config.score_scale() as f32).collect()
}

/// Mean absolute change of each site's coordinates in a few steps, over seeds.
fn changes(width: usize, init: Parametrization, kind: OptimizerKind) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::<String, f64>::new();
    for seed in 0..SEEDS {
        let (gpt, specs) = Gpt::new(&config(width, init), VOCAB);
        let mut params = Params::new(1, specs);
        params.init(0, seed);
        let pool = Arc::new(Pool::new(2));
        let optimizer = optimizer(kind);
        let mut steps =
            Optimizer::new(&params, &optimizer).widened(gpt.config().width_multiplier());
        let mut tape = Tape::<f32>::new(params, Backend::Fused, pool.clone());
        let mut rng = Rng::named(seed, "coordinates");
        let mut draw = || (rng.uniform() * rng.uniform() * VOCAB as f64) as u32;
        let tokens: Arc<[u32]> = (0..ROWS * T).map(|_| draw()).collect();
        let targets: Vec<u32> = tokens.iter().map(|t| (t * 5 + 1) % VOCAB as u32).collect();
        let before = coordinates(&gpt, &mut tape, &tokens);
        for step in 1..=STEPS {
            tape.zero_grads().unwrap();
            tape.begin(Mode::Train);
            let denominator = (ROWS * T) as f64;
            gpt.loss(&mut tape, (&tokens, &targets), T, denominator)
                .unwrap();
            tape.backward().unwrap();
            let norm = grad_norm(&tape.params, &pool)[0];
            steps.step((&mut tape.params, 0), (step, optimizer.lr), norm, &pool);
        }
        for (site, after) in coordinates(&gpt, &mut tape, &tokens) {
            let pairs = after.iter().zip(&before[&site]);
            let change: f64 = pairs.map(|(a, b)| f64::from((a - b).abs())).sum();
            *sums.entry(site).or_default() += change / after.len() as f64 / SEEDS as f64;
        }
    }
    sums
}

/// The power of the width with which each site's change grows: a line through logarithms.
fn powers(init: Parametrization, kind: OptimizerKind) -> BTreeMap<String, f64> {
    let by_width = WIDTHS.map(|width| changes(width, init, kind));
    let x = WIDTHS.map(|width| (width as f64).ln());
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let of = |site: &String| {
        let y = by_width.iter().map(|changes| changes[site].ln());
        let products = x.iter().zip(y).map(|(x, y)| (x - mean) * y);
        products.sum::<f64>() / x.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
    };
    by_width[0]
        .keys()
        .map(|site| (site.clone(), of(site)))
        .collect()
}

const KINDS: [OptimizerKind; 4] = [
    OptimizerKind::Adamw,
    OptimizerKind::Sgd,
    OptimizerKind::Lion,
    OptimizerKind::Muon,
];

#[test]
fn what_a_few_steps_change_is_as_large_in_a_wide_model_as_in_a_narrow_one() {
    for kind in KINDS {
        for (site, power) in powers(Parametrization::Mup, kind) {
            // Scores and logits are products of two factors that grow towards each other. They start
            // without a common direction, so at first such a sum is 1/√D of what it comes to.
            let least = match site.as_str() {
                "logits" => -0.3,
                site if site.starts_with("scores") => -0.7,
                _ => -0.15,
            };
            assert!(
                (least..0.15).contains(&power),
                "{kind:?}: what changes at {site} goes with width^{power:.2}"
            );
        }
    }
}

/// The check can fail: without muP the same steps change more in a wider model, everywhere but in
/// the embeddings and after a norm.
#[test]
fn under_the_standard_parametrisation_the_same_steps_change_more_in_a_wider_model() {
    for kind in [OptimizerKind::Adamw, OptimizerKind::Muon] {
        for (site, power) in powers(Parametrization::Gpt2, kind) {
            if !["Embedded", "Final"].contains(&site.as_str()) {
                assert!(power > 0.4, "{kind:?}: {site} goes with width^{power:.2}");
            }
        }
    }
}

#[test]
fn at_the_base_width_it_is_the_standard_parametrisation() {
    let one = |init| changes(WIDTHS[0], init, OptimizerKind::Adamw);
    assert_eq!(one(Parametrization::Mup), one(Parametrization::Gpt2));
}
