//! Gathers what a report on several studies tells: verdicts, findings, predictions, what was turned away.

use super::score::{self, Proposer};
use crate::{
    error::Result,
    jobs::{Job, State},
    report::{
        Written,
        campaign::{Campaign, Next, Predicted, TurnedAway, write},
    },
    study::{
        finding::of_study,
        judged::{self, LeftOut},
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What a report is to tell.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub name: String,
    /// What a person wants to know.
    pub question: Option<String>,
    /// Ids of studies, in the order in which they are told.
    pub studies: Vec<String>,
    pub turned_away: Vec<TurnedAway>,
    /// Spent on the API, where that is known.
    pub dollars: Option<f64>,
    pub next: Vec<Next>,
    /// How the studies' errors go together.
    pub rule: Option<String>,
}

/// Reads the studies and writes their report into a folder. A study that is not judged, or whose files
/// can't be trusted, is named as such. Errors when one is not there, or the report can't be written.
pub fn report(home: &Path, asked: &Asked, folder: &Path) -> Result<Written> {
    write(&gather(home, asked)?, folder)
}

fn gather(home: &Path, asked: &Asked) -> Result<Campaign> {
    let mut campaign = Campaign {
        name: asked.name.clone(),
        question: asked.question.clone(),
        turned_away: asked.turned_away.clone(),
        dollars: asked.dollars,
        next: asked.next.clone(),
        rule: asked.rule.clone(),
        ..Campaign::default()
    };
    for id in &asked.studies {
        let dir = judged::find(home, id)?;
        if !dir.verdict_path().exists() {
            campaign.unjudged.push(id.clone());
            continue;
        }
        match judged::read(home, &dir) {
            Ok(study) => {
                campaign.studies.push(study);
                campaign.findings.extend(of_study(home, &dir)?);
            }
            Err(error) => campaign.left_out.push(LeftOut {
                study: id.clone(),
                why: error.problem,
            }),
        }
    }
    let scores = score::of(&campaign.studies, &BTreeMap::new());
    campaign.predictions = scores
        .proposers
        .iter()
        .filter(|p| p.scored > 0)
        .map(predicted)
        .collect();
    Ok(campaign)
}

fn predicted(p: &Proposer) -> Predicted {
    let none = || "—".to_string();
    Predicted {
        proposer: p.proposer.clone(),
        scored: format!("{} of {}", p.scored, p.scored + p.unscored),
        brier: match (p.brier, p.brier_error) {
            (Some(brier), Some(error)) => format!("{brier:.3} ± {error:.3}"),
            (Some(brier), None) => format!("{brier:.3}"),
            (None, _) => none(),
        },
        skill: p.skill.map_or_else(none, |skill| {
            let [low, high] = p.skill_interval;
            format!("{skill:+.2} ({low:+.2} to {high:+.2})")
        }),
        size: p
            .interval_score
            .map_or_else(none, |score| format!("{score:.2}")),
        standing: p.standing.words().into(),
    }
}

/// A submitted study that did not come to a verdict because somebody or something said no; `None` of
/// others.
pub fn turned_away(job: &Job) -> Option<TurnedAway> {
    let how = match job.state {
        State::Refused => "refused by a gate",
        State::Rejected => "rejected by a person",
        State::Cancelled => "cancelled",
        State::Stopped => "stopped: over its budget",
        State::Failed => "failed",
        State::Waiting => "waits for a person",
        State::Queued | State::Running | State::Done => return None,
    };
    Some(TurnedAway {
        proposer: job.proposer.clone(),
        what: format!("{}: {}", job.name, job.claim),
        how: how.into(),
        why: job.why.clone().unwrap_or_default(),
    })
}

/// Where a campaign's report is kept.
pub fn folder(home: &Path, name: &str) -> PathBuf {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_".contains(c) {
            c
        } else {
            '_'
        }
    };
    home.join("campaigns")
        .join(name.chars().map(plain).take(64).collect::<String>())
}
