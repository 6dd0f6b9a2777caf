//! Causal self-attention that keeps no T×T matrix (after Dao et al. 2022).
//!
//! A thread works through the heads that share keys, in blocks of queries against keys: scores,
//! exponentials, weighted sum, scaled down where a later block has a larger score. Only each row's
//! log-sum-exp is kept; the backward pass computes the blocks again.

pub(in crate::ops) mod layout;

use crate::{
    error::Result,
    memory::Buffer,
    ops::{
        columns::Columns,
        dropout::Mask,
        gemm::{Mat, MatMut, gemm_serial},
    },
    real::{Real, dot, max, simd, sum},
    tape::{Into, Mode, Op, Shape, Tape, Value},
};
use candle_core::{D, Device, Tensor};
use layout::{Block, Layout};

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
        if self.device.is_some() {
            return self.attention_on_device(qkv, h, dropout);
        }
        let mask = (dropout > 0.0 && self.mode() == Mode::Train)
            .then(|| self.next_mask(dropout, rows * heads * t, heads * t * t));
        if let Some(device) = self.candle_device().cloned() {
            return self.composed(&[qkv], &[], attention_reference(h, mask, device));
        }
        let shape = Shape {
            k,
            rows,
            cols: h.width(),
        };
        // One share a thread; what shares keys is in one, and nothing else meets.
        let groups = k * rows / t * kv_heads;
        let share = groups.div_ceil(self.pool.threads());
        let scratch_len = h.forward_scratch();
        let mut y = self.memory.take(shape.len());
        let mut lse = self.memory.take(k * rows * heads);
        let mut scratch = self.memory.take(groups.div_ceil(share) * scratch_len);
        let (input, out) = (self.host(qkv), Columns::new(&mut y));
        let lse_len = h.shared_by() * t;
        self.pool.pieces2(
            (&mut lse, share * lse_len),
            (&mut scratch, scratch_len),
            |i, lse, scratch| {
                for (j, lse) in lse.chunks_exact_mut(lse_len).enumerate() {
                    let group = Group::new(h, input, mask.as_ref(), i * share + j);
                    group.forward(&out, lse, scratch);
                }
            },
        );
        self.memory.give(scratch);
        let y = self.push(shape, y);
        if self.mode() == Mode::Train {
            let op = Attention {
                qkv,
                y,
                h,
                lse,
                mask,
            };
            self.record(y, op);
        } else {
            self.memory.give(lse);
        }
        Ok(y)
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
        let h = self.h;
        let Shape { k, rows, .. } = tape.shape(self.qkv);
        let groups = k * rows / h.t * h.kv_heads;
        let share = groups.div_ceil(tape.pool.threads());
        let (mut dqkv, into) = tape.grad_slot(self.qkv);
        let scratch_len = h.backward_scratch();
        let mut scratch = tape.memory.take(groups.div_ceil(share) * scratch_len);
        let (qkv, y) = (tape.host(self.qkv), tape.host(self.y));
        let out = Columns::new(&mut dqkv);
        tape.pool.pieces(&mut scratch, scratch_len, |i, scratch| {
            for j in i * share..((i + 1) * share).min(groups) {
                let group = Group::new(h, qkv, self.mask.as_ref(), j);
                group.backward((y, &dy, &lse), (&out, into), scratch);
            }
        });
        tape.memory.give(scratch);
        tape.memory.give(lse);
        tape.put_grad(self.qkv, dqkv);
        tape.drop_grad(dy);
        Ok(())
    }
}

/// The heads of one sequence that share keys and values.
struct Group<'a, R> {
    h: Layout,
    sequence: usize,
    /// Which of the G heads of keys and values.
    shared: usize,
    /// (T, (H+2G)·D)
    qkv: &'a [R],
    mask: Option<&'a Mask>,
}

impl<'a, R: Real> Group<'a, R> {
    /// Group `index` of all sequences'.
    fn new(h: Layout, qkv: &'a [R], mask: Option<&'a Mask>, index: usize) -> Self {
        let (sequence, shared) = (index / h.kv_heads, index % h.kv_heads);
        let len = h.t * h.row();
        Self {
            h,
            sequence,
            shared,
            qkv: &qkv[sequence * len..][..len],
            mask,
        }
    }

    fn heads(&self) -> std::ops::Range<usize> {
        let each = self.h.shared_by();
        self.shared * each..(self.shared + 1) * each
    }

