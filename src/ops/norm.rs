//! LayerNorm (Ba et al. 2016) and RMSNorm, together with the residual addition before them.

use crate::{
    error::Result,
    memory::Buffer,
    ops::{ROWS, linear::add_rows},
    params::Param,
    real::{Real, dot, simd, sum, sum2, sum3},
    tape::{Into, Op, Shape, Tape, Value},
};
use candle_core::{D, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Centred, then divided by the standard deviation.
    Layer,
    /// Divided by the root of the mean square.
    Rms,
}

/// A norm and what it multiplies and adds, (K, C) each.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    pub kind: NormKind,
    /// Added to the variance or the mean square.
    pub eps: f64,
    pub weight: Param,
    pub bias: Option<Param>,
}

impl NormKind {
    /// What the mean counts for: RMSNorm is LayerNorm with a mean of nothing.
    fn centre<R: Real>(self) -> R {
        match self {
            Self::Layer => R::ONE,
            Self::Rms => R::ZERO,
        }
    }
}

impl<R: Real> Tape<R> {
    /// (s, y) with s = x + branch and y = norm(s)·w + b, in one pass over memory; all (K, rows, C).
    /// Without a branch s is x itself.
    pub fn add_norm(
        &mut self,
        x: Value,
        branch: Option<Value>,
        norm: Norm,
    ) -> Result<(Value, Value)> {
        if self.device.is_some() {
            return self.add_norm_on_device(x, branch, norm);
        }
        let Norm {
            kind,
            eps,
            weight: w,
            bias: b,
        } = norm;
        if self.candle_device().is_some() {
            let s = match branch {
                None => x,
                Some(r) => self.composed(&[x, r], &[], |xs, _| &xs[0] + &xs[1])?,
            };
            let params: Vec<Param> = [Some(w), b].into_iter().flatten().collect();
            return Ok((s, self.composed(&[s], &params, norm_reference(kind, eps))?));
        }
        let shape = self.shape(x);
        let Shape { k, rows, cols } = shape;
        let mut y = self.memory.take(shape.len());
        let mut stats = self.memory.take(2 * k * rows);
        let mut s = branch.map(|_| self.memory.take(shape.len()));
        let x_data = self.host(x);
        for k in 0..k {
            let (w, b) = (self.params.value(w, k), b.map(|b| self.params.value(b, k)));
            let all = k * rows * cols..(k + 1) * rows * cols;
            let x_data = &x_data[all.clone()];
            let y = (&mut y[all.clone()], ROWS * cols);
            let stats = (&mut stats[2 * k * rows..2 * (k + 1) * rows], 2 * ROWS);
            match (branch, &mut s) {
                (Some(r), Some(s)) => {
                    let r = &self.host(r)[all.clone()];
                    let s = (&mut s[all], ROWS * cols);
                    self.pool.pieces3(y, stats, s, |i, y, stats, s| {
                        let from = i * ROWS * cols;
                        simd(
                            #[inline(always)]
                            || {
                                for (s, (x, r)) in
                                    s.iter_mut().zip(x_data[from..].iter().zip(&r[from..]))
                                {
                                    *s = *x + *r;
                                }
                                norm_rows(s, (w, b), (kind.centre(), R::of(eps)), (y, stats));
                            },
                        );
                    });
                }
                _ => self.pool.pieces2(y, stats, |i, y, stats| {
                    let x = &x_data[i * ROWS * cols..][..y.len()];
                    simd(
                        #[inline(always)]
                        || norm_rows(x, (w, b), (kind.centre(), R::of(eps)), (y, stats)),
                    );
                }),
            }
        }
        let s = s.map(|s| self.push(shape, s));
        let y = self.push(shape, y);
        let op = AddNorm {
            x,
            branch,
            s,
            y,
            norm,
            stats,
        };
        if self.mode() == crate::tape::Mode::Train {
            self.record(s.unwrap_or(y), op);
        } else {
            self.memory.give(op.stats);
        }
        Ok((s.unwrap_or(x), y))
    }
}

/// y = (x − mean)/deviation·w + b for each row; `stats` gets (mean, 1/deviation).
#[inline(always)]
fn norm_rows<R: Real>(
    x: &[R],
    (w, b): (&[R], Option<&[R]>),
    (centre, eps): (R, R),
    (y, stats): (&mut [R], &mut [R]),
) {
    let cols = w.len();
    let per_col = R::of(1.0 / cols as f64);
    for ((x, y), stats) in x
        .chunks_exact(cols)
        .zip(y.chunks_exact_mut(cols))
        .zip(stats.chunks_exact_mut(2))
    {
        let mean = sum(x) * per_col * centre;
        let variance = sum2(x, x, |sum, x, _| (x - mean).mul_add(x - mean, sum)) * per_col;
        let rstd = R::ONE / (variance + eps).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
            *y = (*x - mean) * rstd * *w;
        }
        if let Some(b) = b {
            for (y, b) in y.iter_mut().zip(b) {
                *y += *b;
            }
        }
        stats.copy_from_slice(&[mean, rstd]);
    }
}

