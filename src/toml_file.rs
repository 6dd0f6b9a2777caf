//! TOML with places: errors that name file and line, key, value and remedy.

use crate::{
    error::{Error, Result, nearest},
    files,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};
use toml::de::{DeTable, DeValue};

/// A TOML file's text.
#[derive(Debug, Clone)]
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

/// Something that sets keys: a file, or a few words such as an override.
#[derive(Debug, Clone)]
pub enum Place {
    File(Source),
    /// What to call it, and the one dotted key that it sets.
    Text {
        name: String,
        key: String,
    },
}

impl Place {
    pub fn text(name: String, key: &str) -> Self {
        Self::Text {
            name,
            key: key.trim().into(),
        }
    }

    /// The words for where `key`, or the nearest table above it, is set here.
    pub fn find(&self, key: &str) -> Option<String> {
        match self {
            Self::Text { name, key: set } => {
                let covers = |a: &str, b: &str| {
                    a == b || b.strip_prefix(a).is_some_and(|rest| rest.starts_with('.'))
                };
                (covers(set, key) || covers(key, set)).then(|| name.clone())
            }
            Self::File(source) => source
                .line_of(key)
                .map(|line| format!("{}:{line}", source.path.display())),
        }
    }

    /// A name for it as a whole.
    fn name(&self) -> String {
        match self {
            Self::Text { name, .. } => name.clone(),
            Self::File(source) => source.path.display().to_string(),
        }
    }
}

/// Everything that set keys of one thing, in order: the last that sets a key is the one that counts.
#[derive(Debug, Clone, Default)]
pub struct Places(Vec<Place>);

impl Places {
    pub fn new(file: Place) -> Self {
        Self(vec![file])
    }

    pub fn push(&mut self, place: Place) {
        self.0.push(place);
    }

    /// The words for where a key was set.
    pub fn find(&self, key: &str) -> String {
        self.find_any(&[key])
    }

    /// The same for keys that do not go together: the place of the one that was set last.
    pub fn find_any(&self, keys: &[&str]) -> String {
        let found = self
            .0
            .iter()
            .rev()
            .find_map(|place| keys.iter().find_map(|key| place.find(key)));
        found.unwrap_or_else(|| format!("{} (default)", keys.first().unwrap_or(&"")))
    }

    /// An error whose place is a key, with the place that set the key; other errors as they are.
    pub fn locate(&self, error: Error) -> Error {
        let found = self.0.iter().rev().find_map(|p| p.find(&error.place));
        match found {
            Some(place) => Error {
                problem: format!("{}: {}", error.place, error.problem),
                place,
                ..error
            },
            None => error,
        }
    }
}

/// A dotted key, its new value, and the place that says so.
pub type Change = (String, toml::Value, Place);

/// The changes that a `dotted.key=value` on the command line means.
pub fn overrides(texts: &[String]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for text in texts {
        let name = format!("override \"{text}\"");
        let remedy = "write dotted.key=value, such as optimizer.lr=3e-3";
        let Some((key, value)) = text.split_once('=') else {
            return Err(Error::input(name, "has no \"=\"", remedy));
        };
        if key.split('.').any(|part| part.trim().is_empty()) {
            let problem = format!("{:?} is not a dotted key", key.trim());
            return Err(Error::input(name, problem, remedy));
        }
        for (parts, value) in leaves(vec![key.trim().into()], parse_value(value)) {
            let key = parts.join(".");
            let place = Place::text(name.clone(), &key);
            changes.push((key, value, place));
        }
    }
    Ok(changes)
}

/// A table's values by their path, so that `a = { b = 1 }` changes `a.b` and nothing else of `a`.
pub fn leaves(path: Vec<String>, value: toml::Value) -> Vec<(Vec<String>, toml::Value)> {
    match value {
        toml::Value::Table(table) if !table.is_empty() => table
            .into_iter()
            .flat_map(|(key, value)| {
                let mut path = path.clone();
                path.push(key.trim().into());
                leaves(path, value)
            })
            .collect(),
        value => vec![(path, value)],
    }
}

