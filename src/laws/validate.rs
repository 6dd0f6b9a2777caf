//! How well a law predicts runs that it has not seen: cross-validation, and held-out runs.

use super::{
    law::{Fitted, Law},
    rank::{kendall, spearman},
    threads,
};
use crate::{error::Result, rng::Rng};
use serde::Serialize;
use std::collections::BTreeMap;

const FOLDS: usize = 5;
/// `auto` leaves trees out at fewer runs: they have too little to split.
pub const LEAST_RUNS_FOR_TREES: usize = 250;

/// Predictions against measurements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    pub n: usize,
    /// Rank correlation; `None` when either is constant.
    pub spearman: Option<f64>,
    pub kendall: Option<f64>,
    /// How much higher than the lowest loss the run is that was predicted best: what it costs to
    /// take the law's word for it.
    pub regret: f64,
    /// Root mean squared error: says something only where runs are as large as those fitted to.
    pub rmse: f64,
}

impl Scores {
    pub fn of(predicted: &[f64], measured: &[f64]) -> Self {
        let lowest = measured.iter().copied().fold(f64::INFINITY, f64::min);
        let pairs = predicted.iter().zip(measured);
        let chosen = pairs.clone().min_by(|a, b| a.0.total_cmp(b.0));
        let squares: f64 = pairs.map(|(p, m)| (p - m).powi(2)).sum();
        Self {
            n: measured.len(),
            spearman: spearman(predicted, measured),
            kendall: kendall(predicted, measured),
            regret: chosen.map_or(0.0, |(_, loss)| loss - lowest),
            rmse: (squares / measured.len().max(1) as f64).sqrt(),
        }
    }
}

/// A law's out-of-fold predictions and their scores.
#[derive(Debug, Clone, Serialize)]
pub struct CrossValidated {
    pub law: Law,
    pub folds: usize,
    #[serde(flatten)]
    pub scores: Scores,
    /// By run.
    #[serde(skip)]
    pub predicted: Vec<f64>,
}

/// Predicts every run by a law fitted without its fold. Runs of one mixture (other seeds of it) share
/// a fold: else a law could look them up. The seed decides the folds.
pub fn cross_validated(
    mixtures: &[Vec<f64>],
    losses: &[f64],
    law: Law,
    seed: u64,
) -> Result<CrossValidated> {
    let fold_of = folds(mixtures, seed);
    let n_folds = fold_of.iter().max().map_or(0, |most| most + 1);
    let parts = threads::map(n_folds, |fold| -> Result<Vec<(usize, f64)>> {
        let inside = |i: &usize| fold_of[*i] == fold;
        let (out, rest): (Vec<usize>, Vec<usize>) = (0..losses.len()).partition(inside);
        let pick = |order: &[usize]| -> Vec<Vec<f64>> {
            order.iter().map(|i| mixtures[*i].clone()).collect()
        };
        let kept: Vec<f64> = rest.iter().map(|i| losses[*i]).collect();
        let fitted = Fitted::of(&pick(&rest), &kept, law, seed)?;
        Ok(out
            .iter()
            .copied()
            .zip(fitted.predict_all(&pick(&out)))
            .collect())
    });
    let mut predicted = vec![0.0; losses.len()];
    for part in parts {
        part?
            .into_iter()
            .for_each(|(i, value)| predicted[i] = value);
    }
    Ok(CrossValidated {
        law,
        folds: n_folds,
        scores: Scores::of(&predicted, losses),
        predicted,
    })
}

/// The fold of each run.
fn folds(mixtures: &[Vec<f64>], seed: u64) -> Vec<usize> {
    let key = |m: &Vec<f64>| -> Vec<u64> { m.iter().map(|w| w.to_bits()).collect() };
    let mut groups: BTreeMap<Vec<u64>, usize> = BTreeMap::new();
    let group_of: Vec<usize> = mixtures
        .iter()
        .map(|m| {
            let next = groups.len();
            *groups.entry(key(m)).or_insert(next)
        })
        .collect();
    let mut order: Vec<usize> = (0..groups.len()).collect();
    Rng::named(seed, "laws.folds").shuffle(&mut order);
    group_of.iter().map(|group| order[*group] % FOLDS).collect()
}

