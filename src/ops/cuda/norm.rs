//! Norms with the residual addition before them.

use crate::{
    device::gpu::{Arg, At, Launch, Slab},
    error::Result,
    ops::norm::{Norm, NormKind},
    real::Real,
    tape::{Into, Mode, Op, Shape, Tape, Value},
};

/// The kernels for rows of up to so many columns: a row is held by one warp, or by a whole block.
struct Width {
    most_cols: usize,
    forward: [&'static str; 2],
    backward: [&'static str; 2],
    /// Warps that share a row.
    share: usize,
    /// Threads of a block on the way back: as many as have registers for their sums.
    threads: usize,
}

const WIDTHS: [Width; 6] = [
    Width {
        most_cols: 256,
        forward: ["norm_256_f32", "norm_256_bf16"],
        backward: ["norm_backward_256_f32", "norm_backward_256_bf16"],
        share: 1,
        threads: 512,
    },
    Width {
        most_cols: 512,
        forward: ["norm_512_f32", "norm_512_bf16"],
        backward: ["norm_backward_512_f32", "norm_backward_512_bf16"],
        share: 1,
        threads: 512,
    },
    Width {
        most_cols: 768,
        forward: ["norm_768_f32", "norm_768_bf16"],
        backward: ["norm_backward_768_f32", "norm_backward_768_bf16"],
        share: 1,
        threads: 512,
    },
    Width {
        most_cols: 1024,
        forward: ["norm_1024_f32", "norm_1024_bf16"],
        backward: ["norm_backward_1024_f32", "norm_backward_1024_bf16"],
        share: 1,
        threads: 384,
    },
    Width {
        most_cols: 2048,
        forward: ["norm_2048_f32", "norm_2048_bf16"],
        backward: ["norm_backward_2048_f32", "norm_backward_2048_bf16"],
        share: BLOCK,
        threads: 256,
    },
    Width {
        most_cols: 8192,
        forward: ["norm_8192_f32", "norm_8192_bf16"],
        backward: ["norm_backward_8192_f32", "norm_backward_8192_bf16"],
        share: BLOCK,
        threads: 256,
    },
];

/// Ragged rows, and those that are wider still.
const ANY: Width = Width {
    most_cols: usize::MAX,
    forward: ["norm_any_f32", "norm_any_bf16"],
    backward: ["norm_backward_any_f32", "norm_backward_any_bf16"],
    share: BLOCK,
    threads: 256,
};

/// Warps of a block on the way forward.
const BLOCK: usize = 8;

impl Width {
    fn of(cols: usize, bytes_each: usize) -> &'static Self {
        let whole = (cols * bytes_each).is_multiple_of(16);
        let fits = |width: &&Self| whole && cols <= width.most_cols;
        WIDTHS.iter().find(fits).unwrap_or(&ANY)
    }

    /// Blocks of a lane on the way back, each of which leaves a partial sum. A function of the rows
    /// alone, so that a lane's bits are the same in whatever pack and on whatever device of a class:
    /// at least 32 rows each, and enough to fill a large device.
    fn blocks_back(&self, rows: usize) -> usize {
        rows.div_ceil(32)
            .min(256 * if self.share == 1 { 1 } else { 2 })
    }
}

impl<R: Real> Tape<R> {
    /// (s, y) with s = x + branch and y = norm(s)·w + b. The statistics are those of s as it is stored.
    pub(in crate::ops) fn add_norm_on_device(
        &mut self,
        x: Value,
        branch: Option<Value>,
        norm: Norm,
    ) -> Result<(Value, Value)> {
        let shape = self.shape(x);
        let y = self.take_slab(shape.len())?;
        let s = match branch {
            Some(_) => Some(self.take_slab(shape.len())?),
            None => None,
        };
        let stats = match self.mode() {
            Mode::Train => Some(self.take_f32(2 * shape.k * shape.rows)?),
            Mode::Eval => None,
        };
        let at = |slab: &Option<Slab>| slab.as_ref().map_or(0, Slab::at);
        self.norm_rows(
            (x, branch),
            norm,
            Normed {
                s: at(&s),
                y: y.at(),
                stats: at(&stats),
            },
        )?;
        let s = s.map(|s| self.push_slab(shape, s));
        let y = self.push_slab(shape, y);
        let input = s.unwrap_or(x);
        self.can_repeat(y, move |tape, y| {
            let normed = Normed { s: 0, y, stats: 0 };
            tape.norm_rows((input, None), norm, normed)
        });
        if let Some(stats) = stats {
            let op = AddNorm {
                x,
                branch,
                s,
                y,
                norm,
                stats: Some(stats),
            };
            self.record(s.unwrap_or(y), op);
        }
        Ok((s.unwrap_or(x), y))
    }