    /// n tokens' numbers of some columns from `col` on.
    fn part(&self, (first, n): (usize, usize), col: usize) -> Mat<'a, R> {
        let row = self.h.row();
        Mat::strided(&self.qkv[first * row + col..], n, self.h.dim, row)
    }

    /// Scaled scores of a block of one head.
    fn scores(&self, head: usize, at: Block, scores: &mut [R]) {
        let (h, [q, k, _]) = (self.h, self.h.starts(head));
        gemm_serial(
            (R::of(h.scale), h.precision),
            self.part((at.first, at.n), q),
            self.part((at.from, at.keys), k).t(),
            MatMut::new(scores, at.n, at.keys),
            Into::Overwrite,
        );
    }

    /// Drops weights (n, keys) of a block of one head.
    fn drop_weights(&self, mask: &Mask, (head, at): (usize, Block), weights: &mut [R]) {
        let Layout { t, heads, .. } = self.h;
        for (i, weights) in weights.chunks_exact_mut(at.keys).enumerate() {
            let row = (self.sequence * heads + head) * t + at.first + i;
            mask.apply(weights, row * t + at.from);
        }
    }

    /// The group's columns of y (B·T, H·D), and lse (H/G, T).
    fn forward(&self, y: &Columns<R>, lse: &mut [R], scratch: &mut [R]) {
        let h = self.h;
        let Layout { t, dim, .. } = h;
        let (block, rest) = scratch.split_at_mut(h.block_len());
        let (totals, out) = rest.split_at_mut(h.panel());
        for (head, lse) in self.heads().zip(lse.chunks_exact_mut(t)) {
            for panel in (0..t).step_by(h.panel()) {
                // Until the panel is done, each row's largest score so far.
                let tops = &mut lse[panel..(panel + h.panel()).min(t)];
                let rows = tops.len();
                tops.fill(R::LOWEST);
                totals.fill(R::ZERO);
                for at in h.blocks(panel) {
                    let skip = at.first - panel;
                    let sums = (&mut tops[skip..], &mut totals[skip..]);
                    self.forward_block((head, at), block, sums, &mut out[skip * dim..]);
                }
                simd(
                    #[inline(always)]
                    || {
                        for (i, out) in out[..rows * dim].chunks_exact(dim).enumerate() {
                            let scale = R::ONE / totals[i];
                            tops[i] += R::of(totals[i].f64().ln());
                            let row = (self.sequence * t + panel + i) * h.width();
                            // SAFETY: a group has its own heads, and reads no part twice.
                            let y = unsafe { y.part(row, &(head * dim..(head + 1) * dim)) };
                            for (y, out) in y.iter_mut().zip(out) {
                                *y = scale * *out;
                            }
                        }
                    },
                );
            }
        }
    }

    /// Adds a block to its rows' largest scores, totals, and weighted sums of values (n, D).
    fn forward_block(
        &self,
        (head, at): (usize, Block),
        block: &mut [R],
        (tops, totals): (&mut [R], &mut [R]),
        out: &mut [R],
    ) {
        let (h, dim) = (self.h, self.h.dim);
        let p = &mut block[..at.n * at.keys];
        self.scores(head, at, p);
        simd(
            #[inline(always)]
            || {
                for (i, p) in p.chunks_exact_mut(at.keys).enumerate() {
                    let seen = h.seen(at, i, p);
                    let top = max(seen).larger(tops[i]);
                    for p in seen.iter_mut() {
                        *p = (*p - top).exp();
                    }
                    let shrink = (tops[i] - top).exp();
                    tops[i] = top;
                    totals[i] = totals[i].mul_add(shrink, sum(seen));
                    if !at.is_first {
                        for out in &mut out[i * dim..][..dim] {
                            *out *= shrink;
                        }
                    }
                }
            },
        );
        if let Some(mask) = self.mask {
            self.drop_weights(mask, (head, at), p);
        }
        let [_, _, v] = h.starts(head);
        gemm_serial(
            (R::ONE, h.precision),
            Mat::new(p, at.n, at.keys),
            self.part((at.from, at.keys), v),
            MatMut::new(out, at.n, dim),
            match at.is_first {
                true => Into::Overwrite,
                false => Into::Add,
            },
        );
    }

    /// The group's columns of dqkv from all sequences' y, dy (B·T, H·D) and lse (B, H, T).
    fn backward(
        &self,
        (y, dy, lse): (&[R], &[R], &[R]),
        (dqkv, into): (&Columns<R>, Into),
        scratch: &mut [R],
    ) {
        let h = self.h;
        let Layout { t, dim, heads, .. } = h;
        let (blocks, rest) = scratch.split_at_mut(3 * h.block_len() + h.panel());
        let (dq, rest) = rest.split_at_mut(h.panel() * dim);
        let (dk, dv) = rest.split_at_mut(t * dim);
        dk.fill(R::ZERO);
        dv.fill(R::ZERO);
        // SAFETY: a group has its own columns, and a part is done with before the next.
        let put = |first: usize, col: usize, from: &[R]| {
            simd(
                #[inline(always)]
                || {
                    for (i, from) in from.chunks_exact(dim).enumerate() {
                        let row = (self.sequence * t + first + i) * h.row();
                        let to = unsafe { dqkv.part(row, &(col..col + dim)) };
                        match into {
                            Into::Overwrite => to.copy_from_slice(from),
                            Into::Add => to.iter_mut().zip(from).for_each(|(to, x)| *to += *x),
                        }
                    }
                },
            );
        };
        for head in self.heads() {
            let saved = Saved {
                y: &y[self.sequence * t * h.width() + head * dim..],
                dy: &dy[self.sequence * t * h.width() + head * dim..],
                lse: &lse[(self.sequence * heads + head) * t..][..t],
            };
            for panel in (0..t).step_by(h.panel()) {
                let dq = &mut dq[..h.panel().min(t - panel) * dim];
                for at in h.blocks(panel) {
                    let d = (&mut dq[(at.first - panel) * dim..], &mut *dk, &mut *dv);
                    self.backward_block((head, at), saved, d, blocks);
                }
                put(panel, h.starts(head)[0], dq);
            }
        }
        let [_, k, v] = h.starts(self.heads().start);
        put(0, k, dk);
        put(0, v, dv);
    }

    /// Adds a block to dq (n, D), dk and dv (T, D). With P the weights after softmax and δ = Σ dy·y
    /// by row: dV = Wᵀ·dy, dS = W∘(dy·Vᵀ) − P·δ, dQ = dS·K, dK = dSᵀ·Q, both times the scale, where
    /// W is P as dropout left it.
    fn backward_block(
        &self,
        (head, at): (usize, Block),
        saved: Saved<R>,
        (dq, dk, dv): (&mut [R], &mut [R], &mut [R]),
        scratch: &mut [R],
    ) {
        let h = self.h;
        let Block {
            first,
            n,
            from,
            keys,
            is_first,
        } = at;
        let (dim, c) = (h.dim, h.width());
        let (p, rest) = scratch.split_at_mut(h.block_len());
        let (ds, rest) = rest.split_at_mut(h.block_len());
        let (kept, delta) = rest.split_at_mut(h.block_len());
        let [p, ds, kept] = [p, ds, kept].map(|block| &mut block[..n * keys]);
        let (y, dy) = (&saved.y[first * c..], &saved.dy[first * c..]);
        self.scores(head, at, p);
        simd(
            #[inline(always)]
            || {
                for (i, p) in p.chunks_exact_mut(keys).enumerate() {
                    let lse = saved.lse[first + i];
                    for p in h.seen(at, i, p) {
                        *p = (*p - lse).exp();
                    }
                    delta[i] = dot(&dy[i * c..][..dim], &y[i * c..][..dim]);
                }
            },
        );
        let [q, k, v] = h.starts(head);
        let [q, k, v] = [
            self.part((first, n), q),
            self.part((from, keys), k),
            self.part((from, keys), v),
        ];
        let dy = Mat::strided(dy, n, dim, c);
        let product = |scale: f64, a, b, to: &mut [R], rows, cols, into| {
            let to = MatMut::new(to, rows, cols);
            gemm_serial((R::of(scale), h.precision), a, b, to, into);
        };
        product(1.0, dy, v.t(), ds, n, keys, Into::Overwrite);
        // What multiplied the values: the weights, with dropout's zeros and scale.
        let weights: &[R] = match self.mask {
            None => p,
            Some(mask) => {
                kept.copy_from_slice(p);
                self.drop_weights(mask, (head, at), kept);
                kept
            }
        };
        let weights_t = Mat::new(weights, n, keys).t();
        product(
            1.0,
            weights_t,
            dy,
            &mut dv[from * dim..],
            keys,
            dim,
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
        let into = match is_first {
            true => Into::Overwrite,
            false => Into::Add,
        };
        product(h.scale, ds, k, dq, n, dim, into);
        product(
            h.scale,
            ds.t(),
            q,
            &mut dk[from * dim..],
            keys,
            dim,
            Into::Add,
        );
    }
}

/// What the backward pass reads of one head: its columns of y and dy from its sequence's first row
/// on, and its log-sum-exp (T).
#[derive(Clone, Copy)]
struct Saved<'a, R> {
    y: &'a [R],
    dy: &'a [R],
    lse: &'a [R],
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
