//! The training loop: one run, from a checked recipe to an outcome in a folder of its own.
//!
//! A run folder is the truth: `recipe.toml` (resolved), `env.json`, `metrics.jsonl`,
//! `events.jsonl`, `checkpoints/` and, once it ended, `outcome.json`. A run that was interrupted
//! goes on from its newest checkpoint and writes the same numbers, bit for bit.

use crate::{
    checkpoint::{self, Checkpoint},
    data::{Batches, EvalWindows, Targets, Tokenizer, declared::Room, mixture::Mixture},
    device::{Backend, Compute},
    error::{Error, Kind, Result},
    eval::evaluate,
    metrics::{
        Averaged, Branched, Cost, DataRecord, Ending, EvalRecord, Outcome, Record, StepRecord,
    },
    model::Gpt,
    ops::grad_norm::grad_norm,
    optim::Optimizer,
    params::Params,
    pool::Pool,
    profile::{Half, Profile},
    rng,
    run::Run,
    run_dir::{Design, RunDir, TrialId},
    schedule::Schedule,
    tape::{Mode, PassPosition, Tape},
    trunk::Trunk,
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// The data of one run, opened: what its recipe's names stand for.
#[derive(Clone)]
pub struct RunData {
    pub tokenizer: Tokenizer,
    pub mixture: Mixture,
    /// The evaluated corpora with their weights, which sum to 1.
    pub windows: Vec<(f64, Arc<EvalWindows>)>,
}

impl RunData {
    /// Resolves a run's weights to plain numbers, which take the sizes of what is opened. Errors when
    /// its caps can't be kept.
    pub fn weigh(&mut self, run: &mut Run) -> Result<()> {
        let parts = self.mixture.parts.iter();
        run.data = run.data.weighed(&Room {
            tokens: parts.map(|(_, stream)| stream.len() as u64).collect(),
            block_size: run.model.block_size,
            rows: run.batch.rows,
            steps: run.steps,
        })?;
        let weights = run.data.mean_weights(run.steps);
        for ((part, _), weight) in self.mixture.parts.iter_mut().zip(weights) {
            *part = weight;
        }
        Ok(())
    }

    /// What a run draws. Errors when a block does not fit a corpus, or a corpus has nothing of what
    /// is to count.
    pub fn batches(&self, run: &Run) -> Result<Batches> {
        let (mixture, t, rows) = (self.mixture.clone(), run.model.block_size, run.batch.rows);
        let mut batches = Batches::new(mixture, t, rows, run.data_seed())?;
        if !run.data.is_plain() {
            batches = batches.scheduled(&run.data, run.steps);
        }
        let batches = batches.noisy(run.data.token_noise, self.tokenizer.vocab_size());
        batches.counting(run.data.targets)
    }
}

/// What a checkpoint holds beside the weights: enough to sample from it alone, and to go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointExtra {
    pub trial: String,
    pub tokenizer: Tokenizer,
    pub cost: Cost,
    /// The first part was another trial's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branched: Option<Branched>,
}

