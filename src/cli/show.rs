//! `windtunnel show ID`: a study or a run.

use super::{Global, output::Output, train::describe};
use crate::{
    checkpoint,
    error::{Error, Result},
    hf::Origin,
    home::Home,
    jobs::Store,
    metrics::Record,
    report::StudyReport,
    run::Run,
    run_dir::RunDir,
    study::contract::StudyDir,
};
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    /// A study or a run: its id or the start of it, its folder, or a job's id
    id: String,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    if let Some(store) = Store::existing(&global.home)?
        && let Ok(job) = store.job(&args.id)
    {
        let begun = job.study.as_ref();
        return match begun.map(|id| StudyDir::find(&global.home, id)) {
            Some(Ok(dir)) => study(global, &dir, output),
            _ => {
                output.result("windtunnel.job.v1", &job, &job.line());
                Ok(())
            }
        };
    }
    match StudyDir::find(&global.home, &args.id) {
        Ok(dir) => study(global, &dir, output),
        Err(no_study) => match Home::find_run(&global.home, &args.id) {
            Ok(dir) => one_run(&dir, output),
            Err(no_run) => Err(Error {
                problem: format!("{}; {}", no_run.problem, no_study.problem),
                ..no_run
            }),
        },
    }
}

fn study(global: &Global, dir: &StudyDir, output: Output) -> Result<()> {
    let contract = dir.contract()?;
    if !dir.verdict_path().exists() {
        let ended = contract.terms.arms.iter().flat_map(|arm| &arm.trials);
        let ended =
            ended.filter(|id| matches!(RunDir::of(&global.home, id).outcome(), Ok(Some(_))));
        let text = format!(
            "study     {}\nclaim     {}\nnot judged yet: {} of {} trials have ended\n",
            contract.id,
            contract.terms.hypothesis.claim,
            ended.count(),
            contract.terms.arms.len() * contract.terms.seeds.len(),
        );
        output.result(
            "windtunnel.study.v1",
            &json!({ "contract": contract }),
            &text,
        );
        return Ok(());
    }
    let study = StudyReport::read(&global.home, dir)?;
    let value = json!({ "contract": study.contract, "verdict": study.verdict, "cost": study.cost(), "stretches": study.stretches });
    output.result("windtunnel.study.v1", &value, &study.summary());
    Ok(())
}

fn one_run(dir: &RunDir, output: Output) -> Result<()> {
    let run = Run::load(&dir.recipe())?;
    let outcome = dir.outcome()?;
    let origin = Origin::of(dir)?;
    let folder = dir.path().display().to_string();
    let mut text = String::new();
    for record in dir.records()? {
        if let Record::Eval(eval) = record {
            text += &format!(
                "step {:>7}  {:>12} tokens  {:.4} nats  {:.4} bpb{}\n",
                eval.step,
                eval.tokens,
                eval.loss,
                eval.bpb,
                eval.accuracies()
            );
        }
    }
    text += &match (&outcome, &origin) {
        (Some(outcome), _) => describe(outcome, &folder),
        (None, Some(origin)) => format!(
            "imported from {}: {} layout, {} parameters\n{folder}\n",
            origin.folder.display(),
            origin.layout.name(),
            origin.parameters
        ),
        (None, None) => format!(
            "not finished: saved at step {} of {}\n{folder}\n",
            checkpoint::steps(&dir.checkpoints()).pop().unwrap_or(0),
            run.steps
        ),
    };
    text += &format!("\n{}", run.to_toml());
    let value = json!({
        "folder": folder,
        "run": run,
        "environment": dir.environment()?,
        "outcome": outcome,
        "origin": origin,
        "events": dir.events(),
    });
    output.result("windtunnel.show.v1", &value, &text);
    Ok(())
}
