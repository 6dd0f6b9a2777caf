//! Deciding while seeds come in: the t-mixture e-process and its confidence sequence.
//!
//! Differences are Gaussian with unknown mean and variance. For a mean m in question, the likelihood
//! ratio of the scale-free data under an effect of δ standard deviations against none, averaged over
//! δ ~ N(0, 1/g), is after n differences with t = √n (x̄ − m)/s
//!
//! ```text
//! e(m) = √r · ((1 + t²/ν) / (1 + r·t²/ν))^((ν+1)/2)     r = g/(g + n), ν = n − 1
//! ```
//!
//! a test martingale with mean 1 when m is the truth. So it reaches 1/α ever, over all looks
//! together, with chance α at most (Ville), and the m where it has not are a confidence sequence:
//! x̄ ± radius·s/√n, right at every n at once with 1 − α. Sources: Wang & Ramdas, "Anytime-valid
//! t-tests and confidence sequences for Gaussian means with unknown variance" (arXiv 2310.03722),
//! who put a Gaussian in the place of the flat mixture of Lai (1976); the form with g and ν is that
//! of Lindon et al., "Anytime-valid linear models and regression adjusted causal inference in
//! randomized experiments" (arXiv 2210.08589), whose published example is one of our tests.
//!
//! The martingale lives in the *scale-free* view of the data: e at a stop that looks at the scale,
//! as "inside the margin" does, need not have mean 1. [`Look::evidence`] is what may be handed on.

use super::{decision::Decision, paired::Moments};
use serde::{Deserialize, Serialize};

/// The prior's precision g, so effects of √3 standard deviations are expected. Chosen on purpose:
/// with a cap of 22 pairs and α = .05 it needs the fewest seeds on average over effects of 1, 1.5 and
/// 2σ (`windtunnel calibrate --fast` prints the table). Fixed before any study, as it must be.
pub const PRECISION: f64 = 1.0 / 3.0;

/// Natural logarithm of the e-value of `n` observations whose t statistic, with `df` degrees of
/// freedom, has this square. For paired differences `df` is n − 1; a regression has fewer.
pub fn log_e(t_squared: f64, n: usize, df: usize, precision: f64) -> f64 {
    let (df, r) = (df as f64, shrinkage(n, precision));
    // As t² grows the ratio tends to 1/r, and an infinite t must not make ∞/∞.
    let ratio = if t_squared.is_infinite() {
        -r.ln()
    } else {
        (t_squared / df).ln_1p() - (r * t_squared / df).ln_1p()
    };
    0.5 * r.ln() + 0.5 * (df + 1.0) * ratio
}

/// Half width of the confidence sequence at `n` in standard errors s/√n; infinite while no data
/// could exclude anything.
pub fn radius(n: usize, df: usize, precision: f64, alpha: f64) -> f64 {
    let r = shrinkage(n, precision);
    let c = (alpha * alpha * r).powf(1.0 / (df as f64 + 1.0));
    if df == 0 || c <= r {
        return f64::INFINITY;
    }
    (df as f64 * (1.0 - c) / (c - r)).sqrt()
}

fn shrinkage(n: usize, precision: f64) -> f64 {
    precision / (precision + n as f64)
}

/// |S_n| at which a sum of `n` values with *known* standard deviation crosses the Gaussian mixture
/// boundary σ√((n+ρ) ln((n+ρ)/(ρα²))) (Robbins 1970; Howard et al., "Time-uniform, nonparametric,
/// nonasymptotic confidence sequences", arXiv 1810.08240). Verdicts never use it, for an arm has a
/// variance of its own; it checks the simulations.
pub fn known_sigma_boundary(n: usize, sigma: f64, rho: f64, alpha: f64) -> f64 {
    let v = n as f64 + rho;
    sigma * (v * (v / (rho * alpha * alpha)).ln()).sqrt()
}

/// The anytime-valid rule for one arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Anytime {
    /// Chance of any false claim over all looks together; α/k for one of k arms.
    pub alpha: f64,
    /// The smallest effect worth acting on.
    pub margin: f64,
    /// Of the prior over standardised effects.
    pub precision: f64,
}

/// What one look sees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Look {
    pub n: usize,
    pub mean: f64,
    /// Standard deviation of the differences, n − 1 in the denominator.
    pub sd: f64,
    /// Natural logarithm of the e-value against a mean of zero.
    pub log_e: f64,
    /// The confidence sequence at this n; `None` while it is the whole line.
    pub interval: Option<(f64, f64)>,
    pub decision: Decision,
}

impl Anytime {
    pub fn new(alpha: f64, margin: f64) -> Self {
        Self {
            alpha,
            margin,
            precision: PRECISION,
        }
    }

    /// The look at all of these differences; what it decides does not depend on earlier looks.
    pub fn look(&self, differences: &[f64]) -> Look {
        self.at(&Moments::of(differences))
    }

    /// Every look from the second pair on, up to the first that decides: what a study that looked
    /// after each pair did, made again from its differences.
    pub fn replay(&self, differences: &[f64]) -> Vec<Look> {
        let mut looks = Vec::new();
        for n in 2..=differences.len() {
            let look = self.look(&differences[..n]);
            looks.push(look);
            if look.decision != Decision::Continue {
                break;
            }
        }
        looks
    }

