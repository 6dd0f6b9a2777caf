//! Muon's matrices on a device: all of one shape, of all layers and lanes, are made orthogonal as one
//! batch of products.
//!
//! What `optim::muon` computes for one matrix after the other. The iteration has the activations'
//! numbers: f32, whose products round to TF32 where the tape's do, or bf16 as in
//! `torch.optim.Muon`, with every product summed in f32.

use super::{
    OnDevice,
    step::{Kept, n_chunks},
};
use crate::{
    device::gpu::{Arg, At, Dtype, Epilogue, Gpu, Launch, Matrix, Product, Slab},
    error::Result,
};
use std::sync::Arc;

/// Rows of a block: the kernels' `ROWS`, a warp each.
const ROWS: usize = 8;
const THREADS: u32 = 256;
/// Directions of a batch begin at a multiple of this, so that they are aligned as products like it.
const ALIGNMENT: usize = 128;

/// What is iterated.
#[derive(Debug, Clone, Copy)]
pub struct Iteration {
    /// The coefficients of x, x³ and x⁵.
    pub quintic: [f64; 3],
    pub iterations: usize,
    /// The least norm that a matrix is divided by.
    pub least_norm: f64,
}

/// Matrices of one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub rows: usize,
    pub cols: usize,
    pub count: usize,
    /// Where its directions begin, one matrix after the other.
    pub start: usize,
}

impl Batch {
    fn len(&self) -> usize {
        self.count * self.rows * self.cols
    }

    fn side(&self) -> usize {
        self.rows.min(self.cols)
    }
}

/// Where each matrix's direction goes, before there is memory for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    batches: Vec<Batch>,
    /// Where the K lanes of each parameter begin.
    pub starts: Vec<usize>,
}

impl Layout {
    /// Of parameters of these shapes (rows, cols), K lanes of each side by side.
    pub fn new(shapes: &[[usize; 2]], k: usize) -> Self {
        let mut batches: Vec<Batch> = Vec::new();
        // Of each parameter, its batch and how many matrices are there before it.
        let mut places = Vec::new();
        for [rows, cols] in shapes {
            let alike = |batch: &Batch| (batch.rows, batch.cols) == (*rows, *cols);
            let idx = batches.iter().position(alike).unwrap_or(batches.len());
            if idx == batches.len() {
                batches.push(Batch {
                    rows: *rows,
                    cols: *cols,
                    count: 0,
                    start: 0,
                });
            }
            places.push((idx, batches[idx].count));
            batches[idx].count += k;
        }
        let mut start = 0;
        for batch in &mut batches {
            batch.start = start;
            start += batch.len().next_multiple_of(ALIGNMENT);
        }
        let starts = places.iter().map(|(idx, before)| {
            let Batch {
                rows, cols, start, ..
            } = batches[*idx];
            start + before * rows * cols
        });
        Self {
            starts: starts.collect(),
            batches,
        }
    }

