//! From a file to a trained model, through the commands.

use crate::{Bench, documents, gz, jsonl};
use serde_json::Value;
use std::process::{Command, Output};

fn recipe(tokenizer: &str, corpus: &str) -> String {
    format!(
        "[data]\ntokenizer = \"{tokenizer}\"\nmixture = [{{ corpus = \"{corpus}\" }}]\n[model]\nn_layer = 1\nn_head = 1\nn_embd = 8\nblock_size = 16\n[batch]\nrows = 2\n[budget]\nsteps = 3\n[eval]\nwindows = 4\n"
    )
}

fn run(bench: &Bench, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
    command
        .args(args)
        .args(["--json", "--home", "home", "--device", "cpu"])
        .env_remove("WINDTUNNEL_MIRROR")
        .current_dir(bench.path(""));
    command.output().unwrap()
}

fn succeed(bench: &Bench, args: &[&str]) -> Value {
    let output = run(bench, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refuse(bench: &Bench, args: &[&str]) -> String {
    let output = run(bench, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn rows_are_added_measured_cut_into_tokens_and_trained_on() {
    let bench = Bench::new();
    bench.write(
        "s/a.jsonl.gz",
        gz(jsonl(&documents(300))
            .replace("\"text\"", "\"body\"")
            .as_bytes()),
    );
    bench.write("s/NOTES", "about");
    let error = refuse(&bench, &["data", "add", "s/*.gz", "rows"]);
    assert!(
        error.contains("a.jsonl.gz:1") && error.contains("--field"),
        "{error}"
    );
    let added = succeed(&bench, &["data", "add", "s", "rows", "--field", "body"]);
    assert_eq!(
        (&added["format"], &added["files"]),
        (&"jsonl".into(), &1.into())
    );
    assert!(added["left_out"][0].as_str().unwrap().ends_with("NOTES"));
    let stat = succeed(&bench, &["data", "stat", "rows", "--orders", "2"]);
    let parts = &stat["documents"];
    let n = ["train", "test", "validation"].map(|part| parts[part].as_u64().unwrap());
    assert_eq!(n.iter().sum::<u64>(), 300);
    assert_eq!(stat["floors_of_bytes"]["train"], stat["bytes"]["train"]);
    succeed(
        &bench,
        &[
            "tokenizer",
            "train",
            "bpe",
            "--vocab-size",
            "300",
            "--corpora",
            "rows",
        ],
    );
    for tokenizer in ["char", "byte", "bpe"] {
        bench.write("r.toml", recipe(tokenizer, "rows"));
        succeed(&bench, &["train", "r.toml"]);
    }
    bench.write("s/a.jsonl.gz", gz(b"{\"body\": \"other\"}"));
    let error = refuse(&bench, &["train", "r.toml"]);
    assert!(
        error.contains("a.jsonl.gz") && error.contains("digest mismatch"),
        "{error}"
    );
}

#[test]
fn token_files_are_trained_on_with_their_tokenizer_and_no_other() {
    let bench = Bench::new();
    bench.write("text.txt", crate::text(200));
    succeed(&bench, &["data", "add", "text.txt", "text"]);
    succeed(
        &bench,
        &[
            "tokenizer",
            "train",
            "bpe",
            "--vocab-size",
            "280",
            "--corpora",
            "text",
        ],
    );
    let ids: Vec<u8> = (0..4000u16)
        .flat_map(|i| (i * 7 % 256).to_le_bytes())
        .collect();
    bench.write("d/train.bin", &ids);
    bench.write("d/val.bin", &ids[..2000]);
    let error = refuse(&bench, &["data", "add", "d", "ids"]);
    assert!(error.contains("--tokenizer"), "{error}");
    let error = refuse(&bench, &["data", "add", "d", "ids", "--tokenizer", "bp"]);
    assert!(error.contains("did you mean \"bpe\""), "{error}");
    succeed(&bench, &["data", "add", "d", "ids", "--tokenizer", "bpe"]);
    bench.write("r.toml", recipe("bpe", "ids"));
    succeed(&bench, &["train", "r.toml"]);
    for tokenizer in ["byte", "char"] {
        bench.write("r.toml", recipe(tokenizer, "ids"));
        let error = refuse(&bench, &["train", "r.toml"]);
        assert!(
            error.contains("data.tokenizer") && error.contains("bpe"),
            "{error}"
        );
    }
    let stat = succeed(&bench, &["data", "stat", "ids", "--tokenizer", "bpe"]);
    assert_eq!(stat["tokens"]["validation"], 1000);
    let error = refuse(
        &bench,
        &[
            "tokenizer",
            "train",
            "more",
            "--vocab-size",
            "300",
            "--corpora",
            "ids",
        ],
    );
    assert!(error.contains("tokens"), "{error}");
}
