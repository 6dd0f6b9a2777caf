//! Causal self-attention that keeps no T×T matrix (after Dao et al. 2022).
//!
//! A thread works through one sequence at a time, head by head, in panels of query rows: scores
//! of a panel against the keys before it, softmax, weighted sum. Only each row's log-sum-exp is
//! kept; the backward pass computes the panel again. A panel is at most [`PANEL`] × T numbers.

use crate::{
    device::Precision,
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
const PANEL: usize = 64;

/// Who attends to whom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// H heads of queries.
    pub queries: usize,
    /// G heads of keys and values, each shared by H/G heads of queries (Ainslie et al. 2023).
    pub keys: usize,
    /// A token sees itself and `window` − 1 tokens before it; 0 means all before it.
    pub window: usize,
    /// Times the scores: 1/√D, as a rule.
    pub scale: f64,
}

/// Sequences of T tokens whose rows are H·D queries, G·D keys and G·D values.
#[derive(Clone, Copy)]
struct Layout {
    t: usize,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    window: usize,
    scale: f64,
    /// In what products read queries, keys, values and weights.
    precision: Precision,
}

/// Query rows `first..first + n` against keys `from..from + keys`.
#[derive(Clone, Copy)]
struct Panel {
    first: usize,
    n: usize,
    from: usize,
    keys: usize,
}

