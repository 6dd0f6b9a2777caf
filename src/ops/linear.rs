//! y = x·Wᵀ + b, with W stored (K, out, in) as PyTorch's `nn.Linear` does.

use crate::{
    error::Result,
    ops::{
        ROWS,
        activation::Activation,
        gemm::{Mat, MatMut, gemm},
    },
    params::Param,
    profile::Half,
    real::{Real, simd},
    tape::{Into, Op, Shape, Tape, Value},
};
use candle_core::Tensor;

impl<R: Real> Tape<R> {
    /// x (K, rows, in) → (K, rows, out); `w` is (K, out, in), `b` is (K, out).
    pub fn linear(&mut self, x: Value, w: Param, b: Option<Param>) -> Result<Value> {
        if self.device.is_some() {
            return self.linear_on_device(x, w, b);
        }
        if self.candle_device().is_some() {
            let params: Vec<Param> = [Some(w), b].into_iter().flatten().collect();
            return self.composed(&[x], &params, linear_reference);
        }
        let Shape { k, rows, cols } = self.shape(x);
        let out = self.params.spec(w).shape[0];
        let shape = Shape { k, rows, cols: out };
        let mut y = self.memory.take(shape.len());
        for k in 0..k {
            let x = &self.host(x)[k * rows * cols..][..rows * cols];
            let y = &mut y[k * rows * out..][..rows * out];
            let into = match b {
                None => Into::Overwrite,
                Some(b) => {
                    let b = self.params.value(b, k);
                    self.pool.pieces(y, ROWS * out, |_, y| {
                        y.chunks_exact_mut(out)
                            .for_each(|row| row.copy_from_slice(b));
                    });
                    Into::Add
                }
            };
            let w = Mat::new(self.params.value(w, k), out, cols);
            gemm(
                (&self.pool, self.precision),
                Mat::new(x, rows, cols),
                w.t(),
                MatMut::new(y, rows, out),
                into,
            );
        }
        let y = self.push(shape, y);
        self.record(y, Linear { x, w, b, y });
        Ok(y)
    }

    /// The activation of [`Tape::linear`]: one product on a device where it can be its epilogue.
    pub fn linear_activation(
        &mut self,
        x: Value,
        (w, b): (Param, Option<Param>),
        activation: Activation,
    ) -> Result<Value> {
        // cuBLASLt keeps GELU's input in a matrix whose rows are a multiple of 8 numbers long.
        let whole = self.params.spec(w).shape[0].is_multiple_of(8);
        if self.device.is_some() && activation == Activation::GeluTanh && whole {
            return self.linear_gelu_on_device(x, w, b);
        }
        let y = self.linear(x, w, b)?;
        self.activation(y, activation)
    }
}

struct Linear {
    x: Value,
    w: Param,
    b: Option<Param>,
    y: Value,
}

impl<R: Real> Op<R> for Linear {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_grad(self.y) else {
            return Ok(());
        };
        let Shape { k, rows, cols } = tape.shape(self.x);
        let out = tape.shape(self.y).cols;
        let (mut dx, into) = tape.grad_slot(self.x);
        for k in 0..k {
            let dy = Mat::new(&dy[k * rows * out..][..rows * out], rows, out);
            let w = Mat::new(tape.params.value(self.w, k), out, cols);
            let dx = &mut dx[k * rows * cols..][..rows * cols];
            gemm(
                (&tape.pool, tape.precision),
                dy,
                w,
                MatMut::new(dx, rows, cols),
                into,
            );
        }
        tape.put_grad(self.x, dx);
        tape.lap(Op::<R>::name(self), Half::Inputs);
        // The input's numbers, borrowed beside the parameters: taken out and put back.
        let x = tape.lend(self.x);
        let mut partial = tape.memory.take(rows.div_ceil(ROWS) * out);
        let precision = tape.precision;
        let (params, pool) = tape.params_and_pool();
        for k in 0..k {
            let dy = &dy[k * rows * out..][..rows * out];
            let x = Mat::new(&x[k * rows * cols..][..rows * cols], rows, cols);
            let dw = MatMut::new(params.grad_mut(self.w, k), out, cols);
            gemm(
                (pool, precision),
                Mat::new(dy, rows, out).t(),
                x,
                dw,
                Into::Add,
            );
            if let Some(b) = self.b {
                pool.pieces(&mut partial, out, |i, sums| {
                    sums.fill(R::ZERO);
                    add_rows(
                        sums,
                        &dy[i * ROWS * out..][..ROWS.min(rows - i * ROWS) * out],
                    );
                });
                add_rows(params.grad_mut(b, k), &partial);
            }
        }
        tape.memory.give(partial);
        tape.give_back(self.x, x);
        tape.drop_grad(dy);
        Ok(())
    }
}

/// Adds every row of `rows` to `sums`, first to last.
pub(crate) fn add_rows<R: Real>(sums: &mut [R], rows: &[R]) {
    simd(
        #[inline(always)]
        || {
            for row in rows.chunks_exact(sums.len()) {
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum += *x;
                }
            }
        },
    );
}

/// The same in candle.
pub fn linear_reference(xs: &[Tensor], ws: &[Tensor]) -> candle_core::Result<Tensor> {
    let y = xs[0].matmul(&ws[0].transpose(1, 2)?)?;
    match ws.get(1) {
        Some(b) => y.broadcast_add(&b.unsqueeze(1)?),
        None => Ok(y),
    }
}