/// What happens while a run goes on, for progress bars.
#[derive(Debug, Clone)]
pub enum Progress<'a> {
    /// The run starts, or goes on, at this step.
    Started {
        step: u64,
        steps: u64,
    },
    Step(&'a StepRecord),
    Eval(&'a EvalRecord),
}

/// A model in training: everything that one step needs.
pub struct Trainer {
    run: Run,
    gpt: Gpt,
    tape: Tape<f32>,
    optimizer: Optimizer<f32>,
    schedule: Schedule,
    batches: Batches,
    data: RunData,
    pool: Arc<Pool>,
    /// Sequences in one forward pass.
    rows_per_pass: usize,
    /// Optimizer steps done.
    step: u64,
}

/// Why a run can't go on: the loss or a gradient is not a finite number.
#[derive(Debug, Clone, PartialEq)]
pub struct Diverged {
    pub what: String,
}

impl Trainer {
    /// A fresh model at step 0. Errors when the data does not fit the recipe.
    pub fn new(run: &Run, data: RunData, compute: &Compute) -> Result<Self> {
        let (gpt, specs) = Gpt::new(&run.model, run.vocab_size);
        let mut params = Params::new(1, specs);
        params.init(0, run.init_seed());
        let pool = Arc::new(Pool::new(compute.class.threads));
        let batches = data.batches(run)?;
        let optimizer = Optimizer::new(&params, &run.optimizer)
            .widened(run.model.width_multiplier())
            .averaging(&params, run.eval.ema);
        Ok(Self {
            gpt,
            optimizer,
            tape: Tape::new(params, compute.backend.clone(), pool.clone())
                .multiplying_in(compute.precision),
            schedule: Schedule::new(&run.schedule, run.optimizer.lr, run.steps),
            batches,
            data,
            pool,
            rows_per_pass: match (&compute.backend, run.batch.rows_per_pass) {
                (Backend::Composed(_), 0) => run.batch.rows,
                _ => run.batch.rows_in_pass(run.model.block_size),
            },
            run: run.clone(),
            step: 0,
        })
    }

    /// One optimizer step: batch, forward, backward, clip, update.
    pub fn train_step(&mut self) -> Result<std::result::Result<StepRecord, Diverged>> {
        let started = Instant::now();
        let (rows, t) = (self.run.batch.rows, self.run.model.block_size);
        let batch = self.batches.at(self.step);
        // Of the whole step, so that the loss is one mean however many passes it takes. Without a
        // target there is neither loss nor gradient, and nothing to divide.
        let counted = batch.counted();
        let denominator = counted.max(1) as f64;
        self.tape.lap("batch", Half::Forward);
        self.tape.zero_grads();
        let mut loss = 0.0;
        for first_row in (0..rows).step_by(self.rows_per_pass) {
            self.tape.position = PassPosition {
                keys: vec![rng::key(self.run.seed, "dropout")],
                step: self.step,
                first_row,
            };
            let part = first_row * t..(first_row + self.rows_per_pass).min(rows) * t;
            let tokens: Arc<[u32]> = batch.inputs[part.clone()].into();
            self.tape.begin(Mode::Train);
            let pass = (&tokens, &batch.targets[part]);
            loss += self.gpt.loss(&mut self.tape, pass, t, denominator)?[0];
            self.tape.backward()?;
        }
        let norm = grad_norm(&self.tape.params, &self.pool)[0];
        self.tape.lap("grad_norm", Half::Forward);
        if !(loss.is_finite() && norm.is_finite()) {
            let what = if loss.is_finite() {
                "gradient norm"
            } else {
                "loss"
            };
            let value = if loss.is_finite() { norm } else { loss };
            return Ok(Err(Diverged {
                what: format!("the {what} is {value}"),
            }));
        }
        let lr = self.schedule.lr(self.step);
        self.step += 1;
        let params = (&mut self.tape.params, 0);
        self.optimizer
            .step(params, (self.step, lr), norm, &self.pool);
        self.tape.lap("optimizer", Half::Forward);
        Ok(Ok(StepRecord {
            step: self.step,
            tokens: self.tokens(),
            loss,
            lr,
            grad_norm: norm,
            targets: (self.run.data.targets != Targets::All).then_some(counted as u64),
            ms: started.elapsed().as_secs_f64() * 1e3,
        }))
    }

    /// The fixed validation windows of every evaluated corpus, of the weights and of their average.
    pub fn evaluate(&mut self) -> Result<EvalRecord> {
        let at = (self.step, self.tokens());
        let rows = self.rows_per_pass;
        let (gpt, tape, windows) = (&self.gpt, &mut self.tape, &self.data.windows);
        let mut record = evaluate(gpt, tape, windows, rows, at)?;
        if self.optimizer.swap_average(&mut tape.params) {
            let averaged = evaluate(gpt, tape, windows, rows, at);
            self.optimizer.swap_average(&mut tape.params);
            let EvalRecord { loss, bpb, .. } = averaged?;
            record.ema = Some(Averaged { loss, bpb });
        }
        Ok(record)
    }

    /// Evaluates the first `passes` batches of one corpus's windows, to time them; gives the number
    /// of tokens in them.
    pub fn evaluate_passes(&mut self, windows: &EvalWindows, passes: usize) -> Result<u64> {
        let t = self.run.model.block_size;
        let mut tokens = 0;
        for batch in windows.batches(self.rows_per_pass).take(passes) {
            self.tape.begin(Mode::Eval);
            let inputs: Arc<[u32]> = batch.inputs.into();
            let pass = (&inputs, &batch.targets[..]);
            match windows.answers() {
                None => drop(self.gpt.loss(&mut self.tape, pass, t, 1.0)?),
                Some(_) => drop(self.gpt.scores(&mut self.tape, pass, t)?),
            }
            tokens += inputs.len() as u64;
        }
        Ok(tokens)
    }

    /// Where the time of steps goes: put a fresh profile here, and read it after some steps.
    pub fn profile(&mut self) -> &mut Option<Profile> {
        &mut self.tape.profile
    }

    pub fn step(&self) -> u64 {
        self.step
    }

    /// Tokens and epochs of each corpus so far.
    fn drawn(&self) -> Record {
        Record::Data(DataRecord {
            step: self.step,
            corpora: self.batches.realised(self.step),
        })
    }

    /// Tokens trained on so far.
    pub fn tokens(&self) -> u64 {
        self.step * self.run.tokens_per_step()
    }

    /// Bytes held: arenas, the optimizer's and the activations of the largest pass so far.
    pub fn memory_bytes(&self) -> u64 {
        let arenas = 2 * size_of_val(&*self.tape.params.values) + self.optimizer.bytes();
        (self.tape.activation_bytes() + arenas) as u64
    }

    fn save(&self, dir: &RunDir, extra: &CheckpointExtra) -> Result<()> {
        let keep = self.run.checkpoint.keep;
        let at = (self.step, extra);
        let params = &self.tape.params;
        checkpoint::save(&dir.checkpoints(), at, params, &self.optimizer, keep)?;
        Ok(())
    }

    /// Goes back to the newest checkpoint in `dir`, if there is one; gives what it held.
    fn restore(&mut self, dir: &RunDir) -> Result<Option<CheckpointExtra>> {
        let folder = dir.checkpoints();
        let Some(step) = checkpoint::steps(&folder).pop() else {
            return Ok(None);
        };
        let file = Checkpoint::open(&checkpoint::path(&folder, step))?;
        let header = file.header::<CheckpointExtra>()?;
        file.load(&mut self.tape.params, Some(&mut self.optimizer))?;
        self.step = header.step;
        Ok(Some(header.extra))
    }
}

/// One run to be trained in its folder.
pub struct Job<'a> {
    pub run: &'a Run,
    pub data: RunData,
    pub compute: &'a Compute,
    pub dir: &'a RunDir,
    pub design: &'a Design,
    pub trial: &'a TrialId,
    pub trunk: Option<&'a Trunk>,
    /// Set from outside to stop: the run saves and ends with [`Kind::Interrupted`].
    pub stop: &'a AtomicBool,
}

