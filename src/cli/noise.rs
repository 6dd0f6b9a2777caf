//! `windtunnel noise`: how much trials differ by their seeds, and by which of them.

use super::{Global, output::Output, stop_on_interrupt};
use crate::{
    calibration::AtOnce,
    device::{Backend, cores},
    error::{Error, Result},
    home::Home,
    metrics::Metric,
    recipe::Recipe,
    session::Session,
    study::{
        bank::Noise,
        crossed::{crossed, trials},
        ledger::Ledger,
        runner::Watched,
    },
};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Train this recipe with crossed seeds, and take their variance apart; without it, what all
    /// finished trials say
    recipe: Option<PathBuf>,
    /// Changes to the recipe
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// First weights, and as many data orders: their square is trained
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=32))]
    crossed: u8,
    /// Blocks of validation windows that evaluation noise is told by
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    blocks: u8,
    /// Trials side by side [default: cores divided by threads]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    match &args.recipe {
        None => bank(global, output),
        Some(recipe) => take_apart(global, args, recipe, output),
    }
}

fn bank(global: &Global, output: Output) -> Result<()> {
    let ledger = Ledger::read(&global.home)?;
    let metrics = [Metric::Bpb, Metric::Loss].map(|metric| ledger.bank(metric));
    let metrics = metrics.into_iter().collect::<Result<Vec<_>>>()?;
    let bank: Vec<Noise> = metrics.into_iter().flatten().collect();
    let lines: String = bank.iter().map(|noise| noise.in_words() + "\n").collect();
    let text = match bank.is_empty() {
        true => "no design has finished trials of two seeds yet\n".into(),
        false => lines,
    };
    output.result("windtunnel.noise.v1", &json!({ "bank": bank }), &text);
    Ok(())
}

fn take_apart(global: &Global, args: &Args, recipe: &Path, output: Output) -> Result<()> {
    let (recipe, places) = Recipe::load(recipe, &args.overrides)?;
    let threads = global.threads.map_or(1, usize::from);
    let compute = global.compute_with(threads, output)?;
    Home::check_free(&global.home)?;
    let session = Session::new(&global.home, compute).watched(super::ingest::bar(output));
    let trial = session.resolve(&recipe).map_err(|e| places.locate(e))?;
    if args.blocks > 1
        && trial
            .data
            .windows
            .iter()
            .any(|(_, w)| w.n() < usize::from(args.blocks))
    {
        return Err(Error::input(
            format!("--blocks {}", args.blocks),
            "a corpus has fewer validation windows",
            "use fewer blocks, or a larger eval.windows",
        ));
    }
    let n = args.crossed;
    let trials = trials(&session, &trial, (n.into(), n.into()))?;
    let _lock = Home::lock(&global.home)?;
    session.keep()?;
    let jobs = match (&session.compute.backend, args.jobs) {
        (Backend::Fused, Some(jobs)) => jobs.into(),
        (Backend::Fused, None) => (cores() / threads).max(1),
        // One device, which one program has for itself.
        _ => 1,
    };
    let how = (usize::from(n), usize::from(args.blocks), Metric::Loss);
    let found = crossed(
        &session,
        &trials,
        how,
        (AtOnce { jobs, pack: 0 }, stop_on_interrupt()),
        &|trial, watched| {
            if let Watched::Ended(outcome) = watched {
                let loss = outcome.metric(Metric::Loss);
                let loss = loss.map_or("diverged".into(), |loss| format!("{loss:.4} nats"));
                output.note(&format!("{}: {loss}", trial.id));
            }
        },
    )?;
    output.result("windtunnel.noise.v1", &found, &found.in_words());
    Ok(())
}
