//! A pack's steps on a device: sent off one after the other, and looked at once in a while.
//!
//! What a step needs of the host (tokens, targets, rates, random counters) is put into the device's
//! memory first, so that the step itself is the same launches every time: the first is done launch by
//! launch, then it is captured, and from then on replayed. Losses and norms stay on the device, and so
//! does the verdict that a lane has diverged; the host reads them for many steps at once.

use super::trainer::{Diverged, Stepped, Trainer, diverged};
use crate::{
    data::{Batch, Targets},
    error::Result,
    metrics::StepRecord,
    model::Gpt,
    ops::cuda::{
        graphs::Key,
        staged::Slot,
        step::{SLOTS, Seen},
    },
    optim::DeviceOptimizer,
    tape::{Mode, PassPosition, Tape},
};
use std::{sync::Arc, time::Instant};

/// Steps that are sent off before the host looks: at most what the device keeps records of, and not so
/// many that somebody who stops the run has to wait.
const MOST_AHEAD: usize = SLOTS as usize / 2;
const MOST_SECONDS_AHEAD: f64 = 1.0;

/// What a trainer has on a device, beside its tape's arenas.
pub(super) struct DeviceSide {
    pub optimizer: DeviceOptimizer,
    /// Of a step, as it was last seen; 0 before the first.
    seconds_per_step: f64,
    /// Whether the host's arenas were filled from a checkpoint that the device has not seen.
    pub behind: bool,
}

impl DeviceSide {
    pub fn new(optimizer: DeviceOptimizer) -> Self {
        Self {
            optimizer,
            seconds_per_step: 0.0,
            behind: false,
        }
    }

    /// Steps to send off at once.
    pub fn ahead(&self) -> usize {
        match self.seconds_per_step {
            0.0 => 1,
            seconds => ((MOST_SECONDS_AHEAD / seconds) as usize).clamp(1, MOST_AHEAD),
        }
    }
}

/// One forward and backward pass of a step.
struct Pass {
    position: PassPosition,
    /// (K, rows·T)
    tokens: Arc<[u32]>,
    targets: Vec<u32>,
}

impl Trainer {
    /// [`Trainer::train_steps`] on a device: at most [`DeviceSide::ahead`] steps.
    pub(super) fn steps_on_device(&mut self, n: usize) -> Result<Vec<Vec<Option<Stepped>>>> {
        let started = Instant::now();
        let n = n.min(MOST_AHEAD);
        let first = self.step + 1;
        let mut counted = Vec::with_capacity(n);
        for _ in 0..n {
            counted.push(self.send_step()?);
            self.step += 1;
        }
        let seconds = |started: Instant| started.elapsed().as_secs_f64() / n.max(1) as f64;
        let Some(device) = &mut self.device else {
            return Ok(Vec::new());
        };
        let seen = device.optimizer.seen(first..=self.step)?;
        device.seconds_per_step = seconds(started);
        let ms = device.seconds_per_step * 1e3;
        let rows = counted.iter().enumerate();
        let rows = rows.map(|(i, counted)| {
            let lanes = seen.iter().zip(counted).enumerate();
            let row = lanes.map(|(k, (seen, counted))| self.judged(k, &seen[i], *counted, ms));
            row.collect()
        });
        Ok(rows.collect())
    }

    /// What a lane's step was, and whether it goes on; nothing of one that was frozen before.
    fn judged(&mut self, k: usize, seen: &Seen, counted: u64, ms: f64) -> Option<Stepped> {
        let lane = &mut self.lanes[k];
        if lane.frozen_at.is_some_and(|at| at + 1 < seen.step) {
            return None;
        }
        if seen.frozen == Some(seen.step) {
            lane.frozen_at = Some(seen.step - 1);
            let why = diverged(seen.step, seen.loss, seen.norm);
            return Some(Err(why.unwrap_or_else(|| Diverged {
                step: seen.step,
                what: "the loss or the gradient is not finite".into(),
            })));
        }
        let some = lane.run.data.targets != Targets::All;
        Some(Ok(StepRecord {
            step: seen.step,
            tokens: seen.step * lane.run.tokens_per_step(),
            loss: seen.loss,
            lr: lane.schedule.lr(seen.step - 1),
            grad_norm: seen.norm,
            targets: some.then_some(counted),
            ms,
        }))
    }

