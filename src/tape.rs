//! The tape: records fused operations on the way forward, and plays their backwards in reverse.
//!
//! A tape owns the parameters, the activations of one pass and a pool of threads. An op is a method
//! of [`Tape`] (one file each under `ops/`) that computes its output and pushes a closure-like
//! record; gradients accumulate into activation buffers here and into the flat gradient arena of
//! [`Params`]. A buffer goes back to the free list as soon as its last reader is done, so every
//! step runs in the same memory.
//!
//! Each op exists twice: fused, in loops of our own, and *composed*, as a candle expression that is
//! differentiated by candle. [`Backend`] picks one for the whole tape. The composed form is the
//! oracle of the fused one in tests. On a GPU the fused ops run as kernels (`ops/cuda/`), and what a
//! value or a gradient holds lies in the device's memory.
//!
//! Shape letters, here and in `ops/`: K packed variants, B sequences, T tokens, C channels,
//! H heads, D channels of a head, V vocabulary.

mod composed;
mod device;

use crate::{
    device::{
        Backend, Compute, Precision,
        gpu::{At, Gpu, Slab},
    },
    error::Result,
    memory::{Buffer, Recycler},
    ops::cuda::{OnDevice, staged::Slot},
    params::{Param, Params},
    pool::Pool,
    profile::{Half, Profile, module_of},
    real::Real,
};
use candle_core::Tensor;
use std::{collections::HashMap, rc::Rc, sync::Arc};

/// A handle to one activation of the current pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value(pub(crate) usize);

/// Activations are `(K, rows, cols)`; rows are B·T tokens unless an op says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub k: usize,
    pub rows: usize,
    pub cols: usize,
}

impl Shape {
    pub fn len(self) -> usize {
        self.k * self.rows * self.cols
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Whether a pass is to be differentiated. Dropout acts in training passes only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Train,
    Eval,
}

/// The backward half of one op.
pub trait Op<R: Real> {
    /// Adds this op's share to the gradients of its inputs and parameters.
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()>;

    /// What a profile calls it.
    fn name(&self) -> &'static str {
        module_of::<Self>()
    }
}

pub(crate) enum Data<R> {
    Host(Buffer<R>),
    Device(Slab),
    Candle(Tensor),
    Freed,
}

struct Node<R: Real> {
    shape: Shape,
    data: Data<R>,
    /// Shared, so that a residual connection hands one gradient to both of its branches.
    grad: Option<Arc<Buffer<R>>>,
    /// The same where the values are on a device.
    device_grad: Option<Arc<Slab>>,
    /// What this is GELU of, where a linear layer's product had it as its epilogue.
    gelu_of: Option<Value>,
    /// Computes it again, where it may be given back between its reader on the way forward and on the
    /// way back.
    again: Option<Again<R>>,
}

/// Computes a value's numbers into the slab at this address.
type Again<R> = Rc<dyn Fn(&mut Tape<R>, At) -> Result<()>>;

struct Record<R> {
    op: Box<dyn Op<R>>,
    /// Nodes from here on are this op's outputs (or came later).
    first_output: usize,
}

/// Where the current pass stands in its run: what dropout's counters are made of.
#[derive(Debug, Clone, Default)]
pub struct PassPosition {
    /// One random key for each packed variant.
    pub keys: Vec<[u32; 2]>,
    /// One probability of dropout for each packed variant, in the place of the ops' own; empty where
    /// those are meant. An op whose own is 0 drops nothing whatever is here.
    pub dropout: Vec<f64>,
    pub step: u64,
    /// First sequence of this pass within its optimizer step.
    pub first_row: usize,
    /// Which of the batches that were staged on the device this pass reads; `None` where the pass
    /// brings its own.
    pub staged: Option<Slot>,
}

