//! JSON lines: one object a row, whose text is one field of it.

use super::{
    decode::{self, Decoded},
    pieces::{self, Piece},
};
use crate::error::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::{
    io::{BufRead, Read},
    path::{Path, PathBuf},
};

/// One file of JSON lines, read row by row.
pub struct Rows {
    path: PathBuf,
    input: Decoded,
    field: String,
    longest: u64,
    line_bytes: Vec<u8>,
    /// Bytes of the decoded file before the next row.
    pub offset: u64,
    /// The next row's line, from 1.
    pub line: u64,
    /// Rows left out so far, for there is no text in them.
    pub empty: u64,
}

impl Rows {
    /// The file at `path` from (byte, line) on; no row may have more than `longest` bytes.
    pub fn open(path: &Path, field: &str, from: (u64, u64), longest: u64) -> Result<Self> {
        Ok(Self {
            path: path.into(),
            input: decode::open(path, from.0)?,
            field: field.into(),
            longest,
            line_bytes: Vec::new(),
            offset: from.0,
            line: from.1,
            empty: 0,
        })
    }

    /// Bytes of the file itself that were read so far.
    pub fn read(&self) -> u64 {
        self.input.read.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The next row that has a text. Errors, with the line, at one that is not an object with the
    /// field.
    pub fn read_next(&mut self) -> Result<Option<Piece>> {
        loop {
            self.line_bytes.clear();
            let mut reader = self.input.reader.by_ref().take(self.longest + 1);
            let n = reader
                .read_until(b'\n', &mut self.line_bytes)
                .map_err(|e| decode::broken(&self.path, self.line, &e))?;
            if n == 0 {
                return Ok(None);
            }
            if n as u64 > self.longest {
                return Err(pieces::too_long(&self.path, self.line, self.longest));
            }
            let (line, offset) = (self.line, self.offset);
            self.line += 1;
            self.offset += n as u64;
            let row = match offset {
                // What some editors put before a text.
                0 => self.line_bytes.strip_prefix(b"\xEF\xBB\xBF"),
                _ => None,
            };
            let row = row.unwrap_or(&self.line_bytes).trim_ascii();
            if row.is_empty() {
                continue;
            }
            let text = self.text(row, (offset, line))?;
            match text.trim().is_empty() {
                true => self.empty += 1,
                false => {
                    return Ok(Some(Piece {
                        text,
                        line,
                        last: false,
                    }));
                }
            }
        }
    }

    fn text(&self, row: &[u8], (offset, line): (u64, u64)) -> Result<String> {
        let refused = |problem: String, remedy: String| {
            Error::input(format!("{}:{line}", self.path.display()), problem, remedy)
        };
        if std::str::from_utf8(row).is_err() {
            return pieces::utf8(&self.path, self.line_bytes.clone(), (offset, line));
        }
        let mut parser = serde_json::Deserializer::from_slice(row);
        let found = Field(&self.field).deserialize(&mut parser);
        let found = found.and_then(|found| parser.end().map(|()| found));
        let field = &self.field;
        match found {
            Ok(Some(Value::String(text))) => Ok(text),
            Ok(Some(other)) => Err(refused(
                format!("\"{field}\" is {}, not a text", kind(&other)),
                "repair or take out this row".into(),
            )),
            Ok(None) => Err(refused(
                format!("the row has no field \"{field}\""),
                match names(row).join(", ").as_str() {
                    "" => "repair or take out this row".into(),
                    names => {
                        format!("say which field holds the text with --field; there are {names}")
                    }
                },
            )),
            Err(_) if line == 1 && row.starts_with(b"[") => Err(refused(
                "is one JSON array, not an object on every line".into(),
                "write one object a line, for example with `jq -c '.[]'`".into(),
            )),
            Err(error) => Err(refused(
                format!("not a JSON object: {error}"),
                "repair or take out this row".into(),
            )),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Takes one field out of an object.
struct Field<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        row: D,
    ) -> std::result::Result<Option<Value>, D::Error> {
        row.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Option<Value>, A::Error> {
        let mut found = None;
        while let Some(ours) = map.next_key_seed(Name(self.0))? {
            match ours {
                true => found = Some(map.next_value()?),
                false => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }
}

/// Whether a field's name is this one.
struct Name<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> std::result::Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> std::result::Result<bool, E> {
        Ok(name == self.0)
    }
}

/// The names of an object's fields, for a message.
fn names(row: &[u8]) -> Vec<String> {
    let row: serde_json::Map<String, Value> = serde_json::from_slice(row).unwrap_or_default();
    row.keys().take(12).cloned().collect()
}
