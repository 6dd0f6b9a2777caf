//! The space that baselines propose in: a recipe, how a change of it is judged, and which keys may take which
//! values. Either a file of its own, or a study with `[space]` whose `vary` says so.
//!
//! ```toml
//! name = "rates"
//! base = "recipe.toml"
//!
//! [decision]
//! margin = 0.02
//! seeds = 4
//!
//! [vary]
//! "optimizer.lr" = { low = 1e-4, high = 1e-2 }                    # evenly in the logarithm
//! "model.dropout" = { low = 0.0, high = 0.3, scale = "linear" }
//! "model.n_layer" = [1, 2, 3]
//! ```

use crate::{
    error::{Error, Result},
    recipe::Recipe,
    study::{
        proposal::{Decision, Limits, Proposal},
        space::Vary,
    },
    toml_file::{Places, Source},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A space that was read and checked.
#[derive(Debug, Clone)]
pub struct Space {
    pub name: String,
    /// Seen from the space's folder.
    pub base: String,
    pub set: toml::Table,
    pub decision: Decision,
    pub limits: Limits,
    pub vary: BTreeMap<String, Dimension>,
    /// The base with what is set.
    pub recipe: Recipe,
    /// What the base has for each key that may vary, if anything.
    pub base_values: BTreeMap<String, toml::Value>,
    source: Source,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    base: String,
    #[serde(default)]
    set: toml::Table,
    decision: Decision,
    #[serde(default)]
    limits: Limits,
    vary: BTreeMap<String, Dimension>,
}

/// The values of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Dimension {
    /// Between two numbers; whole where both are.
    Range {
        low: toml::Value,
        high: toml::Value,
        #[serde(default)]
        scale: Scale,
    },
    /// One of these.
    Choice(Vec<toml::Value>),
}

/// How values of a range are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Evenly in the logarithm.
    #[default]
    Log,
    Linear,
}

/// One change: a key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub path: String,
    pub value: toml::Value,
}

impl Space {
    /// Reads a space and its recipe. Errors name file, line, value and remedy.
    pub fn read(path: &Path) -> Result<Self> {
        let source = Source::read(path)?;
        let table: toml::Table = toml::from_str(&source.text).map_err(|e| source.error(&e))?;
        let written = match table.contains_key("hypothesis") {
            true => of_study(&source)?,
            false => source.parse()?,
        };
        if written.vary.is_empty() {
            return Err(Error::input(
                source.place_of(&["vary"]),
                "no key may vary",
                "write [vary] with keys of the recipe, such as \"optimizer.lr\" = { low = 1e-4, high = 1e-2 }",
            ));
        }
        for (key, dimension) in &written.vary {
            dimension.check(&source, key)?;
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let (base, place) = Recipe::read(&folder.join(&written.base))?;
        let mut places = Places::new(place);
        let recipe = base.patched(&source.changes(&["set"], &written.set), &mut places)?;
        let values = toml::Table::try_from(&recipe).expect("a recipe is plain data");
        let base_value = |key: &String| Some((key.clone(), leaf(&values, key)?.clone()));
        Ok(Self {
            base_values: written.vary.keys().filter_map(base_value).collect(),
            name: written.name,
            base: written.base,
            set: written.set,
            decision: written.decision,
            limits: written.limits,
            vary: written.vary,
            recipe,
            source,
        })
    }

    pub fn folder(&self) -> PathBuf {
        let parent = self.source.path.parent();
        parent.unwrap_or(Path::new("")).to_path_buf()
    }

    /// Where errors about it point.
    pub fn place(&self) -> String {
        self.source.place_of(&["vary"])
    }

    /// Whether a point is what the base has anyway.
    pub fn is_base(&self, point: &Point) -> bool {
        let base = self.base_values.get(&point.path);
        base.is_some_and(|base| same(base, &point.value))
    }
}

fn of_study(source: &Source) -> Result<Written> {
    let proposal: Proposal = source.parse()?;
    let vary = proposal.space.map(|space| space.vary).unwrap_or_default();
    let dimension = |vary: Vary| match vary {
        Vary::Log { low, high } => Dimension::Range {
            low: low.into(),
            high: high.into(),
            scale: Scale::Log,
        },
        Vary::Choice(values) => Dimension::Choice(values),
    };
    Ok(Written {
        name: proposal.name,
        base: proposal.base,
        set: proposal.set,
        decision: proposal.decision,
        limits: proposal.limits,
        vary: vary
            .into_iter()
            .map(|(key, vary)| (key, dimension(vary)))
            .collect(),
    })
}

fn leaf<'a>(table: &'a toml::Table, path: &str) -> Option<&'a toml::Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((head, rest)) => leaf(table.get(head)?.as_table()?, rest),
    }
}

