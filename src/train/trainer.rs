//! Models in training: everything that one optimizer step of a pack of runs needs.

use super::{
    RunData,
    need::{self, Cut},
    on_device::DeviceSide,
    pack,
};
use crate::{
    checkpoint::{Checkpoint, Saved},
    data::{Batch, Batches, EvalWindows, Realised, Targets},
    device::{Backend, Compute},
    error::Result,
    eval::evaluate_all,
    metrics::{Averaged, EvalRecord, StepRecord},
    model::{Gpt, GptConfig},
    ops::{cuda::graphs::Key, grad_norm::grad_norm},
    optim::{DeviceOptimizer, Optimizer, OptimizerConfig},
    params::Params,
    pool::Pool,
    profile::{Half, Profile},
    rng,
    run::Run,
    schedule::Schedule,
    tape::{Mode, PassPosition, Tape},
};
use serde::de::DeserializeOwned;
use std::{path::Path, sync::Arc, time::Instant};

/// Models in training, one for each run of a pack, which are called its lanes.
pub struct Trainer {
    pub(super) lanes: Vec<Lane>,
    pub(super) gpt: Gpt,
    pub(super) tape: Tape<f32>,
    pub(super) optimizer: Optimizer<f32>,
    /// Where a GPU trains.
    pub(super) device: Option<DeviceSide>,
    /// The lanes', which are all evaluated on the same.
    windows: Vec<(f64, Arc<EvalWindows>)>,
    pool: Arc<Pool>,
    /// Sequences of a lane in one optimizer step, and in one forward pass.
    pub(super) rows: usize,
    pub(super) rows_per_pass: usize,
    /// Optimizer steps done by the lanes that are not frozen.
    pub(super) step: u64,
}

/// What is a run's own in a pack.
pub(super) struct Lane {
    pub run: Run,
    pub schedule: Schedule,
    pub batches: Batches,
    /// The steps that it had done when it diverged: its weights stay as they were.
    pub frozen_at: Option<u64>,
}

/// Why a run can't go on: the loss or a gradient is not a finite number.
#[derive(Debug, Clone, PartialEq)]
pub struct Diverged {
    /// In which step, counted from 1.
    pub step: u64,
    pub what: String,
}

/// What came of a lane's step.
pub type Stepped = std::result::Result<StepRecord, Diverged>;

impl Trainer {
    /// A fresh model at step 0. Errors when the data does not fit the recipe.
    pub fn new(run: &Run, data: RunData, compute: &Compute) -> Result<Self> {
        Self::packed(&[(run, data)], compute)
    }

    /// A fresh model at step 0 for each of these runs, at least one, whose [`pack::key`]s are equal.
    /// Errors when the data does not fit a recipe.
    pub fn packed(runs: &[(&Run, RunData)], compute: &Compute) -> Result<Self> {
        let (run, data) = &runs[0];
        // Before weights are drawn: of a model that does not fit, that alone takes minutes.
        let cut = Self::cut(run, compute)?;
        debug_assert!(
            runs.iter()
                .all(|(other, of)| pack::key(other, of) == pack::key(run, data))
        );
        let dropout = |(run, _): &(&Run, RunData)| run.model.dropout;
        let config = GptConfig {
            // Of a lane with less, the position in the run says how much.
            dropout: runs.iter().map(dropout).fold(0.0, f64::max),
            ..run.model.clone()
        };
        let (gpt, specs) = Gpt::new(&config, run.vocab_size);
        let mut params = Params::new(runs.len(), specs);
        for (k, (run, _)) in runs.iter().enumerate() {
            params.init(k, run.init_seed());
        }
        let lane = |(run, data): &(&Run, RunData)| {
            Ok(Lane {
                run: (*run).clone(),
                schedule: Schedule::new(&run.schedule, run.optimizer.lr, run.steps),
                batches: data.batches(run)?,
                frozen_at: None,
            })
        };
        let optimizers: Vec<OptimizerConfig> =
            runs.iter().map(|(run, _)| run.optimizer.clone()).collect();
        let decays: Vec<f64> = runs.iter().map(|(run, _)| run.eval.ema).collect();
        let pool = Arc::new(Pool::new(compute.class.threads));
        let optimizer = Optimizer::packed(&params, &optimizers)
            .widened(run.model.width_multiplier())
            .averaging(&params, &decays);
        let mut tape = Tape::open(params, compute, pool.clone())?;
        if cut.frugal {
            tape.be_frugal();
        }
        let device = tape.device.as_ref();
        let device = device.map(|on| DeviceOptimizer::new(on, &tape.params, &optimizer));
        Ok(Self {
            lanes: runs.iter().map(lane).collect::<Result<_>>()?,
            gpt,
            device: device.transpose()?.map(DeviceSide::new),
            optimizer,
            tape,
            windows: data.windows.clone(),
            pool,
            rows: run.batch.rows,
            rows_per_pass: cut.rows_per_pass,
            step: 0,
        })
    }

