//! From a raw corpus to a trained model, through the commands.

use crate::{Bench, everything, speeches};
use serde_json::Value;
use windtunnel::data::Library;

fn sum(parts: &Value) -> u64 {
    let part = |name| parts[name].as_u64().unwrap();
    part("train") + part("test") + part("validation")
}

fn recipe(corpus: &str) -> String {
    format!(
        "[data]\ntokenizer = \"char\"\nmixture = [{{ corpus = \"{corpus}\" }}]\n[model]\nn_layer = 1\nn_head = 1\nn_embd = 8\nblock_size = 16\n[batch]\nrows = 2\n[budget]\nsteps = 3\n[eval]\nwindows = 4\n"
    )
}

#[test]
fn a_cleaned_corpus_is_listed_measured_and_trained_on() {
    let bench = Bench::new();
    let mut documents = speeches(500);
    let copies = documents[..50].to_vec();
    documents.extend(copies);
    bench.add_rows("raw", &documents);
    let raw = bench.succeed(&["data", "stat", "raw", "--orders", "1"]);
    assert_eq!(raw["duplicates"]["exact"], 50);
    let record = bench.succeed(&[
        "data",
        "clean",
        "raw",
        "tidy",
        "--dedup",
        "exact,near",
        "--near-threshold",
        "0.8",
        "--filter",
        "min_words=5,max_symbol_ratio=0.3",
        "--filter",
        "max_repeated_lines=0.5",
    ]);
    assert_eq!(record["schema"], "windtunnel.data_clean.v1");
    assert_eq!(record["source"]["sha256"], raw["sha256"]);
    assert_eq!(record["settings"]["filters"]["min_words"], 5.0);
    assert_eq!(sum(&record["documents"]["read"]), 550);
    assert_eq!(sum(&record["documents"]["kept"]), 500);
    let kept = std::fs::read(bench.path("home/clean/tidy.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    for (field, value) in kept.as_object().unwrap() {
        assert!(field == "schema" || value == &record[field], "{field}");
    }
    let listed = bench.succeed(&["data", "list"]);
    let listed = listed["corpora"].as_array().unwrap();
    let tidy = listed
        .iter()
        .find(|corpus| corpus["name"] == "tidy")
        .unwrap();
    assert_eq!(tidy["state"], "cleaned");
    assert_eq!(tidy["about"], "\"raw\" cleaned: 500 of 550 documents");
    let stat = bench.succeed(&["data", "stat", "tidy", "--orders", "1"]);
    assert_eq!(
        (sum(&stat["documents"]), &stat["sha256"]),
        (500, &record["sha256"])
    );
    assert_eq!(
        (&stat["duplicates"]["exact"], &stat["duplicates"]["near"]),
        (&0.into(), &0.into())
    );
    bench.write("r.toml", recipe("tidy"));
    bench.succeed(&["train", "r.toml"]);
    // A home may be moved, and what was cleaned may be cleaned again.
    std::fs::rename(bench.path("home"), bench.path("moved")).unwrap();
    let moved = Library::new(&bench.path("moved"));
    assert_eq!(
        moved.source("tidy", &mut |_, _| {}).unwrap().digest,
        stat["sha256"]
    );
    std::fs::rename(bench.path("moved"), bench.path("home")).unwrap();
    bench.succeed(&["data", "clean", "tidy", "tidier", "--filter", "prose"]);
    let file = bench.path("home/clean/tidy/train.jsonl");
    std::fs::write(&file, "{\"text\": \"other\"}\n").unwrap();
    let error = bench.refuse(&["train", "r.toml"]);
    assert!(
        error.contains("train.jsonl") && error.contains("digest mismatch"),
        "{error}"
    );
}

#[test]
fn built_in_corpora_are_cleaned_too_with_their_answers() {
    let bench = Bench::new();
    let record = bench.succeed(&["data", "clean", "facts", "f", "--filter", "max_words=40"]);
    assert!(sum(&record["documents"]["kept"]) < sum(&record["documents"]["read"]));
    let stat = bench.succeed(&["data", "stat", "f", "--orders", "1"]);
    assert!(stat["answers"]["train"].as_u64().unwrap() > 100);
    assert_eq!(stat["licence"], "made by windtunnel, free to use");
}

#[test]
fn several_corpora_are_compared_by_what_they_share() {
    let bench = Bench::new();
    let documents = speeches(300);
    bench.add_rows("one", &documents);
    bench.add_file("other", "other.txt", &documents.join("\n\n"));
    let stats = bench.succeed(&["data", "stat", "one", "tales", "other", "--orders", "1"]);
    assert_eq!(stats["schema"], "windtunnel.data_stats.v1");
    assert_eq!(stats["corpora"].as_array().unwrap().len(), 3);
    let overlaps = stats["overlaps"].as_array().unwrap();
    let of = |train: &str, validation: &str| {
        let found = overlaps
            .iter()
            .find(|o| o["train"] == train && o["validation"] == validation);
        let found = found.unwrap();
        found["copied"].as_f64().unwrap() / found["documents"].as_f64().unwrap()
    };
    assert_eq!(overlaps.len(), 9);
    assert_eq!(
        (of("one", "one"), of("tales", "one"), of("one", "tales")),
        (0.0, 0.0, 0.0)
    );
    assert!(of("one", "other") > 0.5 && of("other", "one") > 0.5);
    let text = bench.command(&["data", "stat", "one"]).output().unwrap();
    assert!(text.status.success());
    let single: Value = serde_json::from_slice(&text.stdout).unwrap();
    assert_eq!(single["schema"], "windtunnel.data_stat.v1");
    assert_eq!(single["overlap"]["train"], "one");
    let bytes = single["bytes"]["train"].as_u64().unwrap() + sum_of(&single, "bytes");
    let tokens = single["tokens"]["train"].as_u64().unwrap() + sum_of(&single, "tokens");
    let expected = bytes as f64 / tokens as f64;
    assert!((single["bytes_per_token"].as_f64().unwrap() - expected).abs() < 1e-9);
}

fn sum_of(stat: &Value, what: &str) -> u64 {
    stat[what]["test"].as_u64().unwrap() + stat[what]["validation"].as_u64().unwrap()
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let bench = Bench::new();
    bench.add_rows("raw", &speeches(300));
    let before = everything(&bench.path("home"));
    for (args, says) in [
        (&["raw", "new"][..], "nothing is asked for"),
        (&["rwa", "new", "--dedup", "exact"], "did you mean \"raw\""),
        (&["raw", "raw", "--dedup", "exact"], "\"raw\" is taken"),
        (
            &["raw", "a/b", "--dedup", "exact"],
            "can't be a corpus's name",
        ),
        (&["raw", "new", "--dedup", "exactly"], "exact"),
        (
            &["raw", "new", "--dedup", "near", "--near-threshold", "1.5"],
            "from 0.2 to 1",
        ),
        (
            &["raw", "new", "--dedup", "near", "--near-threshold", "NaN"],
            "from 0.2 to 1",
        ),
        (
            &["raw", "new", "--dedup", "exact", "--near-threshold", "0.8"],
            "--dedup near",
        ),
        (
            &["raw", "new", "--filter", "min_wrds=3"],
            "did you mean \"min_words\"",
        ),
        (
            &["raw", "new", "--dedup", "exact", "--shared-runs", "0"],
            "1 or more",
        ),
        (
            &["raw", "new", "--filter", "min_words=100000"],
            "nothing would be left",
        ),
    ] {
        let error = bench.refuse(&[&["data", "clean"], args].concat());
        assert!(error.contains(says), "{args:?}: {error}");
        let mut after = everything(&bench.path("home"));
        after.retain(|(path, _)| !path.ends_with("lock"));
        assert_eq!(after, before, "{args:?}");
    }
    assert!(!bench.path("home/clean/new").exists());
}
