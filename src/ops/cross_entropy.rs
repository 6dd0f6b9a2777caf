//! The classifier: head and softmax cross-entropy in one, over chunks of rows.
//!
//! Logits of all rows would be the largest tensor of a small model with a large vocabulary. They
//! exist here for one chunk at a time, and in training their gradient replaces them in place: the
//! loss is the root of the tape, so its backward can run inside its forward.

use crate::{
    error::Result,
    ops::gemm::{Mat, MatMut, gemm},
    params::Param,
    pool::Pool,
    profile::Half,
    real::{Real, max, simd, sum},
    tape::{Into, Mode, PIECE, Shape, Tape, Value},
};
use candle_core::{D, DType, Device, Tensor};

/// A target that counts in neither loss nor gradient.
pub const IGNORE: u32 = u32::MAX;

/// Rows whose logits are held at once. With fewer, reading a large vocabulary's weights and adding to
/// their gradient would take as long as multiplying.
const CHUNK: usize = 512;

/// What keeps logits small; 0 turns each off.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tame {
    /// A logit z becomes cap·tanh(z/cap), as in Gemma 2.
    pub cap: f64,
    /// Times the square of each row's log-sum-exp, added to the loss in training: a z-loss.
    pub z_loss: f64,
}

/// How one target was foreseen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// −ln of its probability; 0 for a target that is [`IGNORE`].
    pub nats: f64,
    /// Whether its logit is above every other. A tie makes no target the likeliest, so that a model
    /// that knows nothing is never right, and the order of ids says nothing.
    pub likeliest: bool,
}

impl<R: Real> Tape<R> {
    /// Adds Σ over rows of −ln softmax(x·Wᵀ)[target], in nats, divided by the variant's denominator,
    /// to each variant's loss: [`Tape::take_losses`] reads it.
    ///
    /// x is (K, rows, C), `w` (K, V, C), `targets` K·rows ids or [`IGNORE`], and there are K
    /// denominators. In a training pass the gradients of x and `w` are made at once, and the z-loss is
    /// part of the sum.
    pub fn classifier(
        &mut self,
        x: Value,
        w: Param,
        (targets, denominators): (&[u32], &[f64]),
        tame: Tame,
    ) -> Result<()> {
        let losses = self.classify(x, w, (targets, denominators), tame, None)?;
        self.add_losses(&losses);
        Ok(())
    }

    /// The score of each of `targets`, K·rows ids or [`IGNORE`], from the same pass over the logits.
    pub fn scores(
        &mut self,
        x: Value,
        w: Param,
        targets: &[u32],
        tame: Tame,
    ) -> Result<Vec<Score>> {
        let mut scores = Vec::with_capacity(targets.len());
        let denominators = vec![1.0; self.k()];
        self.classify(x, w, (targets, &denominators), tame, Some(&mut scores))?;
        Ok(scores)
    }

