//! A folder with a tiny recipe and a home, and the binary that runs in it.

// Each test uses its part of it.
#![allow(dead_code)]

use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};
use tempfile::TempDir;
use windtunnel::{home::Home, run_dir::RunDir};

/// The least that trains: a fraction of a second.
pub const RECIPE: &str = r#"
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
steps = 30
[optimizer]
lr = 3e-3
[eval]
every = 10
windows = 20
"#;

/// An arm that hardly learns.
pub const SLOW: &str = "[arms.slow]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 1e-5 }";

pub struct Bench {
    pub folder: TempDir,
    /// Options of every command.
    options: Vec<String>,
}

impl Bench {
    /// With [`RECIPE`] as `recipe.toml`.
    pub fn new() -> Self {
        Self::with(RECIPE)
    }

    pub fn with(recipe: &str) -> Self {
        let bench = Self {
            folder: TempDir::new().unwrap(),
            options: ["--device", "cpu"].map(String::from).to_vec(),
        };
        bench.write("recipe.toml", recipe);
        bench
    }

    /// Every trial with one thread, whatever the machine.
    pub fn one_thread(mut self) -> Self {
        self.options.extend(["--threads".into(), "1".into()]);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes `file`, a study of that name with these decision lines, and arms beside a control.
    pub fn study(&self, file: &str, decision: &str, arms: &str) {
        let name = file.trim_end_matches(".toml");
        let text = format!(
            "name = \"{name}\"\nbase = \"recipe.toml\"\n[hypothesis]\nclaim = \"It matters.\"\n\
             [decision]\n{decision}\n[arms.plain]\ncontrol = true\n{arms}\n"
        );
        self.write(file, &text);
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.command_in("home", args)
    }

    pub fn command_in(&self, home: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command
            .args(args)
            .args(["--home", home])
            .args(&self.options)
            .current_dir(self.folder.path());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command prints with `--json`; it must succeed.
    pub fn json(&self, args: &[&str]) -> Value {
        self.json_in("home", args)
    }

    pub fn json_in(&self, home: &str, args: &[&str]) -> Value {
        let output = self
            .command_in(home, &[args, &["--json"]].concat())
            .output();
        let output = output.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{args:?}: one object on one line");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["schema"].as_str().unwrap().starts_with("windtunnel."));
        value
    }

    /// What a refused command says, its status checked.
    pub fn refused(&self, args: &[&str], status: i32) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        stderr
    }

    /// The folder of a study that ran.
    pub fn study_dir(&self, run: &Value) -> PathBuf {
        let id = run["study"].as_str().unwrap();
        self.home().join("studies").join(id)
    }

    pub fn run_dirs(&self, home: &str) -> Vec<RunDir> {
        let home = self.path(home);
        let ids = Home::runs(&home).into_iter();
        ids.map(|id| RunDir::new(home.join("runs").join(id)))
            .collect()
    }
}
