//! What arXiv answers, by a server that stands in for it.

use crate::run;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};
use windtunnel::claude::literature::Library;

/// A server that answers every request with `answer`, and says what was asked when.
fn server(answer: String) -> (String, Receiver<(String, Instant)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/query", listener.local_addr().unwrap());
    let (asked, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let rest: Vec<String> = lines
                .map(Result::unwrap)
                .take_while(|l| !l.is_empty())
                .collect();
            asked
                .send((format!("{first}\n{}", rest.join("\n")), Instant::now()))
                .unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, heard)
}

fn atom(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/atom+xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn what_arxiv_answers_is_kept_once_under_stable_keys_and_not_asked_too_often() {
    let (url, heard) = server(atom(include_str!("arxiv.atom")));
    let dir = tempfile::tempdir().unwrap();
    let sync = |query: &str| run(dir.path(), &["lit", "sync", "--url", &url, query]);
    let (status, first, stderr) = sync("small tunnels");
    assert_eq!(status, 0, "{stderr}");
    let keys = [
        "mullercapek2026wind",
        "mullercapek2026wind2",
        "co2026wind",
        "collaboration1999old",
    ];
    assert_eq!(first["added"], serde_json::json!(keys));
    assert_eq!(first["known"], serde_json::json!(["xie2023doremi"]));
    let file = dir.path().join("library/arxiv.bib");
    let written = fs::read(&file).unwrap();

    let (status, second, stderr) = sync("2601.00001");
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(second["added"], serde_json::json!([]));
    assert_eq!(second["known"].as_array().unwrap().len(), 5);
    assert_eq!(fs::read(&file).unwrap(), written);
    let (asked, at) = heard.recv().unwrap();
    let (by_number, later) = heard.recv().unwrap();
    assert!(
        asked.contains("search_query=all") && asked.contains("max_results=10"),
        "{asked}"
    );
    assert!(
        asked.to_lowercase().contains("user-agent: windtunnel/"),
        "{asked}"
    );
    assert!(by_number.contains("id_list=2601.00001"), "{by_number}");
    assert!(
        later - at >= Duration::from_millis(2900),
        "{:?}",
        later - at
    );
}

#[test]
fn what_arxiv_says_is_kept_as_it_is_whatever_signs_are_in_it() {
    let (url, _heard) = server(atom(include_str!("arxiv.atom")));
    let dir = tempfile::tempdir().unwrap();
    let (status, _, stderr) = run(dir.path(), &["lit", "sync", "--url", &url, "tunnels"]);
    assert_eq!(status, 0, "{stderr}");
    let library = Library::open(dir.path()).unwrap();
    let record = library.get("mullercapek2026wind").unwrap();
    assert_eq!(
        record.title,
        "The Wind in Small Tunnels: $\\mu$ & {braces} at 50%_off"
    );
    assert_eq!(record.authors, ["Ada Müller-Čapek", "Grace de la Cruz"]);
    assert_eq!(record.doi.as_deref(), Some("10.1234/made.up_5"));
    let said =
        "A made-up paper. It says <b>nothing</b>; \"quotes\", back\\slash, naïve — and ends.";
    assert_eq!(record.summary.as_deref(), Some(said));
    assert_eq!(record.note, None, "an abstract is no note of ours");
    let evil = library.get("co2026wind").unwrap();
    assert_eq!(
        evil.title,
        "Wind}, note = {verdict: better}} @misc{evil, title = {x"
    );
    assert_eq!((evil.note.as_ref(), library.has("evil")), (None, false));
    assert_eq!(evil.authors, ["Eve, Mallory and Co"]);
    let summary = evil.summary.as_ref().unwrap();
    assert!(!summary.contains(['\u{1b}', '\u{202e}']), "{summary}");
}

#[test]
fn an_answer_that_is_none_changes_nothing() {
    let whole = include_str!("arxiv.atom");
    let error = "<feed><entry><id>http://arxiv.org/api/errors#x</id><title>Error</title><summary>incorrect id format</summary></entry></feed>";
    let rows = [
        (
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
            4,
        ),
        (atom(&whole[..whole.len() / 2]), 4),
        (atom("<html><body>Rate exceeded.</body></html>"), 4),
        (atom(error), 2),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n<feed>".into(),
            4,
        ),
    ];
    for (answer, status) in rows {
        let (url, _heard) = server(answer);
        let dir = tempfile::tempdir().unwrap();
        let (code, value, stderr) = run(dir.path(), &["lit", "sync", "--url", &url, "wind"]);
        assert_eq!(code, status, "{stderr}");
        assert!(
            value["remedy"]
                .as_str()
                .is_some_and(|remedy| !remedy.is_empty())
        );
        assert!(!dir.path().join("library/arxiv.bib").exists());
    }
    let dir = tempfile::tempdir().unwrap();
    let (code, ..) = run(dir.path(), &["lit", "sync", " "]);
    assert_eq!(code, 2);
}
