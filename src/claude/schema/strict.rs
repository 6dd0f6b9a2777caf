//! The form of a schema that constrains a model's output.

use super::check::choices;
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// What constrained output can't keep to, or has no use for.
const LEFT_OUT: [&str; 17] = [
    "$schema",
    "$defs",
    "$ref",
    "title",
    "format",
    "default",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];

/// Deeper types than any here; a type that holds itself has no end.
const DEEPEST: usize = 32;

/// The same schema as the Messages API takes it: references put in their places, every object closed
/// with all its keys required, what may be absent as `anyOf [T, null]`, no bounds. Order of keys as it
/// was. Errors at an object whose keys are free, and at a type that holds itself.
pub fn strict(schema: &Value) -> Result<Value> {
    form(schema, schema, 0)
}

fn form(schema: &Value, root: &Value, depth: usize) -> Result<Value> {
    let whole = inlined(schema, root);
    let Some(rules) = whole.as_object().filter(|_| depth < DEEPEST) else {
        return Err(no_form("anything, or a type that holds itself"));
    };
    let deeper = |schema: &Value| form(schema, root, depth + 1);
    if let Some(values) = choices(&whole) {
        return Ok(of_choices(&whole, values));
    }
    let mut out = Map::new();
    for (key, value) in rules {
        match key.as_str() {
            key if LEFT_OUT.contains(&key) => {}
            "type" if value.is_array() => {}
            "oneOf" | "anyOf" => {
                let branches = value.as_array().into_iter().flatten().map(deeper);
                out.insert("anyOf".into(), branches.collect::<Result<Vec<_>>>()?.into());
            }
            "items" => {
                out.insert(key.clone(), deeper(value)?);
            }
            "properties" => {
                let mut all = Map::new();
                for (name, value) in value.as_object().into_iter().flatten() {
                    all.insert(name.clone(), deeper(value)?);
                }
                out.insert(key.clone(), all.into());
            }
            "required" | "additionalProperties" => {}
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    if let Some(Value::Array(types)) = rules.get("type") {
        return of_types(rules, types, out);
    }
    if rules.get("type").is_some_and(|name| name == "object") {
        close(rules, &mut out)?;
    }
    Ok(Value::Object(out))
}

/// Every key required, and no other allowed.
fn close(rules: &Map<String, Value>, out: &mut Map<String, Value>) -> Result<()> {
    let open = rules
        .get("additionalProperties")
        .is_none_or(|more| more != &json!(false));
    if open {
        return Err(no_form("an object of free keys"));
    }
    let names = out.get("properties").and_then(Value::as_object);
    let names: Vec<Value> = names
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone().into())
        .collect();
    out.entry("properties").or_insert_with(|| json!({}));
    out.insert("required".into(), names.into());
    out.insert("additionalProperties".into(), false.into());
    Ok(())
}

/// One alternative for each of several types.
fn of_types(
    rules: &Map<String, Value>,
    types: &[Value],
    mut out: Map<String, Value>,
) -> Result<Value> {
    let description = out.shift_remove("description");
    let mut branches = Vec::new();
    for name in types {
        let mut branch = match name == "null" {
            true => Map::new(),
            false => out.clone(),
        };
        branch.shift_insert(0, "type".into(), name.clone());
        if name == "object" {
            close(rules, &mut branch)?;
        }
        branches.push(Value::Object(branch));
    }
    let mut all = Map::new();
    all.extend(description.map(|words| ("description".into(), words)));
    all.insert("anyOf".into(), branches.into());
    Ok(all.into())
}

/// An `enum`; what the choices mean goes into its description.
fn of_choices(schema: &Value, values: Vec<&Value>) -> Value {
    let text = |schema: &Value| {
        schema
            .get("description")
            .and_then(Value::as_str)
            .map(String::from)
    };
    let branches = schema.get("oneOf").or_else(|| schema.get("anyOf"));
    let each = branches.and_then(Value::as_array).into_iter().flatten();
    let meanings = each.filter_map(|branch| match choices(branch)?[..] {
        [Value::String(word)] => Some(format!("{word}: {}", text(branch)?)),
        _ => None,
    });
    let words: Vec<String> = text(schema).into_iter().chain(meanings).collect();
    let mut out = Map::new();
    if !words.is_empty() {
        out.insert("description".into(), words.join(" ").into());
    }
    out.insert("type".into(), "string".into());
    if !values.iter().all(|value| value.is_string()) {
        out.shift_remove("type");
    }
    out.insert(
        "enum".into(),
        values.into_iter().cloned().collect::<Vec<_>>().into(),
    );
    out.into()
}

/// A schema with the type that it refers to in its place; its own words count before the type's.
fn inlined(schema: &Value, root: &Value) -> Value {
    let reference = schema.get("$ref").and_then(Value::as_str);
    let found = reference.and_then(|r| root.pointer(r.strip_prefix('#')?));
    match (schema.as_object(), found.and_then(Value::as_object)) {
        (Some(own), Some(found)) => {
            let mut merged = found.clone();
            for (key, value) in own.iter().filter(|(key, _)| *key != "$ref") {
                merged.insert(key.clone(), value.clone());
            }
            inlined(&merged.into(), root)
        }
        _ => schema.clone(),
    }
}

fn no_form(what: &str) -> Error {
    Error::failed(
        "a schema for structured output",
        format!("has {what}"),
        "give the type closed fields: lists of { key, value } instead of free keys",
    )
}
