//! Whatever an answer is, it ends at its gate: nothing runs, the money is counted, the loop goes on,
//! and the key is nowhere.

use super::{
    KEY, bench,
    drafts::*,
    fates, files, fly, gates,
    server::{Answer, Server},
    studies,
};
use serde_json::json;
use std::fs;

/// What can come, and the gate at which it ends.
fn troubles() -> Vec<(Answer, Option<&'static str>)> {
    let rate = |name: &str| draft(name, "A lower rate is better.", "optimizer.lr", json!(1e-3));
    let mut unknown = rate("unknown");
    unknown["arms"][1]["fator"] = json!("optimizer.lr");
    let outside = with(rate("outside"), json!({ "base": "../../etc/passwd" }));
    let tokenizer = "../../../etc/passwd";
    let tokenizer = draft(
        "out_too",
        "Another tokenizer.",
        "data.tokenizer",
        json!(tokenizer),
    );
    let windows = and_sets(rate("windows"), "eval.windows", json!(3));
    let corpora = with(
        rate("corpora"),
        json!({ "eval": [{ "corpus": "sums", "weight": 1.0 }] }),
    );
    let stack = {
        let mut stack = two_factors();
        stack["arms"][1]["factor"] = json!("stack");
        stack
    };
    let code = with(
        and_sets(rate("code"), "model.variant", json!("mine")),
        json!({ "variant": { "name": "mine", "idea": "Something new." } }),
    );
    let cut = Answer::Message("{\"name\": \"c".into(), "max_tokens", (900, 16_000));
    let prose = Answer::Message("Here is a study: …".into(), "end_turn", (900, 50));
    vec![
        (Answer::busy(529), None),
        (Answer::Raw(429, "retry-after: 1\r\n", "{}".into()), None),
        (Answer::Cut("{\"name\": \"half of".into(), 700), None),
        (Answer::Raw(200, "", "{\"type\": \"mess".into()), None),
        (Answer::Nothing, None),
        (cut, Some("answer")),
        (prose, Some("answer")),
        (Answer::says(&json!([1, 2])), Some("answer")),
        (Answer::says(&unknown), Some("form")),
        (Answer::says(&code), Some("form")),
        (Answer::says(&outside), Some("form")),
        (Answer::says(&tokenizer), Some("form")),
        (Answer::says(&two_factors()), Some("study")),
        (Answer::says(&windows), Some("study")),
        (Answer::says(&corpora), Some("evaluation")),
        (Answer::says(&huge()), Some("budget")),
        (Answer::says(&stack), Some("person")),
    ]
}

#[test]
fn every_trouble_ends_at_its_gate_and_the_loop_goes_on() {
    let bench = bench();
    let troubles = troubles();
    let expected: Vec<&str> = troubles.iter().filter_map(|(_, gate)| *gate).collect();
    let mut answers: Vec<Answer> = troubles.into_iter().map(|(answer, _)| answer).collect();
    answers.push(Answer::Message(String::new(), "refusal", (500, 3)));
    answers.push(Answer::says(&worse()));
    let server = Server::start(answers, vec![finding("It is worse: {{verdict.effect}}.")]);
    let (landed, output) = fly(&bench, &server, &["--studies", "1", "--mends", "40"]);
    let (mut seen, claims): (Vec<String>, Vec<String>) = gates(&landed).into_iter().unzip();
    // Paths may be found to lead out by the form of the draft or by the study.
    for gate in &mut seen[5..7] {
        assert!(["form", "study"].contains(&gate.as_str()), "{gate}");
        *gate = "form".into();
    }
    assert_eq!(seen, expected, "{claims:?}");
    assert_eq!(fates(&landed).last(), Some(&"judged"));
    assert_eq!(studies(&bench).len(), 1, "only the good one ran");
    assert_eq!(server.left(), (0, 0));

    // The malformed body cost what its bytes are worth; every other answer says what it cost.
    let spent = landed["spent"]["spent"].as_f64().unwrap();
    let reckoned = 4e-6 * (server.heard()[3].1.len().div_ceil(4) as f64) + 20e-6 * 4.0;
    assert!(
        (spent - server.dollars() - reckoned).abs() < 1e-9,
        "{spent}"
    );
    let jobs = bench.json(&["jobs"]);
    let text = jobs.to_string();
    assert!(
        text.contains("\"waiting\""),
        "the stack waits for a person: {text}"
    );

    no_key_anywhere(&bench, &server, &output);
}

