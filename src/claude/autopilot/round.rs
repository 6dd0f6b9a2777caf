//! One round: a study proposed, handed in, waited for, and said in words.

use super::{Aloft, Flight, GLANCE, SAVING, pause};
use crate::{
    claude::{
        brief::Brief,
        exchange::Folder,
        propose::{Passed, Ready, Round, propose},
        proposed::{Fate, Gate, Objection, Proposed},
        telling::{Telling, tell},
    },
    digest::sha256,
    error::{Error, Kind, Result},
    jobs::{self, Job, State, Store, Submission},
};
use std::time::{Duration, Instant};

/// A study that the supervisor has.
struct Submitted {
    job: Job,
    claim: String,
    bits: f64,
    minutes: f64,
}

/// Flies a round to its end. What became of it is told in any case; an error ends the flight.
pub(super) fn fly(state: &mut Aloft, folder: &Folder, brief: &Brief) -> (Proposed, Option<Error>) {
    let before = state.purse.spent;
    let mut proposed = begun(state, folder);
    let result = through(state, folder, brief, &mut proposed);
    proposed.dollars = state.purse.spent - before;
    if result.is_err() && proposed.fate == Fate::Refused {
        proposed.fate = Fate::Unfinished;
    }
    (proposed, result.err())
}

/// Goes on with a study that was handed in before.
pub(super) fn take_up(state: &mut Aloft, folder: &Folder, proposed: &mut Proposed) -> Result<()> {
    let before = state.purse.spent;
    let id = proposed.job.clone().unwrap_or_default();
    // A store that was made anew knows nothing of it.
    let Ok(job) = Store::open(&state.flight.settings.home)?.job(&id) else {
        proposed.fate = Fate::Unfinished;
        return Ok(());
    };
    let job = wait(state, &job)?;
    let result = ended(state, folder, &job, proposed);
    proposed.dollars += state.purse.spent - before;
    result
}

fn begun(state: &Aloft, folder: &Folder) -> Proposed {
    Proposed {
        schema: Proposed::SCHEMA.into(),
        proposal: folder.name.clone(),
        proposer: state.flight.client.settings.model.clone(),
        about: state.flight.terms.about.clone(),
        ..Proposed::default()
    }
}

fn through(
    state: &mut Aloft,
    folder: &Folder,
    brief: &Brief,
    proposed: &mut Proposed,
) -> Result<()> {
    let submitted = match ask(state, folder, brief, &mut proposed.objections)? {
        Round::Passed(submitted) => *submitted,
        Round::Declined => {
            proposed.fate = Fate::Declined;
            state.say("          the model declined to answer");
            return Ok(());
        }
        Round::Refused => {
            let last = proposed.objections.last();
            proposed.claim = last.and_then(|objection| objection.claim.clone());
            proposed.job = last.and_then(|objection| objection.job.clone());
            if proposed.job.is_some() {
                proposed.fate = Fate::Waiting;
            }
            return Ok(());
        }
    };
    proposed.fate = Fate::Submitted;
    proposed.claim = Some(submitted.claim.clone());
    proposed.job = Some(submitted.job.id.clone());
    proposed.expected_bits = Some(submitted.bits);
    proposed.predicted_minutes = Some(submitted.minutes);
    proposed.keep(folder.path())?;
    let job = wait(state, &submitted.job)?;
    ended(state, folder, &job, proposed)
}

/// What became of a study that the supervisor had.
fn ended(state: &mut Aloft, folder: &Folder, job: &Job, proposed: &mut Proposed) -> Result<()> {
    proposed.study = job.study.clone();
    proposed.verdict = job.verdict.clone();
    beside(state, folder, job)?;
    let words = job.verdict.as_deref().or(job.why.as_deref()).unwrap_or("");
    state.say(&format!(
        "          {} {}: {words}",
        job.id,
        job.state.name()
    ));
    if let (State::Done, Some(study)) = (job.state, &job.study) {
        proposed.fate = Fate::Judged;
        return say_verdict(state, folder, study, proposed);
    }
    proposed.fate = Fate::Unfinished;
    let problem = format!("{} is {}: {words}", job.id, job.state.name());
    let error = Error::failed(job.id.clone(), problem, "see its log");
    let objection = Objection::new(Gate::Plan, Some(&job.claim), &error);
    proposed.objections.push(objection);
    Ok(())
}

