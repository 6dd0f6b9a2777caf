//! The verdict: a pure function of a rule and outcomes.
//!
//! One interval for the paired difference, arm minus control on the same seeds, at confidence
//! 1 − α/k for k arms. Inside ± margin: equivalent. Else off zero: better or worse. Else
//! inconclusive. A study that looks after every seed uses the confidence sequence of the t-mixture in
//! the place of the t interval, and an arm's verdict is its first look that decides: what came after
//! is not looked at, so the verdict can be made again from the outcomes whatever else is there.
//! An interval inside ± margin at 1 − α is a stricter demand than two one-sided tests
//! at α (Schuirmann 1987), which use 1 − 2α. If a trial diverged there is no mean: once all seeds are
//! there, an exact paired sign test ranks divergence last; after looks at the pairs before, which had their
//! own α, a study where trials diverge errs with at most 2α. A trial is never left out.
//!
//! Of several arms that beat the control one would be picked, and picking flatters: such an arm is a
//! candidate, and better only once a study of its own on other seeds says so.

pub use super::{
    expectation::Expectation,
    headline::{Percent, digits},
};
use super::{needed::Needed, proposal::Matched, worth::Worth};
use crate::{
    metrics::{Cost, Metric, Outcome},
    stats::{
        anytime::{Anytime, Look},
        decision::Decision,
        paired::{Paired, paired},
        sign::sign_test,
        simultaneous_confidence,
    },
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
    #[serde(default, skip_serializing_if = "Looks::are_once")]
    pub looks: Looks,
}

/// When outcomes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Looks {
    /// Once, at all seeds.
    #[default]
    Once,
    /// After every seed from the `first`-th on, until each arm is decided, or `most` are there.
    EachSeed { first: usize, most: usize },
}

impl Looks {
    fn are_once(&self) -> bool {
        *self == Self::Once
    }
}

/// What a study can say of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    Better,
    /// Better in a study of several arms: to be confirmed on other seeds.
    Candidate,
    Worse,
    Equivalent,
    Inconclusive,
    Invalid,
}

impl Call {
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Candidate => "candidate",
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

impl ArmOutcomes {
    /// Of the first `n` seeds.
    fn first(&self, n: usize) -> Self {
        Self {
            name: self.name.clone(),
            outcomes: self.outcomes[..n.min(self.outcomes.len())].to_vec(),
        }
    }
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
    /// `None` when a trial diverged or the comparison is invalid. Of a study that looks after every
    /// seed: what the deciding look saw, or the last, and p is 1/e, which holds over all looks.
    pub effect: Option<Paired>,
    pub pairs: Vec<Pair>,
    /// Diverged trials of (control, arm).
    pub diverged: (usize, usize),
    /// Two-sided probability of the exact sign test, when a trial diverged.
    pub sign_p: Option<f64>,
    /// What would decide, when inconclusive; filled in where a verdict is written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<Needed>,
    /// Why the comparison is invalid.
    pub invalid: Option<String>,
    /// Mean paired difference in bits per byte of each evaluated corpus, where all trials finished.
    pub by_corpus: BTreeMap<String, f64>,
    /// Every look, where there were several; the last one decided, or was at the last seed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<Look>,
    /// Logarithm of the e-value against no difference, for a campaign's error budget; none where the
    /// study says nothing against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_e: Option<f64>,
    /// The same difference in the metric that is not judged, at the same confidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unjudged: Option<Paired>,
    /// What the effect is worth in the control's training, where its curve tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worth: Option<Worth>,
    /// The same of each corpus's mean difference: more steps, as a fraction.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub worth_by_corpus: BTreeMap<String, f64>,
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
    /// Seeds that were looked at.
    #[serde(default)]
    pub seeds: usize,
    /// What the trials that were looked at cost, each counted once.
    #[serde(default)]
    pub cost: Cost,
    /// Why it may not be quoted as a test of its hypothesis: fixed before the first trial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exploratory: Vec<String>,
}

/// Judges every arm against the control. Arms have one outcome for each seed of the control; of a
/// study that looks after every seed, those after its stop change nothing.
pub fn judge(rule: &Rule, control: &ArmOutcomes, arms: &[ArmOutcomes]) -> Verdict {
    let alpha = 1.0 - simultaneous_confidence(rule.alpha, arms.len());
    let seen = stop(rule, control, arms).unwrap_or(control.outcomes.len());
    let control = control.first(seen);
    let arms: Vec<ArmOutcomes> = arms.iter().map(|arm| arm.first(seen)).collect();
    let several = arms.len() > 1;
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
        seeds: seen,
        cost: total_cost(
            std::iter::once(&control)
                .chain(&arms)
                .flat_map(|arm| &arm.outcomes),
        ),
        exploratory: Vec::new(),
        arms: arms
            .iter()
            .map(|arm| {
                let mut verdict = judge_arm(rule, &control, arm, alpha);
                if several && verdict.call == Call::Better {
                    verdict.call = Call::Candidate;
                }
                verdict
            })
            .collect(),
    }
}

