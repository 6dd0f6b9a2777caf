//! `windtunnel init [--claude]`: what a project needs to begin.

use super::{Global, output::Output};
use crate::{
    claude::init::{Done, Edits, Scope, Wanted, What, init},
    error::Result,
};
use serde_json::json;
use std::path::Path;

#[derive(clap::Args)]
pub struct Args {
    /// Also what Claude Code reads: .mcp.json, skills, and a section of CLAUDE.md
    #[arg(long)]
    claude: bool,
    /// Replace texts that somebody edited; the old ones stay beside them as FILE.before
    #[arg(long)]
    force: bool,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let done = init(&Wanted {
        root: Path::new(""),
        home: &global.home,
        scope: if args.claude {
            Scope::Claude
        } else {
            Scope::Project
        },
        edits: if args.force {
            Edits::Replace
        } else {
            Edits::Keep
        },
    })?;
    let mut text: String = done.iter().map(line).collect();
    text.push_str(match args.claude {
        true => "next: start Claude Code here and let it use the server windtunnel",
        false => "next: windtunnel plan configs/studies/quickstart.toml",
    });
    output.result("windtunnel.init.v1", &json!({ "files": done }), &text);
    if args.claude && !on_path() {
        output.note("note: no program windtunnel is on the PATH, so Claude Code could not start its server: put it there, or write its path as \"command\" in .mcp.json");
    }
    Ok(())
}

fn line(done: &Done) -> String {
    let word = match done.what {
        What::Written => "wrote",
        What::Added => "added to",
        What::Updated => "updated",
        What::Replaced => "replaced",
        What::Unchanged => "as it was",
        What::Kept => "kept",
    };
    let more = match (&done.before, done.what) {
        (Some(before), _) => format!(" (the old text is in {})", before.display()),
        (None, What::Kept) if done.path.ends_with("limits.toml") => " (limits are yours)".into(),
        (None, What::Kept) => " (edited; --force replaces it)".into(),
        _ => String::new(),
    };
    format!("{word:<10} {}{more}\n", done.path.display())
}

fn on_path() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("windtunnel").is_file())
}