    /// How a step goes in passes. Errors when a device has no room for the smallest.
    fn cut(run: &Run, compute: &Compute) -> Result<Cut> {
        let plain = |rows_per_pass| Cut {
            rows_per_pass,
            frugal: false,
        };
        match (&compute.backend, run.batch.rows_per_pass) {
            (Backend::Gpu(gpu), _) => need::cut(run, compute.precision, gpu.memory()?.1),
            (Backend::Composed(_), 0) => Ok(plain(run.batch.rows)),
            _ => Ok(plain(run.batch.rows_in_pass(run.model.block_size))),
        }
    }

    /// Computes again on a device what can be, instead of keeping it; see [`Tape::be_frugal`].
    pub fn be_frugal(&mut self) {
        self.tape.be_frugal();
    }

    /// Why a device's work is not replayed from a graph; see [`Tape::why_not_a_graph`].
    pub fn why_not_a_graph(&self, key: Key) -> Option<&str> {
        self.tape.why_not_a_graph(key)
    }

    /// Runs in the pack, frozen ones included.
    pub fn k(&self) -> usize {
        self.lanes.len()
    }

    /// How many steps to ask for at a time, so that whoever wants to stop is heard soon: on a host
    /// nothing is gained by more than one.
    pub fn steps_at_once(&self) -> usize {
        self.device.as_ref().map_or(1, DeviceSide::ahead)
    }

    /// Up to `n` optimizer steps, fewer once every lane is frozen: a row for each step, and in it of
    /// each lane what came of it, or nothing of one that was frozen before.
    pub fn train_steps(&mut self, n: usize) -> Result<Vec<Vec<Option<Stepped>>>> {
        self.catch_up()?;
        if self.device.is_some() {
            return self.steps_on_device(n);
        }
        let mut rows = Vec::with_capacity(n);
        while rows.len() < n && self.lanes.iter().any(|lane| lane.frozen_at.is_none()) {
            rows.push(self.train_step()?);
        }
        Ok(rows)
    }

    /// One optimizer step: batches, forward, backward, clip, update. A lane whose loss or gradient is
    /// not finite is left as it is from then on, and the others do not notice.
    pub fn train_step(&mut self) -> Result<Vec<Option<Stepped>>> {
        if self.device.is_some() {
            return Ok(self.train_steps(1)?.pop().unwrap_or_default());
        }
        let started = Instant::now();
        let lanes = self.lanes.iter();
        let batches: Vec<Batch> = lanes.map(|lane| lane.batches.at(self.step)).collect();
        self.tape.lap("batch", Half::Forward);
        let losses = self.gradients(&batches)?;
        let norms = grad_norm(&self.tape.params, &self.pool);
        self.tape.lap("grad_norm", Half::Forward);
        self.step += 1;
        let mut row = Vec::with_capacity(self.lanes.len());
        for (k, lane) in self.lanes.iter_mut().enumerate() {
            if lane.frozen_at.is_some() {
                row.push(None);
                continue;
            }
            let (loss, norm) = (losses[k], norms[k]);
            if let Some(diverged) = diverged(self.step, loss, norm) {
                lane.frozen_at = Some(self.step - 1);
                row.push(Some(Err(diverged)));
                continue;
            }
            let lr = lane.schedule.lr(self.step - 1);
            let params = (&mut self.tape.params, k);
            self.optimizer
                .step(params, (self.step, lr), norm, &self.pool);
            let some = lane.run.data.targets != Targets::All;
            row.push(Some(Ok(StepRecord {
                step: self.step,
                tokens: self.step * lane.run.tokens_per_step(),
                loss,
                lr,
                grad_norm: norm,
                targets: some.then(|| batches[k].counted() as u64),
                ms: 0.0,
            })));
        }
        self.tape.lap("optimizer", Half::Forward);
        let ms = started.elapsed().as_secs_f64() * 1e3;
        for record in row.iter_mut().flatten().flatten() {
            record.ms = ms;
        }
        Ok(row)
    }

    /// The losses of one step's batches, one for each lane, and their gradients.
    fn gradients(&mut self, batches: &[Batch]) -> Result<Vec<f64>> {
        let t = self.gpt.config().block_size;
        // Of the whole step, so that the loss is one mean however many passes it takes. Without a
        // target there is neither loss nor gradient, and nothing to divide.
        let counted = |batch: &Batch| batch.counted().max(1) as f64;
        let denominators: Vec<f64> = batches.iter().map(counted).collect();
        self.tape.zero_grads()?;
        self.tape.clear_losses()?;
        for first_row in (0..self.rows).step_by(self.rows_per_pass) {
            self.tape.position = self.position(first_row);
            let end = (first_row + self.rows_per_pass).min(self.rows);
            let part = first_row * t..end * t;
            let inputs = batches.iter().map(|batch| &batch.inputs[part.clone()]);
            let targets = batches.iter().map(|batch| &batch.targets[part.clone()]);
            let tokens: Arc<[u32]> = inputs.collect::<Vec<_>>().concat().into(); // (K, rows·T)
            let targets = targets.collect::<Vec<_>>().concat();
            self.tape.begin(Mode::Train);
            let pass = (&tokens, &targets[..]);
            self.gpt.add_loss(&mut self.tape, pass, t, &denominators)?;
            self.tape.backward()?;
        }
        self.tape.take_losses()
    }