/// Cross-validates every law that the number of runs allows.
pub fn compare(mixtures: &[Vec<f64>], losses: &[f64], seed: u64) -> Result<Vec<CrossValidated>> {
    let enough = |law: &Law| *law != Law::Trees || losses.len() >= LEAST_RUNS_FOR_TREES;
    let laws = Law::ALL.into_iter().filter(enough);
    laws.map(|law| cross_validated(mixtures, losses, law, seed))
        .collect()
}

/// The law of the highest rank correlation; of equal ones the simpler. Where none has one (equal
/// losses, say) the first.
pub fn choose(compared: &[CrossValidated]) -> Option<Law> {
    let rank = |c: &CrossValidated| c.scores.spearman.unwrap_or(-2.0);
    let mut best = compared.first()?;
    for candidate in compared {
        if rank(candidate) > rank(best) + 1e-9 {
            best = candidate;
        }
    }
    Some(best.law)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::simplex::dirichlet;

    fn runs(n: usize, truth: impl Fn(&[f64]) -> f64, noise: f64) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut rng = Rng::named(4, "validate");
        let mixtures: Vec<Vec<f64>> = (0..n).map(|_| dirichlet(&mut rng, &[0.6; 4])).collect();
        let losses = mixtures
            .iter()
            .map(|r| truth(r) + noise * rng.normal())
            .collect();
        (mixtures, losses)
    }

    #[test]
    fn the_law_that_made_the_losses_is_chosen() {
        let exponential = |r: &[f64]| 1.0 + (1.5 - 4.0 * r[0] - 1.0 * r[1]).exp();
        let linear = |r: &[f64]| 3.0 - 1.0 * r[0] + 0.5 * r[2];
        let product = |r: &[f64]| 3.0 + 4.0 * r[0] * r[1] - 3.0 * r[2] * r[3];
        for (truth, law) in [
            (&exponential as &dyn Fn(&[f64]) -> f64, Law::LogLinear),
            (&linear, Law::Linear),
            (&product, Law::Quadratic),
        ] {
            let (mixtures, losses) = runs(120, truth, 0.01);
            let compared = compare(&mixtures, &losses, 1).unwrap();
            assert_eq!(compared.len(), 3, "too few runs for trees");
            let best = compared.iter().find(|c| c.law == law).unwrap();
            assert!(
                best.scores.spearman.unwrap() > 0.97,
                "{law}: {:?}",
                best.scores
            );
            let chosen = choose(&compared).unwrap();
            let of_chosen = compared.iter().find(|c| c.law == chosen).unwrap();
            // Laws that hold this one within them may tie with it.
            assert!(of_chosen.scores.spearman.unwrap() - best.scores.spearman.unwrap() < 2e-3);
        }
    }

    #[test]
    fn noise_is_not_predicted_though_a_law_could_fit_it() {
        let (mut mixtures, mut losses) = runs(60, |_| 3.0, 1.0);
        // Two seeds of each mixture.
        mixtures.extend(mixtures.clone());
        losses.extend(losses.clone());
        for law in Law::ALL {
            let found = cross_validated(&mixtures, &losses, law, 1).unwrap();
            assert_eq!(found.folds, 5);
            let rank = found.scores.spearman.unwrap_or(0.0);
            assert!(rank < 0.4, "{law}: {rank}");
        }
    }

    #[test]
    fn regret_is_what_following_the_prediction_costs() {
        let scores = Scores::of(&[1.0, 2.0, 3.0], &[5.0, 4.0, 6.0]);
        assert_eq!((scores.regret, scores.n), (1.0, 3));
        assert!((scores.spearman.unwrap() - 0.5).abs() < 1e-12);
        assert!((scores.rmse - ((16.0 + 4.0 + 9.0) / 3.0f64).sqrt()).abs() < 1e-12);
    }
}
