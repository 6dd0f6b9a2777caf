//! `windtunnel finding STUDY`: what a verdict means, with numbers from the ledger.

use super::{Global, output::Output};
use crate::{
    claude::{finding, literature::Library},
    error::{Error, Result},
    files,
    study::{
        finding::{Kept, of_study},
        judged,
    },
};
use serde_json::json;
use std::{fs, path::PathBuf};

/// Record what a verdict means, with numbers filled in from the ledger.
///
/// The text holds every number as a key: "It raises the loss by {{verdict.size}} [@key]." A number that
/// stands there by itself is refused, in digits or in words (two to ninety, dozen, twice, half, tenfold,
/// percent and the like; not one, zero and ordinals), as are unknown citations and words that say
/// otherwise than the verdict. Values of the contract may be quoted: `optimizer.lr = 0.001`.
#[derive(clap::Args)]
pub struct Args {
    /// The study: its id, or the start of it
    study: String,
    /// The finding; without it, the study's findings are listed
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["file", "keys"])]
    text: Option<String>,
    /// The finding, from a file
    #[arg(long, value_name = "FILE", conflicts_with = "keys")]
    file: Option<PathBuf>,
    /// List the keys that there are, with their values
    #[arg(long)]
    keys: bool,
    /// Check the finding and print it filled in, but write nothing
    #[arg(long)]
    check: bool,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    if args.keys {
        return keys(global, &args.study, output);
    }
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => {
            let bytes = fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
            files::utf8(path, bytes)?
        }
        (None, None) if args.check => {
            let remedy = "give --text \"…\" or --file FILE";
            return Err(Error::input("--check", "there is nothing to check", remedy));
        }
        (None, None) => return list(global, &args.study, output),
    };
    let library = Library::open(&global.home)?;
    if args.check {
        let said = finding::filled_in(&global.home, &args.study, &text, &library)?;
        let value =
            json!({ "text": said.text, "values": said.values, "citations": said.citations });
        output.result("windtunnel.finding_check.v1", &value, &said.text);
        return Ok(());
    }
    let kept = finding::record(&global.home, &args.study, &text, &library)?;
    let words = format!("{}\n\n{}", kept.finding.text.trim(), heading(&kept));
    output.result("windtunnel.finding.v1", &kept, &words);
    Ok(())
}

fn keys(global: &Global, study: &str, output: Output) -> Result<()> {
    let keys = finding::keys(&global.home, study)?;
    let entries = keys.entries();
    let widest = entries.iter().map(|e| e.key.len()).max().unwrap_or(0);
    let mut text: String = entries
        .iter()
        .map(|e| format!("{:<widest$}  {}\n", e.key, e.value))
        .collect();
    text += "\nalso contract.ARM.PATH for any PATH of the resolved recipe, and study:ID.KEY of another study\n";
    output.result(
        "windtunnel.finding_keys.v1",
        &json!({ "keys": entries }),
        &text,
    );
    Ok(())
}

fn list(global: &Global, study: &str, output: Output) -> Result<()> {
    let dir = judged::find(&global.home, study)?;
    let findings = of_study(&global.home, &dir)?;
    let mut text: String = findings
        .iter()
        .map(|kept| format!("{}\n{}\n\n", heading(kept), kept.finding.text.trim()))
        .collect();
    if findings.is_empty() {
        text = "no finding yet: --text \"…\" records one, --keys lists what it can say\n".into();
    }
    output.result(
        "windtunnel.findings.v1",
        &json!({ "findings": findings }),
        &text,
    );
    Ok(())
}

fn heading(kept: &Kept) -> String {
    let finding = &kept.finding;
    let stale = kept.stale.as_ref();
    let stale = stale.map_or(String::new(), |why| format!(" (stale: {why})"));
    format!("finding   {} of {}{stale}", finding.number, finding.study)
}