    /// The classifier's losses, or none where a device has added them to its own; `scores` gets one for
    /// each target.
    fn classify(
        &mut self,
        x: Value,
        w: Param,
        (targets, denominators): (&[u32], &[f64]),
        tame: Tame,
        mut scores: Option<&mut Vec<Score>>,
    ) -> Result<Vec<f64>> {
        let tame = match self.mode() {
            Mode::Train => tame,
            Mode::Eval => Tame {
                z_loss: 0.0,
                ..tame
            },
        };
        if self.device.is_some() {
            self.classifier_on_device((x, w), (targets, denominators), tame, scores)?;
            return Ok(Vec::new());
        }
        if let Some(device) = self.candle_device().cloned() {
            let targets = Targets {
                ids: targets,
                denominators,
                scores,
            };
            return self.classifier_composed(x, w, targets, tame, &device);
        }
        let Shape { k, rows, cols } = self.shape(x);
        let vocab = self.params.spec(w).shape[0];
        let train = self.mode() == Mode::Train;
        let chunk = CHUNK.min(rows);
        let mut logits = self.memory.take(chunk * vocab);
        let mut slopes = self
            .memory
            .take(if tame.cap > 0.0 { chunk * vocab } else { 0 });
        let mut nats = self.memory.take(chunk);
        let mut likeliest = vec![false; if scores.is_some() { chunk } else { 0 }];
        let mut dx = train.then(|| self.grad_slot(x));
        let data = self.lend(x);
        let mut losses = Vec::with_capacity(k);
        debug_assert_eq!((targets.len(), denominators.len()), (k * rows, k));
        for (k, denominator) in denominators.iter().enumerate() {
            let mut total = 0.0;
            for first in (0..rows).step_by(chunk) {
                let n = chunk.min(rows - first);
                let at = (k * rows + first) * cols;
                let x = Mat::new(&data[at..][..n * cols], n, cols);
                let targets = &targets[k * rows + first..][..n];
                let logits = &mut logits[..n * vocab];
                let nats = &mut nats[..n];
                let precision = self.precision;
                let (params, pool) = self.params_and_pool();
                let weights = Mat::new(params.value(w, k), vocab, cols);
                gemm(
                    (pool, precision),
                    x,
                    weights.t(),
                    MatMut::new(logits, n, vocab),
                    Into::Overwrite,
                );
                let scale = train.then(|| R::of(1.0 / denominator));
                cap_logits(pool, logits, &mut slopes, tame.cap);
                if scores.is_some() {
                    find_likeliest(pool, logits, targets, &mut likeliest[..n]);
                }
                let z = R::of(tame.z_loss);
                pool.pieces2((logits, 16 * vocab), (nats, 16), |i, logits, nats| {
                    let targets = &targets[i * 16..];
                    simd(
                        #[inline(always)]
                        || {
                            for ((row, nats), target) in
                                logits.chunks_exact_mut(vocab).zip(nats).zip(targets)
                            {
                                *nats = cross_entropy_row(row, *target, scale, z);
                            }
                        },
                    );
                });
                if train && tame.cap > 0.0 {
                    uncap_gradient(pool, logits, &slopes);
                }
                if let Some(scores) = &mut scores {
                    let pairs = nats.iter().zip(&likeliest);
                    scores.extend(pairs.map(|(nats, likeliest)| Score {
                        nats: nats.f64(),
                        likeliest: *likeliest,
                    }));
                }
                total += nats.iter().map(|n| n.f64()).sum::<f64>();
                if let Some((dx, into)) = &mut dx {
                    let dlogits = Mat::new(&*logits, n, vocab);
                    let dx = MatMut::new(&mut dx[at..][..n * cols], n, cols);
                    gemm((pool, precision), dlogits, weights, dx, *into);
                    let dw = MatMut::new(params.grad_mut(w, k), vocab, cols);
                    gemm((pool, precision), dlogits.t(), x, dw, Into::Add);
                }
            }
            losses.push(total / denominator);
        }
        self.give_back(x, data);
        if let Some((dx, _)) = dx {
            self.put_grad(x, dx);
        }
        self.memory.give(logits);
        self.memory.give(slopes);
        self.memory.give(nats);
        self.lap("cross_entropy", Half::Forward);
        Ok(losses)
    }

    fn classifier_composed(
        &mut self,
        x: Value,
        w: Param,
        targets: Targets,
        tame: Tame,
        device: &Device,
    ) -> Result<Vec<f64>> {
        let w = self.leaf_tensor(w)?;
        let (logits, nats) =
            cross_entropy_reference((self.tensor(x), &w), targets.ids, tame, device)?;
        if let Some(scores) = targets.scores {
            scores_reference((&logits, &nats), targets.ids, scores)?;
        }
        let factors: Vec<f64> = targets.denominators.iter().map(|d| 1.0 / d).collect();
        let factors = Tensor::from_vec(factors, targets.denominators.len(), device)?;
        let losses = (nats.sum(1)? * factors.to_dtype(nats.dtype())?)?;
        if self.mode() == Mode::Train {
            self.roots.push(losses.clone());
        }
        Ok(losses.to_dtype(DType::F64)?.to_vec1()?)
    }
}

/// What the classifier is to compare with.
struct Targets<'a> {
    ids: &'a [u32],
    /// One for each variant.
    denominators: &'a [f64],
    scores: Option<&'a mut Vec<Score>>,
}

/// For each row of logits whether its target's is above all others.
fn find_likeliest<R: Real>(pool: &Pool, logits: &[R], targets: &[u32], likeliest: &mut [bool]) {
    let vocab = logits.len() / targets.len().max(1);
    pool.pieces(likeliest, 16, |i, likeliest| {
        let rows = logits[i * 16 * vocab..].chunks_exact(vocab);
        simd(
            #[inline(always)]
            || {
                for ((row, likeliest), target) in rows.zip(likeliest).zip(&targets[i * 16..]) {
                    *likeliest = *target != IGNORE && {
                        let chosen = row[*target as usize];
                        row.iter().filter(|z| **z >= chosen).count() == 1
                    };
                }
            },
        );
    });
}