    fn at(&self, seen: &Moments) -> Look {
        let n = seen.n;
        let df = n.saturating_sub(1);
        let sd = seen.sd();
        let radius = radius(n, df, self.precision, self.alpha);
        let interval = radius.is_finite().then(|| {
            let half = radius * seen.standard_error();
            (seen.mean - half, seen.mean + half)
        });
        Look {
            n,
            mean: seen.mean,
            sd,
            log_e: match df {
                0 => 0.0,
                _ => log_e(seen.t_squared(), n, df, self.precision),
            },
            interval,
            decision: interval.map_or(Decision::Continue, |(low, high)| {
                Decision::of_interval(low, high, self.margin)
            }),
        }
    }
}

impl Look {
    /// The logarithm of an e-value that a campaign may use, whatever rule stopped the study: zero
    /// evidence (−∞, here `None`) when it stopped as equivalent. A stop at a scale-free event, be it
    /// e ≥ 1/α or the budget, keeps its mean of 1 at most under the null; a stop at an event that
    /// looks at the scale could not raise it, because it counts as nothing.
    pub fn evidence(&self) -> Option<f64> {
        (self.decision != Decision::Equivalent).then_some(self.log_e)
    }
}

/// The half widths of [`radius`] for paired differences, computed once for many simulated looks.
#[derive(Debug, Clone)]
pub struct Radii(Vec<f64>);

impl Radii {
    /// For up to `most` pairs.
    pub fn new(rule: &Anytime, most: usize) -> Self {
        let radius = |n: usize| radius(n, n.saturating_sub(1), rule.precision, rule.alpha);
        Self((0..=most).map(radius).collect())
    }

    /// What [`Anytime::look`] decides.
    pub fn decide(&self, seen: &Moments, margin: f64) -> Decision {
        let radius = self.0[seen.n];
        if radius.is_infinite() {
            return Decision::Continue;
        }
        let half = radius * seen.standard_error();
        Decision::of_interval(seen.mean - half, seen.mean + half, margin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const RULE: Anytime = Anytime {
        alpha: 0.05,
        margin: 0.5,
        precision: PRECISION,
    };

    fn sample(rng: &mut Rng, n: usize, mean: f64) -> Vec<f64> {
        (0..n).map(|_| mean + rng.normal()).collect()
    }

    #[test]
    fn zero_leaves_the_sequence_exactly_when_the_e_value_reaches_one_over_alpha() {
        let mut rng = Rng::named(1, "duality");
        let mut left = 0;
        for i in 0..2000 {
            let look = RULE.look(&sample(&mut rng, 2 + i % 20, 1.0));
            let outside = look
                .interval
                .is_some_and(|(low, high)| low > 0.0 || high < 0.0);
            assert_eq!(outside, look.log_e >= -RULE.alpha.ln(), "{look:?}");
            left += usize::from(outside);
        }
        assert!((200..1800).contains(&left), "{left}");
    }

    #[test]
    fn the_e_value_has_mean_one_under_the_null() {
        // With a prior this narrow the e-value of 5 pairs is 5.1 at most, so its mean is seen well.
        let (n, precision, studies) = (5, 4.0, 100_000);
        let mut rng = Rng::named(2, "mean of e");
        let e: Vec<f64> = (0..studies)
            .map(|_| {
                let seen = Moments::of(&sample(&mut rng, n, 0.0));
                log_e(seen.t_squared(), n, n - 1, precision).exp()
            })
            .collect();
        let e = Moments::of(&e);
        assert!(
            (e.mean - 1.0).abs() < 3.0 * e.standard_error(),
            "{}",
            e.mean
        );
    }

    #[test]
    fn growing_samples_and_tables_decide_as_the_look_at_all_differences_does() {
        let mut rng = Rng::named(3, "radii");
        let radii = Radii::new(&RULE, 40);
        for _ in 0..200 {
            let differences = sample(&mut rng, 40, 0.3);
            let mut seen = Moments::default();
            for (i, difference) in differences.iter().enumerate() {
                seen.push(*difference);
                let look = RULE.look(&differences[..=i]);
                assert!((look.mean - seen.mean).abs() < 1e-12);
                assert_eq!(look.decision, radii.decide(&seen, RULE.margin));
            }
        }
    }

    #[test]
    fn a_replay_ends_at_the_first_decision() {
        let differences = [2.0, 2.1, 1.9, 2.05, 2.0, -50.0];
        let looks = RULE.replay(&differences);
        assert_eq!(looks.last().unwrap().decision, Decision::Worse);
        assert!(looks.len() < 5 && looks[0].n == 2);
        let undecided = looks.iter().filter(|l| l.decision == Decision::Continue);
        assert_eq!(undecided.count(), looks.len() - 1);
        assert!(RULE.replay(&[1.0]).is_empty());
    }

    #[test]
    fn equal_differences_decide_as_soon_as_anything_could() {
        let zero = RULE.replay(&[0.0; 8]);
        assert_eq!(zero.last().unwrap().decision, Decision::Equivalent);
        assert_eq!(zero.last().unwrap().interval, Some((0.0, 0.0)));
        assert_eq!(zero.last().unwrap().evidence(), None);
        let same = RULE.replay(&[-0.7; 8]);
        let last = same.last().unwrap();
        assert_eq!((last.decision, last.n), (Decision::Better, zero.len() + 1));
        assert!(last.log_e.is_finite() && last.log_e >= 20.0_f64.ln());
        assert_eq!(RULE.look(&[]).decision, Decision::Continue);
    }
}
