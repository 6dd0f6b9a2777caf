//! Campaigns: studies in one folder that share an error budget.
//!
//! A folder with a `campaign.toml` is a campaign. Its studies are a stream of tests under e-LOND (Xu &
//! Ramdas 2024): each gets a level from what is left of the budget, fixed in its contract before
//! its first trial, and looks at its seeds through the confidence sequence at that level. A study
//! draws seeds that no earlier one used, because a shared baseline makes errors come together; one
//! that reuses seeds is exploratory for good.

use super::{
    contract::{Contract, StudyDir},
    verdict::{Call, Verdict},
};
use crate::{
    error::{Error, Result},
    files,
    stats::multiplicity::{ELond, Spending},
    toml_file::Source,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// `campaign.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    pub name: String,
    /// The false discovery rate over all its studies.
    #[serde(default = "five_percent")]
    pub alpha: f64,
    /// How many studies there will be, where that is known: the budget is then shared evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub studies: Option<usize>,
    /// Whether a study takes the first seeds that no earlier one used, instead of its own.
    #[serde(default = "yes")]
    pub fresh_seeds: bool,
}

fn five_percent() -> f64 {
    0.05
}

fn yes() -> bool {
    true
}

/// A study's place in its campaign, fixed with its contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub campaign: Campaign,
    /// Studies before it.
    pub earlier: usize,
    /// Discoveries among them.
    pub discoveries: usize,
    /// What its verdict may err with: α·γ·(discoveries + 1).
    pub level: f64,
}

/// A study of a campaign, as far as it got.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub contract: Contract,
    pub place: Place,
    pub verdict: Option<Verdict>,
}

const FILE: &str = "campaign.toml";

impl Campaign {
    /// The campaign of a study's folder, if it is one. Errors when its file is wrong.
    pub fn of(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let source = Source::read(&path)?;
        let campaign: Self = source.parse()?;
        if !(campaign.alpha > 0.0 && campaign.alpha <= 0.5) {
            return Err(Error::input(
                source.place_of(&["alpha"]),
                format!("alpha is {}: out of range", campaign.alpha),
                "use a number above 0 and at most 0.5; 0.05 is usual",
            ));
        }
        if campaign.studies == Some(0) || campaign.name.trim().is_empty() {
            return Err(Error::input(
                path.display().to_string(),
                "a campaign has a name, and a study or more",
                "give name = \"…\", and studies = N only where N is known",
            ));
        }
        Ok(Some(campaign))
    }

    /// The studies of this campaign that a home has, in order. Errors when a contract or a verdict
    /// is damaged.
    pub fn members(&self, home: &Path) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        for id in StudyDir::all(home) {
            let dir = StudyDir::find(home, &id)?;
            let contract = dir.contract()?;
            let Some(place) = contract.terms.campaign.clone() else {
                continue;
            };
            if place.campaign.name != self.name {
                continue;
            }
            let remedy = "delete this file and run the study again; its trials are kept";
            let verdict = match dir.verdict_path().exists() {
                true => Some(files::read_json(&dir.verdict_path(), remedy)?),
                false => None,
            };
            members.push(Member {
                contract,
                place,
                verdict,
            });
        }
        members.sort_by_key(|member| member.place.earlier);
        Ok(members)
    }

    /// The place of the next study after these. Errors when the campaign has changed since, or has
    /// no place left. Studies that are not judged yet count as no discovery, which is never too
    /// generous.
    pub fn next(&self, members: &[Member], place: &str) -> Result<Place> {
        if let Some(member) = members.iter().find(|member| member.place.campaign != *self) {
            return Err(Error::input(
                place,
                format!(
                    "the campaign is not the one that {} was part of",
                    member.contract.id
                ),
                "put the file back as it was, or give the campaign another name",
            ));
        }
        let spending = self.studies.map_or(Spending::Open, Spending::Planned);
        let mut stream = ELond::new(self.alpha, spending);
        stream.n_tested = members.len();
        stream.n_discovered = members.iter().filter(|m| m.discovered()).count();
        let level = stream.level();
        if level <= 0.0 {
            return Err(Error::input(
                place,
                format!("all {} studies of the campaign are there", members.len()),
                "begin another campaign for more",
            ));
        }
        Ok(Place {
            campaign: self.clone(),
            earlier: stream.n_tested,
            discoveries: stream.n_discovered,
            level,
        })
    }
}

/// Errors when another study took this one's place in its campaign between planning and the home's
/// lock, which the caller holds.
pub fn check_place(home: &Path, contract: &Contract) -> Result<()> {
    let Some(place) = &contract.terms.campaign else {
        return Ok(());
    };
    let members = place.campaign.members(home)?;
    let begun = members.iter().any(|m| m.contract.id == contract.id);
    match begun || members.len() == place.earlier {
        true => Ok(()),
        false => Err(Error::input(
            place.campaign.name.clone(),
            "another study of the campaign has begun meanwhile",
            "run the same command again: it takes the next place, and fresh seeds",
        )),
    }
}

impl Member {
    /// Whether it found that an arm differs from the control, at its level. Exploratory studies
    /// discover nothing.
    pub fn discovered(&self) -> bool {
        let differs = |call: Call| matches!(call, Call::Better | Call::Candidate | Call::Worse);
        self.verdict.as_ref().is_some_and(|verdict| {
            verdict.exploratory.is_empty() && verdict.arms.iter().any(|arm| differs(arm.call))
        })
    }

    /// Trials whose validation loss its verdict has seen.
    pub fn validation_reads(&self) -> usize {
        let arms = self.contract.terms.arms.len();
        self.verdict
            .as_ref()
            .map_or(0, |verdict| verdict.seeds * arms)
    }
}

/// Seeds for a study of a campaign: those it asks for, or the first run of as many that are fresh;
/// and why it is exploratory, where they are not.
pub fn seeds(campaign: &Campaign, members: &[Member], asked: &[u64]) -> (Vec<u64>, Option<String>) {
    let reused = |seeds: &[u64]| {
        let used = |member: &&Member| {
            member
                .contract
                .terms
                .seeds
                .iter()
                .any(|s| seeds.contains(s))
        };
        members.iter().find(used)
    };
    let Some(by) = reused(asked) else {
        return (asked.to_vec(), None);
    };
    if !campaign.fresh_seeds {
        let why = format!(
            "it reuses seeds of {}, an earlier study of its campaign",
            by.contract.id
        );
        return (asked.to_vec(), Some(why));
    }
    let all = members
        .iter()
        .flat_map(|member| &member.contract.terms.seeds);
    let first = all.max().map_or(0, |last| last + 1);
    ((first..first + asked.len() as u64).collect(), None)
}
