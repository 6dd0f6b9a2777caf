//! `windtunnel run STUDY.toml`: the main job.

use super::{
    Global, ladder,
    output::Output,
    plan,
    progress::StudyProgress,
    stop_on_interrupt, stop_when_stdin_ends,
    study::{StudyArgs, ready},
};
use crate::{
    error::{Error, Kind, Result},
    home::Home,
    metrics::Ending,
    report::{self, StudyReport},
    session::Effort,
    study::{
        campaign,
        contract::StudyDir,
        ledger::Ledger,
        proposal::Study,
        runner::{Watched, is_decided, run_study},
        spent::Clock,
        verdict::Expectation,
    },
    train::Progress,
};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    study: StudyArgs,
    /// End with status 1 unless every arm comes out so: for CI
    #[arg(long, value_name = "VERDICT")]
    expect: Option<Expect>,
    /// Save and stop when stdin ends: whoever started this is gone.
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Expect {
    Better,
    NotWorse,
    Equivalent,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    if args.stop_with_stdin {
        stop_when_stdin_ends();
    }
    let rungs = Study::rungs(&args.study.study)?;
    if !rungs.is_empty() {
        if args.expect.is_some() {
            return Err(Error::input(
                "--expect",
                "a ladder has a level, not one verdict",
                "leave it out, or read `level` in the result of --json",
            ));
        }
        return ladder::run(global, (&args.study, &rungs), output);
    }
    let done = one(global, &args.study, output)?;
    output.result("windtunnel.run.v1", &done.value, &done.text);
    let expectation = match args.expect {
        None => return Ok(()),
        Some(Expect::Better) => Expectation::Better,
        Some(Expect::NotWorse) => Expectation::NotWorse,
        Some(Expect::Equivalent) => Expectation::Equivalent,
    };
    match done.study.verdict.meets(expectation) {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Unexpected,
            "--expect",
            format!("the verdict is {}", done.study.verdict.summary()),
            "read the report; nothing failed but the expectation",
        )),
    }
}

/// A study that was run to its verdict, and what to say of it.
pub struct Done {
    pub study: StudyReport,
    pub value: serde_json::Value,
    pub text: String,
}

/// Runs a study, or a rung of one, to its verdict, and writes its report.
pub fn one(global: &Global, args: &StudyArgs, output: Output) -> Result<Done> {
    Home::check_free(&global.home)?;
    let ready = ready(global, args, output, Effort::Quick)?;
    let contract = &ready.planned.contract;
    let at = (ready.at_once, Effort::Quick);
    let ledger = Ledger::read(&global.home)?;
    let forecast = ready.planned.forecast(&ready.session, &ledger, at)?;
    // A study that asks only about trials that are there is held to the same gates.
    if !forecast.frozen || !is_decided(&global.home, contract)? {
        let mixtures = plan::mixtures(&ready.planned)?;
        let caution = plan::cautions(ready.caution.as_deref());
        let words = plan::describe(&forecast, &ready.why) + &plan::drawn(&mixtures);
        output.note(&(words + &caution));
        forecast.check(contract, ready.available_bytes)?;
    }
    let _lock = Home::lock(&global.home)?;
    campaign::check_place(&global.home, contract)?;
    ready.session.keep()?;
    let progress = StudyProgress::new(contract, forecast.trials, output);
    let clock = Clock::start();
    let result = run_study(
        &ready.session,
        &ready.planned,
        (ready.at_once, stop_on_interrupt()),
        &|trial, watched| match watched {
            Watched::Progress(event) => {
                if let Progress::Started { pack, .. } = event {
                    clock.begun(&trial.id.to_string(), pack);
                }
                progress.update(&trial.id, event);
            }
            Watched::Ended(outcome) => {
                clock.ended(outcome);
                progress.ended(
                    &trial.id,
                    &match &outcome.ending {
                        Ending::Finished { eval } => format!("{:.4} bpb", eval.bpb),
                        Ending::Diverged { step, what } => {
                            format!("diverged at step {step}: {what}")
                        }
                    },
                );
            }
        },
    );
    progress.finish();
    if let Ok(dir) = StudyDir::find(&global.home, &contract.id) {
        clock.stop(&ready.session, &dir, (&forecast, result.is_err()))?;
    }
    let (dir, verdict) = result?;
    let study = StudyReport::read(&global.home, &dir)?;
    let written = report::write(&study, &dir)?;
    let text = study.summary() + &written.summary();
    let value = serde_json::json!({
        "study": contract.id,
        "verdict": verdict,
        "cost": study.cost(),
        "stretches": study.stretches,
        "report": written.report,
        "page": written.page,
    });
    Ok(Done { study, value, text })
}
