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
//! oracle of the fused one in tests, and what runs on a GPU.
//!
//! Shape letters, here and in `ops/`: K packed variants, B sequences, T tokens, C channels,
//! H heads, D channels of a head, V vocabulary.

use crate::{
    device::{Backend, Precision},
    error::Result,
    memory::{Buffer, Recycler},
    params::{Param, Params},
    pool::Pool,
    profile::{Half, Profile, module_of},
    real::Real,
};
use candle_core::{Device, Tensor};
use std::{collections::HashMap, sync::Arc};

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
    Candle(Tensor),
    Freed,
}

struct Node<R> {
    shape: Shape,
    data: Data<R>,
    /// Shared, so that a residual connection hands one gradient to both of its branches.
    grad: Option<Arc<Buffer<R>>>,
}

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
    pub step: u64,
    /// First sequence of this pass within its optimizer step.
    pub first_row: usize,
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
    /// Dropout sites seen in this pass; each has its own counters.
    pub(crate) dropout_sites: u32,
}

impl<R: Real> Tape<R> {
    pub fn new(params: Params<R>, backend: Backend, pool: Arc<Pool>) -> Self {
        Self {
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
    }

    /// The candle device of a composed tape; `None` when the fused ops run.
    pub(crate) fn candle_device(&self) -> Option<&Device> {
        match &self.backend {
            Backend::Fused => None,
            Backend::Composed(device) => Some(device),
        }
    }

    /// An input that is neither computed nor a parameter, from host numbers.
    pub fn leaf(&mut self, shape: Shape, values: &[R]) -> Result<Value> {
        let data = match &self.backend {
            Backend::Fused => Data::Host(Buffer::from_slice(values)),
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
            Data::Freed => Ok(Vec::new()),
        }
    }

    /// The gradient that has reached `x` so far, if any.
    pub fn grad(&self, x: Value) -> Option<&[R]> {
        self.nodes[x.0].grad.as_deref().map(|grad| &**grad)
    }

    /// Makes `gradient` the start of the backward pass at `x`.
    pub fn seed_grad(&mut self, x: Value, gradient: &[R]) {
        self.nodes[x.0].grad = Some(Arc::new(Buffer::from_slice(gradient)));
    }

    /// Forgets every parameter's gradient.
    pub fn zero_grads(&mut self) {
        self.params.zero_grads(&self.pool);
        self.lap("zero_grads", Half::Forward);
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

    fn candle_backward(&mut self) -> Result<()> {
        for root in std::mem::take(&mut self.roots) {
            let store = root.sum_all()?.backward()?;
            for (param, leaf) in &self.leaves {
                let Some(gradient) = store.get(leaf) else {
                    continue;
                };
                let gradient: Vec<R> = gradient.flatten_all()?.to_vec1()?;
                let len = self.params.spec(*param).len();
                for (k, gradient) in gradient.chunks_exact(len).enumerate() {
                    let target = self.params.grad_mut(*param, k);
                    for (t, g) in target.iter_mut().zip(gradient) {
                        *t += *g;
                    }
                }
            }
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

    pub(crate) fn tensor(&self, x: Value) -> &Tensor {
        match &self.nodes[x.0].data {
            Data::Candle(tensor) => tensor,
            _ => unreachable!("a composed tape holds candle tensors only"),
        }
    }

    /// A parameter as a leaf of candle's graph, shape (K, …).
    pub(crate) fn leaf_tensor(&mut self, p: Param) -> Result<Tensor> {
        if let Some(leaf) = self.leaves.get(&p) {
            return Ok(leaf.clone());
        }
        let device = self.candle_device().cloned().unwrap_or(Device::Cpu);
        let leaf = self.variable(p, &device)?;
        self.leaves.insert(p, leaf.clone());
        Ok(leaf)
    }

    /// A fresh tracked copy of a parameter on `device`, shape (K, …).
    pub(crate) fn variable(&self, p: Param, device: &Device) -> Result<Tensor> {
        let mut shape = vec![self.k()];
        shape.extend(&self.params.spec(p).shape);
        let values: Vec<R> = (0..self.k())
            .flat_map(|k| self.params.value(p, k).iter().copied())
            .collect();
        let tensor = Tensor::from_vec(values, shape, device)?;
        Ok(candle_core::Var::from_tensor(&tensor)?.into_inner())
    }

    pub(crate) fn push_node(&mut self, shape: Shape, data: Data<R>) -> Value {
        self.nodes.push(Node {
            shape,
            data,
            grad: None,
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
            if let Data::Host(buffer) = node.data {
                self.memory.give(buffer);
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
