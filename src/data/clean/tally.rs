//! What was removed, by what, and the record of it.

use super::{Cleaning, Job, against, beginning, filters::Rule};
use crate::{
    data::{source::SplitRule, split::Part},
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a document went, in the order in which it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    Empty,
    Filter(Rule),
    /// Index of the benchmark.
    Against(usize),
    Exact,
    Near,
}

/// A number for each part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByPart {
    pub train: u64,
    pub test: u64,
    pub validation: u64,
}

impl ByPart {
    pub fn sum(self) -> u64 {
        self.train + self.test + self.validation
    }

    fn add(&mut self, part: Part, n: u64) {
        match part {
            Part::Train => self.train += n,
            Part::Test => self.test += n,
            Part::Validation => self.validation += n,
        }
    }
}

/// What was there before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAndKept {
    pub read: ByPart,
    pub kept: ByPart,
}

/// What one rule, benchmark or kind of copy removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Removed {
    /// `empty`, `filter`, `against`, `exact` or `near`.
    pub transform: String,
    /// The rule, the benchmark, or the likeness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    pub documents: ByPart,
    pub bytes: u64,
    pub examples: Vec<Example>,
}

/// The beginning of what was removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    pub text: String,
    /// The beginning of what it is nearly a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
    /// Their Jaccard index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likeness: Option<f64>,
}

/// What a corpus was made of, how, and with what result: `<home>/clean/NAME.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub schema: String,
    pub corpus: String,
    pub source: Of,
    pub settings: Cleaning,
    pub against: Vec<against::About>,
    /// Digest of the new corpus.
    pub sha256: String,
    pub documents: ReadAndKept,
    pub bytes: ReadAndKept,
    /// In the order in which it was done.
    pub removed: Vec<Removed>,
    /// Training documents that went because a held-out one is the same, or nearly.
    pub copies_of_held_out: u64,
    /// Memory of the index of what came before.
    pub index_bytes: u64,
    pub version: String,
    pub revision: String,
}

/// The corpus that was cleaned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Of {
    pub corpus: String,
    pub sha256: String,
    pub split: SplitRule,
}

const EXAMPLES: usize = 3;

/// Counts as documents come.
#[derive(Default)]
pub struct Tally {
    documents: ReadAndKept,
    bytes: ReadAndKept,
    removed: BTreeMap<Cause, (ByPart, u64, Vec<Example>)>,
    copies_of_held_out: u64,
}

impl Tally {
    pub fn read(&mut self, part: Part, text: &str) {
        self.documents.read.add(part, 1);
        self.bytes.read.add(part, text.len() as u64);
    }

    pub fn kept(&mut self, part: Part, text: &str) {
        self.documents.kept.add(part, 1);
        self.bytes.kept.add(part, text.len() as u64);
    }

    pub fn wants_example(&self, cause: Cause) -> bool {
        let removed = self.removed.get(&cause);
        removed.is_none_or(|(_, _, examples)| examples.len() < EXAMPLES)
    }

    /// `like` is what it nearly repeats, and how nearly.
    pub fn removed(&mut self, cause: Cause, part: Part, text: &str, like: Option<(String, f64)>) {
        let (documents, bytes, examples) = self.removed.entry(cause).or_default();
        documents.add(part, 1);
        *bytes += text.len() as u64;
        if examples.len() < EXAMPLES && cause != Cause::Empty {
            examples.push(Example {
                text: beginning(text),
                like: like.as_ref().map(|(like, _)| beginning(like)),
                likeness: like.map(|(_, likeness)| likeness),
            });
        }
    }

    /// A document of `part` repeats one of another.
    pub fn repeats(&mut self, part: Part, of: Part) {
        self.copies_of_held_out += u64::from(part == Part::Train && of != Part::Train);
    }

    /// Errors when a part has nothing left.
    pub fn check(&self, name: &str) -> Result<()> {
        let ByPart {
            train,
            test,
            validation,
        } = self.documents.kept;
        let parts = [
            (train, "training"),
            (test, "test"),
            (validation, "validation"),
        ];
        match parts.into_iter().find(|(n, _)| *n == 0) {
            None => Ok(()),
            Some((_, part)) => Err(Error::input(
                format!("corpus \"{name}\""),
                format!("nothing would be left of the {part} part"),
                "ask for less, or keep validation and test as they are with --keep-held-out",
            )),
        }
    }

    pub fn record(self, job: &Job, sha256: &str, index_bytes: usize) -> Record {
        let removed = self.removed.into_iter();
        let removed = removed.map(|(cause, (documents, bytes, examples))| {
            let (transform, by) = in_words(cause, job);
            Removed {
                transform: transform.into(),
                by,
                documents,
                bytes,
                examples,
            }
        });
        Record {
            schema: "windtunnel.clean.v1".into(),
            corpus: job.name.into(),
            source: Of {
                corpus: job.source.name.clone(),
                sha256: job.source.digest.clone(),
                split: job.source.split.clone(),
            },
            settings: job.cleaning.clone(),
            against: job.against.iter().map(|b| b.about.clone()).collect(),
            sha256: sha256.into(),
            documents: self.documents,
            bytes: self.bytes,
            removed: removed.collect(),
            copies_of_held_out: self.copies_of_held_out,
            index_bytes: index_bytes as u64,
            version: env!("CARGO_PKG_VERSION").into(),
            revision: env!("WINDTUNNEL_REVISION").into(),
        }
    }
}

fn in_words(cause: Cause, job: &Job) -> (&'static str, Option<String>) {
    match cause {
        Cause::Empty => ("empty", None),
        Cause::Filter(rule) => ("filter", Some(rule.name().into())),
        Cause::Against(idx) => ("against", Some(job.against[idx].about.name.clone())),
        Cause::Exact => ("exact", None),
        Cause::Near => ("near", job.cleaning.near.map(|near| near.to_string())),
    }
}
