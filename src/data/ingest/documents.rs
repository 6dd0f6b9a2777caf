//! The documents of a stream, one after the other, each with its part.

use super::{
    Format, Position, Settings, Stream,
    jsonl::Rows,
    pieces::{Piece, Pieces, Texts},
    scan::Scan,
};
use crate::{
    data::{
        source::SplitRule,
        split::{self, Part},
    },
    error::{Error, Result},
};
use std::path::Path;

/// A document, with the blank line at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub text: String,
    pub part: Part,
    /// Index of its file.
    pub file: usize,
    /// The line that it begins on, or its row, from 1.
    pub line: u64,
}

/// Reads documents from a position on.
pub struct Documents<'a> {
    stream: &'a Stream,
    sharing: Sharing,
    pieces: Pieces,
    longest: u64,
    reader: Option<Reader>,
    position: Position,
    /// Bytes of the files before the current one.
    before: u64,
    /// Rows left out in the files that were read to their ends.
    pub empty_rows: u64,
}

impl<'a> Documents<'a> {
    /// From `position` on. Errors when the file there can't be read.
    pub fn open(
        stream: &'a Stream,
        rule: &SplitRule,
        scan: &Scan,
        position: Position,
        settings: &Settings,
    ) -> Result<Self> {
        let files = stream.files.iter().take(position.file);
        Ok(Self {
            sharing: Sharing::new(stream, rule, &scan.lengths),
            stream,
            pieces: scan.pieces,
            longest: settings.longest_bytes,
            reader: None,
            position,
            before: files.map(|file| file.bytes).sum(),
            empty_rows: 0,
        })
    }

    /// Where the next document is.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Bytes of all files, as they lie on the disk, that were read.
    pub fn read(&self) -> u64 {
        self.before + self.reader.as_ref().map_or(0, Reader::read)
    }

    /// The next document. Errors name the file and the line.
    pub fn read_next(&mut self) -> Result<Option<Document>> {
        while let Some(file) = self.stream.files.get(self.position.file) {
            let opened = match self.reader.take() {
                Some(reader) => reader,
                None => self.open_file()?,
            };
            let reader = self.reader.insert(opened);
            let Some(Piece {
                mut text,
                line,
                last,
            }) = reader.read_next()?
            else {
                self.empty_rows += reader.empty();
                self.position = Position {
                    file: self.position.file + 1,
                    offset: 0,
                    line: 1,
                    ..self.position
                };
                self.before += file.bytes;
                self.reader = None;
                continue;
            };
            let index = self.position.file;
            let part = self.sharing.part(index, self.position.at, &text);
            let (offset, line_after) = reader.place();
            if self.sharing.by_place(index) {
                self.position.at += text.len() as u64;
            }
            (self.position.offset, self.position.line) = (offset, line_after);
            let ends = match self.stream.format {
                Format::Text => last && index + 1 < self.stream.files.len(),
                _ => true,
            };
            if ends {
                close(&mut text);
            }
            return Ok(Some(Document {
                text,
                part,
                file: index,
                line,
            }));
        }
        Ok(None)
    }

    fn open_file(&self) -> Result<Reader> {
        let (stream, at) = (self.stream, self.position);
        let path = &stream.files[at.file].path;
        let from = (at.offset, at.line);
        Ok(match stream.format {
            Format::Text => Reader::Text(Texts::open(path, self.pieces, from, self.longest)?),
            Format::Jsonl => Reader::Rows(Rows::open(path, &stream.field, from, self.longest)?),
            Format::Parquet => column(path, &stream.field, at.offset, self.longest)?,
            Format::Tokens => return Err(no_text(path)),
        })
    }
}

/// Puts a blank line at a text's end, or what it lacks of one.
pub fn close(text: &mut String) {
    while !text.ends_with("\n\n") {
        text.push('\n');
    }
}

fn no_text(path: &Path) -> Error {
    Error::input(
        path.display().to_string(),
        "holds tokens, not text",
        "add the text that they were made of",
    )
}

/// The place of something within a stream, for a message.
pub fn place(stream: &Stream, file: usize, line: u64) -> String {
    let path = stream.files[file].path.display();
    match stream.format {
        Format::Parquet => format!("{path}: row {line}"),
        _ => format!("{path}:{line}"),
    }
}

/// The reader of one file.
enum Reader {
    Text(Texts),
    Rows(Rows),
    #[cfg(feature = "parquet")]
    Column(Box<super::columns::Column>),
}

