//! Optimizers over the flat arenas: AdamW, SGD, Lion and Muon, with groups that have rates of their
//! own, weight decay on matrices only, and clipping by the global norm.
//!
//! Each kind's update of one tensor is a file; here is what they share.

mod adamw;
mod config;
mod device;
mod lion;
mod muon;
mod sgd;

pub use config::{OptimizerConfig, OptimizerKind, Rates};
pub use device::DeviceOptimizer;

use crate::{
    memory::Buffer,
    params::{Params, Spec},
    pool::Pool,
    real::{Real, simd},
};

/// Elements updated by one thread at a time: four streams of them fit the second-level cache.
const PIECE: usize = 16 << 10;

/// What a parameter is in the model: groups have rates of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Embedding,
    Head,
    Matrix,
    Vector,
}

impl Group {
    /// Names are nanoGPT's. A tied head is an embedding.
    pub fn of(spec: &Spec) -> Self {
        let is = |part: &str| spec.name.split('.').any(|name| name == part);
        match spec.shape.len() {
            _ if is("wte") || is("wpe") => Self::Embedding,
            _ if is("lm_head") => Self::Head,
            2 => Self::Matrix,
            _ => Self::Vector,
        }
    }
}

impl Rates {
    fn of(&self, group: Group) -> f64 {
        match group {
            Group::Embedding => self.embedding,
            Group::Head => self.head,
            Group::Matrix => self.matrix,
            Group::Vector => self.vector,
        }
    }
}

/// One variant of one parameter; a state that its rule does not keep is empty.
struct Tensor<'a, R> {
    shape: &'a [usize],
    values: &'a mut [R],
    grads: &'a [R],
    first: &'a mut [R],
    second: &'a mut [R],
}

/// One step's numbers for one parameter.
struct Update {
    /// Counted from 1.
    step: u64,
    lr: f64,
    /// Weight decay, 0 for vectors.
    decay: f64,
    /// Factor on the gradient.
    clip: f64,
}

/// What the updates of all variants remember, laid out as the parameters are.
pub struct Optimizer<R> {
    /// One for each variant, all of one kind that remembers the same.
    configs: Vec<OptimizerConfig>,
    /// AdamW's first moment; the momentum of the other kinds.
    first: Buffer<R>,
    /// AdamW's second moment.
    second: Buffer<R>,
    scratch: muon::Scratch<R>,
    average: Average<R>,
    /// How many times wider than its base model the model is.
    width: f64,
}

/// An exponential average of the weights; empty where none is kept.
struct Average<R> {
    /// One for each variant.
    decays: Vec<f64>,
    values: Buffer<R>,
}

impl<R: Real> Optimizer<R> {
    /// At step 0: all that is remembered is zero. Every variant has the same configuration.
    pub fn new(params: &Params<R>, config: &OptimizerConfig) -> Self {
        Self::packed(params, &vec![config.clone(); params.k()])
    }

    /// The same with a configuration for each variant: of one kind, which remembers as much.
    pub fn packed(params: &Params<R>, configs: &[OptimizerConfig]) -> Self {
        let config = &configs[0];
        let alike = |other: &OptimizerConfig| {
            other.kind == config.kind && other.n_states() == config.n_states()
        };
        assert!(configs.len() == params.k() && configs.iter().all(alike));
        let kept = |n: usize| match n < config.n_states() {
            true => Buffer::zeros(params.values.len()),
            false => Buffer::zeros(0),
        };
        let matrices = params.specs().iter().filter(|spec| {
            let rule = config.rule(Group::of(spec));
            rule == OptimizerKind::Muon
        });
        Self {
            configs: configs.iter().map(OptimizerConfig::resolved).collect(),
            first: kept(0),
            second: kept(1),
            scratch: muon::Scratch::new(matrices.map(|spec| &spec.shape[..])),
            average: Average {
                decays: Vec::new(),
                values: Buffer::zeros(0),
            },
            width: 1.0,
        }
    }

    /// The same for a model that is `width` times wider than its base model under muP, so that a
    /// step is felt as it is there. 1 changes nothing.
    pub fn widened(mut self, width: f64) -> Self {
        self.width = width;
        self
    }

