//! What there is to work with: corpora, recipes, factors, noise, budgets, and what is not there.

use super::{Caller, Desk, answer::Answer};
use crate::{
    claude::{quoted::quoted_at_most, schema},
    data::Library,
    device::Machine,
    error::Result,
    jobs::{Store, limits::Limits},
    metrics::Metric,
    model::variants,
    study::{bank::Noise, inside::inside, ledger::Ledger},
    toml_file::Source,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

/// A part of what there is.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Texts to train and evaluate on
    Corpora,
    /// Recipes and studies of this project to start from
    Recipes,
    /// Keys of a recipe that an arm can change, with what they take
    Factors,
    /// How much trials of one kind differ by their seeds alone
    Noise,
    /// What may be spent without asking a person, and what is left of it today
    Budgets,
    /// Version, device and memory
    Machine,
}

const PARTS: [Part; 6] = [
    Part::Machine,
    Part::Budgets,
    Part::Recipes,
    Part::Corpora,
    Part::Noise,
    Part::Factors,
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AboutArgs {
    /// This part alone, whole [default: all, each short]
    #[serde(default)]
    part: Option<Part>,
}

pub fn capabilities(desk: &Desk, args: &AboutArgs, _: &Caller) -> Result<Answer> {
    let parts: Vec<Part> = args.part.map_or(PARTS.to_vec(), |part| vec![part]);
    let whole = args.part.is_some();
    let mut answer = Map::new();
    for part in parts {
        match part {
            Part::Corpora => answer.insert("corpora".into(), corpora(desk, whole)?),
            Part::Recipes => {
                answer.insert(
                    "studies".into(),
                    files(&desk.settings.root, "configs/studies")?,
                );
                answer.insert(
                    "recipes".into(),
                    files(&desk.settings.root, "configs/recipes")?,
                )
            }
            Part::Factors => {
                answer.insert("variants".into(), json!(variants::NAMES));
                answer.insert("factors".into(), factors(whole))
            }
            Part::Noise => answer.insert("noise".into(), noise(desk)?),
            Part::Budgets => answer.insert("budgets".into(), budgets(desk)?),
            Part::Machine => answer.insert("machine".into(), machine(desk)),
        };
    }
    if !whole {
        answer.insert("not_here".into(), not_here());
        answer.insert("next".into(), NEXT.into());
    }
    Ok(Answer::Json(answer.into()))
}

const NEXT: &str =
    "write a study as the resource schema://study says, and give it to study_validate";

/// What one might look for in vain.
fn not_here() -> Value {
    json!([
        "several GPUs, and fused CUDA kernels",
        "approving, or changing limits: a person does that on the command line",
        "code: a study is data; an idea that needs code is a variant (`windtunnel new variant NAME`), reviewed like any code",
    ])
}

/// Characters of the list of corpora, short and whole: users add as many as they like.
const CORPORA: (usize, usize) = (5_000, 18_000);

/// Names and descriptions are text of others.
fn corpora(desk: &Desk, whole: bool) -> Result<Value> {
    let listed = Library::new(&desk.settings.home).list()?;
    let lines = listed.iter().map(|corpus| {
        format!(
            "{} ({}): {}; licence: {}",
            corpus.name, corpus.state, corpus.about, corpus.licence
        )
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let most = if whole { CORPORA.1 } else { CORPORA.0 };
    Ok(json!({ "n": listed.len(), "names": quoted_at_most("corpora", &text, most) }))
}

/// TOML files of a folder of the project, each with the question that it opens with.
fn files(root: &Path, folder: &str) -> Result<Value> {
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return Ok(json!([]));
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    const MOST: usize = 60;
    let mut lines = Vec::new();
    for name in names.iter().take(MOST) {
        let path = format!("{folder}/{name}");
        let text = inside(root, Path::new(&path)).and_then(|path| Source::read(&path));
        let first = text.map_or(String::new(), |source| first_words(&source.text));
        lines.push(format!("{path}: {first}"));
    }
    let text = lines.join("\n");
    Ok(quoted_at_most("files", &text, 6_000).into())
}

/// The comment that a file opens with, its first line.
fn first_words(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix('#').unwrap_or_default().trim().into()
}

/// Every key of a recipe with what it takes.
fn factors(whole: bool) -> Value {
    let recipe = schema::recipe();
    let mut lines = Vec::new();
    leaves(&recipe, &recipe, "", &mut lines);
    match whole {
        true => json!(
            lines
                .iter()
                .map(|(path, takes, about)| format!("{path}: {takes}. {about}"))
                .collect::<Vec<_>>()
        ),
        false => json!(
            lines
                .iter()
                .map(|(path, takes, _)| format!("{path}: {takes}"))
                .collect::<Vec<_>>()
        ),
    }
}

/// (path, what it takes, what it is) of every key below a schema's object.
fn leaves(root: &Value, schema: &Value, path: &str, lines: &mut Vec<(String, String, String)>) {
    let schema = resolved(root, schema);
    let table = table_in(root, schema);
    let Some(properties) = table.and_then(|table| table["properties"].as_object()) else {
        let about = schema["description"]
            .as_str()
            .unwrap_or_default()
            .to_string();
        lines.push((path.into(), takes(root, schema), about));
        return;
    };
    for (key, inner) in properties {
        let path = match path {
            "" => key.clone(),
            _ => format!("{path}.{key}"),
        };
        // A description stands with the key, not with the type that it refers to.
        let about = inner["description"].as_str().map(String::from);
        let from = lines.len();
        leaves(root, inner, &path, lines);
        if let (Some(about), [line]) = (about, &mut lines[from..]) {
            line.2 = about;
        }
    }
}

fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#'));
    pointer
        .and_then(|pointer| root.pointer(pointer))
        .unwrap_or(schema)
}

/// The table that a value is, where it is one and nothing else but left out.
fn table_in<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let own = schema["properties"].is_object().then_some(schema);
    own.or_else(|| match &choices(schema)[..] {
        [one] => table_in(root, resolved(root, one)),
        _ => None,
    })
}

/// Alternatives but for null.
fn choices(schema: &Value) -> Vec<&Value> {
    let all = schema["anyOf"]
        .as_array()
        .or_else(|| schema["oneOf"].as_array());
    let all = all.into_iter().flatten();
    all.filter(|choice| choice["type"] != "null").collect()
}

/// What a value may be, in a few words.
fn takes(root: &Value, schema: &Value) -> String {
    let schema = resolved(root, schema);
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(Value::to_string).collect();
        return words.join(" | ");
    }
    if !schema["const"].is_null() {
        return schema["const"].to_string();
    }
    let several = choices(schema);
    if !several.is_empty() {
        let words: Vec<String> = several.iter().map(|choice| takes(root, choice)).collect();
        return words.join(" | ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .collect(),
        _ => vec!["anything"],
    };
    match types[..] {
        ["array"] => format!("list of {}", takes(root, &schema["items"])),
        ["object"] => match schema["properties"].as_object() {
            Some(properties) => {
                let keys: Vec<&str> = properties.keys().map(String::as_str).collect();
                format!("{{ {} }}", keys.join(", "))
            }
            None => "table".into(),
        },
        _ => types.join(" | "),
    }
}

fn noise(desk: &Desk) -> Result<Value> {
    const MOST: usize = 20;
    let bank = Ledger::read(&desk.settings.home)?.bank(Metric::Bpb)?;
    let lines = bank.iter().take(MOST).map(Noise::in_words);
    let text = lines.collect::<Vec<_>>().join("\n");
    Ok(match bank.is_empty() {
        true => {
            "nothing is known yet: plan a study with seeds, or run an A/A study (factor = \"none\")"
                .into()
        }
        // Names of corpora are in it.
        false => quoted_at_most("noise", &text, 4_000).into(),
    })
}

fn budgets(desk: &Desk) -> Result<Value> {
    let home = &desk.settings.home;
    let limits = Limits::read(home)?;
    let spent = match Store::existing(home)? {
        Some(store) => store.day(None)?,
        None => Default::default(),
    };
    Ok(json!({
        "limits": limits,
        "spent_in_24_hours": { "device_minutes": spent.device_minutes, "dollars": limits.dollars(spent) },
        "left_today": {
            "device_minutes": (limits.day.device_minutes - spent.device_minutes).max(0.0),
            "dollars": (limits.day.dollars - limits.dollars(spent)).max(0.0),
        },
        "beyond": "study_submit puts a study that would exceed a limit before a person",
    }))
}

fn machine(desk: &Desk) -> Value {
    let machine = Machine::read();
    let mib = |bytes: u64| bytes >> 20;
    json!({
        "windtunnel": env!("CARGO_PKG_VERSION"),
        "device": desk.settings.device,
        "dtype": desk.settings.dtype,
        "cpu": machine.cpu,
        "cores": machine.cores,
        "memory_mib": mib(machine.memory_bytes),
        "free_mib": mib(machine.available_bytes),
        "project": desk.settings.root,
    })
}
