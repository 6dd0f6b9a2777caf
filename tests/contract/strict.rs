//! Structured output's form of a schema.

use super::draft;
use schemars::JsonSchema;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use windtunnel::claude::{draft::Draft, schema};

/// Every object and list of a value.
fn each(value: &Value, see: &mut dyn FnMut(&Value)) {
    see(value);
    match value {
        Value::Object(map) => map.values().for_each(|inner| each(inner, see)),
        Value::Array(items) => items.iter().for_each(|inner| each(inner, see)),
        _ => {}
    }
}

const REFUSED: [&str; 20] = [
    "$schema",
    "$ref",
    "$defs",
    "title",
    "format",
    "default",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "oneOf",
    "allOf",
    "const",
];

/// Errors in words where a schema is not of the form.
fn fault(schema: &Value) -> Option<String> {
    let mut fault = None;
    each(schema, &mut |part| {
        let Some(map) = part.as_object() else { return };
        let is_schema = map.get("type").is_some_and(Value::is_string) || map.contains_key("anyOf");
        if let Some(word) = REFUSED
            .iter()
            .find(|word| is_schema && map.contains_key(**word))
        {
            fault = Some(format!("{word} in {part}"));
        }
        if map.get("type") == Some(&json!("object")) {
            let names: Vec<&String> = map["properties"].as_object().unwrap().keys().collect();
            if map["additionalProperties"] != json!(false) || map["required"] != json!(names) {
                fault = Some(format!("not closed: {part}"));
            }
        }
    });
    fault
}

#[test]
fn a_proposals_schema_is_closed_and_has_no_bounds() {
    let schema = schema::proposal();
    assert_eq!(fault(&schema), None);
    let optional = &schema["properties"]["variant"]["anyOf"];
    assert_eq!(optional[1], json!({ "type": "null" }));
    // The plain schema has what the strict one must not.
    assert!(fault(&schema::of::<Draft>()).is_some());
}

#[test]
fn its_keys_stand_in_the_order_of_the_type_every_time() {
    let names: Vec<String> = schema::proposal()["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let order = [
        "name",
        "base",
        "claim",
        "rationale",
        "references",
        "prediction",
        "metric",
        "margin",
    ];
    assert_eq!(names[..order.len()], order);
    assert_eq!(
        schema::proposal().to_string(),
        schema::proposal().to_string()
    );
}

#[test]
fn what_it_takes_a_draft_takes() {
    let value = draft();
    schema::check(&value, &schema::proposal(), "the draft").unwrap();
    let parsed = Draft::parse(&value).unwrap();
    let again = serde_json::to_value(&parsed).unwrap();
    assert_eq!(Draft::parse(&again).unwrap(), parsed);
    // Every key is required of a model, and some of a file.
    let mut short = value;
    short.as_object_mut().unwrap().remove("references");
    assert!(schema::check(&short, &schema::proposal(), "the draft").is_err());
    Draft::parse(&short).unwrap();
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct Open {
    free: BTreeMap<String, f64>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Endless {
    inner: Option<Box<Endless>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Bounded {
    /// Some.
    #[schemars(range(min = 1.0, max = 2.0))]
    number: Option<f64>,
    word: Option<Word>,
}

/// A word.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[allow(dead_code)]
enum Word {
    /// The first.
    One,
    /// The second.
    Two,
}

#[test]
fn optional_and_bounded_fields_are_alternatives_without_bounds() {
    let schema = schema::strict(&schema::of::<Bounded>()).unwrap();
    assert_eq!(fault(&schema), None);
    let properties = &schema["properties"];
    assert_eq!(
        properties["number"],
        json!({ "description": "Some.", "anyOf": [{ "type": "number" }, { "type": "null" }] })
    );
    let word = json!({ "description": "A word. one: The first. two: The second.", "type": "string", "enum": ["one", "two"] });
    assert_eq!(
        properties["word"],
        json!({ "anyOf": [word, { "type": "null" }] })
    );
    assert_eq!(schema["required"], json!(["number", "word"]));
}

#[test]
fn free_keys_and_types_without_end_have_no_such_form() {
    for schema in [schema::of::<Open>(), schema::of::<Endless>(), json!(true)] {
        let error = schema::strict(&schema).unwrap_err();
        assert!(error.remedy.contains("key, value"), "{error}");
    }
}
