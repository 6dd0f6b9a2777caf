//! `windtunnel mcp`: serve the Model Context Protocol on stdin and stdout.

use super::{Global, output::Output};
use crate::{claude::mcp, error::Result};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(global: &Global, _: &Args, _: Output) -> Result<()> {
    mcp::serve(global.settings()?)
}
