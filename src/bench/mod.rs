//! How fast a training step is, where its time goes, and what the processor could do at most.
//!
//! `windtunnel bench` and `benches/step.rs` are this. What is timed is [`Trainer::train_step`], the
//! very step of `train`: batch, forward, backward, clipping, update.

pub mod work;

use crate::{
    data::{Corpus, Tokenizer, mixture::Mixture},
    device::{Backend, Compute, Precision, peak_memory_bytes},
    error::{Error, Result},
    ops::peak::{memory_speed, peak_flops},
    pool::Pool,
    profile::{Half, Profile},
    recipe::{Facts, Recipe},
    run::Run,
    train::{Diverged, RunData, Trainer},
};
use serde::Serialize;
use std::{str::FromStr, time::Instant};
use work::Work;

/// The configurations that peers are compared on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Config {
    /// nanoGPT's README run for a CPU: 4 layers of width 128, T 64, 12 rows, 65 characters.
    A,
    /// nanoGPT's README run for a GPU: 6 layers of width 384, T 256, 64 rows, dropout 0.2.
    B,
    /// GPT-2's vocabulary: 8 layers of width 512, T 256, 16 rows.
    C,
}

impl FromStr for Config {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            "c" => Ok(Self::C),
            _ => Err("choose a, b or c".into()),
        }
    }
}

/// What is timed.
pub struct Subject {
    pub name: String,
    pub run: Run,
    pub data: RunData,
}

/// Tokens of a configuration's corpus: enough that no window comes twice in a bench.
const TOKENS: usize = 1 << 20;

impl Config {
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
        }
    }

    /// The configuration on random tokens, which need no files.
    pub fn subject(self) -> Result<Subject> {
        let (shape, rows, vocab_size) = match self {
            Self::A => ([4, 4, 128, 64], 12, 65),
            Self::B => ([6, 6, 384, 256], 64, 65),
            Self::C => ([8, 8, 512, 256], 16, 50_304),
        };
        let [n_layer, n_head, n_embd, block_size] = shape;
        let dropout = if self == Self::B { 0.2 } else { 0.0 };
        let text = format!(
            "data = {{ tokenizer = \"byte\", mixture = [{{ corpus = \"random\" }}] }}\n\
             model = {{ n_layer = {n_layer}, n_head = {n_head}, n_embd = {n_embd}, block_size = {block_size}, dropout = {dropout:?} }}\n\
             batch = {{ rows = {rows} }}\n\
             budget = {{ steps = 1000000 }}\n"
        );
        let recipe: Recipe = toml::from_str(&text).expect("this is a recipe");
        let run = recipe.resolve(Facts {
            vocab_size,
            seconds_per_step: None,
        })?;
        Ok(Subject {
            name: self.name().into(),
            run,
            data: RunData {
                tokenizer: Tokenizer::Byte,
                mixture: Mixture {
                    parts: vec![(1.0, Corpus::random(vocab_size, TOKENS).into())],
                },
                windows: Vec::new(),
            },
        })
    }
}

/// What was measured of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speed {
    pub config: String,
    pub threads: usize,
    pub dtype: String,
    pub instruction_set: String,
    pub steps: usize,
    /// Medians over the steps.
    pub tokens_per_second: f64,
    pub step_ms: f64,
    /// Of the best twentieth of the steps.
    pub best_tokens_per_second: f64,
    /// By [`GptConfig::flops_per_token`](crate::model::GptConfig::flops_per_token), as the field counts them.
    pub gflops: f64,
    /// Arenas, the optimizer's, and activations.
    pub memory_mb: f64,
    /// Of the whole process, binary and tokens included.
    pub peak_rss_mb: f64,
}

/// Where a step's time goes, beside what the processor could do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Roofline {
    /// Multiply-adds in registers, on as many threads.
    pub peak_gflops: f64,
    /// The step's GFLOP/s over that.
    pub share_of_peak: f64,
    pub memory_gb_per_second: f64,
    pub ops: Vec<OpTime>,
}

/// One op's part of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpTime {
    pub op: String,
    pub ms: f64,
    /// Of the step's time, 0 to 1.
    pub share: f64,
    /// Operations that its definition needs, where it multiplies matrices.
    pub gflops: Option<f64>,
    pub share_of_peak: Option<f64>,
    /// Bytes that it has to read and write, where that is all there is to it.
    pub gb_per_second: Option<f64>,
}

/// A subject that is being timed.
pub struct Bench {
    subject: Subject,
    compute: Compute,
    trainer: Trainer,
}

/// Steps before the clock counts: the first fills the buffers.
const WARM_UP: usize = 2;

