//! A study's and a run's figures, made of what is on the disk: finished or not, and for some of the
//! arms where there are too many to see.

use super::{
    TrialRecords,
    plot::{ArmCurves, Curve, Differences, curves_svg, differences_svg},
};
use crate::{
    metrics::{Metric, Record},
    study::{
        contract::Terms,
        verdict::{ArmVerdict, Verdict},
    },
};

/// Validation curves of the arms that `shown` says, the control first.
pub fn curves(terms: &Terms, trials: &[Vec<TrialRecords>], shown: impl Fn(&str) -> bool) -> String {
    let metric = terms.decision.metric;
    let arms = terms.arms.iter().zip(trials);
    let arms: Vec<ArmCurves> = arms
        .filter(|(arm, _)| shown(&arm.name))
        .map(|(arm, trials)| ArmCurves {
            name: &arm.name,
            curves: trials.iter().map(|trial| of_trial(trial, metric)).collect(),
        })
        .collect();
    curves_svg(&arms, &format!("validation, {}", metric.unit()))
}

/// Paired differences of the arms that `shown` says.
pub fn differences(terms: &Terms, verdict: &Verdict, shown: impl Fn(&str) -> bool) -> String {
    let mut arms = paired(verdict);
    arms.retain(|arm| shown(arm.arm));
    let unit = terms.decision.metric.unit();
    let label = format!("difference from {}, {unit}", verdict.control);
    differences_svg(&arms, terms.decision.margin, &label)
}

/// What a run recorded on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// On the fixed windows.
    Validation(Metric),
    /// The training loss of every step that was logged.
    Training,
    GradNorm,
    LearningRate,
}

impl Recorded {
    /// (tokens trained, value) in order.
    pub fn points(self, records: &[Record]) -> Vec<(f64, f64)> {
        let point = |record: &Record| match (self, record) {
            (Self::Validation(metric), Record::Eval(eval)) => {
                Some((eval.tokens as f64, eval.metric(metric)))
            }
            (Self::Training, Record::Step(step)) => Some((step.tokens as f64, step.loss)),
            (Self::GradNorm, Record::Step(step)) => Some((step.tokens as f64, step.grad_norm)),
            (Self::LearningRate, Record::Step(step)) => Some((step.tokens as f64, step.lr)),
            _ => None,
        };
        records.iter().filter_map(point).collect()
    }

    pub fn in_words(self) -> String {
        match self {
            Self::Validation(metric) => format!("validation, {}", metric.unit()),
            Self::Training => format!("training loss, {}", Metric::Loss.unit()),
            Self::GradNorm => "gradient norm before clipping".into(),
            Self::LearningRate => "learning rate".into(),
        }
    }
}

/// The curves of a few runs, each under its name.
pub fn runs(runs: &[(String, Vec<Record>)], what: Recorded) -> String {
    let arms = runs.iter().map(|(name, records)| ArmCurves {
        name,
        curves: vec![Curve {
            seed: 0,
            points: what.points(records),
        }],
    });
    let arms: Vec<ArmCurves> = arms.collect();
    curves_svg(&arms, &what.in_words())
}

fn of_trial(trial: &TrialRecords, metric: Metric) -> Curve {
    Curve {
        seed: trial.seed,
        points: Recorded::Validation(metric).points(&trial.records),
    }
}

/// Each arm's paired differences, where both trials finished, and their interval.
pub fn paired(verdict: &Verdict) -> Vec<Differences<'_>> {
    verdict.arms.iter().map(of_arm).collect()
}

fn of_arm(arm: &ArmVerdict) -> Differences<'_> {
    let pairs = arm.pairs.iter();
    Differences {
        arm: &arm.arm,
        values: pairs
            .filter_map(|pair| Some((pair.seed, pair.difference()?)))
            .collect(),
        interval: arm.effect.map(|e| (e.low, e.mean, e.high)),
    }
}
