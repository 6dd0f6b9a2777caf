//! What becomes of a job when its child process has ended.

use super::{Asked, MOST_DEATHS, set};
use crate::{
    error::{Error, Kind, Result},
    files,
    home::Home,
    jobs::{Job, State, Store, children::Said},
    study::verdict::Verdict,
};
use serde_json::{Value, json};
use std::{os::unix::process::ExitStatusExt, path::Path, process::ExitStatus};

/// How a child ended.
pub(super) struct Ended {
    pub status: ExitStatus,
    pub said: Said,
    pub asked: Option<Asked>,
}

/// What becomes of a job whose child has ended.
pub(super) fn settle(home: &Path, store: &Store, (job, ended): (&Job, &Ended)) -> Result<()> {
    let (seq, digest) = store.head()?;
    let result = json!({
        "schema": "windtunnel.job_result.v1",
        "job": job.id,
        "status": ended.status.code(),
        "signal": ended.status.signal(),
        "result": ended.said.result,
        "error": ended.said.error.as_ref().map(ToString::to_string),
        "journal": { "seq": seq, "digest": digest },
    });
    files::write_json(&job.result_path(home), &result)?;
    store.change(&job.id, |job| Ok(Some(becomes(job, ended))))?;
    Ok(())
}

/// The state that a job is in after its child has ended, with the event's words.
fn becomes(job: &mut Job, ended: &Ended) -> String {
    let why = |error: &Error| format!("{}: {}; {}", error.place, error.problem, error.remedy);
    let error = ended.said.error.as_ref();
    let code = ended.status.code();
    if let (Some(0), Some(result)) = (code, &ended.said.result) {
        return done(job, result);
    }
    match (&ended.asked, error) {
        (Some(Asked::Cancelled), _) => set(
            job,
            State::Cancelled,
            None,
            "cancelled; every trial is kept as far as it got",
        ),
        (Some(Asked::Over(over)), _) => {
            let words = format!("stopped over its budget, everything is kept: {over}");
            set(job, State::Stopped, Some(over.clone()), &words)
        }
        (Some(Asked::Ending), _) => set(
            job,
            State::Queued,
            None,
            "its supervisor was told to end: queued again",
        ),
        (None, Some(error)) if Home::is_in_use(error) => set(
            job,
            State::Queued,
            None,
            "another command was quicker to take the home: queued again",
        ),
        (None, Some(error)) if error.kind == Kind::Refused => {
            let words = format!("refused: {}", why(error));
            set(job, State::Refused, Some(why(error)), &words)
        }
        (None, Some(error)) if error.kind != Kind::Interrupted => {
            let words = format!("failed: {}", why(error));
            set(job, State::Failed, Some(why(error)), &words)
        }
        (None, _) => died(job, ended),
    }
}

/// A child that was ended from outside, by a signal or by somebody's interruption.
fn died(job: &mut Job, ended: &Ended) -> String {
    let how = match (ended.status.signal(), ended.status.code()) {
        (Some(signal), _) => format!("its process was ended by signal {signal}"),
        (None, Some(code)) => format!("its process ended with status {code} and no result"),
        (None, None) => "its process ended".into(),
    };
    job.deaths += 1;
    if job.deaths <= MOST_DEATHS {
        return set(
            job,
            State::Queued,
            None,
            &format!("{how}: queued once more"),
        );
    }
    let why = format!(
        "{how}, {} times; everything is kept: look at its log and at the machine's memory, then submit it again with a new key",
        job.deaths
    );
    let words = format!("failed: {why}");
    set(job, State::Failed, Some(why), &words)
}

/// A study with its verdict, or a ladder with its rungs'.
fn done(job: &mut Job, result: &Value) -> String {
    let verdict = serde_json::from_value::<Verdict>(result["verdict"].clone());
    let summary = match verdict {
        Ok(verdict) => verdict.summary(),
        Err(_) => ladder_summary(&result["ladder"]),
    };
    if let Some(study) = result["study"].as_str() {
        job.study = Some(study.into());
    }
    job.finished = job.finished.max(job.trials);
    job.verdict = Some(summary.clone());
    set(job, State::Done, None, &format!("done: {summary}"))
}

fn ladder_summary(ladder: &Value) -> String {
    let arms = ladder["arms"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("?").to_string();
    let words = arms
        .iter()
        .map(|arm| format!("{}: {}", text(&arm["arm"]), text(&arm["level"])));
    words.collect::<Vec<_>>().join(", ")
}
