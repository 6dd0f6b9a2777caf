//! Why an autopilot stopped, and what it leaves.

use super::Aloft;
use crate::{
    claude::{
        exchange::Purse,
        proposed::{Fate, Proposed},
    },
    error::{Error, Kind, Result},
};
use serde::Serialize;
use std::path::PathBuf;

/// What stopped it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Landing {
    /// As many studies have a verdict as were asked for.
    Studies,
    Hours,
    /// The next request could have cost more than is left.
    Dollars {
        why: String,
    },
    /// A job waits for somebody.
    Person {
        job: String,
    },
    /// What was proposed was not expected to teach enough for its minutes.
    Worth {
        floor: f64,
    },
    /// So many rounds, one after another, brought no study that ran.
    Fruitless {
        rounds: usize,
    },
    Interrupted {
        job: Option<String>,
    },
    /// Something failed that waiting does not mend.
    Failed {
        error: String,
    },
}

/// A flight that is over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Landed {
    pub landing: Landing,
    /// What stopped it and what to do, in words.
    pub words: String,
    pub rounds: Vec<Proposed>,
    /// On the clock on the wall.
    pub minutes: f64,
    pub spent: Purse,
    /// A page for people, and the same as Markdown.
    pub report: Option<PathBuf>,
    pub page: Option<PathBuf>,
    /// What it failed with, where it did.
    #[serde(skip)]
    pub error: Option<Error>,
}

impl Landing {
    pub(super) fn of(error: Error) -> (Self, Option<Error>) {
        match error.kind {
            Kind::Interrupted => {
                let job = Some(error.place.clone()).filter(|place| place.starts_with("job-"));
                (Self::Interrupted { job }, None)
            }
            Kind::Refused => (
                Self::Dollars {
                    why: format!("{}: {}", error.place, error.problem),
                },
                None,
            ),
            _ => (
                Self::Failed {
                    error: error.to_string(),
                },
                Some(error),
            ),
        }
    }

    /// What stopped it, and what to type.
    pub fn words(&self) -> String {
        match self {
            Self::Studies => "as many studies have a verdict as were asked for".into(),
            Self::Hours => "the hours are over".into(),
            Self::Dollars { why } => format!("the dollars are used up: {why}"),
            Self::Person { job } => format!(
                "{job} waits for a person: `windtunnel jobs {job}` says why; `windtunnel approve {job}` \
                 or `windtunnel reject {job} --why \"…\"`, then start the autopilot again"
            ),
            Self::Worth { floor } => format!(
                "what was proposed was not expected to teach {floor} bits per device-minute: ask about \
                 something else, or lower --floor"
            ),
            Self::Fruitless { rounds } => format!(
                "{rounds} rounds one after another brought no study that ran: what the gates said is in \
                 the report; ask about something else"
            ),
            Self::Interrupted { job: None } => {
                "interrupted; everything that was done is kept".into()
            }
            Self::Interrupted { job: Some(job) } => format!(
                "interrupted; {job} goes on in the background: `windtunnel watch {job}`, or \
                 `windtunnel cancel {job}`"
            ),
            Self::Failed { error } => format!("failed: {error}"),
        }
    }
}

/// Writes the report, and says what was done.
pub(super) fn land(state: &Aloft, (landing, error): (Landing, Option<Error>)) -> Result<Landed> {
    let mut landed = Landed {
        words: landing.words(),
        landing,
        rounds: state.rounds.clone(),
        minutes: state.begun.elapsed().as_secs_f64() / 60.0,
        spent: state.purse.clone(),
        report: None,
        page: None,
        error,
    };
    if landed.rounds.is_empty() {
        return Ok(landed);
    }
    let written = super::report::write(state.flight, &landed)?;
    (landed.report, landed.page) = (written.report, Some(written.page));
    Ok(landed)
}

impl Landed {
    /// Jobs that were left for a person.
    fn waiting(&self) -> impl Iterator<Item = &String> {
        let objections = self.rounds.iter().flat_map(|round| &round.objections);
        objections.filter_map(|objection| objection.job.as_ref())
    }

    /// For a terminal.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for round in &self.rounds {
            let claim = round.claim.as_deref().unwrap_or("(no claim)");
            let came = match (&round.study, &round.verdict) {
                (Some(study), Some(verdict)) => format!("{study}: {verdict}"),
                _ => round.why_not().unwrap_or_default(),
            };
            text += &format!("proposal  {}: {claim}\n          {came}\n", round.proposal);
            if let Some(finding) = &round.finding {
                text += &format!("          {}\n", finding.replace('\n', "\n          "));
            }
        }
        let judged = self
            .rounds
            .iter()
            .filter(|r| r.fate == Fate::Judged)
            .count();
        text += &format!(
            "studies   {judged} judged, of {} proposals\ncost      {:.1} minutes, {}\nstopped   {}\n",
            self.rounds.len(),
            self.minutes,
            self.spent.in_words(),
            self.words
        );
        for job in self.waiting() {
            text +=
                &format!("waiting   {job}: `windtunnel jobs {job}`, then approve or reject it\n");
        }
        for (name, path) in [("report", &self.report), ("page", &self.page)] {
            if let Some(path) = path {
                text += &format!("{name:<9} {}\n", path.display());
            }
        }
        text
    }
}
