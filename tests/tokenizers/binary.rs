//! Through the binary: a tokenizer is trained, a recipe names it, and its file may go.

use super::{paragraphs, write};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

const RECIPE: &str = r#"seed = 1
[data]
tokenizer = "TOKENIZER"
mixture = [{ corpus = "words", weight = 1.0 }]
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
[batch]
rows = 4
[budget]
steps = 3
[eval]
every = 0
windows = 8
"#;

const STUDY: &str = r#"name = "paths"
base = "../recipe.toml"
set = { "data.tokenizer" = "../recipes/some.json" }
[hypothesis]
claim = "It matters."
[decision]
margin = 0.1
seeds = 2
[arms.plain]
control = true
[arms.slow]
factor = "optimizer.lr"
set = { "optimizer.lr" = 1e-5 }
"#;

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(TempDir::new().unwrap());
        write(bench.path(), "words.txt", &paragraphs(9, 200));
        bench.succeed(&["data", "add", "words.txt", "words"]);
        bench
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command
            .args(args)
            .args(["--device", "cpu", "--json", "--home"])
            .arg(self.path().join("home"))
            .env_remove("WINDTUNNEL_MIRROR")
            .current_dir(self.path());
        command
    }

    fn output(&self, args: &[&str], threads: &str) -> Output {
        let mut command = self.command(args);
        command.env("RAYON_NUM_THREADS", threads).output().unwrap()
    }

    fn succeed(&self, args: &[&str]) -> Value {
        let output = self.output(args, "2");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refuse(&self, args: &[&str], place: &str, words: &str) {
        let before = self.files();
        let output = self.output(args, "2");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(error["place"].as_str().unwrap().contains(place), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(self.files(), before);
    }

    fn train_tokenizer(&self, name: &str) -> PathBuf {
        let trained = [
            "tokenizer",
            "train",
            name,
            "--vocab-size",
            "300",
            "--corpora",
            "words",
        ];
        let value = self.succeed(&trained);
        assert_eq!(value["vocabulary"], 300);
        self.path().join(value["path"].as_str().unwrap())
    }

    /// Trains the recipe that names `tokenizer`; gives the run's id.
    fn train(&self, recipe: &str, tokenizer: &str) -> Value {
        let text = RECIPE.replace("TOKENIZER", tokenizer);
        write(self.path(), recipe, &text);
        self.succeed(&["train", recipe])
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut folders = vec![self.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push((path.clone(), fs::read(&path).unwrap())),
                }
            }
        }
        files.sort();
        files
    }
}

#[test]
fn a_checkpoint_needs_no_tokenizer_beside_it() {
    let bench = Bench::new();
    let file = bench.train_tokenizer("small");
    let trained = bench.train("recipe.toml", "small");
    let run = trained["trial"].as_str().unwrap();
    fs::remove_file(file).unwrap();
    let sample = bench.succeed(&["sample", run, "--prompt", "the wind 🙂", "--tokens", "5"]);
    assert!(sample["text"].is_string());
    let eval = bench.succeed(&["eval", run]);
    assert_eq!(eval["bpb"], trained["eval"]["bpb"]);
    bench.refuse(
        &["train", "recipe.toml"],
        "recipe.toml:3",
        "no such tokenizer",
    );
    assert!(
        bench
            .path()
            .join("home/runs")
            .join(run)
            .join("recipe.toml")
            .is_file()
    );
}

#[test]
fn a_run_is_the_same_wherever_its_tokenizer_lies() {
    let bench = Bench::new();
    let file = bench.train_tokenizer("small");
    let named = bench.train("recipe.toml", "small");
    fs::create_dir_all(bench.path().join("recipes/kept")).unwrap();
    fs::copy(&file, bench.path().join("recipes/kept/tokenizer.json")).unwrap();
    fs::copy(&file, bench.path().join("recipes/some.json")).unwrap();
    // Seen from the recipe's folder: a folder, a word that is a folder, a file.
    for tokenizer in ["./kept", "kept", "some.json"] {
        let again = bench.train("recipes/recipe.toml", tokenizer);
        assert_eq!(again["trial"], named["trial"]);
    }
    // An override is seen from here.
    let change = "data.tokenizer=recipes/some.json";
    let again = bench.succeed(&["train", "recipe.toml", change]);
    assert_eq!(again["trial"], named["trial"]);
    bench.refuse(
        &["train", "recipe.toml", "data.tokenizer=some.json"],
        "override",
        "no such file",
    );
}

