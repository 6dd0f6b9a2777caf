//! `windtunnel supervise`: what runs submitted studies; started by whoever submits one.

use super::{Global, output::Output, stop_on_interrupt};
use crate::{error::Result, jobs::supervisor::supervise};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(global: &Global, _args: &Args, output: Output) -> Result<()> {
    supervise(&global.settings()?, stop_on_interrupt())?;
    output.result(
        "windtunnel.supervise.v1",
        &serde_json::json!({}),
        "nothing is queued",
    );
    Ok(())
}