/// Trains a run to its end, from the start or from its newest checkpoint, and writes its outcome.
///
/// A run that has an outcome is not run again. Errors: interrupted (everything kept), a damaged
/// checkpoint, a full disk. Divergence is an outcome, not an error.
pub fn train(job: Job, progress: &mut dyn FnMut(Progress)) -> Result<Outcome> {
    if let Some(outcome) = job.dir.outcome()? {
        return Ok(outcome);
    }
    let mut trainer = Trainer::new(job.run, job.data.clone(), job.compute)?;
    let begun = begin(&job, &mut trainer)?;
    let mut metrics = job.dir.metrics(trainer.step, job.run.steps)?;
    let started = Instant::now();
    let (steps, eval_every, save_every) =
        (job.run.steps, job.run.eval.every, job.run.checkpoint.every);
    progress(Progress::Started {
        step: trainer.step,
        steps,
    });
    let due = |step: u64, every: u64| every > 0 && step.is_multiple_of(every);
    let mut ending = None;
    while ending.is_none() {
        if trainer.step == steps {
            let eval = trainer.evaluate()?;
            progress(Progress::Eval(&eval));
            metrics.write(&Record::Eval(eval.clone()))?;
            metrics.write(&trainer.drawn())?;
            ending = Some(Ending::Finished { eval });
            break;
        }
        let record = match trainer.train_step()? {
            Ok(record) => record,
            Err(Diverged { what }) => {
                ending = Some(Ending::Diverged {
                    step: trainer.step + 1,
                    what,
                });
                break;
            }
        };
        progress(Progress::Step(&record));
        let step = record.step;
        if due(step, job.run.log.every) || step == steps {
            metrics.write(&Record::Step(record))?;
        }
        if due(step, eval_every) && step < steps {
            let eval = trainer.evaluate()?;
            progress(Progress::Eval(&eval));
            metrics.write(&Record::Eval(eval))?;
            metrics.write(&trainer.drawn())?;
        }
        let extra = |trainer: &Trainer| CheckpointExtra {
            trial: job.trial.to_string(),
            tokenizer: job.data.tokenizer.clone(),
            cost: cost(trainer, begun.seconds + started.elapsed().as_secs_f64()),
            branched: begun.branched,
        };
        if let Some(trunk) = job.trunk.filter(|trunk| trunk.step() == step)
            && !trunk.is_whole()
        {
            metrics.sync()?;
            let (params, optimizer) = (&trainer.tape.params, &trainer.optimizer);
            trunk.keep(job.dir, &extra(&trainer), params, optimizer)?;
        }
        let stop = job.stop.load(Ordering::Relaxed);
        if due(step, save_every) || step == steps || stop {
            // First what led to this step, then the step: a kill between the two loses nothing.
            metrics.sync()?;
            trainer.save(job.dir, &extra(&trainer))?;
        }
        if stop && step < steps {
            job.dir.event("interrupted", step)?;
            return Err(Error::new(
                Kind::Interrupted,
                job.dir.path().display().to_string(),
                format!("stopped on request after step {step} of {steps}; everything is kept"),
                "run the same command again to go on from here",
            ));
        }
    }
    metrics.sync()?;
    let outcome = Outcome {
        schema: Outcome::SCHEMA.into(),
        trial: job.trial.to_string(),
        design: job.design.as_str().into(),
        seed: job.run.seed,
        ending: ending.expect("the loop ends with an ending"),
        cost: cost(&trainer, begun.seconds + started.elapsed().as_secs_f64()),
        branched: begun.branched,
        realised: trainer.batches.realised(trainer.step),
        windows: windows_digest(&job.data.windows),
    };
    job.dir.finish(&outcome, trainer.step)?;
    Ok(outcome)
}

