//! What makes verdicts worth trusting, through the binary: studies that stop by themselves, checks
//! before and after, the noise bank, campaigns, known answers.

#[path = "trust/campaigns.rs"]
mod campaigns;
#[path = "trust/known_answers.rs"]
mod known_answers;
#[path = "trust/noise.rs"]
mod noise;
#[path = "trust/sequential.rs"]
mod sequential;
#[path = "trust/validity.rs"]
mod validity;

use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};
use tempfile::TempDir;

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
steps = 30
[optimizer]
lr = 3e-3
[eval]
every = 5
windows = 20
"#;

const SLOW: &str = "[arms.slow]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 1e-5 }";

/// A folder with a recipe, and a home.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
        Self { folder }
    }

    /// Writes `file`, a study with these decision lines and arms beside a control.
    fn study(&self, file: &str, decision: &str, arms: &str) {
        let name = file.trim_end_matches(".toml");
        let text = format!(
            "name = \"{name}\"\nbase = \"recipe.toml\"\n[hypothesis]\nclaim = \"It matters.\"\n\
             [decision]\n{decision}\n[arms.plain]\ncontrol = true\n{arms}\n"
        );
        fs::write(self.folder.path().join(file), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command
            .args(args)
            .args(["--home", "home", "--device", "cpu", "--threads", "1"])
            .current_dir(self.folder.path());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command prints with `--json`; it must succeed.
    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What a refused command says, its status checked.
    fn refused(&self, args: &[&str], status: i32) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        stderr
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The folder of a study that ran.
    fn study_dir(&self, run: &Value) -> PathBuf {
        self.home()
            .join("studies")
            .join(run["study"].as_str().unwrap())
    }
}