    /// The same, keeping an average of the weights with a decay for each variant, as
    /// `torch.optim.swa_utils.AveragedModel` does: the first step's weights, then
    /// decay·average + (1 − decay)·weights after each step. Decays of 0 keep none: all of them are
    /// 0, or none is.
    pub fn averaging(mut self, params: &Params<R>, decays: &[f64]) -> Self {
        let kept = decays.iter().any(|decay| *decay > 0.0);
        assert!(decays.len() == params.k() && decays.iter().all(|d| (*d > 0.0) == kept));
        let len = if kept { params.values.len() } else { 0 };
        self.average = Average {
            decays: decays.to_vec(),
            values: Buffer::zeros(len),
        };
        self
    }

    /// One update of variant `k`. `step` counts from 1; gradients, whose global norm is
    /// `grad_norm`, are first scaled down to `max_grad_norm` if they are longer.
    pub fn step(
        &mut self,
        (params, k): (&mut Params<R>, usize),
        (step, lr): (u64, f64),
        grad_norm: f64,
        pool: &Pool,
    ) {
        let config = &self.configs[k];
        let clip = match config.max_grad_norm {
            max if max > 0.0 && grad_norm > max => max / (grad_norm + 1e-6),
            _ => 1.0,
        };
        for p in params.handles() {
            let (group, range) = (Group::of(params.spec(p)), params.range(p, k));
            let rule = config.rule(group);
            let widened = rule.at_width(group, self.width);
            let update = Update {
                step,
                lr: lr * config.rate(group) * widened,
                decay: match params.spec(p).decay {
                    // A step shrinks a weight by the same share at every width.
                    true => config.weight_decay / widened,
                    false => 0.0,
                },
                clip,
            };
            let (specs, values, grads) = params.split();
            let tensor = Tensor {
                shape: &specs[p.0].shape,
                values: &mut values[range.clone()],
                grads: &grads[range.clone()],
                first: part(&mut self.first, &range),
                second: part(&mut self.second, &range),
            };
            match rule {
                OptimizerKind::Adamw => adamw::update(tensor, config, &update, pool),
                OptimizerKind::Sgd => sgd::update(tensor, config, &update, pool),
                OptimizerKind::Lion => lion::update(tensor, config, &update, pool),
                OptimizerKind::Muon => {
                    muon::update(tensor, config, &update, (&mut self.scratch, pool));
                }
            }
        }
        self.average.update((params, k), step, pool);
    }

    /// Puts the averaged weights in the place of the weights, or puts them back; gives whether
    /// there are any.
    pub fn swap_average(&mut self, params: &mut Params<R>) -> bool {
        let kept = !self.average.values.is_empty();
        if kept {
            std::mem::swap(&mut params.values, &mut self.average.values);
        }
        kept
    }

    /// What it remembers of a parameter, by the prefix that a checkpoint gives it: arenas in which
    /// the parameter has its place.
    pub fn state(&self, spec: &Spec) -> Vec<(&'static str, &Buffer<R>)> {
        let names = self.configs[0].states(Group::of(spec)).iter().copied();
        let average = Some(("ema.", &self.average.values));
        let average = average.filter(|(_, values)| !values.is_empty());
        names
            .zip([&self.first, &self.second])
            .chain(average)
            .collect()
    }

    /// The same, to be filled from a checkpoint.
    pub fn state_mut(&mut self, spec: &Spec) -> Vec<(&'static str, &mut Buffer<R>)> {
        let names = self.configs[0].states(Group::of(spec)).iter().copied();
        let average = Some(("ema.", &mut self.average.values));
        let average = average.filter(|(_, values)| !values.is_empty());
        names
            .zip([&mut self.first, &mut self.second])
            .chain(average)
            .collect()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let arenas = self.first.len() + self.second.len() + self.average.values.len();
        (arenas + self.scratch.len()) * size_of::<R>()
    }
}

impl<R: Real> Average<R> {
    /// Takes in variant `k`'s weights after step `step`, counted from 1.
    fn update(&mut self, (params, k): (&Params<R>, usize), step: u64, pool: &Pool) {
        if self.values.is_empty() {
            return;
        }
        let keep = if step == 1 { 0.0 } else { self.decays[k] };
        let (keep, take) = (R::of(keep), R::of(1.0 - keep));
        for p in params.handles() {
            let range = params.range(p, k);
            let weights = &params.values[range.clone()];
            pool.pieces(&mut self.values[range], PIECE, |i, average| {
                let weights = &weights[i * PIECE..][..average.len()];
                simd(
                    #[inline(always)]
                    || {
                        for (a, w) in average.iter_mut().zip(weights) {
                            *a = keep.mul_add(*a, take * *w);
                        }
                    },
                );
            });
        }
    }
}

