//! What `plan` and `run` share: a study file made ready on a device, with jobs and threads chosen.

use super::Global;
use crate::{
    cli::output::Output,
    device::{Backend, Compute, Machine, cores},
    error::Result,
    session::Session,
    study::{
        plan::{Planned, plan},
        proposal::Study,
    },
};
use std::path::PathBuf;

/// A study's file and how to run it.
#[derive(clap::Args)]
pub struct StudyArgs {
    /// The study, a TOML file
    pub study: PathBuf,
    /// Changes: `decision.…` and `limits.…` to the study, other keys to every arm's recipe
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Trials side by side [default: cores divided by threads]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Run a study that is refused as blind; its contract, verdict and report say so for good
    #[arg(long)]
    pub exploratory: bool,
}

/// A study on its device.
pub struct Ready {
    pub session: Session,
    pub planned: Planned,
    pub jobs: usize,
    pub available_bytes: u64,
}

/// Reads, checks and resolves a study. Nothing is trained or frozen.
pub fn ready(global: &Global, args: &StudyArgs, output: Output) -> Result<Ready> {
    let study = Study::load(&args.study, &args.overrides)?;
    // One core a trial while there are trials for all cores. What is still to do must not count: it
    // would change the threads, and so the trials, of a study that goes on.
    let trials = study.arms.len() * study.proposal.decision.seeds.most();
    let threads = match global.threads {
        Some(threads) => usize::from(threads),
        None => (cores() / trials).max(1),
    };
    let compute = global.compute_with(threads, output)?;
    let side_by_side = match compute.backend {
        Backend::Fused => (cores() / threads).clamp(1, trials),
        Backend::Composed(_) => 1,
    };
    let session = Session::new(&global.home, compute).watched(super::ingest::bar(output));
    let mut planned = plan(&session, &study)?;
    if args.exploratory {
        planned = planned.exploratory();
    }
    Ok(Ready {
        session,
        planned,
        jobs: args
            .jobs
            .map_or(side_by_side, |jobs| usize::from(jobs).min(trials)),
        available_bytes: Machine::read().available_bytes,
    })
}

impl Global {
    /// The device for trials of `threads` threads each.
    pub fn compute_with(&self, threads: usize, output: Output) -> Result<Compute> {
        let compute = Compute::open(self.device, threads)?.multiplying_in(self.dtype)?;
        if let Some(note) = &compute.note {
            output.note(note);
        }
        Ok(compute)
    }
}
