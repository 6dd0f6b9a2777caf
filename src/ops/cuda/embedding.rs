//! Embeddings, and the sums over tokens and positions that are their gradients.

use crate::{
    device::gpu::{Arg, At},
    error::Result,
    params::Param,
    real::Real,
    tape::{Op, Shape, Tape, Value},
};

impl<R: Real> Tape<R> {
    /// Rows of `wte` plus rows of `wpe`, if any, rounded once.
    pub(in crate::ops) fn embed_on_device(
        &mut self,
        tokens: &[u32],
        t: usize,
        (wte, wpe): (Param, Option<Param>),
    ) -> Result<Value> {
        let [vocab, cols] = self.params.spec(wte).shape[..] else {
            unreachable!("a table of embeddings is a matrix");
        };
        let k = self.k();
        let shape = Shape {
            k,
            rows: tokens.len() / k,
            cols,
        };
        let staged = self.position.staged;
        let on_device = self.on_mut().tokens(staged, tokens, vocab)?;
        let ids = on_device.tokens.at();
        let (order, buckets) = (on_device.order.at(), on_device.buckets.at());
        let most_buckets = on_device.most_buckets;
        let x = self.take_slab(shape.len())?;
        let args = [
            Arg::At(ids),
            Arg::At(self.master_at(wte)),
            Arg::At(wpe.map_or(0, |wpe| self.master_at(wpe))),
            Arg::At(x.at()),
            Arg::U32(shape.rows as u32),
            Arg::U32(cols as u32),
            Arg::U32(t as u32),
            Arg::U64(self.params.spec(wte).len() as u64),
            Arg::U64(wpe.map_or(0, |wpe| self.params.spec(wpe).len()) as u64),
        ];
        // A warp a row.
        let grid = [shape.rows.div_ceil(8) as u32, k as u32, 1];
        self.launch(["embed_f32", "embed_bf16"], (grid, 256), 0, &args)?;
        let x = self.push_slab(shape, x);
        let op = Embed {
            x,
            t,
            wte,
            wpe,
            order,
            buckets,
            most_buckets,
        };
        self.record(x, op);
        Ok(x)
    }
}

struct Embed {
    x: Value,
    t: usize,
    wte: Param,
    wpe: Option<Param>,
    order: At,
    buckets: At,
    most_buckets: usize,
}

impl Embed {
    fn tokens_back<R: Real>(&self, tape: &Tape<R>, dx: At) -> Result<()> {
        /// Columns that one block sums: four of each thread of a warp, or one where rows are ragged.
        const TILE: usize = 32;
        /// Of a grid; each block goes on to further buckets.
        const MOST_BUCKETS: usize = 1024;
        let Shape { k, rows, cols } = tape.shape(self.x);
        // Eight rows for each warp of a block, were all buckets equally long.
        let warps = (rows / self.most_buckets / 8).next_power_of_two();
        let tile = if cols % 4 == 0 { 4 * TILE } else { TILE };
        let grid = [
            self.most_buckets.min(MOST_BUCKETS) as u32,
            cols.div_ceil(tile) as u32,
            k as u32,
        ];
        let args = [
            Arg::At(dx),
            Arg::At(self.order),
            Arg::At(self.buckets),
            Arg::At(tape.weight_grad_at(self.wte)),
            Arg::U32(rows as u32),
            Arg::U32(cols as u32),
            Arg::U32(self.most_buckets as u32),
            Arg::U64(tape.params.spec(self.wte).len() as u64),
        ];
        let twins = ["embed_backward_f32", "embed_backward_bf16"];
        tape.launch(twins, (grid, 32 * warps.clamp(8, 32) as u32), 0, &args)
    }

    fn places_back<R: Real>(&self, tape: &Tape<R>, dx: At, wpe: Param) -> Result<()> {
        let Shape { k, rows, cols } = tape.shape(self.x);
        let (len, stride) = (self.t * cols, tape.params.spec(wpe).len());
        let wide = if len % 4 == 0 && stride % 4 == 0 {
            4
        } else {
            1
        };
        let args = [
            Arg::At(dx),
            Arg::At(tape.weight_grad_at(wpe)),
            Arg::U64(len as u64),
            Arg::U32((rows / self.t) as u32),
            Arg::U64(stride as u64),
        ];
        let grid = [(len / wide).div_ceil(256) as u32, k as u32, 1];
        let twins = ["embed_place_backward_f32", "embed_place_backward_bf16"];
        tape.launch(twins, (grid, 256), 0, &args)
    }
}

impl<R: Real> Op<R> for Embed {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dx) = tape.take_slab_grad(self.x) else {
            return Ok(());
        };
        self.tokens_back(tape, dx.at())?;
        if let Some(wpe) = self.wpe {
            self.places_back(tape, dx.at(), wpe)?;
        }
        tape.drop_slab_grad(dx);
        Ok(())
    }
}