impl Source {
    /// Errors when the file can't be read or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
        let text = files::utf8(path, bytes)?;
        Ok(Self {
            path: path.into(),
            text,
        })
    }

    pub fn place(&self) -> Place {
        Place::File(self.clone())
    }

    /// The file as a `T`. Errors name the line and the nearest known key.
    pub fn parse<T: DeserializeOwned + Serialize>(&self) -> Result<T> {
        let value: T = toml::from_str(&self.text).map_err(|e| self.error(&e))?;
        // Whole numbers beyond 63 bits fit some types, but not a file that is written.
        let raw: toml::Table = toml::from_str(&self.text).map_err(|e| self.error(&e))?;
        let shape = toml::Table::try_from(&value).expect("what TOML gave, TOML takes");
        let mut path = Vec::new();
        match list_for_table(&raw.into(), &shape.into(), &mut path) {
            false => Ok(value),
            true => {
                let parts: Vec<&str> = path.iter().map(String::as_str).collect();
                Err(Error::input(
                    self.place_of(&parts),
                    format!("{}: is a list, [ … ]", path.join(".")),
                    format!("give {}", in_words("struct ")),
                ))
            }
        }
    }

    /// What the `toml` crate says, in our words.
    pub fn error(&self, error: &toml::de::Error) -> Error {
        let line = error.span().map_or(1, |span| self.line_at(span.start));
        let place = format!("{}:{line}", self.path.display());
        let Ok(table) = DeTable::parse(&self.text) else {
            return Error::input(
                place,
                format!("not TOML: {}", error.message().replace('\n', ", ")),
                "write key = value, one a line, with words in quotes and numbers without",
            );
        };
        let mut key = Vec::new();
        let mut value = "";
        // The whole file, where a key is missing from it, has an empty span.
        if let Some(span) = error.span().filter(|span| !span.is_empty()) {
            key_at(table.get_ref(), &span, &mut key);
            value = self.text[span].lines().next().unwrap_or_default();
        }
        explain(place, (&key, value), error.message())
    }

    /// The changes that a table of this file means, with their lines; `path` leads to the table.
    pub fn changes(&self, path: &[&str], table: &toml::Table) -> Vec<Change> {
        let leaves = leaves(Vec::new(), table.clone().into());
        leaves
            .into_iter()
            .filter(|(parts, _)| !parts.is_empty())
            .map(|(parts, value)| {
                let whole: Vec<&str> = path
                    .iter()
                    .copied()
                    .chain(parts.iter().map(String::as_str))
                    .collect();
                let key = parts.join(".");
                let place = Place::text(self.place_of(&whole), &key);
                (key, value, place)
            })
            .collect()
    }

    fn line_at(&self, offset: usize) -> usize {
        self.text[..offset.min(self.text.len())]
            .matches('\n')
            .count()
            + 1
    }

    /// The line that sets a dotted key, or the table that leaves it out.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        self.line_of_path(&key.split('.').collect::<Vec<_>>())
    }

    /// The same for a key given in parts, which may hold dots themselves.
    pub fn line_of_path(&self, parts: &[&str]) -> Option<usize> {
        let table = DeTable::parse(&self.text).ok()?;
        let mut table = table.get_ref();
        let mut line = None;
        for (idx, part) in parts.iter().enumerate() {
            let Some((name, value)) = table
                .iter()
                .find(|(name, _)| name.get_ref().as_ref() == *part)
            else {
                // A table that leaves the key out is still where one would write it.
                return line.filter(|_| idx + 1 == parts.len());
            };
            line = Some(self.line_at(name.span().start));
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => return line,
            }
        }
        line
    }

    /// "file:line" of a key given in parts, or the file alone.
    pub fn place_of(&self, parts: &[&str]) -> String {
        match self.line_of_path(parts) {
            Some(line) => format!("{}:{line}", self.path.display()),
            None => self.path.display().to_string(),
        }
    }
}

