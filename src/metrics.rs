//! What a run says of itself: a record a line in `metrics.jsonl`, and its outcome.

use crate::data::Realised;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Steps done, this one included: the first record says 1.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Training loss of this step, nats per token.
    pub loss: f64,
    pub lr: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Targets that count in this step's loss, where not all do; 0 of them make a loss of 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<u64>,
    /// Wall-clock milliseconds of this step, of all runs that were trained as one; the one field that differs between identical runs.
    pub ms: f64,
}

/// One corpus's figures on its fixed validation windows.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct CorpusEval {
    /// Nats per token.
    pub loss: f64,
    /// Bits per byte.
    pub bpb: f64,
    pub tokens: u64,
    pub bytes: u64,
    /// Answers that were judged, of a corpus that has answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<u64>,
    /// Share of them whose every token is the model's likeliest after the true text before it, 0 to
    /// 1: what greedy decoding would have written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Nats per token of those answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_loss: Option<f64>,
}

impl CorpusEval {
    /// Its answers in words, with a space before them; nothing where none were judged.
    pub fn answers_in_words(&self) -> String {
        match (self.accuracy, self.answer_loss, self.answers) {
            (Some(accuracy), Some(loss), Some(answers)) => format!(
                "  {:.1}% of {answers} answers right, {loss:.4} nats per answer token",
                100.0 * accuracy
            ),
            _ => String::new(),
        }
    }
}

/// One evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    pub step: u64,
    pub tokens: u64,
    /// Weighted mean over the evaluated corpora, nats per token.
    pub loss: f64,
    /// Weighted mean over the evaluated corpora, bits per byte.
    pub bpb: f64,
    /// By corpus name.
    pub val: BTreeMap<String, CorpusEval>,
    /// The same means of the averaged weights, where the recipe has them averaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<Averaged>,
}

/// What the averaged weights reach on the same windows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Averaged {
    pub loss: f64,
    pub bpb: f64,
}

impl EvalRecord {
    /// The accuracy on every corpus where answers were judged, in words, with a space before them.
    pub fn accuracies(&self) -> String {
        let of = |(corpus, val): (&String, &CorpusEval)| {
            Some(format!("  {corpus} {:.1}% right", 100.0 * val.accuracy?))
        };
        self.val.iter().filter_map(of).collect()
    }

    pub fn metric(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Bpb => self.bpb,
            Metric::Loss => self.loss,
        }
    }
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    Step(StepRecord),
    Eval(EvalRecord),
    Data(DataRecord),
}

/// What was drawn so far, written beside every evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataRecord {
    pub step: u64,
    pub corpora: Vec<Realised>,
}

impl Record {
    /// Steps done when it was written.
    pub fn step(&self) -> u64 {
        match self {
            Record::Step(record) => record.step,
            Record::Eval(record) => record.step,
            Record::Data(record) => record.step,
        }
    }
}

/// What a run cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds of wall clock in which the run held its device; its share where several ran on it as
    /// one program.
    pub seconds: f64,
    pub tokens: u64,
    pub flops: f64,
}

/// How a run ended. A diverged run is an outcome, never an exclusion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Ending {
    /// All steps done; the last evaluation on the fixed windows.
    Finished { eval: EvalRecord },
    /// The loss or a gradient was not a number, or infinite, at this step.
    Diverged { step: u64, what: String },
}

/// `outcome.json`: written once, when a run ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub schema: String,
    /// The trial's content address.
    pub trial: String,
    /// What it is but for its seed.
    pub design: String,
    pub seed: u64,
    #[serde(flatten)]
    pub ending: Ending,
    /// Of the whole run, whoever trained its first part; but the seconds are its own.
    pub cost: Cost,
    /// Its first part was another run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branched: Option<Branched>,
    pub realised: Vec<Realised>,
    /// Digest of the validation windows that were read.
    pub windows: String,
}

/// Where a run left another's trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branched {
    /// Steps that were not trained again.
    pub step: u64,
    pub tokens: u64,
}

impl Outcome {
    /// What it cost beside what others had trained before.
    pub fn own_cost(&self) -> Cost {
        let shared = self.branched.map_or(0, |branched| branched.tokens);
        let tokens = self.cost.tokens.saturating_sub(shared);
        Cost {
            seconds: self.cost.seconds,
            tokens,
            flops: self.cost.flops * tokens as f64 / self.cost.tokens.max(1) as f64,
        }
    }

    pub const SCHEMA: &str = "windtunnel.outcome.v1";

    /// The last evaluation, or `None` when the run diverged.
    pub fn eval(&self) -> Option<&EvalRecord> {
        match &self.ending {
            Ending::Finished { eval } => Some(eval),
            Ending::Diverged { .. } => None,
        }
    }

    /// The final value of `metric`, or `None` when the run diverged.
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        self.eval().map(|eval| eval.metric(metric))
    }
}

/// What a study compares; lower is better for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Bits per byte: comparable between tokenizers.
    #[default]
    Bpb,
    /// Nats per token.
    Loss,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Metric::Bpb => "bpb",
            Metric::Loss => "loss",
        }
    }

    /// The one that is not judged.
    pub fn other(self) -> Self {
        match self {
            Metric::Bpb => Metric::Loss,
            Metric::Loss => Metric::Bpb,
        }
    }

    pub fn unit(self) -> &'static str {
        match self {
            Metric::Bpb => "bits per byte",
            Metric::Loss => "nats per token",
        }
    }
}