    fn norm_rows(&self, (x, branch): (Value, Option<Value>), norm: Norm, to: Normed) -> Result<()> {
        let shape = self.shape(x);
        let args = [
            Arg::At(self.at(x)),
            Arg::At(branch.map_or(0, |branch| self.at(branch))),
            Arg::At(to.s),
            Arg::At(to.y),
            Arg::At(to.stats),
            Arg::At(self.master_at(norm.weight)),
            Arg::At(norm.bias.map_or(0, |bias| self.master_at(bias))),
            Arg::U32(shape.rows as u32),
            Arg::U32(shape.cols as u32),
            Arg::F32(centre(norm.kind)),
            Arg::F32(norm.eps as f32),
        ];
        let width = Width::of(shape.cols, self.on().dtype.bytes());
        let blocks = (shape.rows * width.share).div_ceil(BLOCK);
        let grid = [blocks as u32, shape.k as u32, 1];
        self.launch(width.forward, (grid, 32 * BLOCK as u32), 0, &args)
    }
}

/// Where a norm's results go; 0 where one is not wanted.
struct Normed {
    s: At,
    y: At,
    stats: At,
}

fn centre(kind: NormKind) -> f32 {
    match kind {
        NormKind::Layer => 1.0,
        NormKind::Rms => 0.0,
    }
}

struct AddNorm {
    x: Value,
    branch: Option<Value>,
    s: Option<Value>,
    y: Value,
    norm: Norm,
    /// (mean, 1/deviation) for every row; `None` once given back.
    stats: Option<Slab>,
}

impl AddNorm {
    fn input(&self) -> Value {
        self.s.unwrap_or(self.x)
    }

    fn rows_back<R: Real>(&self, tape: &mut Tape<R>, dy: At, stats: At) -> Result<()> {
        let input = self.input();
        let shape = tape.shape(input);
        let Shape { k, rows, cols } = shape;
        let width = Width::of(cols, tape.on().dtype.bytes());
        let blocks = width.blocks_back(rows);
        let partial = tape.take_f32(k * blocks * 2 * cols)?;
        let (ds, into) = tape.slab_grad_slot(input)?;
        let args = [
            Arg::At(tape.at(input)),
            Arg::At(dy),
            Arg::At(ds.at()),
            Arg::At(stats),
            Arg::At(tape.master_at(self.norm.weight)),
            Arg::At(partial.at()),
            Arg::U32(rows as u32),
            Arg::U32(cols as u32),
            Arg::F32(centre(self.norm.kind)),
            Arg::U32((into == Into::Add).into()),
        ];
        let grid = [blocks as u32, k as u32, 1];
        tape.launch(width.backward, (grid, width.threads as u32), 0, &args)?;
        tape.put_slab_grad(input, ds);
        self.weights_back(tape, partial.at(), blocks)?;
        tape.give_slab(partial);
        Ok(())
    }

    fn weights_back<R: Real>(&self, tape: &Tape<R>, partial: At, blocks: usize) -> Result<()> {
        let Shape { k, cols, .. } = tape.shape(self.input());
        let Norm { weight, bias, .. } = self.norm;
        tape.on().gpu.launch(Launch {
            kernel: "norm_weights_backward",
            grid: [(2 * cols).div_ceil(32) as u32, k as u32, 1],
            threads: 256,
            shared: 0,
            args: &[
                Arg::At(partial),
                Arg::At(tape.weight_grad_at(weight)),
                Arg::At(bias.map_or(0, |bias| tape.weight_grad_at(bias))),
                Arg::U32(blocks as u32),
                Arg::U32(cols as u32),
            ],
        })
    }
}

impl<R: Real> Op<R> for AddNorm {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(stats) = self.stats.take() else {
            return Ok(());
        };
        if let Some(dy) = tape.take_slab_grad(self.y) {
            self.rows_back(tape, dy.at(), stats.at())?;
            tape.drop_slab_grad(dy);
        }
        tape.give_slab(stats);
        // The sum hands its gradient to both of its terms.
        if let (Some(s), Some(branch)) = (self.s, self.branch)
            && let Some(ds) = tape.take_slab_grad(s)
        {
            tape.add_slab_grad(branch, ds.clone())?;
            tape.add_slab_grad(self.x, ds)?;
        }
        Ok(())
    }
}
