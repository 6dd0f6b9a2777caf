//! Submitted studies: gates, a store that survives everything, and the supervisor that runs them.
//!
//! [`submit`] checks a study ([`check`]: is it well formed, was it asked before), has it planned by a child
//! process, holds it against the [`limits`], and puts it into the [`store`]. The
//! [`supervisor`], a detached process of which a home has one, runs it as `windtunnel run` on a
//! [`snapshot`] of what it reads. Whoever submits may be killed at any moment, and so may the supervisor and
//! its child: trials are content-addressed, so whoever comes next goes on.
//!
//! Who can write to the home's files can change them. What that would bend, limits, submissions and
//! verdicts, is written down in a [`journal`] whose lines hold the digest of the one before, and
//! [`audit`] says where the files no longer agree with it. It detects; it prevents nothing.

pub mod audit;
pub mod children;
pub mod evaluation;
pub mod gate;
pub mod journal;
pub mod known;
pub mod limits;
pub mod snapshot;
pub mod store;
pub mod supervisor;

use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

pub use children::{Settings, plan};
pub use gate::submit;
pub use journal::{Event, Kind};
pub use known::{Checked, check};
pub use store::Store;
pub use supervisor::ensure_supervisor;

use crate::{
    error::{Error, Result},
    toml_file::Source,
};

/// The text of a study, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyText {
    /// TOML.
    pub text: String,
    /// `base` and tokenizers are seen from here.
    pub folder: PathBuf,
    /// What errors call it.
    pub file: String,
}

impl StudyText {
    /// A text that is in no file.
    pub fn new(text: String, folder: PathBuf) -> Self {
        let file = "study.toml".into();
        Self { text, folder, file }
    }

    /// Errors when the file can't be read.
    pub fn read(path: &Path) -> Result<Self> {
        let source = Source::read(path)?;
        let name = path.file_name().unwrap_or_default();
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        // A study in a linked folder sees its recipe from where it really is.
        let folder = fs::canonicalize(&folder).map_err(|e| Error::io(&folder, "find", &e))?;
        Ok(Self {
            text: source.text,
            folder,
            file: name.to_string_lossy().into(),
        })
    }

    pub fn source(&self) -> Source {
        Source {
            path: self.folder.join(&self.file),
            text: self.text.clone(),
        }
    }
}

/// A study handed in.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    pub study: StudyText,
    /// Names this submission: the same key again is the same job, which runs once.
    pub key: String,
    /// Who hands it in, whatever the study says: "human", or a model's name.
    pub proposer: String,
    /// Spent on the API for it so far; a part of what [`Store::spend`] was told.
    pub dollars: f64,
    /// Run it even where it is blind; its verdict says so for good.
    pub exploratory: bool,
}

/// Who needs no one's approval to declare several changes, or another evaluation, on purpose.
pub const HUMAN: &str = "human";

/// Where a submitted study is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// For a person's approval.
    Waiting,
    Queued,
    Running,
    Done,
    Failed,
    /// By a gate.
    Refused,
    /// By a person.
    Rejected,
    Cancelled,
    /// Over its budget; what was trained is kept.
    Stopped,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the supervisor has something to do.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }

    /// Whether nothing more happens by itself, or by a person's approval.
    pub fn is_over(self) -> bool {
        !self.is_open() && self != Self::Waiting
    }
}

/// A person's yes, to one text and one cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    pub who: String,
    /// Whether it was typed at a terminal.
    pub terminal: bool,
    pub device_minutes: f64,
    pub dollars: f64,
    /// Digest of what may run.
    pub text: String,
}

/// A submitted study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub id: String,
    pub key: String,
    pub name: String,
    pub claim: String,
    /// Its contract's id, as far as that is known.
    pub study: Option<String>,
    pub state: State,
    pub proposer: String,
    pub campaign: Option<String>,
    pub exploratory: bool,
    /// Distinct ones, and how many of them have ended.
    pub trials: usize,
    pub finished: usize,
    /// Predicted.
    pub minutes: f64,
    pub spent_minutes: f64,
    /// Spent on the API for it.
    pub dollars: f64,
    pub approval: Option<Approval>,
    /// Why it waits, was refused or failed, with a remedy.
    pub why: Option<String>,
    /// "ARM: CALL", by arm.
    pub verdict: Option<String>,
    /// Of its snapshot, all files.
    pub text: String,
    /// Digest of study and recipe as its contract has it; of each rung of a ladder.
    pub written: Vec<String>,
    /// The study among its snapshot's files.
    pub file: String,
    pub how: How,
    /// Seconds since 1970.
    pub submitted_at: u64,
    /// A cancellation was asked for while it ran.
    pub cancel: bool,
    /// How often its process died of a signal.
    pub deaths: u32,
}

/// How a job is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct How {
    pub device: String,
    pub dtype: String,
    /// As planned: another number would make other trials.
    pub threads: Option<usize>,
    pub jobs: Option<usize>,
}

impl Job {
    /// Its folder: the snapshot under `files/`, `log`, `result.json`.
    pub fn folder(&self, home: &Path) -> PathBuf {
        store::folder(home, &self.id)
    }

    /// The study that it runs.
    pub fn study_path(&self, home: &Path) -> PathBuf {
        self.folder(home).join("files").join(&self.file)
    }

    /// What its process says on stderr.
    pub fn log_path(&self, home: &Path) -> PathBuf {
        self.folder(home).join("log")
    }

    /// The last lines of what a job's process said; none where it has not begun.
    pub fn log_tail(&self, home: &Path, lines: usize) -> Result<Vec<String>> {
        let path = self.log_path(home);
        match fs::read(&path) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let all: Vec<&str> = text.lines().collect();
                let from = all.len().saturating_sub(lines);
                Ok(all[from..].iter().map(|line| line.to_string()).collect())
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Error::io(&path, "read", &e)),
        }
    }

    /// What its process printed when it ended.
    pub fn result_path(&self, home: &Path) -> PathBuf {
        self.folder(home).join("result.json")
    }

    /// One line for a list.
    pub fn line(&self) -> String {
        let mut line = format!("{}  {:<9} {}", self.id, self.state.name(), self.name);
        if self.state.is_open() {
            line += &format!(
                "  {} of {} trials, {:.1} of about {:.1} minutes",
                self.finished, self.trials, self.spent_minutes, self.minutes
            );
        }
        for words in self.verdict.iter().chain(&self.why) {
            line += &format!("  {words}");
        }
        line
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
