//! How fast a training step is, where its time goes, and what the processor could do at most.
//!
//! `windtunnel bench` and `benches/step.rs` are this. What is timed is [`Trainer::train_step`], the
//! very step of `train`: batch, forward, backward, clipping, update.

pub mod device;
mod launches;
pub mod work;

use crate::{
    data::{Corpus, Tokenizer, mixture::Mixture},
    device::{Backend, Compute, Precision, gpu::Gpu, peak_memory_bytes},
    error::{Error, Kind, Result},
    ops::peak::{memory_speed, peak_flops},
    pool::Pool,
    profile::{Half, Profile},
    recipe::{Facts, Recipe},
    run::Run,
    train::{RunData, Trainer},
};
use launches::Launches;
use serde::Serialize;
use std::{str::FromStr, sync::Arc, time::Instant};
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
    /// GPT-2's smallest: 12 layers of width 768, T 1024, 64 rows.
    Gpt2,
}

impl FromStr for Config {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            "c" => Ok(Self::C),
            "gpt2" => Ok(Self::Gpt2),
            _ => Err("choose a, b, c or gpt2".into()),
        }
    }
}

/// What is timed.
pub struct Subject {
    pub name: String,
    pub run: Run,
    pub data: RunData,
}

/// Tokens of a configuration's corpus, which are random: it does not matter how often they come.
const TOKENS: usize = 1 << 20;

impl Config {
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::Gpt2 => "gpt2",
        }
    }

    /// The configuration on random tokens, which need no files.
    pub fn subject(self) -> Result<Subject> {
        let (shape, rows, vocab_size) = match self {
            Self::A => ([4, 4, 128, 64], 12, 65),
            Self::B => ([6, 6, 384, 256], 64, 65),
            Self::C => ([8, 8, 512, 256], 16, 50_304),
            Self::Gpt2 => ([12, 12, 768, 1024], 64, 50_304),
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
    /// "cpu-x86-64-v4", or a GPU's.
    pub device: String,
    /// Models that were trained side by side as one program.
    pub pack: usize,
    /// Of each of them.
    pub parameters: u64,
    pub threads: usize,
    pub dtype: String,
    pub instruction_set: String,
    pub steps: usize,
    /// Medians over the steps, which on a device are queued by the block; tokens of all models.
    pub tokens_per_second: f64,
    pub step_ms: f64,
    /// Of the best twentieth of the steps, or of their blocks.
    pub best_tokens_per_second: f64,
    /// By [`GptConfig::flops_per_token`](crate::model::GptConfig::flops_per_token), as the field counts them.
    pub gflops: f64,
    /// Arenas, the optimizer's, and activations.
    pub memory_mb: f64,
    /// Of the whole process, binary and tokens included.
    pub peak_rss_mb: f64,
}

/// Where a step's time goes, beside what the processor or the GPU could do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Roofline {
    /// What reaches the peak: multiply-adds in registers, on as many threads; on a GPU a product.
    pub peak_of: &'static str,
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
    pack: usize,
    compute: Compute,
    trainer: Trainer,
}

/// Steps before the clock counts: the first fills the buffers; on a device the second is written down
/// as a graph, and only the third replays it.
const WARM_UP: [usize; 2] = [2, 3];

/// What a block of steps that are queued together on a device takes at most.
const BLOCK_SECONDS: f64 = 0.25;

impl Bench {
    pub fn new(subject: Subject, compute: Compute) -> Result<Self> {
        Self::packed(subject, 1, compute)
    }

    /// The subject `pack` times, at least once, with seeds of their own, as one program.
    pub fn packed(subject: Subject, pack: usize, compute: Compute) -> Result<Self> {
        let runs: Vec<Run> = (0..pack as u64)
            .map(|lane| Run {
                seed: subject.run.seed + lane,
                ..subject.run.clone()
            })
            .collect();
        let lanes: Vec<(&Run, RunData)> =
            runs.iter().map(|run| (run, subject.data.clone())).collect();
        let trainer = Trainer::packed(&lanes, &compute)?;
        Ok(Self {
            subject,
            pack,
            compute,
            trainer,
        })
    }

