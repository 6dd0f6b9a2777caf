//! Whole models on the emulated device against the CPU: losses, logits, and the gradient of every
//! parameter.

use crate::{compare::close, device::Device};
use std::sync::Arc;
use windtunnel::{
    device::{Backend, Precision},
    model::{Gpt, GptConfig, Parametrization, Positions},
    ops::{activation::Activation, cross_entropy::IGNORE, norm::NormKind},
    params::{Init, Params, Spec},
    pool::Pool,
    rng::{self, Rng},
    tape::{Mode, Tape},
};

/// No multiple of anything.
const VOCAB: usize = 67;
const T: usize = 11;
/// Sequences of each lane.
const B: usize = 2;

/// GPT-2's shape and Llama's, and what neither has.
fn configs() -> Vec<(&'static str, GptConfig)> {
    let gpt2 = GptConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 32,
        block_size: T,
        bias: true,
        activation: Activation::GeluTanh,
        ..Default::default()
    };
    let llama = GptConfig {
        n_head: 4,
        n_kv_head: 2,
        bias: false,
        norm: NormKind::Rms,
        activation: Activation::Swiglu,
        n_inner: 50,
        positions: Positions::Rotary,
        tied: false,
        ..gpt2.clone()
    };
    let with = |config: &GptConfig, change: fn(&mut GptConfig)| {
        let mut config = config.clone();
        config.n_layer = 1;
        change(&mut config);
        config
    };
    vec![
        ("dropout", with(&gpt2, |c| c.dropout = 0.2)),
        (
            "tamed",
            with(&gpt2, |c| {
                c.logit_cap = 4.0;
                c.z_loss = 0.02;
                c.activation = Activation::Relu2;
                c.window = 4;
            }),
        ),
        (
            "normed heads",
            with(&llama, |c| {
                c.qk_norm = true;
                c.activation = Activation::Gelu;
                c.dropout = 0.1;
                c.n_kv_head = 1;
            }),
        ),
        (
            "no positions, no MLP, untied, muP",
            with(&gpt2, |c| {
                c.positions = Positions::None;
                c.attention_only = true;
                c.tied = false;
                c.bias = false;
                c.init = Parametrization::Mup;
                c.base_width = Some(16);
            }),
        ),
        ("gpt-2", gpt2),
        ("llama", llama),
    ]
}

/// A model with its batch, the same for every tape.
struct Study {
    gpt: Gpt,
    specs: Vec<Spec>,
    k: usize,
    tokens: Arc<[u32]>,
    targets: Vec<u32>,
    denominators: Vec<f64>,
}

/// What a training pass gives.
#[derive(Debug, PartialEq)]
struct Found {
    losses: Vec<f64>,
    grads: Vec<f32>,
}

impl Study {
    fn new(config: &GptConfig, k: usize) -> Self {
        let (gpt, mut specs) = Gpt::new(config, VOCAB);
        // Larger than the real start, so that every path carries a gradient worth measuring.
        for spec in &mut specs {
            spec.init = Init::Normal(0.2);
        }
        let mut rng = Rng::named(3, "batch");
        let mut ids = || -> Vec<u32> {
            let id = |_| (rng.normal().abs() * 1e4) as u32 % VOCAB as u32;
            (0..k * B * T).map(id).collect()
        };
        let (tokens, mut targets) = (ids().into(), ids());
        targets.iter_mut().step_by(6).for_each(|t| *t = IGNORE);
        Self {
            gpt,
            specs,
            k,
            tokens,
            targets,
            denominators: (0..k).map(|k| (B * T - 4 - k) as f64).collect(),
        }
    }

    /// The same for one of the lanes alone.
    fn alone(&self, k: usize) -> Self {
        let rows = k * B * T..(k + 1) * B * T;
        Self {
            gpt: self.gpt.clone(),
            specs: self.specs.clone(),
            k: 1,
            tokens: self.tokens[rows.clone()].into(),
            targets: self.targets[rows].to_vec(),
            denominators: vec![self.denominators[k]],
        }
    }

    /// Parameters of lanes that are `first` and on among all.
    fn params(&self, first: usize) -> Params<f32> {
        let mut params = Params::new(self.k, self.specs.clone());
        (0..self.k).for_each(|k| params.init(k, (first + k) as u64));
        params
    }

    fn positioned(&self, mut tape: Tape<f32>, first: usize) -> Tape<f32> {
        let lanes = first as u64..(first + self.k) as u64;
        tape.position.keys = lanes.map(|k| rng::key(k, "dropout")).collect();
        tape.position.step = 9;
        tape
    }

    fn cpu(&self) -> Tape<f32> {
        let pool = Arc::new(Pool::new(1));
        self.positioned(Tape::new(self.params(0), Backend::Fused, pool), 0)
    }

    fn device(&self, gpu: &Device, precision: Precision, first: usize) -> Tape<f32> {
        let tape = Tape::on_device(self.params(first), &gpu.gpu(), precision).unwrap();
        self.positioned(tape, first)
    }

    /// Losses and gradients of the sequences in passes of `rows_per_pass`.
    fn train(&self, tape: &mut Tape<f32>, rows_per_pass: usize) -> Found {
        tape.zero_grads().unwrap();
        tape.clear_losses().unwrap();
        for first_row in (0..B).step_by(rows_per_pass) {
            tape.position.first_row = first_row;
            let of_pass = |ids: &[u32]| -> Vec<u32> {
                let lanes = ids.chunks_exact(B * T);
                let part = |lane: &[u32]| lane[first_row * T..][..rows_per_pass * T].to_vec();
                lanes.flat_map(part).collect()
            };
            let (tokens, targets) = (of_pass(&self.tokens).into(), of_pass(&self.targets));
            tape.begin(Mode::Train);
            let pass = (&tokens, &targets[..]);
            self.gpt
                .add_loss(tape, pass, T, &self.denominators)
                .unwrap();
            tape.backward().unwrap();
        }
        tape.download_grads().unwrap();
        Found {
            losses: tape.take_losses().unwrap(),
            grads: tape.params.grads.to_vec(),
        }
    }