/// What there was of a run before this process.
struct Begun {
    seconds: f64,
    branched: Option<Branched>,
}

/// Takes a run up where it was left: at its newest checkpoint, or on its trunk, or at step 0.
fn begin(job: &Job, trainer: &mut Trainer) -> Result<Begun> {
    if let Some(trunk) = job.trunk
        && checkpoint::steps(&job.dir.checkpoints()).is_empty()
    {
        trunk.graft(job.dir)?;
    }
    let restored = trainer.restore(job.dir)?;
    // A checkpoint of another trial is a trunk's, and its seconds were another trial's too.
    let own = restored.filter(|extra| extra.trial == job.trial.to_string());
    let branched = Branched {
        step: trainer.step,
        tokens: trainer.tokens(),
    };
    let begun = match &own {
        Some(extra) => Begun {
            seconds: extra.cost.seconds,
            branched: extra.branched,
        },
        None => Begun {
            seconds: 0.0,
            branched: (trainer.step > 0).then_some(branched),
        },
    };
    let event = match (trainer.step, &own) {
        (0, _) => "start",
        (_, None) => "branch",
        (_, Some(_)) => "resume",
    };
    job.dir.describe(job.run, &job.compute.class)?;
    job.dir.event(event, trainer.step)?;
    Ok(begun)
}

fn cost(trainer: &Trainer, seconds: f64) -> Cost {
    let vocab = trainer.gpt.vocab_size();
    Cost {
        seconds,
        tokens: trainer.tokens(),
        flops: trainer.tokens() as f64 * trainer.run.model.flops_per_token(vocab),
    }
}

/// One digest over every evaluated corpus's windows.
pub fn windows_digest(windows: &[(f64, Arc<EvalWindows>)]) -> String {
    let all: Vec<String> = windows
        .iter()
        .map(|(_, w)| w.digest().to_string())
        .collect();
    crate::digest::sha256_json(&all)
}
