//! `windtunnel schema study|recipe|proposal`

use super::{Global, output::Output};
use crate::{claude::schema, error::Result};
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    /// Whose schema
    kind: Kind,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// A study file, which has the same keys as JSON
    Study,
    /// A recipe file
    Recipe,
    /// What a model fills in by structured output of the Messages API
    Proposal,
}

pub fn run(_global: &Global, args: &Args, output: Output) -> Result<()> {
    let (kind, schema) = match args.kind {
        Kind::Study => ("study", schema::study()),
        Kind::Recipe => ("recipe", schema::recipe()),
        Kind::Proposal => ("proposal", schema::proposal()),
    };
    let text = serde_json::to_string_pretty(&schema).expect("a schema is plain data");
    let value = json!({ "kind": kind, "json_schema": schema });
    output.result("windtunnel.schema.v1", &value, &text);
    Ok(())
}
