//! A stand-in for the Messages API: answers in the order of a script, and keeps what it was sent.

use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What one request is answered with.
#[derive(Clone)]
pub enum Answer {
    /// A status, headers, a body.
    Raw(u16, &'static str, String),
    /// A whole answer: text, why it ends, tokens of (input, output).
    Message(String, &'static str, (u64, u64)),
    /// One that breaks off after its first words; the tokens of its input are known.
    Cut(String, u64),
    /// The connection is closed.
    Nothing,
    /// None, for as long as anybody waits.
    Silence,
}

impl Answer {
    pub fn says(value: &Value) -> Self {
        Self::Message(value.to_string(), "end_turn", (1000, 200))
    }

    pub fn busy(status: u16) -> Self {
        let error =
            json!({ "type": "error", "error": { "type": "overloaded_error", "message": "busy" } });
        Self::Raw(status, "", error.to_string())
    }

    /// Dollars that it costs at claude-opus-5-5's prices, 4 and 20 per million; of one that breaks off,
    /// with a token for every four bytes that came.
    pub fn dollars(&self) -> f64 {
        let (input, output) = match self {
            Self::Message(_, _, tokens) => *tokens,
            Self::Cut(text, input) => (*input, text.len().div_ceil(4) as u64),
            Self::Raw(..) | Self::Nothing | Self::Silence => (0, 0),
        };
        (4.0 * input as f64 + 20.0 * output as f64) / 1e6
    }
}

#[derive(Default)]
struct Script {
    proposals: VecDeque<Answer>,
    findings: VecDeque<Answer>,
    /// Heads and bodies of all requests.
    heard: Vec<(String, String)>,
    dollars: f64,
}

/// The server; it ends with the test's process.
pub struct Server {
    pub address: String,
    script: Arc<Mutex<Script>>,
}

impl Server {
    /// Requests for findings are answered from their own list, all others from `proposals`; when a list
    /// is at its end, with a refusal.
    pub fn start(proposals: Vec<Answer>, findings: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script {
            proposals: proposals.into(),
            findings: findings.into(),
            ..Script::default()
        }));
        let shared = script.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Self { address, script }
    }

    /// Heads and bodies of all requests so far.
    pub fn heard(&self) -> Vec<(String, String)> {
        self.script.lock().unwrap().heard.clone()
    }

    /// What all answers so far cost.
    pub fn dollars(&self) -> f64 {
        self.script.lock().unwrap().dollars
    }

    /// Answers that were not asked for.
    pub fn left(&self) -> (usize, usize) {
        let script = self.script.lock().unwrap();
        (script.proposals.len(), script.findings.len())
    }
}

fn serve(mut stream: TcpStream, script: &Mutex<Script>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let answer = {
        let mut script = script.lock().unwrap();
        let finding = body.contains("You write findings");
        let queue = match finding {
            true => &mut script.findings,
            false => &mut script.proposals,
        };
        let none = Answer::Message(String::new(), "refusal", (10, 1));
        let answer = queue.pop_front().unwrap_or(none);
        script.heard.push((head, body));
        script.dollars += answer.dollars();
        answer
    };
    if matches!(answer, Answer::Silence) {
        // Until the client hangs up.
        let _ = reader.read_to_end(&mut Vec::new());
        return;
    }
    // A client that has heard enough may hang up.
    let _ = stream.write_all(&response(&answer));
}

fn response(answer: &Answer) -> Vec<u8> {
    let text = match answer {
        Answer::Nothing | Answer::Silence => return Vec::new(),
        Answer::Raw(status, headers, body) => return whole(*status, headers, body).into_bytes(),
        Answer::Cut(text, input) => {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nConnection: close\r\n\r\n";
            head.to_string() + &start(*input) + &delta(text)
        }
        Answer::Message(text, stop, (input, output)) => {
            let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
            let end = event(&json!({
                "type": "message_delta",
                "delta": { "stop_reason": stop },
                "usage": { "output_tokens": output },
            }));
            let stop = event(&json!({ "type": "message_stop" }));
            let body = start(*input) + &delta(first) + &delta(second) + &end + &stop;
            whole(200, "content-type: text/event-stream\r\n", &body)
        }
    };
    text.into_bytes()
}

fn whole(status: u16, headers: &str, body: &str) -> String {
    let n = body.len();
    format!(
        "HTTP/1.1 {status} Some\r\n{headers}Content-Length: {n}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn event(value: &Value) -> String {
    format!(
        "event: {}\ndata: {value}\n\n",
        value["type"].as_str().unwrap()
    )
}

fn start(input: u64) -> String {
    let usage = json!({ "input_tokens": input, "output_tokens": 1 });
    let block = json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } });
    event(&json!({ "type": "message_start", "message": { "usage": usage } })) + &event(&block)
}

fn delta(text: &str) -> String {
    event(&json!({
        "type": "content_block_delta",
        "index": 0,
        "delta": { "type": "text_delta", "text": text },
    }))
}
