//! The sources of the CUDA kernels and the Rust that launches them belong together. Whether each launch
//! fits its kernel is checked where it happens, by every device (`device::signatures`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use windtunnel::device::signatures::{Parameter, Signatures};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops/cuda")
}

/// Texts of all files below `folder` with this extension, by name.
fn texts(folder: &Path, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(texts(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// As `build.rs` reads them, by the system's C++ compiler.
fn signatures() -> Signatures {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut command = Command::new(compiler);
    command.args(["-E", "-x", "c++", "-DWINDTUNNEL_SIGNATURES"]);
    let output = command.arg(folder().join("all.cu")).output();
    let output = output.expect("a C++ compiler: install g++, or name one in CXX");
    assert!(output.status.success(), "{command:?}");
    Signatures::read(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

#[test]
fn every_file_of_kernels_is_compiled_once() {
    let texts = texts(&folder(), "cu");
    let all = &texts.iter().find(|(name, _)| name == "all.cu").unwrap().1;
    for (name, _) in texts.iter().filter(|(name, _)| name != "all.cu") {
        let line = format!("#include \"{name}\"");
        let anywhere: usize = texts
            .iter()
            .map(|(_, text)| text.matches(&line).count())
            .sum();
        assert_eq!((all.matches(&line).count(), anywhere), (1, 1), "{name}");
    }
}

#[test]
fn every_kernel_is_launched_by_its_name_and_every_name_is_a_kernel_s() {
    let signatures = signatures();
    let kernels: BTreeSet<&str> = signatures.names().collect();
    assert!(kernels.contains("epilogue_bf16"));
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rust: String = ["ops", "tape", "device"]
        .iter()
        .flat_map(|module| texts(&src.join(module), "rs"))
        .map(|(_, text)| text)
        .collect();
    let literals: BTreeSet<&str> = rust.split('"').skip(1).step_by(2).collect();
    for kernel in &kernels {
        assert!(literals.contains(kernel), "{kernel} is launched nowhere");
    }
    let is_twin = |name: &&&str| name.ends_with("_f32") || name.ends_with("_bf16");
    for name in literals.iter().filter(is_twin) {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        assert!(!plain || kernels.contains(name), "{name} is no kernel");
    }
}

/// A launch chooses between the two by the number type of activations, with the same arguments.
#[test]
fn twins_take_the_same() {
    let signatures = signatures();
    let mut twins = 0;
    for name in signatures
        .names()
        .filter_map(|name| name.strip_suffix("_f32"))
    {
        let of = |suffix: &str| {
            signatures
                .of(&format!("{name}{suffix}"))
                .map(<[Parameter]>::to_vec)
        };
        if let Some(of_bf16) = of("_bf16") {
            assert_eq!(of("_f32"), Some(of_bf16), "{name}");
            twins += 1;
        }
    }
    assert!(twins > 3);
}
