//! Tells the binary two things about itself: the git revision, for `env.json`, and a digest of the
//! sources that decide numbers, which is part of every trial's id. A README edit changes no result,
//! so it must not change that digest; a new kernel must. For the `cuda` feature it has nvcc compile
//! the kernels.

use sha2::{Digest, Sha256};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Files and folders under `src/` whose code decides what a trial computes.
const NUMERICS: &[&str] = &[
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
    "device/column_major.rs",
    "device/cuda",
    "device/cuda.rs",
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
    "tape",
    "tape.rs",
    "train",
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
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        kernels();
    }
}

/// Architectures for which kernels are compiled ahead, where nvcc knows them: Ampere and Ada, Hopper,
/// Blackwell in data centres and on desks. Another list: `WINDTUNNEL_CUDA_ARCHS=80,90`.
const ARCHITECTURES: &str = "80,90,100,120";

/// Has the driver compile for what no architecture above covers.
const VIRTUAL_ARCHITECTURE: &str = "90";

/// Compiles `src/ops/cuda/` into one file that the binary contains, beside what each kernel takes. Panics, as build scripts do, when nvcc is missing or refuses.
fn kernels() {
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH", "WINDTUNNEL_CUDA_ARCHS"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let folder = Path::new("src/ops/cuda");
    let nvcc = nvcc();
    let known = output(Command::new(&nvcc).arg("--list-gpu-arch"));
    let asked = env::var("WINDTUNNEL_CUDA_ARCHS").unwrap_or_else(|_| ARCHITECTURES.into());
    let mut command = Command::new(&nvcc);
    // One file for each architecture at a time on each core.
    command.args(["-std=c++17", "-O3", "--threads", "0", "-fatbin"]);
    for arch in asked.split(',').map(str::trim) {
        if known.lines().any(|line| line == format!("compute_{arch}")) {
            command.arg(format!("-gencode=arch=compute_{arch},code=sm_{arch}"));
        }
    }
    let ptx = VIRTUAL_ARCHITECTURE;
    command.arg(format!("-gencode=arch=compute_{ptx},code=compute_{ptx}"));
    command.arg("-o").arg(out.join("kernels.fatbin"));
    output(command.arg(folder.join("all.cu")));
    // Through the host's preprocessor alone.
    let mut command = Command::new(&nvcc);
    command.args(["-E", "-x", "c++", "-DWINDTUNNEL_SIGNATURES"]);
    let signatures = output(command.arg(folder.join("all.cu")));
    let lines = signatures
        .lines()
        .filter(|line| line.contains("SIGNATURE "));
    let signatures: String = lines.flat_map(|line| [line, "\n"]).collect();
    fs::write(out.join("signatures.txt"), signatures).expect("OUT_DIR can be written");
    let release = output(Command::new(&nvcc).arg("--version"));
    let release = release.split("release ").nth(1).unwrap_or_default();
    let release = release.split(',').next().unwrap_or_default();
    println!("cargo:rustc-env=WINDTUNNEL_NVCC={release}");
}

/// `$NVCC`, the one of `$CUDA_HOME` or `$CUDA_PATH`, or the one on the path.
fn nvcc() -> PathBuf {
    if let Some(nvcc) = env::var_os("NVCC") {
        return nvcc.into();
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"];
    let homes = homes.into_iter().filter_map(env::var_os);
    homes
        .map(|home| PathBuf::from(home).join("bin/nvcc"))
        .find(|nvcc| nvcc.exists())
        .unwrap_or_else(|| "nvcc".into())
}

/// What a command prints.
fn output(command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|e| {
        panic!("{program}: {e}; the cuda feature needs the CUDA toolkit: set CUDA_HOME or NVCC")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
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
