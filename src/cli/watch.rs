//! `windtunnel watch [ID]`: a line whenever a submitted study changes its state, and nothing else.

use super::{Global, output::Output};
use crate::{
    error::Result,
    jobs::{Event, Settings, Store, ensure_supervisor},
};
use serde_json::{Value, json};
use std::{
    io::{Write, stdout},
    thread::sleep,
    time::Duration,
};

#[derive(clap::Args)]
pub struct Args {
    /// One job; else all of them
    id: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    jsonl: bool,
    /// Only what happened after event N
    #[arg(long, value_name = "N", default_value_t = 0)]
    since: u64,
    /// Go on when nothing is left to happen
    #[arg(long)]
    follow: bool,
}

/// How often the store is looked at.
const LOOK: Duration = Duration::from_millis(300);

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let settings = global.settings()?;
    let mut since = args.since;
    loop {
        ensure_supervisor(&settings)?;
        // Asked before the events, so that the last event of a job that is over is still shown.
        let is_over = is_over(&settings, args)?;
        for event in news(&settings, args, since)? {
            since = event.seq;
            if !print(&event, args, output) {
                return Ok(());
            }
        }
        if is_over && !args.follow {
            return finish(&settings, since, output);
        }
        sleep(LOOK);
    }
}

fn news(settings: &Settings, args: &Args, since: u64) -> Result<Vec<Event>> {
    let Some(store) = Store::existing(&settings.home)? else {
        return Ok(Vec::new());
    };
    let events = store.events(since, args.id.as_deref())?.into_iter();
    Ok(events.filter(Event::is_watched).collect())
}

/// Whether nothing more happens by itself; one job that waits for a person is waited for, too.
fn is_over(settings: &Settings, args: &Args) -> Result<bool> {
    let Some(store) = Store::existing(&settings.home)? else {
        return Ok(args.id.is_none());
    };
    match &args.id {
        Some(id) => Ok(store.job(id)?.state.is_over()),
        None => Ok(store.open_jobs()?.is_empty()),
    }
}

/// False where nobody reads any more.
fn print(event: &Event, args: &Args, output: Output) -> bool {
    let line = match args.jsonl {
        true => as_json(event).to_string(),
        false if output.is_json() => return true,
        false => event.line(),
    };
    let mut out = stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

fn as_json(event: &Event) -> Value {
    let mut value = json!({ "schema": "windtunnel.event.v1" });
    if let (Some(map), Ok(Value::Object(fields))) =
        (value.as_object_mut(), serde_json::to_value(event))
    {
        map.extend(fields);
    }
    value
}

/// With --json alone: every job as it ended.
fn finish(settings: &Settings, since: u64, output: Output) -> Result<()> {
    if !output.is_json() {
        return Ok(());
    }
    let jobs = match Store::existing(&settings.home)? {
        Some(store) => store.jobs()?,
        None => Vec::new(),
    };
    let value = json!({ "jobs": jobs, "since": since });
    output.result("windtunnel.watch.v1", &value, "");
    Ok(())
}
