//! What `plan` and `run` share: a study file made ready on a device, with jobs and threads chosen.

use super::Global;
use crate::{
    calibration::AtOnce,
    cli::output::Output,
    device::{Backend, Compute, Machine, cores},
    error::Result,
    session::{Effort, Session},
    study::{
        plan::Planned,
        proposal::Study,
        sides::{Asked, Jobs, Why, choose},
    },
};
use std::path::PathBuf;

/// A study's file and how to run it.
#[derive(clap::Args, Clone)]
pub struct StudyArgs {
    /// The study, a TOML file
    pub study: PathBuf,
    /// Changes: `decision.…` and `limits.…` to the study, other keys to every arm's recipe
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Trials side by side: a number, or auto, which measures what ends first
    #[arg(long, value_name = "N", default_value = "auto")]
    pub jobs: Jobs,
    /// The most trials of one shape that are trained as one program; 0 leaves it to the device, which
    /// on a CPU is 1
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub pack: u16,
    /// Run a study that is refused as blind; its contract, verdict and report say so for good
    #[arg(long)]
    pub exploratory: bool,
    /// Which rung of a ladder, from 0.
    #[arg(skip)]
    pub rung: Option<usize>,
}

/// A study on its device.
pub struct Ready {
    pub session: Session,
    pub planned: Planned,
    pub at_once: AtOnce,
    pub why: Why,
    pub available_bytes: u64,
    /// What the study's design leaves open.
    pub caution: Option<String>,
}

/// Reads, checks and resolves a study. Nothing is trained or frozen.
pub fn ready(global: &Global, args: &StudyArgs, output: Output, effort: Effort) -> Result<Ready> {
    let study = Study::load_rung(&args.study, &args.overrides, args.rung)?;
    let asked = Asked {
        jobs: args.jobs,
        pack: args.pack.into(),
        threads: global.threads.map(usize::from),
        cores: cores(),
        effort,
    };
    let compute = global.compute_with(asked.threads.unwrap_or(1), output)?;
    let open = |threads| {
        let mut compute = compute.clone();
        if let Backend::Fused = compute.backend {
            compute.class.threads = threads;
        }
        compute
    };
    let mut session =
        Session::new(&global.home, compute.clone()).watched(super::ingest::bar(output));
    let choice = choose(&mut session, &study, asked, &open)?;
    Ok(Ready {
        session,
        planned: match args.exploratory {
            true => choice.planned.exploratory(),
            false => choice.planned,
        },
        at_once: AtOnce {
            jobs: choice.sides.jobs,
            pack: asked.pack,
        },
        why: choice.why,
        available_bytes: match &compute.backend {
            Backend::Gpu(gpu) => gpu.memory()?.0,
            _ => Machine::read().available_bytes,
        },
        caution: study.caution(),
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
