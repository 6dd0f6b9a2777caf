//! `windtunnel autopilot`: propose, run, judge, and again, within a budget.

use super::{
    Global,
    output::Output,
    propose::{client, inside_project, positive},
    stop_on_interrupt,
};
use crate::{
    claude::autopilot::{FLOOR, Flight, Landing, MENDS, Terms, fly},
    claude::baselines::Space,
    error::{Error, Kind, Result},
    jobs::Settings,
    study::campaign::Campaign,
};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Stop after so many hours
    #[arg(long, value_name = "H")]
    hours: f64,
    /// Stop before the API could cost more
    #[arg(long, value_name = "D")]
    dollars: f64,
    /// What you want to find out, in your own words
    #[arg(long, value_name = "QUESTION")]
    about: Option<String>,
    /// A folder with a campaign.toml: its studies share an error budget
    #[arg(long, value_name = "DIR")]
    campaign: Option<PathBuf>,
    /// Stop after so many verdicts
    #[arg(long, value_name = "N")]
    studies: Option<usize>,
    /// Stop when no study is expected to teach so many bits per device-minute
    #[arg(long, value_name = "BITS", default_value_t = FLOOR)]
    floor: f64,
    /// A space of changes: what an optimiser found best in it is told to Claude
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,
    /// How often an answer that a gate refused may be mended
    #[arg(long, value_name = "N", default_value_t = MENDS)]
    mends: usize,
    /// Go on where a proposal waits for a person's approval
    #[arg(long)]
    skip_waiting: bool,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    positive("--hours", Some(args.hours))?;
    positive("--dollars", Some(args.dollars))?;
    if !(args.floor >= 0.0 && args.floor.is_finite()) {
        return Err(Error::input(
            format!("--floor {}", args.floor),
            "is out of range",
            "use a number of bits per minute, 0 or more",
        ));
    }
    let space = args.space.as_deref().map(Space::read).transpose()?;
    let client = client(global)?;
    client.settings.demand_prices(&global.home)?;
    let settings = global.settings()?;
    let terms = Terms {
        hours: args.hours,
        dollars: args.dollars,
        about: args.about.as_ref().map(|about| client.redacted(about)),
        folder: folder(&settings, args.campaign.as_deref())?,
        studies: args.studies,
        mends: args.mends,
        floor: args.floor,
        skip_waiting: args.skip_waiting,
    };
    let landed = fly(&Flight {
        settings: &settings,
        client: &client,
        terms: &terms,
        space: space.as_ref(),
        stop: stop_on_interrupt(),
        say: &|words| output.note(words),
    })?;
    output.result("windtunnel.autopilot.v1", &landed, &landed.summary());
    match (&landed.landing, landed.error) {
        (_, Some(error)) => Err(error),
        (Landing::Interrupted { .. }, _) => Err(Error::new(
            Kind::Interrupted,
            "autopilot",
            landed.words,
            "run the same command again; it goes on from what is known by then",
        )),
        _ => Ok(()),
    }
}

/// Where studies stand, seen from the project's folder. Errors when a campaign is none.
fn folder(settings: &Settings, campaign: Option<&Path>) -> Result<PathBuf> {
    let Some(folder) = campaign else {
        return Ok(PathBuf::from("."));
    };
    match Campaign::of(folder)? {
        Some(_) => inside_project(settings, "--campaign", folder),
        None => Err(Error::input(
            format!("--campaign {}", folder.display()),
            "has no campaign.toml",
            "write one (name = \"…\"), or leave --campaign out",
        )),
    }
}
