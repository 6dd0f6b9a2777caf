//! A restored model on texts that its run did not name, and its parts.

use super::{Restored, Session};
use crate::{
    checkpoint::{self, Checkpoint},
    data::{EvalWindows, Tokenizer},
    error::{Error, Result},
    eval::evaluate,
    metrics::EvalRecord,
    params::Params,
    run::Run,
    run_dir::RunDir,
    tape::Mode,
};
use serde::Serialize;
use std::sync::Arc;

/// What a model makes of a text, token by token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextNats {
    pub step: u64,
    /// Mean nats per token.
    pub loss: f64,
    /// Of the bytes that the counted tokens stand for.
    pub bpb: f64,
    pub ids: Vec<u16>,
    /// −ln p of each token but the first, given those before it.
    pub nats: Vec<f64>,
}

impl Restored {
    pub fn run(&self) -> &Run {
        &self.run
    }

    pub fn params(&self) -> &Params<f32> {
        &self.tape.params
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The same run with the average of its weights in their place. Errors when it kept none.
    pub fn averaged(mut self, dir: &RunDir) -> Result<Self> {
        if self.run.eval.ema == 0.0 {
            return Err(Error::input(
                "--ema",
                "the run kept no average of its weights: its eval.ema is 0",
                "leave --ema out, or train with eval.ema = 0.999, say",
            ));
        }
        let path = checkpoint::path(&dir.checkpoints(), self.step);
        Checkpoint::open(&path)?.load_average(&mut self.tape.params)?;
        Ok(self)
    }

    /// Losses on the validation windows of these corpora, `limit` of each spread evenly unless that
    /// is 0, and their plain means. Errors at a corpus that there is not, that is too short, or that
    /// the tokenizer can't spell.
    pub fn evaluate_on(
        &mut self,
        session: &Session,
        corpora: &[String],
        limit: usize,
    ) -> Result<EvalRecord> {
        let mut names = corpora.to_vec();
        names.sort();
        names.dedup();
        names
            .iter()
            .try_for_each(|name| session.check_name("--corpus", name))?;
        let block = self.run.model.block_size;
        let imported = self.run.data.mixture.is_empty();
        let weight = 1.0 / names.len() as f64;
        let windows = names.iter().map(|name| {
            let at = |e: Error| Error {
                problem: format!("{}: {}", e.place, e.problem),
                remedy: match e.place == "model.block_size" && imported {
                    true => format!("{}; import the model again with --block-size", e.remedy),
                    false => e.remedy,
                },
                place: format!("--corpus {name}"),
                ..e
            };
            let corpus = session.corpus(name, &self.tokenizer).map_err(at)?;
            let windows = EvalWindows::new(corpus, block, limit, &self.tokenizer).map_err(at)?;
            Ok((weight, Arc::new(windows)))
        });
        let windows = windows.collect::<Result<Vec<_>>>()?;
        let at = (self.step, self.step * self.run.tokens_per_step());
        let rows = self.run.batch.rows;
        evaluate(&self.gpt, &mut self.tape, &windows, rows, at)
    }

    /// What the model makes of a text: blocks of at most `block_size` tokens, each seen from its own
    /// start; `see` gets a row of logits for every token, in order. Errors when the tokenizer can't
    /// spell the text, or nothing in it follows on a token.
    pub fn text_nats(&mut self, text: &str, see: &mut dyn FnMut(&[f32])) -> Result<TextNats> {
        let ids = self.tokenizer.encode(text)?;
        if ids.len() < 2 {
            return Err(Error::input(
                "the text",
                format!("has {} tokens: none follows on another", ids.len()),
                "give a longer text",
            ));
        }
        let mut nats = Vec::with_capacity(ids.len());
        for context in ids.chunks(self.run.model.block_size) {
            let tokens: Arc<[u32]> = context.iter().map(|id| u32::from(*id)).collect();
            self.tape.begin(Mode::Eval);
            let logits = self.gpt.logits(&mut self.tape, &tokens, tokens.len())?;
            let logits = self.tape.to_host(logits)?;
            for row in logits.chunks_exact(self.run.vocab_size) {
                see(row);
                if let Some(next) = ids.get(nats.len() + 1) {
                    nats.push(surprise(row, usize::from(*next)));
                }
            }
        }
        let sizes = self.tokenizer.bytes_per_id();
        let bytes: u32 = ids[1..].iter().map(|id| sizes[usize::from(*id)]).sum();
        let total: f64 = nats.iter().sum();
        Ok(TextNats {
            step: self.step,
            loss: total / nats.len() as f64,
            bpb: total / f64::from(bytes) / std::f64::consts::LN_2,
            ids,
            nats,
        })
    }
}

/// −ln of the probability that these logits give to a token.
fn surprise(logits: &[f32], token: usize) -> f64 {
    let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|z| (f64::from(*z) - top).exp()).sum();
    sum.ln() + top - f64::from(logits[token])
}
