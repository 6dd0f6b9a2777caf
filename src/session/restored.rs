//! A run's model read back: evaluated again, on its own corpora or on others, and sampled from.

use super::Session;
use crate::{
    checkpoint::{self, Checkpoint},
    data::{EvalWindows, Tokenizer, split::Part},
    error::{Error, Result},
    eval::evaluate,
    metrics::EvalRecord,
    model::Gpt,
    params::Params,
    pool::Pool,
    rng::Rng,
    run::Run,
    run_dir::RunDir,
    tape::{Mode, Tape},
    train::{CheckpointExtra, windows_digest},
};
use serde::Serialize;
use std::sync::Arc;

/// A run's newest checkpoint, read back.
pub struct Restored {
    run: Run,
    gpt: Gpt,
    tape: Tape<f32>,
    tokenizer: Tokenizer,
    step: u64,
}

/// Reads a run's newest checkpoint. Errors when there is none, or it is damaged.
pub fn restore(session: &Session, dir: &RunDir) -> Result<Restored> {
    let run = Run::load(&dir.recipe())?;
    let folder = dir.checkpoints();
    let step = checkpoint::steps(&folder).pop().ok_or_else(|| {
        Error::input(
            folder.display().to_string(),
            "the run has no checkpoint yet",
            "let it train on; `windtunnel ls` shows how far it is",
        )
    })?;
    let file = Checkpoint::open(&checkpoint::path(&folder, step))?;
    let header = file.header::<CheckpointExtra>()?;
    let (gpt, specs) = Gpt::new(&run.model, run.vocab_size);
    let mut params = Params::new(1, specs);
    file.load((&mut params, 0), None)?;
    let pool = Arc::new(Pool::new(session.compute.class.threads));
    Ok(Restored {
        gpt,
        tape: Tape::open(params, &session.compute, pool)?,
        tokenizer: header.extra.tokenizer,
        step: header.step,
        run,
    })
}

/// Digest of the validation windows that a run is evaluated on, as they are now; none where it has no
/// checkpoint, which holds its tokenizer. Errors when a corpus is not the one it was.
pub fn windows_now(session: &Session, dir: &RunDir) -> Result<Option<String>> {
    let run = Run::load(&dir.recipe())?;
    let folder = dir.checkpoints();
    let Some(step) = checkpoint::steps(&folder).pop() else {
        return Ok(None);
    };
    let header = Checkpoint::open(&checkpoint::path(&folder, step))?.header::<CheckpointExtra>()?;
    let data = session.open(&run, &header.extra.tokenizer)?;
    Ok(Some(windows_digest(&data.windows)))
}

/// How to draw tokens.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    pub tokens: usize,
    /// 0 takes the likeliest token.
    pub temperature: f64,
    /// 0 means all tokens.
    pub top_k: usize,
    pub seed: u64,
}

impl Restored {
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The run's own evaluation, again.
    pub fn evaluate(&mut self, session: &Session) -> Result<EvalRecord> {
        let data = session.open(&self.run, &self.tokenizer)?;
        let at = (self.step, self.step * self.run.tokens_per_step());
        evaluate(
            &self.gpt,
            &mut self.tape,
            &data.windows,
            self.run.batch.rows,
            at,
        )
    }

    /// The run's evaluation on `n` blocks of its windows that share none.
    pub fn evaluate_blocks(&mut self, session: &Session, n: usize) -> Result<Vec<EvalRecord>> {
        let data = session.open(&self.run, &self.tokenizer)?;
        let at = (self.step, self.step * self.run.tokens_per_step());
        let rows = self.run.batch.rows;
        (0..n)
            .map(|idx| {
                let windows: Vec<_> = data
                    .windows
                    .iter()
                    .map(|(weight, w)| (*weight, Arc::new(w.block((idx, n), &self.tokenizer))))
                    .collect();
                evaluate(&self.gpt, &mut self.tape, &windows, rows, at)
            })
            .collect()
    }

    /// The run's evaluation on the locked test parts of the same corpora, whole. A campaign reads
    /// them once.
    pub fn evaluate_test(&mut self, session: &Session) -> Result<EvalRecord> {
        let block = self.run.model.block_size;
        let windows = self.run.eval.corpora.iter().map(|share| {
            let corpus = session.corpus(&share.corpus, &self.tokenizer)?;
            let part = (corpus, Part::Test);
            let windows = EvalWindows::of_part(part, block, 0, &self.tokenizer)?;
            Ok((share.weight, Arc::new(windows)))
        });
        let windows = windows.collect::<Result<Vec<_>>>()?;
        let at = (self.step, self.step * self.run.tokens_per_step());
        evaluate(&self.gpt, &mut self.tape, &windows, self.run.batch.rows, at)
    }

    /// Text that goes on from `prompt`. Errors when the prompt has characters that the tokenizer
    /// does not know.
    pub fn sample(&mut self, prompt: &str, sampling: &Sampling) -> Result<String> {
        let mut ids = self.tokenizer.encode(prompt).map_err(|e| Error {
            place: format!("--prompt, {}", e.place),
            ..e
        })?;
        if ids.is_empty() {
            return Err(Error::input(
                "--prompt",
                "is empty",
                "give at least one character",
            ));
        }
        let start = ids.len();
        let mut rng = Rng::named(sampling.seed, "sample");
        let (block, vocab) = (self.run.model.block_size, self.run.vocab_size);
        for _ in 0..sampling.tokens {
            let context = &ids[ids.len().saturating_sub(block)..];
            let tokens: Arc<[u32]> = context.iter().map(|id| u32::from(*id)).collect();
            let t = tokens.len();
            self.tape.begin(Mode::Eval);
            let logits = self.gpt.logits(&mut self.tape, &tokens, t)?;
            let logits = self.tape.to_host(logits)?;
            let next = draw(&logits[(t - 1) * vocab..], sampling, &mut rng);
            ids.push(next as u16);
        }
        Ok(self.tokenizer.decode(&ids[start..]))
    }
}

/// One token from a row of logits.
fn draw(logits: &[f32], sampling: &Sampling, rng: &mut Rng) -> usize {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    if sampling.temperature == 0.0 {
        return order[0];
    }
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    let top = f64::from(logits[order[0]]);
    let weights: Vec<f64> = order
        .iter()
        .map(|i| ((f64::from(logits[*i]) - top) / sampling.temperature).exp())
        .collect();
    order[rng.pick(&weights)]
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cold_sampling_takes_the_likeliest_and_top_k_leaves_out_the_rest() {
        let logits = [0.0, 3.0, 1.0, 2.9];
        let mut rng = Rng::named(1, "test");
        let mut sampling = Sampling {
            tokens: 1,
            temperature: 0.0,
            top_k: 0,
            seed: 0,
        };
        assert_eq!(draw(&logits, &sampling, &mut rng), 1);
        sampling.temperature = 5.0;
        sampling.top_k = 2;
        let drawn: Vec<usize> = (0..200)
            .map(|_| draw(&logits, &sampling, &mut rng))
            .collect();
        assert!(
            drawn.iter().all(|i| [1, 3].contains(i)) && drawn.contains(&1) && drawn.contains(&3)
        );
    }
}
