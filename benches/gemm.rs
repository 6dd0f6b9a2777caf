//! Matrix products of the sizes that training has: forward, input gradient, weight gradient.
//!
//!   cargo bench --bench gemm -- [--threads 2] [--seconds 0.3]
//!
//! Prints GFLOP/s by shape; `windtunnel bench` says what the processor's peak is.

use std::time::Instant;
use windtunnel::{
    device::Precision,
    ops::gemm::{Mat, MatMut, gemm},
    pool::Pool,
    tape::Into,
};

/// (in, out)
type Layer = (usize, usize);

/// Configurations of `benches/peers/`: rows of a pass, (in, out) of each linear layer.
const LAYERS: [(&str, usize, &[Layer]); 3] = [
    (
        "a",
        768,
        &[(128, 384), (128, 128), (128, 512), (512, 128), (128, 65)],
    ),
    (
        "b",
        2048,
        &[(384, 1152), (384, 384), (384, 1536), (1536, 384), (384, 65)],
    ),
    (
        "c",
        2048,
        &[(512, 1536), (512, 512), (512, 2048), (2048, 512)],
    ),
];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |flag: &str, default: f64| -> f64 {
        let at = args.iter().position(|a| a == flag);
        at.and_then(|i| args.get(i + 1)?.parse().ok())
            .unwrap_or(default)
    };
    let (threads, seconds) = (value("--threads", 2.0) as usize, value("--seconds", 0.3));
    let pool = Pool::new(threads);
    let bf16 = args.iter().any(|a| a == "--bf16");
    let precision = if bf16 {
        Precision::Bf16
    } else {
        Precision::F32
    };
    println!("{threads} threads, GFLOP/s      y = x·Wᵀ   dx = dy·W   dW = dyᵀ·x");
    for (name, rows, layers) in LAYERS {
        for (n_in, n_out) in layers {
            let fill = |n: usize| vec![0.5f32; n];
            let (x, w, dy) = (fill(rows * n_in), fill(n_in * n_out), fill(rows * n_out));
            let (x, w) = (Mat::new(&x, rows, *n_in), Mat::new(&w, *n_out, *n_in));
            let dy = Mat::new(&dy, rows, *n_out);
            let mut out = fill(rows * n_in.max(n_out));
            let mut rate = |m: usize, n: usize, a, b, into| {
                let mut best = 0.0f64;
                let started = Instant::now();
                while started.elapsed().as_secs_f64() < seconds {
                    let now = Instant::now();
                    let c = MatMut::new(&mut out[..m * n], m, n);
                    gemm((&pool, precision), a, b, c, into);
                    let flops = 2.0 * (rows * n_in * n_out) as f64;
                    best = best.max(flops / now.elapsed().as_secs_f64() / 1e9);
                }
                best
            };
            let forward = rate(rows, *n_out, x, w.t(), Into::Overwrite);
            let input = rate(rows, *n_in, dy, w, Into::Overwrite);
            let weight = {
                let mut dw = vec![0.5f32; n_in * n_out];
                let mut best = 0.0f64;
                let started = Instant::now();
                while started.elapsed().as_secs_f64() < seconds {
                    let now = Instant::now();
                    let c = MatMut::new(&mut dw, *n_out, *n_in);
                    gemm((&pool, precision), dy.t(), x, c, Into::Add);
                    let flops = 2.0 * (rows * n_in * n_out) as f64;
                    best = best.max(flops / now.elapsed().as_secs_f64() / 1e9);
                }
                best
            };
            println!(
                "{name} {rows:5} × {n_in:4} → {n_out:4} {forward:12.0} {input:11.0} {weight:11.0}"
            );
        }
    }
}
