//! `windtunnel lit search|show|list|add|sync`: the library of papers.

use super::{Global, output::Output};
use crate::{
    claude::literature::{
        Hit, Library,
        added::{Added, add},
        arxiv::{self, Question, sync},
        bibtex::Record,
    },
    error::Result,
};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Records that have these words, best first
    Search {
        /// Words; any text is a query
        #[arg(required = true)]
        words: Vec<String>,
        /// Most records to print
        #[arg(short, long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        most: u16,
        /// What is known about a factor of a recipe instead, such as optimizer.lr
        #[arg(long)]
        factor: bool,
    },
    /// One record with its note
    Show { key: String },
    /// Every record: its key, year and title
    List,
    /// Take in a file of BibTeX records, whole or not at all
    Add { file: PathBuf },
    /// Ask arXiv, and add what it answers (the only one of these that uses the network)
    Sync {
        /// Words, arXiv's own syntax such as ti:muon, or numbers such as 2305.10429
        #[arg(required = true)]
        query: Vec<String>,
        /// Most records to ask for
        #[arg(short, long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
        most: u16,
        #[arg(long, env = "WINDTUNNEL_ARXIV_URL", default_value = arxiv::URL, hide = true)]
        url: String,
    },
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    match &args.command {
        Command::Search {
            words,
            most,
            factor,
        } => {
            let (library, query) = (Library::open(&global.home)?, words.join(" "));
            let hits = match factor {
                true => library.about_factor(&query)?,
                false => library.search(&query, usize::from(*most))?,
            };
            let text = match hits.is_empty() {
                true => format!(
                    "nothing in the library has these words; `windtunnel lit sync {query}` asks arXiv"
                ),
                false => hits.iter().map(found).collect::<Vec<_>>().join("\n\n"),
            };
            output.result(
                "windtunnel.literature.v1",
                &json!({ "query": query, "hits": hits }),
                &text,
            );
        }
        Command::Show { key } => {
            let library = Library::open(&global.home)?;
            let record = library.get(key)?;
            let value = json!({ "record": record, "bibtex": record.text });
            output.result("windtunnel.paper.v1", &value, &whole(record));
        }
        Command::List => {
            let library = Library::open(&global.home)?;
            let line = |r: &Record| format!("{:<26} {}  {}", r.key, r.year, r.title);
            let lines: Vec<String> = library.records().iter().map(line).collect();
            let value = json!({ "records": library.records() });
            output.result("windtunnel.library.v1", &value, &lines.join("\n"));
        }
        Command::Add { file } => said(&add(&global.home, file)?, output),
        Command::Sync { query, most, url } => {
            let query = query.join(" ");
            let question = Question {
                url,
                query: &query,
                most: usize::from(*most),
            };
            said(&sync(&global.home, &question)?, output);
        }
    }
    Ok(())
}

fn said(added: &Added, output: Output) {
    let mut text = match added.added.is_empty() {
        true => "nothing new".to_string(),
        false => format!(
            "added to {}: {}",
            added.path.display(),
            added.added.join(", ")
        ),
    };
    if !added.known.is_empty() {
        text.push_str(&format!("\nknown before: {}", added.known.join(", ")));
    }
    output.result("windtunnel.library_added.v1", added, &text);
}

/// First author, or two, or "et al.".
fn authors(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [one, ..] => format!("{one} et al."),
    }
}

fn found(hit: &Hit) -> String {
    let mut text = format!(
        "{}  {}\n  {} {}, {}",
        hit.key,
        hit.title,
        authors(&hit.authors),
        hit.year,
        hit.identifier
    );
    if !hit.note.is_empty() {
        text.push_str(&format!("\n  {}", hit.note));
    }
    text
}

fn whole(record: &Record) -> String {
    let mut text = format!(
        "{}\n{}\n{} {}\n{}",
        record.key,
        record.title,
        record.authors.join(", "),
        record.year,
        record.identifier()
    );
    let more = [
        ("note", record.note.clone()),
        ("abstract", record.summary.clone()),
        (
            "factors",
            Some(record.factors.join(", ")).filter(|f| !f.is_empty()),
        ),
        ("looked up", record.source.clone()),
    ];
    for (name, words) in more {
        if let Some(words) = words {
            text.push_str(&format!("\n\n{name}: {words}"));
        }
    }
    text
}
