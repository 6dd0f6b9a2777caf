//! What a pack takes of a device's memory, before it is launched.
//!
//! A step is run on a device that only counts ([`Dry`]): the same code asks for the same slabs. On that
//! rest the size of a pass and of a pack.

use crate::{
    device::{Backend, Compute, Precision, dry::Dry, gpu::Gpu},
    error::{Error, Kind, Result},
    model::Gpt,
    ops::cuda::staged::Slot,
    optim::{DeviceOptimizer, Optimizer},
    params::Params,
    run::Run,
    tape::{Mode, PassPosition, Tape},
};
use serde::Serialize;
use std::sync::Arc;

/// How one optimizer step is cut so that it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// Sequences of a lane in one forward pass.
    pub rows_per_pass: usize,
    /// Norms and activations are computed again on the way back.
    pub frugal: bool,
}

/// Bytes of a device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Weights, their gradients, and their bf16 copy.
    pub arenas: u64,
    /// Moments, averages, and what updates need beside them.
    pub optimizer: u64,
    /// Activations, their gradients, logits, and sums on their way.
    pub activations: u64,
    /// All that is held at once at most, batches included.
    pub peak: u64,
}

/// Of a device's memory, what is left to its context, to cuBLASLt's workspace, and to the gaps that an
/// allocator leaves.
const LEFT_ALONE: f64 = 0.08;

/// Lanes that a pack has at most: beyond them a small model fills any device.
const MOST_LANES: usize = 64;

impl Need {
    /// Of one step of `lanes` runs like this one.
    pub fn of(run: &Run, lanes: usize, precision: Precision, cut: Cut) -> Result<Self> {
        let dry = Arc::new(Dry::default());
        let gpu: Arc<dyn Gpu> = dry.clone();
        let (gpt, specs) = Gpt::new(&run.model, run.vocab_size);
        let params = Params::<f32>::new(lanes, specs);
        let configs = vec![run.optimizer.clone(); lanes];
        let host =
            Optimizer::packed(&params, &configs).averaging(&params, &vec![run.eval.ema; lanes]);
        let mut tape = Tape::on_device(params, &gpu, precision)?;
        let optimizer = DeviceOptimizer::new(tape.on(), &tape.params, &host)?;
        if cut.frugal {
            tape.be_frugal();
        }
        let t = run.model.block_size;
        for (idx, first_row) in (0..run.batch.rows).step_by(cut.rows_per_pass).enumerate() {
            let rows = cut.rows_per_pass.min(run.batch.rows - first_row);
            let tokens: Arc<[u32]> = vec![0; lanes * rows * t].into();
            let slot = Slot::Train(idx);
            tape.on_mut()
                .stage(slot, (&tokens, &tokens), run.vocab_size)?;
            tape.position = PassPosition {
                keys: vec![[0, 0]; lanes],
                staged: Some(slot),
                ..Default::default()
            };
            tape.begin(Mode::Train);
            gpt.add_loss(&mut tape, (&tokens, &tokens), t, &vec![1.0; lanes])?;
            tape.backward()?;
        }
        optimizer.step(tape.on())?;
        let on = tape.on();
        Ok(Self {
            arenas: on.arena_bytes() as u64,
            optimizer: optimizer.bytes() as u64,
            activations: on.memory.held() as u64,
            peak: dry.peak() as u64,
        })
    }
}

/// How a step of this run is cut on a device with `total` bytes of memory: as the recipe says, or else as
/// few passes as fit, without computing anything twice if that fits too. Nothing of it depends on what
/// else the device holds at the time, since the cut decides the last bits. Errors (refused, status 3)
/// when a single sequence does not fit.
pub fn cut(run: &Run, precision: Precision, total: u64) -> Result<Cut> {
    let room = (total as f64 * (1.0 - LEFT_ALONE)) as u64;
    let rows = run.batch.rows;
    let written = run.batch.rows_per_pass;
    let sizes: Vec<usize> = match written {
        0 => (1..=rows)
            .rev()
            .filter(|n| rows.is_multiple_of(*n))
            .collect(),
        n => vec![n],
    };
    // A variant may read what would be given back.
    let ways: &[bool] = match run.model.variant {
        None => &[false, true],
        Some(_) => &[false],
    };
    let mut least = u64::MAX;
    for rows_per_pass in sizes {
        for frugal in ways {
            let cut = Cut {
                rows_per_pass,
                frugal: *frugal,
            };
            let peak = Need::of(run, 1, precision, cut)?.peak;
            if peak <= room {
                return Ok(cut);
            }
            least = least.min(peak);
        }
    }
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    Err(Error::new(
        Kind::Refused,
        if written > 0 {
            "batch.rows_per_pass"
        } else {
            "model"
        },
        format!(
            "a step takes {:.1} GiB at least, and the device has {:.1}",
            gib(least),
            gib(total)
        ),
        "make the model or its block_size smaller, or batch.rows_per_pass",
    ))
}

/// How many runs like this one a pack may have on this device now: 1 on a CPU, which trains small ones
/// side by side instead. Errors as [`cut`] does, and when the device does not say what it has.
pub fn pack_that_fits(run: &Run, compute: &Compute) -> Result<usize> {
    let Backend::Gpu(gpu) = &compute.backend else {
        return Ok(1);
    };
    let (free, total) = gpu.memory()?;
    let cut = cut(run, compute.precision, total)?;
    most_lanes(run, compute.precision, cut, free)
}

/// The same in so many bytes: a power of 2.
pub fn most_lanes(run: &Run, precision: Precision, cut: Cut, bytes: u64) -> Result<usize> {
    let room = (bytes as f64 * (1.0 - LEFT_ALONE)) as u64;
    let mut lanes = 1;
    while lanes < MOST_LANES && Need::of(run, 2 * lanes, precision, cut)?.peak <= room {
        lanes *= 2;
    }
    Ok(lanes)
}
