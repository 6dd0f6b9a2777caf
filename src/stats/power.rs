//! What a design can see: power of the two-sided paired t-test.

use super::paired::t_quantile;
use statrs::{
    distribution::{ChiSquared, ContinuousCDF, Normal},
    function::gamma::ln_gamma,
};

/// The chance that a two-sided paired t-test of `n` pairs at level `alpha` rejects, when the true
/// mean difference is `effect` standard deviations of the differences.
///
/// Given the sample variance the mean is normal, so the power is one integral over the variance.
pub fn power(n: usize, effect: f64, alpha: f64) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let critical = t_quantile(n - 1, 1.0 - alpha / 2.0);
    let shift = effect * (n as f64).sqrt();
    let kept = |s: f64| normal_between(-critical * s - shift, critical * s - shift);
    sample_sds(n - 1)
        .into_iter()
        .map(|(s, weight)| weight * (1.0 - kept(s)))
        .sum()
}

/// Standard deviations that a sample with `df` degrees of freedom may have when the true one is 1,
/// with their weights: the midpoint rule over their density.
pub(super) fn sample_sds(df: usize) -> Vec<(f64, f64)> {
    const STEPS: usize = 300;
    let df = df as f64;
    // ln of 2·(df/2)^(df/2)/Γ(df/2), the density's constant.
    let constant = 2.0_f64.ln() + 0.5 * df * (0.5 * df).ln() - ln_gamma(0.5 * df);
    // Nothing lies further from 1 than this. Evenly in the cube root above the bottom: what is
    // integrated falls steeply at zero when there are few degrees of freedom.
    let (bottom, top) = ((1.0 - 8.0 / df.sqrt()).max(0.0), 1.0 + 8.0 / df.sqrt());
    (0..STEPS)
        .map(|i| {
            let u = (i as f64 + 0.5) / STEPS as f64;
            let s = bottom + (top - bottom) * u.powi(3);
            let width = (top - bottom) * 3.0 * u * u / STEPS as f64;
            let density = (constant + (df - 1.0) * s.ln() - 0.5 * df * s * s).exp();
            (s, density * width)
        })
        // Most of the range is there for few degrees of freedom alone.
        .filter(|(_, weight)| *weight > 1e-14)
        .collect()
}

/// The chance that a standard normal lies between two bounds.
pub(super) fn normal_between(low: f64, high: f64) -> f64 {
    let normal = Normal::standard();
    match low > 0.0 {
        true => normal.sf(low) - normal.sf(high),
        false => normal.cdf(high) - normal.cdf(low),
    }
}

/// The smallest effect, in standard deviations of the differences, that `n` pairs see with chance
/// `wanted` at level `alpha`. Infinite for fewer than two pairs.
pub fn smallest_effect(n: usize, alpha: f64, wanted: f64) -> f64 {
    if n < 2 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while power(n, high, alpha) < wanted && high < 1e6 {
        high *= 2.0;
    }
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if power(n, middle, alpha) < wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The fewest pairs that see `effect` with chance `wanted`, up to `most`; `None` beyond.
pub fn pairs_needed(effect: f64, alpha: f64, wanted: f64, most: usize) -> Option<usize> {
    if power(most, effect, alpha) < wanted {
        return None;
    }
    let (mut low, mut high) = (1, most);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if power(middle, effect, alpha) < wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

/// The standard deviation that a sample of `n` values with this one is still likely to come from,
/// at the low end: the lower 95% confidence limit, by the chi-squared distribution.
pub fn lowest_sd(sd: f64, n: usize) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let df = (n - 1) as f64;
    let chi_squared = ChiSquared::new(df).expect("one degree of freedom or more");
    sd * (df / chi_squared.inverse_cdf(0.95)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rng::Rng, stats::paired::paired};

    #[test]
    fn smallest_effects_agree_with_simulated_ones() {
        // Simulated elsewhere, 80% power at 5%, in standard deviations of the differences.
        for (n, effect) in [
            (3, 3.27),
            (4, 2.12),
            (5, 1.68),
            (6, 1.43),
            (8, 1.16),
            (10, 1.00),
            (16, 0.75),
        ] {
            let ours = smallest_effect(n, 0.05, 0.8);
            assert!((ours - effect).abs() < 0.02, "n = {n}: {ours}");
        }
    }

    #[test]
    fn power_is_the_share_of_simulated_studies_that_reject() {
        let mut rng = Rng::named(5, "power");
        for (n, effect) in [(4, 1.5), (8, 1.0), (12, 0.4)] {
            let studies = 20_000;
            let rejected = (0..studies)
                .filter(|_| {
                    let differences: Vec<f64> = (0..n).map(|_| effect + rng.normal()).collect();
                    paired(&differences, 0.95).unwrap().p < 0.05
                })
                .count();
            let (share, exact) = (rejected as f64 / f64::from(studies), power(n, effect, 0.05));
            let three_errors = 3.0 * (exact * (1.0 - exact) / f64::from(studies)).sqrt();
            assert!(
                (share - exact).abs() < three_errors,
                "n = {n}: {share} {exact}"
            );
        }
    }

    #[test]
    fn the_level_is_the_power_at_no_effect_and_pairs_needed_inverts_power() {
        for n in [2, 3, 8, 40] {
            assert!(
                (power(n, 0.0, 0.05) - 0.05).abs() < 1e-3,
                "{n}: {}",
                power(n, 0.0, 0.05)
            );
        }
        let n = pairs_needed(1.0, 0.05, 0.8, 100).unwrap();
        assert_eq!(n, 10);
        assert!(pairs_needed(0.01, 0.05, 0.8, 100).is_none());
    }

    #[test]
    fn one_sample_in_twenty_is_so_wide_that_its_lowest_sd_is_above_the_true_one() {
        let mut rng = Rng::named(6, "lowest_sd");
        let samples = 20_000;
        let above = (0..samples)
            .filter(|_| {
                let values: Vec<f64> = (0..4).map(|_| rng.normal()).collect();
                lowest_sd(paired(&values, 0.95).unwrap().sd, 4) > 1.0
            })
            .count();
        assert!(
            (above as f64 / f64::from(samples) - 0.05).abs() < 0.005,
            "{above}"
        );
    }
}