#[test]
fn a_study_sees_its_paths_from_its_own_folder_wherever_it_is_run() {
    let bench = Bench::new();
    let file = bench.train_tokenizer("small");
    write(
        bench.path(),
        "recipe.toml",
        &RECIPE.replace("TOKENIZER", "char"),
    );
    let study = write(bench.path(), "studies/study.toml", STUDY);
    fs::create_dir(bench.path().join("recipes")).unwrap();
    fs::copy(&file, bench.path().join("recipes/some.json")).unwrap();
    let here = bench.succeed(&["plan", "studies/study.toml"]);
    let mut elsewhere = bench.command(&["plan", study.to_str().unwrap()]);
    let output = elsewhere.current_dir("/").output().unwrap();
    let there: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(here["study"].as_str().unwrap().starts_with("paths-"));
    assert_eq!(there["study"], here["study"]);
    fs::remove_file(bench.path().join("recipes/some.json")).unwrap();
    bench.refuse(
        &["plan", "studies/study.toml"],
        "study.toml:3",
        "no such file",
    );
}

#[test]
fn a_trained_tokenizer_is_the_same_on_any_number_of_threads() {
    let bench = Bench::new();
    let files: Vec<Vec<u8>> = ["1", "2", "7"]
        .map(|threads| {
            let name = format!("t{threads}");
            let args = [
                "tokenizer",
                "train",
                &name,
                "--vocab-size",
                "400",
                "--corpora",
                "words,tales",
            ];
            let output = bench.output(&args, threads);
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            fs::read(bench.path().join(format!("home/tokenizers/{name}.json"))).unwrap()
        })
        .into();
    assert!(files.iter().all(|file| *file == files[0]));
    // The package reads it too.
    tokenizers::Tokenizer::from_bytes(&files[0]).unwrap();
}

#[test]
fn validation_and_test_parts_are_not_trained_on() {
    let bench = Bench::new();
    let seen = "again and again\n\n".repeat(100);
    let unseen = "zyzzyva zyzzyva zyzzyva\n\n".repeat(10);
    // The last fifteenth of the text: its test and its validation part.
    write(bench.path(), "tail.txt", &(seen + &unseen));
    bench.succeed(&["data", "add", "tail.txt", "tail"]);
    bench.succeed(&[
        "tokenizer",
        "train",
        "tail",
        "--vocab-size",
        "400",
        "--corpora",
        "tail",
    ]);
    let file = fs::read_to_string(bench.path().join("home/tokenizers/tail.json")).unwrap();
    assert!(file.contains("again") && !file.contains("zy"));
}

#[test]
fn tokenizers_are_listed_and_shown() {
    let bench = Bench::new();
    bench.train_tokenizer("small");
    let listed = bench.succeed(&["tokenizer", "list"]);
    let names: Vec<&str> = listed["tokenizers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["byte", "char", "small"]);
    let shown = bench.succeed(&["tokenizer", "show", "the tunnel"]);
    let tokens = |idx: usize| {
        shown["tokenizers"][idx]["tokens"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert_eq!(tokens(0).len(), 10);
    let small: String = tokens(2).iter().filter_map(|t| t.as_str()).collect();
    assert_eq!(small, "the tunnel");
    assert!(tokens(2).len() < 8);
    let stat = bench.succeed(&["data", "stat", "words", "--tokenizer", "small"]);
    assert_eq!(stat["vocabulary"], 300);
}

#[test]
fn bad_orders_for_a_tokenizer_change_nothing() {
    let bench = Bench::new();
    let file = bench.train_tokenizer("small");
    let train = |name: &'static str, size: &'static str, corpora: &'static str| {
        [
            "tokenizer",
            "train",
            name,
            "--vocab-size",
            size,
            "--corpora",
            corpora,
        ]
    };
    bench.refuse(&train("a/b", "300", "words"), "NAME", "letters");
    bench.refuse(&train("char", "300", "words"), "NAME", "built in");
    bench.refuse(&train("other", "70000", "words"), "--vocab-size", "16-bit");
    bench.refuse(&train("other", "300", "wordz"), "wordz", "did you mean");
    bench.refuse(&train("small", "301", "words"), "NAME", "taken");
    // The same again is no other tokenizer.
    assert_eq!(bench.train_tokenizer("small"), file);
    fs::write(&file, "{").unwrap();
    write(
        bench.path(),
        "recipe.toml",
        &RECIPE.replace("TOKENIZER", "small"),
    );
    bench.refuse(&["train", "recipe.toml"], "recipe.toml:3", "small.json");
    bench.refuse(
        &["tokenizer", "show", "text", "--tokenizer", "smal"],
        "smal",
        "did you mean",
    );
}
