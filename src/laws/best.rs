//! The mixture of the lowest predicted loss under weights on targets, and how sure that is.
//!
//! Searched among random allowed mixtures around a prior (as RegMix does), then, where the laws are
//! smooth, followed downhill to its end. Trees have steps and no downhill: the draws gather round the
//! mean of their best hundredth, a few times over. Intervals come from laws fitted to resampled runs: they say how
//! far other runs of the same kind would move the law, not how far the law is from the truth.

use super::{
    algebra::middle,
    law::{Fitted, Law, fit},
    runs::Runs,
    simplex::{Bounds, distance, draws},
    threads,
};
use crate::{
    error::{Error, Result},
    rng::Rng,
};
use serde::Serialize;

/// Of all intervals here.
pub const CONFIDENCE: f64 = 0.9;
/// Mixtures that are tried for the runs themselves, and for every resampling.
const DRAWS: usize = 20_000;
const DRAWS_OF_RESAMPLED: usize = 2_000;
/// Of the lowest draws, how many are followed downhill.
const FOLLOWED: usize = 6;
/// How often draws gather where there is no downhill.
const ROUNDS: i32 = 5;

/// Targets that count, and how much: weights add up to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Goal {
    pub targets: Vec<usize>,
    pub weights: Vec<f64>,
}

impl Goal {
    /// Relative weights by target. Errors when one is negative, none is positive, or a target
    /// comes twice.
    pub fn new(place: &str, weighted: &[(usize, f64)]) -> Result<Self> {
        let mut weights: Vec<f64> = weighted.iter().map(|(_, w)| *w).collect();
        super::runs::normalise(place, &mut weights)?;
        let targets: Vec<usize> = weighted.iter().map(|(t, _)| *t).collect();
        for (at, target) in targets.iter().enumerate() {
            if targets[..at].contains(target) {
                return Err(Error::input(
                    place,
                    "a target comes twice",
                    "give each target one weight",
                ));
            }
        }
        Ok(Self { targets, weights })
    }

    /// The measured goal of each run.
    pub fn measured(&self, runs: &Runs) -> Vec<f64> {
        let of = |losses: &Vec<f64>| {
            let each = self.targets.iter().zip(&self.weights);
            each.map(|(t, w)| w * losses[*t]).sum()
        };
        runs.losses.iter().map(of).collect()
    }
}

/// A goal's laws, fitted to all runs and to resampled ones.
pub struct Ensemble {
    pub goal: Goal,
    /// By target of the goal.
    pub fitted: Vec<Fitted>,
    /// By resampling and target.
    pub resampled: Vec<Vec<Fitted>>,
}

/// Fits `laws` (one for each target of the goal) to the runs, and to `replicates` resamplings of them.
pub fn ensemble(
    runs: &Runs,
    goal: &Goal,
    laws: &[Law],
    replicates: usize,
    seed: u64,
) -> Result<Ensemble> {
    let each = goal.targets.iter().zip(laws);
    let fitted = each.map(|(target, law)| fit(runs, *target, *law, seed));
    let fitted = fitted.collect::<Result<Vec<_>>>()?;
    let resampled = threads::map(replicates, |replicate| {
        let mut rng = Rng::named(seed, &format!("laws.bootstrap.{replicate}"));
        let n = runs.len() as u64;
        let order: Vec<usize> = (0..n).map(|_| rng.below(n) as usize).collect();
        let some = runs.pick(&order);
        let each = goal.targets.iter().zip(&fitted);
        let refit = |(target, law): (&usize, &Fitted)| {
            law.refit(
                &some.mixtures,
                &some.target(*target),
                seed + replicate as u64,
            )
        };
        each.map(refit).collect::<Result<Vec<_>>>()
    });
    Ok(Ensemble {
        goal: goal.clone(),
        fitted,
        resampled: resampled.into_iter().collect::<Result<_>>()?,
    })
}

impl Ensemble {
    /// The goal of a mixture by the laws of all runs.
    pub fn predict(&self, mixture: &[f64]) -> f64 {
        self.by(&self.fitted).predict(mixture)
    }

    /// The same by each resampling.
    pub fn predict_each(&self, mixture: &[f64]) -> Vec<f64> {
        let each = self.resampled.iter();
        each.map(|laws| self.by(laws).predict(mixture)).collect()
    }

    /// By resampling, the goals of several mixtures.
    pub fn predict_all(&self, mixtures: &[Vec<f64>]) -> Vec<Vec<f64>> {
        threads::map(self.resampled.len(), |i| {
            self.by(&self.resampled[i]).predict_all(mixtures)
        })
    }

    fn by<'a>(&'a self, laws: &'a [Fitted]) -> Weighted<'a> {
        Weighted {
            laws,
            weights: &self.goal.weights,
        }
    }
}

