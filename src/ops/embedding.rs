//! Token embeddings, with or without position embeddings added.

use crate::{
    error::Result,
    ops::columns::Columns,
    params::Param,
    real::{Real, simd},
    tape::{Op, Shape, Tape, Value},
};
use candle_core::{Device, Tensor};
use std::sync::Arc;

impl<R: Real> Tape<R> {
    /// tokens (K, B·T) → (K, B·T, C): rows of `wte` (K, V, C) plus rows 0..T of `wpe` (K, ≥T, C), if
    /// any.
    pub fn embed(
        &mut self,
        tokens: &Arc<[u32]>,
        t: usize,
        wte: Param,
        wpe: Option<Param>,
    ) -> Result<Value> {
        if self.device.is_some() {
            return self.embed_on_device(tokens, t, (wte, wpe));
        }
        let (k, cols) = (self.k(), self.params.spec(wte).shape[1]);
        let shape = Shape {
            k,
            rows: tokens.len() / k,
            cols,
        };
        if let Some(device) = self.candle_device().cloned() {
            let reference = embed_reference(tokens, shape, t, device);
            let params: Vec<Param> = [Some(wte), wpe].into_iter().flatten().collect();
            return self.composed(&[], &params, reference);
        }
        let mut x = self.memory.take(shape.len());
        for k in 0..k {
            let wte = self.params.value(wte, k);
            let wpe = wpe.map(|wpe| self.params.value(wpe, k));
            let tokens = &tokens[k * shape.rows..][..shape.rows];
            let x = &mut x[k * shape.rows * cols..][..shape.rows * cols];
            self.pool.pieces(x, t * cols, |sequence, x| {
                let tokens = &tokens[sequence * t..];
                simd(
                    #[inline(always)]
                    || {
                        for (pos, (x, token)) in x.chunks_exact_mut(cols).zip(tokens).enumerate() {
                            x.copy_from_slice(&wte[*token as usize * cols..][..cols]);
                            if let Some(wpe) = wpe {
                                for (x, p) in x.iter_mut().zip(&wpe[pos * cols..]) {
                                    *x += *p;
                                }
                            }
                        }
                    },
                );
            });
        }
        let x = self.push(shape, x);
        let tokens = tokens.clone();
        self.record(
            x,
            Embed {
                tokens,
                t,
                wte,
                wpe,
                x,
            },
        );
        Ok(x)
    }
}

struct Embed {
    tokens: Arc<[u32]>,
    t: usize,
    wte: Param,
    wpe: Option<Param>,
    x: Value,
}

impl<R: Real> Op<R> for Embed {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dx) = tape.take_grad(self.x) else {
            return Ok(());
        };
        let Shape { k, rows, cols } = tape.shape(self.x);
        let (params, pool) = tape.params_and_pool();
        // Threads share columns, not rows: two rows may be the same token, two columns never meet.
        let share = cols.div_ceil(pool.threads()).next_multiple_of(16);
        for k in 0..k {
            let tokens = &self.tokens[k * rows..][..rows];
            let dx = &dx[k * rows * cols..][..rows * cols];
            let te = params.range(self.wte, k);
            let te = Columns::new(&mut params.grads[te]);
            pool.each(cols.div_ceil(share), |i| {
                let columns = i * share..((i + 1) * share).min(cols);
                simd(
                    #[inline(always)]
                    || {
                        for (row, token) in tokens.iter().enumerate() {
                            // SAFETY: each thread has its own columns.
                            let d = unsafe { te.part(*token as usize * cols, &columns) };
                            for (d, x) in d.iter_mut().zip(&dx[row * cols..][columns.clone()]) {
                                *d += *x;
                            }
                        }
                    },
                );
            });
            let Some(wpe) = self.wpe else {
                continue;
            };
            let pe = params.range(wpe, k);
            let pe = Columns::new(&mut params.grads[pe]);
            pool.each(cols.div_ceil(share), |i| {
                let columns = i * share..((i + 1) * share).min(cols);
                simd(
                    #[inline(always)]
                    || {
                        for row in 0..rows {
                            // SAFETY: each thread has its own columns.
                            let d = unsafe { pe.part(row % self.t * cols, &columns) };
                            for (d, x) in d.iter_mut().zip(&dx[row * cols..][columns.clone()]) {
                                *d += *x;
                            }
                        }
                    },
                );
            });
        }
        tape.drop_grad(dx);
        Ok(())
    }
}

/// The same in candle; the K variants' tables are laid end to end.
pub fn embed_reference(
    tokens: &[u32],
    shape: Shape,
    t: usize,
    device: Device,
) -> impl Fn(&[Tensor], &[Tensor]) -> candle_core::Result<Tensor> {
    let tokens = tokens.to_vec();
    move |_, ws| {
        let wte = &ws[0];
        let Shape { k, rows, cols } = shape;
        let ids: Vec<u32> = tokens
            .iter()
            .enumerate()
            .map(|(i, token)| (i / rows * wte.dims()[1]) as u32 + token)
            .collect();
        let ids = Tensor::from_vec(ids, k * rows, &device)?;
        let x = wte.reshape(((), cols))?.index_select(&ids, 0)?;
        let x = x.reshape((k, rows / t, t, cols))?;
        let x = match ws.get(1) {
            Some(wpe) => x.broadcast_add(&wpe.narrow(1, 0, t)?.unsqueeze(1)?)?,
            None => x,
        };
        x.reshape((k, rows, cols))
    }
}