    fn logits(&self, tape: &mut Tape<f32>) -> Vec<f32> {
        tape.begin(Mode::Eval);
        let logits = self.gpt.logits(tape, &self.tokens, T).unwrap();
        tape.to_host(logits).unwrap()
    }
}

/// √Σ(a − b)² over √Σb²
fn relative(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    let size: f64 = b.iter().copied().map(square).sum();
    (apart / size).sqrt()
}

/// Losses and every parameter's gradient, each measured by its own size.
fn compare(name: &str, params: &Params<f32>, (found, expected): (&Found, &Found), tolerance: f64) {
    for (k, (found, expected)) in found.losses.iter().zip(&expected.losses).enumerate() {
        let apart = (found - expected).abs();
        assert!(
            apart <= tolerance * expected,
            "{name}, loss {k}: {found} {expected}"
        );
    }
    for p in params.handles() {
        for k in 0..params.k() {
            let range = params.range(p, k);
            let apart = relative(&found.grads[range.clone()], &expected.grads[range]);
            let spec = &params.spec(p).name;
            assert!(
                apart <= tolerance,
                "{name}, lane {k}, gradient of {spec}: {apart:e}"
            );
        }
    }
}

#[test]
fn losses_logits_and_every_gradient_are_the_cpus_in_f32() {
    for (name, config) in configs() {
        for k in [1, 3] {
            let study = Study::new(&config, k);
            let mut cpu = study.cpu();
            let mut device = study.device(&Device::new(), Precision::F32, 0);
            let expected = study.train(&mut cpu, B);
            let found = study.train(&mut device, B);
            // Some hundred roundings of 2⁻²⁴ in a row, in sums that are ordered otherwise.
            compare(name, &cpu.params, (&found, &expected), 1e-5);
            let logits = study.logits(&mut device);
            close(
                &format!("{name}, logits"),
                &logits,
                &study.logits(&mut cpu),
                1e-5,
            );
        }
    }
}

/// A number of bf16 has eight bits: it is off by 2⁻⁹ of itself at most, by about 2⁻¹⁰ on average. Some
/// thirty activations and as many gradients in a row are rounded so, with errors that are independent:
/// together √60·2⁻¹⁰, or 0.8%. The limit is four times that.
const BF16: f64 = 0.03;

#[test]
fn losses_logits_and_every_gradient_are_near_the_cpus_in_bf16() {
    for (name, config) in configs() {
        let study = Study::new(&config, 3);
        let mut cpu = study.cpu();
        let mut device = study.device(&Device::new(), Precision::Bf16, 0);
        let expected = study.train(&mut cpu, B);
        let found = study.train(&mut device, B);
        compare(name, &cpu.params, (&found, &expected), BF16);
        let apart = relative(&study.logits(&mut device), &study.logits(&mut cpu));
        assert!(apart <= BF16, "{name}, logits: {apart:e}");
    }
}

#[test]
fn three_lanes_packed_are_three_lanes_alone_and_threads_may_run_in_any_order() {
    for (name, config) in [&configs()[0], &configs()[2]] {
        for (precision, limit) in [(Precision::F32, 1e-5), (Precision::Bf16, BF16)] {
            let packed = Study::new(config, 3);
            let gpu = Device::new();
            // A GPU may multiply three matrices by another algorithm than one.
            let limit = if gpu.is_emulated() { 0.0 } else { limit };
            let mut tape = packed.device(&gpu, precision, 0);
            let together = packed.train(&mut tape, B);
            for k in 0..3 {
                gpu.set_order(k as u64 + 1);
                let alone = packed.alone(k);
                let mut single = alone.device(&gpu, precision, k);
                let found = alone.train(&mut single, B);
                // The lane's share, laid out as that of a run alone.
                let mut lane = Found {
                    losses: vec![together.losses[k]],
                    grads: vec![0.0; found.grads.len()],
                };
                for p in single.params.handles() {
                    let of_pack = &together.grads[tape.params.range(p, k)];
                    lane.grads[single.params.range(p, 0)].copy_from_slice(of_pack);
                }
                compare(name, &single.params, (&found, &lane), limit);
            }
        }
    }
}

#[test]
fn a_pass_for_each_sequence_adds_up_to_one_of_all() {
    for (name, config) in configs() {
        let study = Study::new(&config, 3);
        let gpu = Device::new();
        let mut tape = study.device(&gpu, Precision::F32, 0);
        let whole = study.train(&mut tape, B);
        let parts = study.train(&mut tape, 1);
        compare(name, &tape.params, (&parts, &whole), 1e-5);
    }
}

#[test]
fn from_the_second_pass_on_nothing_is_allocated() {
    for (name, config) in configs() {
        let study = Study::new(&config, 3);
        let gpu = Device::new();
        let mut tape = study.device(&gpu, Precision::Bf16, 0);
        let first = study.train(&mut tape, 1);
        gpu.mark();
        let second = study.train(&mut tape, 1);
        assert_eq!(first, second, "{name}");
        assert_eq!(gpu.counts().allocations, 0, "{name}");
        // Losses and gradients, which the test asks for.
        assert_eq!(gpu.counts().downloads, 2, "{name}");
    }
}
