//! `windtunnel submit STUDY.toml`

use super::{Global, output::Output};
use crate::{
    digest::sha256,
    error::{Error, Kind, Result},
    jobs::{self, HUMAN, Job, Settings, State, Store, StudyText, Submission},
};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The study, a TOML file
    study: PathBuf,
    /// Names this submission: the same key again is the same job [default: made of what is submitted]
    #[arg(long)]
    key: Option<String>,
    /// Who proposes it
    #[arg(long, value_name = "NAME", default_value = HUMAN)]
    proposer: String,
    /// Run a study that is refused as blind; its contract, verdict and report say so for good
    #[arg(long)]
    exploratory: bool,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let settings = global.settings()?;
    let study = StudyText::read(&args.study)?;
    let key = match &args.key {
        Some(key) => key.clone(),
        None => own_key(&settings, &study, args)?,
    };
    let submission = Submission {
        study,
        key,
        proposer: args.proposer.clone(),
        dollars: 0.0,
        exploratory: args.exploratory,
    };
    let job = jobs::submit(&settings, &submission)?;
    if job.state == State::Refused {
        return Err(Error::new(
            Kind::Refused,
            job.id.clone(),
            job.why.clone().unwrap_or_default(),
            "change the study, or what refused it, and submit it again",
        ));
    }
    let words = format!(
        "{}\nfollow it with `windtunnel watch {}`\n",
        job.line(),
        job.id
    );
    output.result("windtunnel.job.v1", &job, &words);
    Ok(())
}

/// A key made of what is submitted. Where a job with it came to nothing (refused, failed, cancelled,
/// stopped), the next one: whoever submits again by hand wants it tried again. A person's no stays one.
fn own_key(settings: &Settings, study: &StudyText, args: &Args) -> Result<String> {
    let snapshot = jobs::snapshot::Snapshot::take(settings, study)?;
    let what = format!("{} {}", snapshot.digest(), args.exploratory);
    let stem = format!("by-content-{}", &sha256(what.as_bytes())[..16]);
    let Some(store) = Store::existing(&settings.home)? else {
        return Ok(stem);
    };
    let came_to_nothing = |job: &Job| {
        matches!(
            job.state,
            State::Refused | State::Failed | State::Cancelled | State::Stopped
        )
    };
    let mut key = stem.clone();
    let mut n = 1;
    while store.by_key(&key)?.is_some_and(|job| came_to_nothing(&job)) {
        n += 1;
        key = format!("{stem}-{n}");
    }
    Ok(key)
}
