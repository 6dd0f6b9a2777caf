//! Hypotheses whose answers are known, put to the tunnel itself: what must come out is written down
//! before anything is trained, and a table says what came.
//!
//! The table is a pure function of a file of JSON lines: expectations, contracts, outcomes, refusals.
//! Nothing is looked up elsewhere, so anybody can make it again and judge it otherwise.

use super::{
    contract::Contract,
    verdict::{ArmOutcomes, Looks, Rule, Verdict, judge},
};
use crate::{
    device::Machine,
    error::{Error, Result},
    metrics::Outcome,
    rng::Rng,
    stats::{decision::Decision, paired::paired},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What must come out: `expected.toml`, beside the studies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub hypothesis: Vec<Hypothesis>,
}

/// A claim with a known answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hypothesis {
    pub id: String,
    pub claim: String,
    pub truth: String,
    /// A study's file in the same folder.
    pub study: String,
    /// The arm that is judged; of a study that is to be refused, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    /// Whether the study is run although it is blind, to see what it then says.
    #[serde(default)]
    pub exploratory: bool,
    pub expect: Expect,
}

/// What makes an answer right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Expect {
    /// Every paired difference is exactly zero.
    Zero,
    /// The verdict is one of these.
    Verdict(Vec<String>),
    /// At least this share of studies of so many of its seeds, drawn from those trained, has one of
    /// these verdicts.
    Mostly {
        verdicts: Vec<String>,
        seeds: usize,
        share: f64,
    },
    /// Studies that compare seeds of the control with other seeds of it, so many pairs each; their
    /// rate of false alarms is reported with the number of trials that it rests on, and not judged:
    /// studies that share trials are no repetitions.
    Resampled { pairs: usize },
    /// Marked as confounded, and so invalid.
    Confounded,
    /// Refused before the first trial, in words that hold these.
    Refused(String),
}

/// A line of the file of outcomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    Begun {
        schema: String,
        version: String,
        revision: String,
        numerics: String,
        machine: Machine,
        expected: Expected,
    },
    Contract {
        study: String,
        contract: Box<Contract>,
    },
    Outcome {
        study: String,
        arm: String,
        outcome: Box<Outcome>,
    },
    Refused {
        study: String,
        status: i32,
        words: String,
    },
    Ended {
        minutes: f64,
    },
}

pub const SCHEMA: &str = "windtunnel.calibration.v1";
/// Resampled studies behind a rate.
const RESAMPLED: usize = 200;

/// What a hypothesis came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub id: String,
    pub claim: String,
    pub truth: String,
    pub expected: String,
    pub found: String,
    /// `None` where nothing is gated.
    pub right: Option<bool>,
}

/// The table of a file of outcomes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    pub rows: Vec<Row>,
    pub machine: String,
    pub revision: String,
    pub trials: usize,
    /// Of all trials, added up.
    pub trial_minutes: f64,
    /// By the clock on the wall, of one that was not interrupted.
    pub minutes: Option<f64>,
}

/// Everything that a file says of one study.
#[derive(Default)]
struct Seen {
    contract: Option<Contract>,
    outcomes: BTreeMap<String, Vec<Outcome>>,
    refused: Option<(i32, String)>,
}

/// The table that these lines make. Errors when they do not begin as they must.
pub fn table(lines: &[Line]) -> Result<Table> {
    let Some(Line::Begun {
        machine,
        revision,
        expected,
        ..
    }) = lines.first()
    else {
        return Err(Error::input(
            "the outcomes",
            "the first line does not say what was expected",
            "give a file that `windtunnel calibrate --out FILE` wrote",
        ));
    };
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    let mut trials: BTreeMap<&str, f64> = BTreeMap::new();
    let mut minutes = None;
    for line in lines {
        match line {
            Line::Begun { .. } => {}
            Line::Contract { study, contract } => {
                seen.entry(study).or_default().contract = Some((**contract).clone());
            }
            Line::Outcome {
                study,
                arm,
                outcome,
            } => {
                trials.insert(&outcome.trial, outcome.cost.seconds);
                let arms = &mut seen.entry(study).or_default().outcomes;
                arms.entry(arm.clone())
                    .or_default()
                    .push((**outcome).clone());
            }
            Line::Refused {
                study,
                status,
                words,
            } => seen.entry(study).or_default().refused = Some((*status, words.clone())),
            Line::Ended { minutes: took } => minutes = Some(*took),
        }
    }
    let nothing = Seen::default();
    let rows = expected.hypothesis.iter().map(|hypothesis| {
        let seen = seen.get(hypothesis.study.as_str()).unwrap_or(&nothing);
        row(hypothesis, seen)
    });
    Ok(Table {
        rows: rows.collect(),
        machine: format!("{}, {} cores", machine.cpu, machine.cores),
        revision: revision.clone(),
        trials: trials.len(),
        trial_minutes: trials.values().sum::<f64>() / 60.0,
        minutes,
    })
}

