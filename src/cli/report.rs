//! `windtunnel report STUDY`

use super::{Global, output::Output};
use crate::{
    error::Result,
    report::{self, StudyReport},
    study::contract::StudyDir,
};

#[derive(clap::Args)]
pub struct Args {
    /// A study: its id or the start of it, or its folder
    study: String,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let dir = StudyDir::find(&global.home, &args.study)?;
    let study = StudyReport::read(&global.home, &dir)?;
    let path = report::write(&study, &dir)?;
    output.result(
        "windtunnel.report.v1",
        &serde_json::json!({ "study": study.contract.id, "report": path }),
        &format!("{}report    {}\n", study.summary(), path.display()),
    );
    Ok(())
}
