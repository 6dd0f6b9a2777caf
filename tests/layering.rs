//! Modules import only from the layers above them; nothing imports the command line.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Modules of `src/`, from those that import nothing to the command line. A module may import what
/// stands in an earlier line, and its neighbours in its own.
const LAYERS: [&[&str]; 18] = [
    &["error", "rng", "digest", "files", "toml_file", "stats"],
    &["laws"],
    &["memory", "pool", "profile", "real"],
    &["device"],
    &["params", "tape", "ops"],
    &["schedule", "data", "model", "optim"],
    &["metrics", "checkpoint"],
    &["eval", "tensorboard"],
    &["run"],
    &["run_dir", "trunk"],
    &["train"],
    &["recipe", "home"],
    &["session", "bench", "calibration", "anomalies"],
    &["study", "hf"],
    &["report"],
    &["jobs"],
    &["claude"],
    &["cli"],
];

/// What never sees a tensor: studies are planned and judged by numbers in files.
const NO_TENSORS: [&str; 4] = [
    "study/verdict.rs",
    "study/ledger.rs",
    "study/contract.rs",
    "study/proposal.rs",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The module of the crate that a file belongs to.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(src()).unwrap();
    let first = inside.components().next().unwrap();
    let name = first.as_os_str().to_str().unwrap();
    name.trim_end_matches(".rs").to_string()
}

/// First segments of every `crate::…` path in the text, `use crate::{a::…, b::…}` included.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => {
                found.insert(identifier(rest));
            }
            Some(group) => {
                let mut depth = 0;
                let mut starts = true;
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => starts = true,
                        c if starts && c.is_alphabetic() => {
                            found.insert(identifier(&group[i..]));
                            starts = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn every_module_has_a_layer() {
    for path in sources(&src()) {
        let module = module(&path);
        let known = ["lib", "main"].contains(&module.as_str()) || layer(&module).is_some();
        assert!(known, "{module}: say in LAYERS where it belongs");
    }
}

#[test]
fn imports_go_up_only() {
    let mut wrong = Vec::new();
    for path in sources(&src()) {
        let own = module(&path);
        let Some(own_layer) = layer(&own) else {
            continue;
        };
        for import in imports(&fs::read_to_string(&path).unwrap()) {
            if layer(&import).is_some_and(|theirs| theirs > own_layer) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_plans_and_judges_sees_no_tensor() {
    for name in NO_TENSORS {
        let imports = imports(&fs::read_to_string(src().join(name)).unwrap());
        for tensor in ["tape", "ops", "params", "model", "memory", "pool"] {
            assert!(!imports.contains(tensor), "{name} imports {tensor}");
        }
    }
}

#[test]
fn cuda_is_asked_for_by_device_and_ops_alone() {
    for path in sources(&src()) {
        let asks = fs::read_to_string(&path)
            .unwrap()
            .contains("feature = \"cuda\"");
        let may = ["device", "ops"].contains(&module(&path).as_str());
        assert!(!asks || may, "{} asks for the cuda feature", path.display());
    }
}

/// Beside `ops/`: calls of a GPU's driver, buffers that are not zeroed twice, threads that borrow, files
/// mapped as tokens or numbers.
const UNSAFE: [&str; 6] = ["ops", "device", "memory", "pool", "data", "checkpoint"];

#[test]
fn unsafe_code_stays_where_bytes_are() {
    for path in sources(&src()) {
        let text = fs::read_to_string(&path).unwrap();
        let unsafe_lines = text
            .lines()
            .filter(|l| l.contains("unsafe ") && !l.trim_start().starts_with("//"));
        let may = UNSAFE.contains(&module(&path).as_str());
        assert!(
            may || unsafe_lines.count() == 0,
            "{} has unsafe code",
            path.display()
        );
    }
}

#[test]
fn the_scan_finds_what_it_should() {
    let text = "use crate::{\n    a::{b, c},\n    d,\n};\nuse crate::e::f;\nlet x = crate::g::h();";
    let found: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(found, ["a", "d", "e", "g"]);
}
