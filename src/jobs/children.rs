//! This program's own commands, run as child processes: same home, device, number type, threads.

use super::{StudyText, snapshot::Snapshot};
use crate::error::{Error, Kind, Result};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

/// How this process's own commands are run again.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// This program.
    pub program: PathBuf,
    pub home: PathBuf,
    /// The project's folder: what a study reads lies inside.
    pub root: PathBuf,
    /// As `--device` takes it.
    pub device: String,
    /// As `--dtype` takes it.
    pub dtype: String,
    pub threads: Option<usize>,
}

/// What no child has a use for.
const SECRETS: [&str; 2] = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"];

impl Settings {
    /// Of this program, with its home and project made absolute; the device is chosen. Errors when
    /// the project's folder is not there.
    pub fn new(home: &Path, root: &Path) -> Result<Self> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|e| Error::io(path, "find", &e));
        let program = std::env::current_exe();
        Ok(Self {
            program: program.map_err(|e| Error::io(Path::new("windtunnel"), "find", &e))?,
            home: absolute(home)?,
            root: fs::canonicalize(root).map_err(|e| Error::io(root, "find", &e))?,
            device: "auto".into(),
            dtype: "f32".into(),
            threads: None,
        })
    }

    /// A command of this program with these settings, without secrets.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).arg("--home").arg(&self.home).args([
            "--device",
            &self.device,
            "--dtype",
            &self.dtype,
        ]);
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        for secret in SECRETS {
            command.env_remove(secret);
        }
        command
    }
}

/// What `windtunnel plan --json` says of a study. Errors as it does: status 3 where limits or gates
/// refuse the study.
pub fn plan(settings: &Settings, study: &StudyText) -> Result<Value> {
    let snapshot = Snapshot::take(settings, study)?;
    let planned = planned(settings, &snapshot, false)?;
    match planned.refused {
        Some(error) => Err(error),
        None => Ok(planned.value),
    }
}

/// A study's plan, and what refuses it.
pub struct Planned {
    pub value: Value,
    pub refused: Option<Error>,
}

/// Has a snapshot planned, blind or not where it is `exploratory`. Errors when the study is wrong.
pub fn planned(settings: &Settings, snapshot: &Snapshot, exploratory: bool) -> Result<Planned> {
    let folder = Scratch::new()?;
    snapshot.write(&folder.0)?;
    let study = folder.0.join(&snapshot.file);
    let mut command = settings.command(&["plan", "--json"]);
    if exploratory {
        command.arg("--exploratory");
    }
    let output = command.arg(&study).stdin(Stdio::null()).output();
    let output = output.map_err(|e| Error::io(&settings.program, "start", &e))?;
    let said = Said::read(&output.stdout);
    let refused = said
        .error
        .map(|error| error.seen_in(&folder.0, &settings.root));
    match (said.result, refused) {
        (_, Some(error)) if error.kind != Kind::Refused => Err(error),
        (None, Some(error)) => Ok(Planned {
            value: Value::Null,
            refused: Some(error),
        }),
        (Some(value), refused) => Ok(Planned { value, refused }),
        (None, None) => Err(Error::failed(
            "windtunnel plan",
            format!(
                "ended with {} and said: {}",
                output.status,
                last_line(&output.stderr)
            ),
            "run it by hand on the study's file",
        )),
    }
}

/// What a child said with `--json`.
#[derive(Default)]
pub struct Said {
    pub result: Option<Value>,
    pub error: Option<Error>,
}

impl Said {
    /// A result, an error, or one after the other, each on its line.
    pub fn read(stdout: &[u8]) -> Self {
        let mut said = Self::default();
        for line in String::from_utf8_lossy(stdout).lines() {
            let Ok(value) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            match error(&value) {
                Some(error) => said.error = Some(error),
                None => said.result = Some(value),
            }
        }
        said
    }
}

/// An error that a child printed as JSON.
fn error(value: &Value) -> Option<Error> {
    if value["schema"] != "windtunnel.error.v1" {
        return None;
    }
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_string();
    let kind = match value["status"].as_u64() {
        Some(1) => Kind::Unexpected,
        Some(2) => Kind::Input,
        Some(3) => Kind::Refused,
        Some(130) => Kind::Interrupted,
        _ => Kind::Failed,
    };
    Some(Error::new(
        kind,
        text("place"),
        text("problem"),
        text("remedy"),
    ))
}

impl Error {
    /// The same with paths in a copy of a folder as paths in the folder itself.
    fn seen_in(self, copy: &Path, root: &Path) -> Self {
        let copy = copy.display().to_string();
        let root = root.display().to_string();
        let seen = |text: String| text.replace(&copy, &root);
        Self {
            place: seen(self.place),
            problem: seen(self.problem),
            remedy: seen(self.remedy),
            ..self
        }
    }
}

/// The last line of what a child said to people, for an error of ours.
fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().rev();
    let line = lines.map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("nothing").to_string()
}

/// A folder of the system's for temporary files, removed when it is done with.
struct Scratch(PathBuf);

static SCRATCHES: AtomicU64 = AtomicU64::new(0);

impl Scratch {
    fn new() -> Result<Self> {
        let idx = SCRATCHES.fetch_add(1, Ordering::Relaxed);
        let name = format!("windtunnel-plan-{}-{idx}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Of a process that had this number and was killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).map_err(|e| Error::io(&path, "create the folder", &e))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