/// The key is in one header of each request, and nowhere else.
fn no_key_anywhere(bench: &super::Bench, server: &Server, output: &std::process::Output) {
    for path in files(bench.folder.path()) {
        let bytes = fs::read(&path).unwrap();
        let found = bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes());
        assert!(!found, "{}", path.display());
    }
    for text in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(text).contains(KEY));
    }
    for (head, body) in server.heard() {
        assert_eq!(head.matches(KEY).count(), 1, "{head}");
        assert!(!body.contains(KEY));
    }
}

#[test]
fn a_server_that_repeats_the_key_and_a_question_that_holds_it_put_it_nowhere() {
    let bench = bench();
    let error =
        json!({ "type": "error", "error": { "type": "odd", "message": format!("your {KEY}") } });
    let claim = format!("The key is {KEY}.");
    let echo = draft("echo", &claim, "optimizer.lr", json!(1e-5));
    let answers = vec![
        Answer::Raw(529, "", error.to_string()),
        Answer::says(&echo),
        Answer::Raw(400, "", error.to_string()),
    ];
    let server = Server::start(answers, vec![finding(&format!("It is worse ({KEY})."))]);
    let question = format!("What of {KEY}?");
    let args = [
        "autopilot",
        "--hours",
        "1",
        "--dollars",
        "1",
        "--mends",
        "0",
        "--about",
        &question,
    ];
    let output = super::asking(&bench, &server, &args).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(studies(&bench).len(), 1);
    no_key_anywhere(&bench, &server, &output);
}

/// Twenty texts that were written for a reader who follows instructions: one a line, escaped.
fn injections() -> Vec<String> {
    let list = include_str!("../injections.txt").lines();
    let texts = list.filter(|line| !line.starts_with('#'));
    texts.map(unescaped).collect()
}

fn unescaped(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once('\\') {
        text += before;
        let (c, end) = match &after[..1] {
            "n" => ('\n', 1),
            "r" => ('\r', 1),
            "t" => ('\t', 1),
            "\\" => ('\\', 1),
            "u" => {
                let end = after.find('}').unwrap();
                let code = u32::from_str_radix(&after[2..end], 16).unwrap();
                (char::from_u32(code).unwrap(), end + 1)
            }
            other => panic!("\\{other} in {line}"),
        };
        text.push(c);
        rest = &after[end..];
    }
    text + rest
}

#[test]
fn an_injection_in_a_claim_changes_no_gates_decision() {
    let evils = injections();
    assert_eq!(evils.len(), 20);
    let bench = bench();
    let bad = |claim: &String| Answer::says(&with(two_factors(), json!({ "claim": claim })));
    let mut answers: Vec<Answer> = evils.iter().map(bad).collect();
    answers.push(Answer::says(&worse()));
    let server = Server::start(answers, vec![finding("It is worse: {{verdict.effect}}.")]);
    let (landed, _) = fly(&bench, &server, &["--studies", "1", "--mends", "40"]);
    let gates = gates(&landed);
    assert_eq!(gates.len(), evils.len());
    for ((gate, claim), evil) in gates.iter().zip(&evils) {
        assert_eq!((gate.as_str(), claim), ("study", evil));
    }
    assert_eq!(studies(&bench).len(), 1);
    // What a gate said of it went back marked as data, and the next brief has it so, too.
    let last = &server.heard()[evils.len()].1;
    let body: serde_json::Value = serde_json::from_str(last).unwrap();
    for message in body["messages"].as_array().unwrap() {
        if message["role"] == "user" {
            let text = message["content"].as_str().map(String::from);
            let text =
                text.unwrap_or_else(|| message["content"][0]["text"].as_str().unwrap().into());
            assert!(
                !text.contains('\u{202e}') && !text.contains('\u{1b}'),
                "{text:?}"
            );
        }
    }
}
