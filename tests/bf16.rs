//! `--dtype bf16`: products that read rounded inputs, all else in f32.
//!
//! The product itself is tested beside its kernel (`src/ops/gemm.rs`); here it is the whole model.

use std::sync::Arc;
use tempfile::TempDir;
use windtunnel::{
    device::{Backend, Compute, DeviceChoice, Precision},
    model::{Gpt, GptConfig},
    params::Params,
    pool::Pool,
    recipe::Recipe,
    rng::Rng,
    session::Session,
    tape::{Mode, Tape},
    train::Trainer,
};

const ROWS: usize = 6;

fn config() -> GptConfig {
    GptConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 64,
        block_size: 48,
        bias: true,
        ..Default::default()
    }
}

/// Loss and every tensor's gradient of one batch, with the tensors' names.
fn differentiated(precision: Precision, threads: usize) -> (f64, Vec<(String, Vec<f32>)>) {
    let (config, vocab) = (config(), 70);
    let (gpt, specs) = Gpt::new(&config, vocab);
    let mut params = Params::<f32>::new(1, specs);
    params.init(0, 3);
    let pool = Arc::new(Pool::new(threads));
    let mut tape = Tape::new(params, Backend::Fused, pool).multiplying_in(precision);
    let mut rng = Rng::named(1, "tokens");
    let n = ROWS * config.block_size;
    let mut draw = || (0..n).map(|_| rng.below(vocab as u64) as u32).collect();
    let (tokens, targets): (Vec<u32>, Vec<u32>) = (draw(), draw());
    let tokens: Arc<[u32]> = tokens.into();
    tape.begin(Mode::Train);
    let pass = (&tokens, &targets[..]);
    let loss = gpt
        .loss(&mut tape, pass, config.block_size, n as f64)
        .unwrap()[0];
    tape.backward().unwrap();
    let handles: Vec<_> = tape.params.handles().collect();
    let grads = handles.into_iter().map(|p| {
        let name = tape.params.spec(p).name.clone();
        (name, tape.params.grad_mut(p, 0).to_vec())
    });
    (loss, grads.collect())
}

/// A number of bf16 is within 2⁻⁸ of what it stands for, and a gradient has passed a dozen products.
#[test]
fn loss_and_every_gradient_are_those_of_f32_but_for_the_rounding() {
    let (loss, grads) = differentiated(Precision::F32, 2);
    let (rounded_loss, rounded) = differentiated(Precision::Bf16, 2);
    assert!((loss - rounded_loss).abs() < 2e-3, "{loss} {rounded_loss}");
    let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    for ((name, full), (_, rounded)) in grads.iter().zip(&rounded) {
        let off: Vec<f32> = full.iter().zip(rounded).map(|(a, b)| a - b).collect();
        let relative = norm(&off) / norm(full);
        assert!(relative < 0.03, "{name}: off by {relative}");
        assert!(relative > 1e-6, "{name}: nothing was rounded");
    }
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let alone = differentiated(Precision::Bf16, 1);
    for threads in [2, 3] {
        assert_eq!(alone, differentiated(Precision::Bf16, threads));
    }
}

const RECIPE: &str = r#"
[data]
tokenizer = "char"
mixture = [{ corpus = "tales", weight = 1 }]
[model]
n_layer = 2
n_head = 2
n_embd = 64
block_size = 32
[budget]
steps = 150
[optimizer]
lr = 3e-3
[eval]
windows = 40
"#;

/// Final loss on the validation windows, and the trial's id.
fn trained(precision: Precision, seed: u64) -> (f64, String) {
    let folder = TempDir::new().unwrap();
    let recipe = folder.path().join("recipe.toml");
    std::fs::write(&recipe, RECIPE).unwrap();
    let compute = Compute::open(DeviceChoice::Cpu, 2).unwrap();
    let compute = compute.multiplying_in(precision).unwrap();
    let session = Session::new(folder.path(), compute);
    let changes = [format!("seed={seed}")];
    let recipe = Recipe::load(&recipe, &changes).unwrap().0;
    let trial = session.resolve(&recipe).unwrap();
    let mut trainer = Trainer::new(&trial.run, trial.data, &session.compute).unwrap();
    for _ in 0..trial.run.steps {
        let row = trainer.train_step().unwrap();
        assert!(row.iter().all(|lane| matches!(lane, Some(Ok(_)))));
    }
    (trainer.evaluate().unwrap()[0].loss, trial.id.to_string())
}

#[test]
fn a_run_learns_as_much_as_in_f32_and_is_another_trial() {
    let seeds = 1..4;
    let (mut differences, mut learnt) = (Vec::new(), Vec::new());
    for seed in seeds {
        let (full, rounded) = (
            trained(Precision::F32, seed),
            trained(Precision::Bf16, seed),
        );
        assert_ne!(full.1, rounded.1, "one id for two precisions");
        assert_ne!(full.0, rounded.0, "nothing was rounded");
        differences.push(rounded.0 - full.0);
        learnt.push(full.0);
    }
    // Seeds alone move this loss by 0.02 and more.
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    assert!(mean.abs() < 0.02, "{differences:?}");
    assert!(learnt.iter().all(|loss| *loss < 3.0), "{learnt:?}");
    assert_eq!(trained(Precision::Bf16, 1), trained(Precision::Bf16, 1));
}
