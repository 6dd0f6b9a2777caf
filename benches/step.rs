//! Whole training steps of configuration a, b or c: what `windtunnel bench` prints, without its table
//! of ops.
//!
//!   cargo bench --bench step -- --config a --threads 2 --seconds 5 [--bf16]
//!
//! `benches/peers/interleave.py` calls this. Prints one JSON object.

use windtunnel::{
    bench::{Bench, Config},
    device::{Compute, DeviceChoice, Precision},
};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |flag: &str, default: &str| -> String {
        let at = args.iter().position(|a| a == flag);
        at.and_then(|i| args.get(i + 1))
            .map_or(default.into(), Clone::clone)
    };
    let config: Config = value("--config", "a")
        .parse()
        .expect("--config is a, b or c");
    let threads = value("--threads", "2")
        .parse()
        .expect("--threads takes a number");
    let seconds = value("--seconds", "5")
        .parse()
        .expect("--seconds takes a number");
    let precision = match args.iter().any(|a| a == "--bf16") {
        true => Precision::Bf16,
        false => Precision::F32,
    };
    let compute = Compute::open(DeviceChoice::Cpu, threads)
        .and_then(|compute| compute.multiplying_in(precision))
        .expect("the CPU can be opened");
    let subject = config.subject().expect("a configuration is a recipe");
    let mut bench = Bench::new(subject, compute).expect("a model");
    let speed = bench.speed(seconds).expect("steps that do not diverge");
    let mut value = serde_json::to_value(speed).expect("plain data");
    value["schema"] = "windtunnel.bench.v1".into();
    println!("{value}");
}