impl OptimizerKind {
    /// The factor on the rate of a group in a model that is `width` times wider than its base model
    /// (Yang et al. 2022, with the head's 1/width in the forward pass; rates and decay as in their
    /// package `mup`). A step of Adam or Lion has the same size for every element, and a matrix of
    /// the blocks adds as many of them up as the model is wide. A gradient of SGD is itself smaller
    /// in a wider model, but for those matrices. Muon's step has the same spectral norm at every
    /// width.
    fn at_width(self, group: Group, width: f64) -> f64 {
        match (self, group) {
            (Self::Adamw | Self::Lion, Group::Matrix) => 1.0 / width,
            (Self::Adamw | Self::Lion | Self::Muon, _) => 1.0,
            (Self::Sgd, Group::Matrix) => 1.0,
            (Self::Sgd, _) => width,
        }
    }
}

impl OptimizerConfig {
    /// What updates a group: the kind, but AdamW where Muon does not apply.
    fn rule(&self, group: Group) -> OptimizerKind {
        match (self.kind, group) {
            (OptimizerKind::Muon, Group::Matrix) => OptimizerKind::Muon,
            (OptimizerKind::Muon, _) => OptimizerKind::Adamw,
            (kind, _) => kind,
        }
    }

    /// The factor on the scheduled rate, whose peak is `lr`.
    fn rate(&self, group: Group) -> f64 {
        let own = match (self.kind, group) {
            (OptimizerKind::Muon, Group::Embedding | Group::Head | Group::Vector) => {
                self.adamw_lr() / self.lr
            }
            _ => 1.0,
        };
        own * self.rates.of(group)
    }

    /// Prefixes of what is remembered of a parameter of this group.
    fn states(&self, group: Group) -> &'static [&'static str] {
        match self.rule(group) {
            OptimizerKind::Adamw => &["m.", "v."],
            OptimizerKind::Lion => &["m."],
            OptimizerKind::Sgd if self.momentum() == 0.0 => &[],
            OptimizerKind::Sgd | OptimizerKind::Muon => &["momentum."],
        }
    }

    /// The most that is remembered of any parameter, in numbers of its own size.
    pub fn n_states(&self) -> usize {
        self.states(Group::Vector).len()
    }
}

