//! Normed and turned heads, in one launch.

use super::f32_bytes;
use crate::{
    device::gpu::{Arg, At, Slab},
    error::Result,
    ops::rotary::{Placing, Turned, turns},
    real::Real,
    tape::{Into, Op, Tape, Value},
};

/// Tables of (cos, sin), made when first needed: a step that is captured finds its own here.
#[derive(Debug, Default)]
pub struct Turns(Vec<(Turned, f64, Slab)>);

impl<R: Real> Tape<R> {
    /// [`Tape::place`], forwards.
    pub(in crate::ops) fn place_on_device(
        &mut self,
        x: Value,
        turned: Turned,
        placing: Placing,
    ) -> Result<Value> {
        let turns = match placing.base {
            Some(base) => self.turns_at(turned, base)?,
            None => 0,
        };
        let shape = self.shape(x);
        let y = self.take_slab(shape.len())?;
        let op = Place {
            x,
            y: x,
            turned,
            normed: placing.norm,
            turns,
        };
        let [cols, heads, dim, t, lanes, normed] = op.sizes(self);
        let args = [
            Arg::At(self.at(x)),
            Arg::At(y.at()),
            Arg::At(turns),
            cols,
            heads,
            dim,
            t,
            lanes,
            normed,
        ];
        self.launch(["place_f32", "place_bf16"], op.grid(self), 0, &args)?;
        let y = self.push_slab(shape, y);
        self.record(y, Place { y, ..op });
        Ok(y)
    }

    fn turns_at(&mut self, turned: Turned, base: f64) -> Result<At> {
        // Heads share a table.
        let turned = Turned { heads: 0, ..turned };
        let known = self.on().turns.0.iter();
        let mut known = known.filter(|(of, b, _)| (*of, b.to_bits()) == (turned, base.to_bits()));
        if let Some((_, _, slab)) = known.next() {
            return Ok(slab.at());
        }
        let table: Vec<R> = turns(turned, base);
        let device = self.on_mut();
        let slab = Slab::new(&device.gpu, 4 * table.len())?;
        device.gpu.upload(slab.at(), &f32_bytes(&table))?;
        let at = slab.at();
        device.turns.0.push((turned, base, slab));
        Ok(at)
    }
}

struct Place {
    x: Value,
    y: Value,
    turned: Turned,
    normed: bool,
    /// 0 where nothing turns.
    turns: At,
}

impl Place {
    /// Threads that share a head, a pair of 16-byte packs each; 0 where rows are not made of those.
    fn lanes<R: Real>(&self, tape: &Tape<R>) -> usize {
        let (dim, cols) = (self.turned.dim, tape.shape(self.x).cols);
        let pair = 2 * 16 / tape.on().dtype.bytes();
        let lanes = dim.div_ceil(pair).next_power_of_two();
        match dim % pair == 0 && cols.is_multiple_of(dim) && lanes <= 32 {
            true => lanes,
            false => 0,
        }
    }

    fn sizes<R: Real>(&self, tape: &Tape<R>) -> [Arg; 6] {
        let Turned { heads, dim, t } = self.turned;
        let cols = tape.shape(self.x).cols;
        let lanes = self.lanes(tape);
        [cols, heads, dim, t, lanes, self.normed.into()].map(|n| Arg::U32(n as u32))
    }

    /// A block a row, with a thread for each of its packs where that is few.
    fn grid<R: Real>(&self, tape: &Tape<R>) -> ([u32; 3], u32) {
        let shape = tape.shape(self.x);
        let threads = match self.lanes(tape) {
            0 => 32 * self.turned.heads.max(1),
            lanes => shape.cols / self.turned.dim * lanes,
        };
        let threads = threads.next_multiple_of(32).min(256);
        ([(shape.k * shape.rows) as u32, 1, 1], threads as u32)
    }
}

impl<R: Real> Op<R> for Place {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_slab_grad(self.y) else {
            return Ok(());
        };
        let (dx, into) = tape.slab_grad_slot(self.x)?;
        let [cols, heads, dim, t, lanes, normed] = self.sizes(tape);
        let args = [
            Arg::At(tape.at(self.x)),
            Arg::At(dy.at()),
            Arg::At(dx.at()),
            Arg::At(self.turns),
            cols,
            heads,
            dim,
            t,
            lanes,
            normed,
            Arg::U32((into == Into::Add).into()),
        ];
        let twins = ["place_backward_f32", "place_backward_bf16"];
        tape.launch(twins, self.grid(tape), 0, &args)?;
        tape.drop_slab_grad(dy);
        tape.put_slab_grad(self.x, dx);
        Ok(())
    }
}