struct AddNorm<R> {
    x: Value,
    branch: Option<Value>,
    s: Option<Value>,
    y: Value,
    norm: Norm,
    /// (mean, 1/deviation) for every row.
    stats: Buffer<R>,
}

impl<R: Real> Op<R> for AddNorm<R> {
    /// With n = (s − mean)·rstd and g = dy·w: ds += rstd·(g − mean(g) − n·mean(g·n)); RMSNorm has
    /// neither mean.
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let input = self.s.unwrap_or(self.x);
        let stats = std::mem::replace(&mut self.stats, Buffer::zeros(0));
        if let Some(dy) = tape.take_grad(self.y) {
            let Shape { k, rows, cols } = tape.shape(input);
            let (mut ds, into) = tape.grad_slot(input);
            let pieces = rows.div_ceil(ROWS);
            let mut partial = tape.memory.take(pieces * 2 * cols);
            for k in 0..k {
                let w = tape.params.value(self.norm.weight, k);
                let all = k * rows * cols..(k + 1) * rows * cols;
                let (s, dy) = (&tape.host(input)[all.clone()], &dy[all.clone()]);
                let stats = &stats[2 * k * rows..];
                tape.pool.pieces2(
                    (&mut ds[all], ROWS * cols),
                    (&mut partial, 2 * cols),
                    |i, ds, partial| {
                        let (s, dy) = (&s[i * ROWS * cols..], &dy[i * ROWS * cols..]);
                        simd(
                            #[inline(always)]
                            || {
                                norm_rows_back(
                                    (s, dy, &stats[2 * i * ROWS..]),
                                    (w, self.norm.kind.centre()),
                                    (ds, into),
                                    partial,
                                )
                            },
                        );
                    },
                );
                for piece in partial.chunks_exact(2 * cols) {
                    add_rows(tape.params.grad_mut(self.norm.weight, k), &piece[..cols]);
                    if let Some(b) = self.norm.bias {
                        add_rows(tape.params.grad_mut(b, k), &piece[cols..]);
                    }
                }
            }
            tape.memory.give(partial);
            tape.put_grad(input, ds);
            tape.drop_grad(dy);
        }
        tape.memory.give(stats);
        // The sum hands its gradient to both of its terms.
        if let (Some(s), Some(branch)) = (self.s, self.branch)
            && let Some(ds) = tape.take_grad(s)
        {
            tape.add_grad(branch, ds.clone());
            tape.add_grad(self.x, ds);
        }
        Ok(())
    }
}

/// One piece of rows; `partial` gets this piece's (Σ dy·n, Σ dy).
#[inline(always)]
fn norm_rows_back<R: Real>(
    (s, dy, stats): (&[R], &[R], &[R]),
    (w, centre): (&[R], R),
    (ds, into): (&mut [R], Into),
    partial: &mut [R],
) {
    let cols = w.len();
    let per_col = R::of(1.0 / cols as f64);
    let (dw, db) = partial.split_at_mut(cols);
    dw.fill(R::ZERO);
    db.fill(R::ZERO);
    for (row, ds) in ds.chunks_exact_mut(cols).enumerate() {
        let (s, dy) = (&s[row * cols..][..cols], &dy[row * cols..][..cols]);
        let (mean, rstd) = (stats[2 * row], stats[2 * row + 1]);
        for (((dw, db), dy), s) in dw.iter_mut().zip(db.iter_mut()).zip(dy).zip(s) {
            *dw = dy.mul_add((*s - mean) * rstd, *dw);
            *db += *dy;
        }
        let mean_g = dot(dy, w) * per_col * centre;
        let mean_gn = sum3(dy, w, s, |sum, dy, w, s| {
            (dy * w).mul_add((s - mean) * rstd, sum)
        }) * per_col;
        let d = |dy: R, w: R, s: R| rstd * (dy * w - mean_g - (s - mean) * rstd * mean_gn);
        let terms = dy.iter().zip(w).zip(s);
        if into == Into::Add {
            for (ds, ((dy, w), s)) in ds.iter_mut().zip(terms) {
                *ds += d(*dy, *w, *s);
            }
        } else {
            for (ds, ((dy, w), s)) in ds.iter_mut().zip(terms) {
                *ds = d(*dy, *w, *s);
            }
        }
    }
}

/// The same in candle, from differentiable parts.
fn norm_reference(
    kind: NormKind,
    eps: f64,
) -> impl Fn(&[Tensor], &[Tensor]) -> candle_core::Result<Tensor> {
    move |xs, ws| {
        let x = match kind {
            NormKind::Layer => xs[0].broadcast_sub(&xs[0].mean_keepdim(D::Minus1)?)?,
            NormKind::Rms => xs[0].clone(),
        };
        let square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let normed = x.broadcast_div(&(square + eps)?.sqrt()?)?;
        let y = normed.broadcast_mul(&ws[0].unsqueeze(1)?)?;
        match ws.get(1) {
            Some(b) => y.broadcast_add(&b.unsqueeze(1)?),
            None => Ok(y),
        }
    }
}
