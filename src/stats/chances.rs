//! The chance of each verdict before a study, and what more seeds would do after one.
//!
//! A study is planned with an effect that somebody expects and a spread that earlier trials estimate.
//! An estimate is not the truth: chances are averaged over what the spread may be, given its degrees
//! of freedom. Fixed rules are integrated; anytime rules are simulated, with the same draws every
//! time, so a plan says the same thing twice.

use super::{
    anytime::{Anytime, Radii},
    decision::Decision,
    draw::chi_squared,
    paired::{Moments, t_quantile},
    power::{normal_between, sample_sds},
    variance::Spread,
};
use crate::rng::Rng;
use serde::{Deserialize, Serialize};

/// How often each verdict is to be expected, and after how many pairs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Chances {
    pub better: f64,
    pub worse: f64,
    pub equivalent: f64,
    pub inconclusive: f64,
    /// Expected number of pairs until the study stops.
    pub pairs: f64,
}

impl Chances {
    /// The chance of any verdict at all.
    pub fn decided(&self) -> f64 {
        self.better + self.worse + self.equivalent
    }

    fn add(&mut self, decision: Decision, chance: f64) {
        *match decision {
            Decision::Better => &mut self.better,
            Decision::Worse => &mut self.worse,
            Decision::Equivalent => &mut self.equivalent,
            Decision::Continue => &mut self.inconclusive,
        } += chance;
    }
}

/// One look after `n` pairs, at confidence 1 − `alpha`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fixed {
    pub n: usize,
    /// α/k for one of k arms.
    pub alpha: f64,
    pub margin: f64,
}

/// Simulated studies behind a chance: a standard error of half a point at most.
pub const STUDIES: usize = 10_000;
/// Points over which an uncertain spread is averaged.
const SPREADS: usize = 32;

/// What a fixed rule says of a true mean difference `effect`, in the unit of the margin.
pub fn fixed(rule: &Fixed, effect: f64, spread: &Spread) -> Chances {
    let mut chances = Chances {
        pairs: rule.n as f64,
        ..Default::default()
    };
    let sigmas = likely_spreads(spread);
    let share = 1.0 / sigmas.len() as f64;
    for sigma in sigmas {
        let at = fixed_with(rule, effect, sigma);
        chances.better += share * at.better;
        chances.worse += share * at.worse;
        chances.equivalent += share * at.equivalent;
    }
    chances.inconclusive = (1.0 - chances.decided()).max(0.0);
    chances
}

/// What the true standard deviation may be, evenly over its chances.
fn likely_spreads(spread: &Spread) -> Vec<f64> {
    let points = if spread.df.is_infinite() { 1 } else { SPREADS };
    (0..points)
        .map(|i| spread.quantile((i as f64 + 0.5) / points as f64))
        .collect()
}

/// The same when σ is known: over the sample's standard deviation s the mean is normal, and the
/// verdict a matter of three intervals.
fn fixed_with(rule: &Fixed, effect: f64, sigma: f64) -> Chances {
    let mut chances = Chances::default();
    if rule.n < 2 || sigma == 0.0 {
        chances.add(Decision::of_interval(effect, effect, rule.margin), 1.0);
        return chances;
    }
    let root = (rule.n as f64).sqrt();
    let critical = t_quantile(rule.n - 1, 1.0 - rule.alpha / 2.0);
    let error = sigma / root;
    for (s, weight) in sample_sds(rule.n - 1) {
        let half = critical * s * error;
        // The mean is inside when its whole interval is, and off zero beyond `half`.
        let inside = rule.margin - half;
        let off = half.max(inside);
        let between = |low: f64, high: f64| {
            weight * normal_between((low - effect) / error, (high - effect) / error)
        };
        if inside >= 0.0 {
            chances.equivalent += between(-inside, inside);
        }
        chances.worse += between(off, f64::INFINITY);
        chances.better += between(f64::NEG_INFINITY, -off);
    }
    chances
}

/// What an anytime rule says of a true mean difference `effect`, with at most `most` pairs.
pub fn anytime(rule: &Anytime, most: usize, effect: f64, spread: &Spread) -> Chances {
    let radii = Radii::new(rule, most);
    let mut rng = Rng::named(0, "stats.chances.anytime");
    let mut chances = Chances::default();
    let sigmas = likely_spreads(spread);
    for i in 0..STUDIES {
        // Evenly over what the spread may be: less noise than drawing it.
        let sigma = sigmas[i % sigmas.len()];
        let (decision, n) = run(rule, &radii, Moments::default(), most, || {
            effect + sigma * rng.normal()
        });
        chances.add(decision, 1.0 / STUDIES as f64);
        chances.pairs += n as f64 / STUDIES as f64;
    }
    chances
}

