//! What can be read by URI: the schemas of studies and recipes, each run's recipe, metrics and log,
//! each study's report.

use super::{Desk, answer::cut, names, runs::in_lines};
use crate::{
    claude::{quoted::quoted_at_most, schema},
    error::{Error, Result, nearest},
    home::Home,
    study::contract::StudyDir,
};
use rmcp::model::{Resource, ResourceContents, ResourceTemplate};
use std::{fs, path::Path};

/// Bytes of a resource at most: about what a client puts before a model at once.
const MOST_BYTES: usize = 60_000;
/// Resources on one page of the list.
const PAGE: usize = 100;

/// What a URI names.
enum Named<'a> {
    Schema(&'a str),
    Run(&'a str, &'a str),
    /// Its report.
    Study(&'a str),
}

const SCHEMAS: [&str; 2] = ["study", "recipe"];
const OF_RUN: [&str; 3] = ["recipe", "metrics", "log"];

fn parse(uri: &str) -> Option<Named<'_>> {
    let (scheme, rest) = uri.split_once("://")?;
    match (scheme, rest.split_once('/')) {
        ("schema", None) => Some(Named::Schema(rest)),
        ("run", Some((id, part))) if OF_RUN.contains(&part) => Some(Named::Run(id, part)),
        ("study", Some((id, "report"))) => Some(Named::Study(id)),
        _ => None,
    }
}

/// The text of a resource. Errors name the nearest URI there is.
pub fn read(desk: &Desk, uri: &str) -> Result<ResourceContents> {
    let home = &desk.settings.home;
    let (kind, text) = match parse(uri) {
        Some(Named::Schema("study")) => ("application/json", pretty(&schema::study())),
        Some(Named::Schema("recipe")) => ("application/json", pretty(&schema::recipe())),
        Some(Named::Run(id, part)) => {
            let dir = names::run(home, id)?;
            match part {
                "recipe" => ("application/toml", text(&dir.recipe())?),
                "metrics" => (
                    "application/jsonl",
                    ends(&text(&dir.path().join("metrics.jsonl"))?),
                ),
                _ => (
                    "text/plain",
                    quoted_at_most("log", &ends(&in_lines(&dir)?), MOST_BYTES),
                ),
            }
        }
        Some(Named::Study(id)) => {
            let dir = names::study(desk, id)?;
            let report = cut(&text(&dir.report_path())?, MOST_BYTES);
            ("text/markdown", report)
        }
        Some(Named::Schema(_)) | None => return Err(unknown(uri)),
    };
    Ok(ResourceContents::text(text, uri).with_mime_type(kind))
}

fn unknown(uri: &str) -> Error {
    let known = SCHEMAS.map(|name| format!("schema://{name}"));
    let remedy = match nearest(uri, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => "resources are schema://study, schema://recipe, run://ID/recipe, run://ID/metrics, run://ID/log and study://ID/report".into(),
    };
    Error::input(uri, "is no resource of this server", remedy)
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}")
}

fn text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whole lines of the beginning and of the end, where all is too long.
fn ends(text: &str) -> String {
    if text.len() <= MOST_BYTES {
        return text.into();
    }
    let half = MOST_BYTES / 2;
    let head = &text[..text.floor_char_boundary(half)];
    let head = &head[..head.rfind('\n').map_or(0, |at| at + 1)];
    let tail = &text[text.ceil_char_boundary(text.len() - half)..];
    let tail = &tail[tail.find('\n').map_or(0, |at| at + 1)..];
    let between = text[head.len()..text.len() - tail.len()].lines().count();
    let note = format!(
        "{{\"kind\":\"left_out\",\"lines\":{between},\"how_to_see_them\":\"run_curve\"}}\n"
    );
    format!("{head}{note}{tail}")
}

/// A page of all resources from the `from`-th on, and where the next begins.
pub fn list(desk: &Desk, from: usize) -> (Vec<Resource>, Option<usize>) {
    let home = &desk.settings.home;
    let schemas = SCHEMAS.map(|name| {
        Resource::new(format!("schema://{name}"), format!("schema of a {name}"))
            .with_description(format!("JSON Schema of a {name} file"))
            .with_mime_type("application/json")
    });
    let studies = StudyDir::all(home).into_iter().map(|id| {
        Resource::new(format!("study://{id}/report"), format!("report of {id}"))
            .with_mime_type("text/markdown")
    });
    let runs = Home::runs(home).into_iter().flat_map(|id| {
        OF_RUN.map(|part| Resource::new(format!("run://{id}/{part}"), format!("{part} of {id}")))
    });
    let mut all = schemas.into_iter().chain(studies).chain(runs).skip(from);
    let page: Vec<Resource> = all.by_ref().take(PAGE).collect();
    let next = all.next().map(|_| from + page.len());
    (page, next)
}

pub fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new("run://{id}/recipe", "a run's recipe")
            .with_description("The resolved recipe that a run trained, as TOML")
            .with_mime_type("application/toml"),
        ResourceTemplate::new("run://{id}/metrics", "a run's metrics")
            .with_description(
                "What a run recorded, a JSON object a line; the middle of a long one is left out",
            )
            .with_mime_type("application/jsonl"),
        ResourceTemplate::new("run://{id}/log", "a run's log")
            .with_description("A run's events and records, a line each")
            .with_mime_type("text/plain"),
        ResourceTemplate::new("study://{id}/report", "a study's report")
            .with_description("The report of a judged study, as Markdown")
            .with_mime_type("text/markdown"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_whole_lines_of_both_ends_and_counts_the_rest() {
        let lines: Vec<String> = (0..20_000).map(|i| format!("line {i} é")).collect();
        let short = ends(&lines.join("\n"));
        assert!(short.len() <= MOST_BYTES + 100);
        assert!(short.starts_with("line 0 é\n") && short.ends_with("line 19999 é"));
        let shown = short
            .lines()
            .filter(|line| line.starts_with("line"))
            .count();
        assert!(
            short.contains(&format!("\"lines\":{}", lines.len() - shown)),
            "{shown}"
        );
        assert!(
            short
                .lines()
                .filter(|l| l.starts_with("line"))
                .all(|l| lines.iter().any(|m| m == l))
        );
    }
}
