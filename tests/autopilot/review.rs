//! `propose`: one study, written for a person, and nothing run.

use super::{
    asking, bench,
    drafts::*,
    files,
    server::{Answer, Server},
    studies,
};
use serde_json::{Value, json};
use std::fs;

#[test]
fn one_study_is_written_ready_for_review_after_what_the_gates_said() {
    let bench = bench();
    let server = Server::start(
        vec![Answer::says(&two_factors()), Answer::says(&worse())],
        vec![],
    );
    let args = ["propose", "--json", "--about", "Which learning rate?"];
    let output = asking(&bench, &server, &args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["written"]["study"], "configs/studies/slow.toml");
    assert_eq!(found["proposed"]["objections"][0]["gate"], "study");
    assert_eq!(found["plan"]["trials"], 6);
    let second = &server.heard()[1].1;
    assert!(
        second.contains("model.dropout besides its factor"),
        "the gate's words: {second}"
    );
    assert!(studies(&bench).is_empty(), "nothing ran");
    let study = fs::read_to_string(bench.path("configs/studies/slow.toml")).unwrap();
    assert!(study.contains("proposer = \"claude-opus-5-5\""), "{study}");
    bench.json(&["plan", "configs/studies/slow.toml"]);
    // The same name again is in the way, and is told.
    let server = Server::start(
        vec![Answer::says(&worse()), Answer::says(&better())],
        vec![],
    );
    let output = asking(&bench, &server, &args).output().unwrap();
    assert!(output.status.success());
    assert!(server.heard()[1].1.contains("is there already"));
    assert_eq!(
        fs::read_to_string(bench.path("configs/studies/slow.toml")).unwrap(),
        study
    );
}

#[test]
fn it_is_written_where_one_says() {
    let bench = bench();
    let server = Server::start(vec![Answer::says(&worse())], vec![]);
    let args = [
        "propose",
        "--json",
        "--about",
        "Rates?",
        "--out",
        "mine.toml",
    ];
    let output = asking(&bench, &server, &args).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    bench.json(&["plan", "mine.toml"]);
    for out in ["../mine.toml", "/tmp/mine.toml", "nowhere/mine.toml"] {
        let server = Server::start(vec![Answer::says(&worse())], vec![]);
        let args = ["propose", "--about", "Rates?", "--out", out];
        let output = asking(&bench, &server, &args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{out}");
        assert!(
            server.heard().is_empty(),
            "{out}: found before anything is paid"
        );
    }
}

#[test]
fn when_no_answer_passes_nothing_is_written_and_the_gate_is_named() {
    let bench = bench();
    let before = files(bench.folder.path());
    let server = Server::start(vec![Answer::says(&two_factors()); 2], vec![]);
    let args = ["propose", "--about", "Rates?", "--mends", "1"];
    let output = asking(&bench, &server, &args).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("gate study"), "{stderr}");
    let home = bench.home();
    let outside = |path: &std::path::PathBuf| !path.starts_with(&home);
    let now: Vec<_> = files(bench.folder.path())
        .into_iter()
        .filter(outside)
        .collect();
    let before: Vec<_> = before.into_iter().filter(outside).collect();
    assert_eq!(now, before);
}

#[test]
fn a_study_that_needs_a_recipe_gets_one() {
    let bench = bench();
    let recipe = json!({
        "name": "low", "about": "A low rate.", "set": [{ "key": "optimizer.lr", "value": 1e-4 }],
    });
    let draft = with(better(), json!({ "recipe": recipe, "set": [] }));
    let server = Server::start(vec![Answer::says(&draft)], vec![]);
    let args = ["propose", "--json", "--about", "Rates?"];
    let output = asking(&bench, &server, &args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["written"]["recipe"], "configs/recipes/low.toml");
    let plan = bench.json(&["plan", "configs/studies/fast.toml"]);
    assert_eq!(
        plan["arms"][1]["changes"]["optimizer.lr"],
        json!(["0.0001", "0.003"])
    );
}

#[test]
fn a_baseline_proposes_in_its_space_without_a_key() {
    let bench = bench();
    bench.write(
        "space.toml",
        "name = \"rates\"\nbase = \"recipe.toml\"\n[decision]\nmargin = 0.3\nseeds = 3\n\
         [vary]\n\"optimizer.lr\" = { low = 1e-4, high = 1e-2 }\n",
    );
    for by in ["random", "tpe"] {
        let found = bench.json(&["propose", "--by", by, "--space", "space.toml"]);
        let study = found["study"].as_str().unwrap();
        assert_eq!(found["suggestion"]["learned_from"], 0);
        bench.json(&["plan", study]);
        bench.refused(&["propose", "--by", by, "--space", "space.toml"], 2);
    }
}