fn row(hypothesis: &Hypothesis, seen: &Seen) -> Row {
    let (expected, found, right) = match (&hypothesis.expect, &seen.contract) {
        (Expect::Refused(words), _) => refusal(words, seen),
        (expect, None) => (in_words(expect), "was not run".into(), Some(false)),
        (expect, Some(contract)) => answer(hypothesis, expect, contract, seen),
    };
    Row {
        id: hypothesis.id.clone(),
        claim: hypothesis.claim.clone(),
        truth: hypothesis.truth.clone(),
        expected,
        found,
        right,
    }
}

fn in_words(expect: &Expect) -> String {
    match expect {
        Expect::Zero => "exactly 0".into(),
        Expect::Verdict(verdicts) => verdicts.join(" or "),
        Expect::Mostly {
            verdicts,
            seeds,
            share,
        } => format!(
            "{} in {:.0}% or more of studies of {seeds} seeds",
            verdicts.join(" or "),
            100.0 * share
        ),
        Expect::Resampled { pairs } => format!("rate of alarms of {pairs} pairs (reported)"),
        Expect::Confounded => "invalid: confounded".into(),
        Expect::Refused(words) => format!("refused: {words}"),
    }
}

fn refusal(words: &str, seen: &Seen) -> (String, String, Option<bool>) {
    let expected = in_words(&Expect::Refused(words.into()));
    match &seen.refused {
        None => (expected, "was not refused".into(), Some(false)),
        Some((status, said)) => {
            let right = [2, 3].contains(status) && said.contains(words);
            (expected, format!("status {status}: {said}"), Some(right))
        }
    }
}

fn answer(
    hypothesis: &Hypothesis,
    expect: &Expect,
    contract: &Contract,
    seen: &Seen,
) -> (String, String, Option<bool>) {
    let rule = contract.rule();
    let Some((control, arm)) = arms(hypothesis, contract, seen) else {
        return (in_words(expect), "the arm was not run".into(), Some(false));
    };
    let verdict = judge(&rule, &control, std::slice::from_ref(&arm));
    let line = &verdict.arms[0];
    let said = headline(&verdict);
    let call = line.call.name().to_string();
    let (found, right) = match expect {
        Expect::Zero => {
            let differences = line.pairs.iter().map(super::verdict::Pair::difference);
            let zero = differences.clone().all(|d| d == Some(0.0)) && differences.count() > 0;
            (said, Some(zero))
        }
        Expect::Verdict(verdicts) => (said, Some(verdicts.contains(&call))),
        Expect::Mostly {
            verdicts,
            seeds,
            share,
        } => {
            let rate = subsets(&rule, (&control, &arm), *seeds, verdicts);
            let found = format!(
                "{:.0}% of {RESAMPLED} studies of {seeds} of {} seeds; all of them: {said}",
                100.0 * rate,
                control.outcomes.len()
            );
            (found, Some(rate >= *share))
        }
        Expect::Resampled { pairs } => (resampled(&rule, &control, *pairs), None),
        Expect::Confounded => {
            let terms = contract
                .terms
                .arms
                .iter()
                .find(|terms| terms.name == arm.name);
            let why = terms.and_then(|terms| terms.confounded.as_ref());
            match why {
                Some(why) => (format!("invalid: confounded: {why}"), Some(true)),
                None => (said, Some(false)),
            }
        }
        Expect::Refused(_) => (said, Some(false)),
    };
    (in_words(expect), found, right)
}

/// The verdict without the arm's name.
fn headline(verdict: &Verdict) -> String {
    let arm = &verdict.arms[0];
    let words = arm.headline(&verdict.rule);
    words.trim_start_matches(&format!("{}: ", arm.arm)).into()
}

