//! Tools about what is known: papers that were looked up, and findings of this home.

use super::{Caller, Desk, answer::Answer, names};
use crate::{
    claude::{
        finding,
        literature::{Library, as_data},
    },
    error::Result,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchArgs {
    /// Words to look for, such as "warmup large batch"
    query: String,
    /// Records at most [default: 8]
    #[serde(default)]
    #[schemars(range(min = 1, max = 25))]
    n: Option<usize>,
}

pub fn search(desk: &Desk, args: &SearchArgs, _: &Caller) -> Result<Answer> {
    let library = Library::open(&desk.settings.home)?;
    let hits = library.search(&args.query, args.n.unwrap_or(8))?;
    let keys: Vec<&str> = hits.iter().map(|hit| hit.key.as_str()).collect();
    Ok(Answer::Json(json!({
        "found": hits.len(),
        "records_in_all": library.records().len(),
        "keys": keys,
        "records": as_data(&hits),
        "next": "name a record by its key in hypothesis.references of a study, or cite it in finding_write",
    })))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindingArgs {
    /// The id of a judged study, or the start of it
    study: String,
    /// Markdown in which every number is a key of the ledger, such as {{verdict.effect}}, and every
    /// citation a key of the library, such as [@key]
    text: String,
}

pub fn write_finding(desk: &Desk, args: &FindingArgs, _: &Caller) -> Result<Answer> {
    let home = &desk.settings.home;
    let study = names::id(names::study(desk, &args.study)?.path());
    let library = Library::open(home)?;
    let finding = finding::record(home, &study, &args.text, &library)?;
    Ok(Answer::Json(
        serde_json::to_value(finding).unwrap_or_default(),
    ))
}
