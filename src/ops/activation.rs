//! Activations: curves of one number, and the gate of two.

use crate::{
    error::Result,
    ops::cuda::activation::{self as device, Bend},
    real::{Real, simd},
    tape::{Into, Op, PIECE, Shape, Tape, Value},
};
use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// What a block's MLP does between its two linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x·Φ(x), exact.
    Gelu,
    /// GELU by its tanh approximation, as in GPT-2.
    GeluTanh,
    /// max(x, 0)²
    Relu2,
    /// silu(gate)·value: the first layer is twice as wide.
    Swiglu,
}

impl Activation {
    /// Columns that go in for each one that comes out.
    pub fn fan_in(self) -> usize {
        match self {
            Self::Swiglu => 2,
            _ => 1,
        }
    }
}

/// A function of one number, its derivative, and the same in candle and on a device.
trait Curve: 'static {
    const ON_DEVICE: Bend;
    fn value<R: Real>(x: R) -> R;
    fn slope<R: Real>(x: R) -> R;
    fn reference(x: &Tensor) -> candle_core::Result<Tensor>;
}

/// x·Φ(x), exact (Hendrycks & Gimpel 2016).
struct Gelu;

impl Curve for Gelu {
    const ON_DEVICE: Bend = device::GELU;

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        x * x.normal().0
    }

    /// Φ(x) + x·φ(x)
    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        let (phi, density) = x.normal();
        x.mul_add(density, phi)
    }

    /// Not candle's `gelu_erf`, whose derivative has 1/√(2π) to six digits only.
    fn reference(x: &Tensor) -> candle_core::Result<Tensor> {
        let phi = (((x / std::f64::consts::SQRT_2)?.erf()? + 1.0)? * 0.5)?;
        x * phi
    }
}

/// GELU's approximation by tanh, as in GPT-2: x·σ(2u) with u = √(2/π)·(x + 0.044715·x³).
struct GeluTanh;

/// 2·√(2/π)
const TWICE_ROOT: f64 = 1.595_769_121_605_730_7;
const CUBE: f64 = 0.044_715;

impl Curve for GeluTanh {
    const ON_DEVICE: Bend = device::GELU_TANH;

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        x * sigmoid(gelu_tanh_inner(x))
    }

    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        let s = sigmoid(gelu_tanh_inner(x));
        let inner = R::of(TWICE_ROOT) * (x * x).mul_add(R::of(3.0 * CUBE), R::ONE);
        (x * s * (R::ONE - s)).mul_add(inner, s)
    }

    fn reference(x: &Tensor) -> candle_core::Result<Tensor> {
        let u = (((x.powf(3.0)? * CUBE)? + x)? * (TWICE_ROOT / 2.0))?;
        ((u.tanh()? + 1.0)? * 0.5)? * x
    }
}

#[inline(always)]
fn gelu_tanh_inner<R: Real>(x: R) -> R {
    x * R::of(TWICE_ROOT) * (x * x).mul_add(R::of(CUBE), R::ONE)
}

#[inline(always)]
fn sigmoid<R: Real>(x: R) -> R {
    R::ONE / (R::ONE + (-x).exp())
}

/// max(x, 0)², as in Primer.
struct ReluSquared;

impl Curve for ReluSquared {
    const ON_DEVICE: Bend = device::RELU_SQUARED;

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        let x = x.larger(R::ZERO);
        x * x
    }

    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        let x = x.larger(R::ZERO);
        x + x
    }

    fn reference(x: &Tensor) -> candle_core::Result<Tensor> {
        x.relu()?.sqr()
    }
}

impl<R: Real> Tape<R> {
    /// The activation of (K, rows, F·[`Activation::fan_in`]) as (K, rows, F).
    pub fn activation(&mut self, x: Value, activation: Activation) -> Result<Value> {
        match activation {
            Activation::Gelu => self.gelu(x),
            Activation::GeluTanh => self.gelu_tanh(x),
            Activation::Relu2 => self.relu_squared(x),
            Activation::Swiglu => self.swiglu(x),
        }
    }

    /// x·Φ(x), elementwise; any shape.
    pub fn gelu(&mut self, x: Value) -> Result<Value> {
        self.curve::<Gelu>(x)
    }

    /// GELU by its tanh approximation, elementwise; any shape.
    pub fn gelu_tanh(&mut self, x: Value) -> Result<Value> {
        self.curve::<GeluTanh>(x)
    }

    /// max(x, 0)², elementwise; any shape.
    pub fn relu_squared(&mut self, x: Value) -> Result<Value> {
        self.curve::<ReluSquared>(x)
    }

