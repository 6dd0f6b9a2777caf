//! How far up in size an effect is likely to hold: Δ(N) = Δ∞ + c·N^−γ, fitted to paired differences
//! at several sizes, with a bootstrap over seeds within each size; rank agreement between sizes;
//! and the level of the claim that all this allows.
//!
//! Three sizes leave no room to tell three numbers from noise, so γ has a weak prior: ln γ is
//! normal around ln .35 with standard deviation .7 (most published exponents of loss against size
//! lie within a factor of two of .35). With more sizes the data outweigh it.

use super::{
    algebra::middle,
    best::Interval,
    rank::{kendall, spearman},
};
use crate::{
    error::{Error, Result},
    rng::Rng,
    stats::paired::paired,
};
use serde::Serialize;

const CONFIDENCE: f64 = 0.9;
const REPLICATES: usize = 1_000;
const LIKELY_GAMMA: f64 = 0.35;
const GAMMA_SPREAD: f64 = 0.7;
/// Exponents that are tried, evenly in the logarithm.
const GAMMAS: (f64, f64, usize) = (0.03, 3.0, 70);

/// One size, and what an arm differed from the control there.
#[derive(Debug, Clone, Serialize)]
pub struct Rung {
    /// Parameters.
    pub size: f64,
    /// Paired differences, arm minus control, by seed.
    pub differences: Vec<f64>,
    /// Whether these seeds had no part in choosing the arm.
    pub fresh: bool,
}

/// How much may be claimed, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Claim {
    /// Seen, no more.
    Exploratory,
    /// Off zero on one side at two sizes or more, each on fresh seeds.
    Replicated,
    /// One sign at three sizes or more, and the 90% interval at the target size off zero.
    Stable,
}

impl Claim {
    pub fn name(self) -> &'static str {
        match self {
            Claim::Exploratory => "exploratory",
            Claim::Replicated => "replicated",
            Claim::Stable => "stable",
        }
    }
}

/// A rung's mean, and its t interval when it has two seeds or more.
#[derive(Debug, Clone, Serialize)]
pub struct RungMean {
    pub size: f64,
    pub seeds: usize,
    pub fresh: bool,
    pub mean: f64,
    /// At 90%.
    pub interval: Option<(f64, f64)>,
}

/// Δ(N) = limit + scale·(N/size)^−gamma.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Curve {
    pub limit: f64,
    /// The part that fades, at `size`.
    pub scale: f64,
    pub gamma: f64,
    /// The geometric mean of the rungs.
    pub size: f64,
}

impl Curve {
    pub fn at(&self, size: f64) -> f64 {
        self.limit + self.scale * (size / self.size).powf(-self.gamma)
    }
}

/// An effect over sizes.
#[derive(Debug, Clone, Serialize)]
pub struct Transfer {
    pub rungs: Vec<RungMean>,
    /// With three sizes or more.
    pub curve: Option<Curve>,
    pub target_size: f64,
    /// The effect there, by the curve.
    pub at_target: Option<Interval>,
    /// What is left at any size.
    pub limit: Option<Interval>,
    pub confidence: f64,
    pub replicates: usize,
    pub claim: Claim,
    /// What the level rests on, and what the next one lacks.
    pub why: String,
}

/// Fits an effect over sizes, and says how much may be claimed at `target_size`. Errors when there
/// are no rungs, a rung has no finite difference, or a size comes twice.
pub fn transfer(rungs: &[Rung], target_size: f64, seed: u64) -> Result<Transfer> {
    check(rungs, target_size)?;
    let mut rungs = rungs.to_vec();
    rungs.sort_by(|a, b| a.size.total_cmp(&b.size));
    let means: Vec<RungMean> = rungs.iter().map(rung_mean).collect();
    let curve = curve(&points(&rungs, &means));
    let ends = curve.map(|found| ends(&rungs, &found, target_size, seed));
    let at_target = ends.as_ref().map(|(at, _)| *at);
    let (claim, why) = claim(&means, at_target.as_ref(), target_size);
    Ok(Transfer {
        curve,
        target_size,
        at_target,
        limit: ends.map(|(_, limit)| limit),
        confidence: CONFIDENCE,
        replicates: REPLICATES,
        rungs: means,
        claim,
        why,
    })
}

