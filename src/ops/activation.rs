//! Activations. GELU in its exact form (Hendrycks & Gimpel 2016): x·Φ(x).

use crate::{
    error::Result,
    real::{Real, simd},
    tape::{Into, Op, PIECE, Tape, Value},
};
use candle_core::Tensor;

impl<R: Real> Tape<R> {
    /// x·Φ(x), elementwise; any shape.
    pub fn gelu(&mut self, x: Value) -> Result<Value> {
        if self.candle_device().is_some() {
            return self.composed(&[x], &[], gelu_reference);
        }
        let shape = self.shape(x);
        let mut y = self.memory.take(shape.len());
        let from = self.host(x);
        self.pool.pieces(&mut y, PIECE, |i, y| {
            let x = &from[i * PIECE..][..y.len()];
            simd(
                #[inline(always)]
                || {
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = *x * x.normal().0;
                    }
                },
            );
        });
        let y = self.push(shape, y);
        self.record(y, Gelu { x, y });
        Ok(y)
    }
}

struct Gelu {
    x: Value,
    y: Value,
}

impl<R: Real> Op<R> for Gelu {
    /// dx = dy·(Φ(x) + x·φ(x))
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_grad(self.y) else {
            return Ok(());
        };
        let (mut dx, into) = tape.grad_slot(self.x);
        let x = tape.host(self.x);
        let keep = if into == Into::Add { R::ONE } else { R::ZERO };
        if into == Into::Overwrite {
            // The slot's contents are unspecified, and 0·NaN is NaN.
            dx.fill(R::ZERO);
        }
        tape.pool.pieces(&mut dx, PIECE, |i, dx| {
            let (x, dy) = (&x[i * PIECE..][..dx.len()], &dy[i * PIECE..][..dx.len()]);
            simd(
                #[inline(always)]
                || {
                    for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                        let (phi, density) = x.normal();
                        *dx = dx.mul_add(keep, *dy * x.mul_add(density, phi));
                    }
                },
            );
        });
        tape.put_grad(self.x, dx);
        tape.drop_grad(dy);
        Ok(())
    }
}

/// The same in candle, but not by its `gelu_erf`, whose derivative has 1/√(2π) to six digits only.
pub fn gelu_reference(xs: &[Tensor], _: &[Tensor]) -> candle_core::Result<Tensor> {
    let phi = (((&xs[0] / std::f64::consts::SQRT_2)?.erf()? + 1.0)? * 0.5)?;
    &xs[0] * phi
}
