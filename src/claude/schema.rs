//! One contract: the JSON Schemas of what others write, made from the very types that read it.
//!
//! A study file, a tool's argument and a model's structured output are the same types. Their schemas
//! say what may be written ([`study`], [`recipe`], [`proposal`]); [`check`] says where something else
//! was, with the place inside the value and the nearest known key; serde then makes the value.

mod check;
mod strict;

pub use check::check;
pub use strict::strict;

use super::{draft::Draft, written};
use crate::{
    error::{Error, Result},
    recipe::Recipe,
    study::proposal::Proposal,
};
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The schema of a study file.
pub fn study() -> Value {
    of::<Proposal>()
}

/// The schema of a recipe file.
pub fn recipe() -> Value {
    of::<Recipe>()
}

/// The schema of a [`Draft`] in the form that the Messages API takes for structured output.
pub fn proposal() -> Value {
    strict(&of::<Draft>()).expect("every object of a draft is closed")
}

/// The schema of a type (draft 2020-12): keys in the order of the source, descriptions from its
/// comments.
pub fn of<T: JsonSchema>() -> Value {
    let mut schema = SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .to_value();
    plain_words(&mut schema);
    schema
}

/// A value as a `T`. Errors name the place inside it, starting at `whole` ("the study"), what is
/// wrong there, and what would be right.
pub fn parse<T: JsonSchema + DeserializeOwned>(value: &Value, whole: &str) -> Result<T> {
    check(value, &of::<T>(), whole)?;
    serde_json::from_value(value.clone()).map_err(|error| {
        Error::input(
            whole,
            error.to_string(),
            "give values as the schema says; TOML has no null, so leave out what is not there",
        )
    })
}

/// A study given as JSON, as the text of a study file. Errors name the place in the JSON and the
/// nearest known key.
pub fn study_from_json(value: &Value) -> Result<String> {
    let proposal: Proposal = parse(value, "the study")?;
    let arms = value.get("arms").and_then(Value::as_object);
    let order: Vec<&str> = arms
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    written::study(&proposal, &order, &[])
}

/// Comments of the source as descriptions: without line breaks and the brackets of links.
fn plain_words(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(words) if key == "description" => {
                        let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
                        *words = line.replace("[`", "`").replace("`]", "`");
                    }
                    value => plain_words(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_words),
        _ => {}
    }
}
