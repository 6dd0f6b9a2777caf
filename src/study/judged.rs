//! Finished studies read back, each verdict held against the outcomes that it was judged from.

use super::{
    contract::{Contract, StudyDir, studies},
    runner::judge_again,
    verdict::{ArmVerdict, Verdict},
};
use crate::{
    error::{Error, Result, nearest},
    files,
};
use std::path::Path;

/// A study with its verdict.
#[derive(Debug, Clone)]
pub struct Judged {
    pub contract: Contract,
    pub verdict: Verdict,
    /// On the device by the clock on the wall, of every process that trained some of it; what its trials
    /// took where none was written down.
    pub minutes: f64,
    /// When the last of them ended, in seconds since 1970; 0 where none was written down.
    pub at: u64,
}

impl Judged {
    /// The arms that have a verdict worth telling: none of a swarm of one seed.
    pub fn arms(&self) -> impl Iterator<Item = &ArmVerdict> {
        let told = self.contract.terms.space.is_none() || self.verdict.seeds > 1;
        self.verdict.arms.iter().filter(move |_| told)
    }
}

/// Why a study was not read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    pub study: String,
    pub why: String,
}

/// The study of this home that `id` means: its id, or the start of it where that is enough. Unlike
/// [`StudyDir::find`] it takes no folder, so that a caller who is not trusted can't bring a study of
/// its own. Errors when there is none, or more than one.
pub fn find(home: &Path, id: &str) -> Result<StudyDir> {
    let ids = StudyDir::all(home);
    let matching: Vec<&String> = ids.iter().filter(|known| known.starts_with(id)).collect();
    let place = format!("study \"{id}\"");
    match matching[..] {
        _ if ids.iter().any(|known| known == id) => Ok(StudyDir::new(studies(home).join(id))),
        [known] if !id.is_empty() => Ok(StudyDir::new(studies(home).join(known))),
        [] => Err(Error::input(
            place,
            "no study in the ledger has this id",
            match nearest(id, ids.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}? `windtunnel ls` lists them"),
                None => "see `windtunnel ls` for the studies there are".into(),
            },
        )),
        _ => Err(Error::input(
            place,
            format!("{} studies start so", matching.len()),
            "give more of the id; `windtunnel ls` lists them",
        )),
    }
}

/// A study's verdict as it was written down. Errors when it is not there yet, damaged, or not what
/// its outcomes say.
pub fn verdict(home: &Path, dir: &StudyDir, contract: &Contract) -> Result<Verdict> {
    let remedy = "run the study again; finished trials are kept";
    let verdict: Verdict = files::read_json(&dir.verdict_path(), remedy)?;
    match verdict == judge_again(home, contract)? {
        true => Ok(verdict),
        false => Err(Error::input(
            dir.verdict_path().display().to_string(),
            "the verdict is not what the outcomes say",
            remedy,
        )),
    }
}

/// Reads a finished study. Errors as [`verdict`] does.
pub fn read(home: &Path, dir: &StudyDir) -> Result<Judged> {
    let contract = dir.contract()?;
    let verdict = verdict(home, dir, &contract)?;
    let stretches = dir.stretches()?;
    let minutes = stretches.iter().map(|s| s.spent.minutes).sum();
    let minutes = match minutes {
        0.0 => verdict.cost.seconds / 60.0,
        minutes => minutes,
    };
    Ok(Judged {
        contract,
        verdict,
        minutes,
        at: stretches.iter().map(|s| s.at).max().unwrap_or(0),
    })
}

/// Every finished study of a home, in order of id, and those whose files can't be trusted.
pub fn all(home: &Path) -> (Vec<Judged>, Vec<LeftOut>) {
    let mut judged = Vec::new();
    let mut left_out = Vec::new();
    for id in StudyDir::all(home) {
        let dir = StudyDir::new(studies(home).join(&id));
        if !dir.verdict_path().exists() {
            continue;
        }
        match read(home, &dir) {
            Ok(study) => judged.push(study),
            Err(error) => left_out.push(LeftOut {
                study: id,
                why: error.problem,
            }),
        }
    }
    (judged, left_out)
}