/// A weighted sum of laws.
#[derive(Clone, Copy)]
struct Weighted<'a> {
    laws: &'a [Fitted],
    weights: &'a [f64],
}

impl Weighted<'_> {
    fn predict(self, mixture: &[f64]) -> f64 {
        let each = self.laws.iter().zip(self.weights);
        each.map(|(law, w)| w * law.predict(mixture)).sum()
    }

    fn predict_all(self, mixtures: &[Vec<f64>]) -> Vec<f64> {
        let mut sums = vec![0.0; mixtures.len()];
        for (law, weight) in self.laws.iter().zip(self.weights) {
            let predicted = law.predict_all(mixtures);
            let each = sums.iter_mut().zip(predicted);
            each.for_each(|(sum, loss)| *sum += weight * loss);
        }
        sums
    }

    fn gradient(self, mixture: &[f64]) -> Option<Vec<f64>> {
        let mut sums = vec![0.0; mixture.len()];
        for (law, weight) in self.laws.iter().zip(self.weights) {
            let slopes = law.gradient(mixture)?;
            let each = sums.iter_mut().zip(slopes);
            each.for_each(|(sum, slope)| *sum += weight * slope);
        }
        Some(sums)
    }

    /// The lowest allowed mixture, from these points.
    fn lowest(self, bounds: &Bounds, points: &[Vec<f64>]) -> Vec<f64> {
        let predicted = self.predict_all(points);
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|a, b| predicted[*a].total_cmp(&predicted[*b]));
        if self.laws.iter().any(|law| law.law() == Law::Trees) {
            return self.gathered(bounds, points, &predicted, &order);
        }
        let followed = order[..FOLLOWED.min(order.len())].iter();
        let ends = followed.map(|i| self.downhill(bounds, &points[*i]));
        let best = ends.min_by(|a, b| self.predict(a).total_cmp(&self.predict(b)));
        best.unwrap_or_else(|| points[order[0]].clone())
    }

    /// Where draws end up that are made anew around the mean of the best ones, ever tighter (the
    /// cross-entropy method): the lowest mean or draw on the way.
    fn gathered(
        self,
        bounds: &Bounds,
        points: &[Vec<f64>],
        predicted: &[f64],
        order: &[usize],
    ) -> Vec<f64> {
        let mut best = (predicted[order[0]], points[order[0]].clone());
        let mean_of = |points: &[Vec<f64>], order: &[usize]| -> Vec<f64> {
            let some = &order[..(points.len() / 100).clamp(1, points.len())];
            let sum = |j: usize| some.iter().map(|i| points[*i][j]).sum::<f64>();
            let n_domains = points[0].len();
            (0..n_domains).map(|j| sum(j) / some.len() as f64).collect()
        };
        let mut middle = mean_of(points, order);
        let mut rng = Rng::named(0, "laws.gathered");
        for round in 0..ROUNDS {
            // Shares of the way to a loose draw: large steps first.
            let step = 0.5f64.powi(round + 1);
            let drawn = draws(bounds, &middle, DRAWS_OF_RESAMPLED, &mut rng);
            let near: Vec<Vec<f64>> = drawn
                .iter()
                .map(|to| {
                    let each = middle.iter().zip(to);
                    let between: Vec<f64> = each.map(|(a, b)| a + step * (b - a)).collect();
                    bounds.project(&between)
                })
                .collect();
            let losses = self.predict_all(&near);
            let mut order: Vec<usize> = (0..near.len()).collect();
            order.sort_by(|a, b| losses[*a].total_cmp(&losses[*b]));
            middle = mean_of(&near, &order);
            let own = self.predict(&middle);
            for (loss, point) in [(losses[order[0]], &near[order[0]]), (own, &middle)] {
                if loss < best.0 {
                    best = (loss, point.clone());
                }
            }
        }
        best.1
    }

    /// Projected gradient steps from an allowed mixture, until they lead nowhere.
    fn downhill(self, bounds: &Bounds, from: &[f64]) -> Vec<f64> {
        let (mut here, mut value) = (from.to_vec(), self.predict(from));
        let mut length = 0.1;
        for _ in 0..500 {
            let Some(slopes) = self.gradient(&here) else {
                break;
            };
            let mean = slopes.iter().sum::<f64>() / slopes.len() as f64;
            let steepest = slopes
                .iter()
                .fold(1e-300, |s: f64, x| s.max((x - mean).abs()));
            let moved = |length: f64| {
                let each = here.iter().zip(&slopes);
                let to: Vec<f64> = each
                    .map(|(w, s)| w - length * (s - mean) / steepest)
                    .collect();
                bounds.project(&to)
            };
            let next = loop {
                let to = moved(length);
                let lower = self.predict(&to);
                if lower < value {
                    break Some((to, lower));
                }
                length *= 0.5;
                if length < 1e-8 {
                    break None;
                }
            };
            let Some((to, lower)) = next else { break };
            (here, value) = (to, lower);
            length = (2.0 * length).min(1.0);
        }
        here
    }
}

