//! Which mixture to train next: the one that is expected to teach most about where the best is.
//!
//! Its score is the expected improvement on the mixture that is recommended now, over laws fitted to
//! resampled runs: mean of max(0, L(now) − L(candidate)). It is large where these laws disagree
//! *and* some of them put a candidate below the present one, and zero where all agree that it is
//! worse: a disagreement about bad mixtures teaches nothing that anyone would use. Both losses of a
//! difference come from the same law, so what only shifts a law up or down does not count. Runs
//! that were made are kept away from by a least distance.

use super::{
    best::Ensemble,
    runs::Runs,
    simplex::{Bounds, distance, draws},
};
use crate::rng::Rng;
use serde::Serialize;

const CANDIDATES: usize = 4_000;
/// Least share of tokens in which a proposal differs from every run.
pub const LEAST_DISTANCE: f64 = 0.05;

/// A mixture that is worth a run.
#[derive(Debug, Clone, Serialize)]
pub struct Next {
    pub mixture: Vec<f64>,
    /// Mean improvement on the present best mixture, over resampled laws, in the losses' unit.
    pub expected_improvement: f64,
    /// The share of resampled laws that put it below the present best.
    pub chance_better: f64,
    pub predicted: f64,
    /// The spread of its difference from the present best, over resampled laws.
    pub disagreement: f64,
    /// The share of tokens in which the nearest run differs.
    pub nearest_run: f64,
}

/// Where proposals may lie.
pub struct Space<'a> {
    pub bounds: &'a Bounds,
    pub prior: &'a [f64],
    /// The mixture that is recommended now.
    pub present: &'a [f64],
    pub seed: u64,
}

/// Up to `n` mixtures, the most worthwhile first, each away from the runs and from one another.
/// Where no law puts any candidate below the present best, those of the widest disagreement.
/// Empty when nothing allowed is far enough from all runs.
pub fn next_mixtures(runs: &Runs, ensemble: &Ensemble, space: &Space, n: usize) -> Vec<Next> {
    let mut rng = Rng::named(space.seed, "laws.next");
    let mut candidates = draws(space.bounds, space.prior, CANDIDATES / 2, &mut rng);
    // As many near the present best: that is where mixtures are good.
    candidates.extend(draws(space.bounds, space.present, CANDIDATES / 2, &mut rng));
    let far = |mixture: &Vec<f64>| nearest(runs, mixture) >= LEAST_DISTANCE;
    candidates.retain(far);
    let mut scored = score(runs, ensemble, space, candidates);
    let worth = |next: &Next| (next.expected_improvement, next.disagreement);
    scored.sort_by(|a, b| {
        let (a, b) = (worth(a), worth(b));
        b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
    });
    let mut chosen: Vec<Next> = Vec::new();
    for candidate in scored {
        let apart = |other: &Next| distance(&other.mixture, &candidate.mixture) >= LEAST_DISTANCE;
        if chosen.len() < n && chosen.iter().all(apart) {
            chosen.push(candidate);
        }
    }
    chosen
}

fn nearest(runs: &Runs, mixture: &[f64]) -> f64 {
    let each = runs.mixtures.iter().map(|run| distance(run, mixture));
    each.fold(f64::INFINITY, f64::min)
}

fn score(runs: &Runs, ensemble: &Ensemble, space: &Space, candidates: Vec<Vec<f64>>) -> Vec<Next> {
    let now = ensemble.predict_each(space.present);
    let by_law = ensemble.predict_all(&candidates);
    let laws = now.len().max(1) as f64;
    let scored = candidates.into_iter().enumerate().map(|(i, mixture)| {
        let gains: Vec<f64> = by_law
            .iter()
            .zip(&now)
            .map(|(of, now)| now - of[i])
            .collect();
        let mean = gains.iter().sum::<f64>() / laws;
        let squares: f64 = gains.iter().map(|g| (g - mean).powi(2)).sum();
        Next {
            expected_improvement: gains.iter().map(|g| g.max(0.0)).sum::<f64>() / laws,
            chance_better: gains.iter().filter(|g| **g > 0.0).count() as f64 / laws,
            predicted: ensemble.predict(&mixture),
            disagreement: (squares / laws).sqrt(),
            nearest_run: nearest(runs, &mixture),
            mixture,
        }
    });
    scored.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{
        best::{Goal, ensemble},
        law::Law,
        simplex::dirichlet,
    };

    /// Runs that hardly have any of domain 2; domain 0 helps, domain 1 hurts.
    fn runs() -> Runs {
        let mut rng = Rng::named(1, "next");
        let mixtures: Vec<Vec<f64>> = (0..40)
            .map(|_| dirichlet(&mut rng, &[3.0, 3.0, 0.1]))
            .collect();
        let losses = mixtures
            .iter()
            .map(|r| vec![2.0 + (0.5 * r[1] - r[0]).exp() + 0.02 * rng.normal()])
            .collect();
        let names = ["a", "b", "c"].map(String::from).to_vec();
        Runs::new(names, mixtures, vec!["x".into()], losses).unwrap()
    }

    #[test]
    fn the_proposal_is_allowed_away_from_runs_and_where_laws_disagree() {
        let runs = runs();
        let goal = Goal::new("g", &[(0, 1.0)]).unwrap();
        let ensemble = ensemble(&runs, &goal, &[Law::LogLinear], 60, 1).unwrap();
        let bounds = Bounds {
            low: vec![0.1, 0.0, 0.0],
            high: vec![0.8, 1.0, 0.9],
        };
        let present = bounds.project(&[0.8, 0.1, 0.1]);
        let space = Space {
            bounds: &bounds,
            prior: &[1.0 / 3.0; 3],
            present: &present,
            seed: 1,
        };
        let proposed = next_mixtures(&runs, &ensemble, &space, 3);
        assert_eq!(proposed.len(), 3);
        for (i, next) in proposed.iter().enumerate() {
            assert!(bounds.hold(&next.mixture));
            assert!(next.nearest_run >= LEAST_DISTANCE);
            for other in &proposed[..i] {
                assert!(other.expected_improvement >= next.expected_improvement);
                assert!(distance(&other.mixture, &next.mixture) >= LEAST_DISTANCE);
            }
        }
        // Domain c, which runs say little of, is what is worth a look; domain b is known to be bad.
        let first = &proposed[0];
        assert!(first.expected_improvement > 0.0 && first.chance_better > 0.0);
        assert!(
            first.mixture[2] > 0.1 && first.mixture[1] < 0.2,
            "{first:?}"
        );
        let again = next_mixtures(&runs, &ensemble, &space, 3);
        assert_eq!(again[0].mixture, first.mixture);
    }

    #[test]
    fn nothing_is_proposed_where_everything_was_run() {
        let bounds = Bounds {
            low: vec![0.5, 0.5],
            high: vec![0.5, 0.5],
        };
        let names = vec!["a".into(), "b".into()];
        let runs = Runs::new(
            names,
            vec![vec![0.5, 0.5]; 8],
            vec!["x".into()],
            vec![vec![1.0]; 8],
        );
        let runs = runs.unwrap();
        let goal = Goal::new("g", &[(0, 1.0)]).unwrap();
        let ensemble = ensemble(&runs, &goal, &[Law::Linear], 5, 1).unwrap();
        let space = Space {
            bounds: &bounds,
            prior: &[0.5, 0.5],
            present: &[0.5, 0.5],
            seed: 1,
        };
        assert!(next_mixtures(&runs, &ensemble, &space, 2).is_empty());
    }
}
