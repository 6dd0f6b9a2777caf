//! Attention: which kernel for which heads, and how it is launched.
//!
//! Heads of bf16 whose columns are a multiple of eight, up to 128, go through the tensor cores, padded to
//! 32, 64 or 128 in shared memory; all others through kernels that compute in f32.

use crate::{
    device::gpu::{Arg, At, Dtype, Slab},
    error::{Error, Result},
    ops::attention::layout::Layout,
    real::Real,
    tape::{Into, Mode, Op, Shape, Tape, Value},
};

impl<R: Real> Tape<R> {
    /// qkv (K, B·T, (H+2G)·D) → (K, B·T, H·D), each weight of a training pass dropped with probability
    /// `dropout`, or the lane's own. Errors when heads are wider than any kernel's.
    pub(in crate::ops) fn attention_on_device(
        &mut self,
        qkv: Value,
        h: Layout,
        dropout: f64,
    ) -> Result<Value> {
        let kernels = Kernels::of(self.on().dtype, h.dim)?;
        let training = self.mode() == Mode::Train;
        let dropout = if training { dropout } else { 0.0 };
        // Counted as the CPU counts, so that the sites that follow have the same masks.
        self.dropout_sites += u32::from(dropout > 0.0);
        let Shape { k, rows, .. } = self.shape(qkv);
        let pass = Pass {
            h,
            k,
            rows,
            dropout,
            site: self.dropout_sites,
            first_sequence: self.position.first_row as u32,
        };
        let cols = h.width();
        let y = self.take_slab(k * rows * cols)?;
        // Evaluation keeps none.
        let lse = match training {
            true => Some(self.take_f32(k * rows * h.heads)?),
            false => None,
        };
        let own = [
            Arg::At(self.at(qkv)),
            Arg::At(y.at()),
            Arg::At(lse.as_ref().map_or(0, Slab::at)),
        ];
        pass.launch(self, &kernels.forward, h.heads, &own)?;
        let y = self.push_slab(Shape { k, rows, cols }, y);
        if let Some(lse) = lse {
            let op = Attention {
                qkv,
                y,
                pass,
                lse: Some(lse),
            };
            self.record(y, op);
        }
        Ok(y)
    }
}

struct Attention {
    qkv: Value,
    y: Value,
    pass: Pass,
    /// Log-sum-exp of every score row, (K·B, H, T), until the way back.
    lse: Option<Slab>,
}

impl<R: Real> Op<R> for Attention {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(lse) = self.lse.take() else {
            return Ok(());
        };
        let Some(dy) = tape.take_slab_grad(self.y) else {
            tape.give_slab(lse);
            return Ok(());
        };
        let Pass { h, k, rows, .. } = self.pass;
        let kernels = Kernels::of(tape.on().dtype, h.dim)?;
        let delta = tape.take_f32(k * rows * h.heads)?;
        let (dqkv, into) = tape.slab_grad_slot(self.qkv)?;
        let of = |at: At| Arg::At(at);
        let (qkv, y, dy_at) = (of(tape.at(self.qkv)), of(tape.at(self.y)), of(dy.at()));
        let (sums, slopes, out) = (of(lse.at()), of(delta.at()), of(dqkv.at()));
        let add = Arg::U32((into == Into::Add).into());
        // The first writes the δ that the second reads.
        let own = [qkv, y, dy_at, sums, slopes, out, add];
        self.pass.launch(tape, &kernels.queries, h.heads, &own)?;
        let own = [qkv, dy_at, sums, slopes, out, add];
        self.pass.launch(tape, &kernels.keys, h.kv_heads, &own)?;
        tape.give_slab(delta);
        tape.give_slab(lse);
        tape.put_slab_grad(self.qkv, dqkv);
        tape.drop_slab_grad(dy);
        Ok(())
    }
}

