//! What looks wrong in a run's log, by rules that were fixed on other logs than those they are
//! measured on.
//!
//! Beside a run of the same seed and the same data order (a study's control) the residual of the two
//! losses is looked at: what the batches do to both cancels, and a spike of a twentieth of a nat stands
//! out. Alone, a run has only its own past, and its alarms are fewer and later. A flag is a place to
//! look: it changes no verdict.

mod rules;

use crate::{
    error::Result,
    metrics::{EvalRecord, Outcome, Record, StepRecord},
    run::Run,
    run_dir::RunDir,
};
use serde::Serialize;

/// What a flag is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Anomaly {
    /// The loss or a gradient stopped being a number.
    NotANumber,
    /// The first loss is not that of a model that knows nothing.
    Start,
    /// The rate is not what the schedule says.
    Rate,
    /// A loss far above what came before, or above the baseline's.
    Spike,
    /// The loss went up and stayed there.
    Divergence,
    /// Validation rises while training falls.
    Overfitting,
    /// Steps take longer than they did.
    Slow,
    /// The data did not come in the baseline's order.
    Order,
}

impl Anomaly {
    pub fn name(self) -> &'static str {
        match self {
            Self::NotANumber => "not a number",
            Self::Start => "start",
            Self::Rate => "rate",
            Self::Spike => "spike",
            Self::Divergence => "divergence",
            Self::Overfitting => "overfitting",
            Self::Slow => "slow",
            Self::Order => "order",
        }
    }
}

/// One place of a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flag {
    pub anomaly: Anomaly,
    /// Steps done when it was seen.
    pub step: u64,
    /// What was seen, with numbers.
    pub words: String,
    /// What to look at first.
    pub look: &'static str,
}

/// A run's log, as far as the rules read it.
#[derive(Debug, Clone)]
pub struct Log {
    pub run: Run,
    pub steps: Vec<StepRecord>,
    pub evals: Vec<EvalRecord>,
    pub outcome: Option<Outcome>,
}

impl Log {
    /// Errors when a file of the run is damaged.
    pub fn read(dir: &RunDir) -> Result<Self> {
        let mut log = Self {
            run: Run::load(&dir.recipe())?,
            steps: Vec::new(),
            evals: Vec::new(),
            outcome: dir.outcome()?,
        };
        for record in dir.records()? {
            match record {
                Record::Step(step) => log.steps.push(step),
                Record::Eval(eval) => log.evals.push(eval),
                Record::Data(_) => {}
            }
        }
        Ok(log)
    }
}

/// Every flag of a log, by step; beside a baseline, which has the same seed and data order, where
/// there is one.
pub fn flags(log: &Log, baseline: Option<&Log>) -> Vec<Flag> {
    let mut flags = Vec::new();
    flags.extend(rules::not_a_number(log));
    flags.extend(rules::start(log));
    flags.extend(rules::rate(log));
    flags.extend(match baseline {
        Some(baseline) => rules::spikes_beside(log, baseline),
        None => rules::spikes_alone(log),
    });
    flags.extend(rules::divergence(log));
    flags.extend(rules::overfitting(log));
    flags.extend(rules::slow(log));
    flags.extend(baseline.and_then(|baseline| rules::order(log, baseline)));
    flags.sort_by_key(|flag| (flag.step, flag.anomaly));
    flags
}
