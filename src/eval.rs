//! Evaluation on fixed windows, in nats per token and bits per byte.

use crate::{
    data::{EvalWindows, Share},
    error::Result,
    metrics::{CorpusEval, EvalRecord},
    model::Gpt,
    ops::cross_entropy::Score,
    tape::{Mode, Tape},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The `[eval]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Steps between evaluations; the last step is always evaluated. 0 evaluates at the end only.
    pub every: u64,
    /// Windows per corpus, spread evenly over its validation part; 0 means all of them.
    pub windows: usize,
    /// Decay of the weights' exponential average, which is evaluated beside the weights themselves,
    /// 0 to below 1; 0 keeps none. Studies judge the weights.
    pub ema: f64,
    /// What is evaluated; empty means the mixture's corpora, weighted equally.
    pub corpora: Vec<Share>,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            every: 250,
            windows: 0,
            ema: 0.0,
            corpora: Vec::new(),
        }
    }
}

/// Losses on every corpus's windows, and their weighted means, of a tape of one variant. The weights
/// sum to 1; `at` is the step and the tokens trained on.
pub fn evaluate(
    gpt: &Gpt,
    tape: &mut Tape<f32>,
    windows: &[(f64, Arc<EvalWindows>)],
    rows: usize,
    at: (u64, u64),
) -> Result<EvalRecord> {
    let mut records = evaluate_all(gpt, tape, windows, rows, at)?;
    Ok(records.swap_remove(0))
}

/// The same of every variant of a tape, on the same windows.
pub fn evaluate_all(
    gpt: &Gpt,
    tape: &mut Tape<f32>,
    windows: &[(f64, Arc<EvalWindows>)],
    rows: usize,
    at: (u64, u64),
) -> Result<Vec<EvalRecord>> {
    let empty = EvalRecord {
        step: at.0,
        tokens: at.1,
        loss: 0.0,
        bpb: 0.0,
        val: BTreeMap::new(),
        ema: None,
    };
    let mut records = vec![empty; tape.k()];
    for (weight, windows) in windows {
        let evals = evaluate_corpus(gpt, tape, windows, rows)?;
        for (record, eval) in records.iter_mut().zip(evals) {
            record.loss += weight * eval.loss;
            record.bpb += weight * eval.bpb;
            record.val.insert(windows.corpus().to_string(), eval);
        }
    }
    Ok(records)
}

/// Of each variant, mean nats per token, and bits per byte of the text that the counted tokens stand
/// for; beside them, of a corpus with answers, how many the model gets right.
fn evaluate_corpus(
    gpt: &Gpt,
    tape: &mut Tape<f32>,
    windows: &EvalWindows,
    rows: usize,
) -> Result<Vec<CorpusEval>> {
    let (t, k) = (gpt.config().block_size, tape.k());
    let mut judged = vec![Judged::default(); k];
    // Of all targets in a row, the first of the next batch; answers are in order and none is cut.
    let mut first = 0;
    let mut answers = windows.answers().unwrap_or_default();
    let ones = vec![1.0; k];
    tape.clear_losses()?;
    for batch in windows.batches(rows) {
        let tokens: Arc<[u32]> = batch.inputs.repeat(k).into();
        let targets = batch.targets.repeat(k);
        let pass = (&tokens, &targets[..]);
        if windows.answers().is_none() {
            tape.repeat_eval((pass.0, pass.1), gpt.vocab_size(), &ones, |tape| {
                tape.begin(Mode::Eval);
                gpt.add_loss(tape, pass, t, &ones)
            })?;
            continue;
        }
        tape.begin(Mode::Eval);
        let n = batch.targets.len();
        let after = answers.partition_point(|answer| answer.end <= first + n);
        let scores = gpt.scores(tape, pass, t)?;
        for (judged, scores) in judged.iter_mut().zip(scores.chunks_exact(n)) {
            judged.nats += scores.iter().map(|score| score.nats).sum::<f64>();
            for answer in &answers[..after] {
                judged.add(&scores[answer.start - first..answer.end - first]);
            }
        }
        answers = &answers[after..];
        first += n;
    }
    let losses = tape.take_losses()?;
    let evals = judged.iter().zip(losses).map(|(judged, nats)| {
        let nats = if windows.answers().is_some() {
            judged.nats
        } else {
            nats
        };
        judged.eval(nats, windows)
    });
    Ok(evals.collect())
}

/// What is known of the answers so far.
#[derive(Debug, Clone, Default)]
struct Judged {
    /// Of all targets.
    nats: f64,
    answers: u64,
    right: u64,
    /// Of the answers alone.
    tokens: u64,
    answer_nats: f64,
}

impl Judged {
    /// One more answer, from the scores of its tokens.
    fn add(&mut self, scores: &[Score]) {
        self.answers += 1;
        self.right += u64::from(scores.iter().all(|score| score.likeliest));
        self.tokens += scores.len() as u64;
        self.answer_nats += scores.iter().map(|score| score.nats).sum::<f64>();
    }

    /// The figures of a corpus whose targets have `nats` in all.
    fn eval(&self, nats: f64, windows: &EvalWindows) -> CorpusEval {
        let (tokens, bytes) = (windows.tokens(), windows.bytes());
        let some = |x: f64| (self.answers > 0).then_some(x);
        CorpusEval {
            loss: nats / tokens as f64,
            bpb: nats / bytes as f64 / std::f64::consts::LN_2,
            tokens,
            bytes,
            answers: windows.answers().map(|_| self.answers),
            accuracy: some(self.right as f64 / self.answers as f64),
            answer_loss: some(self.answer_nats / self.tokens as f64),
        }
    }
}