/// A parameter's place in an arena, or nothing of no arena.
fn part<'a, R: Real>(arena: &'a mut Buffer<R>, range: &std::ops::Range<usize>) -> &'a mut [R] {
    match arena.is_empty() {
        true => &mut [],
        false => &mut arena[range.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Init, Spec};

    /// Two steps worked by hand from the formulas of the paper, in exact decimals.
    #[test]
    fn two_steps_agree_with_hand_computation_and_vectors_do_not_decay() {
        let specs = vec![
            Spec::new("w", &[1, 1], Init::Ones),
            Spec::new("b", &[1], Init::Ones),
        ];
        let mut params = Params::<f64>::new(1, specs);
        params.init(0, 0);
        let config = OptimizerConfig {
            betas: Some([0.9, 0.99]),
            eps: Some(0.0),
            weight_decay: 0.5,
            max_grad_norm: 0.0,
            ..Default::default()
        };
        let mut adamw = Optimizer::new(&params, &config);
        let pool = Pool::new(1);
        let handles: Vec<_> = params.handles().collect();
        for (step, g) in [(1, 2.0), (2, -1.0)] {
            for p in &handles {
                params.grad_mut(*p, 0)[0] = g;
            }
            adamw.step((&mut params, 0), (step, 0.1), 0.0, &pool);
        }
        // Step 1: m̂ = 2, v̂ = 4, so the step is −0.1. Step 2: m = .9·.2 − .1 = .08, m̂ = .08/.19,
        // v = .99·.04 + .01 = .0496, v̂ = .0496/.0199.
        let second = 0.1 * (0.08 / 0.19) / (0.0496f64 / 0.0199).sqrt();
        let b = 1.0 - 0.1 - second;
        let w = (1.0 * 0.95 - 0.1) * 0.95 - second;
        assert!((params.value(handles[1], 0)[0] - b).abs() < 1e-12);
        assert!((params.value(handles[0], 0)[0] - w).abs() < 1e-12);
    }

    fn after_one_step(config: &OptimizerConfig) -> Vec<f64> {
        after_one_step_at(config, 1.0)
    }

    /// Weights 1 and gradients 1 everywhere: what one step of size 0.1 makes of each group in a
    /// model that is `width` times wider than its base.
    fn after_one_step_at(config: &OptimizerConfig, width: f64) -> Vec<f64> {
        let spec = |name, shape: &[usize]| Spec::new(name, shape, Init::Ones);
        let specs = vec![
            spec("transformer.wte.weight", &[3, 2]),
            spec("lm_head.weight", &[3, 2]),
            spec("transformer.h.0.attn.c_proj.weight", &[2, 2]),
            spec("transformer.h.0.ln_1.weight", &[2]),
        ];
        let mut params = Params::<f64>::new(1, specs);
        params.init(0, 0);
        params.grads.fill(1.0);
        let mut optimizer = Optimizer::new(&params, config).widened(width);
        optimizer.step((&mut params, 0), (1, 0.1), 0.0, &Pool::new(1));
        let handles = params.handles();
        handles.map(|p| params.value(p, 0)[0]).collect()
    }

    #[test]
    fn every_group_moves_at_its_own_rate() {
        let config = OptimizerConfig {
            kind: OptimizerKind::Sgd,
            weight_decay: 0.0,
            max_grad_norm: 0.0,
            rates: Rates {
                embedding: 0.5,
                head: 2.0,
                matrix: 3.0,
                vector: 0.0,
            },
            ..Default::default()
        };
        let expected = [1.0 - 0.05, 1.0 - 0.2, 1.0 - 0.3, 1.0];
        for (value, expected) in after_one_step(&config).into_iter().zip(expected) {
            assert!((value - expected).abs() < 1e-12, "{value}, not {expected}");
        }
    }

    /// As in the package `mup`: of Adam the matrices' rate is divided by the width, of SGD the
    /// others' are multiplied by it; what decay takes off is the same at every width.
    #[test]
    fn in_a_wider_model_each_kind_scales_the_rates_that_are_its_own() {
        let moved = |kind, weight_decay| {
            let config = OptimizerConfig {
                kind,
                weight_decay,
                eps: (kind == OptimizerKind::Adamw).then_some(0.0),
                max_grad_norm: 0.0,
                ..Default::default()
            };
            let values = after_one_step_at(&config, 4.0);
            values.iter().map(|value| 1.0 - value).collect::<Vec<_>>()
        };
        let agree = |moved: Vec<f64>, expected: [f64; 4]| {
            for (moved, expected) in moved.iter().zip(expected) {
                assert!((moved - expected).abs() < 1e-12, "{moved}, not {expected}");
            }
        };
        // Embedding, head, matrix, vector: a step of 0.1 is 0.1 of each at the base width.
        agree(moved(OptimizerKind::Adamw, 0.0), [0.1, 0.1, 0.025, 0.1]);
        agree(moved(OptimizerKind::Lion, 0.0), [0.1, 0.1, 0.025, 0.1]);
        agree(moved(OptimizerKind::Sgd, 0.0), [0.4, 0.4, 0.1, 0.4]);
        // Decay of 0.5 takes 0.05 more, and nothing off a vector.
        agree(moved(OptimizerKind::Adamw, 0.5), [0.15, 0.15, 0.075, 0.1]);
        agree(moved(OptimizerKind::Sgd, 0.5), [0.45, 0.45, 0.15, 0.4]);
    }

    #[test]
    fn beside_muon_all_but_matrices_take_steps_of_adamw_at_its_rate() {
        let config = OptimizerConfig {
            kind: OptimizerKind::Muon,
            lr: 0.2,
            adamw_lr: Some(0.02),
            eps: Some(0.0),
            weight_decay: 0.0,
            max_grad_norm: 0.0,
            ..Default::default()
        };
        let values = after_one_step(&config);
        // AdamW's first step is the rate itself: a tenth of the scheduled 0.1.
        for idx in [0, 1, 3] {
            assert!((values[idx] - 0.99).abs() < 1e-12, "{}", values[idx]);
        }
        // All ones is of rank one, with singular value 1 once it is divided by its norm; the
        // quintic takes that to s, and each of the four elements is s/2.
        let s = (0..5).fold(1.0f64, |x, _| {
            3.4445 * x - 4.7750 * x.powi(3) + 2.0315 * x.powi(5)
        });
        assert!((values[2] - (1.0 - 0.1 * s / 2.0)).abs() < 1e-12);
    }
}