/// Adds pairs to those seen until the rule decides or there are `most`: (decision, pairs).
fn run(
    rule: &Anytime,
    radii: &Radii,
    mut seen: Moments,
    most: usize,
    mut draw: impl FnMut() -> f64,
) -> (Decision, usize) {
    while seen.n < most {
        seen.push(draw());
        let decision = radii.decide(&seen, rule.margin);
        if decision != Decision::Continue {
            return (decision, seen.n);
        }
    }
    (Decision::Continue, most)
}

/// By how many more pairs an undecided study would be decided, and how surely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Further {
    /// `chances[m]` is the chance of a verdict within m more pairs.
    pub chances: Vec<f64>,
}

impl Further {
    /// The fewest more pairs that decide with this chance; `None` beyond those looked at.
    pub fn pairs(&self, chance: f64) -> Option<usize> {
        self.chances.iter().position(|c| *c >= chance)
    }
}

/// What going on by up to `more` pairs would do for a study under an anytime rule that is undecided
/// after `differences`. Mean and spread are drawn from what the data leave open, with the flat prior
/// under which intervals of both kinds agree (σ² = Σ(d − d̄)²/χ², mean = d̄ + σ·z/√n). `None` for fewer
/// than two.
pub fn further(rule: &Anytime, differences: &[f64], more: usize) -> Option<Further> {
    let seen = Moments::of(differences);
    if seen.n < 2 {
        return None;
    }
    let most = seen.n + more;
    let radii = Radii::new(rule, most);
    let mut rng = Rng::named(0, "stats.chances.further");
    let mut decided = vec![0usize; more + 1];
    for _ in 0..STUDIES {
        let (mean, sigma) = likely(&mut rng, &seen);
        let (decision, n) = run(rule, &radii, seen, most, || mean + sigma * rng.normal());
        if decision != Decision::Continue {
            decided[n - seen.n] += 1;
        }
    }
    let mut so_far = 0;
    let chances = decided.iter().map(|n| {
        so_far += n;
        so_far as f64 / STUDIES as f64
    });
    Some(Further {
        chances: chances.collect(),
    })
}

/// What a fresh study under a fixed rule would say, given the differences of an undecided one. A
/// fixed rule does not go on: more seeds on top of those seen would be a second look. `None` for
/// fewer than two differences.
pub fn fresh(rule: &Fixed, differences: &[f64]) -> Option<Chances> {
    let seen = Moments::of(differences);
    if seen.n < 2 || rule.n < 2 {
        return None;
    }
    let (df, root) = ((rule.n - 1) as f64, (rule.n as f64).sqrt());
    let critical = t_quantile(rule.n - 1, 1.0 - rule.alpha / 2.0);
    let mut rng = Rng::named(0, "stats.chances.fresh");
    let mut chances = Chances {
        pairs: rule.n as f64,
        ..Default::default()
    };
    for _ in 0..STUDIES {
        let (mean, sigma) = likely(&mut rng, &seen);
        let found = mean + sigma / root * rng.normal();
        let half = critical * sigma * (chi_squared(&mut rng, df) / df).sqrt() / root;
        let decision = Decision::of_interval(found - half, found + half, rule.margin);
        chances.add(decision, 1.0 / STUDIES as f64);
    }
    Some(chances)
}