    /// Numbers of all directions.
    pub fn len(&self) -> usize {
        let ends = self.batches.iter().map(|batch| batch.start + batch.len());
        ends.max().unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Room for the iteration on the largest batch, and which chunks a matrix is of.
#[derive(Debug)]
pub struct Matrices {
    gpu: Arc<dyn Gpu>,
    dtype: Dtype,
    tf32: bool,
    iteration: Iteration,
    batches: Vec<Batch>,
    /// Of each matrix, batch by batch, the first of its chunks.
    firsts: Slab,
    /// 1/norm of each matrix.
    scales: Slab,
    next: Slab,
    gram: Slab,
    poly: Slab,
}

impl Matrices {
    /// `firsts` are the first chunks of all matrices, in the order of their directions. Errors when
    /// there is no memory for it.
    pub fn new(
        device: &OnDevice,
        layout: Layout,
        firsts: &[usize],
        iteration: Iteration,
    ) -> Result<Self> {
        let (gpu, batches) = (&device.gpu, layout.batches);
        let most = |of: fn(&Batch) -> usize| {
            let most = batches.iter().map(of).max();
            device.dtype.bytes() * most.unwrap_or(0)
        };
        let square = most(|batch| batch.count * batch.side() * batch.side());
        let bytes = firsts
            .iter()
            .flat_map(|first| (*first as u32).to_ne_bytes());
        let bytes: Vec<u8> = bytes.collect();
        let firsts = Slab::new(gpu, bytes.len())?;
        gpu.upload(firsts.at(), &bytes)?;
        Ok(Self {
            dtype: device.dtype,
            tf32: device.tf32,
            iteration,
            scales: Slab::new(gpu, bytes.len())?,
            firsts,
            next: Slab::new(gpu, most(Batch::len))?,
            gram: Slab::new(gpu, square)?,
            poly: Slab::new(gpu, square)?,
            gpu: gpu.clone(),
            batches,
        })
    }

    pub fn bytes(&self) -> usize {
        let slabs = [
            &self.firsts,
            &self.scales,
            &self.next,
            &self.gram,
            &self.poly,
        ];
        slabs.into_iter().map(Slab::bytes).sum()
    }

    /// Makes all directions orthogonal, in place; `sums` are the sums of squares of all chunks.
    pub fn orthogonalise(&self, kept: &Kept, sums: At) -> Result<()> {
        let Some(directions) = &kept.directions else {
            return Ok(());
        };
        let mut before = 0;
        for batch in &self.batches {
            let scales = self.scales.at() + 4 * before;
            let args = [
                Arg::At(sums),
                Arg::At(self.firsts.at() + 4 * before),
                Arg::U32(n_chunks(batch.rows * batch.cols) as u32),
                Arg::F32(self.iteration.least_norm as f32),
                Arg::At(scales),
            ];
            self.launch("muon_scales", batch.count, &args)?;
            let start = (batch.start * self.dtype.bytes()) as At;
            self.iterate(batch, directions.at() + start, scales)?;
            before += batch.count as At;
        }
        Ok(())
    }

    /// X ← p(X·Xᵀ)·X from the matrices divided by their norms. An odd number of products ends where
    /// the directions were, since the division takes them away from there.
    fn iterate(&self, batch: &Batch, directions: At, scales: At) -> Result<()> {
        let (mut x, mut next) = (self.next.at(), directions);
        self.normalise(batch, (directions, x), scales)?;
        for _ in 0..self.iteration.iterations {
            self.turn(batch, x, next)?;
            std::mem::swap(&mut x, &mut next);
        }
        if x != directions {
            let bytes = batch.len() * self.dtype.bytes();
            self.gpu.copy(x, directions, bytes)?;
        }
        Ok(())
    }

    /// One iteration, by the smaller of the two products: p is the same on either side of X.
    fn turn(&self, batch: &Batch, x: At, next: At) -> Result<()> {
        let (rows, cols, side) = (batch.rows, batch.cols, batch.side());
        let (gram, poly) = (self.gram.at(), self.poly.at());
        let (square, wide) = ([side, side], rows <= cols);
        let x = self.matrix(x, [rows, cols]);
        let t = Matrix {
            transposed: true,
            ..x
        };
        let (left, right) = if wide { (x, t) } else { (t, x) };
        let depth = rows.max(cols);
        let g = self.matrix(gram, square);
        let p = self.matrix(poly, square);
        self.multiply(batch.count, [left, right], (g, [side, depth, side]))?; // G = X·Xᵀ or Xᵀ·X
        self.multiply(batch.count, [g, g], (p, [side; 3]))?;
        self.polynomial(batch)?;
        let next = self.matrix(next, [rows, cols]);
        match wide {
            true => self.multiply(batch.count, [p, x], (next, [rows, rows, cols])),
            false => self.multiply(batch.count, [x, p], (next, [rows, cols, cols])),
        }
    }

    /// A batch of matrices (rows, cols), one after the other.
    fn matrix(&self, at: At, [rows, cols]: [usize; 2]) -> Matrix {
        Matrix {
            at,
            dtype: self.dtype,
            row: cols,
            each: rows * cols,
            transposed: false,
        }
    }

    fn multiply(
        &self,
        count: usize,
        [a, b]: [Matrix; 2],
        (d, [rows, depth, cols]): (Matrix, [usize; 3]),
    ) -> Result<()> {
        self.gpu.multiply(&Product {
            count,
            rows,
            cols,
            depth,
            alpha: 1.0,
            a,
            b,
            d,
            add: false,
            epilogue: Epilogue::Plain,
            tf32: self.tf32,
        })
    }

    fn normalise(&self, batch: &Batch, (x, y): (At, At), scales: At) -> Result<()> {
        let rows = batch.count * batch.rows;
        let args = [
            Arg::At(x),
            Arg::At(scales),
            Arg::At(y),
            Arg::U64(rows as u64),
            Arg::U32(batch.rows as u32),
            Arg::U32(batch.cols as u32),
        ];
        let twins = ["muon_normalise_f32", "muon_normalise_bf16"];
        self.launch(self.twin(twins), rows.div_ceil(ROWS), &args)
    }

    /// P ← a·I + b·G + c·P. The unit matrix is added here rather than a·X to the product, which spares
    /// a pass over X; in bf16 what is rounded is then a diagonal near a instead of every a·X.
    fn polynomial(&self, batch: &Batch) -> Result<()> {
        let rows = batch.count * batch.side();
        let [a, b, c] = self.iteration.quintic.map(|x| Arg::F32(x as f32));
        let args = [
            Arg::At(self.gram.at()),
            Arg::At(self.poly.at()),
            Arg::U64(rows as u64),
            Arg::U32(batch.side() as u32),
            a,
            b,
            c,
        ];
        let twins = ["muon_quintic_f32", "muon_quintic_bf16"];
        self.launch(self.twin(twins), rows.div_ceil(ROWS), &args)
    }

    fn twin(&self, [of_f32, of_bf16]: [&'static str; 2]) -> &'static str {
        match self.dtype {
            Dtype::F32 => of_f32,
            Dtype::Bf16 => of_bf16,
        }
    }

    fn launch(&self, kernel: &'static str, blocks: usize, args: &[Arg]) -> Result<()> {
        self.gpu.launch(Launch {
            kernel,
            grid: [blocks as u32, 1, 1],
            threads: THREADS,
            shared: 0,
            args,
        })
    }
}