    /// Sends one step off; gives the targets that count of each lane.
    fn send_step(&mut self) -> Result<Vec<u64>> {
        let lanes = self.lanes.iter();
        let batches: Vec<Batch> = lanes.map(|lane| lane.batches.at(self.step)).collect();
        let passes = self.passes(&batches);
        let counted: Vec<u64> = batches.iter().map(|b| b.counted() as u64).collect();
        let denominators: Vec<f64> = counted.iter().map(|n| (*n).max(1) as f64).collect();
        self.send_what_differs(&passes, &denominators)?;
        let (gpt, device) = (&self.gpt, self.device.as_ref());
        let optimizer = device.map(|device| &device.optimizer);
        self.tape.repeat(Key::Step, |tape| {
            whole_step(gpt, tape, &passes, &denominators)?;
            match optimizer {
                Some(optimizer) => optimizer.step(tape.on()),
                None => Ok(()),
            }
        })?;
        Ok(counted)
    }

    fn passes(&self, batches: &[Batch]) -> Vec<Pass> {
        let t = self.gpt.config().block_size;
        let starts = (0..self.rows).step_by(self.rows_per_pass).enumerate();
        let pass = |(idx, first_row): (usize, usize)| {
            let end = (first_row + self.rows_per_pass).min(self.rows);
            let part = first_row * t..end * t;
            let inputs = batches.iter().flat_map(|b| &b.inputs[part.clone()]);
            let targets = batches.iter().flat_map(|b| &b.targets[part.clone()]);
            Pass {
                tokens: inputs.copied().collect(),
                targets: targets.copied().collect(),
                position: PassPosition {
                    staged: Some(Slot::Train(idx)),
                    ..self.position(first_row)
                },
            }
        };
        starts.map(pass).collect()
    }

    /// Puts on the device what is not the same in every step.
    fn send_what_differs(&mut self, passes: &[Pass], denominators: &[f64]) -> Result<()> {
        let (vocab, step) = (self.gpt.vocab_size(), self.step);
        let Some(side) = &self.device else {
            return Ok(());
        };
        let on = self.tape.on_mut();
        for (idx, pass) in passes.iter().enumerate() {
            on.stage(Slot::Train(idx), (&pass.tokens, &pass.targets), vocab)?;
        }
        if let Some(pass) = passes.first() {
            on.sync_position(&pass.position, self.gpt.config().dropout)?;
        }
        on.set_denominators(denominators)?;
        on.set_lanes(|k, lane| {
            let lr = self.lanes[k].schedule.lr(step);
            side.optimizer.set_lane(k, lane, (step + 1, lr));
        })
    }

    /// Brings the host's arenas up to what the device has, for checkpoints; nothing on a host.
    pub fn fetch(&mut self) -> Result<()> {
        let Some(side) = &self.device else {
            return Ok(());
        };
        self.tape.download_values()?;
        side.optimizer.download(self.tape.on(), &mut self.optimizer)
    }

    /// Brings the device up to the host's arenas, when a checkpoint was read into them.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        let Some(side) = self.device.as_mut().filter(|side| side.behind) else {
            return Ok(());
        };
        side.behind = false;
        self.tape.upload_values()?;
        side.optimizer.upload(self.tape.on(), &self.optimizer)
    }
}

/// Losses and gradients of all passes.
fn whole_step(
    gpt: &Gpt,
    tape: &mut Tape<f32>,
    passes: &[Pass],
    denominators: &[f64],
) -> Result<()> {
    tape.zero_grads()?;
    for pass in passes {
        tape.position = pass.position.clone();
        tape.begin(Mode::Train);
        let batch = (&pass.tokens, &pass.targets[..]);
        gpt.add_loss(tape, batch, gpt.config().block_size, denominators)?;
        tape.backward()?;
    }
    // Nothing of the last pass is left in slabs that the next step may take, and no other pass reads
    // its batch.
    tape.begin(Mode::Train);
    tape.position.staged = None;
    Ok(())
}
