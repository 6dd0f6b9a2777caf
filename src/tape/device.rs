//! The tape's side on a GPU: where values and gradients lie, and what device halves of ops are made of.
//!
//! The names are those of the host's side with `slab` in them: an op that takes a slab, pushes it as a
//! value, and finds a slot for its input's gradient reads as its CPU half does.

use super::{Data, Into, Mode, Shape, Tape, Value};
use crate::{
    device::gpu::{Arg, At, Launch, Slab},
    error::Result,
    ops::cuda::{OnDevice, f32_bytes, grid_over},
    params::Param,
    real::Real,
};
use std::{rc::Rc, sync::Arc};

impl<R: Real> Tape<R> {
    pub(crate) fn on(&self) -> &OnDevice {
        let device = self.device.as_deref();
        device.expect("the device half of an op runs on a device")
    }

    pub(crate) fn on_mut(&mut self) -> &mut OnDevice {
        let device = self.device.as_deref_mut();
        device.expect("the device half of an op runs on a device")
    }

    /// Room for `len` activations, with unspecified contents.
    pub(crate) fn take_slab(&mut self, len: usize) -> Result<Slab> {
        let device = self.on_mut();
        device.memory.take(len * device.dtype.bytes())
    }

    /// Room for `len` numbers of f32.
    pub(crate) fn take_f32(&mut self, len: usize) -> Result<Slab> {
        self.on_mut().memory.take(4 * len)
    }

    pub(crate) fn give_slab(&mut self, slab: Slab) {
        self.on_mut().memory.give(slab);
    }

    pub(crate) fn push_slab(&mut self, shape: Shape, slab: Slab) -> Value {
        self.push_node(shape, Data::Device(slab))
    }

    /// Where a value's numbers begin.
    pub(crate) fn at(&self, x: Value) -> At {
        match &self.nodes[x.0].data {
            Data::Device(slab) => slab.at(),
            _ => unreachable!("a value on a device that is still needed"),
        }
    }

    /// Where a parameter's lanes begin, in activations' numbers; `spec.len()` from one to the next.
    pub(crate) fn weight_at(&self, p: Param) -> At {
        let device = self.on();
        let first = self.params.range(p, 0).start;
        match &device.shadow {
            Some(shadow) => shadow.at() + 2 * first as At,
            None => device.values.at() + 4 * first as At,
        }
    }

    /// The same in f32: the weights that the optimizer moves.
    pub(crate) fn master_at(&self, p: Param) -> At {
        self.on().values.at() + 4 * self.params.range(p, 0).start as At
    }

    /// Where the gradients of a parameter's lanes begin, in f32.
    pub(crate) fn weight_grad_at(&self, p: Param) -> At {
        self.on().grads.at() + 4 * self.params.range(p, 0).start as At
    }

