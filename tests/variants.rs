//! Variants through the binary: the skeleton and its line in the list, and an arm that names one.

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

fn windtunnel(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .args(args)
        .args(["--home", "home", "--device", "cpu", "--json"])
        .current_dir(folder)
        .output()
        .unwrap()
}

/// What a command that succeeds prints.
fn json(folder: &Path, args: &[&str]) -> Value {
    let output = windtunnel(folder, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Place, problem and remedy of a command that is refused with status 2.
fn refusal(folder: &Path, args: &[&str]) -> String {
    let output = windtunnel(folder, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap()
}

/// A folder with the list of variants where the sources have it.
fn sources() -> TempDir {
    let folder = TempDir::new().unwrap();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/variants.rs");
    fs::create_dir_all(folder.path().join("src/model/variants")).unwrap();
    fs::copy(own, folder.path().join("src/model/variants.rs")).unwrap();
    folder
}

#[test]
fn a_new_variant_is_written_and_listed() {
    let folder = sources();
    let path = |name: &str| folder.path().join(name);
    let list = || fs::read_to_string(path("src/model/variants.rs")).unwrap();
    let before = list();
    let said = json(folder.path(), &["new", "variant", "wide_keys"]);
    assert_eq!(said["path"], "src/model/variants/wide_keys.rs");
    let file = fs::read_to_string(path("src/model/variants/wide_keys.rs")).unwrap();
    assert!(file.contains("testing::holds(\"wide_keys\")") && !file.contains("skeleton"));
    assert_eq!(list().replacen("    wide_keys,\n", "", 1), before);
    assert_eq!(list().len(), before.len() + "    wide_keys,\n".len());

    let again = refusal(folder.path(), &["new", "variant", "wide_keys"]);
    assert!(again.contains("is there already"), "{again}");
    for name in [
        "value_embeddings",
        "skeleton",
        "Wide",
        "2wide",
        "a-b",
        "",
        "match",
        "a/b",
    ] {
        let error = refusal(folder.path(), &["new", "variant", name]);
        assert!(error.contains("NAME"), "{name}: {error}");
    }
    assert_eq!(list().len(), before.len() + "    wide_keys,\n".len());

    let elsewhere = TempDir::new().unwrap();
    let error = refusal(elsewhere.path(), &["new", "variant", "wide_keys"]);
    assert!(error.contains("windtunnel's sources"), "{error}");
    assert!(!elsewhere.path().join("src").exists());
}

const RECIPE: &str = r#"
seed = 1
[data]
tokenizer = "char"
mixture = [{ corpus = "tales" }]
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
[batch]
rows = 4
[budget]
steps = 12
[eval]
every = 6
windows = 5
"#;

#[test]
fn an_arm_names_a_variant_and_trains_it() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
    let study = r#"
name = "values"
base = "recipe.toml"
[hypothesis]
claim = "Value embeddings help."
[decision]
margin = 5.0
seeds = 2
[arms.plain]
control = true
[arms.values]
factor = "model.variant"
set = { "model.variant" = "value_embeddings" }
"#;
    fs::write(folder.path().join("study.toml"), study).unwrap();
    let verdict = json(folder.path(), &["run", "study.toml"]);
    assert_eq!(verdict["verdict"]["arms"][0]["arm"], "values", "{verdict}");

    let wrong = study.replace("\"value_embeddings\"", "\"value_embedding\"");
    fs::write(folder.path().join("wrong.toml"), wrong).unwrap();
    let error = refusal(folder.path(), &["plan", "wrong.toml"]);
    assert!(
        error.contains("did you mean \\\"value_embeddings\\\""),
        "{error}"
    );
    assert!(error.contains("wrong.toml:13"), "{error}");
}
