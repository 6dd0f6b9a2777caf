//! The classifier: chunks of rows of all lanes, each with a product that makes logits, one kernel that
//! turns them into losses and gradients where they are, and the products of these gradients.

use super::{OnDevice, linear::transposed};
use crate::{
    device::gpu::{Arg, At, Epilogue, Gpu, Launch, Matrix, Product, Slab},
    error::Result,
    ops::cross_entropy::{Score, Tame},
    params::Param,
    profile::Half,
    real::Real,
    tape::{Into, Mode, Shape, Tape, Value},
};
use std::sync::Arc;

/// By what each lane's losses are divided, as its kernel reads it.
pub struct Denominators {
    of: Vec<f64>,
    at: Slab,
}

impl Denominators {
    pub fn new(gpu: &Arc<dyn Gpu>, k: usize) -> Result<Self> {
        Ok(Self {
            of: vec![0.0; k],
            at: Slab::zeros(gpu, 8 * k)?,
        })
    }
}

impl OnDevice {
    /// Divides the losses and gradients of later passes by these, one for each lane. Nothing is sent
    /// when they stay as they are; in a capture they must be right already.
    pub fn set_denominators(&mut self, denominators: &[f64]) -> Result<()> {
        let inverse = |k: usize| (1.0 / denominators[k]) as f32;
        self.set_lanes(|k, lane| lane.inverse_targets = inverse(k))?;
        let known = &mut self.denominators;
        if known.of == denominators || self.capturing {
            return Ok(());
        }
        known.of = denominators.to_vec();
        let bytes: Vec<u8> = denominators.iter().flat_map(|d| d.to_ne_bytes()).collect();
        self.gpu.upload(known.at.at(), &bytes)
    }

    pub fn clear_losses(&self) -> Result<()> {
        self.gpu.zero(self.losses.at(), self.losses.bytes())
    }

    /// The lanes' losses since they were last cleared. Waits for the device.
    pub fn read_losses(&self) -> Result<Vec<f64>> {
        let mut bytes = vec![0; self.losses.bytes()];
        self.gpu.download(self.losses.at(), &mut bytes)?;
        let doubles = bytes.as_chunks::<8>().0.iter();
        Ok(doubles.map(|b| f64::from_ne_bytes(*b)).collect())
    }
}

/// Bytes of logits that are held at once, unless a tape says otherwise. The head's gradient is read and
/// written once for each chunk of rows, so chunks are large: of GPT-2's vocabulary in bf16, 5,000 rows.
pub const LOGIT_BYTES: usize = 512 << 20;

/// Rows of each lane whose logits are held at once, and the bytes that they take: no more than `most`,
/// but for rounding. Chunks are of nearly the same size, and whole tiles of a product but for the last.
pub fn chunk((k, rows): (usize, usize), bytes_per_row: usize, most: usize) -> (usize, usize) {
    /// Rows of a tile that no product is finer than.
    const TILE: usize = 128;
    let bytes_per_row = k * bytes_per_row;
    let most = (most / bytes_per_row).max(1);
    let tile = if most < TILE { 1 } else { TILE };
    let chunks = rows.div_ceil(most).max(1);
    let count = rows.div_ceil(chunks).next_multiple_of(tile).min(rows);
    (count, count * bytes_per_row)
}

/// From one row of logits to the next: whole packs of 16 bytes in either number type.
fn padded(vocab: usize) -> usize {
    vocab.next_multiple_of(8)
}

/// Packs of a row that a warp still does alone: eight for each thread.
const PACKS_OF_A_WARP: usize = 256;

/// One pass of the classifier.
struct Classified {
    x: Value,
    w: Param,
    tame: Tame,
    train: bool,
    /// Rows of a chunk.
    count: usize,
    targets: At,
    logits: Slab,
    /// f32, and u32 where scores are asked for, (K, rows).
    nats: Slab,
    likeliest: Option<Slab>,
    /// x's gradient, in training.
    dx: Option<(Slab, Into)>,
}

impl<R: Real> Tape<R> {
    /// Adds the classifier's losses to those on the device and makes its gradients. Waits for the
    /// device only where scores are asked for; these add no losses.
    pub(in crate::ops) fn classifier_on_device(
        &mut self,
        (x, w): (Value, Param),
        (targets, denominators): (&[u32], &[f64]),
        tame: Tame,
        scores: Option<&mut Vec<Score>>,
    ) -> Result<()> {
        let Shape { k, rows, .. } = self.shape(x);
        let vocab = self.params.spec(w).shape[0];
        let train = self.mode() == Mode::Train;
        if train || scores.is_none() {
            self.on_mut().set_denominators(denominators)?;
        }
        let device = self.on();
        let bytes_per_row = padded(vocab) * device.dtype.bytes();
        let (count, _) = chunk((k, rows), bytes_per_row, device.logit_bytes);
        let staged = self.position.staged;
        let likeliest = scores.is_some().then(|| self.take_f32(k * rows));
        let pass = Classified {
            x,
            w,
            tame,
            train,
            count,
            targets: self.on_mut().targets(staged, targets)?,
            logits: self.take_slab(k * count * padded(vocab))?,
            nats: self.take_f32(k * rows)?,
            likeliest: likeliest.transpose()?,
            dx: train.then(|| self.slab_grad_slot(x)).transpose()?,
        };
        for first in (0..rows).step_by(count.max(1)) {
            self.classify_chunk(&pass, first)?;
        }
        match scores {
            Some(scores) => self.read_scores(&pass, scores)?,
            None => self.add_mean_losses(&pass)?,
        }
        self.give_slab(pass.logits);
        self.give_slab(pass.nats);
        if let Some(likeliest) = pass.likeliest {
            self.give_slab(likeliest);
        }
        if let Some((dx, _)) = pass.dx {
            self.put_slab_grad(x, dx);
        }
        self.lap("cross_entropy", Half::Forward);
        Ok(())
    }

