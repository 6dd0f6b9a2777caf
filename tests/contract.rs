//! The contract that a file, a tool's argument and a model's answer share: what its schemas say is what
//! its types read.

#[path = "support/bench.rs"]
mod bench;
#[path = "contract/cli.rs"]
mod cli;
#[path = "contract/drafts.rs"]
mod drafts;
#[path = "contract/scaffolds.rs"]
mod scaffolds;
#[path = "contract/schemas.rs"]
mod schemas;
#[path = "contract/strict.rs"]
mod strict;

use serde_json::{Value, json};

/// A draft that holds, of the quickstart's question.
fn draft() -> Value {
    json!({
        "name": "more_sums",
        "base": "configs/recipes/quickstart.toml",
        "claim": "Three fifths of sums lower mean bits per byte.",
        "rationale": "Sums repeat a few short procedures.",
        "references": [],
        "prediction": { "direction": "better", "effect": 0.05, "confidence": 0.8, "interval": [-0.09, 0.01] },
        "metric": "bpb",
        "margin": 0.03,
        "seeds": 8,
        "eval": [{ "corpus": "tales", "weight": 1 }, { "corpus": "sums", "weight": 1 }],
        "match": "tokens",
        "device_minutes": 15,
        "set": [{ "key": "budget.steps", "value": 300 }],
        "arms": [
            { "name": "even", "control": true, "factor": null, "set": [] },
            {
                "name": "more",
                "control": false,
                "factor": "data.mixture",
                "set": [{
                    "key": "data.mixture",
                    "value": [{ "corpus": "tales", "weight": 2 }, { "corpus": "sums", "weight": 3 }],
                }],
            },
        ],
        "recipe": null,
        "variant": null,
    })
}

/// The same with one place changed; a pointer that ends in a new key adds it.
fn changed(pointer: &str, value: Value) -> Value {
    let mut draft = draft();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match draft.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.insert(key.into(), value)),
        Value::Array(items) => match key.parse::<usize>().unwrap() {
            idx if idx < items.len() => items[idx] = value,
            _ => items.push(value),
        },
        other => panic!("{other} has no keys"),
    }
    draft
}
