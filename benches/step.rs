//! Whole training steps of configuration a, b or c, or of another shape: what `windtunnel bench`
//! prints, without its table of ops.
//!
//!   cargo bench --bench step -- --config a --threads 2 --seconds 5 [--bf16]
//!   cargo bench --bench step -- --n-layer 2 --n-head 4 --n-embd 256 --block 128 --rows 8
//!
//! `--n-layer --n-head --n-embd --block --rows --vocab --dropout` change the configuration, and
//! `--rows-per-pass` computes its step in several passes. `benches/peers/interleave.py` and
//! `benches/scaling.py` call this. Prints one JSON object.

use std::str::FromStr;
use windtunnel::{
    bench::{Bench, Config, Subject},
    data::{Corpus, mixture::Mixture},
    device::{Compute, DeviceChoice, Precision},
};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let precision = match args.iter().any(|a| a == "--bf16") {
        true => Precision::Bf16,
        false => Precision::F32,
    };
    let compute = Compute::open(DeviceChoice::Cpu, given(&args, "--threads", 2))
        .and_then(|compute| compute.multiplying_in(precision))
        .expect("the CPU can be opened");
    let mut bench = Bench::new(subject(&args), compute).expect("a model");
    let speed = bench
        .speed(given(&args, "--seconds", 5.0))
        .expect("steps that do not diverge");
    let mut value = serde_json::to_value(speed).expect("plain data");
    value["schema"] = "windtunnel.bench.v1".into();
    println!("{value}");
}

/// The configuration named, with what the other options change of it.
fn subject(args: &[String]) -> Subject {
    let name: String = given(args, "--config", "a".into());
    let config: Config = name.parse().expect("--config is a, b or c");
    let mut subject = config.subject().expect("a configuration is a recipe");
    let (model, batch) = (&mut subject.run.model, &mut subject.run.batch);
    model.n_layer = given(args, "--n-layer", model.n_layer);
    model.n_head = given(args, "--n-head", model.n_head);
    model.n_embd = given(args, "--n-embd", model.n_embd);
    model.block_size = given(args, "--block", model.block_size);
    model.dropout = given(args, "--dropout", model.dropout);
    batch.rows = given(args, "--rows", batch.rows);
    batch.rows_per_pass = given(args, "--rows-per-pass", batch.rows_per_pass);
    let vocab = given(args, "--vocab", subject.run.vocab_size);
    if vocab != subject.run.vocab_size {
        subject.run.vocab_size = vocab;
        subject.data.mixture = Mixture {
            parts: vec![(1.0, Corpus::random(vocab, 1 << 20).into())],
        };
    }
    subject
}

/// The value after a flag, or what it is without.
fn given<T: FromStr>(args: &[String], flag: &str, default: T) -> T {
    let at = args.iter().position(|a| a == flag);
    at.and_then(|i| args.get(i + 1))
        .map_or(default, |text| match text.parse() {
            Ok(value) => value,
            Err(_) => panic!("{flag} is {text}; it takes another kind of value"),
        })
}
