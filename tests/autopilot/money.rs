//! Dollars: none is spent that may not be, and none is forgotten when a process is killed.

use super::{
    asking, bench,
    drafts::*,
    fly,
    server::{Answer, Server},
    studies,
    support::Bench,
};
use serde_json::{Value, json};
use std::{
    fs,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

#[test]
fn no_request_is_sent_that_could_cost_more_than_is_left() {
    let bench = bench();
    let server = Server::start(vec![Answer::says(&worse()); 3], vec![]);
    let args = ["autopilot", "--json", "--hours", "1", "--dollars", "0.01"];
    let output = asking(&bench, &server, &args).output().unwrap();
    let landed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(landed["landing"]["by"], "dollars");
    assert!(server.heard().is_empty());
    // The home's own limit for a day counts as well.
    fs::write(bench.home().join("limits.toml"), "[day]\ndollars = 0.01\n").unwrap();
    let (landed, _) = fly(&bench, &server, &[]);
    assert_eq!(landed["landing"]["by"], "dollars");
    let words = landed["words"].as_str().unwrap();
    assert!(words.contains("limits.toml"), "{words}");
    assert!(server.heard().is_empty() && studies(&bench).is_empty());
}

#[test]
fn an_answer_may_be_as_long_as_the_dollars_allow() {
    let bench = bench();
    let answers = vec![Answer::Message(String::new(), "refusal", (10, 1)); 9];
    let server = Server::start(answers, vec![]);
    let args = ["autopilot", "--json", "--hours", "1", "--dollars", "0.2"];
    asking(&bench, &server, &args).output().unwrap();
    let body: Value = serde_json::from_str(&server.heard()[0].1).unwrap();
    let most = body["max_tokens"].as_u64().unwrap();
    assert!((2_048..10_000).contains(&most), "{most}");
    assert_eq!(
        server.heard().len(),
        5,
        "it gives up on a model that declines"
    );
}

#[test]
fn a_model_without_a_price_is_not_flown_and_a_price_can_be_written() {
    let bench = bench();
    let settings = bench.home().join("claude.toml");
    fs::write(&settings, "model = \"something-new\"\n").unwrap();
    let server = Server::start(vec![], vec![]);
    let args = ["autopilot", "--hours", "1", "--dollars", "1"];
    let output = asking(&bench, &server, &args).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("claude.toml") && stderr.contains("[prices]"),
        "{stderr}"
    );
    let prices = "[prices]\ninput = 1\noutput = 2\ncache_write = 1\ncache_read = 1\n";
    fs::write(&settings, format!("model = \"something-new\"\n{prices}")).unwrap();
    let (landed, _) = fly(&bench, &server, &[]);
    let spent = landed["spent"]["spent"].as_f64().unwrap();
    assert!(
        (spent - 5.0 * 12e-6).abs() < 1e-12,
        "five refusals of 10 and 1 tokens: {spent}"
    );
    let body: Value = serde_json::from_str(&server.heard()[0].1).unwrap();
    assert_eq!(body["model"], "something-new");
}

#[test]
fn a_process_killed_in_the_middle_of_a_request_forgets_no_dollar() {
    let bench = bench();
    let server = Server::start(vec![Answer::Silence, Answer::says(&worse())], vec![]);
    let mut child = started(&bench, &server);
    let begun = Instant::now();
    while server.heard().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it never asked");
        sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (landed, _) = fly(&bench, &server, &["--studies", "1"]);
    let spent = landed["spent"]["spent"].as_f64().unwrap();
    let store = bench.json(&["jobs"]);
    let today = store["day"]["api_dollars"].as_f64();
    let sent = bench.home().join("proposals/0001/001.request.json");
    let sent: Value = serde_json::from_slice(&fs::read(sent).unwrap()).unwrap();
    let most = sent["most_dollars"].as_f64().unwrap();
    assert!(most >= 16_000.0 * 20e-6, "{most}");
    let came = bench.home().join("proposals/0001/001.response.json");
    let came: Value = serde_json::from_slice(&fs::read(came).unwrap()).unwrap();
    assert_eq!(came["dollars"], json!(most), "counted at its most");
    let today = today.unwrap_or_else(|| panic!("{store}"));
    assert!(
        (today - spent - most).abs() < 1e-6,
        "{today} {spent} {most}"
    );
}

#[test]
fn a_killed_autopilot_takes_up_the_study_that_it_had_handed_in() {
    let bench = bench();
    let findings = vec![Answer::Silence, finding("It is worse: {{verdict.effect}}.")];
    let server = Server::start(vec![Answer::says(&worse())], findings);
    let mut child = started(&bench, &server);
    let begun = Instant::now();
    while server.heard().len() < 2 {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "no verdict came"
        );
        sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (landed, _) = fly(&bench, &server, &["--studies", "1"]);
    assert_eq!(landed["landing"]["by"], "studies");
    let rounds = landed["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 1, "nothing new was proposed");
    assert_eq!(rounds[0]["verdict"], "changed: worse");
    assert!(
        rounds[0]["finding"]
            .as_str()
            .unwrap()
            .starts_with("It is worse: +")
    );
    assert_eq!(studies(&bench).len(), 1);
}

/// An autopilot that is going to be killed.
fn started(bench: &Bench, server: &Server) -> Child {
    let args = ["autopilot", "--json", "--hours", "1", "--dollars", "2"];
    let mut command = asking(bench, server, &args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}
