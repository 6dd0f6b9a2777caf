//! Rotary positions and normed queries and keys, on the heads of a qkv value.

use crate::{
    error::Result,
    real::{Real, simd, sum2},
    tape::{Op, Shape, Tape, Value},
};
use candle_core::{D, Device, Tensor};
use std::sync::Arc;

/// The first heads of every row of (K, B·T, C), D channels each, in sequences of T tokens: of
/// queries, keys and values side by side those of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turned {
    pub heads: usize,
    pub dim: usize,
    pub t: usize,
}

/// What [`Tape::place`] does to heads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placing {
    /// As [`Tape::head_norm`] does.
    pub norm: bool,
    /// As [`Tape::rotary`] does, with this base.
    pub base: Option<f64>,
}

impl<R: Real> Tape<R> {
    /// Norms heads and then turns them, where so asked: one pass over memory on a device.
    pub fn place(&mut self, mut x: Value, turned: Turned, placing: Placing) -> Result<Value> {
        let nothing = Placing {
            norm: false,
            base: None,
        };
        if self.device.is_some() && placing != nothing {
            return self.place_on_device(x, turned, placing);
        }
        if placing.norm {
            x = self.head_norm(x, turned)?;
        }
        match placing.base {
            Some(base) => self.rotary(x, turned, base),
            None => Ok(x),
        }
    }

    /// Turns channels i and i + D/2 of each head at position p by the angle p·base^(−2i/D), as
    /// Llama does; what follows the heads stays.
    pub fn rotary(&mut self, x: Value, turned: Turned, base: f64) -> Result<Value> {
        if self.device.is_some() {
            let placing = Placing {
                norm: false,
                base: Some(base),
            };
            return self.place_on_device(x, turned, placing);
        }
        if let Some(device) = self.candle_device().cloned() {
            let angles = angles(turned, base);
            return self.composed(&[x], &[], rotary_reference(turned, angles, device));
        }
        let turns: Arc<[R]> = turns(turned, base).into();
        let y = self.copied(x);
        let (shape, mut buffer) = y;
        self.turn((&mut buffer, shape), turned, &turns, R::ONE);
        let y = self.push(shape, buffer);
        self.record(
            y,
            Rotary {
                x,
                y,
                turned,
                turns,
            },
        );
        Ok(y)
    }

    /// Divides each head by the root of its mean square, as QK-norm without weights does;
    /// what follows the heads stays.
    pub fn head_norm(&mut self, x: Value, turned: Turned) -> Result<Value> {
        if self.device.is_some() {
            let placing = Placing {
                norm: true,
                base: None,
            };
            return self.place_on_device(x, turned, placing);
        }
        if self.candle_device().is_some() {
            return self.composed(&[x], &[], head_norm_reference(turned));
        }
        let (shape, mut buffer) = self.copied(x);
        let Turned { heads, dim, t } = turned;
        self.pool.pieces(&mut buffer, t * shape.cols, |_, rows| {
            simd(
                #[inline(always)]
                || {
                    for row in rows.chunks_exact_mut(shape.cols) {
                        for head in row[..heads * dim].chunks_exact_mut(dim) {
                            let scale = inverse_root(head);
                            head.iter_mut().for_each(|x| *x *= scale);
                        }
                    }
                },
            );
        });
        let y = self.push(shape, buffer);
        self.record(y, HeadNorm { x, y, turned });
        Ok(y)
    }

    fn copied(&mut self, x: Value) -> (Shape, crate::memory::Buffer<R>) {
        let shape = self.shape(x);
        let mut buffer = self.memory.take(shape.len());
        let from = self.host(x);
        self.pool.pieces(&mut buffer, crate::tape::PIECE, |i, to| {
            to.copy_from_slice(&from[i * crate::tape::PIECE..][..to.len()]);
        });
        (shape, buffer)
    }

    /// Turns rows in place, forwards (`way` 1) or back (−1).
    fn turn(
        &self,
        (values, shape): (&mut [R], Shape),
        Turned { heads, dim, t }: Turned,
        turns: &[R],
        way: R,
    ) {
        self.pool.pieces(values, t * shape.cols, |_, rows| {
            simd(
                #[inline(always)]
                || {
                    for (row, turns) in rows
                        .chunks_exact_mut(shape.cols)
                        .zip(turns.chunks_exact(dim))
                    {
                        for head in row[..heads * dim].chunks_exact_mut(dim) {
                            let (low, high) = head.split_at_mut(dim / 2);
                            let turns = turns.as_chunks::<2>().0;
                            for ((a, b), [cos, sin]) in low.iter_mut().zip(high).zip(turns) {
                                let sin = *sin * way;
                                (*a, *b) = (*a * *cos - *b * sin, *a * sin + *b * *cos);
                            }
                        }
                    }
                },
            );
        });
    }
}

/// Angles of every position and pair, (T, D/2).
fn angles(Turned { dim, t, .. }: Turned, base: f64) -> Vec<f64> {
    (0..t * dim / 2)
        .map(|i| {
            let (position, pair) = (i / (dim / 2), i % (dim / 2));
            position as f64 * base.powf(-2.0 * pair as f64 / dim as f64)
        })
        .collect()
}

