//! A text cut into documents as it is read: blank lines end them, as in [`split`](super::super::split).

use super::decode::{self, Decoded};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, Read},
    path::{Path, PathBuf},
};

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pieces {
    /// At blank lines, which end a document.
    Documents,
    /// At the ends of lines.
    Lines,
    /// After so many bytes, or up to three more.
    Runs(u64),
}

/// One text file, read piece by piece.
pub struct Texts {
    path: PathBuf,
    input: Decoded,
    pieces: Pieces,
    longest: u64,
    /// Bytes of the decoded file before the next piece.
    pub offset: u64,
    /// The line that the next piece begins on, from 1.
    pub line: u64,
}

/// A piece of a text.
pub struct Piece {
    pub text: String,
    pub line: u64,
    /// Nothing of the file is left.
    pub last: bool,
}

impl Texts {
    /// The file at `path` from (byte, line) on; no piece may have more than `longest` bytes.
    pub fn open(path: &Path, pieces: Pieces, from: (u64, u64), longest: u64) -> Result<Self> {
        Ok(Self {
            path: path.into(),
            input: decode::open(path, from.0)?,
            pieces,
            longest,
            offset: from.0,
            line: from.1,
        })
    }

    /// Bytes of the file itself that were read so far.
    pub fn read(&self) -> u64 {
        self.input.read.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The next piece. Errors, with the line, when it is not UTF-8, too long, or the file is cut off.
    pub fn read_next(&mut self) -> Result<Option<Piece>> {
        let mut bytes = Vec::new();
        let lines = match self.pieces {
            Pieces::Runs(length) => self.run(&mut bytes, length)?,
            Pieces::Lines => self.lines(&mut bytes, |_, _| true)?,
            Pieces::Documents => self.lines(&mut bytes, |bytes, next| {
                bytes.ends_with(b"\n\n") && next != Some(b'\n')
            })?,
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let (line, offset) = (self.line, self.offset);
        self.line += lines;
        self.offset += bytes.len() as u64;
        let text = utf8(&self.path, bytes, (offset, line))?;
        let last = self.peek()?.is_none();
        Ok(Some(Piece { text, line, last }))
    }

    /// Appends lines until one `ends` the piece, given what there is and the next byte; says how
    /// many.
    fn lines(
        &mut self,
        bytes: &mut Vec<u8>,
        ends: impl Fn(&[u8], Option<u8>) -> bool,
    ) -> Result<u64> {
        let mut lines = 0;
        loop {
            let room = (self.longest + 1).saturating_sub(bytes.len() as u64);
            let mut reader = self.input.reader.by_ref().take(room);
            let n = reader
                .read_until(b'\n', bytes)
                .map_err(|e| decode::broken(&self.path, self.line + lines, &e))?;
            if bytes.len() as u64 > self.longest {
                return Err(too_long(&self.path, self.line, self.longest));
            }
            if n == 0 {
                return Ok(lines);
            }
            lines += u64::from(bytes.ends_with(b"\n"));
            let next = self.peek()?;
            if ends(bytes, next) {
                return Ok(lines);
            }
        }
    }

    fn run(&mut self, bytes: &mut Vec<u8>, length: u64) -> Result<u64> {
        let line = self.line;
        let broken = |path: &Path, e| decode::broken(path, line, &e);
        let mut reader = self.input.reader.by_ref().take(length);
        reader
            .read_to_end(bytes)
            .map_err(|e| broken(&self.path, e))?;
        // Up to the end of the character; no character has more than three bytes after its first.
        for _ in 0..3 {
            match self.peek()? {
                Some(next) if next & 0xC0 == 0x80 => {
                    bytes.push(next);
                    self.input.reader.consume(1);
                }
                _ => break,
            }
        }
        Ok(bytes.iter().filter(|byte| **byte == b'\n').count() as u64)
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        let buffer = self.input.reader.fill_buf();
        let buffer = buffer.map_err(|e| decode::broken(&self.path, self.line, &e))?;
        Ok(buffer.first().copied())
    }
}

/// That a document is longer than one may be.
pub fn too_long(path: &Path, line: u64, longest: u64) -> Error {
    Error::input(
        format!("{}:{line}", path.display()),
        format!("a document of more than {longest} bytes begins here"),
        "cut it into documents, with blank lines in a text or several rows",
    )
}

/// Whether an error says that a document is too long.
pub fn is_too_long(error: &Error) -> bool {
    error.problem.starts_with("a document of more than ")
}

/// Bytes that begin at (byte, line) of a file, as text. Errors with the line.
pub fn utf8(path: &Path, bytes: Vec<u8>, (offset, line): (u64, u64)) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let lines = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        Error::input(
            format!("{}:{}", path.display(), line + lines),
            format!(
                "byte {} is 0x{:02x}, which is not UTF-8",
                offset + at as u64,
                bytes[at]
            ),
            "convert the file to UTF-8, for example with iconv",
        )
    })
}
