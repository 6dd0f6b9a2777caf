//! Proposing and flying against a stand-in for the Messages API, through the binary.

#[path = "autopilot/drafts.rs"]
mod drafts;
#[path = "autopilot/flight.rs"]
mod flight;
#[path = "autopilot/gates.rs"]
mod gates;
#[path = "autopilot/money.rs"]
mod money;
#[path = "autopilot/review.rs"]
mod review;
#[path = "autopilot/server.rs"]
mod server;
#[path = "support/bench.rs"]
mod support;

use serde_json::Value;
use server::Server;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};
use support::Bench;
use tempfile::TempDir;

/// A key like no other text.
const KEY: &str = "the-key-of-these-tests-7fa3";

/// A bench whose corpus is there already, for it takes longer than all that these tests train.
fn bench() -> Bench {
    static CORPORA: OnceLock<TempDir> = OnceLock::new();
    let kept = CORPORA.get_or_init(|| {
        let first = Bench::new();
        first.json(&["train", "recipe.toml"]);
        let kept = TempDir::new().unwrap();
        copy(&first.home().join("corpora"), &kept.path().join("corpora"));
        kept
    });
    let bench = Bench::new().one_thread();
    copy(&kept.path().join("corpora"), &bench.home().join("corpora"));
    bench
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &place),
            false => drop(fs::copy(entry.path(), place).unwrap()),
        }
    }
}

/// A command that asks this server.
fn asking(bench: &Bench, server: &Server, args: &[&str]) -> Command {
    let mut command = bench.command(args);
    command
        .env("ANTHROPIC_API_KEY", KEY)
        .env("ANTHROPIC_BASE_URL", &server.address);
    command
}

/// What `autopilot --json` says, and the whole of what it printed. It must end well.
fn fly(bench: &Bench, server: &Server, args: &[&str]) -> (Value, Output) {
    let usual = ["autopilot", "--json", "--hours", "1", "--dollars", "2"];
    let output = asking(bench, server, &[&usual, args].concat())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let value = serde_json::from_slice(&output.stdout).unwrap();
    (value, output)
}

/// (gate, claim) of every objection of a flight, in order.
fn gates(landed: &Value) -> Vec<(String, String)> {
    let rounds = landed["rounds"].as_array().unwrap().iter();
    let objections = rounds.flat_map(|round| round["objections"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap_or("").to_string();
    objections
        .map(|o| (text(&o["gate"]), text(&o["claim"])))
        .collect()
}

fn fates(landed: &Value) -> Vec<&str> {
    let rounds = landed["rounds"].as_array().unwrap().iter();
    rounds
        .map(|round| round["fate"].as_str().unwrap())
        .collect()
}

/// Studies that anything was trained for.
fn studies(bench: &Bench) -> Vec<String> {
    let entries = fs::read_dir(bench.home().join("studies"))
        .into_iter()
        .flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found
}
