//! Ours against PyTorch's numbers (`make_gpt2.py` and `make_llama.py` in `tests/fixtures` say how
//! they were made).

use safetensors::SafeTensors;
use serde_json::Value as Json;
use std::{collections::BTreeMap, path::Path, sync::Arc};
use windtunnel::{
    device::Backend,
    model::{Gpt, GptConfig, Positions},
    ops::{activation::Activation, grad_norm::grad_norm, norm::NormKind},
    optim::{Optimizer, OptimizerConfig},
    params::Params,
    pool::Pool,
    tape::{Mode, Tape},
};

/// Relative, by tensor norm. PyTorch in f32 is within 9e-7 of itself in f64 on the same numbers
/// (`f32_from_f64_relative` in the fixtures).
const TOLERANCE: f64 = 1e-4;

struct Fixture {
    json: Json,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    ids: BTreeMap<String, Vec<u32>>,
}

fn fixture(name: &str) -> Fixture {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let json = std::fs::read(dir.join(format!("{name}.json"))).unwrap();
    let bytes = std::fs::read(dir.join(format!("{name}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (mut tensors, mut ids) = (BTreeMap::new(), BTreeMap::new());
    for (name, view) in file.tensors() {
        if view.dtype() == safetensors::Dtype::I64 {
            let numbers = view.data().chunks_exact(8);
            ids.insert(
                name,
                numbers
                    .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32)
                    .collect(),
            );
        } else {
            let numbers = view.data().chunks_exact(4);
            let numbers = numbers
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            tensors.insert(name, (view.shape().to_vec(), numbers));
        }
    }
    Fixture {
        json: serde_json::from_slice(&json).unwrap(),
        tensors,
        ids,
    }
}

impl Fixture {
    fn number(&self, table: &str, key: &str) -> f64 {
        self.json[table][key].as_f64().unwrap()
    }

    fn list(&self, key: &str) -> Vec<f64> {
        self.json[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap())
            .collect()
    }

    fn config(&self) -> GptConfig {
        let size = |key| self.number("config", key) as usize;
        let plain = GptConfig {
            n_layer: size("n_layer"),
            n_head: size("n_head"),
            n_embd: size("n_embd"),
            block_size: size("block_size"),
            bias: self.tensors.contains_key("transformer.ln_f.bias"),
            ..Default::default()
        };
        match self.json["config"]["family"].as_str() {
            Some("llama") => GptConfig {
                norm: NormKind::Rms,
                activation: Activation::Swiglu,
                positions: Positions::Rotary,
                rope_base: self.number("config", "rope_base"),
                n_kv_head: size("n_kv_head"),
                n_inner: size("n_inner"),
                tied: false,
                ..plain
            },
            _ => plain,
        }
    }

    /// A tensor in our layout: linear weights (out, in).
    fn ours(&self, prefix: &str, name: &str) -> Vec<f32> {
        let (shape, numbers) = &self.tensors[&format!("{prefix}{name}")];
        let conv1d = self.json["config"]["conv1d_layout"] == "in_out"
            && shape.len() == 2
            && !name.contains("wte")
            && !name.contains("wpe");
        if !conv1d {
            return numbers.clone();
        }
        let (rows, cols) = (shape[0], shape[1]);
        (0..rows * cols)
            .map(|i| numbers[(i % rows) * cols + i / rows])
            .collect()
    }
}

fn relative(name: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut ours.iter().zip(theirs).map(|(a, b)| f64::from(a - b)));
    let scale = norm(&mut theirs.iter().map(|x| f64::from(*x)));
    assert!(scale > 0.0, "{name}: the fixture holds zeros only");
    assert!(error <= TOLERANCE * scale, "{name}: {:e}", error / scale);
}

/// A key's bias shifts all of a query's scores alike, which softmax ignores: it has no gradient but
/// rounding noise, and AdamW makes steps of noise. Not compared: elements C..2C of `c_attn.bias`.
fn comparable(name: &str, mut numbers: Vec<f32>) -> Vec<f32> {
    if name.ends_with("c_attn.bias") {
        let c = numbers.len() / 3;
        numbers.drain(c..2 * c);
    }
    numbers
}

fn check(name: &str, backend: Backend) {
    let f = fixture(name);
    let size = |key| f.number("config", key) as usize;
    let config = f.config();
    let (gpt, specs) = Gpt::new(&config, size("vocab_size"));
    let mut params = Params::<f32>::new(1, specs);
    for p in params.handles() {
        let name = params.spec(p).name.clone();
        params.value_mut(p, 0).copy_from_slice(&f.ours("", &name));
    }
    let pool = Arc::new(Pool::new(2));
    let mut tape = Tape::new(params, backend, pool.clone());
    let tokens: Arc<[u32]> = f.ids["tokens"].clone().into();
    let targets = &f.ids["targets"];
    let t = f.number("batch", "n_pos") as usize;

    tape.begin(Mode::Eval);
    let logits = gpt.logits(&mut tape, &tokens, t).unwrap();
    relative(
        "logits",
        &tape.to_host(logits).unwrap(),
        &f.tensors["logits"].1,
    );

    let optimizer = OptimizerConfig {
        betas: Some([0, 1].map(|i| f.json["optimizer"]["betas"][i].as_f64().unwrap())),
        eps: Some(f.number("optimizer", "eps")),
        weight_decay: f.number("optimizer", "weight_decay"),
        max_grad_norm: f.number("optimizer", "max_grad_norm"),
        ..Default::default()
    };
    let mut adamw = Optimizer::new(&tape.params, &optimizer);
    let (losses, norms) = (f.list("losses_nats"), f.list("grad_norms_before_clipping"));
    assert_eq!((losses.len(), norms.len()), (11, 10));
    for step in 0..=10 {
        tape.zero_grads().unwrap();
        tape.begin(Mode::Train);
        let loss = gpt
            .loss(&mut tape, (&tokens, targets), t, targets.len() as f64)
            .unwrap()[0];
        tape.backward().unwrap();
        assert!(
            (loss - losses[step]).abs() <= TOLERANCE * losses[step],
            "loss at step {step}"
        );
        if step == 0 {
            for p in tape.params.handles() {
                let name = &tape.params.spec(p).name;
                let ours = comparable(name, tape.params.grad(p, 0).to_vec());
                relative(name, &ours, &comparable(name, f.ours("grad.", name)));
            }
        }
        if step == 10 {
            break;
        }
        let norm = grad_norm(&tape.params, &pool)[0];
        assert!(
            (norm - norms[step]).abs() <= TOLERANCE * norms[step],
            "norm at step {step}"
        );
        let lr = f.json["optimizer"]["lr_per_step"][step].as_f64().unwrap();
        adamw.step((&mut tape.params, 0), (step as u64 + 1, lr), norm, &pool);
    }
    for p in tape.params.handles() {
        let name = &tape.params.spec(p).name;
        let ours = comparable(name, tape.params.value(p, 0).to_vec());
        relative(name, &ours, &comparable(name, f.ours("final.", name)));
    }
}

#[test]
fn gpt_2_of_transformers_in_logits_loss_gradients_and_ten_steps() {
    check("gpt2", Backend::Fused);
}

#[test]
fn a_gpt_without_biases_and_a_sequence_shorter_than_the_block() {
    check("nobias", Backend::Fused);
}

#[test]
fn llama_of_transformers_in_logits_loss_gradients_and_ten_steps() {
    check("llama", Backend::Fused);
}

#[test]
fn the_composed_backend_matches_too() {
    check("llama", Backend::Composed(candle_core::Device::Cpu));
    check("gpt2", Backend::Composed(candle_core::Device::Cpu));
    check("nobias", Backend::Composed(candle_core::Device::Cpu));
}
