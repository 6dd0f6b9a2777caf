//! Lanes in training, on the host and on a device, without a model: weights, and gradients that are drawn.

use crate::{compare::round, emulated::numbers};
use std::sync::Arc;
use windtunnel::{
    device::{
        Precision,
        gpu::{Dtype, Gpu},
    },
    memory::Buffer,
    ops::{
        cuda::{OnDevice, step::Seen},
        grad_norm::grad_norm,
    },
    optim::{DeviceOptimizer, Optimizer, OptimizerConfig, OptimizerKind, Rates},
    params::{Init, Params, Spec},
    pool::Pool,
    rng::Rng,
};

/// Of every group, with lanes that begin where no load of four can, and one that is more than a chunk.
pub fn specs() -> Vec<Spec> {
    let spec = |name: &str, shape: &[usize]| Spec::new(name, shape, Init::Normal(0.5));
    vec![
        spec("transformer.wte.weight", &[7, 13]),
        spec("lm_head.weight", &[5, 13]),
        spec("transformer.h.0.attn.c_attn.weight", &[39, 13]),
        spec("transformer.h.0.mlp.c_fc.weight", &[70, 64]),
        spec("transformer.h.0.mlp.c_proj.weight", &[13, 52]),
        spec("transformer.h.1.attn.c_attn.weight", &[39, 13]),
        spec("transformer.h.1.mlp.c_proj.weight", &[13, 52]),
        spec("transformer.ln_f.weight", &[13]),
    ]
}

/// Lane `k`'s: no two alike in any number that may differ.
pub fn config(kind: OptimizerKind, k: usize) -> OptimizerConfig {
    let [beta1, beta2] = [[0.9, 0.95], [0.8, 0.999], [0.0, 0.5]][k];
    OptimizerConfig {
        kind,
        lr: [0.01, 0.03, 0.002][k],
        betas: Some([beta1, beta2]),
        eps: Some([1e-8, 1e-3, 1e-6][k]),
        momentum: Some([0.9, 0.5, 0.95][k]),
        nesterov: Some(k != 1),
        adamw_lr: Some([0.004, 0.03, 0.001][k]),
        weight_decay: [0.1, 0.0, 0.5][k],
        // Never reached, always reached, off.
        max_grad_norm: [1e6, 0.7, 0.0][k],
        rates: Rates {
            embedding: [1.0, 0.5, 2.0][k],
            head: [1.0, 3.0, 0.5][k],
            matrix: [1.0, 0.25, 1.5][k],
            vector: [1.0, 0.0, 0.7][k],
        },
    }
    .resolved()
}

/// Lanes in training, on the host and on a device.
pub struct Lanes {
    configs: Vec<OptimizerConfig>,
    /// Of the lanes: what they draw is theirs in any pack.
    pub seeds: Vec<u64>,
    pub params: Params<f32>,
    pub host: Optimizer<f32>,
    pub gpu: Arc<dyn Gpu>,
    pub device: OnDevice,
    pub optimizer: DeviceOptimizer,
}

/// Everything that a device holds of the lanes.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    pub values: Vec<f32>,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    pub average: Vec<f32>,
}

impl Lanes {
    /// Lanes of these numbers, with averages where the decays are not 0.
    pub fn new(
        gpu: &Arc<dyn Gpu>,
        (configs, seeds): (&[OptimizerConfig], &[u64]),
        precision: Precision,
        decays: &[f64],
    ) -> Self {
        let mut params = Params::new(configs.len(), specs());
        for (k, seed) in seeds.iter().enumerate() {
            params.init(k, *seed);
        }
        let host = Optimizer::packed(&params, configs).widened(2.0);
        let host = host.averaging(&params, decays);
        let device = OnDevice::new(gpu, &params, precision).unwrap();
        device.upload_values(&params.values).unwrap();
        Self {
            optimizer: DeviceOptimizer::new(&device, &params, &host).unwrap(),
            configs: configs.to_vec(),
            seeds: seeds.to_vec(),
            params,
            host,
            gpu: gpu.clone(),
            device,
        }
    }

    /// These of [`config`]'s lanes, with averages.
    pub fn of_kind(
        gpu: &Arc<dyn Gpu>,
        kind: OptimizerKind,
        lanes: &[usize],
        precision: Precision,
    ) -> Self {
        let configs: Vec<_> = lanes.iter().map(|k| config(kind, *k)).collect();
        let seeds: Vec<_> = lanes.iter().map(|k| *k as u64).collect();
        let decays: Vec<_> = lanes.iter().map(|k| [0.9, 0.999, 0.5][*k]).collect();
        Self::new(gpu, (&configs, &seeds), precision, &decays)
    }