fn check(rungs: &[Rung], target_size: f64) -> Result<()> {
    let refuse = |problem: String, remedy: &str| Err(Error::input("ladder", problem, remedy));
    if rungs.is_empty() {
        return refuse("there is no size".into(), "give one size or more");
    }
    if !(target_size > 0.0 && target_size.is_finite()) {
        return refuse(
            format!("the target size is {target_size}"),
            "give a number of parameters above 0",
        );
    }
    for (idx, rung) in rungs.iter().enumerate() {
        if !(rung.size > 0.0 && rung.size.is_finite()) {
            return refuse(format!("a size is {}", rung.size), "sizes are above 0");
        }
        if rungs[..idx].iter().any(|other| other.size == rung.size) {
            return refuse(
                format!("size {} comes twice", rung.size),
                "put all differences of one size into one rung",
            );
        }
        if rung.differences.is_empty() || !rung.differences.iter().all(|d| d.is_finite()) {
            return refuse(
                format!(
                    "size {} has no difference, or one that is not finite",
                    rung.size
                ),
                "give a finite difference for each seed; a diverged trial has none to fit",
            );
        }
    }
    Ok(())
}

fn rung_mean(rung: &Rung) -> RungMean {
    let n = rung.differences.len();
    RungMean {
        size: rung.size,
        seeds: n,
        fresh: rung.fresh,
        mean: rung.differences.iter().sum::<f64>() / n as f64,
        interval: paired(&rung.differences, CONFIDENCE).map(|p| (p.low, p.high)),
    }
}

/// (size, mean, variance of the mean) by rung. One variance for all: a few seeds tell too little of
/// each size's own.
fn points(rungs: &[Rung], means: &[RungMean]) -> Vec<(f64, f64, f64)> {
    let mut squares = 0.0;
    let mut df = 0.0;
    for (rung, mean) in rungs.iter().zip(means) {
        let off = rung.differences.iter().map(|d| (d - mean.mean).powi(2));
        squares += off.sum::<f64>();
        df += (rung.differences.len() - 1) as f64;
    }
    let size = means.iter().map(|m| m.mean.abs()).fold(0.0, f64::max);
    // Without any repeated seed: a tenth of the effect, which only weighs the prior.
    let variance = match df > 0.0 && squares > 0.0 {
        true => squares / df,
        false => (0.1 * size).powi(2).max(1e-300),
    };
    let each = means.iter();
    each.map(|m| (m.size, m.mean, variance / m.seeds as f64))
        .collect()
}

/// The curve of least weighted squares and prior; `None` with fewer than three sizes.
fn curve(points: &[(f64, f64, f64)]) -> Option<Curve> {
    if points.len() < 3 {
        return None;
    }
    let logs = points.iter().map(|p| p.0.ln()).sum::<f64>();
    let size = (logs / points.len() as f64).exp();
    let (low, high, n) = GAMMAS;
    let gammas = (0..n).map(|i| low * (high / low).powf(i as f64 / (n - 1) as f64));
    let curves = gammas.filter_map(|gamma| {
        let (limit, scale) = weighted_line(points, |p| (p / size).powf(-gamma))?;
        let curve = Curve {
            limit,
            scale,
            gamma,
            size,
        };
        let off = points.iter().map(|p| (p.1 - curve.at(p.0)).powi(2) / p.2);
        let prior = ((gamma / LIKELY_GAMMA).ln() / GAMMA_SPREAD).powi(2);
        Some((off.sum::<f64>() + prior, curve))
    });
    let best = curves.min_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, curve)| curve)
}

/// (intercept, slope) of y over a function of x, points weighted by one over their variances.
fn weighted_line(points: &[(f64, f64, f64)], of: impl Fn(f64) -> f64) -> Option<(f64, f64)> {
    let all: f64 = points.iter().map(|p| 1.0 / p.2).sum();
    let x = points.iter().map(|p| of(p.0) / p.2).sum::<f64>() / all;
    let y = points.iter().map(|p| p.1 / p.2).sum::<f64>() / all;
    let spread: f64 = points.iter().map(|p| (of(p.0) - x).powi(2) / p.2).sum();
    let together: f64 = points.iter().map(|p| (of(p.0) - x) * (p.1 - y) / p.2).sum();
    let slope = together / spread;
    slope.is_finite().then_some((y - slope * x, slope))
}

/// Intervals of the effect at the target and of the limit. Each size's seeds are drawn again; their
/// means' distances from the size's own are widened by √(n/(n − 1)), as a bootstrap of n values is
/// too narrow by that.
fn ends(rungs: &[Rung], found: &Curve, target_size: f64, seed: u64) -> (Interval, Interval) {
    let (mut at, mut limits) = (Vec::new(), Vec::new());
    for replicate in 0..REPLICATES {
        let mut rng = Rng::named(seed, &format!("laws.transfer.{replicate}"));
        let drawn = rungs.iter().map(|rung| {
            let n = rung.differences.len();
            let mean = rung.differences.iter().sum::<f64>() / n as f64;
            let wider = (n as f64 / (n.max(2) - 1) as f64).sqrt();
            let draw = |_| rung.differences[rng.below(n as u64) as usize];
            let sum: f64 = (0..n).map(draw).sum();
            let moved = wider * (sum / n as f64 - mean);
            let differences = rung.differences.iter().map(|d| d + moved).collect();
            Rung {
                differences,
                ..rung.clone()
            }
        });
        let drawn: Vec<Rung> = drawn.collect();
        let means: Vec<RungMean> = drawn.iter().map(rung_mean).collect();
        if let Some(curve) = curve(&points(&drawn, &means)) {
            at.push(curve.at(target_size));
            limits.push(curve.limit);
        }
    }
    let interval = |value: f64, all: &[f64]| {
        let (low, high) = middle(all, CONFIDENCE).unwrap_or((value, value));
        Interval { value, low, high }
    };
    (
        interval(found.at(target_size), &at),
        interval(found.limit, &limits),
    )
}