/// What forward and backward have in common.
#[derive(Clone, Copy)]
struct Pass {
    h: Layout,
    k: usize,
    rows: usize,
    dropout: f64,
    site: u32,
    /// Number of this pass's first sequence within a lane's batch.
    first_sequence: u32,
}

impl Pass {
    /// Launches a kernel whose blocks each have one of `heads` heads of a sequence, and some rows.
    fn launch<R: Real>(
        self,
        tape: &mut Tape<R>,
        kernel: &Kernel,
        heads: usize,
        own: &[Arg],
    ) -> Result<()> {
        let Layout { t, dim, .. } = self.h;
        let drops = self.dropout > 0.0;
        if let Some(device) = tape.device.as_deref_mut().filter(|_| drops) {
            device.sync_position(&tape.position, self.dropout)?;
        }
        let sequences = self.k * self.rows / t;
        let grid = [(sequences * heads * t.div_ceil(kernel.rows)) as u32, 1, 1];
        let name = kernel.names[usize::from(drops)];
        let args = [own, &self.args(tape)].concat();
        let shape = (grid, kernel.threads);
        tape.launch([name, name], shape, kernel.shared(dim), &args)
    }

    /// What all kernels take after their own: `Shape` and `Dropout` in `attention.cuh`.
    fn args<R: Real>(self, tape: &Tape<R>) -> [Arg; 10] {
        let number = |n: usize| Arg::U32(n as u32);
        let h = self.h;
        let window = match h.window {
            0 => h.t,
            window => window.min(h.t),
        };
        let lanes = match self.dropout > 0.0 {
            true => tape.on().lanes_at(),
            false => 0,
        };
        [
            number(h.t),
            number(h.heads),
            number(h.kv_heads),
            number(h.dim),
            number(window),
            Arg::F32(h.scale as f32),
            Arg::At(lanes),
            number(self.rows / h.t),
            Arg::U32(self.first_sequence),
            Arg::U32(self.site),
        ]
    }
}

/// The kernels for heads of up to `columns`.
struct Kernels {
    columns: usize,
    forward: Kernel,
    queries: Kernel,
    keys: Kernel,
}

struct Kernel {
    /// Without and with dropout.
    names: [&'static str; 2],
    threads: u32,
    /// Queries or keys of a block.
    rows: usize,
    tiles: Tiles,
}

/// What is in a block's shared memory.
enum Tiles {
    /// `rows` of `columns` bf16, and `more` bytes.
    Tensor {
        rows: usize,
        columns: usize,
        more: usize,
    },
    /// `count` of a block's rows of f32, and a matrix of scores.
    Plain { count: usize },
}

impl Kernel {
    /// Bytes, for heads of `dim` columns: as the top of the kernel divides them up.
    fn shared(&self, dim: usize) -> u32 {
        let bytes = match self.tiles {
            Tiles::Tensor {
                rows,
                columns,
                more,
            } => 2 * rows * columns + more,
            Tiles::Plain { count } => {
                let pitch = dim.next_multiple_of(4) + 4;
                4 * self.rows * (count * pitch + self.rows + 4)
            }
        };
        bytes as u32
    }
}

impl Kernels {
    /// The kernels for heads of `dim` columns. Errors when none has room for them.
    fn of(dtype: Dtype, dim: usize) -> Result<&'static Self> {
        let all: &[Self] = match dtype {
            Dtype::F32 => &PLAIN_F32,
            Dtype::Bf16 if dim.is_multiple_of(8) && dim <= 128 => &TENSOR,
            Dtype::Bf16 => &PLAIN_BF16,
        };
        all.iter()
            .find(|kernels| dim <= kernels.columns)
            .ok_or_else(|| {
                Error::input(
                    "attention on a GPU",
                    format!("heads have {dim} columns; at most 256 are possible"),
                    "use more heads, or the CPU",
                )
            })
    }
}