/// Finds where a value is a list and its type is a table: serde takes a list for a table's values
/// in the order of the source, which nobody means.
fn list_for_table(raw: &toml::Value, shape: &toml::Value, path: &mut Vec<String>) -> bool {
    use toml::Value::{Array, Table};
    match (raw, shape) {
        (Array(_), Table(_)) => true,
        (Array(raw), Array(shape)) => {
            let mut items = raw.iter().zip(shape);
            items.any(|(raw, shape)| list_for_table(raw, shape, path))
        }
        (Table(raw), Table(shape)) => raw.iter().any(|(key, raw)| {
            let Some(shape) = shape.get(key) else {
                return false;
            };
            path.push(key.clone());
            let found = list_for_table(raw, shape, path);
            if !found {
                path.pop();
            }
            found
        }),
        _ => false,
    }
}

/// The path of the key whose name or value this part of the text is, or is in.
fn key_at(table: &DeTable, at: &Range<usize>, path: &mut Vec<String>) -> bool {
    let covers = |span: Range<usize>| span.start <= at.start && at.end <= span.end;
    for (name, value) in table {
        path.push(name.get_ref().to_string());
        let inside = match value.get_ref() {
            DeValue::Table(inner) => key_at(inner, at, path),
            DeValue::Array(items) => items.iter().any(|item| match item.get_ref() {
                DeValue::Table(inner) => key_at(inner, at, path),
                _ => false,
            }),
            _ => false,
        };
        if inside || covers(name.span()) || covers(value.span()) {
            return true;
        }
        path.pop();
    }
    false
}

/// The value that an override's right side means: TOML, or else the words themselves.
pub fn parse_value(text: &str) -> toml::Value {
    let words = || toml::Value::String(text.trim().into());
    match toml::from_str::<toml::Table>(&format!("x = {}", text.trim())) {
        Ok(mut table) if table.len() == 1 => table.remove("x").unwrap_or_else(words),
        _ => words(),
    }
}

/// Sets a dotted key, making tables on the way. Errors when a part of the way is not a table.
pub fn set_path(
    table: &mut toml::Table,
    key: &str,
    value: toml::Value,
    place: &Place,
) -> Result<()> {
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut at = table;
    for part in parts {
        let next = at.entry(part).or_insert_with(|| toml::Table::new().into());
        at = match next {
            toml::Value::Table(inner) => inner,
            _ => {
                return Err(Error::input(
                    place.name(),
                    format!("{key}: \"{part}\" is a value, not a table"),
                    format!("set {part} itself"),
                ));
            }
        };
    }
    // A whole number where the recipe holds a fraction is meant as one.
    let value = match (at.get(last), value) {
        (Some(toml::Value::Float(_)), toml::Value::Integer(n)) => toml::Value::Float(n as f64),
        (Some(toml::Value::Table(_)), toml::Value::Table(none)) if none.is_empty() => return Ok(()),
        (_, value) => value,
    };
    at.insert(last.into(), value);
    Ok(())
}

/// A table as a `T`, after a key was set in it: an error is the fault of `place`.
pub fn typed<T: DeserializeOwned + Serialize>(table: toml::Table, place: &Place) -> Result<T> {
    let source = Source {
        path: PathBuf::new(),
        text: toml::to_string(&table).expect("a table is plain data"),
    };
    source.parse().map_err(|error| Error {
        place: place.name(),
        ..error
    })
}