fn claim(rungs: &[RungMean], at_target: Option<&Interval>, target: f64) -> (Claim, String) {
    let sign = |x: f64| if x > 0.0 { 1 } else { -1 };
    let first = sign(rungs[0].mean);
    let one_sign = rungs.iter().all(|r| r.mean != 0.0 && sign(r.mean) == first);
    let repeated = rungs.iter().all(|r| r.seeds > 1);
    let off_zero = |r: &&RungMean| {
        r.interval
            .is_some_and(|(low, high)| low > 0.0 || high < 0.0)
    };
    let fresh: Vec<&RungMean> = rungs.iter().filter(|r| r.fresh).filter(off_zero).collect();
    let replicated = fresh.len() >= 2 && fresh.iter().all(|r| sign(r.mean) == sign(fresh[0].mean));
    if let Some(at) = at_target.filter(|_| one_sign && repeated && rungs.len() >= 3) {
        let holds = (at.low > 0.0 || at.high < 0.0) && sign(at.value) == first;
        if holds {
            let words = format!(
                "one sign at {} sizes, and {:+.4} [{:+.4}, {:+.4}] at {target:.3e} parameters",
                rungs.len(),
                at.value,
                at.low,
                at.high
            );
            return (Claim::Stable, words);
        }
    }
    let lacks = match (at_target, one_sign) {
        (_, false) => "the sign is not the same at all sizes".to_string(),
        (None, _) => "three sizes or more would be needed for more".into(),
        (Some(_), _) if !repeated => "a size has one seed only".into(),
        (Some(at), _) => format!(
            "at {target:.3e} parameters the interval [{:+.4}, {:+.4}] holds zero",
            at.low, at.high
        ),
    };
    match replicated {
        true => (
            Claim::Replicated,
            format!("off zero at {} sizes on fresh seeds; {lacks}", fresh.len()),
        ),
        false => (
            Claim::Exploratory,
            format!("not off zero at two sizes on fresh seeds; {lacks}"),
        ),
    }
}

/// How alike two sizes rank the same arms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    pub sizes: (f64, f64),
    pub arms: usize,
    pub spearman: Option<f64>,
    pub kendall: Option<f64>,
    /// The share of pairs of arms that both put in one order (DataDecide's decision accuracy).
    pub same_order: Option<f64>,
}

/// Agreement of every size with each larger one; (size, a value for each arm in one order).
pub fn agreement(rungs: &[(f64, Vec<f64>)]) -> Vec<Agreement> {
    let mut order: Vec<&(f64, Vec<f64>)> = rungs.iter().collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut all = Vec::new();
    for (i, small) in order.iter().enumerate() {
        for large in &order[i + 1..] {
            all.push(Agreement {
                sizes: (small.0, large.0),
                arms: small.1.len().min(large.1.len()),
                spearman: spearman(&small.1, &large.1),
                kendall: kendall(&small.1, &large.1),
                same_order: same_order(&small.1, &large.1),
            });
        }
    }
    all
}