/// One pass's record, with the arenas it reads and writes.
pub struct Tape<R: Real> {
    pub params: Params<R>,
    pub position: PassPosition,
    /// Where time goes, when somebody asks.
    pub profile: Option<Profile>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) memory: Recycler<R>,
    pub(crate) precision: Precision,
    backend: Backend,
    mode: Mode,
    nodes: Vec<Node<R>>,
    records: Vec<Record<R>>,
    /// candle's side of a composed pass: parameters as leaves, and the losses to differentiate.
    leaves: HashMap<Param, Tensor>,
    pub(crate) roots: Vec<Tensor>,
    /// What passes have added to each variant's loss since it was last read.
    losses: Vec<f64>,
    /// Dropout sites seen in this pass; each has its own counters.
    pub(crate) dropout_sites: u32,
    /// Arenas and memory on a GPU, where one computes.
    pub(crate) device: Option<Box<OnDevice>>,
}

impl<R: Real> Tape<R> {
    pub fn new(params: Params<R>, backend: Backend, pool: Arc<Pool>) -> Self {
        Self {
            losses: vec![0.0; params.k()],
            params,
            position: PassPosition::default(),
            profile: None,
            pool,
            memory: Recycler::new(),
            precision: Precision::F32,
            backend,
            mode: Mode::Eval,
            nodes: Vec::new(),
            records: Vec::new(),
            leaves: HashMap::new(),
            roots: Vec::new(),
            dropout_sites: 0,
            device: None,
        }
    }

    /// A tape whose values lie on a device, which is given the parameters' values. Errors when it has
    /// no memory for the arenas.
    pub fn on_device(params: Params<R>, gpu: &Arc<dyn Gpu>, precision: Precision) -> Result<Self> {
        let device = OnDevice::new(gpu, &params, precision)?;
        // What the host does beside the device is little: one thread.
        let mut tape = Self::new(params, Backend::Fused, Arc::new(Pool::new(1)));
        tape.device = Some(Box::new(device));
        tape.upload_values()?;
        Ok(tape.multiplying_in(precision))
    }

    /// A tape where a run computes, with its products' precision. Errors as [`Tape::on_device`] does.
    pub fn open(params: Params<R>, compute: &Compute, pool: Arc<Pool>) -> Result<Self> {
        let precision = compute.precision;
        match &compute.backend {
            Backend::Gpu(gpu) => Self::on_device(params, gpu, precision),
            here => Ok(Self::new(params, here.clone(), pool).multiplying_in(precision)),
        }
    }

