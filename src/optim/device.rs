//! The optimizers on a device.
//!
//! The host's [`Optimizer`] says which rule moves what, and has the arenas that checkpoints are made
//! of; here are the same arenas in the device's memory, and the launches of a step. Formulas are those
//! of the host's files, in f32 and in their order. What Muon makes orthogonal has the tape's number
//! type: f32 or, as in PyTorch, bf16.

use super::{Group, Optimizer, OptimizerConfig, OptimizerKind, muon};
use crate::{
    device::gpu::Slab,
    error::Result,
    memory::Buffer,
    ops::cuda::{
        Lane, OnDevice,
        muon::{Iteration, Layout, Matrices},
        step::{Kept, Part, Rule, Seen, StepTable, first_chunks},
    },
    params::Params,
    real::Real,
};
use std::ops::RangeInclusive;

/// All lanes' optimizer in a device's memory.
pub struct DeviceOptimizer {
    configs: Vec<OptimizerConfig>,
    average_decays: Vec<f64>,
    table: StepTable,
    kept: Kept,
    /// Muon's.
    matrices: Option<Matrices>,
}

impl DeviceOptimizer {
    /// What `host` remembers, on the device. Errors when there is no memory for it.
    pub fn new<R: Real>(
        device: &OnDevice,
        params: &Params<R>,
        host: &Optimizer<R>,
    ) -> Result<Self> {
        let layout = host.layout(params);
        let lanes: Vec<Vec<Part>> = (0..params.k())
            .map(|k| host.parts((params, k), &layout))
            .collect();
        let gpu = &device.gpu;
        let arena = |like: &Buffer<R>| {
            let there = !like.is_empty();
            there.then(|| Slab::new(gpu, 4 * like.len())).transpose()
        };
        let [first, second, average] = host.arenas();
        let numbers = layout.len() * device.dtype.bytes();
        let directions = (numbers > 0).then(|| Slab::new(gpu, numbers));
        let matrices = (numbers > 0).then(|| {
            let iteration = Iteration {
                quintic: muon::QUINTIC,
                iterations: muon::ITERATIONS,
                least_norm: muon::LEAST_NORM,
            };
            Matrices::new(device, layout, &first_chunks(&lanes), iteration)
        });
        let optimizer = Self {
            configs: host.configs.clone(),
            average_decays: host.average.decays.clone(),
            table: StepTable::new(gpu, &lanes)?,
            kept: Kept {
                first: arena(first)?,
                second: arena(second)?,
                average: arena(average)?,
                directions: directions.transpose()?,
            },
            matrices: matrices.transpose()?,
        };
        optimizer.upload(device, host)?;
        Ok(optimizer)
    }

    /// Lane `k`'s numbers in step `step`, counted from 1, at the scheduled rate `lr`.
    pub fn set_lane(&self, k: usize, lane: &mut Lane, (step, lr): (u64, f64)) {
        let config = &self.configs[k];
        let ([beta1, beta2], momentum) = (config.betas(), config.momentum());
        let average = match (step, self.average_decays.get(k)) {
            (2.., Some(decay)) => *decay,
            _ => 0.0,
        };
        lane.step = (step - 1) as u32;
        lane.lr = lr as f32;
        lane.beta1 = beta1 as f32;
        lane.beta2 = beta2 as f32;
        lane.eps = config.eps() as f32;
        lane.decay = config.weight_decay as f32;
        lane.momentum = momentum as f32;
        lane.max_grad_norm = config.max_grad_norm as f32;
        lane.correction1 = (1.0 - beta1.powi(step as i32)) as f32;
        lane.correction2 = (1.0 - beta2.powi(step as i32)) as f32;
        lane.nesterov = config.nesterov().into();
        lane.rest1 = (1.0 - beta1) as f32;
        lane.rest2 = (1.0 - beta2) as f32;
        lane.rest = (1.0 - momentum) as f32;
        lane.average_keep = average as f32;
        lane.average_take = (1.0 - average) as f32;
    }

    /// One update of all lanes whose loss and gradients are finite, from the device's gradients and
    /// losses; waits for nothing. A lane that once was not is never moved again.
    pub fn step(&self, device: &OnDevice) -> Result<()> {
        self.table.measure(device)?;
        self.table.update(device, &self.kept)?;
        let Some(matrices) = &self.matrices else {
            return Ok(());
        };
        matrices.orthogonalise(&self.kept, self.table.sums_at())?;
        self.table.move_matrices(device, &self.kept)
    }

