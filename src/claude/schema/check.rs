//! A value held to a schema, in words that tell its writer what to write instead.

use crate::error::{Error, Result, nearest};
use serde_json::{Map, Value};

/// Errors where `value` is not what `schema` says: at its first such place, as a path inside the
/// value (`arms[1].fator`), or `whole` for the value itself.
///
/// Knows the words of JSON Schema that types of this crate lead to; others say nothing.
pub fn check(value: &Value, schema: &Value, whole: &str) -> Result<()> {
    Checker {
        root: schema,
        whole,
    }
    .check(value, schema, "")
}

struct Checker<'a> {
    /// What references are seen from.
    root: &'a Value,
    whole: &'a str,
}

impl<'a> Checker<'a> {
    fn check(&self, value: &Value, schema: &'a Value, place: &str) -> Result<()> {
        let schema = self.resolved(schema);
        let Some(rules) = schema.as_object() else {
            return Ok(());
        };
        if let Some(choices) = choices(schema) {
            return match choices.contains(&value) {
                true => Ok(()),
                false => Err(self.no_choice(value, &choices, place)),
            };
        }
        if let Some(branches) = branches(rules) {
            return self.one_of(value, branches, place);
        }
        if !has_type(value, schema) {
            let problem = format!("is {}", shown(value));
            return Err(self.wrong(place, problem, format!("give {}", self.wanted(schema))));
        }
        match value {
            Value::Object(map) => self.object(map, rules, place),
            Value::Array(items) => self.list(items, rules, place),
            Value::Number(n) => self.number(n.as_f64().unwrap_or(f64::NAN), rules, place),
            _ => Ok(()),
        }
    }

    fn object(
        &self,
        map: &Map<String, Value>,
        rules: &'a Map<String, Value>,
        place: &str,
    ) -> Result<()> {
        let none = Map::new();
        let known = rules
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        for (key, value) in map {
            let at = join(place, key);
            match (
                rules.get("properties").and_then(|p| p.get(key)),
                rules.get("additionalProperties"),
            ) {
                (Some(schema), _) => self.check(value, schema, &at)?,
                (None, Some(Value::Bool(false))) => return Err(self.unknown(key, known, &at)),
                (None, Some(schema)) => self.check(value, schema, &at)?,
                (None, None) => {}
            }
        }
        let required = rules.get("required").and_then(Value::as_array);
        let mut required = required.into_iter().flatten().filter_map(Value::as_str);
        match required.find(|key| !map.contains_key(*key)) {
            None => Ok(()),
            Some(key) => {
                let about = known.get(key).and_then(|s| s.get("description"));
                let about = about.and_then(Value::as_str).unwrap_or("it has no default");
                let problem = format!("\"{key}\" is missing");
                Err(self.wrong(place, problem, format!("add {key}: {about}")))
            }
        }
    }

    fn list(&self, items: &[Value], rules: &'a Map<String, Value>, place: &str) -> Result<()> {
        let limit = |key: &str| rules.get(key).and_then(Value::as_u64);
        let (least, most) = (
            limit("minItems").unwrap_or(0),
            limit("maxItems").unwrap_or(u64::MAX),
        );
        if !(least..=most).contains(&(items.len() as u64)) {
            let remedy = match (least, most) {
                (least, u64::MAX) => format!("give {least} or more"),
                (least, most) if least == most => format!("give {least}"),
                (least, most) => format!("give {least} to {most}"),
            };
            return Err(self.wrong(place, format!("has {} entries", items.len()), remedy));
        }
        let Some(schema) = rules.get("items") else {
            return Ok(());
        };
        let mut numbered = items.iter().enumerate();
        numbered.try_for_each(|(idx, item)| self.check(item, schema, &format!("{place}[{idx}]")))
    }

    fn number(&self, x: f64, rules: &Map<String, Value>, place: &str) -> Result<()> {
        let limit = |key: &str| rules.get(key).and_then(Value::as_f64);
        let mut words = Vec::new();
        let mut fits = true;
        for (key, holds, word) in [
            (
                "exclusiveMinimum",
                (|x, m| x > m) as fn(f64, f64) -> bool,
                "above",
            ),
            ("minimum", |x, m| x >= m, "at least"),
            ("maximum", |x, m| x <= m, "at most"),
        ] {
            if let Some(bound) = limit(key) {
                fits &= holds(x, bound);
                words.push(format!("{word} {bound}"));
            }
        }
        match fits {
            true => Ok(()),
            false => {
                let remedy = format!("use a number {}", words.join(" and "));
                Err(self.wrong(place, format!("is {x}: out of range"), remedy))
            }
        }
    }

    /// Errors as the branch says that the value comes nearest to.
    fn one_of(&self, value: &Value, branches: &'a [Value], place: &str) -> Result<()> {
        if branches
            .iter()
            .any(|branch| self.check(value, branch, place).is_ok())
        {
            return Ok(());
        }
        // Of several that fit as well, the first.
        let best = branches
            .iter()
            .rev()
            .max_by_key(|branch| self.fit(value, branch));
        match best.filter(|branch| self.fit(value, branch) > 0) {
            Some(branch) => self.check(value, branch, place),
            None => {
                let wanted: Vec<String> = branches.iter().map(|b| self.wanted(b)).collect();
                let remedy = format!("give {}", wanted.join(", or "));
                Err(self.wrong(place, format!("is {}", shown(value)), remedy))
            }
        }
    }

