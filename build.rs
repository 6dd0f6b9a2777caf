//! Tells the binary two things about itself: the git revision, for `env.json`, and a digest of the
//! sources that decide numbers, which is part of every trial's id. A README edit changes no result,
//! so it must not change that digest; a new kernel must.

use sha2::{Digest, Sha256};
use std::{fs, path::Path, process::Command};

/// Files and folders under `src/` whose code decides what a trial computes.
const NUMERICS: [&str; 28] = [
    "checkpoint.rs",
    "data/answers.rs",
    "data/apportion.rs",
    "data/batches.rs",
    "data/corpus.rs",
    "data/declared.rs",
    "data/phases.rs",
    "data/source.rs",
    "data/split.rs",
    "data/stream.rs",
    "data/synth",
    "data/synth.rs",
    "data/manifest.rs",
    "data/mixture.rs",
    "data/tokenizer",
    "data/tokenizer.rs",
    "data/windows.rs",
    "eval.rs",
    "model.rs",
    // Not its variants, each of which is part of its own trials' ids.
    "model/config.rs",
    "ops",
    "optim",
    "params.rs",
    "real.rs",
    "rng.rs",
    "schedule.rs",
    "tape.rs",
    "train.rs",
];

/// Packages whose version decides numbers too.
const LIBRARIES: [&str; 6] = [
    "candle-core",
    "candle-nn",
    "gemm",
    "libm",
    "pulp",
    "tokenizers",
];

fn main() {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    let mut hasher = Sha256::new();
    for name in NUMERICS {
        add(&mut hasher, &Path::new("src").join(name));
    }
    for line in library_versions() {
        hasher.update(line);
    }
    let digest: String = hasher
        .finalize()
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect();
    println!("cargo:rustc-env=WINDTUNNEL_NUMERICS={digest}");
    println!("cargo:rustc-env=WINDTUNNEL_REVISION={}", revision());
}

/// Adds a file, or a folder's files by name, to the digest.
fn add(hasher: &mut Sha256, path: &Path) {
    if path.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        entries.sort();
        entries.iter().for_each(|entry| add(hasher, entry));
    } else {
        let text = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        hasher.update(path.to_string_lossy().as_bytes());
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
}

/// `name version` of each library in the lock file.
fn library_versions() -> Vec<String> {
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_string();
    let lines: Vec<&str> = lock.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[0].starts_with("name = ") && pair[1].starts_with("version = "))
        .map(|pair| (quoted(pair[0]), quoted(pair[1])))
        .filter(|(name, _)| LIBRARIES.contains(&name.as_str()))
        .map(|(name, version)| format!("{name} {version}"))
        .collect()
}

fn revision() -> String {
    Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or("unknown".into(), |text| text.trim().to_string())
}