    fn curve<C: Curve>(&mut self, x: Value) -> Result<Value> {
        if self.device.is_some() {
            return self.curve_on_device(x, C::ON_DEVICE);
        }
        if self.candle_device().is_some() {
            return self.composed(&[x], &[], |xs, _| C::reference(&xs[0]));
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
                        *y = C::value(*x);
                    }
                },
            );
        });
        let y = self.push(shape, y);
        let curve = PhantomData::<C>;
        self.record(y, Bent { x, y, curve });
        Ok(y)
    }

    /// SwiGLU's gate (Shazeer 2020): x (K, rows, 2F) holds gates g and values u side by side, and
    /// silu(g)·u comes out, (K, rows, F), with silu(g) = g·σ(g).
    pub fn swiglu(&mut self, x: Value) -> Result<Value> {
        if self.device.is_some() {
            return self.swiglu_on_device(x);
        }
        if self.candle_device().is_some() {
            return self.composed(&[x], &[], swiglu_reference);
        }
        let Shape { k, rows, cols } = self.shape(x);
        let shape = Shape {
            k,
            rows,
            cols: cols / 2,
        };
        let mut y = self.memory.take(shape.len());
        let from = self.host(x);
        let piece = GATE_ROWS * shape.cols;
        self.pool.pieces(&mut y, piece, |i, y| {
            let x = &from[2 * i * piece..][..2 * y.len()];
            simd(
                #[inline(always)]
                || {
                    let rows = x.chunks_exact(cols).zip(y.chunks_exact_mut(cols / 2));
                    for (x, y) in rows {
                        let (gates, values) = x.split_at(cols / 2);
                        for ((y, g), u) in y.iter_mut().zip(gates).zip(values) {
                            *y = *g * sigmoid(*g) * *u;
                        }
                    }
                },
            );
        });
        let y = self.push(shape, y);
        self.record(y, Gate { x, y });
        Ok(y)
    }
}

/// Rows that a thread gates at a time.
const GATE_ROWS: usize = 16;

struct Bent<C> {
    x: Value,
    y: Value,
    curve: PhantomData<C>,
}

impl<R: Real, C: Curve> Op<R> for Bent<C> {
    /// dx += dy·slope(x)
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_grad(self.y) else {
            return Ok(());
        };
        let (mut dx, into) = tape.clean_slot(self.x);
        let x = tape.host(self.x);
        tape.pool.pieces(&mut dx, PIECE, |i, dx| {
            let (x, dy) = (&x[i * PIECE..][..dx.len()], &dy[i * PIECE..][..dx.len()]);
            simd(
                #[inline(always)]
                || {
                    for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                        *dx = dx.mul_add(into, *dy * C::slope(*x));
                    }
                },
            );
        });
        tape.put_grad(self.x, dx);
        tape.drop_grad(dy);
        Ok(())
    }
}

struct Gate {
    x: Value,
    y: Value,
}

impl<R: Real> Op<R> for Gate {
    /// du += dy·silu(g); dg += dy·u·σ(g)·(1 + g·(1 − σ(g)))
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_grad(self.y) else {
            return Ok(());
        };
        let cols = tape.shape(self.x).cols;
        let (mut dx, into) = tape.clean_slot(self.x);
        let x = tape.host(self.x);
        let piece = GATE_ROWS * cols;
        tape.pool.pieces(&mut dx, piece, |i, dx| {
            let x = &x[i * piece..][..dx.len()];
            let dy = &dy[i * piece / 2..][..dx.len() / 2];
            simd(
                #[inline(always)]
                || {
                    let rows = x.chunks_exact(cols).zip(dy.chunks_exact(cols / 2));
                    for (dx, (x, dy)) in dx.chunks_exact_mut(cols).zip(rows) {
                        let (gates, values) = x.split_at(cols / 2);
                        let (dg, du) = dx.split_at_mut(cols / 2);
                        for (j, dy) in dy.iter().enumerate() {
                            let (g, u) = (gates[j], values[j]);
                            let s = sigmoid(g);
                            let slope = s * g.mul_add(R::ONE - s, R::ONE);
                            dg[j] = dg[j].mul_add(into, *dy * u * slope);
                            du[j] = du[j].mul_add(into, *dy * g * s);
                        }
                    }
                },
            );
        });
        tape.put_grad(self.x, dx);
        tape.drop_grad(dy);
        Ok(())
    }
}

impl<R: Real> Tape<R> {
    /// A gradient's buffer, and what its contents count for: 1, or 0 where they are zeros because
    /// nothing was there (a slot's contents are unspecified, and 0·NaN is NaN).
    fn clean_slot(&mut self, x: Value) -> (crate::memory::Buffer<R>, R) {
        let (mut dx, into) = self.grad_slot(x);
        if into == Into::Add {
            return (dx, R::ONE);
        }
        self.pool.pieces(&mut dx, PIECE, |_, dx| dx.fill(R::ZERO));
        (dx, R::ZERO)
    }
}

fn swiglu_reference(xs: &[Tensor], _: &[Tensor]) -> candle_core::Result<Tensor> {
    let halves = xs[0].chunk(2, 2)?;
    // From parts: x/(1 + e^−x), differentiated by candle.
    let gate = (&halves[0] / (halves[0].neg()?.exp()? + 1.0)?)?;
    gate * &halves[1]
}