    /// Where a pass that begins at `first_row` of this step stands.
    pub(super) fn position(&self, first_row: usize) -> PassPosition {
        let runs = || self.lanes.iter().map(|lane| &lane.run);
        PassPosition {
            keys: runs().map(|run| rng::key(run.seed, "dropout")).collect(),
            dropout: runs().map(|run| run.model.dropout).collect(),
            step: self.step,
            first_row,
            staged: None,
        }
    }

    /// The fixed validation windows of every evaluated corpus, of the weights and of their average:
    /// a record for each lane, whose numbers mean nothing for a frozen one.
    pub fn evaluate(&mut self) -> Result<Vec<EvalRecord>> {
        self.catch_up()?;
        let run = &self.lanes[0].run;
        let at = (self.step, self.step * run.tokens_per_step());
        let rows = self.rows_per_pass;
        let (gpt, tape, windows) = (&self.gpt, &mut self.tape, &self.windows);
        let mut records = evaluate_all(gpt, tape, windows, rows, at)?;
        if self.swap_average()? {
            let (gpt, tape, windows) = (&self.gpt, &mut self.tape, &self.windows);
            let averaged = evaluate_all(gpt, tape, windows, rows, at);
            self.swap_average()?;
            for (record, averaged) in records.iter_mut().zip(averaged?) {
                let EvalRecord { loss, bpb, .. } = averaged;
                record.ema = Some(Averaged { loss, bpb });
            }
        }
        Ok(records)
    }

    /// Exchanges the weights and their average, where there is one.
    fn swap_average(&mut self) -> Result<bool> {
        match &self.device {
            Some(side) => side.optimizer.swap_average(self.tape.on()),
            None => Ok(self.optimizer.swap_average(&mut self.tape.params)),
        }
    }

    /// Evaluates the first `passes` batches of one corpus's windows, to time them; gives the number
    /// of tokens in them, all lanes' together.
    pub fn evaluate_passes(&mut self, windows: &EvalWindows, passes: usize) -> Result<u64> {
        let (t, k) = (self.gpt.config().block_size, self.k());
        let ones = vec![1.0; k];
        let mut tokens = 0;
        for batch in windows.batches(self.rows_per_pass).take(passes) {
            self.tape.begin(Mode::Eval);
            let inputs: Arc<[u32]> = batch.inputs.repeat(k).into();
            let targets = batch.targets.repeat(k);
            let pass = (&inputs, &targets[..]);
            match windows.answers() {
                None => self.gpt.add_loss(&mut self.tape, pass, t, &ones)?,
                Some(_) => drop(self.gpt.scores(&mut self.tape, pass, t)?),
            }
            tokens += inputs.len() as u64;
        }
        self.tape.take_losses()?;
        Ok(tokens)
    }

    /// Where the time of steps goes: put a fresh profile here, and read it after some steps.
    pub fn profile(&mut self) -> &mut Option<Profile> {
        &mut self.tape.profile
    }

    /// Optimizer steps done by the lanes that are not frozen.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Optimizer steps done by a lane.
    pub fn done(&self, k: usize) -> u64 {
        self.lanes[k].frozen_at.unwrap_or(self.step)
    }

    /// What a lane drew of each corpus so far.
    pub fn realised(&self, k: usize) -> Vec<Realised> {
        self.lanes[k].batches.realised(self.done(k))
    }

    /// Bytes held by all lanes: arenas, the optimizer's and the activations of the largest pass so
    /// far.
    pub fn memory_bytes(&self) -> u64 {
        let arenas = match (&self.device, &self.tape.device) {
            (Some(side), Some(on)) => on.arena_bytes() + side.optimizer.bytes(),
            _ => 2 * size_of_val(&*self.tape.params.values) + self.optimizer.bytes(),
        };
        (self.tape.activation_bytes() + arenas) as u64
    }

    /// A lane's numbers, to be written down; a device's after [`Trainer::fetch`].
    pub fn saved(&self, k: usize) -> Saved<'_> {
        Saved {
            params: &self.tape.params,
            optimizer: &self.optimizer,
            k,
        }
    }

    /// Takes a lane up at the checkpoint in `file`; gives what it held. All lanes go on from one step.
    pub fn restore<E: DeserializeOwned>(&mut self, k: usize, file: &Path) -> Result<E> {
        let file = Checkpoint::open(file)?;
        let header = file.header::<E>()?;
        file.load((&mut self.tape.params, k), Some(&mut self.optimizer))?;
        self.step = header.step;
        if let Some(side) = &mut self.device {
            side.behind = true;
        }
        Ok(header.extra)
    }
}

/// What is wrong with a step's loss and gradient, if something is.
pub(super) fn diverged(step: u64, loss: f64, norm: f64) -> Option<Diverged> {
    let (what, value) = match (loss.is_finite(), norm.is_finite()) {
        (true, true) => return None,
        (true, false) => ("gradient norm", norm),
        (false, _) => ("loss", loss),
    };
    Some(Diverged {
        step,
        what: format!("the {what} is {value}"),
    })
}
