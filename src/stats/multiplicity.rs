//! Many arms and many studies: adjusted p values, simultaneous intervals, and error rates over a
//! stream of studies.
//!
//! Bonferroni and Holm (1979, "A simple sequentially rejective multiple test procedure") bound the
//! chance of any false claim; Benjamini & Hochberg (1995, "Controlling the false discovery rate")
//! and, for a stream of e-values, e-LOND (Xu & Ramdas, "Online multiple testing with e-values",
//! AISTATS 2024) bound the expected share of false claims among the claims.

use super::paired::{Paired, paired};
use serde::{Deserialize, Serialize};

/// Confidence of each of `k` intervals so that all of them hold together with 1 − α (Bonferroni).
pub fn simultaneous_confidence(alpha: f64, k: usize) -> f64 {
    1.0 - alpha / k.max(1) as f64
}

/// The t interval of each arm's paired differences, all of them right together with 1 − α whatever
/// the dependence between arms, which share their control. `None` where there are fewer than two.
pub fn simultaneous_intervals(arms: &[&[f64]], alpha: f64) -> Vec<Option<Paired>> {
    let confidence = simultaneous_confidence(alpha, arms.len());
    arms.iter()
        .map(|differences| paired(differences, confidence))
        .collect()
}

/// Adjusted p values, in the order given: at most α where Bonferroni rejects at level α.
pub fn bonferroni(p: &[f64]) -> Vec<f64> {
    let k = p.len() as f64;
    p.iter().map(|p| (k * p).min(1.0)).collect()
}

/// Adjusted p values, in the order given: at most α where Holm's step-down procedure rejects at
/// level α. Never larger than Bonferroni's, with the same guarantee.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    let mut so_far: f64 = 0.0;
    for (rank, idx) in by_size(p).into_iter().enumerate() {
        so_far = so_far.max(((p.len() - rank) as f64 * p[idx]).min(1.0));
        adjusted[idx] = so_far;
    }
    adjusted
}

/// Adjusted p values, in the order given: at most q where Benjamini and Hochberg's step-up procedure
/// rejects at false discovery rate q (independent or positively dependent tests).
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    let mut so_far: f64 = 1.0;
    for (rank, idx) in by_size(p).into_iter().enumerate().rev() {
        so_far = so_far.min(p.len() as f64 / (rank + 1) as f64 * p[idx]);
        adjusted[idx] = so_far;
    }
    adjusted
}

fn by_size(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    order
}

/// How a stream's error budget is spread over its tests, fixed before the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spending {
    /// Nobody knows how many tests there will be: the t-th gets 1/(t(t+1)).
    Open,
    /// At most this many: each gets the same share, and later ones nothing.
    Planned(usize),
}

impl Spending {
    /// The share of the `t`-th test, counted from 1; all shares add up to 1 at most.
    fn share(self, t: usize) -> f64 {
        match self {
            Self::Open => 1.0 / (t as f64 * (t + 1) as f64),
            Self::Planned(n) if t <= n => 1.0 / n as f64,
            Self::Planned(_) => 0.0,
        }
    }
}

/// e-LOND: the false discovery rate over a stream of hypotheses, tested one by one by e-values that
/// may depend on each other in any way.
///
/// The t-th test has level α·γ_t·(D + 1), with D discoveries so far, and discovers when its e-value
/// reaches 1/level. A study that stops by itself is run *at* that level, known before its first
/// trial: stopping at e ≥ 20 would end it short of what the stream asks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ELond {
    /// The false discovery rate.
    pub alpha: f64,
    pub spending: Spending,
    pub n_tested: usize,
    pub n_discovered: usize,
}

impl ELond {
    pub fn new(alpha: f64, spending: Spending) -> Self {
        Self {
            alpha,
            spending,
            n_tested: 0,
            n_discovered: 0,
        }
    }

    /// The level of the next test; zero when a planned stream is over.
    pub fn level(&self) -> f64 {
        self.levels(1)[0]
    }

    /// The levels of the next `k` tests when none of them can wait for another's outcome: the arms
    /// of one study. They are what [`Self::level`] would be if none of them discovered anything.
    pub fn levels(&self, k: usize) -> Vec<f64> {
        (1..=k)
            .map(|i| {
                let share = self.spending.share(self.n_tested + i);
                self.alpha * share * (self.n_discovered + 1) as f64
            })
            .collect()
    }

    /// Whether this e-value, given by its logarithm (`None` for an e-value of zero), is a discovery
    /// at the next level; counts it.
    pub fn test(&mut self, log_e: Option<f64>) -> bool {
        let level = self.level();
        self.count(level, log_e)
    }

    /// As [`Self::test`], at a level of [`Self::levels`] that was fixed earlier.
    pub fn count(&mut self, level: f64, log_e: Option<f64>) -> bool {
        let discovered = level > 0.0 && log_e.is_some_and(|log_e| log_e >= -level.ln());
        self.n_tested += 1;
        self.n_discovered += usize::from(discovered);
        discovered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_is_never_stricter_than_bonferroni_and_never_laxer_than_benjamini_hochberg() {
        let p = [0.01, 0.04, 0.03, 0.005, 0.5];
        let (b, h, q) = (bonferroni(&p), holm(&p), benjamini_hochberg(&p));
        for i in 0..p.len() {
            assert!(p[i] <= q[i] && q[i] <= h[i] && h[i] <= b[i]);
        }
        // By hand: 5·.005, 4·.01, 3·.03, then not below it, and the last alone.
        assert_eq!(h, [0.04, 0.09, 0.09, 0.025, 0.5]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn shares_of_a_stream_add_up_to_one() {
        let sum = |spending: Spending| (1..=10_000).map(|t| spending.share(t)).sum::<f64>();
        assert!((sum(Spending::Open) - 10_000.0 / 10_001.0).abs() < 1e-9);
        assert!((sum(Spending::Planned(20)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_discovery_raises_the_levels_that_follow() {
        let mut stream = ELond::new(0.1, Spending::Open);
        assert_eq!(stream.level(), 0.05);
        assert!(stream.test(Some(20.0_f64.ln() + 1e-12)));
        // 0.1 · 1/(2·3) · 2
        assert!((stream.level() - 0.1 / 3.0).abs() < 1e-15);
        assert!(!stream.test(Some(29.9_f64.ln())));
        assert!(!stream.test(None));
        assert_eq!((stream.n_tested, stream.n_discovered), (3, 1));
        let mut planned = ELond::new(0.1, Spending::Planned(2));
        assert_eq!(planned.levels(3), [0.05, 0.05, 0.0]);
        planned.test(None);
        planned.test(None);
        assert!(!planned.test(Some(700.0)), "a planned stream ends");
    }

    #[test]
    fn simultaneous_intervals_are_wider_the_more_arms_there_are() {
        let arm: &[f64] = &[0.1, 0.2, 0.15, 0.12];
        let alone = simultaneous_intervals(&[arm], 0.05)[0].unwrap();
        let three = simultaneous_intervals(&[arm, arm, &[0.1]], 0.05);
        assert!(three[0].unwrap().high > alone.high);
        assert!(three[2].is_none());
    }
}
