//! `windtunnel audit`

use super::{Global, output::Output};
use crate::{
    error::{Error, Kind, Result},
    jobs::audit::audit,
};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(global: &Global, _args: &Args, output: Output) -> Result<()> {
    let found = audit(&global.settings()?)?;
    output.result("windtunnel.audit.v1", &found, &found.in_words());
    match found.wrong.len() {
        0 => Ok(()),
        n => Err(Error::new(
            Kind::Refused,
            global.home.display().to_string(),
            format!("{n} things are not as they were written down"),
            "look at each; a study whose contract or verdict was edited can be moved away and run again",
        )),
    }
}