    /// Steps for about `seconds`, at least three.
    pub fn speed(&mut self, seconds: f64) -> Result<Speed> {
        let (mut times, steps) = self.steps(seconds)?;
        times.sort_by(f64::total_cmp);
        let run = &self.subject.run;
        let tokens = self.pack as f64 * run.tokens_per_step() as f64;
        let median = times[times.len() / 2];
        let rate = tokens / median;
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let class = &self.compute.class;
        Ok(Speed {
            config: self.subject.name.clone(),
            device: match &self.compute.backend {
                Backend::Gpu(gpu) => gpu.name(),
                Backend::Fused | Backend::Composed(_) => class.class.clone(),
            },
            pack: self.pack,
            parameters: run.model.n_params(run.vocab_size),
            threads: class.threads,
            dtype: class.dtype.clone(),
            instruction_set: crate::real::instruction_set().into(),
            steps,
            tokens_per_second: rate,
            step_ms: 1e3 * median,
            best_tokens_per_second: tokens / times[times.len() / 20],
            gflops: rate * run.model.flops_per_token(run.vocab_size) / 1e9,
            memory_mb: mb(self.trainer.memory_bytes()),
            peak_rss_mb: mb(peak_memory_bytes()),
        })
    }

    /// What computes, at most, measured now; and steps for about `seconds` with a stopwatch on their ops.
    /// On a GPU these steps go launch by launch, each op waited for, so that small ops seem longer than
    /// they are in a graph. Errors where candle computes, of which nothing is known.
    pub fn roofline(&mut self, seconds: f64, speed: &Speed) -> Result<Roofline> {
        match self.compute.backend.clone() {
            Backend::Fused => self.of_the_host(seconds, speed),
            Backend::Gpu(gpu) => {
                let much = (device::Sizes::FULL, seconds.min(1.0));
                let peak = device::product_flops(&gpu, self.compute.precision, much)? / 1e9;
                Ok(Roofline {
                    peak_of: "a product of two matrices of 8192 rows",
                    peak_gflops: peak,
                    share_of_peak: speed.gflops / peak,
                    memory_gb_per_second: device::copy_bytes_per_second(&gpu, much)? / 1e9,
                    ops: self.ops_on(&gpu, seconds, peak)?,
                })
            }
            Backend::Composed(_) => Err(Error::input(
                "--device",
                "candle's ops are not timed",
                "use --device cpu, or cuda",
            )),
        }
    }

    /// Ops of steps on a GPU, longest first; none where it has no memory for a second model beside the
    /// one whose steps were timed.
    pub fn ops_on(
        &self,
        gpu: &Arc<dyn Gpu>,
        seconds: f64,
        peak_gflops: f64,
    ) -> Result<Vec<OpTime>> {
        let launches: Arc<dyn Gpu> = Arc::new(Launches(gpu.clone()));
        let compute = Compute::gpu(launches).multiplying_in(self.compute.precision)?;
        let subject = Subject {
            name: self.subject.name.clone(),
            run: self.subject.run.clone(),
            data: self.subject.data.clone(),
        };
        let mut bench = match Self::packed(subject, self.pack, compute) {
            Err(error) if error.kind == Kind::Memory => return Ok(Vec::new()),
            bench => bench?,
        };
        let gpu = gpu.clone();
        // What it fails for is told by the next thing that is asked of it.
        let profile = Profile::start().waiting(move || drop(gpu.wait()));
        bench.ops(profile, seconds, peak_gflops)
    }

