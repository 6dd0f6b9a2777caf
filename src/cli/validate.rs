//! `windtunnel validate STUDY.toml`

use super::{Global, output::Output};
use crate::error::Result;

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_global: &Global, _args: &Args, _output: Output) -> Result<()> {
    Ok(())
}
