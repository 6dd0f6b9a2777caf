//! Weights that change, weights from sizes, and caps: what is drawn, row by row.

use crate::{counted_corpora, mixture};
use std::sync::Arc;
use windtunnel::{
    data::{
        Batches, Corpus, DataConfig, Phase, Share, TokenizerChoice, TokenizerKind, Weighting,
        declared::{Declared, Room},
        mixture::Mixture,
    },
    error::Error,
    rng::Rng,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A run's shape: tokens and rows of a step, and steps.
#[derive(Debug, Clone, Copy)]
struct Shape {
    t: usize,
    rows: usize,
    steps: u64,
}

/// Of a mixture and its phases, as a recipe has them.
fn data(mixture: Vec<Share>, phases: Vec<Phase>) -> DataConfig {
    DataConfig {
        tokenizer: TokenizerChoice::BuiltIn(TokenizerKind::Char),
        mixture,
        phases,
        vocabulary: Vec::new(),
        targets: Default::default(),
        token_noise: 0.0,
        weighting: Weighting::Given,
    }
}

fn shares(weights: &[f64]) -> Vec<Share> {
    let pairs = NAMES.iter().zip(weights);
    pairs
        .map(|(name, weight)| Share::of(name, *weight))
        .collect()
}

fn at_step(step: u64, over: u64, weights: &[f64]) -> Phase {
    Phase {
        at_step: Some(step),
        over_steps: (over > 0).then_some(over),
        mixture: shares(weights),
        ..Default::default()
    }
}

/// Resolved, weighed and ready to draw, as a session does it.
fn drawn(
    corpora: &[Arc<Corpus>],
    data: &DataConfig,
    shape: Shape,
    seed: u64,
) -> Result<(DataConfig, Batches), Error> {
    let data = data.resolved(shape.steps)?;
    let of = |share: &Share| {
        let found = corpora.iter().find(|corpus| corpus.name() == share.corpus);
        found.unwrap().clone()
    };
    let parts: Vec<Arc<Corpus>> = data.mixture.iter().map(of).collect();
    let room = Room {
        tokens: parts.iter().map(|c| c.train().len() as u64).collect(),
        block_size: shape.t,
        rows: shape.rows,
        steps: shape.steps,
    };
    let data = data.weighed(&room)?;
    let weights = data.mean_weights(shape.steps);
    let mixture = Mixture::of(weights.into_iter().zip(parts).collect());
    let batches = Batches::new(mixture, shape.t, shape.rows, seed)?;
    Ok((data.clone(), batches.scheduled(&data, shape.steps)))
}

/// Rows of each corpus, step by step.
fn rows_by_step(batches: &Batches, shape: Shape, n: usize) -> Vec<Vec<u64>> {
    let of_step = |step| {
        let mut rows = vec![0; n];
        let batch = batches.at(step);
        batch.corpus_of_row.iter().for_each(|idx| rows[*idx] += 1);
        rows
    };
    (0..shape.steps).map(of_step).collect()
}

/// The corpus of a row as it was before weights could change: the oracle for constant mixtures.
fn golden_ratio_row(weights: &[f64], seed: u64, row: u64) -> usize {
    let start = Rng::named(seed, "data.mixture").uniform();
    let turn = row.wrapping_mul(0x9E37_79B9_7F4A_7C15) as f64 / 2f64.powi(64);
    let u = (start + turn).fract();
    let mut edge = 0.0;
    let part = weights.iter().position(|weight| {
        edge += weight;
        edge > u
    });
    part.unwrap()
}

#[test]
fn a_constant_mixture_draws_what_it_always_did_also_when_it_is_written_as_phases() {
    let home = tempfile::tempdir().unwrap();
    let c = counted_corpora(home.path(), &[400, 500, 600]);
    let shape = Shape {
        t: 8,
        rows: 6,
        steps: 900,
    };
    let weights = [0.2, 0.3, 0.5];
    let parts: Vec<_> = weights.iter().copied().zip(&c).collect();
    let plain = Batches::new(mixture(&parts), shape.t, shape.rows, 5).unwrap();
    let expected: Vec<usize> = (0..900 * 6)
        .map(|row| golden_ratio_row(&weights, 5, row))
        .collect();
    let seen: Vec<usize> = (0..900).flat_map(|s| plain.at(s).corpus_of_row).collect();
    assert_eq!(seen, expected);
    let constant = data(shares(&[2.0, 3.0, 5.0]), Vec::new());
    let (_, scheduled) = drawn(&c, &constant, shape, 5).unwrap();
    // A change that changes nothing, and a cap that nothing meets.
    let mut far = data(
        shares(&[2.0, 3.0, 5.0]),
        vec![at_step(300, 0, &[20.0, 30.0, 50.0])],
    );
    let (_, phased) = drawn(&c, &far, shape, 5).unwrap();
    far.phases.clear();
    far.mixture[1].max_tokens = Some(100_000);
    let (resolved, capped) = drawn(&c, &far, shape, 5).unwrap();
    assert_eq!(resolved.mixture[1].weight, 0.3);
    for step in 0..900 {
        let batch = plain.at(step);
        assert!(scheduled.at(step) == batch && phased.at(step) == batch);
        assert!(capped.at(step) == batch, "step {step}");
    }
}

#[test]
fn a_change_falls_on_its_exact_step_and_a_line_moves_from_there_to_its_end() {
    let home = tempfile::tempdir().unwrap();
    let c = counted_corpora(home.path(), &[400, 500, 600]);
    let shape = Shape {
        t: 8,
        rows: 16,
        steps: 200,
    };
    let changes = vec![
        at_step(37, 0, &[0.0, 1.0, 0.0]),
        at_step(80, 100, &[0.0, 0.0, 1.0]),
    ];
    let (_, batches) = drawn(&c, &data(shares(&[1.0]), changes), shape, 3).unwrap();
    let rows = rows_by_step(&batches, shape, 3);
    assert!(rows[..37].iter().all(|of| of[0] == 16));
    assert!(rows[37..80].iter().all(|of| of[1] == 16));
    assert!(rows[180..].iter().all(|of| of[2] == 16));
    // Along the line, each tenth of it draws a tenth more of the new corpus.
    for tenth in 0..10u64 {
        let steps = 80 + 10 * tenth as usize..90 + 10 * tenth as usize;
        let new: u64 = rows[steps].iter().map(|of| of[2]).sum();
        let expected = 160.0 * (tenth as f64 + 0.5) / 10.0;
        assert!((new as f64 - expected).abs() < 4.0, "{tenth}: {new}");
    }
    // The same by a fraction of the run.
    let phase = Phase {
        at: Some(0.185),
        mixture: shares(&[0.0, 1.0]),
        ..Default::default()
    };
    let (_, batches) = drawn(&c, &data(shares(&[1.0]), vec![phase]), shape, 3).unwrap();
    let rows = rows_by_step(&batches, shape, 2);
    let first = rows.iter().position(|of| of[1] > 0);
    assert_eq!((first, rows[36][0], rows[37][0]), (Some(37), 16, 0));
}

#[test]
fn what_a_cap_takes_flows_to_the_others_over_the_whole_run() {
    let home = tempfile::tempdir().unwrap();
    let c = counted_corpora(home.path(), &[400, 500, 600]);
    let shape = Shape {
        t: 8,
        rows: 10,
        steps: 100,
    };
    // 8000 tokens; a quarter of them is 2000, and "b" may give 1000.
    let mut capped = data(shares(&[0.5, 0.25, 0.25]), Vec::new());
    capped.mixture[1].max_tokens = Some(1000);
    let (resolved, batches) = drawn(&c, &capped, shape, 3).unwrap();
    let weights: Vec<f64> = resolved.mixture.iter().map(|share| share.weight).collect();
    assert!((weights[1] - 0.125).abs() < 1e-9, "{weights:?}");
    assert!((weights[0] / weights[2] - 2.0).abs() < 1e-9, "{weights:?}");
    let realised = batches.realised(100);
    assert_eq!(realised[1].tokens, 1000);
    // Not at once: as much in the first half as in the second.
    let half = batches.realised(50)[1].tokens as f64;
    assert!((half - 500.0).abs() <= 24.0, "{half}");
    let epochs = 1000.0 / c[1].train().len() as f64;
    assert!((realised[1].epochs - epochs).abs() < 1e-12);
    // In epochs: every window of one pass, and none again.
    capped.mixture[1].max_tokens = None;
    capped.mixture[1].max_epochs = Some(1.0);
    let (_, batches) = drawn(&c, &capped, shape, 3).unwrap();
    let train = c[1].train().len() as u64;
    assert_eq!(batches.realised(100)[1].tokens, (train - 8) / 8 * 8);
    let mut seen: Vec<u32> = (0..100)
        .flat_map(|step| {
            let batch = batches.at(step);
            let rows = batch.inputs.chunks(8).zip(batch.corpus_of_row);
            let of_b = rows.filter(|(_, of)| *of == 1).map(|(row, _)| row[0]);
            of_b.collect::<Vec<_>>()
        })
        .collect();
    seen.sort_unstable();
    let n = seen.len();
    seen.dedup();
    assert_eq!((seen.len(), n as u64), (n, (train - 8) / 8));
}

#[test]
fn caps_that_leave_tokens_over_are_refused_with_their_number() {
    let home = tempfile::tempdir().unwrap();
    let c = counted_corpora(home.path(), &[400, 500, 600]);
    let shape = Shape {
        t: 8,
        rows: 10,
        steps: 100,
    };
    let refused = |data: &DataConfig| drawn(&c, data, shape, 3).unwrap_err();
    let mut both = data(shares(&[1.0, 1.0]), Vec::new());
    for share in &mut both.mixture {
        share.max_tokens = Some(3200);
    }
    let error = refused(&both);
    assert_eq!((error.exit_code(), &*error.place), (2, "data.mixture"));
    assert!(error.problem.contains("1600 of the run's 8000"), "{error}");
    assert!(error.remedy.contains("6400 tokens"), "{error}");
    // Enough in all, but not of what the last phase draws.
    let mut last = data(shares(&[1.0]), vec![at_step(50, 0, &[0.0, 1.0])]);
    last.phases[0].mixture[1].max_tokens = Some(3992);
    last.phases[0].mixture.remove(0);
    let error = refused(&last);
    assert!(error.problem.contains(" 8 of the run's 8000"), "{error}");
    last.phases[0].mixture[0].max_tokens = Some(4000);
    drawn(&c, &last, shape, 3).unwrap();
    let mut unimax = data(shares(&[1.0, 1.0, 1.0]), Vec::new());
    unimax.weighting = Weighting::UnimaxEpochs(2.0);
    let error = refused(&unimax);
    assert_eq!(error.place, "data.weighting");
    let mut tiny = data(shares(&[1.0, 1.0]), Vec::new());
    tiny.mixture[0].max_tokens = Some(7);
    assert!(refused(&tiny).problem.contains("one row of 8 tokens"));
}

#[test]
fn weights_come_from_sizes_as_the_weighting_says() {
    let home = tempfile::tempdir().unwrap();
    let c = counted_corpora(home.path(), &[400, 800, 1600]);
    let sizes: Vec<f64> = c.iter().map(|c| c.train().len() as f64).collect();
    let shape = Shape {
        t: 8,
        rows: 10,
        steps: 100,
    };
    let resolved = |weighting: Weighting, given: &[f64]| -> Vec<f64> {
        let mut data = data(shares(given), Vec::new());
        data.weighting = weighting;
        let (data, _) = drawn(&c, &data, shape, 3).unwrap();
        assert_eq!(data.weighting, Weighting::Given, "numbers, not a rule");
        data.mixture.iter().map(|share| share.weight).collect()
    };
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
    let sum: f64 = sizes.iter().sum();
    let natural: Vec<f64> = sizes.iter().map(|size| size / sum).collect();
    assert!(near(
        &resolved(Weighting::Natural, &[9.0, 1.0, 1.0]),
        &natural
    ));
    assert_eq!(
        resolved(Weighting::Uniform, &[9.0, 0.0, 1.0]),
        [0.5, 0.0, 0.5]
    );
    let roots: f64 = sizes.iter().map(|size| size.sqrt()).sum();
    let rooted: Vec<f64> = sizes.iter().map(|size| size.sqrt() / roots).collect();
    assert!(near(
        &resolved(Weighting::Temperature(2.0), &[1.0; 3]),
        &rooted
    ));
    // 8000 tokens: four epochs of "a" are fewer than a third, the others share the rest.
    let weights = resolved(Weighting::UnimaxEpochs(4.0), &[1.0; 3]);
    let of_epochs = |size: f64| 4.0 * ((size - 8.0) / 8.0).floor() * 8.0 / 8000.0;
    let first = of_epochs(sizes[0]);
    let rest = (1.0 - first) / 2.0;
    let expected = match rest <= of_epochs(sizes[1]) {
        true => [first, rest, rest],
        false => {
            let second = of_epochs(sizes[1]);
            [first, second, 1.0 - first - second]
        }
    };
    assert!(near(&weights, &expected), "{weights:?} {expected:?}");
}

/// A random mixture of three corpora with random caps and phases.
fn random(rng: &mut Rng, shape: Shape) -> DataConfig {
    let weights = |rng: &mut Rng| -> Vec<f64> {
        let mut weights: Vec<f64> = (0..3)
            .map(|_| {
                if rng.below(4) == 0 {
                    0.0
                } else {
                    rng.uniform()
                }
            })
            .collect();
        weights[rng.below(3) as usize] += 0.05;
        weights
    };
    let all = shape.steps * (shape.rows * shape.t) as u64;
    let mut mixture = shares(&weights(rng));
    for share in &mut mixture {
        match rng.below(4) {
            0 => share.max_tokens = Some(shape.t as u64 + rng.below(all)),
            1 => share.max_epochs = Some(0.1 + 6.0 * rng.uniform()),
            _ => (),
        }
    }
    let mut phases = Vec::new();
    let mut from = 1 + rng.below(shape.steps / 3);
    while from < shape.steps && rng.below(3) > 0 {
        let over = rng.below(2) * rng.below(shape.steps - from);
        phases.push(at_step(from, over, &weights(rng)));
        from += over + 1 + rng.below(shape.steps / 2);
    }
    let mut data = data(mixture, phases);
    data.weighting = match rng.below(5) {
        0 => Weighting::Uniform,
        1 => Weighting::Natural,
        2 => Weighting::Temperature(0.5 + 3.0 * rng.uniform()),
        _ => Weighting::Given,
    };
    data
}

#[test]
fn random_mixtures_keep_their_caps_at_every_row_and_their_weights_in_every_phase() {
    let home = tempfile::tempdir().unwrap();
    let c = counted_corpora(home.path(), &[700, 900, 2000]);
    let mut rng = Rng::named(11, "test.phases");
    let (mut met, mut refused, mut bound, mut furthest) = (0, 0, 0, 0f64);
    for _ in 0..250 {
        let shape = Shape {
            t: 8,
            rows: 1 + rng.below(24) as usize,
            steps: 20 + rng.below(400),
        };
        let data = random(&mut rng, shape);
        let seed = rng.below(1000);
        let Ok((resolved, batches)) = drawn(&c, &data, shape, seed) else {
            refused += 1;
            continue;
        };
        met += 1;
        let caps: Vec<u64> = resolved
            .mixture
            .iter()
            .zip(&c)
            .map(|(share, corpus)| share.most_rows(corpus.train().len() as u64, shape.t))
            .collect();
        let mut rows = [0u64; 3];
        for of_step in rows_by_step(&batches, shape, 3) {
            assert_eq!(of_step.iter().sum::<u64>(), shape.rows as u64);
            for idx in 0..3 {
                rows[idx] += of_step[idx];
                assert!(rows[idx] <= caps[idx], "{data:?} {shape:?}");
            }
        }
        bound += u64::from((0..3).any(|idx| rows[idx] + 2 >= caps[idx]));
        for (idx, of) in batches.realised(shape.steps).iter().enumerate() {
            assert_eq!(of.tokens, rows[idx] * shape.t as u64);
            let all = (shape.steps * shape.rows as u64) as f64;
            let off = (of.share - of.declared.unwrap()).abs() * all;
            furthest = furthest.max(off);
            assert!(
                off <= 8.0 + 0.005 * all,
                "{off} of {all}: {data:?} {shape:?}"
            );
            for phase in &of.phases {
                let n = ((phase.to_step - phase.from_step) * shape.rows as u64) as f64;
                let off = (phase.share - phase.declared).abs() * n;
                assert!(off <= 8.0 + 0.005 * n, "{off} of {n}: {data:?} {shape:?}");
            }
        }
        // Any step, at once, of an object that drew no other.
        let (_, fresh) = drawn(&c, &data, shape, seed).unwrap();
        for step in [shape.steps - 1, 0, shape.steps / 2, shape.steps / 3] {
            assert!(fresh.at(step) == batches.at(step), "step {step}");
        }
    }
    println!("{met} met, {refused} refused, {bound} at a cap; {furthest:.2} rows off at most");
    assert!(met > 100 && refused > 10 && bound > 20);
}

#[test]
fn long_lines_stay_within_rows_of_their_weights() {
    let home = tempfile::tempdir().unwrap();
    let c = counted_corpora(home.path(), &[700, 900, 2000]);
    let shape = Shape {
        t: 8,
        rows: 32,
        steps: 5000,
    };
    let mut furthest = 0f64;
    for seed in 0..5 {
        let to = at_step(0, 5000, &[0.1, 0.2, 0.7]);
        let (_, batches) =
            drawn(&c, &data(shares(&[0.7, 0.2, 0.1]), vec![to]), shape, seed).unwrap();
        for step in (250..=5000).step_by(250) {
            for of in batches.realised(step) {
                let off = (of.share - of.declared.unwrap()) * (step * 32) as f64;
                furthest = furthest.max(off.abs());
            }
        }
    }
    println!("{furthest:.2} of 160000 rows");
    assert!(furthest > 0.0 && furthest < 16.0, "{furthest}");
}

#[test]
fn what_is_declared_is_what_is_drawn() {
    let home = tempfile::tempdir().unwrap();
    let c = counted_corpora(home.path(), &[700, 900, 2000]);
    let shape = Shape {
        t: 8,
        rows: 20,
        steps: 250,
    };
    let mut data = data(shares(&[0.5, 0.5]), vec![at_step(200, 0, &[0.0, 0.5, 0.5])]);
    data.mixture[0].max_epochs = Some(5.0);
    let (_, batches) = drawn(&c, &data, shape, 3).unwrap();
    let declared: Declared = batches.declared(250);
    let realised = batches.realised(250);
    for (said, done) in declared.corpora.iter().zip(&realised) {
        assert_eq!(said.corpus, done.corpus);
        let rows = said.tokens.abs_diff(done.tokens) / 8;
        assert!(rows <= 4, "{said:?} {done:?}");
    }
    let cap = 5 * ((c[0].train().len() as u64 - 8) / 8 * 8);
    assert_eq!(declared.corpora[0].most_tokens, Some(cap));
    assert_eq!(realised[0].tokens, cap);
    let steps: Vec<(u64, u64)> = declared
        .phases
        .iter()
        .map(|phase| (phase.from_step, phase.to_step))
        .collect();
    assert_eq!(steps, [(0, 200), (200, 250)]);
    let warned = declared.warnings();
    assert!(warned.iter().any(|w| w.contains("\"a\"")), "{warned:?}");
    assert!(warned.iter().all(|w| !w.contains("\"c\"")), "{warned:?}");
    let lines = declared.lines().join("\n");
    for words in [
        "steps 0 to 199",
        "steps 200 to 249",
        "the whole run",
        "at most",
    ] {
        assert!(lines.contains(words), "{words}: {lines}");
    }
}
