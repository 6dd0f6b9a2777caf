//! A web server of a few answers, on a port of this machine.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// How the server answers one request.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    body: Vec<u8>,
    /// Whether a `Range` is heeded.
    ranges: bool,
    /// What `Content-Length` says; `None` leaves it out.
    promised: Option<usize>,
    /// The connection is cut after so many bytes of the body.
    cut: Option<usize>,
}

impl Answer {
    /// The whole file, or the range of it that is asked for.
    pub fn file(body: &[u8]) -> Self {
        Self {
            status: 200,
            body: body.into(),
            ranges: true,
            promised: Some(body.len()),
            cut: None,
        }
    }

    pub fn status(status: u16) -> Self {
        Self {
            status,
            ranges: false,
            ..Self::file(b"an error page")
        }
    }

    /// The whole file whatever range is asked for.
    pub fn without_ranges(self) -> Self {
        Self {
            ranges: false,
            ..self
        }
    }

    pub fn without_length(self) -> Self {
        Self {
            promised: None,
            ..self
        }
    }

    pub fn cut_after(self, bytes: usize) -> Self {
        Self {
            cut: Some(bytes),
            ..self
        }
    }
}

/// Answers as many connections as it was given answers, in their order.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let heard = requests.clone();
        thread::spawn(move || {
            for answer in answers {
                let Ok((stream, _)) = listener.accept() else {
                    return;
                };
                serve(stream, answer, &heard);
            }
        });
        Self { address, requests }
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The `Range` of every request so far.
    pub fn ranges(&self) -> Vec<Option<String>> {
        let requests = self.requests();
        requests.iter().map(|head| header(head, "range")).collect()
    }
}

/// The value of a header in the head of a request.
pub fn header(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(found.1.trim().to_string())
}

fn serve(mut stream: TcpStream, answer: Answer, heard: &Mutex<Vec<String>>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let asked = header(&head, "range").filter(|_| answer.ranges);
    heard.lock().unwrap().push(head);
    let from = asked.map(|range| {
        let number = range
            .strip_prefix("bytes=")
            .unwrap()
            .strip_suffix('-')
            .unwrap();
        number.parse::<usize>().unwrap()
    });
    let all = answer.body.len();
    let (status, first) = match from {
        None => (answer.status, 0),
        Some(from) if from >= all => (416, all),
        Some(from) => (206, from),
    };
    let mut text = format!("HTTP/1.1 {status} Some\r\nConnection: close\r\n");
    if status == 206 {
        text += &format!("Content-Range: bytes {first}-{}/{all}\r\n", all - 1);
    }
    if let Some(promised) = answer.promised {
        text += &format!("Content-Length: {}\r\n", promised - first);
    }
    let body = &answer.body[first..];
    let body = &body[..answer.cut.unwrap_or(body.len()).min(body.len())];
    // A client that has heard enough may hang up.
    let _ = stream
        .write_all((text + "\r\n").as_bytes())
        .and_then(|()| stream.write_all(body));
}