    fn of_the_host(&mut self, seconds: f64, speed: &Speed) -> Result<Roofline> {
        let threads = self.compute.class.threads;
        let precision = match self.compute.precision.is_native() {
            true => self.compute.precision,
            false => Precision::F32,
        };
        let peak = peak_flops(threads, precision) / 1e9;
        let memory = memory_speed(&Pool::new(threads)) / 1e9;
        Ok(Roofline {
            peak_of: "multiply-adds in registers",
            peak_gflops: peak,
            share_of_peak: speed.gflops / peak,
            memory_gb_per_second: memory,
            ops: self.ops(Profile::start(), seconds, peak)?,
        })
    }

    /// Steps for about `seconds` with a stopwatch on their ops, longest first.
    fn ops(&mut self, profile: Profile, seconds: f64, peak_gflops: f64) -> Result<Vec<OpTime>> {
        // The first steps of a device fill its memory, and are no part of it.
        self.block(1)?;
        *self.trainer.profile() = Some(profile);
        let before = self.trainer.step();
        self.steps(seconds)?;
        let n_steps = (self.trainer.step() - before) as f64;
        let profile = self.trainer.profile().take();
        let on_device = matches!(self.compute.backend, Backend::Gpu(_));
        // Bytes are counted of f32.
        let of_f32 = !on_device || self.compute.precision != Precision::Bf16;
        let (work, pack) = (Work::of(&self.subject.run), self.pack as f64);
        let laps = profile.iter().flat_map(|profile| profile.laps());
        let total: f64 = laps.clone().map(|(_, laps)| laps.seconds).sum();
        let mut ops: Vec<OpTime> = laps
            .map(|((op, half), laps)| {
                let seconds = laps.seconds / n_steps;
                let needs = work.needs(op, *half);
                let gflops = needs.flops.map(|flops| pack * flops / seconds / 1e9);
                OpTime {
                    op: match (*op, on_device) {
                        // A device's update is sent off before the next step's gradients are cleared.
                        ("zero_grads", true) => "optimizer, batch".into(),
                        _ => label(op, *half),
                    },
                    ms: 1e3 * seconds,
                    share: laps.seconds / total,
                    gflops,
                    share_of_peak: gflops.map(|gflops| gflops / peak_gflops),
                    gb_per_second: (needs.bytes.filter(|_| of_f32))
                        .map(|bytes| pack * bytes / seconds / 1e9),
                }
            })
            .collect();
        ops.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        Ok(ops)
    }

    /// Seconds of a step, of each block of steps after the warm-up, and how many steps those were. A
    /// block is one step on a host; on a device as many as are read back at once, so that nothing waits
    /// in between.
    fn steps(&mut self, seconds: f64) -> Result<(Vec<f64>, usize)> {
        let on_device = matches!(self.compute.backend, Backend::Gpu(_));
        let mut step_s = 0.0;
        for _ in 0..WARM_UP[usize::from(on_device)] {
            step_s = self.block(1)?;
        }
        let fitting = (BLOCK_SECONDS / step_s) as usize;
        let n_steps = fitting.clamp(1, self.trainer.steps_at_once());
        let mut times = Vec::new();
        let (started, first) = (Instant::now(), self.trainer.step());
        while times.len() < 3 || started.elapsed().as_secs_f64() < seconds {
            times.push(self.block(n_steps)?);
        }
        Ok((times, (self.trainer.step() - first) as usize))
    }

    /// Seconds of a step, of up to `n_steps` that are asked for at once.
    fn block(&mut self, n_steps: usize) -> Result<f64> {
        let now = Instant::now();
        let rows = self.trainer.train_steps(n_steps)?;
        let seconds = now.elapsed().as_secs_f64() / rows.len().max(1) as f64;
        let mut stepped = rows.into_iter().flatten().flatten();
        match stepped.find_map(|stepped| stepped.err()) {
            None => Ok(seconds),
            Some(diverged) => Err(Error::failed(
                format!("bench of {}", self.subject.name),
                format!("diverged at step {}: {}", diverged.step, diverged.what),
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
