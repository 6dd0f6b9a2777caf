//! Schemas of files agree with the types that read them.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
use windtunnel::{claude::schema, recipe::Recipe, study::proposal::Proposal, toml_file::Source};

/// Studies and recipes of the repository, as JSON.
fn configs() -> Vec<(PathBuf, bool, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "toml") {
                let text = fs::read_to_string(&path).unwrap();
                let value = serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
                let is_study = value.get("base").is_some();
                if is_study || value.get("budget").is_some() {
                    found.push((path, is_study, value));
                }
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// What the schema says, and what the type says.
type Verdicts = (Result<(), String>, Result<(), String>);

fn verdicts(value: &Value, is_study: bool, schema: &Value) -> Verdicts {
    // As a file is read: from TOML, where a list is no table.
    fn read<T: DeserializeOwned + Serialize>(value: &Value) -> Result<(), String> {
        let source = Source {
            path: "the file".into(),
            text: toml::to_string(value).map_err(|e| e.to_string())?,
        };
        source.parse::<T>().map(|_| ()).map_err(|e| e.to_string())
    }
    let typed = match is_study {
        true => read::<Proposal>(value),
        false => read::<Recipe>(value),
    };
    let held = schema::check(value, schema, "the file").map_err(|e| e.to_string());
    (held, typed)
}

fn schema_of(is_study: bool) -> Value {
    match is_study {
        true => schema::study(),
        false => schema::recipe(),
    }
}

/// Every place in a value, by pointer, the whole first.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.into());
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(inner, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (idx, inner) in items.iter().enumerate() {
                places(inner, &format!("{at}/{idx}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_file_of_the_repository_holds_by_its_schema_and_is_read() {
    let configs = configs();
    assert!(configs.len() > 30, "{}", configs.len());
    for (path, is_study, value) in configs {
        let (held, typed) = verdicts(&value, is_study, &schema_of(is_study));
        assert_eq!((held, typed), (Ok(()), Ok(())), "{}", path.display());
    }
}

#[test]
fn broken_files_are_refused_by_both_or_by_neither() {
    let (mut refused, mut taken) = (0, 0);
    for (path, is_study, value) in configs() {
        let schema = schema_of(is_study);
        let mut all = Vec::new();
        places(&value, "", &mut all);
        for at in all {
            for broken in broken(&value, &at) {
                let (held, typed) = verdicts(&broken, is_study, &schema);
                // What numbers may be, and a ladder's lists, the type leaves to the study's check.
                let is_later = |e: &String| e.contains("out of range") || e.starts_with("ladder");
                let is_checked_later = held.as_ref().is_err_and(is_later);
                assert!(
                    held.is_ok() == typed.is_ok() || is_checked_later,
                    "{} at {at}: the schema says {held:?}, the type {typed:?}",
                    path.display()
                );
                *(if held.is_ok() {
                    &mut taken
                } else {
                    &mut refused
                }) += 1;
            }
        }
    }
    // Free keys and defaults leave some that hold.
    assert!(
        refused > 3000 && taken > 300,
        "{refused} refused, {taken} taken"
    );
}

/// A value with something wrong, or missing, or more, at a place.
fn broken(value: &Value, at: &str) -> Vec<Value> {
    let with = |new: Value| {
        let mut whole = value.clone();
        *whole.pointer_mut(at).unwrap() = new;
        whole
    };
    let mut all = vec![
        with(json!(-1.5)),
        with(json!("no such word")),
        with(json!(true)),
        with(json!([[]])),
    ];
    if let Some(Value::Object(map)) = value.pointer(at) {
        let mut more: Map<String, Value> = map.clone();
        more.insert("stray_key".into(), json!(1));
        all.push(with(more.into()));
        for key in map.keys() {
            let mut less = map.clone();
            less.remove(key);
            all.push(with(less.into()));
        }
    }
    all
}

#[test]
fn an_error_names_the_place_and_the_nearest_key() {
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/studies/quickstart.toml");
    let whole = fs::read_to_string(quickstart)
        .unwrap()
        .parse::<toml::Table>()
        .unwrap();
    let whole = serde_json::to_value(whole).unwrap();
    for (pointer, key, value, place, words) in [
        (
            "/arms/more_sums",
            "fator",
            json!("x"),
            "arms.more_sums.fator",
            "did you mean \"factor\"?",
        ),
        (
            "",
            "hypotesis",
            json!({}),
            "hypotesis",
            "did you mean \"hypothesis\"?",
        ),
        (
            "/decision",
            "metric",
            json!("bqb"),
            "decision.metric",
            "did you mean \"bpb\"?",
        ),
        (
            "/decision",
            "seeds",
            json!("eight"),
            "decision.seeds",
            "a whole number",
        ),
        (
            "/decision",
            "seeds",
            json!({ "mim": 3, "max": 9 }),
            "decision.seeds.mim",
            "\"min\"?",
        ),
        (
            "/decision",
            "seeds",
            json!(8.5),
            "decision.seeds",
            "a whole number",
        ),
        (
            "/decision",
            "seeds",
            json!(5000),
            "decision.seeds",
            "at most 1000",
        ),
        (
            "/decision",
            "margin",
            json!(0),
            "decision.margin",
            "above 0",
        ),
        (
            "/hypothesis/prediction",
            "confidence",
            json!(1.3),
            "hypothesis.prediction.confidence",
            "at most 1",
        ),
        (
            "/hypothesis",
            "prediction",
            json!({ "direction": "up" }),
            "hypothesis.prediction.direction",
            "\"better\"",
        ),
        (
            "/decision/eval/1",
            "wieght",
            json!(1),
            "decision.eval[1].wieght",
            "\"weight\"?",
        ),
        (
            "/decision/eval",
            "0",
            json!("tales"),
            "decision.eval[0]",
            "an object with corpus",
        ),
        (
            "/limits",
            "device_minutes",
            json!("ten"),
            "limits.device_minutes",
            "a number",
        ),
        ("", "set", json!([1]), "set", "an object of keys and values"),
        (
            "/arms",
            "odd.name",
            json!({ "controll": true }),
            "arms[\"odd.name\"].controll",
            "\"control\"?",
        ),
    ] {
        let mut broken = whole.clone();
        match broken.pointer_mut(pointer).unwrap() {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
            map => map[key] = value,
        }
        let error = schema::study_from_json(&broken).unwrap_err();
        assert_eq!(
            (error.place.as_str(), error.exit_code()),
            (place, 2),
            "{error}"
        );
        assert!(error.remedy.contains(words), "{error}");
    }
    let mut broken = whole;
    broken["decision"].as_object_mut().unwrap().remove("margin");
    let error = schema::study_from_json(&broken).unwrap_err();
    assert_eq!(error.place, "decision");
    assert!(error.problem.contains("\"margin\" is missing"), "{error}");
    assert!(
        error.remedy.contains("smallest effect worth acting on"),
        "{error}"
    );
    let error = schema::study_from_json(&json!("a study")).unwrap_err();
    assert_eq!(error.place, "the study");
}

#[test]
fn a_study_given_as_json_is_the_same_study_as_toml() {
    for (path, is_study, value) in configs() {
        if !is_study {
            continue;
        }
        let text = schema::study_from_json(&value).unwrap();
        let read = |text: &str| toml::from_str::<Proposal>(text).unwrap();
        let original = fs::read_to_string(&path).unwrap();
        assert_eq!(read(&text), read(&original), "{}", path.display());
    }
}

#[test]
fn arms_given_as_json_keep_their_order() {
    let arm = json!({ "factor": "optimizer.lr", "set": { "optimizer.lr": 0.1 } });
    let study = json!({
        "name": "x", "base": "r.toml", "hypothesis": { "claim": "c" },
        "decision": { "margin": 0.1, "seeds": 3 },
        "arms": { "zeta": arm, "alpha": arm, "plain": { "control": true } },
    });
    let text = schema::study_from_json(&study).unwrap();
    let at = |name: &str| text.find(&format!("[arms.{name}]")).unwrap();
    assert!(
        at("plain") < at("zeta") && at("zeta") < at("alpha"),
        "{text}"
    );
}

#[test]
fn what_toml_can_not_hold_is_refused() {
    let study = |value: Value| {
        json!({
            "name": "x", "base": "r.toml", "hypothesis": { "claim": "c" },
            "decision": { "margin": 0.1, "seeds": 3 }, "set": { "optimizer.lr": value },
        })
    };
    for value in [json!(null), json!([1, null]), json!(u64::MAX)] {
        let error = schema::study_from_json(&study(value)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn every_key_says_what_it_is() {
    // Told beside them, for each is the only key of its alternative.
    let exempt = ["temperature", "unimax_epochs"];
    for schema in [schema::study(), schema::recipe()] {
        let mut all = Vec::new();
        places(&schema, "", &mut all);
        for at in all.iter().filter(|at| at.ends_with("/properties")) {
            for (key, about) in schema.pointer(at).unwrap().as_object().unwrap() {
                let reference = about.get("$ref").and_then(Value::as_str);
                let about = [Some(about), reference.and_then(|r| schema.pointer(&r[1..]))];
                let mut about = about.into_iter().flatten();
                let is_told = about.any(|a| a.get("description").is_some());
                assert!(is_told || exempt.contains(&key.as_str()), "{at}/{key}");
            }
        }
        assert!(!schema.to_string().contains("[`"));
    }
}
