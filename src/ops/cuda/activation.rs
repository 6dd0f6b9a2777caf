//! Curves of one number, and SwiGLU's gate.

use super::grid_over;
use crate::{
    device::gpu::{Arg, At},
    error::Result,
    real::Real,
    tape::{Into, Op, Shape, Tape, Value},
};

/// A curve's kernels, each of f32 and of bf16.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Bend {
    pub value: [&'static str; 2],
    /// Adds the gradient's product with the slope, or starts with it.
    pub back: [&'static str; 2],
}

pub(in crate::ops) const GELU: Bend = Bend {
    value: ["gelu_f32", "gelu_bf16"],
    back: ["gelu_back_f32", "gelu_back_bf16"],
};

pub(in crate::ops) const GELU_TANH: Bend = Bend {
    value: ["gelu_tanh_f32", "gelu_tanh_bf16"],
    back: ["gelu_tanh_back_f32", "gelu_tanh_back_bf16"],
};

pub(in crate::ops) const RELU_SQUARED: Bend = Bend {
    value: ["relu_squared_f32", "relu_squared_bf16"],
    back: ["relu_squared_back_f32", "relu_squared_back_bf16"],
};

impl<R: Real> Tape<R> {
    /// The curve of each element.
    pub(in crate::ops) fn curve_on_device(&mut self, x: Value, bend: Bend) -> Result<Value> {
        let shape = self.shape(x);
        let y = self.take_slab(shape.len())?;
        self.bend(bend, x, y.at())?;
        let y = self.push_slab(shape, y);
        self.can_repeat(y, move |tape, y| tape.bend(bend, x, y));
        self.record(y, Bent { x, y, bend });
        Ok(y)
    }

    /// The curve of each element of x, to y.
    pub(super) fn bend(&self, bend: Bend, x: Value, y: At) -> Result<()> {
        let len = self.shape(x).len();
        let args = [Arg::At(self.at(x)), Arg::At(y), Arg::U64(len as u64)];
        self.launch(bend.value, grid_over(len), 0, &args)
    }

    /// Hands the gradient of y, a curve of x, on to x: nothing where none has reached y.
    pub(super) fn bend_back(&mut self, bend: Bend, x: Value, y: Value) -> Result<()> {
        let Some(dy) = self.take_slab_grad(y) else {
            return Ok(());
        };
        let len = self.shape(x).len();
        let (dx, into) = self.slab_grad_slot(x)?;
        let args = [
            Arg::At(self.at(x)),
            Arg::At(dy.at()),
            Arg::At(dx.at()),
            Arg::U64(len as u64),
            Arg::U32(u32::from(into == Into::Add)),
        ];
        self.launch(bend.back, grid_over(len), 0, &args)?;
        self.put_slab_grad(x, dx);
        self.drop_slab_grad(dy);
        Ok(())
    }

    /// silu(g)·u of (K, rows, 2F), whose rows hold g and u side by side.
    pub(in crate::ops) fn swiglu_on_device(&mut self, x: Value) -> Result<Value> {
        let Shape { k, rows, cols } = self.shape(x);
        let cols = cols / 2;
        let shape = Shape { k, rows, cols };
        let y = self.take_slab(shape.len())?;
        self.gate(x, y.at())?;
        let y = self.push_slab(shape, y);
        self.can_repeat(y, move |tape, y| tape.gate(x, y));
        self.record(y, Gate { x, y });
        Ok(y)
    }

    fn gate(&self, x: Value, y: At) -> Result<()> {
        let Shape { k, rows, cols } = self.shape(x);
        let (len, cols) = (k * rows * cols / 2, cols / 2);
        let args = [
            Arg::At(self.at(x)),
            Arg::At(y),
            Arg::U64(len as u64),
            Arg::U32(cols as u32),
        ];
        let kernels = ["swiglu_f32", "swiglu_bf16"];
        self.launch(kernels, grid_over(len), 0, &args)
    }
}

struct Bent {
    x: Value,
    y: Value,
    bend: Bend,
}

impl<R: Real> Op<R> for Bent {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        tape.bend_back(self.bend, self.x, self.y)
    }
}

struct Gate {
    x: Value,
    y: Value,
}

impl<R: Real> Op<R> for Gate {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_slab_grad(self.y) else {
            return Ok(());
        };
        let shape = tape.shape(self.y);
        let (dx, into) = tape.slab_grad_slot(self.x)?;
        let args = [
            Arg::At(tape.at(self.x)),
            Arg::At(dy.at()),
            Arg::At(dx.at()),
            Arg::U64(shape.len() as u64),
            Arg::U32(shape.cols as u32),
            Arg::U32(u32::from(into == Into::Add)),
        ];
        let kernels = ["swiglu_back_f32", "swiglu_back_bf16"];
        tape.launch(kernels, grid_over(shape.len()), 0, &args)?;
        tape.put_slab_grad(self.x, dx);
        tape.drop_slab_grad(dy);
        Ok(())
    }
}
