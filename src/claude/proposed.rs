//! What became of a proposal, written into its folder beside the exchanges.

use super::exchange::folders;
use crate::{error::Error, files};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What stands between a proposal and the device, in the order in which it is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// An answer that is whole, and JSON.
    Answer,
    /// Keys, types and ranges of the draft.
    Form,
    /// The study as a file: paths inside the project, keys of its recipe, one factor an arm.
    Study,
    /// What it would be judged by.
    Evaluation,
    /// A question that was answered before.
    Repeat,
    /// Memory, limits of its own, and whether it can see its margin.
    Plan,
    /// Hours and dollars of this autopilot.
    Budget,
    /// What it is likely to teach for its minutes.
    Worth,
    /// The home's limits, and a person.
    Person,
}

impl Gate {
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Form => "form",
            Self::Study => "study",
            Self::Evaluation => "evaluation",
            Self::Repeat => "repeat",
            Self::Plan => "plan",
            Self::Budget => "budget",
            Self::Worth => "worth",
            Self::Person => "person",
        }
    }
}

/// What a gate said to one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objection {
    pub gate: Gate,
    pub claim: Option<String>,
    pub place: String,
    pub problem: String,
    pub remedy: String,
    /// A job that waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

impl Objection {
    pub fn new(gate: Gate, claim: Option<&str>, error: &Error) -> Self {
        Self {
            gate,
            claim: claim.map(Into::into),
            place: error.place.clone(),
            problem: error.problem.clone(),
            remedy: error.remedy.clone(),
            job: None,
        }
    }

    /// "refused at the gate \"form\": place: problem".
    pub fn in_words(&self) -> String {
        format!(
            "gate {}: {}: {}",
            self.gate.name(),
            self.place,
            self.problem
        )
    }
}

/// How a round of proposing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Written down for a person to review.
    Written,
    /// Handed to the supervisor.
    Submitted,
    /// It has its verdict.
    Judged,
    /// It came to no verdict: failed, stopped, cancelled, or the conversation broke off.
    Unfinished,
    /// For a person's approval.
    Waiting,
    /// No answer passed the gates.
    #[default]
    Refused,
    /// The model would not answer.
    Declined,
}

/// `outcome.json` in a proposal's folder.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Proposed {
    pub schema: String,
    /// The folder's number.
    pub proposal: String,
    /// The model that proposed it.
    pub proposer: String,
    pub about: Option<String>,
    pub fate: Fate,
    pub claim: Option<String>,
    /// What the gates said, in order.
    pub objections: Vec<Objection>,
    pub job: Option<String>,
    /// Its contract's id.
    pub study: Option<String>,
    /// "ARM: CALL".
    pub verdict: Option<String>,
    /// Expected bits about the direction of the effect, and the minutes that they were to cost.
    pub expected_bits: Option<f64>,
    pub predicted_minutes: Option<f64>,
    /// Spent on the API for it.
    pub dollars: f64,
    /// The finding on it, as it was recorded; or why there is none.
    pub finding: Option<String>,
    /// What the proposer would ask next.
    #[serde(default)]
    pub next_questions: Vec<String>,
}

const FILE: &str = "outcome.json";

impl Proposed {
    pub const SCHEMA: &str = "windtunnel.proposed.v1";

    /// Writes it into its folder.
    pub fn keep(&self, folder: &Path) -> crate::error::Result<PathBuf> {
        let path = folder.join(FILE);
        files::write_json(&path, self)?;
        Ok(path)
    }

    /// Why it did not run, if it did not.
    pub fn why_not(&self) -> Option<String> {
        match self.fate {
            Fate::Written | Fate::Submitted | Fate::Judged => None,
            Fate::Declined => Some("the model declined to answer".into()),
            Fate::Unfinished | Fate::Waiting | Fate::Refused => {
                let last = self.objections.last().map(Objection::in_words);
                Some(last.unwrap_or("the conversation broke off".into()))
            }
        }
    }
}

/// What became of every proposal of a home, in order; what can't be read is left out, for it decides
/// nothing.
pub fn all(home: &Path) -> Vec<Proposed> {
    let entries = fs::read_dir(folders(home)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path().join(FILE)).collect();
    paths.sort();
    let read = |path: PathBuf| serde_json::from_str(&fs::read_to_string(path).ok()?).ok();
    paths.into_iter().filter_map(read).collect()
}

/// (claim, why) of those that did not run, the oldest first: each objection that a gate had.
pub fn turned_away(home: &Path) -> Vec<(String, String)> {
    let of = |proposed: Proposed| {
        let ran = proposed.why_not().is_none();
        let objections = proposed.objections.into_iter().filter(move |_| !ran);
        objections.filter_map(|objection| Some((objection.claim.clone()?, objection.in_words())))
    };
    all(home).into_iter().flat_map(of).collect()
}
