//! Causal self-attention that keeps no T×T matrix (after Dao et al. 2022).
//!
//! A thread works through one sequence at a time, head by head, in panels of query rows: scores
//! of a panel against the keys before it, softmax, weighted sum. Only each row's log-sum-exp is
//! kept; the backward pass computes the panel again. A panel is at most [`PANEL`] × T numbers.

use crate::{
    error::Result,
    memory::Buffer,
    ops::{
        dropout::Mask,
        gemm::{Mat, MatMut, gemm_serial},
    },
    real::{Real, dot, max, simd, sum},
    tape::{Into, Mode, Op, Shape, Tape, Value},
};
use candle_core::{D, Device, Tensor};

/// Query rows worked on together.
const PANEL: usize = 32;

/// B·T rows, H heads of D channels: what a pass over (K, B·T, 3·H·D) needs to know.
#[derive(Clone, Copy)]
struct Heads {
    t: usize,
    heads: usize,
    dim: usize,
}

impl<R: Real> Tape<R> {
    /// qkv (K, B·T, 3C), queries then keys then values → (K, B·T, C), over `heads` heads and
    /// sequences of `t` tokens. In training each attention weight is dropped with probability
    /// `dropout`.
    pub fn attention(&mut self, qkv: Value, t: usize, heads: usize, dropout: f64) -> Result<Value> {
        let Shape { k, rows, cols } = self.shape(qkv);
        let dim = cols / 3 / heads;
        let h = Heads { t, heads, dim };
        let mask = (dropout > 0.0 && self.mode() == Mode::Train)
            .then(|| self.next_mask(dropout, rows * heads * t, heads * t * t));
        if let Some(device) = self.candle_device().cloned() {
            return self.composed(&[qkv], &[], attention_reference(h, mask, device));
        }
        let shape = Shape {
            k,
            rows,
            cols: cols / 3,
        };
        let sequences = k * rows / t;
        // One share a thread; sequences do not meet, so the shares change no result.
        let share = sequences.div_ceil(self.pool.threads());
        let shares = sequences.div_ceil(share);
        let mut y = self.memory.take(shape.len());
        let mut lse = self.memory.take(k * rows * heads);
        let mut scratch = self.memory.take(shares * PANEL * t);
        let input = self.host(qkv);
        self.pool.pieces3(
            (&mut y, share * t * cols / 3),
            (&mut lse, share * t * heads),
            (&mut scratch, PANEL * t),
            |i, y, lse, panel| {
                for (j, (y, lse)) in y
                    .chunks_exact_mut(t * cols / 3)
                    .zip(lse.chunks_exact_mut(t * heads))
                    .enumerate()
                {
                    let sequence = i * share + j;
                    let qkv = &input[sequence * t * cols..][..t * cols];
                    forward(
                        h,
                        qkv,
                        (y, lse),
                        panel,
                        mask.as_ref().map(|m| (m, sequence)),
                    );
                }
            },
        );
        self.memory.give(scratch);
        let y = self.push(shape, y);
        if self.mode() == Mode::Train {
            self.record(
                y,
                Attention {
                    qkv,
                    y,
                    h,
                    lse,
                    mask,
                },
            );
        } else {
            self.memory.give(lse);
        }
        Ok(y)
    }
}

/// One sequence: qkv (T, 3C) → y (T, C), lse (H, T).
fn forward<R: Real>(
    h: Heads,
    qkv: &[R],
    (y, lse): (&mut [R], &mut [R]),
    panel: &mut [R],
    mask: Option<(&Mask, usize)>,
) {
    let Heads { t, heads, dim } = h;
    let c = heads * dim;
    for head in 0..heads {
        let [_, _, v] = h.split(qkv, head);
        for first in (0..t).step_by(PANEL) {
            let (n, keys) = (PANEL.min(t - first), (first + PANEL).min(t));
            let p = &mut panel[..n * keys];
            let lse = &mut lse[head * t + first..][..n];
            scores(h, qkv, (head, first), p);
            simd(
                #[inline(always)]
                || {
                    for (i, (p, lse)) in p.chunks_exact_mut(keys).zip(lse).enumerate() {
                        let (seen, future) = p.split_at_mut(first + i + 1);
                        let top = max(seen);
                        for p in seen.iter_mut() {
                            *p = (*p - top).exp();
                        }
                        let total = sum(seen);
                        let scale = R::ONE / total;
                        for p in seen.iter_mut() {
                            *p *= scale;
                        }
                        future.fill(R::ZERO);
                        *lse = top + R::of(total.f64().ln());
                    }
                },
            );
            if let Some((mask, sequence)) = mask {
                for (i, p) in p.chunks_exact_mut(keys).enumerate() {
                    mask.apply(p, ((sequence * heads + head) * t + first + i) * t);
                }
            }
            let out = MatMut::strided(&mut y[first * c + head * dim..], n, dim, c);
            let v = Mat::strided(v, keys, dim, 3 * c);
            gemm_serial(R::ONE, Mat::new(p, n, keys), v, out, Into::Overwrite);
        }
    }
}

