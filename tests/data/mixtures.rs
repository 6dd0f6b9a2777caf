//! Weights: what they come to in rows, and which of them are the same.

use crate::{counted_corpora, mixture, noise};
use std::{fs, path::Path};
use windtunnel::{
    data::{Batches, Realised, Share, mixture::RowPlan, mixture::normalised},
    device::{Compute, DeviceChoice},
    recipe::Recipe,
    session::{Session, Trial},
};

/// Furthest that a corpus is from its share, in rows, at any row below `rows`.
fn furthest(weights: &[f64], seed: u64, rows: u64) -> f64 {
    let plan = RowPlan::new(weights, seed);
    let mut counts = vec![0u64; weights.len()];
    let mut furthest = 0f64;
    for row in 0..rows {
        counts[plan.corpus(row, &[])] += 1;
        for (count, weight) in counts.iter().zip(weights) {
            furthest = furthest.max((*count as f64 - weight * (row + 1) as f64).abs());
        }
    }
    furthest
}

#[test]
fn shares_are_within_rows_of_the_weights_at_every_moment() {
    for weights in [
        vec![0.5, 0.5],
        vec![0.4, 0.6],
        vec![0.1, 0.9],
        vec![0.01, 0.99],
        vec![0.2, 0.3, 0.5],
        vec![1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0],
    ] {
        let off = (0..10)
            .map(|seed| furthest(&weights, seed, 30_000))
            .fold(0.0, f64::max);
        println!("{weights:?}: {off:.2} rows");
        // Chance would be off by 3 · √(30 000 / 4), 260 rows.
        assert!(off < 4.0, "{off} rows off for {weights:?}");
        assert!(off > 0.0);
    }
}

#[test]
fn realised_is_what_the_rows_say() {
    let home = tempfile::tempdir().unwrap();
    let c = counted_corpora(home.path(), &[300, 400, 500]);
    let parts = [(0.2, &c[0]), (0.3, &c[1]), (0.5, &c[2])];
    let batches = Batches::new(mixture(&parts), 8, 6, 4).unwrap();
    // 6 rows: more than 4096 of them.
    for steps in [0, 1, 17, 800] {
        let mut rows = [0u64; 3];
        for step in 0..steps {
            batches
                .at(step)
                .corpus_of_row
                .iter()
                .for_each(|idx| rows[*idx] += 1);
        }
        let expected: Vec<Realised> = (0..3)
            .map(|i| Realised {
                corpus: c[i].name().into(),
                tokens: rows[i] * 8,
                epochs: (rows[i] * 8) as f64 / c[i].train().len() as f64,
                share: rows[i] as f64 / (6 * steps).max(1) as f64,
                declared: Some(parts[i].0),
                phases: Vec::new(),
            })
            .collect();
        assert_eq!(batches.realised(steps), expected);
        // A fresh object counts the same without having drawn.
        let fresh = Batches::new(mixture(&parts), 8, 6, 4).unwrap();
        assert_eq!(fresh.realised(steps), expected);
    }
}

fn session(home: &Path) -> Session {
    let session = Session::new(home, Compute::open(DeviceChoice::Cpu, 1).unwrap());
    for (name, seed) in [("ant", 1), ("bee", 2), ("cat", 3)] {
        let file = home.join(format!("{name}.txt"));
        fs::write(&file, noise(seed, 120)).unwrap();
        let added = session.library.to_add(name, &file).unwrap();
        session.library.add(name, &added).unwrap();
    }
    session
}

fn resolved(session: &Session, shares: &[(&str, f64)]) -> Trial {
    let shares: Vec<String> = shares
        .iter()
        .map(|(corpus, weight)| format!("{{ corpus = \"{corpus}\", weight = {weight:?} }}"))
        .collect();
    let text = format!(
        "[data]\ntokenizer = \"char\"\nmixture = [{}]\n[model]\nn_layer = 1\nn_head = 1\nn_embd = 8\nblock_size = 16\n[budget]\nsteps = 30\n",
        shares.join(", ")
    );
    let path = session.home.join("recipe.toml");
    fs::write(&path, text).unwrap();
    let (recipe, _) = Recipe::load(&path, &[]).unwrap();
    session.resolve(&recipe).unwrap()
}

fn drawn(trial: &Trial) -> Vec<windtunnel::data::Batch> {
    let (run, mixture) = (&trial.run, trial.data.mixture.clone());
    let batches = Batches::new(mixture, run.model.block_size, run.batch.rows, run.seed).unwrap();
    (0..run.steps).map(|step| batches.at(step)).collect()
}

#[test]
fn weights_of_one_proportion_are_one_trial_in_any_order_and_scale() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path());
    let groups: [&[&[(&str, f64)]]; 3] = [
        &[
            &[("ant", 2.0), ("bee", 3.0)],
            &[("ant", 0.4), ("bee", 0.6)],
            &[("bee", 3.0), ("ant", 2.0)],
        ],
        &[
            &[("ant", 1.0), ("bee", 2.0), ("cat", 7.0)],
            &[("ant", 0.1), ("bee", 0.2), ("cat", 0.7)],
            &[("cat", 0.7), ("bee", 0.2), ("ant", 0.1)],
            &[("cat", 70.0), ("bee", 20.0), ("ant", 10.0)],
        ],
        &[
            &[("ant", 1.0), ("bee", 1.0), ("cat", 1.0)],
            &[("ant", 0.1), ("bee", 0.1), ("cat", 0.1)],
        ],
    ];
    let mut ids = Vec::new();
    for group in groups {
        let first = resolved(&session, group[0]);
        for shares in &group[1..] {
            let other = resolved(&session, shares);
            assert_eq!(other.id, first.id, "{shares:?}");
            assert!(drawn(&other) == drawn(&first), "{shares:?}");
        }
        ids.push(first.id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    let near = resolved(&session, &[("ant", 2.0), ("bee", 3.001)]);
    assert_ne!(near.id, ids[0]);
}

#[test]
fn proportions_in_hundredths_come_out_the_same_as_in_percent_whatever_the_order() {
    let shares = |weights: [f64; 3], order: [usize; 3]| -> Vec<f64> {
        let names = ["a", "b", "c"];
        let share = |i: usize| Share::of(names[i], weights[i]);
        let mut shares = normalised("here", &order.map(share)).unwrap();
        assert_eq!(
            normalised("here", &shares).unwrap(),
            shares,
            "a second time"
        );
        shares.sort_by(|x, y| x.corpus.cmp(&y.corpus));
        shares.into_iter().map(|share| share.weight).collect()
    };
    for a in 1..99u32 {
        for b in 1..100 - a {
            let percent = [a, b, 100 - a - b].map(f64::from);
            let expected = shares(percent, [0, 1, 2]);
            assert!((expected.iter().sum::<f64>() - 1.0).abs() < 1e-11);
            let hundredths = percent.map(|p| p / 100.0);
            for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
                assert_eq!(shares(hundredths, order), expected, "{percent:?}");
            }
        }
    }
}

#[test]
fn weights_too_large_to_add_up_are_refused() {
    let share = |corpus: &str| Share::of(corpus, f64::MAX);
    let error = normalised("data.mixture", &[share("a"), share("b")]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(
        error.place == "data.mixture" && error.problem.contains("inf"),
        "{error}"
    );
}
