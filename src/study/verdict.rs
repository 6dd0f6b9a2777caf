//! The verdict: a pure function of a rule and outcomes.
//!
//! One interval for the paired difference, arm minus control on the same seeds, at confidence
//! 1 − α/k for k arms. Inside ± margin: equivalent. Else off zero: better or worse. Else
//! inconclusive. An interval inside ± margin at 1 − α is a stricter demand than two one-sided tests
//! at α (Schuirmann 1987), which use 1 − 2α. If a trial diverged there is no mean: an exact paired
//! sign test ranks divergence last. A trial is never left out.

use super::proposal::Matched;
use crate::{
    metrics::{Cost, Metric, Outcome},
    stats::{
        paired::{Paired, paired},
        power::pairs_needed,
        sign::sign_test,
        simultaneous_confidence,
    },
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was fixed before the first trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub metric: Metric,
    /// The smallest effect worth acting on, in the metric's unit.
    pub margin: f64,
    /// Chance of any false alarm among the study's arms.
    pub alpha: f64,
    /// What the arms spend alike.
    pub matched: Matched,
}

/// What a study can say of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    Better,
    Worse,
    Equivalent,
    Inconclusive,
    Invalid,
}

impl Call {
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Equivalent => "equivalent",
            Self::Inconclusive => "inconclusive",
            Self::Invalid => "invalid",
        }
    }
}

/// An arm's outcomes, one for each seed, in the order of the seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmOutcomes {
    pub name: String,
    pub outcomes: Vec<Outcome>,
}

/// One seed's two numbers; `None` is a trial that diverged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    pub seed: u64,
    pub control: Option<f64>,
    pub arm: Option<f64>,
}

impl Pair {
    pub fn difference(&self) -> Option<f64> {
        Some(self.arm? - self.control?)
    }
}

/// The verdict on one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmVerdict {
    pub arm: String,
    pub call: Call,
    /// `None` when a trial diverged or the comparison is invalid.
    pub effect: Option<Paired>,
    pub pairs: Vec<Pair>,
    /// Diverged trials of (control, arm).
    pub diverged: (usize, usize),
    /// Two-sided probability of the exact sign test, when a trial diverged.
    pub sign_p: Option<f64>,
    /// Pairs that would see an effect of this size with chance .8, when inconclusive.
    pub pairs_needed: Option<usize>,
    /// Why the comparison is invalid.
    pub invalid: Option<String>,
    /// Mean paired difference in bits per byte of each evaluated corpus, where all trials finished.
    pub by_corpus: BTreeMap<String, f64>,
}

/// The verdict on a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub schema: String,
    pub rule: Rule,
    pub control: String,
    /// Mean of the control's finished trials.
    pub control_mean: Option<f64>,
    pub arms: Vec<ArmVerdict>,
}

/// More pairs than this are not proposed to anyone.
const MOST_PAIRS: usize = 1000;

/// Judges every arm against the control. Arms have one outcome for each seed of the control.
pub fn judge(rule: &Rule, control: &ArmOutcomes, arms: &[ArmOutcomes]) -> Verdict {
    let confidence = simultaneous_confidence(rule.alpha, arms.len());
    let finished: Vec<f64> = control
        .outcomes
        .iter()
        .filter_map(|o| o.metric(rule.metric))
        .collect();
    Verdict {
        schema: "windtunnel.verdict.v1".into(),
        rule: *rule,
        control: control.name.clone(),
        control_mean: (!finished.is_empty())
            .then(|| finished.iter().sum::<f64>() / finished.len() as f64),
        arms: arms
            .iter()
            .map(|arm| judge_arm(rule, control, arm, confidence))
            .collect(),
    }
}

