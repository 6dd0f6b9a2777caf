//! Dropout (Srivastava et al. 2014) whose mask is a function of (seed, step, place), never stored.

use crate::{
    error::Result,
    real::{Real, simd},
    rng::philox,
    tape::{Mode, Op, PIECE, Tape, Value},
};
use candle_core::Tensor;

impl<R: Real> Tape<R> {
    /// In training, x with each element zeroed with probability `p` and the rest scaled by
    /// 1/(1−p); in evaluation, or with p = 0, x itself. `rows_per_sequence` is T, so that a
    /// sequence meets the same mask in whatever micro-batch it travels. Where
    /// [`PassPosition`](crate::tape::PassPosition) has a probability for each variant, that is meant.
    pub fn dropout(&mut self, x: Value, p: f64, rows_per_sequence: usize) -> Result<Value> {
        if p == 0.0 || self.mode() == Mode::Eval {
            return Ok(x);
        }
        let shape = self.shape(x);
        let per_sequence = rows_per_sequence * shape.cols;
        if self.device.is_some() {
            return self.dropout_on_device(x, p, per_sequence);
        }
        let mask = self.next_mask(p, shape.rows * shape.cols, per_sequence);
        if let Some(device) = self.candle_device().cloned() {
            let mut ones = vec![R::ONE; shape.len()];
            mask.apply(&mut ones, 0);
            let mask = Tensor::from_vec(ones, (shape.k, shape.rows, shape.cols), &device)?;
            return self.composed(&[x], &[], move |xs, _| &xs[0] * &mask);
        }
        let mut y = self.memory.take(shape.len());
        let from = self.host(x);
        self.pool.pieces(&mut y, PIECE, |i, y| {
            y.copy_from_slice(&from[i * PIECE..][..y.len()]);
            mask.apply(y, i * PIECE);
        });
        let y = self.push(shape, y);
        self.record(y, Dropout { x, y, mask });
        Ok(y)
    }

    /// The mask of the next dropout site: `variant_len` elements of each variant in this pass, of
    /// which `per_sequence` belong to one sequence.
    pub(crate) fn next_mask(&mut self, p: f64, variant_len: usize, per_sequence: usize) -> Mask {
        self.dropout_sites += 1;
        let position = &self.position;
        let keys = position.keys.iter().enumerate();
        let variant = |(k, key): (usize, &[u32; 2])| {
            let p = position.dropout.get(k).copied().unwrap_or(p);
            Variant {
                key: *key,
                threshold: (p * 4_294_967_296.0) as u32,
                scale: 1.0 / (1.0 - p),
            }
        };
        Mask {
            variants: keys.map(variant).collect(),
            step: position.step as u32,
            site: self.dropout_sites,
            variant_len,
            first: position.first_row * per_sequence,
        }
    }
}

/// One dropout site's mask at one step.
pub(crate) struct Mask {
    variants: Vec<Variant>,
    step: u32,
    site: u32,
    /// Elements of one packed variant in this pass.
    variant_len: usize,
    /// Index of this pass's first element within the step's whole batch.
    first: usize,
}

/// What differs between packed variants.
struct Variant {
    key: [u32; 2],
    threshold: u32,
    scale: f64,
}

impl Mask {
    /// Masks and scales `part`, which starts at element `start` of (K, rows, cols).
    pub(crate) fn apply<R: Real>(&self, part: &mut [R], start: usize) {
        let mut at = start;
        let mut rest = part;
        while !rest.is_empty() {
            let (k, within) = (at / self.variant_len, at % self.variant_len);
            let index = self.first + within;
            let left = (self.variant_len - within).min(rest.len());
            let variant = &self.variants[k];
            if variant.threshold == 0 {
                // It drops nothing, though another does.
                rest = &mut rest[left..];
                at += left;
                continue;
            }
            let scale = R::of(variant.scale);
            let whole = left / WORDS * WORDS;
            // Four words come at a time: up to the next multiple of four, or the variant's end.
            let n = match index % 4 {
                0 if whole > 0 => whole,
                past => (4 - past).min(left),
            };
            let (now, later) = rest.split_at_mut(n);
            if n == whole {
                simd(
                    #[inline(always)]
                    || {
                        let (groups, _) = now.as_chunks_mut::<WORDS>();
                        for (i, group) in groups.iter_mut().enumerate() {
                            let words = self.words(variant.key, (index + i * WORDS) as u64 / 4);
                            for (x, word) in group.iter_mut().zip(words) {
                                *x = variant.masked(*x, word, scale);
                            }
                        }
                    },
                );
            } else {
                let words = philox(variant.key, self.counter(index as u64 / 4));
                for (x, word) in now.iter_mut().zip(&words[index % 4..]) {
                    *x = variant.masked(*x, *word, scale);
                }
            }
            rest = later;
            at += n;
        }
    }

    #[inline(always)]
    fn counter(&self, block: u64) -> [u32; 4] {
        [block as u32, (block >> 32) as u32, self.step, self.site]
    }

    /// The words of [`BLOCKS`] blocks from `block` on, which the compiler computes side by side.
    #[inline(always)]
    fn words(&self, key: [u32; 2], block: u64) -> [u32; WORDS] {
        let mut sets = [[0; BLOCKS]; 4];
        for i in 0..BLOCKS {
            let words = philox(key, self.counter(block + i as u64));
            for (set, word) in sets.iter_mut().zip(words) {
                set[i] = word;
            }
        }
        let mut words = [0; WORDS];
        for i in 0..BLOCKS {
            for (j, set) in sets.iter().enumerate() {
                words[4 * i + j] = set[i];
            }
        }
        words
    }
}

impl Variant {
    #[inline(always)]
    fn masked<R: Real>(&self, x: R, word: u32, scale: R) -> R {
        if word < self.threshold {
            R::ZERO
        } else {
            x * scale
        }
    }
}

/// Philox blocks that are computed together, one in each lane of a vector.
const BLOCKS: usize = 16;
const WORDS: usize = 4 * BLOCKS;

struct Dropout {
    x: Value,
    y: Value,
    mask: Mask,
}

impl<R: Real> Op<R> for Dropout {
    fn backward(&mut self, tape: &mut Tape<R>) -> Result<()> {
        let Some(dy) = tape.take_grad(self.y) else {
            return Ok(());
        };
        // Through the copy, since a residual branch may share dy.
        let mut dx = tape.memory.take(dy.len());
        tape.pool.pieces(&mut dx, PIECE, |i, dx| {
            dx.copy_from_slice(&dy[i * PIECE..][..dx.len()]);
            self.mask.apply(dx, i * PIECE);
        });
        tape.drop_grad(dy);
        tape.add_grad(self.x, dx.into());
        Ok(())
    }
}