/// The fewest pairs with which a fresh study under a fixed rule decides with this chance, given the
/// differences of an undecided one; `None` beyond `most`.
pub fn fresh_pairs(rule: &Fixed, differences: &[f64], chance: f64, most: usize) -> Option<usize> {
    let enough =
        |n: usize| fresh(&Fixed { n, ..*rule }, differences).is_some_and(|c| c.decided() >= chance);
    if !enough(most) {
        return None;
    }
    let (mut low, mut high) = (1, most);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

/// A mean and a standard deviation that the data leave open.
fn likely(rng: &mut Rng, seen: &Moments) -> (f64, f64) {
    let df = (seen.n - 1) as f64;
    let sigma = (seen.sum_of_squares / chi_squared(rng, df)).sqrt();
    (
        seen.mean + sigma / (seen.n as f64).sqrt() * rng.normal(),
        sigma,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{paired::paired, power::power};

    const ALPHA: f64 = 0.05;

    #[test]
    fn chances_of_a_fixed_rule_are_the_shares_of_simulated_studies() {
        let studies = 20_000;
        for (n, effect, margin) in [
            (4, 0.0, 1.5),
            (8, 1.0, 0.5),
            (12, -0.8, 0.9),
            (20, 0.1, 0.6),
        ] {
            let rule = Fixed {
                n,
                alpha: ALPHA,
                margin,
            };
            let mut rng = Rng::named(7, "chances");
            let mut seen = Chances::default();
            for _ in 0..studies {
                let d: Vec<f64> = (0..n).map(|_| effect + rng.normal()).collect();
                let interval = paired(&d, 1.0 - ALPHA).unwrap();
                let decision = Decision::of_interval(interval.low, interval.high, margin);
                seen.add(decision, 1.0 / f64::from(studies));
            }
            let planned = fixed(&rule, effect, &Spread::known(1.0));
            for (planned, seen) in [
                (planned.better, seen.better),
                (planned.worse, seen.worse),
                (planned.equivalent, seen.equivalent),
                (planned.inconclusive, seen.inconclusive),
            ] {
                let error = (planned * (1.0 - planned) / f64::from(studies)).sqrt();
                assert!(
                    (planned - seen).abs() < 3.5 * error + 1e-4,
                    "n = {n}: {planned} {seen}"
                );
            }
        }
    }

    #[test]
    fn without_a_margin_the_chance_of_a_difference_is_the_power() {
        let rule = Fixed {
            n: 9,
            alpha: ALPHA,
            margin: 0.0,
        };
        let planned = fixed(&rule, 2.0, &Spread::known(2.0));
        assert!((planned.better + planned.worse - power(9, 1.0, ALPHA)).abs() < 1e-6);
    }

    #[test]
    fn a_spread_known_from_few_trials_promises_less_than_one_that_is_certain() {
        let rule = Fixed {
            n: 10,
            alpha: ALPHA,
            margin: 0.0,
        };
        let certain = fixed(&rule, 1.2, &Spread::known(1.0)).worse;
        let vague = fixed(&rule, 1.2, &Spread { sd: 1.0, df: 3.0 }).worse;
        assert!(certain > 0.9 && vague < certain - 0.1, "{certain} {vague}");
        // And hardly less when there are many.
        let many = Spread { sd: 1.0, df: 1e4 };
        assert!((fixed(&rule, 1.2, &many).worse - certain).abs() < 1e-3);
    }

    #[test]
    fn an_anytime_study_stops_earlier_the_larger_the_effect() {
        let rule = Anytime::new(ALPHA, 0.3);
        let spread = Spread::known(1.0);
        let [null, one, two] = [0.0, 1.0, 2.0].map(|e| anytime(&rule, 22, e, &spread));
        assert!(two.pairs < one.pairs && one.pairs < null.pairs);
        assert!(two.worse > 0.999 && one.worse > 0.8 && null.worse + null.better < ALPHA);
        assert!((one.decided() + one.inconclusive - 1.0).abs() < 1e-9);
        assert_eq!(anytime(&rule, 22, 1.0, &spread), one, "the same twice");
    }

    #[test]
    fn going_on_decides_sooner_or_later_and_a_clear_case_soon() {
        let rule = Anytime::new(ALPHA, 0.1);
        let clear = further(&rule, &[1.0, 1.9, 0.4], 40).unwrap();
        assert!(clear.chances.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(clear.chances[0], 0.0);
        let vague = further(&rule, &[1.0, -0.9, 0.4], 40).unwrap();
        assert!(clear.pairs(0.5).unwrap() < vague.pairs(0.5).unwrap_or(usize::MAX));
        assert!(further(&rule, &[1.0], 40).is_none());
    }

    #[test]
    fn a_fresh_study_of_the_size_that_is_proposed_decides_with_the_chance_that_is_said() {
        let rule = Fixed {
            n: 0,
            alpha: ALPHA,
            margin: 0.1,
        };
        let seen = [1.0, 1.9, 0.4, -0.3, 0.8];
        let n = fresh_pairs(&rule, &seen, 0.8, 1000).unwrap();
        let chance = |n| fresh(&Fixed { n, ..rule }, &seen).unwrap().decided();
        assert!(chance(n) >= 0.8 && chance(n - 1) < 0.8);
        assert!(n > 8, "{n}");
        assert!(fresh_pairs(&rule, &seen, 0.8, 4).is_none());
    }
}