/// Whether two values are the same number or the same thing.
pub fn same(a: &toml::Value, b: &toml::Value) -> bool {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

pub fn number(value: &toml::Value) -> Option<f64> {
    value.as_float().or(value.as_integer().map(|n| n as f64))
}

impl Dimension {
    fn check(&self, source: &Source, key: &str) -> Result<()> {
        let wrong = |problem: String, remedy: &str| {
            let place = source.place_of(&["vary", key]);
            Err(Error::input(
                place,
                format!("vary.{key}: {problem}"),
                remedy,
            ))
        };
        match self {
            Self::Choice(values) if values.is_empty() => {
                wrong("has no values".into(), "list one or more")
            }
            Self::Choice(_) => Ok(()),
            Self::Range { low, high, scale } => match (number(low), number(high)) {
                (Some(a), Some(b)) if a < b && a.is_finite() && b.is_finite() => {
                    match *scale == Scale::Log && a <= 0.0 {
                        true => wrong(
                            format!("from {a}, evenly in the logarithm"),
                            "begin above 0, or add scale = \"linear\"",
                        ),
                        false => Ok(()),
                    }
                }
                _ => wrong(
                    format!("from {low} to {high} is no range"),
                    "give numbers, low below high",
                ),
            },
        }
    }

    /// The value at a place in [0, 1].
    pub fn at(&self, place: f64) -> toml::Value {
        match self {
            Self::Choice(values) => {
                let idx = (place * values.len() as f64) as usize;
                values[idx.min(values.len() - 1)].clone()
            }
            Self::Range { low, high, scale } => {
                let (a, b) = (number(low).unwrap_or(0.0), number(high).unwrap_or(1.0));
                let value = match scale {
                    Scale::Log => a * (b / a).powf(place),
                    Scale::Linear => a + (b - a) * place,
                };
                if low.is_integer() && high.is_integer() {
                    return (value.round() as i64).into();
                }
                // Three digits are what one would write.
                let rounded = format!("{value:.2e}").parse().unwrap_or(value);
                f64::clamp(rounded, a, b).into()
            }
        }
    }

    /// The place of a value, 0 to 1; of a choice its number. `None` of what is outside.
    pub fn place(&self, value: &toml::Value) -> Option<f64> {
        match self {
            Self::Choice(values) => {
                let idx = values.iter().position(|known| same(known, value))?;
                Some(idx as f64)
            }
            Self::Range { low, high, scale } => {
                let (a, b, x) = (number(low)?, number(high)?, number(value)?);
                let place = match scale {
                    Scale::Log => (x / a).ln() / (b / a).ln(),
                    Scale::Linear => (x - a) / (b - a),
                };
                (-1e-9..=1.0 + 1e-9)
                    .contains(&place)
                    .then_some(place.clamp(0.0, 1.0))
            }
        }
    }

    /// How near two of its values are: 1 for the same, towards 0.
    pub fn nearness(&self, a: &toml::Value, b: &toml::Value) -> f64 {
        /// A sixth of a range away counts for 60%.
        const REACH: f64 = 1.0 / 6.0;
        match (self, self.place(a), self.place(b)) {
            (Self::Range { .. }, Some(a), Some(b)) => (-0.5 * ((a - b) / REACH).powi(2)).exp(),
            (Self::Choice(_), Some(a), Some(b)) => {
                if a == b {
                    1.0
                } else {
                    0.2
                }
            }
            _ => 0.0,
        }
    }
}
