//! The client against a server of a few answers, with a clock that does not wait.

use super::*;
use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
};

const KEY: &str = "a-key-of-this-test";

/// Answers each request with the next text, whole as written, and keeps what it was sent.
fn serve(answers: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let keep = heard.clone();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            keep.lock()
                .unwrap()
                .push(head + std::str::from_utf8(&body).unwrap());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, heard)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let n = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {n}\r\nConnection: close\r\n\r\n{body}")
}

fn message(text: &str, stop: &str) -> String {
    let body = serde_json::json!({
        "type": "message",
        "content": [{ "type": "thinking", "thinking": "hm" }, { "type": "text", "text": text }],
        "stop_reason": stop,
        "usage": { "input_tokens": 100, "output_tokens": 10 },
    });
    answer("200 OK", "", &body.to_string())
}

#[derive(Default)]
struct Noted {
    bodies: Vec<Value>,
    attempts: Vec<Attempt>,
    limit: Option<u64>,
}

impl Witness for Noted {
    fn allowed(&self, _: usize, wanted: u64) -> Result<u64> {
        Ok(self.limit.unwrap_or(wanted).min(wanted))
    }

    fn before(&mut self, body: &Value) -> Result<()> {
        self.bodies.push(body.clone());
        Ok(())
    }

    fn after(&mut self, attempt: &Attempt) -> Result<()> {
        self.attempts.push(attempt.clone());
        Ok(())
    }
}

fn request() -> Request {
    Request {
        system: "Be brief.".into(),
        brief: vec![
            "What stays.".into(),
            format!("The key is {KEY}, and sk-ant-another is one."),
        ],
        turns: vec![Turn {
            answer: "no".into(),
            reply: "yes".into(),
        }],
        schema: serde_json::json!({ "type": "object" }),
    }
}

/// What came of it, what the witness saw, the waits, and what the server heard.
type Seen = (Result<Answer>, Noted, Vec<Duration>, Vec<String>);

fn send(answers: Vec<String>) -> Seen {
    let (address, heard) = serve(answers);
    let secret = Secret::new(KEY).unwrap();
    let client = Client::new(&address, secret, ClaudeSettings::default());
    let waits = RefCell::new(Vec::new());
    let mut noted = Noted::default();
    let wait = |pause| {
        waits.borrow_mut().push(pause);
        Ok(())
    };
    let answer = client.send(&request(), &mut noted, &wait);
    let heard = heard.lock().unwrap().clone();
    (answer, noted, waits.into_inner(), heard)
}

#[test]
fn a_request_is_sent_until_it_is_answered_and_every_token_is_told() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#;
    let start = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":50,\"output_tokens\":1}}}\n\n\
        data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"twelve bytes\"}}\n\n";
    let (answer, noted, waits, heard) = send(vec![
        answer("529 Overloaded", "", error),
        answer("429 Too Many", "retry-after: 7\r\n", error),
        answer("200 OK", "content-type: text/event-stream\r\n", start),
        answer("200 OK", "", "{\"type\": \"mess"),
        String::new(),
        message("{}", "end_turn"),
    ]);
    let answer = answer.unwrap();
    assert_eq!((answer.text.as_str(), answer.stop), ("{}", Stop::EndTurn));
    assert_eq!(waits.len(), 5);
    assert_eq!(waits[1], Duration::from_secs(7), "the server's word");
    let usages: Vec<Option<Usage>> = noted.attempts.iter().map(|a| a.usage).collect();
    assert_eq!((usages[0], usages[1], usages[4]), (None, None, None));
    let cut = usages[2].unwrap();
    assert_eq!((cut.input, cut.output), (50, 3), "what came is charged");
    assert!(noted.attempts[2].estimated && noted.attempts[3].estimated);
    assert_eq!(usages[5].unwrap().input, 100);
    assert_eq!(heard.len(), 6);
    assert_eq!(noted.bodies.len(), 6, "each sending is told before");
}

#[test]
fn the_key_is_in_one_header_and_nowhere_else() {
    let echo = format!(r#"{{"type":"error","error":{{"type":"x","message":"your key {KEY}"}}}}"#);
    let headers = format!("request-id: r-{KEY}\r\n");
    let (refused, noted, _, heard) = send(vec![answer("400 Bad", &headers, &echo)]);
    let error = refused.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert_eq!(heard[0].matches(KEY).count(), 1, "{}", heard[0]);
    assert!(
        heard[0].contains(&format!("x-api-key: {KEY}\r\n")),
        "{}",
        heard[0]
    );
    assert!(!heard[0].contains("sk-ant-another"));
    let (answered, also, ..) = send(vec![message(KEY, "end_turn")]);
    let shown = format!(
        "{error}{:?}{:?}{:?}{answered:?}{:?}",
        noted.attempts, noted.bodies, error, also.attempts
    );
    assert!(!shown.contains(KEY), "{shown}");
    assert!(shown.contains(HIDDEN));
}

#[test]
fn what_waiting_does_not_mend_is_not_sent_again() {
    for (status, word) in [
        ("401 No", VARIABLE),
        ("404 No", "claude.toml"),
        ("302 Go", "claude.toml"),
    ] {
        let (answer, _, waits, _) = send(vec![answer(
            status,
            "location: http://127.0.0.1:9/\r\n",
            "no",
        )]);
        let error = answer.unwrap_err();
        assert!(error.remedy.contains(word), "{status}: {error}");
        assert!(waits.is_empty(), "{status}");
    }
    let (answer, _, waits, _) = send(vec![answer("429 Wait", "retry-after: 3600\r\n", "")]);
    let error = answer.unwrap_err();
    assert!(
        error.remedy.contains("3600 s") && waits.is_empty(),
        "{error}"
    );
    assert_eq!(error.exit_code(), 4, "it is no fault of the input");
}

#[test]
fn tries_are_limited() {
    let busy = answer("529 Overloaded", "", "");
    let (answer, noted, waits, _) = send(vec![busy; 8]);
    assert!(answer.unwrap_err().problem.contains("after 8 tries"));
    assert_eq!((noted.attempts.len(), waits.len()), (8, 7));
}

#[test]
fn refusals_and_cut_answers_are_answers() {
    for (reason, stop) in [("refusal", Stop::Refusal), ("max_tokens", Stop::MaxTokens)] {
        let (answer, noted, ..) = send(vec![message("", reason)]);
        assert_eq!(answer.unwrap().stop, stop);
        assert_eq!(
            noted.attempts[0].usage.unwrap().total(),
            110,
            "and are charged"
        );
    }
}

#[test]
fn the_body_has_the_form_that_the_api_asks_for() {
    let (_, noted, ..) = send(vec![message("{}", "end_turn")]);
    let body = &noted.bodies[0];
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "model",
            "max_tokens",
            "stream",
            "system",
            "messages",
            "output_config"
        ]
    );
    assert_eq!(body["output_config"]["format"]["type"], "json_schema");
    assert_eq!(body["system"][0]["cache_control"]["type"], "ephemeral");
    let roles: Vec<&str> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    let marks = body.to_string().matches("cache_control").count();
    assert_eq!(marks, 4, "as many as there may be");
    assert!(body.get("temperature").is_none());
}
