//! Optimizers against PyTorch's numbers (`tests/fixtures/make_optim.py` says how they were made).

use safetensors::SafeTensors;
use serde_json::Value as Json;
use std::{collections::BTreeMap, path::Path};
use windtunnel::{
    optim::{Optimizer, OptimizerConfig},
    params::{Init, Params, Spec},
    pool::Pool,
};

/// Relative, by tensor norm. PyTorch in f32 is within 2e-7 of itself in f64 on the same numbers
/// (`f32_from_f64_relative` in the fixture).
const TOLERANCE: f64 = 1e-5;

struct Fixture {
    about: Json,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

fn fixture() -> Fixture {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let bytes = std::fs::read(dir.join("optim.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let numbers = view.data().chunks_exact(4);
        let numbers = numbers.map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        (name, (view.shape().to_vec(), numbers.collect()))
    });
    Fixture {
        about: serde_json::from_slice(&std::fs::read(dir.join("optim.json")).unwrap()).unwrap(),
        tensors: tensors.collect(),
    }
}

const NAMES: [&str; 4] = [
    "transformer.wte.weight",
    "transformer.h.0.attn.c_attn.weight",
    "transformer.h.0.mlp.c_proj.weight",
    "transformer.ln_f.weight",
];

impl Fixture {
    /// The settings of a case, at a peak that divides nothing evenly.
    fn config(&self, label: &str) -> OptimizerConfig {
        let case = &self.about["cases"][label];
        let lr = 0.013;
        OptimizerConfig {
            kind: serde_json::from_value(case["kind"].clone()).unwrap(),
            lr,
            betas: serde_json::from_value(case["betas"].clone()).unwrap(),
            momentum: case["momentum"].as_f64(),
            nesterov: case["nesterov"].as_bool(),
            adamw_lr: case["adamw_factor"].as_f64().map(|factor| factor * lr),
            weight_decay: self.about["weight_decay"].as_f64().unwrap(),
            max_grad_norm: 0.0,
            ..Default::default()
        }
    }

    /// Takes ten steps with the fixture's gradients in variant 1 of 2.
    fn train(&self, optimizer: impl Fn(&Params<f32>) -> Optimizer<f32>, threads: usize) -> Trained {
        let spec = |name: &&str| Spec::new(*name, &self.tensors[*name].0, Init::Zeros);
        let mut params = Params::<f32>::new(2, NAMES.iter().map(spec).collect());
        let handles: Vec<_> = params.handles().collect();
        for (p, name) in handles.iter().zip(NAMES) {
            let initial = &self.tensors[name].1;
            params.value_mut(*p, 1).copy_from_slice(initial);
        }
        let mut optimizer = optimizer(&params);
        let pool = Pool::new(threads);
        for step in 0..10 {
            for (p, name) in handles.iter().zip(NAMES) {
                let grad = &self.tensors[&format!("grad.{step}.{name}")].1;
                params.grad_mut(*p, 1).copy_from_slice(grad);
            }
            let lr = self.about["lr_per_step"][step].as_f64().unwrap();
            optimizer.step((&mut params, 1), (step as u64 + 1, lr), 1.0, &pool);
        }
        Trained { params, optimizer }
    }

    fn check(&self, label: &str, trained: &Trained) {
        for p in trained.params.handles() {
            let name = &trained.params.spec(p).name;
            let theirs = &self.tensors[&format!("{label}.{name}")].1;
            relative(
                &format!("{label}: {name}"),
                trained.params.value(p, 1),
                theirs,
            );
            let other = trained.params.value(p, 0);
            assert!(
                other.iter().all(|x| *x == 0.0),
                "{label}: {name} of 0 moved"
            );
        }
    }
}

struct Trained {
    params: Params<f32>,
    optimizer: Optimizer<f32>,
}

fn relative(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut ours.iter().zip(theirs).map(|(a, b)| f64::from(a - b)));
    let scale = norm(&mut theirs.iter().map(|x| f64::from(*x)));
    assert!(scale > 0.0, "{what}: the fixture holds zeros only");
    assert!(error <= TOLERANCE * scale, "{what}: {:e}", error / scale);
}

#[test]
fn every_kind_takes_the_ten_steps_that_pytorch_takes() {
    let fixture = fixture();
    let cases = fixture.about["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 7);
    for label in cases.keys() {
        let config = fixture.config(label);
        let trained = fixture.train(|params| Optimizer::new(params, &config), 1);
        fixture.check(label, &trained);
    }
}

#[test]
fn the_average_of_the_weights_is_the_one_that_pytorch_keeps() {
    let fixture = fixture();
    let (config, decay) = (
        fixture.config("adamw"),
        fixture.about["ema"].as_f64().unwrap(),
    );
    let average =
        |params: &Params<f32>| Optimizer::new(params, &config).averaging(params, &[decay; 2]);
    let mut trained = fixture.train(average, 2);
    // The weights themselves are none the wiser.
    fixture.check("adamw", &trained);
    assert!(trained.optimizer.swap_average(&mut trained.params));
    fixture.check("ema", &trained);
    assert!(trained.optimizer.swap_average(&mut trained.params));
    fixture.check("adamw", &trained);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let fixture = fixture();
    for label in fixture.about["cases"].as_object().unwrap().keys() {
        let config = fixture.config(label);
        let values = |threads| {
            let trained = fixture.train(|params| Optimizer::new(params, &config), threads);
            trained.params.values.to_vec()
        };
        assert!(values(1) == values(3), "{label}");
    }
}
