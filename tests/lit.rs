//! The library of papers: what is built in, what is added, what arXiv answers, and that text of
//! others stays text.

mod lit {
    mod added;
    mod arxiv;
    mod built_in;
    mod injections;
}

use serde_json::Value;
use std::{path::Path, process::Command};
use windtunnel::claude::literature::Library;

/// What is built in, with nothing added.
fn built_in() -> Library {
    Library::open(Path::new("no such home")).unwrap()
}

/// The binary in a home.
fn run(home: &Path, args: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
    let output = command
        .args(["--json", "--home"])
        .arg(home)
        .args(args)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let value = serde_json::from_str(stdout.trim()).unwrap_or(Value::Null);
    (
        output.status.code().unwrap(),
        value,
        String::from_utf8(output.stderr).unwrap(),
    )
}
