//! Linear layers as products of K matrices, with what can be done on the way to memory done there: the
//! bias, GPT-2's GELU, and in the backward of the layer that follows it GELU's slope.

use super::activation::GELU_TANH;
use crate::{
    device::gpu::{Arg, At, Dtype, Epilogue, Launch, Matrix, Product, Slab},
    error::Result,
    params::Param,
    profile::Half,
    real::Real,
    tape::{Into, Op, Shape, Tape, Value},
};

/// y = x·Wᵀ + b, all of it on a device.
#[derive(Debug, Clone, Copy)]
struct Layer {
    x: Value,
    w: Param,
    b: Option<Param>,
}

impl<R: Real> Tape<R> {
    /// x (K, rows, in) → (K, rows, out).
    pub(in crate::ops) fn linear_on_device(
        &mut self,
        x: Value,
        w: Param,
        b: Option<Param>,
    ) -> Result<Value> {
        let layer = Layer { x, w, b };
        let shape = self.shape_after(layer);
        let y = self.take_slab(shape.len())?;
        let epilogue = match self.bias_of(layer) {
            None => Epilogue::Plain,
            Some((at, each)) => Epilogue::Bias { at, each },
        };
        self.multiply_forward(layer, y.at(), epilogue)?;
        self.release(x);
        let y = self.push_slab(shape, y);
        self.record(y, Linear { layer, y });
        Ok(y)
    }

    /// GELU by tanh of the same. The layer that reads the result makes the gradient of what GELU was
    /// computed from, with the slope as its epilogue: since a slope is a factor of each gradient alone,
    /// that is right whoever else reads the result, and their gradients pass through a kernel of their
    /// own.
    pub(in crate::ops) fn linear_gelu_on_device(
        &mut self,
        x: Value,
        w: Param,
        b: Option<Param>,
    ) -> Result<Value> {
        let layer = Layer { x, w, b };
        let shape = self.shape_after(layer);
        let before = self.take_slab(shape.len())?;
        let y = self.take_slab(shape.len())?;
        let epilogue = Epilogue::Gelu {
            before: before.at(),
            bias: self.bias_of(layer),
        };
        self.multiply_forward(layer, y.at(), epilogue)?;
        self.release(x);
        let before = self.push_slab(shape, before);
        let y = self.push_slab(shape, y);
        self.set_gelu_of(y, before);
        // From `before` as it is stored: in bf16 not to the last bit what the epilogue made.
        self.can_repeat(y, move |tape, y| tape.bend(GELU_TANH, before, y));
        self.record(before, LinearGelu { layer, before, y });
        Ok(y)
    }

    fn shape_after(&self, layer: Layer) -> Shape {
        Shape {
            cols: self.params.spec(layer.w).shape[0],
            ..self.shape(layer.x)
        }
    }

    fn bias_of(&self, layer: Layer) -> Option<(At, usize)> {
        let b = layer.b?;
        Some((self.weight_at(b), self.params.spec(b).len()))
    }

    /// K matrices of activations or weights, row by row, one after the other.
    pub(super) fn matrices(&self, at: At, (rows, cols): (usize, usize)) -> Matrix {
        Matrix {
            at,
            dtype: self.on().dtype,
            row: cols,
            each: rows * cols,
            transposed: false,
        }
    }

    /// The same of a weight (K, out, in).
    pub(super) fn weights(&self, w: Param) -> Matrix {
        let shape = &self.params.spec(w).shape;
        self.matrices(self.weight_at(w), (shape[0], shape[1]))
    }

    /// The same of a weight's gradient.
    pub(super) fn weight_grads(&self, w: Param) -> Matrix {
        Matrix {
            at: self.weight_grad_at(w),
            dtype: Dtype::F32,
            ..self.weights(w)
        }
    }

    fn multiply_forward(&self, layer: Layer, y: At, epilogue: Epilogue) -> Result<()> {
        let Shape { k, rows, cols } = self.shape(layer.x);
        let out = self.shape_after(layer).cols;
        let weights = self.weights(layer.w);
        self.on().gpu.multiply(&Product {
            count: k,
            rows,
            cols: out,
            depth: cols,
            alpha: 1.0,
            a: self.matrices(self.at(layer.x), (rows, cols)),
            b: transposed(weights),
            d: self.matrices(y, (rows, out)),
            add: false,
            epilogue,
            tf32: self.on().tf32,
        })
    }

