//! Constant factors, and the weights' bf16 copy.

use super::{OnDevice, grid_over};
use crate::{
    device::gpu::{Arg, Launch},
    error::Result,
    real::Real,
    tape::{Op, Tape, Value},
};
use std::sync::Arc;

impl OnDevice {
    /// Makes the bf16 copy of the weights anew, where there is one.
    pub fn refresh_shadow(&self, len: usize) -> Result<()> {
        let Some(shadow) = &self.shadow else {
            return Ok(());
        };
        let (grid, threads) = grid_over(len);
        self.gpu.launch(Launch {
            kernel: "round_to_bf16",
            grid,
            threads,
            shared: 0,
            args: &[
                Arg::At(self.values.at()),
                Arg::At(shadow.at()),
                Arg::U64(len as u64),
            ],
        })
    }
}

impl<R: Real> Tape<R> {
    /// factor·x
    pub(in crate::ops) fn scale_on_device(&mut self, x: Value, factor: f64) -> Result<Value> {
        let shape = self.shape(x);
        let y = self.take_slab(shape.len())?;
        self.launch_scale((self.at(x), y.at()), shape.len(), factor)?;
        let y = self.push_slab(shape, y);
        self.record(y, Scale { x, y, factor });
        Ok(y)
    }

    fn launch_scale(&self, (from, to): (u64, u64), len: usize, factor: f64) -> Result<()> {
        let args = [
            Arg::At(from),
            Arg::At(to),
            Arg::U64(len as u64),
            Arg::F32(factor as f32),
        ];
        self.launch(["scale_f32", "scale_bf16"], grid_over(len), 0, &args)
    }
}

struct Scale {
    x: Value,
    y: Value,
    factor: f64,
}

impl<R: Real> Op<R> for Scale {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_slab_grad(self.y) else {
            return Ok(());
        };
        let len = tape.shape(self.x).len();
        let dx = tape.take_slab(len)?;
        tape.launch_scale((dy.at(), dx.at()), len, self.factor)?;
        tape.drop_slab_grad(dy);
        tape.add_slab_grad(self.x, Arc::new(dx))
    }
}