/// The conversation, up to a study that the supervisor has.
fn ask(
    state: &mut Aloft,
    folder: &Folder,
    brief: &Brief,
    objections: &mut Vec<Objection>,
) -> Result<Round<Submitted>> {
    let (flight, minutes_left) = (state.flight, state.minutes_left());
    let pausing = |time| within(flight, minutes_left, time);
    let asking = flight.asking(&pausing);
    let mut last = |passed: Passed| match passed {
        Passed::Planned(ready) => hand_in(flight, folder, minutes_left, &ready),
        Passed::Code(draft) => Ok(Err(needs_code(&draft.claim))),
    };
    let mut purse = std::mem::take(&mut state.purse);
    let round = propose(&asking, brief, (folder, &mut purse), objections, &mut last);
    state.purse = purse;
    round
}

/// Waits before a request is sent again, where that much time is left.
fn within(flight: &Flight, minutes_left: f64, time: Duration) -> Result<()> {
    if time.as_secs_f64() > 60.0 * minutes_left {
        return Err(Error::failed(
            "the Messages API",
            format!("asks to wait {} s, more than is left", time.as_secs()),
            "run the same command again later",
        ));
    }
    pause(flight.stop, time)
}

/// Code is for people to review.
fn needs_code(claim: &str) -> Objection {
    let error = Error::new(
        Kind::Refused,
        "variant",
        "the idea needs code, which a person writes and reviews",
        "set variant to null and ask with keys that there are; `windtunnel propose` writes a skeleton \
         for such an idea",
    );
    Objection::new(Gate::Form, Some(claim), &error)
}

/// The gates of this autopilot, then those of whoever hands a study in.
fn hand_in(
    flight: &Flight,
    folder: &Folder,
    minutes_left: f64,
    ready: &Ready,
) -> Result<std::result::Result<Submitted, Objection>> {
    if let Err(objection) = is_worth_it(flight, minutes_left, ready) {
        return Ok(Err(*objection));
    }
    let claim = &ready.draft.claim;
    let digest = sha256(ready.study.text.as_bytes());
    let submission = Submission {
        key: format!("proposal-{}-{}", folder.name, &digest[..12]),
        study: ready.study.clone(),
        proposer: flight.client.settings.model.clone(),
        dollars: ready.dollars,
        exploratory: false,
    };
    let job = match jobs::submit(flight.settings, &submission) {
        Ok(job) => job,
        Err(e) => return Ok(Err(Objection::new(Gate::Study, Some(claim), &e))),
    };
    if !job.state.is_open() {
        return Ok(Err(not_queued(&job, ready)));
    }
    (flight.say)(&format!("          {}: {claim}", job.id));
    (flight.say)(&format!("          {}", ready.worth.in_words()));
    Ok(Ok(Submitted {
        job,
        claim: claim.clone(),
        bits: ready.worth.bits(),
        minutes: ready.worth.minutes,
    }))
}

/// Objects to what takes longer than is left, or is not expected to teach enough for its minutes.
fn is_worth_it(
    flight: &Flight,
    minutes_left: f64,
    ready: &Ready,
) -> std::result::Result<(), Box<Objection>> {
    let (worth, floor) = (&ready.worth, flight.terms.floor);
    if worth.minutes > minutes_left {
        let problem = format!(
            "it would take about {:.2} minutes, and {minutes_left:.2} are left",
            worth.minutes
        );
        let remedy = "use fewer seeds, steps or arms";
        return Err(Box::new(objection(Gate::Budget, ready, (problem, remedy))));
    }
    if worth.bits_per_minute() < floor {
        let problem = format!("{}; the floor is {floor}", worth.in_words());
        let remedy =
            "ask what is less certain, or in fewer minutes, or with enough seeds to decide";
        return Err(Box::new(objection(Gate::Worth, ready, (problem, remedy))));
    }
    Ok(())
}

