//! `windtunnel fit mixture|scaling`: laws from tables of finished runs.

pub mod mixture;
mod scaling;

use super::{Global, output::Output};
use crate::{
    error::{Error, Result},
    files,
    laws::table::Table,
};
use std::{fs, path::Path};

#[derive(clap::Subcommand)]
pub enum Command {
    /// What losses are as a function of the data mixture, and the best mixture
    Mixture(Box<mixture::Args>),
    /// What losses are as a function of parameters and tokens, and the best sizes
    Scaling(scaling::Args),
}

pub fn run(global: &Global, command: &Command, output: Output) -> Result<()> {
    match command {
        Command::Mixture(args) => mixture::run(global, args, output),
        Command::Scaling(args) => scaling::run(args, output),
    }
}

fn table(path: &Path) -> Result<Table> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
    Table::parse(&path.display().to_string(), &files::utf8(path, bytes)?)
}

/// `name=number` as its parts.
fn pair(flag: &str, text: &str) -> Result<(String, f64)> {
    let parts = text.rsplit_once('=');
    let parsed = parts.and_then(|(name, number)| Some((name, number.trim().parse().ok()?)));
    parsed
        .filter(|(_, number): &(&str, f64)| number.is_finite())
        .map(|(name, number)| (name.trim().to_string(), number))
        .ok_or_else(|| {
            Error::input(
                format!("{flag} {text}"),
                "this is not NAME=NUMBER",
                format!("write for example {flag} code=0.2, with commas between several"),
            )
        })
}

/// Writes a picture, when one is asked for.
fn plot(path: Option<&Path>, svg: impl FnOnce() -> String, output: Output) -> Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    files::replace(path, svg().as_bytes())?;
    output.note(&format!("the picture is {}", path.display()));
    Ok(())
}
