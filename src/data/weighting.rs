//! Where a mixture's weights come from: given, or computed from the sizes of its corpora; and
//! weights kept between bounds. Pure functions of plain numbers.
//!
//! Sizes are training tokens. Temperature: p ∝ size^(1/τ), so τ = 1 is natural and a large τ nearly
//! uniform. UniMax (Chung et al. 2023, arXiv 2304.09151): as even as a cap on each corpus's epochs
//! allows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the weights of a mixture, and of each of its phases, come about. All but the first read no
/// weights; but a corpus of weight 0 stays out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// As they are written.
    #[default]
    Given,
    /// The same for every corpus.
    Uniform,
    /// Proportional to the corpora's sizes.
    Natural,
    /// Proportional to size^(1/τ), τ above 0.
    Temperature(f64),
    /// Uniform, but no corpus is gone through more often than this.
    UnimaxEpochs(f64),
}

impl Weighting {
    pub fn is_given(&self) -> bool {
        *self == Self::Given
    }

    /// Weights that sum to 1, for corpora of these sizes: of those whose given weight is positive.
    /// UniMax's are for a run of `budget` tokens. All zeros when no given weight is positive.
    pub fn weights(&self, given: &[f64], sizes: &[f64], budget: f64) -> Vec<f64> {
        let there: Vec<usize> = (0..given.len()).filter(|i| given[*i] > 0.0).collect();
        let sizes: Vec<f64> = there.iter().map(|i| sizes[*i]).collect();
        let weights = match self {
            Self::Given => proportional(&there.iter().map(|i| given[*i]).collect::<Vec<_>>()),
            Self::Uniform => uniform(sizes.len()),
            Self::Natural => natural(&sizes),
            Self::Temperature(tau) => temperature(&sizes, *tau),
            Self::UnimaxEpochs(epochs) => unimax(&sizes, budget, *epochs),
        };
        let mut all = vec![0.0; given.len()];
        there.iter().zip(weights).for_each(|(i, w)| all[*i] = w);
        all
    }
}

/// Equal weights for `n` corpora.
pub fn uniform(n: usize) -> Vec<f64> {
    vec![1.0 / n.max(1) as f64; n]
}

/// Weights proportional to sizes.
pub fn natural(sizes: &[f64]) -> Vec<f64> {
    proportional(sizes)
}

/// Weights proportional to size^(1/τ), for τ above 0; an infinite one gives equal weights.
pub fn temperature(sizes: &[f64], tau: f64) -> Vec<f64> {
    // Of the largest, so that no power is too large to hold.
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    let powers = sizes
        .iter()
        .map(|size| libm::pow(size / largest, 1.0 / tau));
    proportional(&powers.collect::<Vec<_>>())
}

/// UniMax's weights for a run of `budget` tokens: from the smallest corpus on, each gets its even
/// share of what is left, or `epochs` passes over it if those are fewer tokens. Where all corpora are
/// at their caps, the budget is not met ([`unimax_missing`]) and weights are proportional to sizes.
pub fn unimax(sizes: &[f64], budget: f64, epochs: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by(|a, b| sizes[*a].total_cmp(&sizes[*b]));
    let mut left = budget;
    let mut tokens = vec![0.0; sizes.len()];
    for (rank, idx) in order.iter().enumerate() {
        let even = left / (sizes.len() - rank) as f64;
        tokens[*idx] = even.min(epochs * sizes[*idx]);
        left -= tokens[*idx];
    }
    proportional(&tokens)
}

/// Tokens of a budget that UniMax's caps leave without a corpus: 0 where they can be kept.
pub fn unimax_missing(sizes: &[f64], budget: f64, epochs: f64) -> f64 {
    (budget - epochs * sizes.iter().sum::<f64>()).max(0.0)
}

/// Weights divided by their sum; as they are if that is 0.
pub fn proportional(weights: &[f64]) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    match sum > 0.0 {
        true => weights.iter().map(|weight| weight / sum).collect(),
        false => weights.to_vec(),
    }
}

/// Why weights can't be kept between their bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unmet {
    /// The least weights sum to more than 1, by this much.
    Least(f64),
    /// The largest weights sum to less than 1, by this much.
    Most(f64),
    /// The least weight of the corpus with this index is above its largest.
    Crossed(usize),
}