    /// How much of a value is as the schema has it: its type, its keys, and theirs.
    fn fit(&self, value: &Value, schema: &'a Value) -> usize {
        let schema = self.resolved(schema);
        let Some(rules) = schema.as_object() else {
            return 1;
        };
        if let Some(choices) = choices(schema) {
            // A word that is none of the choices was probably meant as one.
            return usize::from(
                choices
                    .first()
                    .is_some_and(|c| c.is_string() == value.is_string()),
            );
        }
        if let Some(branches) = branches(rules) {
            return branches
                .iter()
                .map(|b| self.fit(value, b))
                .max()
                .unwrap_or(0);
        }
        if !has_type(value, schema) {
            return 0;
        }
        1 + match (value, rules.get("items")) {
            (Value::Array(items), Some(schema)) => {
                items.iter().map(|item| self.fit(item, schema)).sum()
            }
            (Value::Object(map), _) => {
                let known = |key: &String| rules.get("properties").and_then(|p| p.get(key));
                let known = map
                    .iter()
                    .filter_map(|(key, value)| Some((known(key)?, value)));
                known
                    .map(|(schema, value)| 1 + self.fit(value, schema))
                    .sum()
            }
            _ => 0,
        }
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let pointer = reference.and_then(|r| r.strip_prefix('#'));
        match pointer.and_then(|pointer| self.root.pointer(pointer)) {
            Some(found) => self.resolved(found),
            None => schema,
        }
    }

    /// What a schema takes, for people.
    fn wanted(&self, schema: &'a Value) -> String {
        let schema = self.resolved(schema);
        if let Some(choices) = choices(schema) {
            let words: Vec<String> = choices.iter().map(|c| c.to_string()).collect();
            return match &words[..] {
                [one] => one.clone(),
                words => format!("one of {}", words.join(", ")),
            };
        }
        if let Some(branches) = schema.as_object().and_then(branches) {
            let words: Vec<String> = branches.iter().map(|b| self.wanted(b)).collect();
            return words.join(", or ");
        }
        let keys = || {
            let keys = schema.get("properties").and_then(Value::as_object);
            let keys: Vec<&str> = keys
                .into_iter()
                .flatten()
                .map(|(k, _)| k.as_str())
                .collect();
            keys.join(", ")
        };
        let words = types(schema).into_iter().map(|name| match name {
            "object" if !keys().is_empty() => format!("an object with {}", keys()),
            "object" => "an object of keys and values".into(),
            "array" => match schema.get("items") {
                Some(items) => format!("a list, each {}", self.wanted(items)),
                None => "a list".into(),
            },
            "string" => "words in quotes".into(),
            "integer" => "a whole number".into(),
            "number" => "a number".into(),
            "boolean" => "true or false".into(),
            other => other.to_string(),
        });
        match words.collect::<Vec<String>>().join(", or ") {
            words if words.is_empty() => "a value".into(),
            words => words,
        }
    }

    fn unknown(&self, key: &str, known: &Map<String, Value>, place: &str) -> Error {
        let names = || known.keys().map(String::as_str);
        let list = names().collect::<Vec<_>>().join(", ");
        let remedy = match nearest(key, names()) {
            Some(near) => format!("did you mean \"{near}\"? known here: {list}"),
            None => format!("known here: {list}"),
        };
        self.wrong(place, "unknown key".into(), remedy)
    }

    fn no_choice(&self, value: &Value, choices: &[&Value], place: &str) -> Error {
        let names = || choices.iter().filter_map(|choice| choice.as_str());
        let list = choices
            .iter()
            .map(|c| c.to_string())
            .collect::<Vec<_>>()
            .join(", ");
        let remedy = match value.as_str().and_then(|word| nearest(word, names())) {
            Some(near) => format!("did you mean \"{near}\"? possible: {list}"),
            None => format!("give one of {list}"),
        };
        let problem = format!("is {}, which is not one of the choices", shown(value));
        self.wrong(place, problem, remedy)
    }

    fn wrong(&self, place: &str, problem: String, remedy: String) -> Error {
        let place = if place.is_empty() { self.whole } else { place };
        Error::input(place, problem, remedy)
    }
}

/// A place's path with one more key.
fn join(place: &str, key: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    match (place, !key.is_empty() && key.chars().all(plain)) {
        ("", true) => key.into(),
        (_, true) => format!("{place}.{key}"),
        (_, false) => format!("{place}[{key:?}]"),
    }
}

/// The alternatives of a schema.
fn branches(rules: &Map<String, Value>) -> Option<&[Value]> {
    let found = rules.get("anyOf").or_else(|| rules.get("oneOf"))?;
    found.as_array().map(Vec::as_slice)
}

/// The only values that a schema takes: an `enum`, a `const`, or alternatives that are all such.
pub(super) fn choices(schema: &Value) -> Option<Vec<&Value>> {
    if let Some(one) = schema.get("const") {
        return Some(vec![one]);
    }
    if let Some(all) = schema.get("enum").and_then(Value::as_array) {
        return Some(all.iter().collect());
    }
    let branches = branches(schema.as_object()?)?;
    let each = branches.iter().map(choices).collect::<Option<Vec<_>>>()?;
    Some(each.concat())
}

/// The names of the types that a schema takes; none where it says nothing.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn has_type(value: &Value, schema: &Value) -> bool {
    let names = types(schema);
    let is = |name: &&str| match *name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => true,
    };
    names.is_empty() || names.iter().any(is)
}

/// A value in an error: whole where it is short.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        value => {
            let text = value.to_string();
            match text.char_indices().nth(60) {
                Some((at, _)) => format!("{}…", &text[..at]),
                None => text,
            }
        }
    }
}