fn judge_arm(rule: &Rule, control: &ArmOutcomes, arm: &ArmOutcomes, confidence: f64) -> ArmVerdict {
    let pairs: Vec<Pair> = control
        .outcomes
        .iter()
        .zip(&arm.outcomes)
        .map(|(c, a)| Pair {
            seed: c.seed,
            control: c.metric(rule.metric),
            arm: a.metric(rule.metric),
        })
        .collect();
    let count =
        |of: fn(&Pair) -> Option<f64>| pairs.iter().filter(|pair| of(pair).is_none()).count();
    let diverged = (count(|pair| pair.control), count(|pair| pair.arm));
    let mut verdict = ArmVerdict {
        arm: arm.name.clone(),
        call: Call::Inconclusive,
        effect: None,
        diverged,
        sign_p: None,
        pairs_needed: None,
        invalid: invalid(rule, control, arm),
        by_corpus: by_corpus(control, arm),
        pairs,
    };
    let alpha = 1.0 - confidence;
    if verdict.invalid.is_some() {
        verdict.call = Call::Invalid;
    } else if diverged != (0, 0) {
        let (wins, losses) = ranks(&verdict.pairs);
        let p = sign_test(wins, losses);
        verdict.sign_p = Some(p);
        verdict.call = match p <= alpha {
            true if wins > losses => Call::Better,
            true => Call::Worse,
            false => Call::Inconclusive,
        };
    } else {
        let differences: Vec<f64> = verdict.pairs.iter().filter_map(Pair::difference).collect();
        verdict.effect = paired(&differences, confidence);
        if let Some(effect) = verdict.effect {
            verdict.call = call(&effect, rule.margin);
            if verdict.call == Call::Inconclusive && effect.sd > 0.0 {
                let size = effect.mean.abs() / effect.sd;
                verdict.pairs_needed =
                    pairs_needed(size, alpha, 0.8, MOST_PAIRS).filter(|n| *n > effect.n);
            }
        }
    }
    verdict
}

fn call(effect: &Paired, margin: f64) -> Call {
    if effect.low >= -margin && effect.high <= margin {
        Call::Equivalent
    } else if effect.high < 0.0 {
        Call::Better
    } else if effect.low > 0.0 {
        Call::Worse
    } else {
        Call::Inconclusive
    }
}

/// (pairs that the arm wins, pairs that it loses), divergence ranked last; ties count for neither.
fn ranks(pairs: &[Pair]) -> (usize, usize) {
    let rank = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
    let wins = pairs
        .iter()
        .filter(|p| rank(p.arm) < rank(p.control))
        .count();
    let losses = pairs
        .iter()
        .filter(|p| rank(p.arm) > rank(p.control))
        .count();
    (wins, losses)
}

/// What only the realised data shows: trials that did not spend as much, or were not asked the same.
fn invalid(rule: &Rule, control: &ArmOutcomes, arm: &ArmOutcomes) -> Option<String> {
    if control.outcomes.len() != arm.outcomes.len() {
        let (theirs, ours) = (control.outcomes.len(), arm.outcomes.len());
        return Some(format!("{ours} trials against {theirs}"));
    }
    for (c, a) in control.outcomes.iter().zip(&arm.outcomes) {
        if c.seed != a.seed {
            return Some(format!("seed {} is paired with seed {}", a.seed, c.seed));
        }
        if c.windows != a.windows {
            return Some(format!("seed {}: the validation windows differ", c.seed));
        }
        let both_finished = c.eval().is_some() && a.eval().is_some();
        if both_finished && let Some(what) = rule.matched.differs(&c.cost, &a.cost) {
            return Some(format!("seed {}: trained on {what}", c.seed));
        }
    }
    None
}

impl Matched {
    /// In words, when two trials did not spend alike: other tokens, or FLOPs off by over 1%, which
    /// is more than whole steps make of small models.
    pub fn differs(self, control: &Cost, arm: &Cost) -> Option<String> {
        match self {
            Self::Tokens if control.tokens != arm.tokens => Some(format!(
                "{} tokens against the control's {}",
                arm.tokens, control.tokens
            )),
            Self::Flops if (arm.flops / control.flops - 1.0).abs() > 0.01 => Some(format!(
                "{:.3e} FLOPs against the control's {:.3e}",
                arm.flops, control.flops
            )),
            _ => None,
        }
    }
}

