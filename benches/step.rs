//! Whole training steps on random tokens: forward, backward, clipping, AdamW.
//!
//!   cargo bench --bench step -- --config a --threads 2 --seconds 5
//!
//! Configurations a, b and c are those of `benches/peers/`. Prints one JSON object.

use std::{sync::Arc, time::Instant};
use windtunnel::{
    device::{Backend, Precision},
    model::{Gpt, GptConfig},
    ops::grad_norm::grad_norm,
    optim::{Optimizer, OptimizerConfig},
    params::Params,
    pool::Pool,
    real::instruction_set,
    rng::{self, Rng},
    tape::{Mode, Tape},
};

fn config(name: &str) -> (GptConfig, usize, usize) {
    let gpt = |n_layer, n_head, n_embd, block_size, dropout| GptConfig {
        n_layer,
        n_head,
        n_embd,
        block_size,
        dropout,
        bias: false,
        ..Default::default()
    };
    match name {
        "b" => (gpt(6, 6, 384, 256, 0.2), 64, 65),
        "c" => (gpt(8, 8, 512, 256, 0.0), 16, 50_304),
        _ => (gpt(4, 4, 128, 64, 0.0), 12, 65),
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |flag: &str, default: &str| -> String {
        let at = args.iter().position(|a| a == flag);
        at.and_then(|i| args.get(i + 1))
            .map_or(default.into(), Clone::clone)
    };
    let name = value("--config", "a");
    let threads: usize = value("--threads", "2")
        .parse()
        .expect("--threads takes a number");
    let seconds: f64 = value("--seconds", "5")
        .parse()
        .expect("--seconds takes a number");
    let (config, rows, vocab) = config(&name);
    let t = config.block_size;
    let (gpt, specs) = Gpt::new(&config, vocab);
    let mut params = Params::<f32>::new(1, specs);
    params.init(0, 1);
    let mut adamw = Optimizer::new(&params, &OptimizerConfig::default());
    let pool = Arc::new(Pool::new(threads));
    let bf16 = args.iter().any(|a| a == "--bf16");
    let precision = if bf16 {
        Precision::Bf16
    } else {
        Precision::F32
    };
    let mut tape = Tape::new(params, Backend::Fused, pool.clone()).multiplying_in(precision);
    tape.position.keys = vec![rng::key(1, "dropout")];
    let mut rng = Rng::named(1, "tokens");
    let (mut rates, mut step) = (Vec::new(), 0);
    let started = Instant::now();
    while rates.len() < 3 || started.elapsed().as_secs_f64() < seconds {
        let tokens: Arc<[u32]> = (0..rows * t)
            .map(|_| rng.below(vocab as u64) as u32)
            .collect();
        let now = Instant::now();
        tape.zero_grads();
        tape.position.step = step;
        tape.begin(Mode::Train);
        gpt.loss(&mut tape, (&tokens, &tokens), t, (rows * t) as f64)
            .expect("a loss");
        tape.backward().expect("a gradient");
        let norm = grad_norm(&tape.params, &pool)[0];
        step += 1;
        adamw.step((&mut tape.params, 0), (step, 1e-3), norm, &pool);
        rates.push((rows * t) as f64 / now.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let median = rates[rates.len() / 2];
    let best = rates[rates.len() * 95 / 100];
    let gflops = median * config.flops_per_token(vocab) / 1e9;
    let bytes = tape.activation_bytes() + 4 * 4 * tape.params.values.len();
    println!(
        "{{\"schema\":\"windtunnel.bench.v1\",\"config\":\"{name}\",\"threads\":{threads},\"instruction_set\":\"{}\",\"tokens_per_second\":{median:.0},\"best_tokens_per_second\":{best:.0},\"gflops\":{gflops:.1},\"memory_mb\":{:.0}}}",
        instruction_set(),
        bytes as f64 / 1e6,
    );
}