/// Scaled scores of the query rows from `first` against the keys up to the panel's end.
fn scores<R: Real>(h: Heads, qkv: &[R], (head, first): (usize, usize), panel: &mut [R]) {
    let row = 3 * h.heads * h.dim;
    let (n, keys) = (PANEL.min(h.t - first), (first + PANEL).min(h.t));
    let [q, k, _] = h.split(qkv, head);
    let q = Mat::strided(&q[first * row..], n, h.dim, row);
    let k = Mat::strided(k, keys, h.dim, row);
    let scores = MatMut::new(panel, n, keys);
    gemm_serial(h.scale(), q, k.t(), scores, Into::Overwrite);
}

impl Heads {
    /// One head's queries, keys and values within the rows of one sequence.
    fn split<R>(self, qkv: &[R], head: usize) -> [&[R]; 3] {
        let c = self.heads * self.dim;
        [0, 1, 2].map(|part| &qkv[part * c + head * self.dim..])
    }

    /// 1/√D
    fn scale<R: Real>(self) -> R {
        R::of(1.0 / (self.dim as f64).sqrt())
    }
}

struct Attention<R> {
    qkv: Value,
    y: Value,
    h: Heads,
    /// Log-sum-exp of every score row, (K·B, H, T).
    lse: Buffer<R>,
    mask: Option<Mask>,
}

impl<R: Real> Op<R> for Attention<R> {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let lse = std::mem::replace(&mut self.lse, Buffer::zeros(0));
        let Some(dy) = tape.take_grad(self.y) else {
            return Ok(());
        };
        let Heads { t, heads, dim } = self.h;
        let c = heads * dim;
        let Shape { k, rows, .. } = tape.shape(self.qkv);
        let sequences = k * rows / t;
        let share = sequences.div_ceil(tape.pool.threads());
        let (mut dqkv, into) = tape.grad_slot(self.qkv);
        if into == Into::Overwrite {
            dqkv.fill(R::ZERO);
        }
        let scratch_len = 3 * PANEL * t + PANEL;
        let mut scratch = tape.memory.take(sequences.div_ceil(share) * scratch_len);
        let (qkv, y) = (tape.host(self.qkv), tape.host(self.y));
        tape.pool.pieces2(
            (&mut dqkv, share * t * 3 * c),
            (&mut scratch, scratch_len),
            |i, dqkv, scratch| {
                for (j, dqkv) in dqkv.chunks_exact_mut(t * 3 * c).enumerate() {
                    let s = i * share + j;
                    let saved = Saved {
                        qkv: &qkv[s * t * 3 * c..][..t * 3 * c],
                        y: &y[s * t * c..][..t * c],
                        dy: &dy[s * t * c..][..t * c],
                        lse: &lse[s * t * heads..][..t * heads],
                    };
                    backward(
                        self.h,
                        saved,
                        dqkv,
                        scratch,
                        self.mask.as_ref().map(|m| (m, s)),
                    );
                }
            },
        );
        tape.memory.give(scratch);
        tape.memory.give(lse);
        tape.put_grad(self.qkv, dqkv);
        tape.drop_grad(dy);
        Ok(())
    }
}

/// One sequence's numbers from the way forward, and its gradient.
struct Saved<'a, R> {
    qkv: &'a [R],
    y: &'a [R],
    dy: &'a [R],
    lse: &'a [R],
}