/// Why a job that was handed in does not run.
fn not_queued(job: &Job, ready: &Ready) -> Objection {
    let (gate, remedy) = match job.state {
        State::Waiting => (
            Gate::Person,
            "a person decides on this one; send another that keeps within the limits",
        ),
        State::Done => (Gate::Repeat, "ask something that its verdict leaves open"),
        _ => (Gate::Plan, "send another"),
    };
    let why = job.why.clone().unwrap_or_default();
    Objection {
        job: (job.state == State::Waiting).then(|| job.id.clone()),
        ..objection(gate, ready, (why, remedy))
    }
}

fn objection(gate: Gate, ready: &Ready, (problem, remedy): (String, &str)) -> Objection {
    let error = Error::new(Kind::Refused, ready.study.file.clone(), problem, remedy);
    Objection::new(gate, Some(&ready.draft.claim), &error)
}

/// Waits until a job is at its end. Errors when interrupted; the job goes on then.
fn wait(state: &Aloft, job: &Job) -> Result<Job> {
    let settings = state.flight.settings;
    let store = Store::open(&settings.home)?;
    let mut glance = GLANCE.0;
    let mut cancelled: Option<Instant> = None;
    let mut finished = job.finished;
    loop {
        let now = store.job(&job.id)?;
        if now.state.is_over() || now.state == State::Waiting {
            return Ok(now);
        }
        if now.finished > finished {
            finished = now.finished;
            state.say(&format!("          {}", now.line()));
        }
        jobs::ensure_supervisor(settings)?;
        if state.minutes_left() <= 0.0 && cancelled.is_none() {
            store.cancel(&job.id)?;
            cancelled = Some(Instant::now());
        }
        if cancelled.is_some_and(|at| at.elapsed() > SAVING) {
            return Ok(now);
        }
        pause(state.flight.stop, glance).map_err(|e| Error {
            place: job.id.clone(),
            remedy: format!(
                "it goes on in the background: `windtunnel jobs`, or `windtunnel cancel {}`",
                job.id
            ),
            ..e
        })?;
        glance = (2 * glance).min(GLANCE.1);
    }
}

/// Leaves word in the study's folder of where its exchanges are.
fn beside(state: &Aloft, folder: &Folder, job: &Job) -> Result<()> {
    let home = &state.flight.settings.home;
    let Some(study) = &job.study else {
        return Ok(());
    };
    let dir = crate::study::contract::studies(home).join(study);
    if !dir.is_dir() {
        return Ok(());
    }
    let value = serde_json::json!({
        "schema": "windtunnel.exchanges.v1",
        "proposal": folder.name,
        "folder": format!("../../proposals/{}", folder.name),
        "job": job.id,
    });
    crate::files::write_json(&dir.join("exchanges.json"), &value)
}

/// Has the verdict said in words. A finding that can't be had is no failure: the verdict stands.
fn say_verdict(
    state: &mut Aloft,
    folder: &Folder,
    study: &str,
    proposed: &mut Proposed,
) -> Result<()> {
    let (flight, minutes_left) = (state.flight, state.minutes_left());
    let pausing = |time| within(flight, minutes_left, time);
    let telling = Telling {
        home: &flight.settings.home,
        client: flight.client,
        wait: &pausing,
    };
    let told = tell(&telling, study, (folder, &mut state.purse))?;
    proposed.next_questions = told.next_questions;
    match told.finding {
        Ok(finding) => {
            state.say(&format!("          finding: {finding}"));
            proposed.finding = Some(finding);
        }
        Err(why) => state.say(&format!("          no finding: {why}")),
    }
    Ok(())
}
