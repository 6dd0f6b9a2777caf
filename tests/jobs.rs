//! Submitted studies through the binary: gates, idempotency, budgets, kills, and what an audit finds.

#[path = "jobs/audits.rs"]
mod audits;
#[path = "support/bench.rs"]
mod bench;
#[path = "jobs/budgets.rs"]
mod budgets;
#[path = "support/clock.rs"]
mod clock;
#[path = "jobs/gates.rs"]
mod gates;
#[path = "jobs/kills.rs"]
mod kills;
#[path = "jobs/known.rs"]
mod known;

use bench::{RECIPE, SLOW};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const QUICK: u64 = 30;
/// Long enough to be met in the middle.
const LONG: u64 = 5_000;

/// Nothing takes so long, even on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

/// A project's folder with its home.
struct Bench {
    folder: TempDir,
}

impl Bench {
    /// With `recipe.toml` and `study.toml`.
    fn new(steps: u64) -> Self {
        let bench = Self {
            folder: TempDir::new().unwrap(),
        };
        fs::create_dir(bench.home()).unwrap();
        bench.recipe(steps);
        bench.study("study.toml", "slow", SLOW);
        // What steps cost here is measured once for all tests.
        fs::copy(calibration(), bench.home().join("calibration.json")).unwrap();
        bench
    }

    fn recipe(&self, steps: u64) {
        self.write(
            "recipe.toml",
            &RECIPE.replace("steps = 30", &format!("steps = {steps}")),
        );
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn study(&self, file: &str, name: &str, arms: &str) {
        self.decided(file, name, ("margin = 0.1\nseeds = 2", arms));
    }

    /// A study with these lines in its decision.
    fn decided(&self, file: &str, name: &str, (decision, arms): (&str, &str)) {
        let text = format!(
            "name = \"{name}\"\nbase = \"recipe.toml\"\n[hypothesis]\nclaim = \"It matters.\"\n\
             [decision]\n{decision}\n[arms.plain]\ncontrol = true\n{arms}\n"
        );
        self.write(file, &text);
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn home(&self) -> PathBuf {
        self.path("home")
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

    /// What a command prints with `--json`; it must end with `status`.
    fn said(&self, args: &[&str], status: i32) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(text.lines().next().unwrap()).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        self.said(args, 0)
    }

    fn submit(&self, study: &str, key: &str) -> Value {
        self.json(&["submit", study, "--key", key])
    }

    fn job(&self, id: &str) -> Value {
        self.json(&["jobs", id])["job"].clone()
    }

    /// Waits until a job is in one of these states.
    fn until(&self, id: &str, states: &[&str]) -> Value {
        let begun = Instant::now();
        loop {
            let job = self.job(id);
            if states.contains(&job["state"].as_str().unwrap()) {
                return job;
            }
            assert!(begun.elapsed() < PATIENCE, "waited for {states:?}: {job}");
            sleep(Duration::from_millis(50));
        }
    }

    /// Outcomes of all trials.
    fn outcomes(&self) -> Vec<PathBuf> {
        let Ok(runs) = fs::read_dir(self.home().join("runs")) else {
            return Vec::new();
        };
        let outcomes = runs.map(|run| run.unwrap().path().join("outcome.json"));
        outcomes.filter(|path| path.exists()).collect()
    }

    /// Nothing was changed that should not have been, and everything is as the journal says.
    fn audited(&self) {
        let audit = self.json(&["audit"]);
        assert_eq!(audit["wrong"].as_array().unwrap().len(), 0, "{audit}");
    }
}

impl Drop for Bench {
    /// No process of a test outlives it, whether it passed or not.
    fn drop(&mut self) {
        for pid in processes(&self.home(), "") {
            signal(pid, "KILL");
        }
    }
}

/// Pids of the supervisor ("supervise") and its child ("--stop-with-stdin") of a home.
fn processes(home: &Path, word: &str) -> Vec<u32> {
    let home = home.canonicalize().unwrap();
    let home = home.to_string_lossy().into_owned();
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let pid = path.file_name().unwrap().to_string_lossy().parse();
        let (Ok(pid), Ok(line)) = (pid, fs::read(path.join("cmdline"))) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&home) && line.contains(word) {
            pids.push(pid);
        }
    }
    pids
}

fn signal(pid: u32, name: &str) {
    let pid = pid.to_string();
    let _ = Command::new("kill").args(["-s", name, &pid]).status();
}

/// A calibration of this machine for the tests' recipe.
fn calibration() -> PathBuf {
    static MEASURED: OnceLock<TempDir> = OnceLock::new();
    let home = MEASURED.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let recipe = RECIPE.replace("{steps}", "30");
        fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
        let text = format!(
            "name = \"measured\"\nbase = \"recipe.toml\"\n[hypothesis]\nclaim = \"It matters.\"\n\
             [decision]\nmargin = 0.1\nseeds = 2\n[arms.plain]\ncontrol = true\n{SLOW}\n"
        );
        fs::write(folder.path().join("study.toml"), text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_windtunnel"))
            .args(["plan", "study.toml", "--home", "home", "--device", "cpu"])
            .args(["--threads", "1"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success());
        folder
    });
    home.path().join("home/calibration.json")
}
