//! Dropout, and what its masks are made of.

use super::{OnDevice, grid_over};
use crate::{
    device::gpu::Arg,
    error::Result,
    real::Real,
    tape::{Op, PassPosition, Tape, Value},
};
use std::sync::Arc;

impl OnDevice {
    /// Gives the lanes what masks are made of: the pass's keys and step, and the probability of
    /// dropout, each lane's own where the pass has one. Every op that drops calls it before it goes
    /// forwards and before it goes back, since another op's probability may have come in between;
    /// as a rule none has, and nothing is sent. Errors when the device does not answer.
    pub fn sync_position(&mut self, position: &PassPosition, dropout: f64) -> Result<()> {
        self.set_lanes(|k, lane| {
            let p = position.dropout.get(k).copied().unwrap_or(dropout);
            lane.key = position.keys[k];
            lane.step = position.step as u32;
            lane.threshold = (p * 4_294_967_296.0) as u32;
            lane.keep_scale = (1.0 / (1.0 - p)) as f32;
        })
    }
}

impl<R: Real> Tape<R> {
    /// x with each element of a training pass zeroed with probability `p`, the lane's own where it has
    /// one; the same elements as on the CPU.
    pub(in crate::ops) fn dropout_on_device(
        &mut self,
        x: Value,
        p: f64,
        per_sequence: usize,
    ) -> Result<Value> {
        self.dropout_sites += 1;
        let shape = self.shape(x);
        let op = Dropout {
            x,
            p,
            site: self.dropout_sites,
            first: self.position.first_row * per_sequence,
            y: x,
        };
        let y = self.take_slab(shape.len())?;
        op.launch(self, (self.at(x), y.at()))?;
        let y = self.push_slab(shape, y);
        self.record(y, Dropout { y, ..op });
        Ok(y)
    }
}

struct Dropout {
    x: Value,
    y: Value,
    p: f64,
    site: u32,
    /// This pass's first element within a lane's batch.
    first: usize,
}

impl Dropout {
    fn launch<R: Real>(&self, tape: &mut Tape<R>, (from, to): (u64, u64)) -> Result<()> {
        let shape = tape.shape(self.x);
        if let Some(device) = tape.device.as_deref_mut() {
            device.sync_position(&tape.position, self.p)?;
        }
        let len = shape.rows * shape.cols;
        let ([blocks, ..], threads) = grid_over(len);
        let args = [
            Arg::At(from),
            Arg::At(to),
            Arg::U64(len as u64),
            Arg::U64(self.first as u64),
            Arg::U32(self.site),
            Arg::At(tape.on().lanes_at()),
        ];
        let grid = ([blocks, shape.k as u32, 1], threads);
        tape.launch(["dropout_f32", "dropout_bf16"], grid, 0, &args)
    }
}

impl<R: Real> Op<R> for Dropout {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_slab_grad(self.y) else {
            return Ok(());
        };
        // Through the copy, since a residual branch may share dy.
        let dx = tape.take_slab(tape.shape(self.x).len())?;
        self.launch(tape, (dy.at(), dx.at()))?;
        tape.drop_slab_grad(dy);
        tape.add_slab_grad(self.x, Arc::new(dx))
    }
}
