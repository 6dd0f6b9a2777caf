//! Four studies: one refused, one inconclusive, one worse, one better; and their report.

use super::{
    asking, bench,
    drafts::*,
    fates, files, fly, gates,
    server::{Answer, Server},
    studies,
};
use std::fs;

const OPEN: &str = "These seeds do not tell whether dropout matters here: the effect is {{verdict.effect}}, \
                    between {{verdict.low}} and {{verdict.high}}.";

#[test]
fn four_studies_are_refused_inconclusive_worse_and_better_and_the_report_says_so() {
    let bench = bench();
    let server = Server::start(
        vec![
            Answer::says(&two_factors()),
            Answer::says(&inconclusive()),
            Answer::says(&worse()),
            Answer::says(&better()),
        ],
        vec![
            finding(OPEN),
            // A number that is not the ledger's is sent back once.
            finding("The lower rate is worse by 12%."),
            finding("The lower rate is worse by {{verdict.effect}}, far beyond the margin."),
            finding("From a low rate the higher one is better: {{verdict.effect}}."),
        ],
    );
    let question = "Which learning rate, and does dropout matter?";
    let args = ["--mends", "0", "--studies", "3", "--about", question];
    let (landed, _) = fly(&bench, &server, &args);
    assert_eq!(fates(&landed), ["refused", "judged", "judged", "judged"]);
    assert_eq!(landed["landing"]["by"], "studies");
    let verdicts: Vec<&str> = landed["rounds"].as_array().unwrap()[1..]
        .iter()
        .map(|round| round["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(
        verdicts,
        ["changed: inconclusive", "changed: worse", "changed: better"]
    );
    assert_eq!(
        gates(&landed),
        [("study".into(), "Rate and dropout help each other.".into())]
    );
    assert_eq!(studies(&bench).len(), 3);
    assert_eq!(server.left(), (0, 0));

    let report = fs::read_to_string(landed["report"].as_str().unwrap()).unwrap();
    if let Some(folder) = std::env::var_os("WINDTUNNEL_KEEP") {
        let from = std::path::Path::new(landed["report"].as_str().unwrap())
            .parent()
            .unwrap();
        super::copy(from, std::path::Path::new(&folder));
    }
    let effect = landed["rounds"][2]["finding"].as_str().unwrap();
    for words in [
        question,
        "model.dropout: 0.0 → 0.05",
        "inconclusive",
        "Rate and dropout help each other.",
        effect,
        "Does the sign stay at ten times the size?",
        "$0.0",
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }
    assert!(!report.contains("12%"), "a number of nobody's");
    // Each study knows its exchanges, and the next proposer what was found.
    let asked = server.heard();
    let last = asked
        .iter()
        .rev()
        .find(|(_, body)| !body.contains("You write findings"));
    let brief = &last.unwrap().1;
    for words in [
        "Dead ends",
        "0.003 → 0.00001: worse",
        "Rate and dropout help each other.",
    ] {
        assert!(brief.contains(words), "{words}");
    }
    for id in studies(&bench) {
        let kept = bench.home().join("studies").join(id).join("exchanges.json");
        let kept: serde_json::Value = serde_json::from_slice(&fs::read(kept).unwrap()).unwrap();
        let folder = bench
            .home()
            .join("proposals")
            .join(kept["proposal"].as_str().unwrap());
        assert!(folder.join("001.response.json").is_file());
        assert!(folder.join("study.toml").is_file());
    }
}

#[test]
fn a_repeat_is_answered_by_its_verdict_and_nothing_runs_again() {
    let bench = bench();
    let first = Server::start(
        vec![Answer::says(&worse())],
        vec![finding("It is worse: {{verdict.effect}}.")],
    );
    fly(&bench, &first, &["--studies", "1"]);
    let runs = files(&bench.home().join("runs")).len();
    let again = with(
        worse(),
        serde_json::json!({ "name": "renamed", "claim": "In other words." }),
    );
    let second = Server::start(
        vec![Answer::says(&again), Answer::says(&better())],
        vec![finding("It is better: {{verdict.effect}}.")],
    );
    let (landed, _) = fly(&bench, &second, &["--studies", "1"]);
    assert_eq!(
        gates(&landed),
        [("repeat".into(), "In other words.".into())]
    );
    assert_eq!(fates(&landed), ["judged"], "the mended one ran");
    let told = &second.heard()[1].1;
    assert!(
        told.contains("was asked before") && told.contains("worse"),
        "{told}"
    );
    assert_eq!(studies(&bench).len(), 2);
    assert!(files(&bench.home().join("runs")).len() > runs);
}

#[test]
fn a_person_stands_at_the_gate_that_limits_are() {
    let bench = bench();
    fs::write(
        bench.home().join("limits.toml"),
        "[proposal]\ndevice_minutes = 0.0\n",
    )
    .unwrap();
    let answers = vec![Answer::says(&worse()), Answer::says(&better())];
    let server = Server::start(answers, vec![]);
    let (landed, _) = fly(&bench, &server, &["--mends", "0"]);
    assert_eq!(
        (fates(&landed), &landed["landing"]["by"]),
        (vec!["waiting"], &"person".into())
    );
    let words = landed["words"].as_str().unwrap();
    assert!(words.contains("windtunnel approve job-1"), "{words}");
    assert!(studies(&bench).is_empty(), "nothing ran");
    // With --skip-waiting it goes on, and what follows waits, too.
    let (landed, _) = fly(&bench, &server, &["--mends", "0", "--skip-waiting"]);
    assert_eq!(fates(&landed)[0], "waiting");
    assert_eq!(landed["landing"]["by"], "fruitless");
    assert!(studies(&bench).is_empty());
    // A person's yes is for that one study.
    bench.json(&["approve", "job-1"]);
    bench.json(&["reject", "job-2", "--why", "not now"]);
    bench.run(&["watch", "--jsonl"]);
    assert_eq!(studies(&bench).len(), 1);
}

#[test]
fn without_a_key_it_says_so_and_how_claude_code_does_the_same() {
    let bench = bench();
    let before = files(&bench.home()).len();
    for args in [
        &["autopilot", "--hours", "1", "--dollars", "1"][..],
        &["propose", "--about", "rates"],
    ] {
        let output = bench
            .command(args)
            .env_remove("ANTHROPIC_API_KEY")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8(output.stderr).unwrap();
        for words in ["ANTHROPIC_API_KEY", "windtunnel init --claude"] {
            assert!(stderr.contains(words), "{stderr}");
        }
    }
    assert_eq!(files(&bench.home()).len(), before, "nothing was made");
}

#[test]
fn it_stops_when_what_is_asked_is_known_already() {
    let bench = bench();
    let prediction = serde_json::json!({ "direction": "worse", "effect": 1.0, "confidence": 1.0 });
    let certain = with(worse(), serde_json::json!({ "prediction": prediction }));
    let server = Server::start(vec![Answer::says(&certain); 3], vec![]);
    let (landed, _) = fly(&bench, &server, &[]);
    assert_eq!(landed["landing"]["by"], "worth");
    assert_eq!(gates(&landed).len(), 3);
    assert!(studies(&bench).is_empty());
}

#[test]
fn it_stops_when_its_hours_are_over() {
    let bench = bench();
    let server = Server::start(vec![Answer::says(&worse()); 3], vec![]);
    let args = ["autopilot", "--json", "--hours", "1e-12", "--dollars", "1"];
    let output = asking(&bench, &server, &args).output().unwrap();
    let landed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(landed["landing"]["by"], "hours");
    assert!(server.heard().is_empty());
}