/// How many seeds a study needs of those that are there: for one that looks after every seed, the
/// first number at which each arm is decided, or all when the last seed is there. `None` while it
/// has to go on.
pub fn stop(rule: &Rule, control: &ArmOutcomes, arms: &[ArmOutcomes]) -> Option<usize> {
    let there = control.outcomes.len();
    let Looks::EachSeed { most, .. } = rule.looks else {
        return Some(there);
    };
    let alpha = 1.0 - simultaneous_confidence(rule.alpha, arms.len());
    let last = there.min(most);
    // An arm is decided at its own look, and stays so.
    let needed = arms.iter().map(|arm| {
        let shown = (1..=last).find(|n| {
            let pair = control.outcomes.get(n - 1).zip(arm.outcomes.get(n - 1));
            pair.is_none_or(|(c, a)| differ(rule, c, a).is_some())
        });
        if shown.is_some() {
            return shown;
        }
        let differences: Vec<f64> = leading(&pairs(rule, control, arm)).collect();
        let look = looks(rule, &differences, alpha).pop()?;
        (look.decision != Decision::Continue).then_some(look.n)
    });
    let needed: Option<Vec<usize>> = needed.collect();
    match needed.and_then(|needed| needed.into_iter().max()) {
        Some(n) => Some(n),
        None => (there >= most).then_some(most),
    }
}

fn pairs(rule: &Rule, control: &ArmOutcomes, arm: &ArmOutcomes) -> Vec<Pair> {
    let outcomes = control.outcomes.iter().zip(&arm.outcomes);
    outcomes
        .map(|(c, a)| Pair {
            seed: c.seed,
            control: c.metric(rule.metric),
            arm: a.metric(rule.metric),
        })
        .collect()
}

/// The differences before the first divergence.
fn leading(pairs: &[Pair]) -> impl Iterator<Item = f64> + '_ {
    pairs.iter().map_while(Pair::difference)
}

/// The looks that a study takes at these differences, up to the first that decides.
fn looks(rule: &Rule, differences: &[f64], alpha: f64) -> Vec<Look> {
    let Looks::EachSeed { first, most } = rule.looks else {
        return Vec::new();
    };
    let anytime = Anytime::new(alpha, rule.margin);
    let mut looks = Vec::new();
    for n in first.max(2)..=differences.len().min(most) {
        let look = anytime.look(&differences[..n]);
        looks.push(look);
        if look.decision != Decision::Continue {
            break;
        }
    }
    looks
}

fn judge_arm(rule: &Rule, control: &ArmOutcomes, arm: &ArmOutcomes, alpha: f64) -> ArmVerdict {
    let pairs = pairs(rule, control, arm);
    let count =
        |of: fn(&Pair) -> Option<f64>| pairs.iter().filter(|pair| of(pair).is_none()).count();
    let diverged = (count(|pair| pair.control), count(|pair| pair.arm));
    let differences: Vec<f64> = leading(&pairs).collect();
    let mut verdict = ArmVerdict {
        arm: arm.name.clone(),
        call: Call::Inconclusive,
        effect: None,
        diverged,
        sign_p: None,
        needed: None,
        invalid: invalid(rule, control, arm),
        by_corpus: by_corpus(control, arm),
        looks: looks(rule, &differences, alpha),
        log_e: None,
        unjudged: unjudged(rule, (control, arm), alpha),
        worth: None,
        worth_by_corpus: BTreeMap::new(),
        pairs,
    };
    let decided = verdict
        .looks
        .last()
        .filter(|look| look.decision != Decision::Continue);
    if verdict.invalid.is_some() {
        verdict.call = Call::Invalid;
    } else if diverged != (0, 0) && decided.is_none() {
        let (wins, losses) = ranks(&verdict.pairs);
        let p = sign_test(wins, losses);
        verdict.sign_p = Some(p);
        verdict.call = match p <= alpha {
            true if wins > losses => Call::Better,
            true => Call::Worse,
            false => Call::Inconclusive,
        };
    } else {
        by_interval(&mut verdict, rule, &differences, alpha);
    }
    verdict
}

