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

/// Losses on every corpus's windows, and their weighted means. The weights sum to 1; `at` is the
/// step and the tokens trained on.
pub fn evaluate(
    gpt: &Gpt,
    tape: &mut Tape<f32>,
    windows: &[(f64, Arc<EvalWindows>)],
    rows: usize,
    at: (u64, u64),
) -> Result<EvalRecord> {
    let mut record = EvalRecord {
        step: at.0,
        tokens: at.1,
        loss: 0.0,
        bpb: 0.0,
        val: BTreeMap::new(),
        ema: None,
    };
    for (weight, windows) in windows {
        let eval = evaluate_corpus(gpt, tape, windows, rows)?;
        record.loss += weight * eval.loss;
        record.bpb += weight * eval.bpb;
        record.val.insert(windows.corpus().to_string(), eval);
    }
    Ok(record)
}

/// Mean nats per token, and bits per byte of the text that the counted tokens stand for; beside
/// them, of a corpus with answers, how many the model gets right.
fn evaluate_corpus(
    gpt: &Gpt,
    tape: &mut Tape<f32>,
    windows: &EvalWindows,
    rows: usize,
) -> Result<CorpusEval> {
    let t = gpt.config().block_size;
    let mut nats = 0.0;
    let mut judged = Judged::default();
    // Of all targets in a row, the first of the next batch; answers are in order and none is cut.
    let mut first = 0;
    let mut answers = windows.answers().unwrap_or_default();
    for batch in windows.batches(rows) {
        tape.begin(Mode::Eval);
        let tokens: Arc<[u32]> = batch.inputs.into();
        let pass = (&tokens, &batch.targets[..]);
        if windows.answers().is_none() {
            nats += gpt.loss(tape, pass, t, 1.0)?[0];
            continue;
        }
        let scores = gpt.scores(tape, pass, t)?;
        nats += scores.iter().map(|score| score.nats).sum::<f64>();
        let after = answers.partition_point(|answer| answer.end <= first + scores.len());
        for answer in &answers[..after] {
            judged.add(&scores[answer.start - first..answer.end - first]);
        }
        answers = &answers[after..];
        first += scores.len();
    }
    let (tokens, bytes) = (windows.tokens(), windows.bytes());
    let some = |x: f64| (judged.answers > 0).then_some(x);
    Ok(CorpusEval {
        loss: nats / tokens as f64,
        bpb: nats / bytes as f64 / std::f64::consts::LN_2,
        tokens,
        bytes,
        answers: windows.answers().map(|_| judged.answers),
        accuracy: some(judged.right as f64 / judged.answers as f64),
        answer_loss: some(judged.nats / judged.tokens as f64),
    })
}

/// What is known of the answers so far.
#[derive(Default)]
struct Judged {
    answers: u64,
    right: u64,
    tokens: u64,
    nats: f64,
}

impl Judged {
    /// One more answer, from the scores of its tokens.
    fn add(&mut self, scores: &[Score]) {
        self.answers += 1;
        self.right += u64::from(scores.iter().all(|score| score.likeliest));
        self.tokens += scores.len() as u64;
        self.nats += scores.iter().map(|score| score.nats).sum::<f64>();
    }
}
