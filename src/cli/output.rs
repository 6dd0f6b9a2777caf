//! Where words go: results to stdout, everything else to stderr.

use crate::error::{Error, Kind};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// How this invocation prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// A command's result: an object with a `schema` field for programs, or text for people.
    pub fn result(self, schema: &str, value: &impl Serialize, text: &str) {
        if self.json {
            let mut object = serde_json::to_value(value).expect("a result is plain data");
            if let Some(map) = object.as_object_mut() {
                map.shift_insert(0, "schema".into(), schema.into());
            }
            line(&object.to_string());
        } else {
            line(text.trim_end_matches('\n'));
        }
    }

    pub fn is_json(self) -> bool {
        self.json
    }

    /// A remark on the way.
    pub fn note(self, text: &str) {
        eprintln!("{text}");
    }

    pub fn error(self, error: &Error) {
        let word = match error.kind {
            Kind::Interrupted => "interrupted",
            Kind::Refused => "refused",
            _ => "error",
        };
        eprintln!("{word}: {error}");
        if self.json {
            let object = serde_json::json!({
                "schema": "windtunnel.error.v1",
                "kind": word,
                "status": error.exit_code(),
                "place": error.place,
                "problem": error.problem,
                "remedy": error.remedy,
            });
            line(&object.to_string());
        }
    }

    /// Whether progress is a bar that redraws itself or lines that stay.
    pub fn bars(self) -> bool {
        std::io::stderr().is_terminal()
    }
}

/// Prints to stdout. A reader that has gone away (`| head`) is no failure of ours.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
