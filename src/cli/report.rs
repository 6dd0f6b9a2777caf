//! `windtunnel report ID`: a study's report again, or a run's page.

use super::{Global, output::Output};
use crate::{
    error::{Error, Result},
    home::Home,
    report::{self, StudyReport},
    run_dir::RunDir,
    study::contract::StudyDir,
};
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    /// A study or a run: its id or the start of it, or its folder
    id: String,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    match StudyDir::find(&global.home, &args.id) {
        Ok(dir) => study(global, &dir, output),
        Err(no_study) => match Home::find_run(&global.home, &args.id) {
            Ok(dir) => one_run(&dir, output),
            Err(no_run) => Err(Error {
                problem: format!("{}; {}", no_study.problem, no_run.problem),
                ..no_study
            }),
        },
    }
}

fn study(global: &Global, dir: &StudyDir, output: Output) -> Result<()> {
    let id = dir.contract()?.id;
    let (summary, written) = if dir.verdict_path().exists() {
        let study = StudyReport::read(&global.home, dir)?;
        (study.summary(), report::write(&study, dir)?)
    } else {
        let text = format!("study     {id}\nnot judged yet: the page says how far it is\n");
        (text, report::write_unjudged(&global.home, dir)?)
    };
    output.result(
        "windtunnel.report.v1",
        &json!({ "study": id, "report": written.report, "page": written.page }),
        &(summary + &written.summary()),
    );
    Ok(())
}

fn one_run(dir: &RunDir, output: Output) -> Result<()> {
    let written = report::write_run(dir)?;
    output.result(
        "windtunnel.report.v1",
        &json!({ "run": dir.path().display().to_string(), "page": written.page }),
        &written.summary(),
    );
    Ok(())
}
