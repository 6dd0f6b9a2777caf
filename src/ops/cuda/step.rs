//! One optimizer step of all lanes: the global norm, whether a lane goes on, and the update.
//!
//! All parameters of all lanes are one table of chunks, made once and kept on the device, so that a
//! step is a handful of launches whatever the model. The host waits for none of them: what a step
//! was lies in a ring on the device, to be read every so often.

use super::OnDevice;
use crate::{
    device::gpu::{Arg, At, Gpu, Launch, Slab},
    error::Result,
};
use std::{
    ops::{Range, RangeInclusive},
    sync::Arc,
};

/// Most elements of a chunk: the kernels' `CHUNK`.
const CHUNK: usize = 4096;
/// Steps that can wait to be read: the kernels' `SLOTS`.
pub const SLOTS: u64 = 64;
/// Threads of a block.
const THREADS: u32 = 256;

/// What moves a parameter: the kernels' `Rule`, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Adamw,
    /// Without momentum.
    Sgd,
    SgdMomentum,
    Lion,
    Muon,
}

/// What a step needs to know of one lane of one parameter.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its place in the arenas.
    pub range: Range<usize>,
    pub rule: Rule,
    /// Factors on the lane's rate and on its weight decay.
    pub rate: f64,
    pub decay: f64,
    /// Where its direction begins among Muon's; 0 for others.
    pub direction: usize,
}

/// Chunks of so many elements.
pub fn n_chunks(len: usize) -> usize {
    len.div_ceil(CHUNK)
}

/// Of each of Muon's matrices, in the order of their directions, the first of its chunks among those of
/// all lanes.
pub fn first_chunks(lanes: &[Vec<Part>]) -> Vec<usize> {
    let (mut next, mut firsts) = (0, Vec::new());
    for part in lanes.iter().flatten() {
        if part.rule == Rule::Muon {
            firsts.push((part.direction, next));
        }
        next += part.n_chunks();
    }
    firsts.sort_unstable();
    firsts.into_iter().map(|(_, first)| first).collect()
}

impl Part {
    fn n_chunks(&self) -> usize {
        n_chunks(self.range.len())
    }

    /// The bytes of its chunks: `Chunk` in `step.cu`, field by field.
    fn chunks(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for first in self.range.clone().step_by(CHUNK) {
            let direction = self.direction + first - self.range.start;
            let len = CHUNK.min(self.range.end - first);
            bytes.extend((first as u64).to_ne_bytes());
            bytes.extend((direction as u64).to_ne_bytes());
            bytes.extend((len as u32).to_ne_bytes());
            bytes.extend((self.rule as u32).to_ne_bytes());
            bytes.extend((self.rate as f32).to_ne_bytes());
            bytes.extend((self.decay as f32).to_ne_bytes());
        }
        bytes
    }
}

/// What is kept beside weights and gradients.
#[derive(Debug, Default)]
pub struct Kept {
    /// AdamW's first moment, the momentum of the others; AdamW's second moment; the weights' average.
    /// Arenas of f32, `None` where there is none.
    pub first: Option<Slab>,
    pub second: Option<Slab>,
    pub average: Option<Slab>,
    /// Muon's directions, in activations' numbers.
    pub directions: Option<Slab>,
}

impl Kept {
    pub fn bytes(&self) -> usize {
        let slabs = [&self.first, &self.second, &self.average, &self.directions];
        slabs.into_iter().flatten().map(Slab::bytes).sum()
    }
}

/// Where a slab is; nowhere if there is none.
fn at(slab: &Option<Slab>) -> Arg {
    Arg::At(slab.as_ref().map_or(0, Slab::at))
}

/// What a lane's step was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Counted from 1.
    pub step: u64,
    pub loss: f64,
    /// Of the gradients before they were clipped.
    pub norm: f64,
    /// The first step whose loss or norm was not finite: the lane's weights are those before it.
    pub frozen: Option<u64>,
}

impl Seen {
    const BYTES: usize = 24;

    /// `Seen` in `step.cu`, field by field.
    fn of(bytes: &[u8; Self::BYTES]) -> Self {
        let number = |at: usize| {
            let bytes = bytes[at..].first_chunk().expect("a record holds it");
            f64::from_ne_bytes(*bytes)
        };
        let whole = |at: usize| {
            let bytes = bytes[at..].first_chunk().expect("a record holds it");
            u64::from(u32::from_ne_bytes(*bytes))
        };
        Self {
            loss: number(0),
            norm: number(8),
            step: whole(16),
            frozen: Some(whole(20)).filter(|step| *step > 0),
        }
    }
}

/// The table of chunks, and what a step leaves behind for the next kernel and for the host.
#[derive(Debug)]
pub struct StepTable {
    gpu: Arc<dyn Gpu>,
    k: usize,
    /// (K, `per_lane`) chunks, of which the last `of_matrices` of each lane are Muon's.
    chunks: Slab,
    per_lane: usize,
    of_matrices: usize,
    /// A sum of squares in f64 for each chunk.
    sums: Slab,
    /// Each lane's clip, and the step that it was frozen at.
    standings: Slab,
    /// (K, `SLOTS`) records.
    seen: Slab,
}

