//! `[ladder]`: one study at several sizes, each rung a study of its own on seeds that no other rung
//! uses, so that what they say together says how an effect changes with size.

use super::proposal::Proposal;
use crate::{
    error::{Error, Result},
    toml_file::Source,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The `[ladder]` table of a study: keys of the recipe with a value for each rung. A word alone is a
/// key of `[model]`; `rates` are learning rates, at each of which every size is run, and `target` is the
/// size, in parameters, that claims are about: else the largest rung's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ladder(toml::Table);

/// A study of a ladder.
#[derive(Debug, Clone, PartialEq)]
pub struct Rung {
    /// From 0.
    pub idx: usize,
    /// What it is called beside its study: "n_embd=64".
    pub label: String,
    /// What every arm of it is set to.
    pub set: toml::Table,
}

/// The key of the learning rates.
const RATES: &str = "rates";
/// The key of the size that claims are about.
const TARGET: &str = "target";
const LEARNING_RATE: &str = "optimizer.lr";
/// A study at more sizes is a slip.
const MOST: usize = 64;

impl JsonSchema for Ladder {
    fn schema_name() -> Cow<'static, str> {
        "Ladder".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The [ladder] table: keys of the recipe with a value for each rung; a word \
                alone is a key of [model].",
            "type": "object",
            "properties": {
                RATES: {
                    "description": "Learning rates, at each of which every size is run.",
                    "type": "array", "items": { "type": "number" }, "minItems": 1,
                },
                TARGET: {
                    "description": "Parameters of the model that claims are about; the largest rung's \
                        unless written.",
                    "type": "number", "exclusiveMinimum": 0,
                },
            },
            "additionalProperties": { "type": "array", "minItems": 1 },
        })
    }
}

impl Ladder {
    /// Its rungs, the first sizes first, and of one size the first rate first. Errors, with file and
    /// line, where lists are empty or differ in length.
    pub fn rungs(&self, source: &Source) -> Result<Vec<Rung>> {
        let wrong = |key: &str, problem: String, remedy: &str| {
            Error::input(source.place_of(&["ladder", key]), problem, remedy)
        };
        let mut n_sizes = None;
        let mut lists: Vec<(String, &Vec<toml::Value>)> = Vec::new();
        let mut rates: &[toml::Value] = &[];
        for (key, value) in self.0.iter().filter(|(key, _)| *key != TARGET) {
            let list = value.as_array().filter(|list| !list.is_empty());
            let Some(list) = list else {
                return Err(wrong(
                    key,
                    format!("ladder.{key} is {value}"),
                    "give a list with a value for each rung, such as n_embd = [64, 128, 256]",
                ));
            };
            if key == RATES {
                rates = list;
                continue;
            }
            if *n_sizes.get_or_insert(list.len()) != list.len() {
                return Err(wrong(
                    key,
                    format!(
                        "ladder.{key} has {} values, another key {}",
                        list.len(),
                        n_sizes.unwrap_or_default()
                    ),
                    "give every key as many values: the first of each make the first rung",
                ));
            }
            let path = match key.contains('.') {
                true => key.clone(),
                false => format!("model.{key}"),
            };
            lists.push((path, list));
        }
        if self.0.contains_key(TARGET) && self.target().is_none() {
            let problem = format!("ladder.target is {}", self.0[TARGET]);
            let remedy = "give a number of parameters above 0, such as 1e9";
            return Err(wrong(TARGET, problem, remedy));
        }
        let (n_sizes, n_rates) = (n_sizes.unwrap_or(1), rates.len().max(1));
        if !(2..=MOST).contains(&(n_sizes * n_rates)) {
            return Err(Error::input(
                source.place_of(&["ladder"]),
                format!("[ladder] has {} rungs", n_sizes * n_rates),
                "give two values or more, such as n_embd = [64, 128, 256]",
            ));
        }
        let rung = |idx: usize| {
            let mut set = toml::Table::new();
            for (path, list) in &lists {
                set.insert(path.clone(), list[idx / n_rates].clone());
            }
            if let Some(rate) = rates.get(idx % n_rates) {
                set.insert(LEARNING_RATE.into(), rate.clone());
            }
            let words = set.iter().map(|(path, value)| {
                let key = path.rsplit('.').next().unwrap_or(path);
                format!("{key}={value}")
            });
            Rung {
                idx,
                label: words.collect::<Vec<_>>().join(" "),
                set,
            }
        };
        Ok((0..n_sizes * n_rates).map(rung).collect())
    }

    /// The number of parameters that claims are about.
    pub fn target(&self) -> Option<f64> {
        let value = self.0.get(TARGET)?;
        let number = value.as_float().or(value.as_integer().map(|n| n as f64));
        number.filter(|n| *n > 0.0 && n.is_finite())
    }

    /// Whether more than one learning rate is tried.
    pub fn varies_rate(&self) -> bool {
        self.0.contains_key(RATES) || self.0.contains_key(LEARNING_RATE)
    }
}

/// Makes a study the one of its rung: its sizes, and a name of its own. Errors when it has no such
/// rung.
pub fn take_rung(source: &Source, proposal: &mut Proposal, idx: usize) -> Result<Rung> {
    let rungs = match proposal.ladder.take() {
        Some(ladder) => ladder.rungs(source)?,
        None => Vec::new(),
    };
    let found = rungs.into_iter().nth(idx).ok_or_else(|| {
        Error::input(
            source.place_of(&["ladder"]),
            format!("there is no rung {}", idx + 1),
            "name a rung that [ladder] has",
        )
    })?;
    for (key, value) in &found.set {
        proposal.set.insert(key.clone(), value.clone());
    }
    proposal.name = format!("{}_r{}", proposal.name, idx + 1);
    Ok(found)
}