fn same_order(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len().min(b.len());
    let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
    let (mut same, mut all) = (0.0, 0.0);
    for (i, j) in pairs {
        all += 1.0;
        same += f64::from(u8::from((a[i] - a[j]) * (b[i] - b[j]) > 0.0));
    }
    (all > 0.0).then(|| same / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(
        sizes: &[f64],
        truth: impl Fn(f64) -> f64,
        sd: f64,
        seeds: usize,
        seed: u64,
    ) -> Vec<Rung> {
        let mut rng = Rng::named(seed, "ladder");
        let rung = |size: &f64| Rung {
            size: *size,
            differences: (0..seeds)
                .map(|_| truth(*size) + sd * rng.normal())
                .collect(),
            fresh: true,
        };
        sizes.iter().map(rung).collect()
    }

    const SIZES: [f64; 5] = [1e6, 3e6, 1e7, 3e7, 1e8];

    #[test]
    fn a_planted_effect_comes_back_at_the_target_size() {
        let truth = |n: f64| -0.04 - 0.05 * (n / 1e7).powf(-0.4);
        let found = transfer(&ladder(&SIZES, truth, 0.002, 6, 1), 1e9, 1).unwrap();
        let at = found.at_target.unwrap();
        assert!(
            at.low <= truth(1e9) + 0.004 && truth(1e9) - 0.004 <= at.high,
            "{at:?}"
        );
        assert!((at.value - truth(1e9)).abs() < 0.01, "{at:?}");
        assert_eq!(found.claim, Claim::Stable, "{}", found.why);
        assert!((found.curve.unwrap().at(1e7) - truth(1e7)).abs() < 0.005);
    }

    #[test]
    fn intervals_at_the_target_hold_the_truth_about_as_often_as_they_say() {
        let truth = |n: f64| -0.02 - 0.03 * (n / 1e7).powf(-0.35);
        let ladders: usize = 60;
        let held = (0..ladders).filter(|i| {
            let rungs = ladder(&SIZES[..4], truth, 0.01, 8, *i as u64);
            let at = transfer(&rungs, 1e8, *i as u64).unwrap().at_target.unwrap();
            at.low <= truth(1e8) && truth(1e8) <= at.high
        });
        let share = held.count() as f64 / ladders as f64;
        // 90% ± three standard errors of sixty ladders, and a little for eight seeds.
        assert!(share > 0.75, "{share}");
    }

    #[test]
    fn an_effect_that_fades_or_turns_is_not_called_stable() {
        let fades = |n: f64| -0.03 * (n / 1e6).powf(-0.8);
        let found = transfer(&ladder(&SIZES[..4], fades, 0.003, 4, 2), 1e9, 1).unwrap();
        assert!(found.claim < Claim::Stable, "{}", found.why);
        let turns = |n: f64| 0.02 - 0.04 * (n / 1e6).powf(-0.3);
        let found = transfer(&ladder(&SIZES, turns, 0.001, 4, 3), 1e9, 1).unwrap();
        assert!(
            found.claim < Claim::Stable && found.why.contains("sign"),
            "{}",
            found.why
        );
        let nothing = transfer(&ladder(&SIZES, |_| 0.0, 0.01, 4, 4), 1e9, 1).unwrap();
        assert_eq!(nothing.claim, Claim::Exploratory, "{}", nothing.why);
    }

    #[test]
    fn two_sizes_replicate_on_fresh_seeds_alone() {
        let mut rungs = ladder(&SIZES[..2], |_| -0.05, 0.002, 4, 5);
        let found = transfer(&rungs, 1e9, 1).unwrap();
        assert_eq!(found.claim, Claim::Replicated, "{}", found.why);
        assert!(found.curve.is_none() && found.why.contains("three sizes"));
        rungs[0].fresh = false;
        assert_eq!(transfer(&rungs, 1e9, 1).unwrap().claim, Claim::Exploratory);
        let single = ladder(&SIZES, |_| -0.05, 0.0, 1, 6);
        let found = transfer(&single, 1e9, 1).unwrap();
        assert_eq!(found.claim, Claim::Exploratory, "one seed repeats nothing");
    }

    #[test]
    fn ladders_that_cannot_be_fitted_are_refused() {
        let good = ladder(&SIZES[..3], |_| -0.05, 0.01, 3, 7);
        assert!(transfer(&[], 1e9, 1).is_err() && transfer(&good, 0.0, 1).is_err());
        for spoil in [
            |r: &mut Rung| r.size = -1.0,
            |r: &mut Rung| r.size = 3e6,
            |r: &mut Rung| r.differences.clear(),
            |r: &mut Rung| r.differences[0] = f64::NAN,
        ] {
            let mut rungs = good.clone();
            spoil(&mut rungs[0]);
            assert!(transfer(&rungs, 1e9, 1).is_err());
        }
    }

    #[test]
    fn sizes_agree_as_far_as_they_rank_arms_alike() {
        let rungs = [
            (2e6, vec![1.0, 2.0, 3.0, 4.0]),
            (1e6, vec![1.0, 2.0, 4.0, 3.0]),
            (4e6, vec![4.0, 3.0, 2.0, 1.0]),
        ];
        let all = agreement(&rungs);
        let sizes: Vec<(f64, f64)> = all.iter().map(|a| a.sizes).collect();
        assert_eq!(sizes, [(1e6, 2e6), (1e6, 4e6), (2e6, 4e6)]);
        assert!((all[0].same_order.unwrap() - 5.0 / 6.0).abs() < 1e-12);
        assert!((all[0].spearman.unwrap() - 0.8).abs() < 1e-12);
        assert_eq!((all[2].kendall, all[2].same_order), (Some(-1.0), Some(0.0)));
    }
}