fn by_corpus(control: &ArmOutcomes, arm: &ArmOutcomes) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for (c, a) in control.outcomes.iter().zip(&arm.outcomes) {
        let (Some(c), Some(a)) = (c.eval(), a.eval()) else {
            continue;
        };
        for (corpus, c) in &c.val {
            if let Some(a) = a.val.get(corpus) {
                let sum = sums.entry(corpus.clone()).or_default();
                *sum = (sum.0 + a.bpb - c.bpb, sum.1 + 1);
            }
        }
    }
    let whole = sums
        .into_iter()
        .filter(|(_, (_, n))| *n == control.outcomes.len());
    whole
        .map(|(corpus, (sum, n))| (corpus, sum / n as f64))
        .collect()
}

impl ArmVerdict {
    /// The verdict in a sentence: call, effect, interval, seeds, and what the margin makes of it.
    pub fn headline(&self, rule: &Rule) -> String {
        let n = self.pairs.len();
        let unit = rule.metric.unit();
        if let Some(why) = &self.invalid {
            return format!("{}: invalid: {why}", self.arm);
        }
        if let Some(p) = self.sign_p {
            let (wins, losses) = ranks(&self.pairs);
            return format!(
                "{}: {}: {} of {n} trials diverged against {} of {n} of the control; it won {wins} pairs and lost {losses} (exact sign test p = {p:.3})",
                self.arm,
                self.call.name(),
                self.diverged.1,
                self.diverged.0,
            );
        }
        let Some(e) = &self.effect else {
            return format!(
                "{}: inconclusive: {n} pairs are too few for an interval",
                self.arm
            );
        };
        let digits = digits(rule.margin);
        let mut text = format!(
            "{}: {}: {:+.digits$} {unit} ({}% interval {:+.digits$} to {:+.digits$}, {n} paired seeds, margin ±{:.digits$})",
            self.arm,
            self.call.name(),
            e.mean,
            Percent(e.confidence),
            e.low,
            e.high,
            rule.margin,
        );
        let clear = e.mean.abs() >= rule.margin;
        match (self.call, self.pairs_needed) {
            (Call::Better | Call::Worse, _) if !clear => {
                text += "; smaller than the margin worth acting on"
            }
            (Call::Inconclusive, Some(more)) => {
                text += &format!(
                    "; about {} more pairs would see an effect of this size",
                    more - n
                );
            }
            (Call::Inconclusive, None) => {
                text += "; no affordable number of seeds would see an effect of this size"
            }
            _ => {}
        }
        text
    }
}

/// A fraction as a percentage without needless digits.
pub struct Percent(pub f64);

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let rounded = (self.0 * 1e4).round() / 1e2;
        write!(f, "{rounded}")
    }
}

/// Decimals that show a margin with one digit to spare, 4 to 8.
pub fn digits(margin: f64) -> usize {
    (1.0 - margin.log10().floor()).clamp(4.0, 8.0) as usize
}

/// What `run --expect` may demand of every arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    Better,
    /// Better, equivalent or inconclusive with the interval's worse end inside the margin.
    NotWorse,
    Equivalent,
}

impl Verdict {
    /// "ARM: CALL" for each arm.
    pub fn summary(&self) -> String {
        let calls = self
            .arms
            .iter()
            .map(|arm| format!("{}: {}", arm.arm, arm.call.name()));
        calls.collect::<Vec<_>>().join(", ")
    }

    /// Whether every arm meets the expectation.
    pub fn meets(&self, expectation: Expectation) -> bool {
        self.arms.iter().all(|arm| match expectation {
            Expectation::Better => arm.call == Call::Better,
            Expectation::Equivalent => arm.call == Call::Equivalent,
            Expectation::NotWorse => match arm.call {
                Call::Better | Call::Equivalent => true,
                Call::Worse | Call::Invalid => false,
                Call::Inconclusive => arm.effect.is_some_and(|e| e.high <= self.rule.margin),
            },
        })
    }
}