    /// Hands the gradient of a layer's result on to its input, its weights and its bias.
    fn linear_back(&mut self, layer: Layer, dy: &Slab, name: &'static str) -> Result<()> {
        let Shape { k, rows, cols } = self.shape(layer.x);
        let out = self.shape_after(layer).cols;
        let dy_matrices = self.matrices(dy.at(), (rows, out));
        let (to, dx, into, epilogue) = match self.gelu_without_grad(layer.x) {
            Some(before) => {
                let slope = Epilogue::GeluBack {
                    before: self.at(before),
                };
                let slab = self.take_slab(k * rows * cols)?;
                (before, slab, Into::Overwrite, slope)
            }
            None => {
                let (slab, into) = self.slab_grad_slot(layer.x)?;
                (layer.x, slab, into, Epilogue::Plain)
            }
        };
        let to_inputs = Product {
            count: k,
            rows,
            cols,
            depth: out,
            alpha: 1.0,
            a: dy_matrices,
            b: self.weights(layer.w),
            d: self.matrices(dx.at(), (rows, cols)),
            add: into == Into::Add,
            epilogue,
            tf32: self.on().tf32,
        };
        self.on().gpu.multiply(&to_inputs)?;
        self.put_slab_grad(to, dx);
        self.lap(name, Half::Inputs);
        self.restore(layer.x)?;
        self.on().gpu.multiply(&Product {
            rows: out,
            depth: rows,
            a: transposed(dy_matrices),
            b: self.matrices(self.at(layer.x), (rows, cols)),
            d: self.weight_grads(layer.w),
            add: true,
            epilogue: Epilogue::Plain,
            ..to_inputs
        })?;
        match layer.b {
            Some(b) => self.add_column_sums(dy.at(), Shape { k, rows, cols: out }, b),
            None => Ok(()),
        }
    }

    /// Adds the sum of each column of `x` to the gradient of a bias, in two kernels whose order of
    /// additions depends on the shape alone.
    fn add_column_sums(&mut self, x: At, shape: Shape, b: Param) -> Result<()> {
        let Shape { k, rows, cols } = shape;
        let piece = rows.div_ceil(PIECES).max(LEAST_ROWS);
        let pieces = rows.div_ceil(piece);
        let partial = self.take_f32(k * pieces * cols)?;
        let pack = 16 / self.on().dtype.bytes();
        let tile = WARP * if cols.is_multiple_of(pack) { pack } else { 1 };
        let grid = [cols.div_ceil(tile) as u32, pieces as u32, k as u32];
        let args = [
            Arg::At(x),
            Arg::At(partial.at()),
            Arg::U32(rows as u32),
            Arg::U32(cols as u32),
            Arg::U32(piece as u32),
        ];
        let kernels = ["column_sums_f32", "column_sums_bf16"];
        self.launch(kernels, (grid, SUMMING), 0, &args)?;
        self.on().gpu.launch(Launch {
            kernel: "add_column_sums",
            grid: [cols.div_ceil(WARP) as u32, k as u32, 1],
            threads: SUMMING,
            shared: 0,
            args: &[
                Arg::At(partial.at()),
                Arg::At(self.weight_grad_at(b)),
                Arg::U32(pieces as u32),
                Arg::U32(cols as u32),
            ],
        })?;
        self.give_slab(partial);
        Ok(())
    }
}

/// The transpose of what lies there.
pub(super) fn transposed(matrices: Matrix) -> Matrix {
    Matrix {
        transposed: true,
        ..matrices
    }
}

/// Threads of a warp, and of a block that sums.
const WARP: usize = 32;
const SUMMING: u32 = 256;

/// Most pieces of a column: with the few hundred columns of a small model, enough blocks for any
/// device, and little to add up afterwards.
const PIECES: usize = 128;

/// Fewest rows of a piece: eight for each warp, so that its loads are under way side by side.
const LEAST_ROWS: usize = 64;

struct Linear {
    layer: Layer,
    y: Value,
}

impl<R: Real> Op<R> for Linear {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_slab_grad(self.y) else {
            return Ok(());
        };
        tape.linear_back(self.layer, &dy, Op::<R>::name(self))?;
        tape.drop_slab_grad(dy);
        Ok(())
    }
}

struct LinearGelu {
    layer: Layer,
    before: Value,
    y: Value,
}

impl<R: Real> Op<R> for LinearGelu {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        // Of readers that did not multiply with the slope themselves.
        tape.bend_back(GELU_TANH, self.before, self.y)?;
        let Some(dy) = tape.take_slab_grad(self.before) else {
            return Ok(());
        };
        tape.linear_back(self.layer, &dy, Op::<R>::name(self))?;
        tape.drop_slab_grad(dy);
        Ok(())
    }
}
