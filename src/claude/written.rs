//! Proposals and recipes as the text of files: for people to read, and the same when it is read again.
//!
//! What others wrote goes in as data: every string on one line with its quotes and control characters
//! escaped, every comment on one line, and the text is parsed again before anyone gets it.

use crate::{
    error::{Error, Result},
    recipe::Recipe,
    study::proposal::Proposal,
    toml_file::Source,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Write;

/// Keys of a study that stand before its tables.
const FIRST: [&str; 4] = ["name", "base", "set", "proposer"];
/// Tables, in the order of the examples.
const TABLES: [&str; 5] = ["hypothesis", "decision", "limits", "ladder", "space"];
/// Keys inside tables as one reads them; others follow in the order of the alphabet.
const ORDER: [&str; 23] = [
    "claim",
    "rationale",
    "references",
    "prediction",
    "direction",
    "effect",
    "confidence",
    "interval",
    "eval",
    "metric",
    "margin",
    "alpha",
    "rule",
    "seeds",
    "match",
    "control",
    "factor",
    "set",
    "at",
    "over",
    "mixture",
    "corpus",
    "weight",
];

/// The text of a study file, under a head of comment lines, with its arms in this order behind the
/// control: a prediction is about the first of them. Errors when it would not be read as the same
/// proposal.
pub fn study(proposal: &Proposal, order: &[&str], head: &[String]) -> Result<String> {
    let whole = toml::Table::try_from(proposal);
    let table = whole.map_err(|e| unwritable("the study", &e.to_string()))?;
    let mut text = String::new();
    head.iter().for_each(|line| comment(&mut text, line));
    for key in FIRST {
        if let Some(value) = table.get(key).filter(|value| !is_empty(value)) {
            pair(&mut text, key, value);
        }
    }
    for name in TABLES {
        match table.get(name) {
            Some(toml::Value::Table(inner)) if !inner.is_empty() => section(&mut text, name, inner),
            _ => {}
        }
    }
    let mut arms: Vec<_> = proposal.arms.iter().collect();
    arms.sort_by_key(|(name, arm)| (!arm.control, order.iter().position(|known| known == name)));
    for (name, arm) in arms {
        let whole = toml::Table::try_from(arm);
        let mut arm = whole.map_err(|e| unwritable("the study", &e.to_string()))?;
        arm.retain(|key, value| key != "control" || value == &true.into());
        section(&mut text, &format!("arms.{}", key(name)), &arm);
    }
    same(proposal, "the study", text)
}

/// The text of a recipe's file, under a head of comment lines. Errors when it would not be read as the
/// same recipe.
pub fn recipe(recipe: &Recipe, head: &[String]) -> Result<String> {
    let table =
        toml::Table::try_from(recipe).map_err(|e| unwritable("the recipe", &e.to_string()))?;
    let mut text = String::new();
    head.iter().for_each(|line| comment(&mut text, line));
    for (key, value) in table.iter().filter(|(_, value)| !value.is_table()) {
        pair(&mut text, key, value);
    }
    for (name, value) in &table {
        if let toml::Value::Table(inner) = value {
            section(&mut text, name, inner);
        }
    }
    same(recipe, "the recipe", text)
}

/// The text, if it reads as what it was written from.
fn same<T>(value: &T, name: &str, text: String) -> Result<String>
where
    T: DeserializeOwned + Serialize + PartialEq,
{
    let source = Source {
        path: name.into(),
        text,
    };
    match source.parse::<T>()? == *value {
        true => Ok(source.text),
        false => Err(unwritable(name, "it would not read as it was written")),
    }
}

/// One line of a comment, whatever is in it.
fn comment(text: &mut String, words: &str) {
    let line: String = words
        .chars()
        .map(|c| if breaks(c) { ' ' } else { c })
        .collect();
    let _ = writeln!(text, "{}", format!("# {line}").trim_end());
}

/// A plain table as `key = value` lines under `[name]`, without what is empty.
fn section(text: &mut String, name: &str, table: &toml::Table) {
    let _ = write!(text, "\n[{name}]\n");
    for (key, value) in ordered(table)
        .into_iter()
        .filter(|(_, value)| !is_empty(value))
    {
        pair(text, key, value);
    }
}

fn ordered(table: &toml::Table) -> Vec<(&String, &toml::Value)> {
    let mut pairs: Vec<_> = table.iter().collect();
    let place = |key: &str| {
        ORDER
            .iter()
            .position(|known| *known == key)
            .unwrap_or(ORDER.len())
    };
    pairs.sort_by_key(|(key, _)| place(key));
    pairs
}

fn unwritable(name: &str, problem: &str) -> Error {
    Error::input(
        name,
        format!("can't be written as TOML: {problem}"),
        "use plain keys, and whole numbers below 2^63",
    )
}

fn pair(text: &mut String, name: &str, value: &toml::Value) {
    let _ = writeln!(text, "{} = {}", key(name), inline(value));
}

fn is_empty(value: &toml::Value) -> bool {
    match value {
        toml::Value::String(words) => words.is_empty(),
        toml::Value::Array(items) => items.is_empty(),
        toml::Value::Table(table) => table.is_empty(),
        _ => false,
    }
}

/// A key, in quotes where it needs them.
fn key(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(plain) {
        true => name.into(),
        false => quoted(name),
    }
}

/// A value on one line.
fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::String(words) => quoted(words),
        toml::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        toml::Value::Table(table) if table.is_empty() => "{}".into(),
        toml::Value::Table(table) => {
            let pairs = ordered(table)
                .into_iter()
                .map(|(name, value)| format!("{} = {}", key(name), inline(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        toml::Value::Float(x) => format!("{x:?}").replace("NaN", "nan"),
        other => other.to_string(),
    }
}

fn quoted(words: &str) -> String {
    let mut text = String::from('"');
    for c in words.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if breaks(c) => {
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// Whether a character may end a line, or is not to be seen on one: controls, separators of lines, and
/// marks that turn the direction of what follows.
fn breaks(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}