/// A number with its interval over resampled runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Interval {
    pub(super) fn of(value: f64, resampled: &[f64]) -> Self {
        Self::at(value, resampled, CONFIDENCE)
    }

    /// The same at another confidence.
    pub(super) fn at(value: f64, resampled: &[f64], confidence: f64) -> Self {
        let (low, high) = middle(resampled, confidence).unwrap_or((value, value));
        Self { value, low, high }
    }
}

/// One domain of the best mixture.
#[derive(Debug, Clone, Serialize)]
pub struct Share {
    pub domain: String,
    #[serde(flatten)]
    pub weight: Interval,
    pub prior: f64,
}

/// Another mixture and what is predicted of it.
#[derive(Debug, Clone, Serialize)]
pub struct Beside {
    pub name: String,
    pub mixture: Vec<f64>,
    pub predicted: Interval,
    /// How much higher than the best mixture's.
    pub above_best: Interval,
    pub within_bounds: bool,
}

/// The mixture that is predicted best.
#[derive(Debug, Clone, Serialize)]
pub struct Best {
    pub mixture: Vec<Share>,
    pub predicted: Interval,
    pub beside: Vec<Beside>,
    /// The share of tokens in which the nearest run differs: far from all runs a law is a guess.
    pub nearest_run: f64,
    pub confidence: f64,
    pub replicates: usize,
}

impl Best {
    pub fn weights(&self) -> Vec<f64> {
        self.mixture
            .iter()
            .map(|share| share.weight.value)
            .collect()
    }
}

/// Where to look for a mixture, and what to put beside it.
pub struct Search<'a> {
    pub bounds: &'a Bounds,
    /// The middle of the search.
    pub prior: &'a [f64],
    /// The natural mixture, in proportion to sizes, where these are known.
    pub natural: Option<&'a [f64]>,
    pub seed: u64,
}

/// Searches the best mixture, with intervals, beside uniform, natural, the best single domain and
/// the best run.
pub fn best_mix(runs: &Runs, ensemble: &Ensemble, search: &Search) -> Best {
    let mut rng = Rng::named(search.seed, "laws.draws");
    // The runs themselves, too: what was measured to be good is worth a look.
    let allowed = runs.mixtures.iter().filter(|m| search.bounds.hold(m));
    let mut points: Vec<Vec<f64>> = allowed.cloned().collect();
    let n_few = points.len() + DRAWS_OF_RESAMPLED;
    points.extend(draws(search.bounds, search.prior, DRAWS, &mut rng));
    let best = ensemble.by(&ensemble.fitted).lowest(search.bounds, &points);
    let few = &points[..n_few];
    let others = threads::map(ensemble.resampled.len(), |i| {
        ensemble
            .by(&ensemble.resampled[i])
            .lowest(search.bounds, few)
    });
    let shares = runs.domains.iter().enumerate().map(|(j, domain)| Share {
        domain: domain.clone(),
        weight: Interval::of(best[j], &others.iter().map(|m| m[j]).collect::<Vec<_>>()),
        prior: search.prior[j],
    });
    let nearest = runs.mixtures.iter().map(|m| distance(m, &best));
    let each = ensemble.predict_each(&best);
    let value = ensemble.predict(&best);
    let beside = rivals(runs, ensemble, search.natural).into_iter();
    Best {
        mixture: shares.collect(),
        predicted: Interval::of(value, &each),
        beside: beside
            .map(|(name, mixture)| {
                let (own, of_each) = (ensemble.predict(&mixture), ensemble.predict_each(&mixture));
                let above: Vec<f64> = of_each.iter().zip(&each).map(|(a, b)| a - b).collect();
                Beside {
                    name,
                    predicted: Interval::of(own, &of_each),
                    above_best: Interval::of(own - value, &above),
                    within_bounds: search.bounds.hold(&mixture),
                    mixture,
                }
            })
            .collect(),
        nearest_run: nearest.fold(f64::INFINITY, f64::min),
        confidence: CONFIDENCE,
        replicates: ensemble.resampled.len(),
    }
}