    /// The same tape, whose fused linear layers read their inputs in `precision`.
    pub fn multiplying_in(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Starts a pass: forgets the last one's values and keeps its memory.
    pub fn begin(&mut self, mode: Mode) {
        self.mode = mode;
        self.records.clear();
        self.truncate(0);
        if let Some(device) = &mut self.device {
            device.forget_loose();
        }
        self.leaves.clear();
        self.roots.clear();
        self.dropout_sites = 0;
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub fn k(&self) -> usize {
        self.params.k()
    }

    pub fn shape(&self, x: Value) -> Shape {
        self.nodes[x.0].shape
    }

    /// Bytes of activation memory held: the most that any pass so far needed.
    pub fn activation_bytes(&self) -> usize {
        self.memory.bytes()
            + self
                .device
                .as_ref()
                .map_or(0, |device| device.memory.held())
    }

    /// An input that is neither computed nor a parameter, from host numbers.
    pub fn leaf(&mut self, shape: Shape, values: &[R]) -> Result<Value> {
        if self.device.is_some() {
            let slab = self.uploaded(values)?;
            return Ok(self.push_node(shape, Data::Device(slab)));
        }
        let data = match &self.backend {
            Backend::Fused | Backend::Gpu(_) => Data::Host(Buffer::from_slice(values)),
            Backend::Composed(device) => Data::Candle(Tensor::from_slice(
                values,
                (shape.k, shape.rows, shape.cols),
                device,
            )?),
        };
        Ok(self.push_node(shape, data))
    }

    /// The value's numbers, copied to the host.
    pub fn to_host(&self, x: Value) -> Result<Vec<R>> {
        match &self.nodes[x.0].data {
            Data::Host(buffer) => Ok(buffer.to_vec()),
            Data::Candle(tensor) => Ok(tensor.flatten_all()?.to_vec1()?),
            Data::Device(slab) => self.downloaded(slab, self.nodes[x.0].shape.len()),
            Data::Freed => Ok(Vec::new()),
        }
    }

    /// The gradient that has reached `x` so far, if any.
    pub fn grad(&self, x: Value) -> Option<&[R]> {
        self.nodes[x.0].grad.as_deref().map(|grad| &**grad)
    }

    /// The same, copied from wherever it is.
    pub fn grad_to_host(&self, x: Value) -> Result<Option<Vec<R>>> {
        let node = &self.nodes[x.0];
        match &node.device_grad {
            Some(slab) => self.downloaded(slab, node.shape.len()).map(Some),
            None => Ok(self.grad(x).map(<[R]>::to_vec)),
        }
    }

    /// Makes `gradient` the start of the backward pass at `x`. Errors when it is to go to a device that
    /// does not take it.
    pub fn seed_grad(&mut self, x: Value, gradient: &[R]) -> Result<()> {
        if self.device.is_some() {
            self.nodes[x.0].device_grad = Some(Arc::new(self.uploaded(gradient)?));
        } else {
            self.nodes[x.0].grad = Some(Arc::new(Buffer::from_slice(gradient)));
        }
        Ok(())
    }

    /// Forgets every parameter's gradient. Errors when a device does not answer.
    pub fn zero_grads(&mut self) -> Result<()> {
        match &self.device {
            Some(device) => device.zero_grads()?,
            None => self.params.zero_grads(&self.pool),
        }
        self.lap("zero_grads", Half::Forward);
        Ok(())
    }

    /// Forgets every variant's loss. Errors when a device does not answer.
    pub fn clear_losses(&mut self) -> Result<()> {
        self.losses.fill(0.0);
        match &self.device {
            Some(device) => device.clear_losses(),
            None => Ok(()),
        }
    }

    /// Each variant's loss, summed over the passes since it was last read or cleared; clears it. Waits
    /// for a device, and errors when it failed.
    pub fn take_losses(&mut self) -> Result<Vec<f64>> {
        let losses = match &self.device {
            Some(device) => device.read_losses()?,
            None => self.losses.clone(),
        };
        self.clear_losses()?;
        Ok(losses)
    }

    /// Adds to each variant's loss.
    pub(crate) fn add_losses(&mut self, losses: &[f64]) {
        for (sum, loss) in self.losses.iter_mut().zip(losses) {
            *sum += loss;
        }
    }

    /// Books the time since the last lap, if there is a profile.
    pub fn lap(&mut self, op: &'static str, half: Half) {
        if let Some(profile) = &mut self.profile {
            profile.lap(op, half);
        }
    }

    /// Plays the record backwards. Parameter gradients are added to `params.grads`.
    pub fn backward(&mut self) -> Result<()> {
        while let Some(mut record) = self.records.pop() {
            record.op.backward(self)?;
            self.lap(record.op.name(), Half::Backward);
            self.truncate(record.first_output);
        }
        if self.candle_device().is_some() {
            self.candle_backward()?;
        }
        Ok(())
    }

    // What ops are made of.

    pub(crate) fn host(&self, x: Value) -> &[R] {
        match &self.nodes[x.0].data {
            Data::Host(buffer) => buffer,
            _ => unreachable!("a fused op reads a host value that is still needed"),
        }
    }

    pub(crate) fn push_node(&mut self, shape: Shape, data: Data<R>) -> Value {
        self.nodes.push(Node {
            shape,
            data,
            grad: None,
            device_grad: None,
            gelu_of: None,
            again: None,
        });
        Value(self.nodes.len() - 1)
    }

    pub(crate) fn push(&mut self, shape: Shape, buffer: Buffer<R>) -> Value {
        debug_assert_eq!(shape.len(), buffer.len());
        self.push_node(shape, Data::Host(buffer))
    }

    /// Records how to go back through the op whose first output is `first`. Evaluation records
    /// nothing.
    pub(crate) fn record(&mut self, first: Value, op: impl Op<R> + 'static) {
        self.lap(op.name(), Half::Forward);
        if self.mode == Mode::Train {
            self.records.push(Record {
                op: Box::new(op),
                first_output: first.0,
            });
        }
    }

    /// Takes a value's numbers out of the tape, to be read beside the parameters; see
    /// [`Tape::give_back`].
    pub(crate) fn lend(&mut self, x: Value) -> Buffer<R> {
        match std::mem::replace(&mut self.nodes[x.0].data, Data::Freed) {
            Data::Host(buffer) => buffer,
            _ => unreachable!("a fused op reads a host value that is still needed"),
        }
    }

    pub(crate) fn give_back(&mut self, x: Value, buffer: Buffer<R>) {
        self.nodes[x.0].data = Data::Host(buffer);
    }

    /// Takes the gradient of an op's output; `None` when nothing depended on it.
    pub(crate) fn take_grad(&mut self, x: Value) -> Option<Arc<Buffer<R>>> {
        self.nodes[x.0].grad.take()
    }

    /// Done with a gradient: its buffer is free again when no other branch holds it.
    pub(crate) fn drop_grad(&mut self, gradient: Arc<Buffer<R>>) {
        if let Some(buffer) = Arc::into_inner(gradient) {
            self.memory.give(buffer);
        }
    }

    /// The buffer in which to put `x`'s gradient, and whether to add to what is there.
    pub(crate) fn grad_slot(&mut self, x: Value) -> (Buffer<R>, Into) {
        match self.nodes[x.0].grad.take() {
            None => (
                self.memory.take(self.nodes[x.0].shape.len()),
                Into::Overwrite,
            ),
            Some(shared) => match Arc::try_unwrap(shared) {
                Ok(buffer) => (buffer, Into::Add),
                Err(shared) => {
                    let mut buffer = self.memory.take(shared.len());
                    buffer.copy_from_slice(&shared);
                    (buffer, Into::Add)
                }
            },
        }
    }

    pub(crate) fn put_grad(&mut self, x: Value, gradient: Buffer<R>) {
        self.nodes[x.0].grad = Some(Arc::new(gradient));
    }

    /// Adds a whole gradient to `x`'s: moved without a copy when it is the first.
    pub(crate) fn add_grad(&mut self, x: Value, gradient: Arc<Buffer<R>>) {
        if self.nodes[x.0].grad.is_none() {
            self.nodes[x.0].grad = Some(gradient);
            return;
        }
        let (mut sum, _) = self.grad_slot(x);
        self.pool.pieces(&mut sum, PIECE, |i, sum| {
            let more = &gradient[i * PIECE..];
            for (s, g) in sum.iter_mut().zip(more) {
                *s += *g;
            }
        });
        self.put_grad(x, sum);
        self.drop_grad(gradient);
    }

    /// The fields that a backward needs side by side: parameters to write, pool to write with.
    pub(crate) fn params_and_pool(&mut self) -> (&mut Params<R>, &Pool) {
        (&mut self.params, &self.pool)
    }

    fn truncate(&mut self, len: usize) {
        for node in self.nodes.drain(len..) {
            match (node.data, &mut self.device) {
                (Data::Host(buffer), _) => self.memory.give(buffer),
                (Data::Device(slab), Some(device)) => device.memory.give(slab),
                _ => {}
            }
            let device_grad = node.device_grad.and_then(Arc::into_inner);
            if let (Some(slab), Some(device)) = (device_grad, &mut self.device) {
                device.memory.give(slab);
            }
            if let Some(buffer) = node.grad.and_then(Arc::into_inner) {
                self.memory.give(buffer);
            }
        }
    }
}

/// Elements of an elementwise piece: 64 KiB of f32, which stays in the second-level cache.
pub(crate) const PIECE: usize = 16 << 10;

/// Whether a kernel replaces what its output holds or adds to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Into {
    Overwrite,
    Add,
}
