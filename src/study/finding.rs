//! Findings: what a verdict means, in words whose numbers were filled in from the ledger. In a study's
//! folder as `findings/1.json`, `findings/1.md` and so on; none is ever replaced.

use super::{contract::StudyDir, judged, verdict::Verdict};
use crate::{
    digest::sha256_json,
    error::{Error, Result},
    files,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// A finding as it was written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    pub schema: String,
    pub study: String,
    /// From 1, in the order in which they were written.
    pub number: usize,
    /// In seconds since 1970.
    pub at: u64,
    /// As it was written, with keys.
    pub template: String,
    /// With what the ledger said.
    pub text: String,
    /// What each key was filled in with.
    pub values: BTreeMap<String, String>,
    /// Keys of the library.
    pub citations: Vec<String>,
    /// Digests of the verdicts that it rests on, by study.
    pub rests_on: BTreeMap<String, String>,
}

/// A finding, and whether it still stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kept {
    #[serde(flatten)]
    pub finding: Finding,
    /// Why it does not: a verdict that it rests on has changed since, or is gone.
    pub stale: Option<String>,
}

const SCHEMA: &str = "windtunnel.finding.v1";

/// A verdict's digest, for what rests on it.
pub fn digest(verdict: &Verdict) -> String {
    sha256_json(verdict)
}

fn folder(dir: &StudyDir) -> PathBuf {
    dir.path().join("findings")
}

/// Findings of one study, in order. Errors when one is damaged.
pub fn of_study(home: &Path, dir: &StudyDir) -> Result<Vec<Kept>> {
    let Ok(entries) = fs::read_dir(folder(dir)) else {
        return Ok(Vec::new());
    };
    let mut numbers: Vec<usize> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".json")?.parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    let kept = numbers.into_iter().map(|number| {
        let path = folder(dir).join(format!("{number}.json"));
        let remedy = "move this file away; `windtunnel finding` writes another";
        let finding: Finding = files::read_json(&path, remedy)?;
        let stale = stale(home, &finding);
        Ok(Kept { finding, stale })
    });
    kept.collect()
}

/// Findings of every study of a home. Errors when one is damaged.
pub fn all(home: &Path) -> Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for id in StudyDir::all(home) {
        kept.extend(of_study(home, &judged::find(home, &id)?)?);
    }
    Ok(kept)
}

/// Why a finding no longer stands, if it does not.
fn stale(home: &Path, finding: &Finding) -> Option<String> {
    finding.rests_on.iter().find_map(|(study, before)| {
        let now = judged::find(home, study).and_then(|dir| {
            let remedy = "run the study again";
            files::read_json::<Verdict>(&dir.verdict_path(), remedy)
        });
        match now {
            Ok(now) if digest(&now) == *before => None,
            Ok(_) => Some(format!("the verdict of {study} has changed since")),
            Err(_) => Some(format!("the verdict of {study} can't be read any more")),
        }
    })
}

/// What a finding says, but for when and as which it is written down.
pub struct Said {
    pub template: String,
    pub text: String,
    pub values: BTreeMap<String, String>,
    pub citations: Vec<String>,
    pub rests_on: BTreeMap<String, String>,
}

/// Held while a process writes findings of a study; the system lets go of it when the process ends.
pub struct Lock {
    _file: File,
}

/// Waits until no other process writes findings of this study.
pub fn lock(dir: &StudyDir) -> Result<Lock> {
    let folder = folder(dir);
    fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", &e))?;
    let path = folder.join("lock");
    let file = File::create(&path).map_err(|e| Error::io(&path, "open", &e))?;
    file.lock().map_err(|e| Error::io(&path, "lock", &e))?;
    Ok(Lock { _file: file })
}

/// Writes a finding down under the next number; the caller holds the lock. One that was written before,
/// of the same verdicts, is that one.
pub fn keep(home: &Path, dir: &StudyDir, (said, at): (Said, u64), _lock: &Lock) -> Result<Kept> {
    let before = of_study(home, dir)?;
    let same = |kept: &&Kept| {
        kept.finding.template == said.template && kept.finding.rests_on == said.rests_on
    };
    if let Some(kept) = before.iter().find(same) {
        return Ok(kept.clone());
    }
    let finding = Finding {
        schema: SCHEMA.into(),
        study: dir.contract()?.id,
        number: before.last().map_or(1, |kept| kept.finding.number + 1),
        at,
        template: said.template,
        text: said.text,
        values: said.values,
        citations: said.citations,
        rests_on: said.rests_on,
    };
    let path = |ending| folder(dir).join(format!("{}.{ending}", finding.number));
    files::replace(&path("md"), finding.to_markdown().as_bytes())?;
    files::write_json(&path("json"), &finding)?;
    Ok(Kept {
        finding,
        stale: None,
    })
}

impl Finding {
    /// The finding as a page of its own.
    pub fn to_markdown(&self) -> String {
        let rests: Vec<String> = self
            .rests_on
            .iter()
            .map(|(study, digest)| format!("{study} (verdict {})", &digest[..digest.len().min(12)]))
            .collect();
        format!(
            "# Finding {} of {}\n\n{}\n\nRests on {}.\n",
            self.number,
            self.study,
            self.text.trim(),
            rests.join(", ")
        )
    }
}