/// Uniform, natural, the domain that is predicted best on its own, the run that was best.
fn rivals(runs: &Runs, ensemble: &Ensemble, natural: Option<&[f64]>) -> Vec<(String, Vec<f64>)> {
    let n = runs.domains.len();
    let mut rivals = vec![("uniform".to_string(), vec![1.0 / n as f64; n])];
    rivals.extend(natural.map(|natural| ("natural".to_string(), natural.to_vec())));
    let single = |j: usize| -> Vec<f64> { (0..n).map(|i| f64::from(u8::from(i == j))).collect() };
    let of = |j: &usize| ensemble.predict(&single(*j));
    if let Some(j) = (0..n).min_by(|a, b| of(a).total_cmp(&of(b))) {
        rivals.push((format!("{} alone", runs.domains[j]), single(j)));
    }
    let measured = ensemble.goal.measured(runs);
    let lowest = (0..runs.len()).min_by(|a, b| measured[*a].total_cmp(&measured[*b]));
    rivals.extend(lowest.map(|i| ("best run".to_string(), runs.mixtures[i].clone())));
    rivals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::simplex::dirichlet;

    /// Losses of two targets, each helped by its own domain; a third domain helps neither.
    fn runs(noise: f64) -> Runs {
        let mut rng = Rng::named(5, "best");
        let names = |all: [&str; 3]| all.map(String::from).to_vec();
        let mixtures: Vec<Vec<f64>> = (0..80).map(|_| dirichlet(&mut rng, &[0.7; 3])).collect();
        let losses = mixtures.iter().map(|r| {
            let loss = |j: usize| 2.0 + (1.0 - 3.0 * r[j]).exp();
            vec![
                loss(0) + noise * rng.normal(),
                loss(1) + noise * rng.normal(),
            ]
        });
        let losses = losses.collect();
        let targets = vec!["x".into(), "y".into()];
        Runs::new(names(["a", "b", "c"]), mixtures, targets, losses).unwrap()
    }

    fn found(goal: &[(usize, f64)], bounds: &Bounds, law: Law) -> Best {
        let runs = runs(0.01);
        let goal = Goal::new("goal", goal).unwrap();
        let laws = vec![law; goal.targets.len()];
        let ensemble = ensemble(&runs, &goal, &laws, 30, 1).unwrap();
        let search = Search {
            bounds,
            prior: &[1.0 / 3.0; 3],
            natural: Some(&[0.1, 0.2, 0.7]),
            seed: 1,
        };
        best_mix(&runs, &ensemble, &search)
    }

    #[test]
    fn the_best_mixture_of_a_planted_law_is_found_and_lies_in_its_interval() {
        // By symmetry half and half.
        let both = found(&[(0, 1.0), (1, 1.0)], &Bounds::free(3), Law::LogLinear);
        let weights = both.weights();
        assert!(
            (weights[0] - 0.5).abs() < 0.02 && weights[2] < 1e-6,
            "{weights:?}"
        );
        for (share, truth) in both.mixture.iter().zip([0.5, 0.5, 0.0]) {
            let Interval { low, high, .. } = share.weight;
            assert!(low - 0.01 <= truth && truth <= high + 0.01, "{share:?}");
        }
        let truth = 2.0 + (1.0f64 - 1.5).exp();
        assert!((both.predicted.value - truth).abs() < 0.02);
        let names: Vec<&str> = both.beside.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(
            (names[0], names[1], names[3]),
            ("uniform", "natural", "best run")
        );
        assert!(names[2] == "a alone" || names[2] == "b alone");
        for other in &both.beside {
            assert!(other.above_best.value > -1e-9, "{other:?}");
        }
        assert!(
            both.beside[0].above_best.low > 0.0,
            "uniform is worse for sure"
        );
        // Three to one: the lesser target's domain has less.
        let one = found(&[(0, 3.0), (1, 1.0)], &Bounds::free(3), Law::LogLinear);
        let expected = 0.5 + 3f64.ln() / 6.0;
        assert!((one.weights()[0] - expected).abs() < 0.02);
    }

    #[test]
    fn bounds_hold_for_every_law() {
        let bounds = Bounds {
            low: vec![0.0, 0.1, 0.2],
            high: vec![0.45, 1.0, 1.0],
        };
        for law in [Law::Linear, Law::LogLinear, Law::Quadratic] {
            let best = found(&[(0, 1.0)], &bounds, law);
            let weights = best.weights();
            assert!(bounds.hold(&weights), "{law}: {weights:?}");
            assert!((weights[0] - 0.45).abs() < 1e-6, "{law}: {weights:?}");
            assert!(!best.beside[2].within_bounds);
        }
    }

    #[test]
    fn goals_are_weighted_and_checked() {
        let runs = runs(0.0);
        let goal = Goal::new("g", &[(1, 3.0), (0, 1.0)]).unwrap();
        let expected = 0.75 * runs.losses[4][1] + 0.25 * runs.losses[4][0];
        assert!((goal.measured(&runs)[4] - expected).abs() < 1e-12);
        for wrong in [
            vec![(0, -1.0), (1, 2.0)],
            vec![(0, 0.0)],
            vec![(0, 1.0), (0, 1.0)],
        ] {
            assert!(Goal::new("g", &wrong).is_err());
        }
    }
}