    /// Launches a kernel that has a twin for each number type of activations: `name` is that of f32.
    pub(crate) fn launch(
        &self,
        twins: [&'static str; 2],
        (grid, threads): ([u32; 3], u32),
        shared: u32,
        args: &[Arg],
    ) -> Result<()> {
        let device = self.on();
        device.gpu.launch(Launch {
            kernel: device.twin(twins),
            grid,
            threads,
            shared,
            args,
        })
    }

    /// Says how a value of a training pass is computed from values that stay; a frugal tape may then
    /// give its slab back in between.
    pub(crate) fn can_repeat(
        &mut self,
        y: Value,
        again: impl Fn(&mut Self, At) -> Result<()> + 'static,
    ) {
        if self.on().frugal && self.mode == Mode::Train {
            self.nodes[y.0].again = Some(Rc::new(again));
        }
    }

    /// Called by the reader of a value on the way forward: what can be computed again is given back.
    pub(crate) fn release(&mut self, x: Value) {
        if self.nodes[x.0].again.is_none() {
            return;
        }
        if let Data::Device(slab) = std::mem::replace(&mut self.nodes[x.0].data, Data::Freed) {
            self.give_slab(slab);
        }
    }

    /// Called by the same reader on the way back, before it reads.
    pub(crate) fn restore(&mut self, x: Value) -> Result<()> {
        let node = &self.nodes[x.0];
        let (Data::Freed, Some(again)) = (&node.data, &node.again) else {
            return Ok(());
        };
        let (again, len) = (again.clone(), node.shape.len());
        let slab = self.take_slab(len)?;
        again(self, slab.at())?;
        self.nodes[x.0].data = Data::Device(slab);
        Ok(())
    }

    /// From now on the results of norms and activations are not kept for the way back but computed
    /// again: about a third of a pass's memory for some more reading and writing. Not for a model with
    /// a variant, which may read them where it likes.
    pub fn be_frugal(&mut self) {
        if let Some(device) = &mut self.device {
            device.frugal = true;
        }
    }

    /// Remembers that `y` is GELU by tanh of `before`.
    pub(crate) fn set_gelu_of(&mut self, y: Value, before: Value) {
        self.nodes[y.0].gelu_of = Some(before);
    }

    /// What x is GELU of, where no gradient has reached that so far: a product may then put one there.
    pub(crate) fn gelu_without_grad(&self, x: Value) -> Option<Value> {
        let before = self.nodes[x.0].gelu_of?;
        self.nodes[before.0].device_grad.is_none().then_some(before)
    }

    /// Takes the gradient of an op's output; `None` when nothing depended on it.
    pub(crate) fn take_slab_grad(&mut self, x: Value) -> Option<Arc<Slab>> {
        self.nodes[x.0].device_grad.take()
    }

    /// Done with a gradient: its slab is free again when no other branch holds it.
    pub(crate) fn drop_slab_grad(&mut self, gradient: Arc<Slab>) {
        if let Some(slab) = Arc::into_inner(gradient) {
            self.give_slab(slab);
        }
    }

    /// The slab in which to put `x`'s gradient, and whether to add to what is there.
    pub(crate) fn slab_grad_slot(&mut self, x: Value) -> Result<(Slab, Into)> {
        let len = self.nodes[x.0].shape.len();
        let Some(shared) = self.nodes[x.0].device_grad.take() else {
            return Ok((self.take_slab(len)?, Into::Overwrite));
        };
        match Arc::try_unwrap(shared) {
            Ok(slab) => Ok((slab, Into::Add)),
            Err(shared) => {
                let slab = self.take_slab(len)?;
                let device = self.on();
                device
                    .gpu
                    .copy(shared.at(), slab.at(), len * device.dtype.bytes())?;
                Ok((slab, Into::Add))
            }
        }
    }

    pub(crate) fn put_slab_grad(&mut self, x: Value, gradient: Slab) {
        self.nodes[x.0].device_grad = Some(Arc::new(gradient));
    }

    /// Adds a whole gradient to `x`'s: moved without a copy when it is the first.
    pub(crate) fn add_slab_grad(&mut self, x: Value, gradient: Arc<Slab>) -> Result<()> {
        if self.nodes[x.0].device_grad.is_none() {
            self.nodes[x.0].device_grad = Some(gradient);
            return Ok(());
        }
        let len = self.nodes[x.0].shape.len();
        let (sum, _) = self.slab_grad_slot(x)?;
        let args = [
            Arg::At(sum.at()),
            Arg::At(gradient.at()),
            Arg::U64(len as u64),
        ];
        self.launch(["add_f32", "add_bf16"], grid_over(len), 0, &args)?;
        self.put_slab_grad(x, sum);
        self.drop_slab_grad(gradient);
        Ok(())
    }

    /// Lets a device's classifier hold so many bytes of logits at once, in as many chunks of rows as that
    /// takes; one row's at least.
    pub fn limit_logits(&mut self, bytes: usize) {
        if let Some(device) = &mut self.device {
            device.logit_bytes = bytes;
        }
    }

    /// Host numbers as activations on the device.
    pub(crate) fn uploaded(&mut self, values: &[R]) -> Result<Slab> {
        let slab = self.take_slab(values.len())?;
        let device = self.on();
        device.gpu.upload(slab.at(), &device.encoded(values))?;
        Ok(slab)
    }

    /// Activations on the device as host numbers.
    pub(crate) fn downloaded(&self, slab: &Slab, len: usize) -> Result<Vec<R>> {
        let device = self.on();
        let mut bytes = vec![0; len * device.dtype.bytes()];
        device.gpu.download(slab.at(), &mut bytes)?;
        Ok(device.decoded(&bytes))
    }

    /// The host's values of all parameters, to the device.
    pub fn upload_values(&mut self) -> Result<()> {
        match &self.device {
            Some(device) => device.upload_values(&self.params.values),
            None => Ok(()),
        }
    }

    /// The device's values of all parameters, to the host's arena.
    pub fn download_values(&mut self) -> Result<()> {
        match &self.device {
            Some(device) => device.download(&device.values, &mut self.params.values),
            None => Ok(()),
        }
    }

    /// The device's gradients of all parameters, to the host's arena.
    pub fn download_grads(&mut self) -> Result<()> {
        match &self.device {
            Some(device) => device.download(&device.grads, &mut self.params.grads),
            None => Ok(()),
        }
    }

    /// Adds host numbers to the gradients of a parameter's lanes, wherever they are.
    pub(crate) fn add_weight_grad(&mut self, p: Param, gradient: &[R]) -> Result<()> {
        let len = self.params.spec(p).len();
        if self.device.is_none() {
            for (k, gradient) in gradient.chunks_exact(len).enumerate() {
                let target = self.params.grad_mut(p, k).iter_mut();
                target.zip(gradient).for_each(|(t, g)| *t += *g);
            }
            return Ok(());
        }
        let more = self.take_f32(gradient.len())?;
        let gpu = self.on().gpu.clone();
        gpu.upload(more.at(), &f32_bytes(gradient))?;
        let (grid, threads) = grid_over(gradient.len());
        gpu.launch(Launch {
            kernel: "add_f32",
            grid,
            threads,
            shared: 0,
            args: &[
                Arg::At(self.weight_grad_at(p)),
                Arg::At(more.at()),
                Arg::U64(gradient.len() as u64),
            ],
        })?;
        self.give_slab(more);
        Ok(())
    }

    /// Adds host numbers to a value's gradient, wherever it is.
    pub(crate) fn add_host_grad(&mut self, x: Value, gradient: &[R]) -> Result<()> {
        if self.device.is_some() {
            let slab = self.uploaded(gradient)?;
            return self.add_slab_grad(x, Arc::new(slab));
        }
        let mut buffer = self.memory.take(gradient.len());
        buffer.copy_from_slice(gradient);
        self.add_grad(x, buffer.into());
        Ok(())
    }
}