/// Weights that sum to 1, none below its least and none above its most, else in the proportions of
/// `weights` (water-filling): what a capped corpus gives up goes to the others in proportion, and
/// what a raised one takes comes from them likewise. A corpus of weight 0 has its least.
pub fn bounded(weights: &[f64], least: &[f64], most: &[f64]) -> Result<Vec<f64>, Unmet> {
    if let Some(idx) = (0..weights.len()).find(|i| least[*i] > most[*i]) {
        return Err(Unmet::Crossed(idx));
    }
    let at = |idx: usize, factor: f64| match weights[idx] > 0.0 {
        true => (factor * weights[idx]).clamp(least[idx], most[idx]),
        false => least[idx],
    };
    let sum = |factor: f64| (0..weights.len()).map(|idx| at(idx, factor)).sum::<f64>();
    const ROUNDING: f64 = 1e-12;
    let (lowest, highest) = (sum(0.0), sum(f64::MAX));
    if lowest > 1.0 + ROUNDING {
        return Err(Unmet::Least(lowest - 1.0));
    }
    if highest < 1.0 - ROUNDING {
        return Err(Unmet::Most(1.0 - highest));
    }
    // The sum grows with the factor in straight lines between where a corpus meets a bound.
    let positive = (0..weights.len()).filter(|idx| weights[*idx] > 0.0);
    let mut edges: Vec<f64> = positive
        .flat_map(|idx| [least[idx] / weights[idx], most[idx] / weights[idx]])
        .filter(|edge| edge.is_finite())
        .collect();
    edges.sort_by(f64::total_cmp);
    let above = edges.partition_point(|edge| sum(*edge) < 1.0);
    let below = above.checked_sub(1).map_or(0.0, |idx| edges[idx]);
    let inside = match edges.get(above) {
        Some(edge) => 0.5 * (below + edge),
        None => 2.0 * below + 1.0,
    };
    let free = |idx: &usize| {
        let scaled = inside * weights[*idx];
        weights[*idx] > 0.0 && least[*idx] < scaled && scaled < most[*idx]
    };
    let (free, fixed): (Vec<usize>, Vec<usize>) = (0..weights.len()).partition(free);
    let held: f64 = fixed.iter().map(|idx| at(*idx, inside)).sum();
    let shared: f64 = free.iter().map(|idx| weights[*idx]).sum();
    let factor = match shared > 0.0 {
        true => ((1.0 - held) / shared).max(0.0),
        false => inside,
    };
    let one = |idx: usize| match free.contains(&idx) {
        true => at(idx, factor),
        false => at(idx, inside),
    };
    Ok((0..weights.len()).map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn weights_follow_sizes_by_the_power_that_the_temperature_says() {
        let sizes = [1e6, 4e6, 16e6];
        assert!(close(
            &natural(&sizes),
            &[1.0 / 21.0, 4.0 / 21.0, 16.0 / 21.0]
        ));
        assert!(close(&temperature(&sizes, 1.0), &natural(&sizes)));
        assert!(close(
            &temperature(&sizes, 2.0),
            &[1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]
        ));
        assert!(close(&temperature(&sizes, f64::INFINITY), &uniform(3)));
        // Far below 1 the largest takes all, and no power overflows.
        assert!(close(&temperature(&sizes, 1e-3), &[0.0, 0.0, 1.0]));
    }

    #[test]
    fn unimax_gives_each_its_even_share_or_its_epochs() {
        // 100 tokens: 10 at most for the first, 45 for each of the others, of which one has 40.
        let weights = unimax(&[10.0, 400.0, 40.0], 100.0, 1.0);
        assert!(close(&weights, &[0.1, 0.5, 0.4]), "{weights:?}");
        assert!(close(
            &unimax(&[10.0, 400.0, 40.0], 100.0, 4.0),
            &uniform(3)
        ));
        assert_eq!(unimax_missing(&[10.0, 20.0], 100.0, 2.0), 40.0);
        assert_eq!(unimax_missing(&[10.0, 20.0], 60.0, 2.0), 0.0);
    }

    #[test]
    fn a_corpus_of_weight_0_stays_out_whatever_the_weighting() {
        let (given, sizes) = ([2.0, 0.0, 1.0], [10.0, 20.0, 30.0]);
        let of = |weighting: Weighting| weighting.weights(&given, &sizes, 20.0);
        assert!(close(&of(Weighting::Given), &[2.0 / 3.0, 0.0, 1.0 / 3.0]));
        assert!(close(&of(Weighting::Uniform), &[0.5, 0.0, 0.5]));
        assert!(close(&of(Weighting::Natural), &[0.25, 0.0, 0.75]));
        assert!(close(&of(Weighting::Temperature(1.0)), &[0.25, 0.0, 0.75]));
        assert!(close(&of(Weighting::UnimaxEpochs(0.5)), &[0.25, 0.0, 0.75]));
    }

    #[test]
    fn what_a_cap_takes_from_one_goes_to_the_others_in_proportion() {
        let none = [0.0; 3];
        let capped = bounded(&[0.6, 0.3, 0.1], &none, &[0.2, 1.0, 1.0]).unwrap();
        assert!(close(&capped, &[0.2, 0.6, 0.2]), "{capped:?}");
        // The freed weight takes the second over its own cap too.
        let capped = bounded(&[0.6, 0.3, 0.1], &none, &[0.2, 0.5, 1.0]).unwrap();
        assert!(close(&capped, &[0.2, 0.5, 0.3]), "{capped:?}");
        let raised = bounded(&[0.9, 0.1, 0.0], &[0.1; 3], &[1.0; 3]).unwrap();
        assert!(close(&raised, &[0.8, 0.1, 0.1]), "{raised:?}");
        assert_eq!(
            bounded(&[0.5, 0.5], &[0.0; 2], &[0.25, 0.5]),
            Err(Unmet::Most(0.25))
        );
        assert_eq!(
            bounded(&[0.5, 0.5], &[0.75; 2], &[1.0; 2]),
            Err(Unmet::Least(0.5))
        );
        assert_eq!(
            bounded(&[0.5, 0.5], &[0.0, 0.3], &[1.0, 0.2]),
            Err(Unmet::Crossed(1))
        );
    }

    /// Random weights, bounds that some weights meet, and what comes of them.
    #[test]
    fn bounded_weights_sum_to_1_keep_their_bounds_and_else_their_proportions() {
        let mut rng = Rng::named(7, "test.bounded");
        let mut met = 0;
        for _ in 0..2000 {
            let n = 1 + rng.below(6) as usize;
            let weights: Vec<f64> = (0..n).map(|_| rng.uniform()).collect();
            let weights = proportional(&weights);
            let least: Vec<f64> = (0..n).map(|_| 0.3 * rng.uniform() / n as f64).collect();
            let most: Vec<f64> = least.iter().map(|low| low + rng.uniform()).collect();
            let Ok(kept) = bounded(&weights, &least, &most) else {
                assert!(most.iter().sum::<f64>() < 1.0);
                continue;
            };
            met += 1;
            assert!((kept.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{kept:?}");
            let mut factors = Vec::new();
            for idx in 0..n {
                assert!(least[idx] <= kept[idx] && kept[idx] <= most[idx]);
                if least[idx] < kept[idx] && kept[idx] < most[idx] {
                    factors.push(kept[idx] / weights[idx]);
                }
            }
            let factor = factors.first().copied().unwrap_or(1.0);
            assert!(factors.iter().all(|f| (f / factor - 1.0).abs() < 1e-9));
        }
        assert!(met > 1000, "{met}");
    }

    #[test]
    fn unimax_is_an_even_mixture_with_caps() {
        let mut rng = Rng::named(8, "test.unimax");
        for _ in 0..500 {
            let n = 1 + rng.below(8) as usize;
            let sizes: Vec<f64> = (0..n).map(|_| 1.0 + 1e6 * rng.uniform()).collect();
            let (budget, epochs) = (1e6 * rng.uniform(), 0.1 + 5.0 * rng.uniform());
            let most: Vec<f64> = sizes.iter().map(|size| epochs * size / budget).collect();
            match bounded(&uniform(n), &vec![0.0; n], &most) {
                Ok(even) => {
                    let weights = unimax(&sizes, budget, epochs);
                    let near = even.iter().zip(&weights).all(|(a, b)| (a - b).abs() < 1e-9);
                    assert!(near, "{even:?} {weights:?}");
                }
                Err(_) => assert!(unimax_missing(&sizes, budget, epochs) > 0.0),
            }
        }
    }
}