    /// What these steps were, counted from 1, lane by lane; at most the last
    /// [`SLOTS`](crate::ops::cuda::step::SLOTS). Waits for them.
    pub fn seen(&self, steps: RangeInclusive<u64>) -> Result<Vec<Vec<Seen>>> {
        self.table.seen(steps)
    }

    /// Puts the averaged weights in the place of the weights, or puts them back; gives whether there
    /// are any.
    pub fn swap_average(&self, device: &OnDevice) -> Result<bool> {
        if let Some(average) = &self.kept.average {
            device.swap_average(average)?;
        }
        Ok(self.kept.average.is_some())
    }

    /// What the host's optimizer remembers, to the device.
    pub fn upload<R: Real>(&self, device: &OnDevice, host: &Optimizer<R>) -> Result<()> {
        let arenas = self.arenas().into_iter().zip(host.arenas());
        for (slab, arena) in arenas.filter_map(|(slab, arena)| Some((slab?, arena))) {
            device.upload(slab, arena)?;
        }
        Ok(())
    }

    /// What the device remembers, to the host's optimizer.
    pub fn download<R: Real>(&self, device: &OnDevice, host: &mut Optimizer<R>) -> Result<()> {
        let arenas = [&mut host.first, &mut host.second, &mut host.average.values];
        let arenas = self.arenas().into_iter().zip(arenas);
        for (slab, arena) in arenas.filter_map(|(slab, arena)| Some((slab?, arena))) {
            device.download(slab, arena)?;
        }
        Ok(())
    }

    /// Bytes held on the device.
    pub fn bytes(&self) -> usize {
        let matrices = self.matrices.as_ref().map_or(0, Matrices::bytes);
        self.table.bytes() + self.kept.bytes() + matrices
    }

    fn arenas(&self) -> [Option<&Slab>; 3] {
        let Kept {
            first,
            second,
            average,
            ..
        } = &self.kept;
        [first.as_ref(), second.as_ref(), average.as_ref()]
    }
}

impl<R: Real> Optimizer<R> {
    /// First moments, second moments and averages; empty where there are none.
    fn arenas(&self) -> [&Buffer<R>; 3] {
        [&self.first, &self.second, &self.average.values]
    }

    /// Where the directions of Muon's matrices go.
    fn layout(&self, params: &Params<R>) -> Layout {
        let specs = params.specs().iter().filter(|spec| {
            let rule = self.configs[0].rule(Group::of(spec));
            rule == OptimizerKind::Muon
        });
        let shapes: Vec<[usize; 2]> = specs.map(|spec| [spec.shape[0], spec.shape[1]]).collect();
        Layout::new(&shapes, params.k())
    }

    /// What a step needs to know of each parameter of variant `k`, Muon's last.
    fn parts(&self, (params, k): (&Params<R>, usize), layout: &Layout) -> Vec<Part> {
        let config = &self.configs[k];
        let mut starts = layout.starts.iter();
        let part = |p| {
            let (spec, group) = (params.spec(p), Group::of(params.spec(p)));
            let kind = config.rule(group);
            let widened = kind.at_width(group, self.width);
            let mut part = Part {
                range: params.range(p, k),
                rule: Rule::of(kind, config),
                rate: config.rate(group) * widened,
                decay: if spec.decay { 1.0 / widened } else { 0.0 },
                direction: 0,
            };
            if part.rule == Rule::Muon {
                let start = starts.next().expect("the layout has every matrix");
                let scale = muon::scale(spec.shape[0], spec.shape[1]);
                part.direction = start + k * spec.len();
                part.rate *= scale;
                // Of a rate without that factor.
                part.decay /= scale;
            }
            part
        };
        let mut parts: Vec<Part> = params.handles().map(part).collect();
        parts.sort_by_key(|part| part.rule == Rule::Muon);
        parts
    }
}

impl Rule {
    fn of(kind: OptimizerKind, config: &OptimizerConfig) -> Self {
        match kind {
            OptimizerKind::Adamw => Self::Adamw,
            OptimizerKind::Sgd if config.momentum() == 0.0 => Self::Sgd,
            OptimizerKind::Sgd => Self::SgdMomentum,
            OptimizerKind::Lion => Self::Lion,
            OptimizerKind::Muon => Self::Muon,
        }
    }
}