impl Bench {
    pub fn new(subject: Subject, compute: Compute) -> Result<Self> {
        let trainer = Trainer::new(&subject.run, subject.data.clone(), &compute)?;
        Ok(Self {
            subject,
            compute,
            trainer,
        })
    }

    /// Steps for about `seconds`, at least three.
    pub fn speed(&mut self, seconds: f64) -> Result<Speed> {
        let mut times = self.steps(seconds)?;
        times.sort_by(f64::total_cmp);
        let tokens = self.subject.run.tokens_per_step() as f64;
        let median = times[times.len() / 2];
        let run = &self.subject.run;
        let rate = tokens / median;
        let mb = |bytes: u64| bytes as f64 / 1e6;
        Ok(Speed {
            config: self.subject.name.clone(),
            threads: self.compute.class.threads,
            dtype: self.compute.class.dtype.clone(),
            instruction_set: crate::real::instruction_set().into(),
            steps: times.len(),
            tokens_per_second: rate,
            step_ms: 1e3 * median,
            best_tokens_per_second: tokens / times[times.len() / 20],
            gflops: rate * run.model.flops_per_token(run.vocab_size) / 1e9,
            memory_mb: mb(self.trainer.memory_bytes()),
            peak_rss_mb: mb(peak_memory_bytes()),
        })
    }

    /// Steps for about `seconds` with a stopwatch on their ops; the processor's own limits are
    /// measured in between. Errors where candle computes, whose ops do not end when they return.
    pub fn roofline(&mut self, seconds: f64, speed: &Speed) -> Result<Roofline> {
        if let Backend::Composed(_) = self.compute.backend {
            return Err(Error::input(
                "--device",
                "only the CPU's own ops are timed one by one",
                "use --device cpu",
            ));
        }
        *self.trainer.profile() = Some(Profile::start());
        let n_steps = self.steps(seconds)?.len() + WARM_UP;
        let profile = self.trainer.profile().take();
        let threads = self.compute.class.threads;
        let precision = match self.compute.precision.is_native() {
            true => self.compute.precision,
            false => Precision::F32,
        };
        let peak = peak_flops(threads, precision) / 1e9;
        let memory = memory_speed(&Pool::new(threads)) / 1e9;
        let work = Work::of(&self.subject.run);
        let laps = profile.iter().flat_map(|profile| profile.laps());
        let total: f64 = laps.clone().map(|(_, laps)| laps.seconds).sum();
        let mut ops: Vec<OpTime> = laps
            .map(|((op, half), laps)| {
                let seconds = laps.seconds / n_steps as f64;
                let needs = work.needs(op, *half);
                let gflops = needs.flops.map(|flops| flops / seconds / 1e9);
                OpTime {
                    op: label(op, *half),
                    ms: 1e3 * seconds,
                    share: laps.seconds / total,
                    gflops,
                    share_of_peak: gflops.map(|gflops| gflops / peak),
                    gb_per_second: needs.bytes.map(|bytes| bytes / seconds / 1e9),
                }
            })
            .collect();
        ops.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        Ok(Roofline {
            peak_gflops: peak,
            share_of_peak: speed.gflops / peak,
            memory_gb_per_second: memory,
            ops,
        })
    }

    /// Seconds of each of the steps after the warm-up.
    fn steps(&mut self, seconds: f64) -> Result<Vec<f64>> {
        for _ in 0..WARM_UP {
            self.step()?;
        }
        let mut times = Vec::new();
        let started = Instant::now();
        while times.len() < 3 || started.elapsed().as_secs_f64() < seconds {
            times.push(self.step()?);
        }
        Ok(times)
    }

    fn step(&mut self) -> Result<f64> {
        let now = Instant::now();
        match self.trainer.train_step()? {
            Ok(_) => Ok(now.elapsed().as_secs_f64()),
            Err(Diverged { what }) => Err(Error::failed(
                format!("bench of {}", self.subject.name),
                format!("diverged at step {}: {what}", self.trainer.step() + 1),
                "use a lower optimizer.lr",
            )),
        }
    }
}

/// An op and its half as a table names them.
fn label(op: &str, half: Half) -> String {
    let alone = ["batch", "zero_grads", "grad_norm", "optimizer"].contains(&op);
    match (op, half) {
        ("cross_entropy", _) => "classifier".into(),
        ("linear", Half::Inputs) => "linear dx".into(),
        ("linear", Half::Backward) => "linear dw".into(),
        (op, _) if alone => op.into(),
        (op, Half::Forward) => format!("{op} forward"),
        (op, Half::Inputs) => format!("{op} dx"),
        (op, Half::Backward) => format!("{op} backward"),
    }
}