/// One sequence: adds to dqkv (T, 3C). With P the weights after softmax and δ = Σ dy·y by row:
/// dV = Pᵀ·dy, dS = P∘(dy·Vᵀ − δ), dQ = dS·K/√D, dK = dSᵀ·Q/√D.
fn backward<R: Real>(
    h: Heads,
    saved: Saved<R>,
    dqkv: &mut [R],
    scratch: &mut [R],
    mask: Option<(&Mask, usize)>,
) {
    let Heads { t, heads, dim } = h;
    let (c, row) = (heads * dim, 3 * heads * dim);
    let (panels, delta) = scratch.split_at_mut(3 * PANEL * t);
    for head in 0..heads {
        let [q, k, v] = h.split(saved.qkv, head);
        for first in (0..t).step_by(PANEL) {
            let (n, keys) = (PANEL.min(t - first), (first + PANEL).min(t));
            let (p, rest) = panels.split_at_mut(PANEL * t);
            let (ds, kept) = rest.split_at_mut(PANEL * t);
            let (p, ds, kept) = (
                &mut p[..n * keys],
                &mut ds[..n * keys],
                &mut kept[..n * keys],
            );
            let dy = &saved.dy[first * c + head * dim..];
            let y = &saved.y[first * c + head * dim..];
            let lse = &saved.lse[head * t + first..][..n];
            scores(h, saved.qkv, (head, first), p);
            simd(
                #[inline(always)]
                || {
                    for (i, (p, lse)) in p.chunks_exact_mut(keys).zip(lse).enumerate() {
                        let (seen, future) = p.split_at_mut(first + i + 1);
                        for p in seen.iter_mut() {
                            *p = (*p - *lse).exp();
                        }
                        future.fill(R::ZERO);
                        delta[i] = dot(&dy[i * c..][..dim], &y[i * c..][..dim]);
                    }
                },
            );
            let dy = Mat::strided(dy, n, dim, c);
            let v = Mat::strided(v, keys, dim, row);
            gemm_serial(R::ONE, dy, v.t(), MatMut::new(ds, n, keys), Into::Overwrite);
            // What multiplied the values: the weights, with dropout's zeros and scale.
            let weights: &[R] = match mask {
                None => p,
                Some((mask, sequence)) => {
                    kept.copy_from_slice(p);
                    for (i, (kept, ds)) in kept
                        .chunks_exact_mut(keys)
                        .zip(ds.chunks_exact_mut(keys))
                        .enumerate()
                    {
                        let start = ((sequence * heads + head) * t + first + i) * t;
                        mask.apply(kept, start);
                        mask.apply(ds, start);
                    }
                    kept
                }
            };
            let into = MatMut::strided(&mut dqkv[2 * c + head * dim..], keys, dim, row);
            gemm_serial(R::ONE, Mat::new(weights, n, keys).t(), dy, into, Into::Add);
            simd(
                #[inline(always)]
                || {
                    for ((ds, p), delta) in ds
                        .chunks_exact_mut(keys)
                        .zip(p.chunks_exact(keys))
                        .zip(&*delta)
                    {
                        for (ds, p) in ds.iter_mut().zip(p) {
                            *ds = *p * (*ds - *delta);
                        }
                    }
                },
            );
            let ds = Mat::new(ds, n, keys);
            let k = Mat::strided(k, keys, dim, row);
            let into = MatMut::strided(&mut dqkv[first * row + head * dim..], n, dim, row);
            gemm_serial(h.scale(), ds, k, into, Into::Add);
            let q = Mat::strided(&q[first * row..], n, dim, row);
            let into = MatMut::strided(&mut dqkv[c + head * dim..], keys, dim, row);
            gemm_serial(h.scale(), ds.t(), q, into, Into::Add);
        }
    }
}

/// The same in candle, with the whole (T, T) matrix.
fn attention_reference(
    h: Heads,
    mask: Option<Mask>,
    device: Device,
) -> impl Fn(&[Tensor], &[Tensor]) -> candle_core::Result<Tensor> {
    move |xs, _| {
        let Heads { t, heads, dim } = h;
        let (k, rows, _) = xs[0].dims3()?;
        let b = rows / t;
        let qkv = xs[0]
            .reshape((k * b, t, 3, heads, dim))?
            .permute((2, 0, 3, 1, 4))?;
        let part = |i: usize| qkv.get(i)?.contiguous(); // (K·B, H, T, D)
        let scores = (part(0)?.matmul(&part(1)?.t()?)? * (1.0 / (dim as f64).sqrt()))?;
        let future: Vec<f32> = (0..t * t)
            .map(|i| {
                if i % t > i / t {
                    f32::NEG_INFINITY
                } else {
                    0.0
                }
            })
            .collect();
        let future = Tensor::from_vec(future, (t, t), &device)?.to_dtype(scores.dtype())?;
        let scores = scores.broadcast_add(&future)?;
        let mut weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
        if let Some(mask) = &mask {
            let mut ones = vec![1f64; k * b * heads * t * t];
            mask.apply(&mut ones, 0);
            let ones = Tensor::from_vec(ones, (k * b, heads, t, t), &device)?;
            weights = (weights * ones.to_dtype(scores.dtype())?)?;
        }
        weights
            .matmul(&part(2)?)?
            .transpose(1, 2)?
            .reshape((k, rows, heads * dim))
    }
}