/// (cos, sin) of every position and pair.
pub(in crate::ops) fn turns<R: Real>(turned: Turned, base: f64) -> Vec<R> {
    let angles = angles(turned, base).into_iter();
    angles
        .flat_map(|angle| [R::of(angle.cos()), R::of(angle.sin())])
        .collect()
}

/// Added to a mean square, as for the other norms.
const EPS: f64 = 1e-5;

#[inline(always)]
fn inverse_root<R: Real>(x: &[R]) -> R {
    let mean = sum2(x, x, |sum, x, _| x.mul_add(x, sum)) * R::of(1.0 / x.len() as f64);
    R::ONE / (mean + R::of(EPS)).sqrt()
}

struct Rotary<R> {
    x: Value,
    y: Value,
    turned: Turned,
    /// (cos, sin) of every position and pair.
    turns: Arc<[R]>,
}

impl<R: Real> Op<R> for Rotary<R> {
    /// A turn's derivative is the turn back.
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_grad(self.y) else {
            return Ok(());
        };
        let shape = tape.shape(self.x);
        let mut dx = tape.memory.take(shape.len());
        dx.copy_from_slice(&dy);
        tape.turn((&mut dx, shape), self.turned, &self.turns, -R::ONE);
        tape.drop_grad(dy);
        tape.add_grad(self.x, dx.into());
        Ok(())
    }
}

struct HeadNorm {
    x: Value,
    y: Value,
    turned: Turned,
}

impl<R: Real> Op<R> for HeadNorm {
    /// With r the inverse root and n = x·r: dx = r·(dy − n·mean(dy·n)).
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_grad(self.y) else {
            return Ok(());
        };
        let shape = tape.shape(self.x);
        let Turned { heads, dim, t } = self.turned;
        let mut dx = tape.memory.take(shape.len());
        dx.copy_from_slice(&dy);
        let x = tape.host(self.x);
        let piece = t * shape.cols;
        tape.pool.pieces(&mut dx, piece, |i, rows| {
            let x = &x[i * piece..][..rows.len()];
            simd(
                #[inline(always)]
                || {
                    let rows = rows.chunks_exact_mut(shape.cols);
                    for (row, x) in rows.zip(x.chunks_exact(shape.cols)) {
                        let heads = row[..heads * dim].chunks_exact_mut(dim);
                        for (d, x) in heads.zip(x.chunks_exact(dim)) {
                            let r = inverse_root(x);
                            let along = sum2(d, x, |sum, d, x| d.mul_add(x, sum));
                            let along = along * r * r * R::of(1.0 / dim as f64);
                            for (d, x) in d.iter_mut().zip(x) {
                                *d = r * (*d - *x * along);
                            }
                        }
                    }
                },
            );
        });
        tape.drop_grad(dy);
        tape.add_grad(self.x, dx.into());
        Ok(())
    }
}

/// The heads of every row apart, (K·B, T, H, D), and what follows them.
fn apart(x: &Tensor, Turned { heads, dim, t }: Turned) -> candle_core::Result<(Tensor, Tensor)> {
    let (k, rows, cols) = x.dims3()?;
    let of_heads = x.narrow(2, 0, heads * dim)?.contiguous()?;
    let rest = x.narrow(2, heads * dim, cols - heads * dim)?;
    Ok((of_heads.reshape((k * rows / t, t, heads, dim))?, rest))
}

fn together(heads: &Tensor, rest: &Tensor) -> candle_core::Result<Tensor> {
    let (k, rows, _) = rest.dims3()?;
    let (_, _, count, dim) = heads.dims4()?;
    Tensor::cat(&[&heads.reshape((k, rows, count * dim))?, rest], 2)
}

fn rotary_reference(
    turned: Turned,
    angles: Vec<f64>,
    device: Device,
) -> impl Fn(&[Tensor], &[Tensor]) -> candle_core::Result<Tensor> {
    move |xs, _| {
        let (heads, rest) = apart(&xs[0], turned)?;
        let half = turned.dim / 2;
        let table = Tensor::from_slice(&angles, (1, turned.t, 1, half), &device)?;
        let (cos, sin) = (
            table.cos()?.to_dtype(heads.dtype())?,
            table.sin()?.to_dtype(heads.dtype())?,
        );
        let (a, b) = (heads.narrow(3, 0, half)?, heads.narrow(3, half, half)?);
        let turned = Tensor::cat(
            &[
                (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?,
                (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?,
            ],
            3,
        )?;
        together(&turned, &rest)
    }
}

fn head_norm_reference(
    turned: Turned,
) -> impl Fn(&[Tensor], &[Tensor]) -> candle_core::Result<Tensor> {
    move |xs, _| {
        let (heads, rest) = apart(&xs[0], turned)?;
        let mean = heads.sqr()?.mean_keepdim(D::Minus1)?;
        together(&heads.broadcast_div(&(mean + EPS)?.sqrt()?)?, &rest)
    }
}
