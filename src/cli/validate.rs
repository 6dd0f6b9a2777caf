//! `windtunnel validate STUDY.toml`

use super::{Global, output::Output};
use crate::{
    claude::literature::{Library, OfFactor},
    error::Result,
    jobs::{StudyText, check},
};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The study, a TOML file
    study: PathBuf,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let checked = check(&global.settings()?, &StudyText::read(&args.study)?)?;
    let literature = Library::open(&global.home)?.for_checked(&checked)?;
    let mut text = checked.in_words();
    for (idx, line) in literature.iter().flat_map(OfFactor::lines).enumerate() {
        let label = if idx == 0 { "papers" } else { "" };
        text += &format!("{label:<9} {line}\n");
    }
    let mut value = json!(checked);
    value["literature"] = json!(literature);
    output.result("windtunnel.validate.v1", &value, &text);
    Ok(())
}