impl<R: Real> Tape<R> {
    /// qkv (K, B·T, (H+2G)·D), queries then keys then values → (K, B·T, H·D), over sequences of `t`
    /// tokens. In training each attention weight is dropped with probability `dropout`.
    pub fn attention(&mut self, qkv: Value, t: usize, h: Heads, dropout: f64) -> Result<Value> {
        let Shape { k, rows, cols } = self.shape(qkv);
        let (heads, kv_heads) = (h.queries, h.keys);
        let h = Layout {
            t,
            heads,
            kv_heads,
            dim: cols / (heads + 2 * kv_heads),
            window: h.window,
            scale: h.scale,
            precision: self.precision,
        };
        let width = h.width();
        let mask = (dropout > 0.0 && self.mode() == Mode::Train)
            .then(|| self.next_mask(dropout, rows * heads * t, heads * t * t));
        if let Some(device) = self.candle_device().cloned() {
            return self.composed(&[qkv], &[], attention_reference(h, mask, device));
        }
        let shape = Shape {
            k,
            rows,
            cols: width,
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
            (&mut y, share * t * width),
            (&mut lse, share * t * heads),
            (&mut scratch, PANEL * t),
            |i, y, lse, panel| {
                for (j, (y, lse)) in y
                    .chunks_exact_mut(t * width)
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

/// One sequence: qkv (T, (H+2G)·D) → y (T, H·D), lse (H, T).
fn forward<R: Real>(
    h: Layout,
    qkv: &[R],
    (y, lse): (&mut [R], &mut [R]),
    panel: &mut [R],
    mask: Option<(&Mask, usize)>,
) {
    let Layout { t, heads, dim, .. } = h;
    let (c, row) = (h.width(), h.row());
    for head in 0..heads {
        let [_, _, v] = h.starts(head);
        for first in (0..t).step_by(PANEL) {
            let at = h.panel(first);
            let Panel { n, from, keys, .. } = at;
            let p = &mut panel[..n * keys];
            let lse = &mut lse[head * t + first..][..n];
            scores(h, qkv, (head, at), p);
            simd(
                #[inline(always)]
                || {
                    for (i, (p, lse)) in p.chunks_exact_mut(keys).zip(lse).enumerate() {
                        let seen = h.seen(at, i, p);
                        let top = max(seen);
                        for p in seen.iter_mut() {
                            *p = (*p - top).exp();
                        }
                        let total = sum(seen);
                        let scale = R::ONE / total;
                        for p in seen.iter_mut() {
                            *p *= scale;
                        }
                        *lse = top + R::of(total.f64().ln());
                    }
                },
            );
            if let Some((mask, sequence)) = mask {
                for (i, p) in p.chunks_exact_mut(keys).enumerate() {
                    mask.apply(p, ((sequence * heads + head) * t + first + i) * t + from);
                }
            }
            let out = MatMut::strided(&mut y[first * c + head * dim..], n, dim, c);
            let v = Mat::strided(&qkv[from * row + v..], keys, dim, row);
            gemm_serial(
                (R::ONE, h.precision),
                Mat::new(p, n, keys),
                v,
                out,
                Into::Overwrite,
            );
        }
    }
}

/// Scaled scores of the query rows from `first` against the keys up to the panel's end.
fn scores<R: Real>(h: Layout, qkv: &[R], (head, at): (usize, Panel), panel: &mut [R]) {
    let (row, [q, k, _]) = (h.row(), h.starts(head));
    let q = Mat::strided(&qkv[at.first * row + q..], at.n, h.dim, row);
    let k = Mat::strided(&qkv[at.from * row + k..], at.keys, h.dim, row);
    let scores = MatMut::new(panel, at.n, at.keys);
    gemm_serial(
        (R::of(h.scale), h.precision),
        q,
        k.t(),
        scores,
        Into::Overwrite,
    );
}

impl Layout {
    /// Columns of qkv.
    fn row(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.dim
    }

    /// Columns of the result.
    fn width(self) -> usize {
        self.heads * self.dim
    }

    /// Where a row of qkv has one head's query, and the key and value that it shares.
    fn starts(self, head: usize) -> [usize; 3] {
        let shared = self.heads + head / (self.heads / self.kv_heads);
        [head, shared, shared + self.kv_heads].map(|head| head * self.dim)
    }

    /// The panel of the query rows from `first`: keys from the first that any of them sees on.
    fn panel(self, first: usize) -> Panel {
        let last = (first + PANEL).min(self.t);
        let from = self.first_seen(first);
        Panel {
            first,
            n: last - first,
            from,
            keys: last - from,
        }
    }

    /// The first key that a query sees.
    fn first_seen(self, query: usize) -> usize {
        match self.window {
            0 => 0,
            window => (query + 1).saturating_sub(window),
        }
    }

    /// Of a panel's row the part that its query sees; the rest becomes zero.
    #[inline(always)]
    fn seen<R: Real>(self, at: Panel, i: usize, row: &mut [R]) -> &mut [R] {
        let query = at.first + i;
        let (row, future) = row.split_at_mut(query + 1 - at.from);
        future.fill(R::ZERO);
        let (past, seen) = row.split_at_mut(self.first_seen(query) - at.from);
        past.fill(R::ZERO);
        seen
    }
}

struct Attention<R> {
    qkv: Value,
    y: Value,
    h: Layout,
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
        let Layout { t, heads, .. } = self.h;
        let (c, row) = (self.h.width(), self.h.row());
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
            (&mut dqkv, share * t * row),
            (&mut scratch, scratch_len),
            |i, dqkv, scratch| {
                for (j, dqkv) in dqkv.chunks_exact_mut(t * row).enumerate() {
                    let s = i * share + j;
                    let saved = Saved {
                        qkv: &qkv[s * t * row..][..t * row],
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

/// One sequence: adds to dqkv (T, (H+2G)·D). With P the weights after softmax and δ = Σ dy·y by row:
/// dV = Wᵀ·dy, dS = W∘(dy·Vᵀ) − P·δ, dQ = dS·K, dK = dSᵀ·Q, both times the scale, where W is P as
/// dropout left it.
fn backward<R: Real>(
    h: Layout,
    saved: Saved<R>,
    dqkv: &mut [R],
    scratch: &mut [R],
    mask: Option<(&Mask, usize)>,
) {
    let Layout { t, heads, dim, .. } = h;
    let (c, row) = (h.width(), h.row());
    let (panels, delta) = scratch.split_at_mut(3 * PANEL * t);
    for head in 0..heads {
        let [q, k, v] = h.starts(head);
        for first in (0..t).step_by(PANEL) {
            let at = h.panel(first);
            let Panel { n, from, keys, .. } = at;
            // Of queries and of what they are held against.
            let (query, keyed) = (first * row + q, from * row);
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
            scores(h, saved.qkv, (head, at), p);
            simd(
                #[inline(always)]
                || {
                    for (i, (p, lse)) in p.chunks_exact_mut(keys).zip(lse).enumerate() {
                        for p in h.seen(at, i, p) {
                            *p = (*p - *lse).exp();
                        }
                        delta[i] = dot(&dy[i * c..][..dim], &y[i * c..][..dim]);
                    }
                },
            );
            let dy = Mat::strided(dy, n, dim, c);
            let values = Mat::strided(&saved.qkv[keyed + v..], keys, dim, row);
            gemm_serial(
                (R::ONE, h.precision),
                dy,
                values.t(),
                MatMut::new(ds, n, keys),
                Into::Overwrite,
            );
            // What multiplied the values: the weights, with dropout's zeros and scale.
            let weights: &[R] = match mask {
                None => p,
                Some((mask, sequence)) => {
                    kept.copy_from_slice(p);
                    for (i, kept) in kept.chunks_exact_mut(keys).enumerate() {
                        let start = ((sequence * heads + head) * t + first + i) * t + from;
                        mask.apply(kept, start);
                    }
                    kept
                }
            };
            let into = MatMut::strided(&mut dqkv[keyed + v..], keys, dim, row);
            gemm_serial(
                (R::ONE, h.precision),
                Mat::new(weights, n, keys).t(),
                dy,
                into,
                Into::Add,
            );
            simd(
                #[inline(always)]
                || {
                    for (((ds, p), weights), delta) in ds
                        .chunks_exact_mut(keys)
                        .zip(p.chunks_exact(keys))
                        .zip(weights.chunks_exact(keys))
                        .zip(&*delta)
                    {
                        for ((ds, p), weight) in ds.iter_mut().zip(p).zip(weights) {
                            *ds = weight.mul_add(*ds, -(*p * *delta));
                        }
                    }
                },
            );
            let ds = Mat::new(ds, n, keys);
            let matrix = Mat::strided(&saved.qkv[keyed + k..], keys, dim, row);
            let into = MatMut::strided(&mut dqkv[query..], n, dim, row);
            gemm_serial((R::of(h.scale), h.precision), ds, matrix, into, Into::Add);
            let matrix = Mat::strided(&saved.qkv[query..], n, dim, row);
            let into = MatMut::strided(&mut dqkv[keyed + k..], keys, dim, row);
            gemm_serial(
                (R::of(h.scale), h.precision),
                ds.t(),
                matrix,
                into,
                Into::Add,
            );
        }
    }
}

/// The same in candle, with the whole (T, T) matrix.
fn attention_reference(
    h: Layout,
    mask: Option<Mask>,
    device: Device,
) -> impl Fn(&[Tensor], &[Tensor]) -> candle_core::Result<Tensor> {
    move |xs, _| {
        let Layout {
            t,
            heads,
            kv_heads,
            dim,
            ..
        } = h;
        let (k, rows, _) = xs[0].dims3()?;
        let b = rows / t;
        let qkv = xs[0]
            .reshape((k * b, t, heads + 2 * kv_heads, dim))?
            .transpose(1, 2)?;
        // (K·B, H, T, D), a shared head as often as it is read.
        let part = |first: usize, count: usize| {
            let part = qkv.narrow(1, first, count)?.unsqueeze(2)?;
            let shape = (k * b, count, heads / count, t, dim);
            let part = part.broadcast_as(shape)?.contiguous()?;
            part.reshape((k * b, heads, t, dim))
        };
        let (q, keys) = (part(0, heads)?, part(heads, kv_heads)?);
        let scores = (q.matmul(&keys.t()?)? * h.scale)?;
        let unseen: Vec<f32> = (0..t * t)
            .map(|i| match (h.first_seen(i / t)..=i / t).contains(&(i % t)) {
                true => 0.0,
                false => f32::NEG_INFINITY,
            })
            .collect();
        let unseen = Tensor::from_vec(unseen, (t, t), &device)?.to_dtype(scores.dtype())?;
        let scores = scores.broadcast_add(&unseen)?;
        let mut weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
        if let Some(mask) = &mask {
            let mut ones = vec![1f64; k * b * heads * t * t];
            mask.apply(&mut ones, 0);
            let ones = Tensor::from_vec(ones, (k * b, heads, t, t), &device)?;
            weights = (weights * ones.to_dtype(scores.dtype())?)?;
        }
        weights
            .matmul(&part(heads + kv_heads, kv_heads)?)?
            .transpose(1, 2)?
            .reshape((k, rows, heads * dim))
    }
}
