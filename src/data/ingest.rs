//! Corpora of other forms than one small text: many files, compressed ones, rows, token files; read
//! as a stream, so that a corpus may be larger than memory.
//!
//! A [`Stream`] names the files and what is in them. [`documents`] reads them from any [`Position`]
//! on, [`scan`] goes through them once (every error of the data shows there, when a corpus is
//! added), [`build`] turns what is too big for memory into tokens on the disk.
//!
//! - **Text**: documents end with a blank line, as in a single text. Of several files the texts
//!   follow each other in the order of their paths; where one does not end with a blank line, it is
//!   put there.
//! - **Rows** (JSON lines, Parquet): a row is a document, and gets a blank line at its end where it
//!   has none. That is text like any other: it counts in the tokens and in the bytes. A tokenizer's
//!   own end-of-text token is not put in, for it stands for no byte of the text. Rows without
//!   anything but white space are left out.
//! - **Tokens** ([`tokens`]): what another program's tokenizer made.

pub mod build;
#[cfg(feature = "parquet")]
mod columns;
pub mod decode;
pub mod documents;
pub mod files;
mod jsonl;
pub mod pieces;
pub mod scan;
pub mod tokens;

use super::split::Part;
use crate::{device, digest::sha256_json, error::Result};
use decode::Compression;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is in the files of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// UTF-8, with blank lines between documents.
    Text,
    /// An object on every line, with the text in one field.
    Jsonl,
    /// A column of texts.
    Parquet,
    /// 16-bit ids, with or without llm.c's header.
    Tokens,
}

impl Format {
    pub const NAMES: [&str; 4] = ["text", "jsonl", "parquet", "tokens"];

    /// The format of one of [`Format::NAMES`].
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Text, Self::Jsonl, Self::Parquet, Self::Tokens];
        let at = Self::NAMES.iter().position(|known| *known == name)?;
        Some(all[at])
    }

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// One file of a corpus, as it was when it was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    pub path: PathBuf,
    pub bytes: u64,
    pub sha256: String,
    /// When it was last written, in nanoseconds since 1970; 0 where the system does not say.
    pub modified: i64,
}

impl SourceFile {
    /// The part that a file's name says it is for: `train`, `val` (or `valid`, `validation`, `dev`)
    /// and `test`, as a word of the name.
    pub fn part(&self) -> Option<Part> {
        let name = self.path.file_name()?.to_string_lossy().to_lowercase();
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
        words.find_map(|word| match word {
            "train" | "training" => Some(Part::Train),
            "test" => Some(Part::Test),
            "val" | "valid" | "validation" | "dev" => Some(Part::Validation),
            _ => None,
        })
    }
}

/// The tokenizer that token files were made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerOf {
    /// What to write in a recipe.
    pub name: String,
    pub digest: String,
}

/// Files that hold one corpus, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    pub format: Format,
    /// The field or column with the text, where there are rows.
    pub field: String,
    /// Of token files.
    pub tokenizer: Option<TokenizerOf>,
    pub files: Vec<SourceFile>,
}

impl Stream {
    /// Bytes of all files as they lie on the disk.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Changes with what is in the files and how it is read, not with where they are. One plain text
    /// has the SHA-256 of the file.
    pub fn digest(&self) -> String {
        if let (Format::Text, [file]) = (self.format, &self.files[..])
            && Compression::of(&file.path) == Compression::None
        {
            return file.sha256.clone();
        }
        let files: Vec<_> = self
            .files
            .iter()
            .map(|file| (&file.sha256, file.part().map(|part| part as usize)))
            .collect();
        let tokenizer = self.tokenizer.as_ref().map(|tokenizer| &tokenizer.digest);
        sha256_json(&(
            "windtunnel.files.v1",
            self.format,
            &self.field,
            tokenizer,
            files,
        ))
    }

    /// Whether the files' names share them out: some are for training, others for validation.
    pub fn is_shared_out(&self) -> bool {
        let has = |part| self.files.iter().any(|file| file.part() == Some(part));
        has(Part::Train) && has(Part::Validation)
    }
}

/// Where in a stream a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Index of the file.
    pub file: usize,
    /// Bytes of the decoded file before it; rows of a Parquet file; tokens of a token file.
    pub offset: u64,
    /// The line there, from 1.
    pub line: u64,
    /// Bytes of text, or tokens, before it in the files that are split by place.
    pub at: u64,
    /// The token before it in the same part of a token file, if any.
    pub previous: Option<u16>,
}

impl Position {
    pub const START: Self = Self {
        file: 0,
        offset: 0,
        line: 1,
        at: 0,
        previous: None,
    };
}

/// How much is done at a time. Results do not depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Files of at most so many bytes are made into tokens in memory.
    pub in_memory_bytes: u64,
    /// Text that is tokenised between two writes.
    pub chunk_bytes: usize,
    /// Text between two points that a killed process goes on from.
    pub save_bytes: u64,
    /// No document may be longer.
    pub longest_bytes: u64,
    pub threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            in_memory_bytes: 64 << 20,
            chunk_bytes: 4 << 20,
            save_bytes: 64 << 20,
            longest_bytes: 64 << 20,
            threads: device::cores(),
        }
    }
}

/// How far a long pass over files is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// "check", "read", "tokenise".
    pub doing: &'static str,
    pub name: String,
    /// Bytes of the files, as they lie on the disk.
    pub done: u64,
    pub all: u64,
}

/// Hears how far a pass is; its error ends the pass, with what is done kept.
pub type Watch<'a> = dyn FnMut(&Progress) -> Result<()> + Send + 'a;

/// A watcher that does nothing.
pub fn silent(_: &Progress) -> Result<()> {
    Ok(())
}