/// The paired difference in the other metric, where all trials finished.
fn unjudged(
    rule: &Rule,
    (control, arm): (&ArmOutcomes, &ArmOutcomes),
    alpha: f64,
) -> Option<Paired> {
    let metric = rule.metric.other();
    let pairs = control.outcomes.iter().zip(&arm.outcomes);
    let differences = pairs.map(|(c, a)| Some(a.metric(metric)? - c.metric(metric)?));
    paired(&differences.collect::<Option<Vec<f64>>>()?, 1.0 - alpha)
}

/// Fills in effect and call where there is an interval for a mean.
fn by_interval(verdict: &mut ArmVerdict, rule: &Rule, differences: &[f64], alpha: f64) {
    (verdict.effect, verdict.log_e) = match verdict.looks.last() {
        Some(look) => (of_look(look, alpha), look.evidence()),
        None if rule.looks != Looks::Once => (None, None),
        None => {
            let look = Anytime::new(alpha, rule.margin).look(differences);
            (paired(differences, 1.0 - alpha), Some(look.log_e))
        }
    };
    verdict.log_e = verdict.log_e.filter(|log_e| log_e.is_finite());
    let Some(effect) = verdict.effect else {
        return;
    };
    verdict.call = call(&effect, rule.margin);
}

/// What a look saw, where its interval is not the whole line.
fn of_look(look: &Look, alpha: f64) -> Option<Paired> {
    let (low, high) = look.interval?;
    Some(Paired {
        n: look.n,
        mean: look.mean,
        sd: look.sd,
        low,
        high,
        confidence: 1.0 - alpha,
        p: (-look.log_e).exp().min(1.0),
    })
}

impl ArmVerdict {
    /// Makes the comparison one that nothing can be concluded from.
    pub fn refuse(&mut self, why: String) {
        self.call = Call::Invalid;
        self.effect = None;
        self.unjudged = None;
        self.log_e = None;
        self.needed = None;
        self.invalid = Some(why);
    }
}

/// What these trials cost together, each counted once; a trunk that some share counts once.
pub fn total_cost<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Cost {
    let mut seen = BTreeSet::new();
    let mut total = Cost::default();
    for outcome in outcomes {
        if seen.insert(&outcome.trial) {
            let own = outcome.own_cost();
            total.seconds += own.seconds;
            total.tokens += own.tokens;
            total.flops += own.flops;
        }
    }
    total
}

fn call(effect: &Paired, margin: f64) -> Call {
    match Decision::of_interval(effect.low, effect.high, margin) {
        Decision::Better => Call::Better,
        Decision::Worse => Call::Worse,
        Decision::Equivalent => Call::Equivalent,
        Decision::Continue => Call::Inconclusive,
    }
}

/// (pairs that the arm wins, pairs that it loses), divergence ranked last; ties count for neither.
pub(super) fn ranks(pairs: &[Pair]) -> (usize, usize) {
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
    let mut pairs = control.outcomes.iter().zip(&arm.outcomes);
    pairs.find_map(|(c, a)| differ(rule, c, a))
}

/// Why two trials are no pair, if they are not.
fn differ(rule: &Rule, control: &Outcome, arm: &Outcome) -> Option<String> {
    let seed = control.seed;
    if seed != arm.seed {
        return Some(format!("seed {} is paired with seed {seed}", arm.seed));
    }
    if control.windows != arm.windows {
        return Some(format!("seed {seed}: the validation windows differ"));
    }
    let both_finished = control.eval().is_some() && arm.eval().is_some();
    let what = rule.matched.differs(&control.cost, &arm.cost);
    what.filter(|_| both_finished)
        .map(|what| format!("seed {seed}: trained on {what}"))
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