impl StepTable {
    /// Of the parts of each lane: of the same parameters, in the same order, Muon's last.
    pub fn new(gpu: &Arc<dyn Gpu>, lanes: &[Vec<Part>]) -> Result<Self> {
        let (k, parts) = (lanes.len(), &lanes[0]);
        let matrices = parts.iter().filter(|part| part.rule == Rule::Muon);
        let table: Vec<u8> = lanes.iter().flatten().flat_map(Part::chunks).collect();
        let per_lane = parts.iter().map(Part::n_chunks).sum::<usize>();
        let chunks = Slab::new(gpu, table.len())?;
        gpu.upload(chunks.at(), &table)?;
        Ok(Self {
            k,
            per_lane,
            of_matrices: matrices.map(Part::n_chunks).sum(),
            chunks,
            sums: Slab::new(gpu, 8 * k * per_lane)?,
            standings: Slab::zeros(gpu, 8 * k)?,
            seen: Slab::zeros(gpu, k * SLOTS as usize * Seen::BYTES)?,
            gpu: gpu.clone(),
        })
    }

    /// Where the sums of squares of all chunks are.
    pub fn sums_at(&self) -> At {
        self.sums.at()
    }

    pub fn bytes(&self) -> usize {
        let slabs = [&self.chunks, &self.sums, &self.standings, &self.seen];
        slabs.into_iter().map(Slab::bytes).sum()
    }

    /// Takes each lane's gradient norm, decides whether it goes on, and writes the step's record; the
    /// losses are 0 again.
    pub fn measure(&self, device: &OnDevice) -> Result<()> {
        let (chunks, sums) = (Arg::At(self.chunks.at()), Arg::At(self.sums.at()));
        self.launch(
            "sum_squares",
            [self.per_lane, self.k],
            &[chunks, Arg::At(device.grads.at()), sums],
        )?;
        self.launch(
            "finish_step",
            [self.k, 1],
            &[
                sums,
                Arg::U32(self.per_lane as u32),
                Arg::At(device.lanes_at()),
                Arg::At(device.losses.at()),
                Arg::At(self.standings.at()),
                Arg::At(self.seen.at()),
            ],
        )
    }

    /// Moves all weights of the lanes that go on, but for Muon's matrices: those get their momentum and
    /// their direction, whose sums of squares are there afterwards.
    pub fn update(&self, device: &OnDevice, kept: &Kept) -> Result<()> {
        self.launch(
            device.twin(["update_f32", "update_bf16"]),
            [self.per_lane, self.k],
            &[
                Arg::At(self.chunks.at()),
                Arg::At(device.lanes_at()),
                Arg::At(self.standings.at()),
                Arg::At(device.values.at()),
                at(&device.shadow),
                at(&kept.average),
                Arg::At(device.grads.at()),
                at(&kept.first),
                at(&kept.second),
                at(&kept.directions),
                Arg::At(self.sums.at()),
            ],
        )
    }

    /// Moves Muon's matrices against their directions, which are orthogonal now.
    pub fn move_matrices(&self, device: &OnDevice, kept: &Kept) -> Result<()> {
        self.launch(
            device.twin(["muon_move_f32", "muon_move_bf16"]),
            [self.of_matrices, self.k],
            &[
                Arg::At(self.chunks.at()),
                Arg::U32(self.per_lane as u32),
                Arg::U32((self.per_lane - self.of_matrices) as u32),
                Arg::At(device.lanes_at()),
                Arg::At(self.standings.at()),
                Arg::At(device.values.at()),
                at(&device.shadow),
                at(&kept.average),
                at(&kept.directions),
            ],
        )
    }

    /// What these steps were, counted from 1, lane by lane: at most the last [`SLOTS`] that were
    /// taken. Waits for them. Errors when the device does not answer.
    pub fn seen(&self, steps: RangeInclusive<u64>) -> Result<Vec<Vec<Seen>>> {
        let mut bytes = vec![0; self.seen.bytes()];
        self.gpu.download(self.seen.at(), &mut bytes)?;
        let records = bytes.as_chunks::<{ Seen::BYTES }>().0;
        let lanes = records.chunks_exact(SLOTS as usize);
        let asked = lanes.map(|lane| {
            let slots = steps.clone().map(|step| ((step - 1) % SLOTS) as usize);
            slots.map(|slot| Seen::of(&lane[slot])).collect()
        });
        let asked: Vec<Vec<Seen>> = asked.collect();
        let there = |lane: &Vec<Seen>| lane.iter().map(|seen| seen.step).eq(steps.clone());
        assert!(
            asked.iter().all(there) || self.gpu.is_dry(),
            "steps {steps:?} are in the ring"
        );
        Ok(asked)
    }

    fn launch(&self, kernel: &'static str, [x, y]: [usize; 2], args: &[Arg]) -> Result<()> {
        self.gpu.launch(Launch {
            kernel,
            grid: [x as u32, y as u32, 1],
            threads: THREADS,
            shared: 0,
            args,
        })
    }
}

impl OnDevice {
    /// Weights for their average and the average for the weights, in their places.
    pub fn swap_average(&self, average: &Slab) -> Result<()> {
        let len = average.bytes() / 4;
        let (grid, threads) = super::grid_over(len);
        self.gpu.launch(Launch {
            kernel: self.twin(["swap_average_f32", "swap_average_bf16"]),
            grid,
            threads,
            shared: 0,
            args: &[
                Arg::At(self.values.at()),
                Arg::At(average.at()),
                at(&self.shadow),
                Arg::U64(len as u64),
            ],
        })
    }
}
