//! `windtunnel ls`: the studies and runs of a home.

use super::{Global, output::Output};
use crate::{
    checkpoint,
    error::Result,
    hf::Origin,
    home::Home,
    metrics::Metric,
    run::Run,
    run_dir::RunDir,
    study::{
        bank::Noise,
        ledger::{Ledger, StudyLine, TrialLine},
    },
};
use serde::Serialize;

#[derive(clap::Args)]
pub struct Args {
    /// Make the ledger again from the run and study folders first
    #[arg(long)]
    rebuild: bool,
}

#[derive(Serialize)]
struct Listing {
    studies: Vec<StudyLine>,
    trials: Vec<TrialLine>,
    /// How much trials of a kind differ by their seeds.
    noise: Vec<Noise>,
    unfinished: Vec<Unfinished>,
    imported: Vec<Imported>,
}

/// A model that was trained elsewhere.
#[derive(Serialize)]
struct Imported {
    id: String,
    layout: &'static str,
    parameters: u64,
}

/// A run without an outcome.
#[derive(Serialize)]
struct Unfinished {
    id: String,
    step: u64,
    steps: u64,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let ledger = if args.rebuild {
        let _lock = Home::lock(&global.home)?;
        Ledger::rebuild(&global.home)?
    } else {
        Ledger::read(&global.home)?
    };
    let listing = Listing {
        studies: ledger.studies()?,
        trials: ledger.trials()?,
        noise: ledger.bank(Metric::Bpb)?,
        unfinished: unfinished(global)?,
        imported: imported(global)?,
    };
    output.result("windtunnel.ls.v1", &listing, &text(&listing, global));
    Ok(())
}

fn unfinished(global: &Global) -> Result<Vec<Unfinished>> {
    let mut unfinished = Vec::new();
    for id in Home::runs(&global.home) {
        let dir = RunDir::new(global.home.join("runs").join(&id));
        if dir.outcome()?.is_none() && dir.recipe().exists() && Origin::of(&dir)?.is_none() {
            unfinished.push(Unfinished {
                step: checkpoint::steps(&dir.checkpoints()).pop().unwrap_or(0),
                steps: Run::load(&dir.recipe())?.steps,
                id,
            });
        }
    }
    Ok(unfinished)
}

fn imported(global: &Global) -> Result<Vec<Imported>> {
    let mut imported = Vec::new();
    for id in Home::runs(&global.home) {
        if let Some(origin) = Origin::of(&RunDir::new(global.home.join("runs").join(&id)))? {
            imported.push(Imported {
                id,
                layout: origin.layout.name(),
                parameters: origin.parameters,
            });
        }
    }
    Ok(imported)
}

fn text(listing: &Listing, global: &Global) -> String {
    let trained = !listing.trials.is_empty() || !listing.unfinished.is_empty();
    if listing.studies.is_empty() && !trained && listing.imported.is_empty() {
        return format!(
            "nothing in {} yet; try: windtunnel run configs/studies/quickstart.toml",
            global.home.display()
        );
    }
    let mut text = String::new();
    for study in &listing.studies {
        let verdict = study.verdict.as_deref().unwrap_or("not judged yet");
        text += &format!(
            "{:<32} {:>3}/{:<3} trials  {verdict}\n    {}\n",
            study.id, study.finished, study.trials, study.claim
        );
    }
    if !listing.trials.is_empty() {
        text += "\nrun               seed        bpb      loss     tokens   seconds\n";
    }
    let number = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.4}"));
    for trial in &listing.trials {
        text += &format!(
            "{:<16} {:>5} {:>10} {:>9} {:>10} {:>9.1}  {}\n",
            trial.id,
            trial.seed,
            number(trial.bpb),
            number(trial.loss),
            trial.tokens,
            trial.seconds,
            match trial.state.as_str() {
                "finished" => "",
                other => other,
            }
        );
    }
    for noise in &listing.noise {
        text += &format!("noise     {}\n", noise.in_words());
    }
    for run in &listing.unfinished {
        text += &format!(
            "{:<16} saved at step {} of {}\n",
            run.id, run.step, run.steps
        );
    }
    for run in &listing.imported {
        text += &format!(
            "{:<16} imported: {} layout, {} parameters\n",
            run.id, run.layout, run.parameters
        );
    }
    text
}
