//! `windtunnel jobs [ID]`, and a person's yes or no: `approve ID`, `reject ID`, `cancel ID`.

use super::{Global, output::Output};
use crate::{
    error::{Error, Result},
    jobs::{Job, Kind, Store, ensure_supervisor, limits::Limits, store::Who},
};
use serde_json::json;
use std::io::{IsTerminal, stdin};

#[derive(clap::Args)]
pub struct Args {
    /// One job: its state, events, and the end of its log
    id: Option<String>,
}

#[derive(clap::Args)]
pub struct ApproveArgs {
    /// A job that waits or was stopped; or `limits`, to say that limits.toml is meant as it is
    id: String,
}

#[derive(clap::Args)]
pub struct RejectArgs {
    /// A job that waits
    id: String,
    /// Why not: whoever proposed it is told
    #[arg(long, value_name = "WORDS")]
    why: String,
}

#[derive(clap::Args)]
pub struct CancelArgs {
    /// A job that is not over; one that runs saves and stops
    id: String,
}

/// Lines of a log that are shown.
const LOG_LINES: usize = 10;

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    ensure_supervisor(&global.settings()?)?;
    match &args.id {
        Some(id) => one(global, id, output),
        None => all(global, output),
    }
}

fn all(global: &Global, output: Output) -> Result<()> {
    let limits = Limits::read(&global.home)?;
    let (jobs, day, changed) = match Store::existing(&global.home)? {
        Some(store) => {
            let events = store.events(0, None)?.into_iter();
            let changed = events.filter(|event| event.kind == Kind::LimitsChanged);
            (store.jobs()?, store.day(None)?, changed.collect())
        }
        None => (Vec::new(), Default::default(), Vec::new()),
    };
    let mut text: String = jobs.iter().map(|job| job.line() + "\n").collect();
    if jobs.is_empty() {
        text += "no study was submitted yet; `windtunnel submit STUDY.toml` hands one in\n";
    }
    text += &format!(
        "last 24 hours: {:.1} of {} device-minutes, {:.2} of {} dollars\n",
        day.device_minutes,
        limits.day.device_minutes,
        limits.dollars(day),
        limits.day.dollars
    );
    for event in &changed {
        text += &format!("note: {}\n", event.words);
    }
    let value = json!({ "jobs": jobs, "limits": limits, "day": day, "limits_changed": changed });
    output.result("windtunnel.jobs.v1", &value, &text);
    Ok(())
}

fn one(global: &Global, id: &str, output: Output) -> Result<()> {
    let store = store(global)?;
    let job = store.job(id)?;
    let events = store.events(0, Some(id))?;
    let log = job.log_tail(&global.home, LOG_LINES)?;
    let mut text = format!("{}\nclaim  {}\n", job.line(), job.claim);
    for event in &events {
        text += &format!("{}\n", event.line());
    }
    for line in &log {
        text += &format!("log    {line}\n");
    }
    let value = json!({ "job": job, "events": events, "log": log });
    output.result("windtunnel.job_status.v1", &value, &text);
    Ok(())
}

pub fn approve(global: &Global, args: &ApproveArgs, output: Output) -> Result<()> {
    let who = who();
    if args.id == "limits" {
        let limits = Limits::read(&global.home)?;
        let store = Store::open(&global.home)?;
        store.note_limits(&limits)?;
        store.approve_limits(&limits, &who)?;
        let words = format!("the limits are approved by {}", who.name);
        output.result("windtunnel.limits.v1", &json!({ "limits": limits }), &words);
        return Ok(());
    }
    let job = store(global)?.approve(&args.id, &who)?;
    ensure_supervisor(&global.settings()?)?;
    let minutes = job.approval.as_ref().map_or(0.0, |a| a.device_minutes);
    let words = format!("{}\nfor {minutes:.2} device-minutes at most", job.line());
    output.result("windtunnel.job.v1", &job, &words);
    Ok(())
}

pub fn reject(global: &Global, args: &RejectArgs, output: Output) -> Result<()> {
    say(&store(global)?.reject(&args.id, &args.why)?, output)
}

pub fn cancel(global: &Global, args: &CancelArgs, output: Output) -> Result<()> {
    // A supervisor that died leaves a job that only the next one can end.
    ensure_supervisor(&global.settings()?)?;
    say(&store(global)?.cancel(&args.id)?, output)
}

fn say(job: &Job, output: Output) -> Result<()> {
    output.result("windtunnel.job.v1", job, &job.line());
    Ok(())
}

fn store(global: &Global) -> Result<Store> {
    Store::existing(&global.home)?.ok_or_else(|| {
        Error::input(
            global.home.display().to_string(),
            "no study was submitted in this home",
            "`windtunnel submit STUDY.toml` hands one in; or give another --home",
        )
    })
}

/// Who types this.
fn who() -> Who {
    let name = ["USER", "LOGNAME"]
        .iter()
        .find_map(|key| std::env::var(key).ok());
    Who {
        name: name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "somebody".into()),
        terminal: stdin().is_terminal(),
    }
}
