//! The report of a flight: what was asked, tried, found and turned away, and what it cost.

use super::{Flight, landing::Landed};
use crate::{
    claude::{
        campaign::{self, Asked},
        proposed::{Fate, Gate, Objection, Proposed},
    },
    error::Result,
    report::{
        Written,
        campaign::{Next, TurnedAway},
    },
    study::campaign::Campaign,
};

/// Writes it into a folder of the home, named after the flight's first proposal.
pub(super) fn write(flight: &Flight, landed: &Landed) -> Result<Written> {
    let home = &flight.settings.home;
    let first = landed.rounds.first().map_or("", |round| &round.proposal);
    let name = format!("autopilot-{first}");
    let asked = Asked {
        name: name.clone(),
        question: flight.terms.about.clone(),
        studies: studies(&landed.rounds),
        turned_away: landed.rounds.iter().flat_map(turned_away).collect(),
        dollars: Some(landed.spent.spent),
        next: next(&landed.rounds),
        rule: rule(flight)?,
    };
    campaign::report(home, &asked, &campaign::folder(home, &name))
}

/// Each study once: a repeat is no study of its own.
fn studies(rounds: &[Proposed]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for id in rounds.iter().filter_map(|round| round.study.as_ref()) {
        if !ids.contains(id) {
            ids.push(id.clone());
        }
    }
    ids
}

/// What did not run: answers that a gate refused, also where a mended one ran.
fn turned_away(round: &Proposed) -> Vec<TurnedAway> {
    let of = |what: &str, how: String, why: String| TurnedAway {
        proposer: round.proposer.clone(),
        what: what.into(),
        how,
        why,
    };
    if round.fate == Fate::Declined {
        let what = format!("proposal {}", round.proposal);
        return vec![of(&what, "declined by the model".into(), String::new())];
    }
    let objection = |o: &Objection| {
        let how = match (&o.job, o.gate) {
            (Some(job), Gate::Person) => format!("waits for a person: {job}"),
            _ => format!("refused at the gate {}", o.gate.name()),
        };
        let what = o.claim.as_deref().unwrap_or("an answer that is no study");
        of(what, how, format!("{}: {}", o.place, o.problem))
    };
    round.objections.iter().map(objection).collect()
}

/// What proposers would ask, each question once.
fn next(rounds: &[Proposed]) -> Vec<Next> {
    let mut all: Vec<Next> = Vec::new();
    for round in rounds {
        for question in &round.next_questions {
            if all.iter().all(|known| known.question != *question) {
                all.push(Next {
                    by: round.proposer.clone(),
                    question: question.clone(),
                });
            }
        }
    }
    all
}

/// How errors go together, in a sentence.
fn rule(flight: &Flight) -> Result<Option<String>> {
    let folder = flight.settings.root.join(&flight.terms.folder);
    Ok(Campaign::of(&folder)?.map(|campaign| {
        format!(
            "studies of the campaign {} share a false discovery rate of {}",
            campaign.name, campaign.alpha
        )
    }))
}
