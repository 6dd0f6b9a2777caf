//! A constant factor on a whole activation.

use crate::{
    error::Result,
    real::{Real, simd},
    tape::{Op, PIECE, Tape, Value},
};

impl<R: Real> Tape<R> {
    /// factor·x, shape (K, rows, cols) as x; x itself where the factor is 1.
    pub fn scale(&mut self, x: Value, factor: f64) -> Result<Value> {
        if factor == 1.0 {
            return Ok(x);
        }
        if self.device.is_some() {
            return self.scale_on_device(x, factor);
        }
        if self.candle_device().is_some() {
            return self.composed(&[x], &[], move |xs, _| &xs[0] * factor);
        }
        let shape = self.shape(x);
        let mut y = self.memory.take(shape.len());
        self.scaled(self.host(x), factor, &mut y);
        let y = self.push(shape, y);
        self.record(y, Scale { x, y, factor });
        Ok(y)
    }

    fn scaled(&self, from: &[R], factor: f64, to: &mut [R]) {
        let factor = R::of(factor);
        self.pool.pieces(to, PIECE, |i, to| {
            let from = &from[i * PIECE..];
            simd(
                #[inline(always)]
                || {
                    for (y, x) in to.iter_mut().zip(from) {
                        *y = factor * *x;
                    }
                },
            );
        });
    }
}

struct Scale {
    x: Value,
    y: Value,
    factor: f64,
}

impl<R: Real> Op<R> for Scale {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_grad(self.y) else {
            return Ok(());
        };
        let mut dx = tape.memory.take(dy.len());
        tape.scaled(&dy, self.factor, &mut dx);
        tape.drop_grad(dy);
        tape.add_grad(self.x, dx.into());
        Ok(())
    }
}
