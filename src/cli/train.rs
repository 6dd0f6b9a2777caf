//! `windtunnel train RECIPE.toml [key=value …]`

use super::{Global, output::Output, progress::RunProgress, stop_on_interrupt};
use crate::{
    error::Result,
    home::Home,
    metrics::{Ending, Outcome},
    recipe::Recipe,
    session::Session,
    study::ledger::Ledger,
    train::train,
};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// Changes to it, such as `optimizer.lr=3e-3`
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

pub fn run(global: &Global, args: Args, output: Output) -> Result<()> {
    let (recipe, places) = Recipe::load(&args.recipe, &args.overrides)?;
    let compute = global.compute(output)?;
    Home::check_free(&global.home)?;
    let session = Session::new(&global.home, compute).watched(super::ingest::bar(output));
    let trial = session.resolve(&recipe).map_err(|e| places.locate(e))?;
    let declared = trial.data.batches(&trial.run)?.declared(trial.run.steps);
    output.note(&format!("to draw\n  {}", declared.lines().join("\n  ")));
    for warning in declared.warnings() {
        output.note(&format!("warning: {warning}"));
    }
    let _lock = Home::lock(&global.home)?;
    session.keep()?;
    let ledger = Ledger::open(&global.home)?;
    let mut progress = RunProgress::new(&trial.id.to_string(), output, None);
    let job = session.job(&trial, stop_on_interrupt());
    let outcome = train(job, &mut |p| progress.update(p))?;
    progress.finish();
    ledger.record(&trial.run, &outcome)?;
    output.result(
        "windtunnel.train.v1",
        &outcome,
        &describe(&outcome, &trial.dir.path().display().to_string()),
    );
    Ok(())
}

/// An outcome in words.
pub fn describe(outcome: &Outcome, folder: &str) -> String {
    let mut text = match &outcome.ending {
        Ending::Finished { eval } => {
            let mut text = format!(
                "validation {:.4} nats per token, {:.4} bits per byte after {} steps\n",
                eval.loss, eval.bpb, eval.step
            );
            for (corpus, val) in &eval.val {
                let answers = val.answers_in_words();
                if eval.val.len() > 1 || !answers.is_empty() {
                    let (loss, bpb) = (val.loss, val.bpb);
                    text += &format!("  {corpus:<20} {loss:.4} nats  {bpb:.4} bpb{answers}\n");
                }
            }
            text
        }
        Ending::Diverged { step, what } => format!("diverged at step {step}: {what}\n"),
    };
    if let Some(branched) = outcome.branched {
        text += &format!(
            "steps 1 to {} are another run's: trained before, shared up to the cooldown\n",
            branched.step
        );
    }
    let cost = outcome.own_cost();
    text += &format!(
        "{} tokens in {:.1} s ({:.0} tokens/s), {:.3e} FLOPs\n",
        cost.tokens,
        cost.seconds,
        cost.tokens as f64 / cost.seconds.max(1e-9),
        cost.flops
    );
    for r in &outcome.realised {
        text += &format!(
            "  {:<20} {:>5.1}% of tokens{}, {:.2} epochs\n",
            r.corpus,
            r.share * 100.0,
            declared(r.declared),
            r.epochs
        );
        for phase in &r.phases {
            text += &format!(
                "    steps {:<14} {:>5.1}%{}\n",
                format!("{} to {}", phase.from_step, phase.to_step - 1),
                phase.share * 100.0,
                declared(Some(phase.declared))
            );
        }
    }
    text + folder
}

/// The share that weights declared, beside the one that was drawn.
fn declared(share: Option<f64>) -> String {
    share.map_or_else(String::new, |share| {
        format!(" (declared {:.1}%)", 100.0 * share)
    })
}
