//! A tool's arguments: their JSON Schema, made of the type that they are read into, and errors that
//! name the argument, the value and what would do.

use crate::{
    claude::schema::check,
    error::{Error, Result},
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub type Arguments = Map<String, Value>;

/// The schema of a tool's arguments, without what clients make nothing of: formats such as `uint32`,
/// titles, and null as the value of what can be left out.
pub fn schema<T: JsonSchema>() -> Arguments {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    tidy(&mut schema);
    let mut schema = match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    lift_definitions(&mut schema);
    // Clients expect both, even where there is nothing to give.
    schema.entry("type").or_insert("object".into());
    schema
        .entry("properties")
        .or_insert_with(|| Map::new().into());
    schema
}

/// References are seen from the root: definitions that came along with an argument move there.
fn lift_definitions(schema: &mut Arguments) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    let arguments = properties.into_iter().flat_map(|all| all.values_mut());
    let mut lifted = Map::new();
    for argument in arguments.filter_map(Value::as_object_mut) {
        if let Some(Value::Object(definitions)) = argument.shift_remove("$defs") {
            lifted.extend(definitions);
        }
    }
    if !lifted.is_empty() {
        schema.insert("$defs".into(), lifted.into());
    }
}

fn tidy(schema: &mut Value) {
    let Value::Object(map) = schema else {
        return;
    };
    for key in ["title", "format", "$schema"] {
        if map.get(key).is_some_and(Value::is_string) {
            map.shift_remove(key);
        }
    }
    if map.get("default").is_some_and(Value::is_null) {
        map.shift_remove("default");
    }
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            map.insert("type".into(), only);
        }
    }
    without_null(map);
    for (key, inner) in map.iter_mut() {
        match (key.as_str(), inner) {
            ("properties" | "$defs", Value::Object(named)) => named.values_mut().for_each(tidy),
            ("anyOf" | "oneOf" | "allOf", Value::Array(several)) => {
                several.iter_mut().for_each(tidy);
            }
            ("items" | "additionalProperties", one) => tidy(one),
            _ => {}
        }
    }
}

/// Takes "or null" out of a choice; what is left alone takes the choice's place.
fn without_null(map: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = map.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
    if let [Value::Object(only)] = &choices[..] {
        let only = only.clone();
        map.shift_remove("anyOf");
        for (key, value) in only {
            map.entry(key).or_insert(value);
        }
    }
}

/// Reads a tool's arguments. Errors name the argument, its value and the nearest known one.
pub fn read<T: DeserializeOwned + JsonSchema>(tool: &str, given: Arguments) -> Result<T> {
    let given = without_nulls(Value::Object(given));
    let at = |error: Error| Error {
        place: format!("{tool}: {}", error.place),
        ..error
    };
    check(&given, &Value::Object(schema::<T>()), "its arguments").map_err(at)?;
    serde_json::from_value(given).map_err(|e| {
        let remedy = "see the tool's input schema for what each argument may be";
        Error::input(tool, e.to_string(), remedy)
    })
}

/// Without what is null: a model that leaves something out may well say so.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key, without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        /// The run's id
        run: String,
        #[serde(default)]
        figure: Option<Figure>,
        #[serde(default)]
        #[schemars(range(min = 2, max = 500))]
        max_points: Option<u32>,
    }

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Figure {
        /// One
        Curves,
        /// Other
        Differences,
    }

    fn given(value: Value) -> Result<Wanted> {
        let Value::Object(map) = value else {
            panic!("an object");
        };
        read("plot", map)
    }

    #[test]
    fn the_schema_says_no_more_than_a_client_can_use() {
        let text = Value::Object(schema::<Wanted>()).to_string();
        for word in ["uint32", "null", "title", "$schema", "$ref"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        assert!(
            text.contains("\"maximum\":500") && text.contains("\"additionalProperties\":false")
        );
    }

    #[test]
    fn null_is_the_same_as_left_out() {
        let wanted = given(json!({"run": "ab", "figure": null})).unwrap();
        assert_eq!((wanted.figure, wanted.max_points), (None, None));
    }

    #[test]
    fn a_wrong_argument_is_told_what_would_do() {
        let cases = [
            (json!({"rum": "a"}), "plot: rum", "\"run\""),
            (json!({}), "plot: its arguments", "The run's id"),
            (json!({"run": 3}), "plot: run", "words"),
            (
                json!({"run": "a", "figure": "curve"}),
                "plot: figure",
                "\"curves\"",
            ),
            (
                json!({"run": "a", "max_points": 1}),
                "plot: max_points",
                "at least 2",
            ),
            (
                json!({"run": "a", "max_points": "9"}),
                "plot: max_points",
                "number",
            ),
            (
                json!({"run": "a", "max_points": 501}),
                "plot: max_points",
                "at most 500",
            ),
        ];
        for (value, place, remedy) in cases {
            let error = given(value).unwrap_err();
            assert_eq!(error.place, place);
            assert!(error.remedy.contains(remedy), "{error}");
        }
    }
}