/// `rows` of a block, which lie in shared memory with the tiles that go by: `all_rows`.
const fn tensor(names: [&'static str; 2], rows: usize, all_rows: usize, columns: usize) -> Kernel {
    Kernel {
        names,
        threads: 128,
        rows,
        tiles: Tiles::Tensor {
            rows: all_rows,
            columns,
            more: 0,
        },
    }
}

/// With log-sum-exp and δ of two tiles of 64 queries.
const fn tensor_keys(names: [&'static str; 2], columns: usize) -> Kernel {
    Kernel {
        names,
        threads: 128,
        rows: 64,
        tiles: Tiles::Tensor {
            rows: 384,
            columns,
            more: 2 * 64 * 8,
        },
    }
}

const fn plain(name: &'static str, rows: usize, count: usize) -> Kernel {
    Kernel {
        names: [name, name],
        threads: 256,
        rows,
        tiles: Tiles::Plain { count },
    }
}

const TENSOR: [Kernels; 3] = [
    Kernels {
        columns: 32,
        forward: tensor(
            [
                "attention_forward_d32_bf16",
                "attention_forward_dropout_d32_bf16",
            ],
            64,
            320,
            32,
        ),
        queries: tensor(
            [
                "attention_backward_queries_d32_bf16",
                "attention_backward_queries_dropout_d32_bf16",
            ],
            64,
            384,
            32,
        ),
        keys: tensor_keys(
            [
                "attention_backward_keys_d32_bf16",
                "attention_backward_keys_dropout_d32_bf16",
            ],
            32,
        ),
    },
    Kernels {
        columns: 64,
        forward: tensor(
            [
                "attention_forward_d64_bf16",
                "attention_forward_dropout_d64_bf16",
            ],
            128,
            384,
            64,
        ),
        queries: tensor(
            [
                "attention_backward_queries_d64_bf16",
                "attention_backward_queries_dropout_d64_bf16",
            ],
            128,
            512,
            64,
        ),
        keys: tensor_keys(
            [
                "attention_backward_keys_d64_bf16",
                "attention_backward_keys_dropout_d64_bf16",
            ],
            64,
        ),
    },
    Kernels {
        columns: 128,
        forward: tensor(
            [
                "attention_forward_d128_bf16",
                "attention_forward_dropout_d128_bf16",
            ],
            128,
            256,
            128,
        ),
        queries: tensor(
            [
                "attention_backward_queries_d128_bf16",
                "attention_backward_queries_dropout_d128_bf16",
            ],
            64,
            384,
            128,
        ),
        keys: tensor_keys(
            [
                "attention_backward_keys_d128_bf16",
                "attention_backward_keys_dropout_d128_bf16",
            ],
            128,
        ),
    },
];

const PLAIN_F32: [Kernels; 3] = [
    Kernels {
        columns: 64,
        forward: plain("attention_plain_forward_d64_f32", 64, 3),
        queries: plain("attention_plain_backward_queries_d64_f32", 64, 4),
        keys: plain("attention_plain_backward_keys_d64_f32", 64, 4),
    },
    Kernels {
        columns: 128,
        forward: plain("attention_plain_forward_d128_f32", 64, 3),
        queries: plain("attention_plain_backward_queries_d128_f32", 64, 4),
        keys: plain("attention_plain_backward_keys_d128_f32", 64, 4),
    },
    Kernels {
        columns: 256,
        forward: plain("attention_plain_forward_d256_f32", 32, 3),
        queries: plain("attention_plain_backward_queries_d256_f32", 32, 4),
        keys: plain("attention_plain_backward_keys_d256_f32", 32, 4),
    },
];

const PLAIN_BF16: [Kernels; 1] = [Kernels {
    columns: 256,
    forward: plain("attention_plain_forward_d256_bf16", 32, 3),
    queries: plain("attention_plain_backward_queries_d256_bf16", 32, 4),
    keys: plain("attention_plain_backward_keys_d256_bf16", 32, 4),
}];
