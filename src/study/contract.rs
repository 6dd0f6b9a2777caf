//! The contract: what a study fixed before its first trial, in `contract.json`, with its digest.
//!
//! Its id is the study's name and the digest's start, so a study that is edited is another study;
//! trials that both have in common are still trained once.

use super::{
    campaign::Place,
    proposal::{Decision, Hypothesis, Limits},
    space::Space,
    verdict::{Looks, Rule},
};
use crate::{
    device::DeviceClass,
    digest::sha256_json,
    error::{Error, Result, nearest},
    files,
    run::Run,
    run_dir::TrialId,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// What was agreed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    pub name: String,
    pub proposer: String,
    /// Digest of study and recipe as they were written.
    pub written: String,
    pub hypothesis: Hypothesis,
    pub decision: Decision,
    pub limits: Limits,
    pub device: DeviceClass,
    /// Digest of the sources that decide numbers.
    pub numerics: String,
    /// Digest of the validation windows.
    pub windows: String,
    pub seeds: Vec<u64>,
    /// Why its verdict is no test of the hypothesis, and never will be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exploratory: Vec<String>,
    /// Where the arms were drawn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<Space>,
    /// Of a study that is part of a campaign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<Place>,
    /// The control first.
    pub arms: Vec<ArmTerms>,
}

/// An arm, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmTerms {
    pub name: String,
    /// `None` for the control.
    pub factor: Option<String>,
    /// Against the control: (before, after) by path.
    pub changes: BTreeMap<String, (String, String)>,
    /// What changed with it, because it is computed from what the arm sets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub derived: BTreeMap<String, (String, String)>,
    /// Why a difference could not be put down to the factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confounded: Option<String>,
    /// Of one trial.
    pub tokens: u64,
    /// Of one trial.
    pub flops: f64,
    /// One for each seed.
    pub trials: Vec<TrialId>,
    /// With the first seed.
    pub run: Run,
}

/// Terms under their digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    pub schema: String,
    pub id: String,
    pub digest: String,
    pub terms: Terms,
}

/// Hexadecimal digits of the digest in a study's id.
const ID_DIGITS: usize = 8;

impl Contract {
    pub const SCHEMA: &str = "windtunnel.contract.v1";

    pub fn new(terms: Terms) -> Self {
        let digest = sha256_json(&terms);
        Self {
            schema: Self::SCHEMA.into(),
            id: format!("{}-{}", terms.name, &digest[..ID_DIGITS]),
            digest,
            terms,
        }
    }

    pub fn rule(&self) -> Rule {
        let d = &self.terms.decision;
        let looks = match (&self.terms.campaign, d.looks()) {
            // The budget is kept in e-values: one look, through the confidence sequence.
            (Some(_), Looks::Once) => Looks::EachSeed {
                first: d.seeds.most(),
                most: d.seeds.most(),
            },
            (_, looks) => looks,
        };
        let level = self.terms.campaign.as_ref().map(|place| place.level);
        Rule {
            metric: d.metric,
            margin: d.margin,
            alpha: level.map_or(d.alpha, |level| level.min(d.alpha)),
            matched: d.matched,
            looks,
        }
    }

    /// Writes the contract, unless it stands there already. Errors when what stands there is
    /// damaged or was edited.
    pub fn freeze(&self, home: &Path) -> Result<StudyDir> {
        let dir = StudyDir::new(studies(home).join(&self.id));
        if dir.contract_path().exists() {
            dir.contract()?;
            return Ok(dir);
        }
        fs::create_dir_all(dir.path()).map_err(|e| Error::io(dir.path(), "create", &e))?;
        files::write_json(&dir.contract_path(), self)?;
        Ok(dir)
    }
}

/// The folder of all studies.
pub fn studies(home: &Path) -> PathBuf {
    home.join("studies")
}

/// The folder of one study: `contract.json`, `verdict.json`, `report.md` and its pictures.
#[derive(Debug, Clone)]
pub struct StudyDir {
    path: PathBuf,
}

impl StudyDir {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn contract_path(&self) -> PathBuf {
        self.path.join("contract.json")
    }

    pub fn verdict_path(&self) -> PathBuf {
        self.path.join("verdict.json")
    }

    pub fn report_path(&self) -> PathBuf {
        self.path.join("report.md")
    }

    /// The frozen contract. Errors when it is damaged, or no longer has the digest it was frozen
    /// with.
    pub fn contract(&self) -> Result<Contract> {
        let path = self.contract_path();
        let remedy =
            "move this study's folder away and run the study again; finished trials are kept";
        let contract: Contract = files::read_json(&path, remedy)?;
        let frozen = Contract::new(contract.terms.clone());
        if frozen != contract {
            let digest = frozen.digest;
            return Err(Error::input(
                path.display().to_string(),
                format!(
                    "the contract was edited: its terms have digest {digest}, it was frozen with {}",
                    contract.digest
                ),
                remedy,
            ));
        }
        Ok(contract)
    }

    /// Ids of all studies of a home, in order.
    pub fn all(home: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(studies(home)) else {
            return Vec::new();
        };
        let mut ids: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|id| studies(home).join(id).join("contract.json").exists())
            .collect();
        ids.sort();
        ids
    }

    /// The study that `name` means: a folder, an id, or the start of one that is enough. Errors
    /// when there is none, or more than one.
    pub fn find(home: &Path, name: &str) -> Result<Self> {
        if Path::new(name).join("contract.json").is_file() {
            return Ok(Self::new(PathBuf::from(name)));
        }
        let ids = Self::all(home);
        let matching: Vec<&String> = ids.iter().filter(|id| id.starts_with(name)).collect();
        match matching[..] {
            [id] if !name.is_empty() => Ok(Self::new(studies(home).join(id))),
            [] => Err(Error::input(
                format!("study \"{name}\""),
                format!("no study in {} has this id", home.display()),
                match nearest(name, ids.iter().map(String::as_str)) {
                    Some(id) => format!("did you mean {id}? `windtunnel ls` lists them"),
                    None => "see `windtunnel ls` for the studies there are".into(),
                },
            )),
            _ => Err(Error::input(
                format!("study \"{name}\""),
                format!("{} studies start so", matching.len()),
                format!(
                    "give more of the id: {}",
                    matching
                        .iter()
                        .map(|id| id.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            )),
        }
    }
}
