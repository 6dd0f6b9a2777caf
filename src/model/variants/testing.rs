//! What every variant is held to, in f64 on a small model.

use super::Variant;
use crate::{
    device::Backend,
    model::{Gpt, GptConfig},
    params::{Init, Params, Spec},
    pool::Pool,
    tape::{Mode, Tape},
};
use candle_core::Device;
use std::sync::Arc;

const K: usize = 2;
const T: usize = 6;
const VOCAB: usize = 7;
/// Step of the central differences, and the largest error of a derivative relative to the largest
/// of its tensor (or to 1): differences of this step are good to about 1e-9 here.
const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-7;

struct Small {
    gpt: Gpt,
    specs: Vec<Spec>,
    tokens: Arc<[u32]>,
    targets: Vec<u32>,
}

impl Small {
    fn new(name: &str) -> Self {
        let config = GptConfig {
            n_layer: 2,
            n_head: 2,
            n_kv_head: 1,
            n_embd: 8,
            block_size: T,
            variant: Some(Variant::try_from(name.to_string()).unwrap()),
            ..Default::default()
        };
        let (gpt, mut specs) = Gpt::new(&config, VOCAB);
        let counted: usize = specs.iter().map(Spec::len).sum();
        assert_eq!(config.n_params(VOCAB), counted as u64);
        // Larger than the real start, so that every path carries a gradient worth measuring.
        for spec in &mut specs {
            spec.init = Init::Normal(0.4);
        }
        let rows = K * 2 * T;
        Self {
            gpt,
            specs,
            // Every token occurs, so that every row of a table is looked up.
            tokens: (0..rows as u32).map(|i| i * 5 % VOCAB as u32).collect(),
            targets: (0..rows as u32).map(|i| i * 3 % VOCAB as u32).collect(),
        }
    }

    fn tape(&self, backend: Backend, seeds: &[u64]) -> Tape<f64> {
        let mut params = Params::new(seeds.len(), self.specs.clone());
        for (k, seed) in seeds.iter().enumerate() {
            params.init(k, *seed);
        }
        Tape::new(params, backend, Arc::new(Pool::new(2)))
    }

    fn loss(&self, tape: &mut Tape<f64>) -> Vec<f64> {
        tape.begin(Mode::Train);
        let pass = (&self.tokens, &self.targets[..]);
        self.gpt.loss(tape, pass, T, 12.0).unwrap()
    }

    fn gradients(&self, backend: Backend) -> (f64, Vec<f64>, Tape<f64>) {
        let mut tape = self.tape(backend, &[1, 2]);
        let loss = self.loss(&mut tape).iter().sum();
        tape.backward().unwrap();
        (loss, tape.params.grads.to_vec(), tape)
    }
}

/// Fails unless the variant's gradients are central differences, equal on both backends, there for
/// each of its parameters; packed equals alone; and the future does not reach the past.
pub(super) fn holds(name: &str) {
    let small = Small::new(name);
    gradients_are_differences(&small);
    backends_agree(&small);
    packed_is_alone(&small);
    the_past_stays(&small);
}

fn gradients_are_differences(small: &Small) {
    let (_, analytic, mut tape) = small.gradients(Backend::Fused);
    let handles: Vec<_> = tape.params.handles().collect();
    for p in handles {
        let spec = tape.params.spec(p).clone();
        // All of what is the variant's own, and a part of the rest.
        let own = small.gpt.own.contains(&p);
        let stride = if own { 1 } else { 7 };
        let (mut worst, mut scale) = (0.0f64, 0.0f64);
        let ranges = (0..K).map(|k| tape.params.range(p, k));
        let elements: Vec<usize> = ranges.flat_map(|range| range.step_by(stride)).collect();
        for i in elements {
            let mut probe = |shift: f64| {
                let was = tape.params.values[i];
                tape.params.values[i] = was + shift;
                let loss: f64 = small.loss(&mut tape).iter().sum();
                tape.params.values[i] = was;
                loss
            };
            let numeric = (probe(STEP) - probe(-STEP)) / (2.0 * STEP);
            worst = worst.max((numeric - analytic[i]).abs());
            scale = scale.max(numeric.abs());
        }
        let name = &spec.name;
        assert!(scale > 1e-5, "{name} does not matter to the loss");
        assert!(
            worst <= TOLERANCE * scale.max(1.0),
            "{name}: off by {worst:e}"
        );
    }
}

fn backends_agree(small: &Small) {
    let (fused_loss, fused, _) = small.gradients(Backend::Fused);
    let (composed_loss, composed, _) = small.gradients(Backend::Composed(Device::Cpu));
    assert!((fused_loss - composed_loss).abs() < 1e-12);
    for (a, b) in fused.iter().zip(&composed) {
        assert!((a - b).abs() < 1e-11, "{a} fused, {b} composed");
    }
}

fn packed_is_alone(small: &Small) {
    let (_, _, packed) = small.gradients(Backend::Fused);
    for k in 0..K {
        let mut alone = small.tape(Backend::Fused, &[1 + k as u64]);
        let half = small.tokens.len() / K;
        let tokens: Arc<[u32]> = small.tokens[k * half..][..half].into();
        alone.begin(Mode::Train);
        let pass = (&tokens, &small.targets[k * half..][..half]);
        small.gpt.loss(&mut alone, pass, T, 12.0).unwrap();
        alone.backward().unwrap();
        for p in alone.params.handles() {
            let pairs = alone.params.grad(p, 0).iter().zip(packed.params.grad(p, k));
            for (a, b) in pairs {
                assert!((a - b).abs() < 1e-12, "{}", alone.params.spec(p).name);
            }
        }
    }
}

fn the_past_stays(small: &Small) {
    let mut tape = small.tape(Backend::Fused, &[1]);
    let mut logits = |changed: Option<usize>| {
        let mut tokens = small.tokens[..T].to_vec();
        if let Some(at) = changed {
            tokens[at] = (tokens[at] + 1) % VOCAB as u32;
        }
        tape.begin(Mode::Eval);
        let y = small.gpt.logits(&mut tape, &tokens.into(), T).unwrap();
        tape.to_host(y).unwrap()
    };
    let before = logits(None);
    for at in 0..T {
        let (after, past) = (logits(Some(at)), at * VOCAB);
        assert_eq!(before[..past], after[..past], "token {at} reaches the past");
        assert_ne!(before[past..], after[past..], "token {at} is not seen");
    }
}