#[cfg(feature = "parquet")]
fn column(path: &Path, field: &str, row: u64, longest: u64) -> Result<Reader> {
    let column = super::columns::Column::open(path, field, row, longest)?;
    Ok(Reader::Column(Box::new(column)))
}

#[cfg(not(feature = "parquet"))]
fn column(path: &Path, _: &str, _: u64, _: u64) -> Result<Reader> {
    Err(without_parquet(path))
}

/// That this program was built without the feature `parquet`.
#[cfg(not(feature = "parquet"))]
pub fn without_parquet(path: &Path) -> Error {
    Error::input(
        path.display().to_string(),
        "this windtunnel was built without Parquet",
        "build it with `cargo build --release --features parquet`, or write the rows as JSON lines",
    )
}

impl Reader {
    fn read_next(&mut self) -> Result<Option<Piece>> {
        match self {
            Self::Text(reader) => reader.read_next(),
            Self::Rows(reader) => reader.read_next(),
            #[cfg(feature = "parquet")]
            Self::Column(reader) => reader.read_next(),
        }
    }

    /// Where the next piece is: bytes and line, or rows.
    fn place(&self) -> (u64, u64) {
        match self {
            Self::Text(reader) => (reader.offset, reader.line),
            Self::Rows(reader) => (reader.offset, reader.line),
            #[cfg(feature = "parquet")]
            Self::Column(reader) => (reader.row, 1),
        }
    }

    fn read(&self) -> u64 {
        match self {
            Self::Text(reader) => reader.read(),
            Self::Rows(reader) => reader.read(),
            #[cfg(feature = "parquet")]
            Self::Column(reader) => reader.read(),
        }
    }

    fn empty(&self) -> u64 {
        match self {
            Self::Text(_) => 0,
            Self::Rows(reader) => reader.empty,
            #[cfg(feature = "parquet")]
            Self::Column(reader) => reader.empty,
        }
    }
}

/// Which part a document is in.
pub struct Sharing {
    rule: SplitRule,
    /// By each file's name, where the rule goes by names.
    named: Vec<Option<Part>>,
    /// Whether rows are shared out by content, and not texts by place.
    rows: bool,
    /// Bytes after which the test part begins, and the validation part, where they go by place.
    borders: [f64; 2],
}

impl Sharing {
    /// `lengths` are the files' decoded bytes; they matter where texts are split by place.
    pub fn new(stream: &Stream, rule: &SplitRule, lengths: &[u64]) -> Self {
        let named: Vec<Option<Part>> = match rule {
            SplitRule::Named { .. } => stream.files.iter().map(|file| file.part()).collect(),
            _ => vec![None; stream.files.len()],
        };
        let has_test = named.contains(&Some(Part::Test));
        let of_train = named.iter().zip(lengths);
        let of_train =
            of_train.filter(|(part, _)| !matches!(part, Some(Part::Test | Part::Validation)));
        let all: u64 = of_train.map(|(_, length)| length).sum();
        let (validation, test) = match rule {
            SplitRule::Tail { validation, test } | SplitRule::Hash { validation, test } => {
                (*validation, *test)
            }
            SplitRule::Named { .. } if has_test => (0.0, 0.0),
            SplitRule::Named { test } => (0.0, *test),
        };
        let rule = match rule {
            SplitRule::Named { .. } => SplitRule::Named { test },
            rule => rule.clone(),
        };
        Self {
            rule,
            named,
            rows: stream.format != Format::Text,
            borders: split::borders(all, validation, test),
        }
    }

    /// Whether the place within the text decides on documents of this file.
    fn by_place(&self, file: usize) -> bool {
        match self.rule {
            SplitRule::Tail { .. } => true,
            SplitRule::Hash { .. } => false,
            SplitRule::Named { .. } => !self.rows && self.is_train(file),
        }
    }

    fn is_train(&self, file: usize) -> bool {
        !matches!(self.named[file], Some(Part::Test | Part::Validation))
    }

    /// The part of a document of `file` that begins `at` bytes into what is split by place.
    fn part(&self, file: usize, at: u64, text: &str) -> Part {
        match &self.rule {
            SplitRule::Tail { .. } => split::by_borders(at, &self.borders),
            SplitRule::Hash { validation, test } => split::by_share(text, *validation, *test),
            SplitRule::Named { .. } if !self.is_train(file) => {
                self.named[file].unwrap_or(Part::Train)
            }
            SplitRule::Named { test } if self.rows => split::by_share(text, 0.0, *test),
            SplitRule::Named { .. } => split::by_borders(at, &self.borders),
        }
    }
}
