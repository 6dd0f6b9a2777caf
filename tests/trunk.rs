//! Runs that differ in their cooldowns, or in their lengths, share the steps before: each gives the
//! numbers that it gives alone.

#[path = "support/bench.rs"]
mod bench;
#[path = "support/clock.rs"]
mod clock;
mod support;

use bench::Bench;
use clock::verdict_without_clock;
use std::{fs, path::Path};
use support::records_without_clock;
use windtunnel::{home::Home, run_dir::RunDir};

const RECIPE: &str = r#"
seed = 1
[data]
tokenizer = "char"
mixture = [{ corpus = "tales" }]
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
dropout = 0.1
[batch]
rows = 4
[budget]
steps = 40
[optimizer]
lr = 3e-3
[schedule]
kind = "wsd"
warmup_steps = 4
cooldown = 0.25
final = 0.0
[eval]
every = 8
windows = 10
ema = 0.9
[checkpoint]
every = 7
"#;

const STUDY: &str = r#"
name = "cooldowns"
base = "recipe.toml"
[hypothesis]
claim = "How a run cools down matters."
[decision]
margin = 5.0
seeds = 2
[arms.quarter]
control = true
[arms.half]
factor = "schedule.cooldown"
set = { "schedule.cooldown" = 0.5 }
[arms.root]
factor = "schedule.cooldown_shape"
set = { "schedule.cooldown_shape" = "sqrt" }
"#;

fn bench() -> Bench {
    let bench = Bench::with(RECIPE).one_thread();
    bench.write("study.toml", STUDY);
    bench
}

fn run_dir(home: &Path, id: &str) -> RunDir {
    RunDir::new(home.join("runs").join(id))
}

/// All that a run wrote but its clock, and how it ended.
fn numbers(dir: &RunDir) -> (Vec<String>, String) {
    let outcome = dir.outcome().unwrap().unwrap();
    let ending = serde_json::to_string(&(&outcome.ending, &outcome.realised)).unwrap();
    (records_without_clock(dir), ending)
}

#[test]
fn arms_that_cool_down_differently_train_their_trunk_once_and_give_the_same_numbers() {
    let bench = bench();
    let forecast = bench.json_in("shared", &["plan", "study.toml"]);
    // Of each seed: 20 steps, then 20 of their own, and from step 30 two times 10; 4 × 16 tokens.
    let shared = 2 * (20 + 20 + 10 + 10 + 10) * 64;
    assert_eq!(forecast["tokens"], shared, "{forecast}");
    let verdict = bench.json_in("shared", &["run", "study.toml", "--jobs", "2"]);
    assert_eq!(verdict["cost"]["tokens"], shared);
    let alone = &["run", "study.toml", "--jobs", "2", "checkpoint.trunk=false"];
    let alone = bench.json_in("alone", alone);
    assert_eq!(alone["cost"]["tokens"], 6 * 40 * 64);
    let [alone, verdict] = [&alone, &verdict].map(|run| verdict_without_clock(&run["verdict"]));
    // What was shared cost less; all else is the same.
    for key in ["control_mean", "arms", "seeds"] {
        assert_eq!(alone[key], verdict[key], "{key}");
    }
    assert!(!bench.path("alone/trunks").exists());

    let ids = Home::runs(&bench.path("shared"));
    assert_eq!(ids.len(), 6);
    let mut branched = Vec::new();
    for id in ids {
        let shared = run_dir(&bench.path("shared"), &id);
        assert_eq!(
            numbers(&shared),
            numbers(&run_dir(&bench.path("alone"), &id))
        );
        let outcome = shared.outcome().unwrap().unwrap();
        assert_eq!(outcome.cost.tokens, 40 * 64);
        branched.push(outcome.branched.map_or(0, |branched| branched.step));
        let kind = &shared.events()[0].kind;
        assert_eq!(
            kind,
            if outcome.branched.is_some() {
                "branch"
            } else {
                "start"
            }
        );
    }
    branched.sort_unstable();
    assert_eq!(branched, [0, 0, 20, 20, 30, 30]);
}

#[test]
fn a_longer_run_begins_where_a_shorter_one_began_to_cool_down() {
    let bench = bench();
    let short = ["train", "recipe.toml", "budget.steps=16"];
    assert!(bench.json_in("home", &short).get("branched").is_none());
    let long = ["train", "recipe.toml"];
    let outcome = bench.json_in("home", &long);
    assert_eq!(outcome["branched"]["step"], 12);
    let alone = bench.json_in("alone", &long);
    let id = alone["trial"].as_str().unwrap();
    let both = ["home", "alone"].map(|home| numbers(&run_dir(&bench.path(home), id)));
    assert_eq!(both[0], both[1]);
    // Another seed, another rate, another warm-up: another trunk.
    for change in ["seed=2", "optimizer.lr=1e-3", "schedule.warmup_steps=5"] {
        let other = bench.json_in("home", &["train", "recipe.toml", change]);
        assert!(other.get("branched").is_none(), "{change}");
    }
}

#[test]
fn a_damaged_trunk_is_named_and_can_be_deleted() {
    let bench = bench();
    bench.json_in("home", &["train", "recipe.toml", "budget.steps=16"]);
    let trunk = fs::read_dir(bench.path("home/trunks")).unwrap().next();
    let step = trunk.unwrap().unwrap().path().join("step-00000012");
    let state = step.join("step-00000012.safetensors");
    let mut bytes = fs::read(&state).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&state, bytes).unwrap();
    let output = bench.run(&["train", "recipe.toml"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("step-00000012") && said.contains("trunks"),
        "{said}"
    );
    fs::remove_dir_all(&step).unwrap();
    let outcome = bench.json_in("home", &["train", "recipe.toml"]);
    assert!(outcome.get("branched").is_none());
}
