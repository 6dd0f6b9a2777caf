//! What the stand-in proposes.

use super::server::Answer;
use serde_json::{Value, json};

/// A study of two arms on `recipe.toml`, the second of which sets `key`.
pub fn draft(name: &str, claim: &str, key: &str, value: Value) -> Value {
    json!({
        "name": name,
        "base": "recipe.toml",
        "claim": claim,
        "rationale": "At this size it should show.",
        "references": [],
        "prediction": { "direction": "better", "effect": 0.1, "confidence": 0.6 },
        "metric": "bpb",
        "margin": 0.3,
        "seeds": 3,
        "eval": [],
        "match": "tokens",
        "device_minutes": 1000.0,
        "set": [],
        "arms": [
            { "name": "plain", "control": true, "factor": null, "set": [] },
            { "name": "changed", "control": false, "factor": key,
              "set": [{ "key": key, "value": value }] },
        ],
        "recipe": null,
        "variant": null,
    })
}

/// With some of its keys replaced.
pub fn with(mut draft: Value, keys: Value) -> Value {
    for (key, value) in keys.as_object().unwrap() {
        draft[key] = value.clone();
    }
    draft
}

/// Another change of the second arm.
pub fn and_sets(mut draft: Value, key: &str, value: Value) -> Value {
    let set = draft["arms"][1]["set"].as_array_mut().unwrap();
    set.push(json!({ "key": key, "value": value }));
    draft
}

/// Too few seeds for a noise as large as its effect.
pub fn inconclusive() -> Value {
    let draft = draft(
        "dropout",
        "A little dropout helps.",
        "model.dropout",
        json!(0.05),
    );
    with(draft, json!({ "margin": 0.0005, "seeds": 2 }))
}

/// A rate at which nothing is learnt.
pub fn worse() -> Value {
    let claim = "A rate of a three-hundredth does as well.";
    let draft = draft("slow", claim, "optimizer.lr", json!(1e-5));
    let prediction = json!({ "direction": "equivalent", "effect": 0.0, "confidence": 0.5 });
    with(draft, json!({ "prediction": prediction }))
}

/// From a rate at which little is learnt.
pub fn better() -> Value {
    let claim = "From a low rate, thirty times as much is better.";
    let draft = draft("fast", claim, "optimizer.lr", json!(3e-3));
    with(
        draft,
        json!({ "set": [{ "key": "optimizer.lr", "value": 1e-4 }] }),
    )
}

pub fn two_factors() -> Value {
    let draft = draft(
        "both",
        "Rate and dropout help each other.",
        "optimizer.lr",
        json!(1e-3),
    );
    and_sets(draft, "model.dropout", json!(0.1))
}

/// Three million steps: hours of training.
pub fn huge() -> Value {
    let draft = draft(
        "huge",
        "More training makes it better.",
        "optimizer.lr",
        json!(1e-3),
    );
    with(
        draft,
        json!({ "set": [{ "key": "budget.steps", "value": 3_000_000 }] }),
    )
}

pub fn finding(text: &str) -> Answer {
    let question = "Does the sign stay at ten times the size?";
    Answer::says(&json!({ "text": text, "next_questions": [question] }))
}