    /// The rows of each lane from `first` on: logits, losses, gradients.
    fn classify_chunk(&self, pass: &Classified, first: usize) -> Result<()> {
        let Shape { k, rows, cols } = self.shape(pass.x);
        let vocab = self.params.spec(pass.w).shape[0];
        let count = pass.count.min(rows - first);
        let device = self.on();
        let skipped = (first * cols * device.dtype.bytes()) as At;
        let part = |at: At| self.matrices(at + skipped, (rows, cols));
        let logits = Matrix {
            row: padded(vocab),
            ..self.matrices(pass.logits.at(), (count, padded(vocab)))
        };
        let weights = self.weights(pass.w);
        let forward = Product {
            count: k,
            rows: count,
            cols: vocab,
            depth: cols,
            alpha: 1.0,
            a: part(self.at(pass.x)),
            b: transposed(weights),
            d: logits,
            add: false,
            epilogue: Epilogue::Plain,
            tf32: device.tf32,
        };
        device.gpu.multiply(&forward)?;
        self.launch_classify(pass, first, count)?;
        let Some((dx, into)) = &pass.dx else {
            return Ok(());
        };
        device.gpu.multiply(&Product {
            cols,
            depth: vocab,
            a: logits,
            b: weights,
            d: part(dx.at()),
            add: *into == Into::Add,
            ..forward
        })?;
        device.gpu.multiply(&Product {
            rows: vocab,
            cols,
            depth: count,
            a: transposed(logits),
            b: part(self.at(pass.x)),
            d: self.weight_grads(pass.w),
            add: true,
            ..forward
        })
    }

    /// Logits of a chunk to losses, and in training to their gradient.
    fn launch_classify(&self, pass: &Classified, first: usize, count: usize) -> Result<()> {
        let Shape { k, rows, .. } = self.shape(pass.x);
        let vocab = self.params.spec(pass.w).shape[0];
        let device = self.on();
        let packs = padded(vocab) * device.dtype.bytes() / 16;
        let args = [
            Arg::At(pass.logits.at()),
            Arg::At(pass.targets),
            Arg::At(device.lanes_at()),
            Arg::At(pass.nats.at()),
            Arg::At(pass.likeliest.as_ref().map_or(0, Slab::at)),
            Arg::U32(first as u32),
            Arg::U32(count as u32),
            Arg::U32(rows as u32),
            Arg::U32(padded(vocab) as u32),
            Arg::U32(vocab as u32),
            Arg::F32(pass.tame.cap as f32),
            Arg::F32(pass.tame.z_loss as f32),
            Arg::U32(u32::from(pass.train)),
        ];
        if packs <= PACKS_OF_A_WARP {
            let grid = [count.div_ceil(4) as u32, k as u32, 1];
            let kernels = ["classify_by_warps_f32", "classify_by_warps_bf16"];
            return self.launch(kernels, (grid, 128), 0, &args);
        }
        // Eight packs for a thread, or more where the vocabulary is large.
        let threads = (packs / 8).next_power_of_two().clamp(128, 512) as u32;
        let grid = [count as u32, k as u32, 1];
        let kernels = ["classify_by_blocks_f32", "classify_by_blocks_bf16"];
        self.launch(kernels, (grid, threads), 0, &args)
    }

    fn add_mean_losses(&self, pass: &Classified) -> Result<()> {
        let Shape { k, rows, .. } = self.shape(pass.x);
        let device = self.on();
        device.gpu.launch(Launch {
            kernel: "add_losses",
            grid: [k as u32, 1, 1],
            threads: 512,
            shared: 0,
            args: &[
                Arg::At(pass.nats.at()),
                Arg::At(device.denominators.at.at()),
                Arg::At(device.losses.at()),
                Arg::U32(rows as u32),
            ],
        })
    }

    fn read_scores(&mut self, pass: &Classified, scores: &mut Vec<Score>) -> Result<()> {
        let Some(likeliest) = &pass.likeliest else {
            return Ok(());
        };
        self.on_mut().went_through_host = true;
        let Shape { k, rows, .. } = self.shape(pass.x);
        let gpu = &self.on().gpu;
        let words = |slab: &Slab| -> Result<Vec<[u8; 4]>> {
            let mut bytes = vec![0; 4 * k * rows];
            gpu.download(slab.at(), &mut bytes)?;
            Ok(bytes.as_chunks::<4>().0.to_vec())
        };
        let pairs = words(&pass.nats)?.into_iter().zip(words(likeliest)?);
        scores.extend(pairs.map(|(nats, likeliest)| Score {
            nats: f64::from(f32::from_ne_bytes(nats)),
            likeliest: u32::from_ne_bytes(likeliest) != 0,
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_whole_tiles_of_nearly_the_same_size_and_few_where_they_fit() {
        // A small vocabulary: all rows at once.
        let small = 2 * padded(65);
        assert_eq!(
            chunk((16, 768), small, LOGIT_BYTES),
            (768, 16 * 768 * small)
        );
        let large = 2 * padded(50_257);
        let (count, bytes) = chunk((1, 65_536), large, LOGIT_BYTES);
        assert!(count.is_multiple_of(128) && bytes <= LOGIT_BYTES + 128 * large);
        assert!(65_536 % count > count / 2);
        // Less than a row fits.
        assert_eq!(chunk((3, 5), large, 1).0, 1);
    }
}
