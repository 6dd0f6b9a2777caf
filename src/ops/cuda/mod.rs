//! The device halves of the ops: one Rust file and one file of kernels each, beside what they share.
//!
//! Everything has the pack axis K in front: K runs of equal shapes, called lanes here, with their own
//! seeds, rates and data. What differs between them from step to step lies in the device's memory
//! ([`Lane`]), and so do the batches ([`staged`]): a step that was captured as a graph is the same
//! launches with the same arguments, whatever the step.
//!
//! Activations and their gradients are f32 or bf16; weights are kept in f32, with a bf16 copy for the
//! products where activations are bf16; gradients of weights and all statistics are f32.

pub(in crate::ops) mod activation;
mod attention;
pub mod classifier;
mod dropout;
mod elementwise;
mod embedding;
pub mod graphs;
mod linear;
pub mod muon;
mod norm;
mod rotary;
pub mod staged;
pub mod step;

use crate::{
    device::{
        Precision,
        gpu::{Dtype, Gpu, Slab, Slabs},
    },
    error::Result,
    params::Params,
    real::Real,
};
use classifier::{Denominators, LOGIT_BYTES};
use graphs::{Key, Repeated};
use staged::{Loose, Slot, StagedPass};
use std::{collections::HashMap, sync::Arc};

/// What one lane's step needs, as kernels read it: `Lane` in `prelude.cuh`, field by field.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lane {
    /// Of dropout.
    pub key: [u32; 2],
    /// Optimizer steps done before this one.
    pub step: u32,
    /// Dropout's probability times 2³².
    pub threshold: u32,
    /// 1/(1 − probability)
    pub keep_scale: f32,
    /// 1/targets that count in this step.
    pub inverse_targets: f32,
    pub lr: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    pub decay: f32,
    pub momentum: f32,
    pub max_grad_norm: f32,
    /// 1 − β₁ˢ and 1 − β₂ˢ, with the step s counted from 1.
    pub correction1: f32,
    pub correction2: f32,
    pub nesterov: u32,
    /// 1 − β₁, 1 − β₂ and 1 − momentum, exact before they were rounded.
    pub rest1: f32,
    pub rest2: f32,
    pub rest: f32,
    /// What the weights' average keeps of itself, and takes of the weights.
    pub average_keep: f32,
    pub average_take: f32,
}

impl Lane {
    const WORDS: usize = size_of::<Lane>() / 4;

    fn words(self) -> [u32; Self::WORDS] {
        let f = f32::to_bits;
        [
            self.key[0],
            self.key[1],
            self.step,
            self.threshold,
            f(self.keep_scale),
            f(self.inverse_targets),
            f(self.lr),
            f(self.beta1),
            f(self.beta2),
            f(self.eps),
            f(self.decay),
            f(self.momentum),
            f(self.max_grad_norm),
            f(self.correction1),
            f(self.correction2),
            self.nesterov,
            f(self.rest1),
            f(self.rest2),
            f(self.rest),
            f(self.average_keep),
            f(self.average_take),
        ]
    }
}

/// A tape's side on a device.
pub struct OnDevice {
    pub gpu: Arc<dyn Gpu>,
    /// Of activations and their gradients.
    pub dtype: Dtype,
    /// Products of f32 numbers may round them to TF32.
    pub tf32: bool,
    /// Activations of the pass.
    pub memory: Slabs,
    /// The arenas, laid out as the host's are: weights and their gradients in f32.
    pub values: Slab,
    pub grads: Slab,
    /// The weights in bf16, where activations are bf16.
    pub shadow: Option<Slab>,
    /// K sums in f64: losses since they were last cleared.
    pub losses: Slab,
    denominators: Denominators,
    /// Most bytes of logits that the classifier holds at once.
    pub logit_bytes: usize,
    lanes: Vec<Lane>,
    lanes_at: Slab,
    /// Batches of one step, put there before it.
    staged: HashMap<Slot, StagedPass>,
    /// Batches that a pass brought with it.
    loose: Loose,
    /// Rotary tables.
    turns: rotary::Turns,
    /// What was done before and may be done again at once, by name.
    pub graphs: HashMap<Key, Repeated>,
    /// Results of norms and activations are computed again on the way back; see [`Tape::be_frugal`](crate::tape::Tape::be_frugal).
    pub frugal: bool,
    /// While a graph is captured nothing can be uploaded: all is there already.
    pub capturing: bool,
    /// Whether something of a pass since the last look went through the host, which no graph can hold.
    pub went_through_host: bool,
}

impl OnDevice {
    /// Arenas for these parameters, without their values. Errors when there is no memory for them.
    pub fn new<R: Real>(
        gpu: &Arc<dyn Gpu>,
        params: &Params<R>,
        precision: Precision,
    ) -> Result<Self> {
        let len = params.values.len();
        let dtype = match precision {
            Precision::Bf16 => Dtype::Bf16,
            Precision::F32 | Precision::Tf32 => Dtype::F32,
        };
        let shadow = (dtype == Dtype::Bf16).then(|| Slab::zeros(gpu, 2 * len));
        let lanes = vec![Lane::default(); params.k()];
        let device = Self {
            dtype,
            tf32: precision == Precision::Tf32,
            memory: Slabs::new(gpu.clone()),
            values: Slab::zeros(gpu, 4 * len)?,
            grads: Slab::zeros(gpu, 4 * len)?,
            shadow: shadow.transpose()?,
            losses: Slab::zeros(gpu, 8 * params.k())?,
            denominators: Denominators::new(gpu, params.k())?,
            logit_bytes: LOGIT_BYTES,
            lanes_at: Slab::zeros(gpu, params.k() * size_of::<Lane>())?,
            lanes,
            staged: HashMap::new(),
            graphs: HashMap::new(),
            loose: Loose::default(),
            turns: rotary::Turns::default(),
            frugal: false,
            capturing: false,
            went_through_host: false,
            gpu: gpu.clone(),
        };
        Ok(device)
    }