/// Caps logits in place; `slopes` gets the derivative of each.
fn cap_logits<R: Real>(pool: &Pool, logits: &mut [R], slopes: &mut [R], cap: f64) {
    if cap <= 0.0 {
        return;
    }
    let slopes = &mut slopes[..logits.len()];
    let (cap, twice) = (R::of(cap), R::of(2.0 / cap));
    pool.pieces2((logits, PIECE), (slopes, PIECE), |_, logits, slopes| {
        simd(
            #[inline(always)]
            || {
                for (z, slope) in logits.iter_mut().zip(slopes) {
                    let tanh = R::ONE - R::of(2.0) / ((*z * twice).exp() + R::ONE);
                    *slope = R::ONE - tanh * tanh;
                    *z = cap * tanh;
                }
            },
        );
    });
}

fn uncap_gradient<R: Real>(pool: &Pool, gradient: &mut [R], slopes: &[R]) {
    pool.pieces(gradient, PIECE, |i, gradient| {
        let slopes = &slopes[i * PIECE..];
        simd(
            #[inline(always)]
            || {
                for (g, slope) in gradient.iter_mut().zip(slopes) {
                    *g *= *slope;
                }
            },
        );
    });
}

/// One row's loss in nats, with z·lse². With a scale, the row becomes its gradient times the scale:
/// softmax·(1 + 2·z·lse) − one-hot.
#[inline(always)]
fn cross_entropy_row<R: Real>(row: &mut [R], target: u32, scale: Option<R>, z: R) -> R {
    if target == IGNORE {
        if scale.is_some() {
            row.fill(R::ZERO);
        }
        return R::ZERO;
    }
    let target = target as usize;
    let top = max(row);
    let chosen = row[target];
    for z in row.iter_mut() {
        *z = (*z - top).exp();
    }
    let total = sum(row);
    let lse = total.f64().ln() + top.f64();
    if let Some(scale) = scale {
        let factor = scale * (R::ONE + R::of(2.0 * lse) * z) / total;
        for z in row.iter_mut() {
            *z *= factor;
        }
        row[target] -= scale;
    }
    R::of(total.f64().ln() + (top - chosen).f64() + z.f64() * lse * lse)
}

/// Logits (K, rows, V) and the nats of every target (K, rows), in candle.
fn cross_entropy_reference(
    (x, w): (&Tensor, &Tensor),
    targets: &[u32],
    tame: Tame,
    device: &Device,
) -> candle_core::Result<(Tensor, Tensor)> {
    let (k, rows, _) = x.dims3()?;
    let mut logits = x.matmul(&w.transpose(1, 2)?)?; // (K, rows, V)
    if tame.cap > 0.0 {
        logits = ((logits / tame.cap)?.tanh()? * tame.cap)?;
    }
    let log_p = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
    let ids: Vec<u32> = targets
        .iter()
        .map(|t| if *t == IGNORE { 0 } else { *t })
        .collect();
    let counted: Vec<f32> = targets.iter().map(|t| f32::from(*t != IGNORE)).collect();
    let ids = Tensor::from_vec(ids, (k, rows, 1), device)?;
    let counted = Tensor::from_vec(counted, (k, rows), device)?.to_dtype(x.dtype())?;
    let chosen = log_p.gather(&ids, 2)?;
    let lse = (logits.gather(&ids, 2)? - &chosen)?;
    let nats = ((lse.sqr()? * tame.z_loss)? - chosen)?;
    Ok((logits, (nats.squeeze(2)? * counted)?))
}

/// The scores of all targets from their logits (K, rows, V) and nats (K, rows).
fn scores_reference(
    (logits, nats): (&Tensor, &Tensor),
    targets: &[u32],
    scores: &mut Vec<Score>,
) -> candle_core::Result<()> {
    let (k, rows, _) = logits.dims3()?;
    let ids: Vec<u32> = targets
        .iter()
        .map(|t| if *t == IGNORE { 0 } else { *t })
        .collect();
    let ids = Tensor::from_vec(ids, (k, rows, 1), logits.device())?;
    let as_high = logits.broadcast_ge(&logits.gather(&ids, 2)?)?;
    let as_high = as_high
        .to_dtype(DType::F32)?
        .sum(2)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    let nats = nats.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let rows = as_high.iter().zip(nats).zip(targets);
    scores.extend(rows.map(|((as_high, nats), target)| Score {
        nats,
        likeliest: *target != IGNORE && *as_high == 1.0,
    }));
    Ok(())
}