/// serde's message as place, problem and remedy. Its "unknown field" and "unknown variant" list
/// what would be known.
fn explain(place: String, (path, value): (&[String], &str), message: &str) -> Error {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let key = path.join(".");
    let known = || quoted[1..].iter().copied();
    let list = || known().collect::<Vec<_>>().join(", ");
    let suggest = |what: &str| match nearest(quoted[0], known()) {
        Some(near) => format!("did you mean \"{near}\"? {what}: {}", list()),
        None => format!("{what}: {}", list()),
    };
    if message.starts_with("unknown field") && quoted.len() > 1 {
        let name = match path.last() {
            Some(last) if last != quoted[0] => format!("{key}.{}", quoted[0]),
            Some(_) => key,
            None => quoted[0].to_string(),
        };
        return Error::input(place, format!("{name}: unknown key"), suggest("known here"));
    }
    if message.starts_with("unknown variant") && quoted.len() > 1 {
        return Error::input(
            place,
            format!("{key}: \"{}\" is not one of the choices", quoted[0]),
            suggest("possible"),
        );
    }
    if message.starts_with("missing field") && !quoted.is_empty() {
        let remedy = format!(
            "add {}; `windtunnel new recipe NAME` and `new study NAME` write commented examples",
            quoted[0]
        );
        let name = [path, &[quoted[0].to_string()]].concat().join(".");
        return Error::input(place, format!("\"{name}\" is missing"), remedy);
    }
    // Words of which one stands alone and another before a number: `{ temperature = 2.0 }`.
    let word = value.trim_matches('"');
    if message == "invalid type: unit variant, expected newtype variant" {
        let remedy = format!("give a table, such as {{ {word} = 2.0 }}");
        return Error::input(place, format!("{key}: {value} lacks its number"), remedy);
    }
    if message.starts_with("wanted exactly 1 element") {
        let remedy = "give one word in quotes, or a table with one key";
        return Error::input(place, format!("{key}: is no table of one key"), remedy);
    }
    let (problem, expected) = match message.split_once(", expected ") {
        None if message == "wanted string or table" => (format!("{value} is no word"), "enum "),
        None if message.ends_with("value was too large") => {
            (format!("{value} is too large"), "a smaller number")
        }
        None => (message.replace('\n', ", "), ""),
        Some((problem, expected)) => match problem {
            "invalid type: map" => ("is a table".into(), expected),
            "invalid type: sequence" => ("is a list, [ … ]".into(), expected),
            other => (other.into(), expected),
        },
    };
    let expected = in_words(expected);
    let under = match key.is_empty() {
        true => String::new(),
        false => format!("{key}: "),
    };
    Error::input(
        place,
        format!("{under}{problem}"),
        format!("give {expected}"),
    )
}

/// What serde calls a type, for people.
fn in_words(expected: &str) -> String {
    match expected {
        "" => "a value of the type that is expected".into(),
        "usize" | "u64" | "u32" => "a whole number, 0 or more".into(),
        "f64" => "a number".into(),
        "a string" | "string or table" => "words in quotes".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list, [ … ]".into(),
        "a map" => "a table".into(),
        name if name.starts_with("struct ") => "a table of keys and values".into(),
        name if name.starts_with("enum ") => "one of its words, in quotes".into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_on_its_line_and_a_missing_one_at_its_table() {
        let source = Source {
            path: "x.toml".into(),
            text: "a = 1\n\n[model]\nn_head = 4\nset = { \"p.q\" = 2 }\n".into(),
        };
        assert_eq!(source.line_of("a"), Some(1));
        assert_eq!(source.line_of("model.n_head"), Some(4));
        assert_eq!(source.line_of("model.n_embd"), Some(3));
        assert_eq!(source.line_of("optimizer.lr"), None);
    }

    #[test]
    fn an_override_is_a_toml_value_or_a_word() {
        assert_eq!(parse_value("3e-3"), toml::Value::Float(3e-3));
        assert_eq!(parse_value("[0.9, 0.99]").as_array().map(Vec::len), Some(2));
        assert_eq!(parse_value("cosine"), toml::Value::String("cosine".into()));
    }
}