    /// A step's scheduled rate in lane `k`.
    pub fn lr(&self, k: usize, step: u64) -> f64 {
        self.configs[k].lr * (1.0 - 0.1 * step as f64)
    }

    pub fn loss(&self, k: usize, step: u64) -> f64 {
        3.0 + self.seeds[k] as f64 + 0.125 * step as f64
    }

    /// Draws a step's gradients into the host's arena.
    pub fn draw(&mut self, step: u64) {
        let handles: Vec<_> = self.params.handles().collect();
        for (k, seed) in self.seeds.iter().enumerate() {
            let mut rng = Rng::named(*seed, &format!("gradients of step {step}"));
            for p in &handles {
                let grads = self.params.grad_mut(*p, k);
                grads.fill_with(|| 0.1 * rng.normal() as f32);
            }
        }
    }

    /// Gradients, losses and lanes of a step, to the device.
    pub fn send(&mut self, step: u64) {
        let losses = (0..self.seeds.len()).map(|k| self.loss(k, step));
        let losses: Vec<u8> = losses.flat_map(f64::to_ne_bytes).collect();
        let at = self.device.losses.at();
        self.gpu.upload(at, &losses).unwrap();
        self.device
            .upload(&self.device.grads, &self.params.grads)
            .unwrap();
        let rates: Vec<f64> = (0..self.seeds.len()).map(|k| self.lr(k, step)).collect();
        let optimizer = &self.optimizer;
        let set = |k: usize, lane: &mut _| optimizer.set_lane(k, lane, (step, rates[k]));
        self.device.set_lanes(set).unwrap();
    }

    /// One step on the device alone.
    pub fn step(&mut self, step: u64) {
        self.draw(step);
        self.send(step);
        self.optimizer.step(&self.device).unwrap();
    }

    /// The same step on the host; gives the norms.
    pub fn step_on_host(&mut self, step: u64) -> Vec<f64> {
        let pool = Pool::new(1);
        let norms = grad_norm(&self.params, &pool);
        for (k, norm) in norms.iter().enumerate() {
            let lr = self.lr(k, step);
            self.host
                .step((&mut self.params, k), (step, lr), *norm, &pool);
        }
        norms
    }

    /// What the host holds.
    pub fn on_host(&self) -> Held {
        held(&self.params, &self.host)
    }

    /// What the device holds.
    pub fn held(&self) -> Held {
        let mut params = Params::new(self.seeds.len(), specs());
        self.device
            .download(&self.device.values, &mut params.values)
            .unwrap();
        let mut host = Optimizer::packed(&params, &self.configs);
        if !self.on_host().average.is_empty() {
            host = host.averaging(&params, &vec![0.5; self.seeds.len()]);
        }
        self.optimizer.download(&self.device, &mut host).unwrap();
        held(&params, &host)
    }

    /// What the device holds of lane `k`, parameter after parameter.
    pub fn held_of(&self, k: usize) -> Held {
        let all = self.held();
        let lane = |arena: &Vec<f32>| {
            let ranges = self.params.handles().map(|p| self.params.range(p, k));
            let there = ranges.filter(|_| !arena.is_empty());
            there.flat_map(|range| arena[range].to_vec()).collect()
        };
        Held {
            values: lane(&all.values),
            first: lane(&all.first),
            second: lane(&all.second),
            average: lane(&all.average),
        }
    }

    pub fn seen(&self, step: u64) -> Vec<Seen> {
        self.optimizer.seen(step..=step).unwrap().concat()
    }

    /// The bf16 copy of the weights is the weights, rounded.
    pub fn assert_shadow(&self) {
        let Some(shadow) = &self.device.shadow else {
            return;
        };
        let mut bytes = vec![0; shadow.bytes()];
        self.gpu.download(shadow.at(), &mut bytes).unwrap();
        let rounded: Vec<f32> = self.held().values.iter().map(|w| round(*w)).collect();
        assert!(
            numbers::of_bytes(Dtype::Bf16, &bytes) == rounded,
            "the weights' copy"
        );
    }
}

fn held(params: &Params<f32>, optimizer: &Optimizer<f32>) -> Held {
    let states = params.specs().iter().flat_map(|spec| optimizer.state(spec));
    let states: Vec<(&str, &Buffer<f32>)> = states.collect();
    let arena = |names: &[&str]| {
        let found = states.iter().find(|(name, _)| names.contains(name));
        found.map_or(Vec::new(), |(_, arena)| arena.to_vec())
    };
    Held {
        values: params.values.to_vec(),
        first: arena(&["m.", "momentum."]),
        second: arena(&["v."]),
        average: arena(&["ema."]),
    }
}