    /// Bytes of the arenas.
    pub fn arena_bytes(&self) -> usize {
        let shadow = self.shadow.as_ref().map_or(0, Slab::bytes);
        self.values.bytes() + self.grads.bytes() + shadow
    }

    /// Of a kernel's two names the one for this tape's activations.
    pub fn twin(&self, [of_f32, of_bf16]: [&'static str; 2]) -> &'static str {
        match self.dtype {
            Dtype::F32 => of_f32,
            Dtype::Bf16 => of_bf16,
        }
    }

    /// Where the K lanes are.
    pub fn lanes_at(&self) -> u64 {
        self.lanes_at.at()
    }

    /// Changes what lanes are; nothing is sent when they stay as they are. In a capture they must be
    /// right already.
    pub fn set_lanes(&mut self, change: impl Fn(usize, &mut Lane)) -> Result<()> {
        let mut lanes = self.lanes.clone();
        let changed = lanes.iter_mut().enumerate();
        changed.for_each(|(k, lane)| change(k, lane));
        if lanes == self.lanes || self.capturing {
            return Ok(());
        }
        self.lanes = lanes;
        let words = self.lanes.iter().flat_map(|lane| lane.words());
        let bytes: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
        self.gpu.upload(self.lanes_at.at(), &bytes)
    }

    pub fn zero_grads(&self) -> Result<()> {
        self.gpu.zero(self.grads.at(), self.grads.bytes())
    }

    /// Forgets what passes brought with them.
    pub fn forget_loose(&mut self) {
        let loose = std::mem::take(&mut self.loose);
        loose.give_back(&mut self.memory);
    }

    /// An arena of the host to its place here, and to its bf16 copy.
    pub fn upload_values<R: Real>(&self, values: &[R]) -> Result<()> {
        if self.gpu.is_dry() {
            // Pages of an arena that nobody touches are never there.
            return Ok(());
        }
        self.gpu.upload(self.values.at(), &f32_bytes(values))?;
        self.refresh_shadow(values.len())
    }

    /// An f32 arena of the host to a slab of its size.
    pub fn upload<R: Real>(&self, slab: &Slab, values: &[R]) -> Result<()> {
        if self.gpu.is_dry() {
            return Ok(());
        }
        self.gpu.upload(slab.at(), &f32_bytes(values))
    }

    /// An f32 slab to an arena of the host of its size.
    pub fn download<R: Real>(&self, slab: &Slab, values: &mut [R]) -> Result<()> {
        let mut bytes = vec![0; 4 * values.len()];
        self.gpu.download(slab.at(), &mut bytes)?;
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *value = R::of(f64::from(f32::from_ne_bytes(*bytes)));
        }
        Ok(())
    }

    /// Host numbers in the activations' number type.
    pub fn encoded<R: Real>(&self, values: &[R]) -> Vec<u8> {
        match self.dtype {
            Dtype::F32 => f32_bytes(values),
            Dtype::Bf16 => {
                let high = |x: &R| (x.bf16().f64() as f32).to_bits() >> 16;
                let halves = values.iter().map(|x| high(x) as u16);
                halves.flat_map(u16::to_ne_bytes).collect()
            }
        }
    }

    /// The reverse.
    pub fn decoded<R: Real>(&self, bytes: &[u8]) -> Vec<R> {
        let number = |bits: u32| R::of(f64::from(f32::from_bits(bits)));
        match self.dtype {
            Dtype::F32 => {
                let words = bytes.as_chunks::<4>().0.iter();
                words.map(|b| number(u32::from_ne_bytes(*b))).collect()
            }
            Dtype::Bf16 => {
                let halves = bytes.as_chunks::<2>().0.iter();
                let word = |b: &[u8; 2]| u32::from(u16::from_ne_bytes(*b)) << 16;
                halves.map(|b| number(word(b))).collect()
            }
        }
    }
}

/// Numbers as f32, byte by byte.
pub fn f32_bytes<R: Real>(values: &[R]) -> Vec<u8> {
    let words = values.iter().map(|x| x.f64() as f32);
    words.flat_map(f32::to_ne_bytes).collect()
}

/// Threads of an elementwise block.
pub const THREADS: u32 = 256;

/// A grid with a thread for every four of `len` elements, for kernels that stride over what is left.
pub fn grid_over(len: usize) -> ([u32; 3], u32) {
    /// Enough to fill any device several times over.
    const MOST: usize = 4096;
    let blocks = len.div_ceil(4 * THREADS as usize).clamp(1, MOST);
    ([blocks as u32, 1, 1], THREADS)
}
