//! TOML with places: errors that name file and line, key, value and remedy.

use crate::error::{Error, Result, nearest};
use serde::de::DeserializeOwned;
use std::{
    fs,
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

impl Source {
    /// Errors when the file can't be read or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
        let text = String::from_utf8(bytes).map_err(|e| {
            Error::input(
                path.display().to_string(),
                format!("byte {} is not UTF-8", e.utf8_error().valid_up_to()),
                "save the file as UTF-8",
            )
        })?;
        Ok(Self {
            path: path.into(),
            text,
        })
    }

    pub fn place(&self) -> Place {
        Place::File(self.clone())
    }

    /// The file as a `T`. Errors name the line and the nearest known key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        toml::from_str(&self.text).map_err(|e| self.error(&e))
    }

    /// What the `toml` crate says, in our words.
    pub fn error(&self, error: &toml::de::Error) -> Error {
        let line = error.span().map_or(1, |span| self.line_at(span.start));
        let key = error
            .span()
            .map(|span| self.text[span].trim().to_string())
            .unwrap_or_default();
        explain(
            format!("{}:{line}", self.path.display()),
            &key,
            error.message(),
        )
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

/// The value that an override's right side means: TOML, or else the words themselves.
pub fn parse_value(text: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("x = {}", text.trim()));
    let value = parsed.ok().and_then(|mut table| table.remove("x"));
    value.unwrap_or_else(|| toml::Value::String(text.trim().into()))
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
        (_, value) => value,
    };
    at.insert(last.into(), value);
    Ok(())
}

/// A table as a `T`, after `key` was set in it: an error is that key's fault.
pub fn typed<T: DeserializeOwned>(table: toml::Table, key: &str, place: &Place) -> Result<T> {
    let text = toml::to_string(&table).expect("a table is plain data");
    toml::from_str(&text).map_err(|error| explain(place.name(), key, error.message()))
}

/// serde's message as place, problem and remedy. Its "unknown field" and "unknown variant" list
/// what would be known.
fn explain(place: String, key: &str, message: &str) -> Error {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let first_line = message.lines().next().unwrap_or(message);
    let known = || quoted[1..].iter().copied();
    let list = || known().collect::<Vec<_>>().join(", ");
    if message.starts_with("unknown field") && quoted.len() > 1 {
        let remedy = match nearest(quoted[0], known()) {
            Some(near) => format!("did you mean \"{near}\"? known here: {}", list()),
            None => format!("known here: {}", list()),
        };
        let under = key
            .rsplit_once('.')
            .map_or(String::new(), |(under, _)| format!("{under}."));
        let name = if key.ends_with(quoted[0]) {
            key.to_string()
        } else {
            format!("{under}{}", quoted[0])
        };
        return Error::input(place, format!("{name}: unknown key"), remedy);
    }
    if message.starts_with("unknown variant") && quoted.len() > 1 {
        let remedy = match nearest(quoted[0], known()) {
            Some(near) => format!("did you mean \"{near}\"? possible: {}", list()),
            None => format!("possible: {}", list()),
        };
        return Error::input(
            place,
            format!("{key}: \"{}\" is not one of the choices", quoted[0]),
            remedy,
        );
    }
    if message.starts_with("missing field") && !quoted.is_empty() {
        let remedy = format!(
            "add {}; `windtunnel new recipe NAME` and `new study NAME` write commented examples",
            quoted[0]
        );
        return Error::input(place, format!("\"{}\" is missing", quoted[0]), remedy);
    }
    let problem = if key.is_empty() || key.contains('\n') {
        first_line.to_string()
    } else {
        format!("{key}: {first_line}")
    };
    Error::input(place, problem, "give a value of the type that is expected")
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
