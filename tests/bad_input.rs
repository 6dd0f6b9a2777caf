//! Bad input through the binary: one message with place, problem and remedy, status 2, and not a
//! byte changed.

#[path = "support/clock.rs"]
mod clock;

mod bad_input {
    mod data;
    mod disk;
    mod kept;
    mod mixtures;
    mod recipes;
    mod studies;
}

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

const RECIPE: &str = r#"seed = 1
[data]
tokenizer = "char"
mixture = [{ corpus = "words", weight = 1.0 }]
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
[batch]
rows = 4
[budget]
steps = 12
[optimizer]
lr = 3e-3
[eval]
every = 6
windows = 8
[checkpoint]
every = 5
"#;

const STUDY: &str = r#"name = "study"
base = "recipe.toml"
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

/// A folder with `recipe.toml`, `study.toml`, and a home that knows a corpus called "words".
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let bench = Self { folder };
        bench.write("recipe.toml", RECIPE);
        bench.write("study.toml", STUDY);
        let paragraph = "The quick brown fox jumps over the lazy dog and sleeps.\n\n";
        bench.write("words.txt", paragraph.repeat(60));
        bench.succeed(&["data", "add", "words.txt", "words"]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command
            .args(args)
            .args(["--home", "home", "--device", "cpu", "--json"])
            .env_remove("WINDTUNNEL_MIRROR")
            .current_dir(self.folder.path());
        command
    }

    /// What a command prints; it must succeed.
    fn succeed(&self, args: &[&str]) -> Value {
        let output = self.command(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that has to be refused for bad input and leave every byte as it was.
    fn refuse(&self, args: &[&str], expected: Expected) {
        self.refuse_command(&mut self.command(args), expected);
    }

    fn refuse_command(&self, command: &mut Command, expected: Expected) {
        let before = self.bytes();
        let output = command.output().unwrap();
        let message = Message::of(&output);
        message.check(&expected);
        let after = self.bytes();
        let names = |bytes: &BTreeMap<PathBuf, Vec<u8>>| bytes.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "{message:?}");
        assert!(after == before, "a file was changed: {message:?}");
    }

    /// Every file of the folder, and every folder with no bytes.
    fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut bytes = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    bytes.insert(path.clone(), Vec::new());
                    folders.push(path);
                } else {
                    bytes.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        bytes
    }

    /// The one folder of a run under the home.
    fn run_dir(&self) -> PathBuf {
        let mut runs = fs::read_dir(self.path("home/runs")).unwrap();
        let run = runs.next().unwrap().unwrap().path();
        assert!(runs.next().is_none());
        run
    }
}

/// Words that each part of a message has to contain.
#[derive(Debug, Clone, Copy)]
struct Expected<'a> {
    place: &'a str,
    problem: &'a str,
    remedy: &'a str,
}

const fn says<'a>(place: &'a str, problem: &'a str, remedy: &'a str) -> Expected<'a> {
    Expected {
        place,
        problem,
        remedy,
    }
}

/// An error as a program reads it.
#[derive(Debug)]
struct Message {
    status: Option<i32>,
    place: String,
    problem: String,
    remedy: String,
    stderr: String,
}

impl Message {
    fn of(output: &Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let value: Value = serde_json::from_str(&stdout)
            .unwrap_or_else(|_| panic!("not one object: {stdout}\n{stderr}"));
        assert_eq!(value["schema"], "windtunnel.error.v1", "{stdout}\n{stderr}");
        let part = |name: &str| value[name].as_str().unwrap().to_string();
        Self {
            status: output.status.code(),
            place: part("place"),
            problem: part("problem"),
            remedy: part("remedy"),
            stderr,
        }
    }

    fn check(&self, expected: &Expected) {
        assert_eq!(self.status, Some(2), "{self:#?}");
        assert_eq!(self.stderr.matches("error: ").count(), 1, "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        for (part, words) in [
            (&self.place, expected.place),
            (&self.problem, expected.problem),
            (&self.remedy, expected.remedy),
        ] {
            assert!(part.contains(words), "{words:?} is not in {self:#?}");
        }
    }
}

/// `text` with one part of it replaced, which has to be there once.
fn replaced(text: &str, part: &str, by: &str) -> String {
    assert_eq!(text.matches(part).count(), 1, "{part}");
    text.replace(part, by)
}

/// `file:LINE` of the first line that contains `words`.
fn at(file: &str, text: &str, words: &str) -> String {
    let line = text.lines().position(|line| line.contains(words)).unwrap();
    format!("{file}:{}", line + 1)
}

/// Keeps so many bytes of a file.
fn cut(path: &Path, keep: impl Fn(usize) -> usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..keep(bytes.len())]).unwrap();
}