/// Outcomes of the control and of the arm, over the seeds that both have.
fn arms(
    hypothesis: &Hypothesis,
    contract: &Contract,
    seen: &Seen,
) -> Option<(ArmOutcomes, ArmOutcomes)> {
    let control = &contract.terms.arms.first()?.name;
    let arm = hypothesis.arm.as_ref().unwrap_or(control);
    let of = |name: &String| {
        let outcomes = seen.outcomes.get(name)?.clone();
        let name = name.clone();
        Some(ArmOutcomes { name, outcomes })
    };
    let (mut control, mut arm) = (of(control)?, of(arm)?);
    let n = control.outcomes.len().min(arm.outcomes.len());
    control.outcomes.truncate(n);
    arm.outcomes.truncate(n);
    Some((control, arm))
}

/// The share of studies of `n` seeds, drawn from those that are there, with one of these verdicts.
fn subsets(
    rule: &Rule,
    (control, arm): (&ArmOutcomes, &ArmOutcomes),
    n: usize,
    verdicts: &[String],
) -> f64 {
    let rule = Rule {
        looks: Looks::Once,
        ..*rule
    };
    let mut rng = Rng::named(1, "calibrate.subsets");
    let mut order: Vec<usize> = (0..control.outcomes.len()).collect();
    let mut hits = 0;
    for _ in 0..RESAMPLED {
        rng.shuffle(&mut order);
        let of = |arm: &ArmOutcomes| ArmOutcomes {
            name: arm.name.clone(),
            outcomes: order
                .iter()
                .take(n)
                .map(|i| arm.outcomes[*i].clone())
                .collect(),
        };
        let verdict = judge(&rule, &of(control), &[of(arm)]);
        hits += usize::from(verdicts.iter().any(|v| v == verdict.arms[0].call.name()));
    }
    hits as f64 / RESAMPLED as f64
}

/// How often a study of `pairs` pairs calls two halves of the control's own seeds different.
fn resampled(rule: &Rule, control: &ArmOutcomes, pairs: usize) -> String {
    let values: Vec<f64> = control
        .outcomes
        .iter()
        .filter_map(|outcome| outcome.metric(rule.metric))
        .collect();
    if values.len() < 2 * pairs {
        return format!("{} seeds are too few for {pairs} pairs", values.len());
    }
    let mut rng = Rng::named(2, "calibrate.resampled");
    let mut order: Vec<usize> = (0..values.len()).collect();
    let (mut off_zero, mut alarms) = (0, 0);
    for _ in 0..RESAMPLED {
        rng.shuffle(&mut order);
        let differences: Vec<f64> = (0..pairs)
            .map(|i| values[order[2 * i]] - values[order[2 * i + 1]])
            .collect();
        let Some(seen) = paired(&differences, 1.0 - rule.alpha) else {
            continue;
        };
        let at = |margin: f64| Decision::of_interval(seen.low, seen.high, margin);
        off_zero += usize::from(at(0.0).is_difference());
        alarms += usize::from(at(rule.margin).is_difference());
    }
    let spread = paired(&values, 0.95).map_or(0.0, |seen| seen.sd);
    format!(
        "{:.1}% alarms ({:.1}% at margin 0) in {RESAMPLED} studies drawn from {} seeds; σ of a seed {spread:.4} {}",
        100.0 * alarms as f64 / RESAMPLED as f64,
        100.0 * off_zero as f64 / RESAMPLED as f64,
        values.len(),
        rule.metric.unit()
    )
}

impl Table {
    /// The rows that must be right and are not.
    pub fn wrong(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.right == Some(false))
    }

    /// For a terminal, and for a README: a Markdown table.
    pub fn in_words(&self) -> String {
        let mut text = String::from(
            "| | hypothesis | truth | must come out | came out | |\n|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let mark = match row.right {
                Some(true) => "right",
                Some(false) => "WRONG",
                None => "reported",
            };
            text += &format!(
                "| {} | {} | {} | {} | {} | {mark} |\n",
                row.id, row.claim, row.truth, row.expected, row.found
            );
        }
        let minutes = self
            .minutes
            .map_or(String::new(), |m| format!(" in {m:.1} minutes"));
        text + &format!(
            "\n{} trials, {:.1} minutes of them, on {}{minutes}, revision {}\n",
            self.trials, self.trial_minutes, self.machine, self.revision
        )
    }
}
