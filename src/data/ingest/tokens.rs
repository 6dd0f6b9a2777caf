//! Files of tokens that another program made.
//!
//! - Plain: 16-bit ids, little-endian, and nothing else, as nanoGPT's `train.bin` and `val.bin`.
//! - With llm.c's header (also modded-nanogpt's): 256 numbers of 32 bits, of which the first is
//!   20240520, the second the version 1 and the third the number of ids; then 16-bit ids. With
//!   20240801 and version 7 (llm.c's for Llama 3) the ids have 32 bits; they are taken if they fit.
//!
//! Documents are found by the tokenizer's end-of-text token: it is before each of them in files with
//! a header (llm.c's scripts put it there) and where it is the first token of all, after each
//! otherwise (nanoGPT's scripts). It counts as the bytes that it is
//! spelt with, in the tokens and in the bytes, as if it stood in the text.

use super::{
    Position, Progress, SourceFile, Stream, Watch,
    scan::{Scan, Subject},
};
use crate::{
    data::{
        source::SplitRule,
        split::{self, FEWEST, Part},
        tokenised::Tokenised,
        tokenizer::Tokenizer,
    },
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

/// How the training files of tokens are cut, where no names share them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuts {
    /// The first token of the test part, and of validation, in the training files one after the other.
    pub at: [u64; 2],
    pub ends: Ends,
}

/// Where the end-of-text tokens are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// Nowhere: each part is one document.
    Nowhere,
    Before(u16),
    After(u16),
}

/// What tokenizers call the token between documents.
const END_NAMES: [&str; 4] = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"];

const HEADER_BYTES: u64 = 4 * 256;
/// Tokens that are read at a time.
const PIECE: usize = 1 << 16;

/// What a file's header says, or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    start: u64,
    bytes_per_token: u64,
    pub tokens: u64,
}

/// Reads a file's header. Errors when it is not one that is known, or the file is not as long as it
/// says.
pub fn shard(path: &Path) -> Result<Shard> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", &e))?;
    let reading = |e| Error::io(path, "read", &e);
    let bytes = file.metadata().map_err(reading)?.len();
    let mut head = [0; 12];
    if bytes >= HEADER_BYTES {
        file.read_exact(&mut head).map_err(reading)?;
    }
    let [magic, version, count] = [0, 4, 8]
        .map(|at| i32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    let (problem, remedy) = match (magic, version) {
        (20_240_520, 1) => return with_header(path, bytes, (2, count)),
        (20_240_801, 7) => return with_header(path, bytes, (4, count)),
        (20_240_520 | 20_240_801, version) => (
            format!("has llm.c's header of version {version}, which is unknown here"),
            "known are version 1 of 16-bit ids and version 7 of 32-bit ones",
        ),
        (20_240_522, _) => (
            "holds llm.c's questions with answers to choose from, not a text".into(),
            "leave it out, for example with a quoted pattern such as \"*_train_*.bin\"",
        ),
        _ if bytes % 2 == 1 => (
            format!("has {bytes} bytes: 16-bit ids without a header have an even number"),
            "get or make this file again",
        ),
        _ => {
            return Ok(Shard {
                start: 0,
                bytes_per_token: 2,
                tokens: bytes / 2,
            });
        }
    };
    Err(Error::input(path.display().to_string(), problem, remedy))
}

/// What a known header says: bytes of an id, and how many there are.
fn with_header(path: &Path, bytes: u64, (bytes_per_token, count): (u64, i32)) -> Result<Shard> {
    let room = bytes - HEADER_BYTES;
    match u64::try_from(count) {
        Ok(tokens) if tokens * bytes_per_token == room => Ok(Shard {
            start: HEADER_BYTES,
            bytes_per_token,
            tokens,
        }),
        _ => Err(Error::input(
            path.display().to_string(),
            format!(
                "its header says {count} ids, and {room} bytes follow it, room for {}",
                room / bytes_per_token
            ),
            "the file is cut off or was changed; get or make it again",
        )),
    }
}

/// The ids of one file, checked one by one.
struct Ids<'a> {
    file: &'a SourceFile,
    shard: Shard,
    reader: BufReader<File>,
    next: u64,
    /// Bytes that each id stands for, 0 where it stands for nothing.
    sizes: &'a [u32],
}

impl<'a> Ids<'a> {
    fn open(file: &'a SourceFile, from: u64, sizes: &'a [u32]) -> Result<Self> {
        let shard = shard(&file.path)?;
        let reading = |e| Error::io(&file.path, "read", &e);
        let mut reader =
            BufReader::with_capacity(1 << 18, File::open(&file.path).map_err(reading)?);
        let start = shard.start + from * shard.bytes_per_token;
        reader.seek(SeekFrom::Start(start)).map_err(reading)?;
        Ok(Self {
            file,
            shard,
            reader,
            next: from,
            sizes,
        })
    }

    /// At most `most` ids; none at the end.
    fn read(&mut self, most: usize) -> Result<Vec<u16>> {
        let n = (self.shard.tokens - self.next).min(most as u64);
        let width = self.shard.bytes_per_token as usize;
        let mut bytes = vec![0; n as usize * width];
        let reading = |e| Error::io(&self.file.path, "read", &e);
        self.reader.read_exact(&mut bytes).map_err(reading)?;
        let mut ids = Vec::with_capacity(n as usize);
        for bytes in bytes.chunks_exact(width) {
            let id = match bytes {
                [a, b] => u32::from(u16::from_le_bytes([*a, *b])),
                [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]),
                _ => 0,
            };
            match u16::try_from(id) {
                Ok(id16) if self.sizes.get(id as usize).is_some_and(|size| *size > 0) => {
                    ids.push(id16);
                }
                _ => return Err(self.foreign(id, ids.len() as u64)),
            }
        }
        self.next += n;
        Ok(ids)
    }

    fn foreign(&self, id: u32, after: u64) -> Error {
        let token = self.next + after;
        let byte = self.shard.start + token * self.shard.bytes_per_token;
        Error::input(
            format!("{}: byte {byte}", self.file.path.display()),
            format!(
                "token {token} is {id}, which the tokenizer, with {} ids, does not have",
                self.sizes.len()
            ),
            "give the tokenizer that made the file with --tokenizer; ids here have 16 bits",
        )
    }
}

/// The tokenizer's end-of-text token.
fn end_of_text(tokenizer: &Tokenizer, sizes: &[u32]) -> Option<u16> {
    END_NAMES.iter().find_map(|name| {
        let spelt = |id: &u16| {
            sizes[usize::from(*id)] as usize == name.len() && tokenizer.decode(&[*id]) == *name
        };
        (0..sizes.len()).map(|id| id as u16).find(spelt)
    })
}

/// Reads token files through. Errors at the first id that the tokenizer does not have, and at a file
/// that is not what its header says.
pub fn scan(subject: &Subject, scan: &mut Scan, watch: &mut Watch) -> Result<()> {
    let stream = subject.stream;
    let Some(tokenizer) = subject.tokenizer else {
        return Err(Error::input(
            "--tokenizer",
            "token files mean nothing without their tokenizer",
            "name the one that made them: --tokenizer with a name or the path of a tokenizer.json",
        ));
    };
    let lengths = stream.files.iter();
    let lengths = lengths.map(|file| shard(&file.path).map(|shard| shard.tokens));
    scan.lengths = lengths.collect::<Result<Vec<_>>>()?;
    let layout = Layout::new(stream, subject.rule);
    let all: u64 = layout.in_train(&scan.lengths);
    let borders = split::borders(all, layout.validation, layout.test).map(|at| at.ceil() as u64);
    let starts = starts(subject, (&layout, borders), tokenizer, watch)?;
    let at = layout.cuts(&starts, all);
    scan.cuts = Some(Cuts {
        at,
        ends: starts.ends,
    });
    layout.count(scan, at, all);
    Ok(())
}

/// Reads every id, and finds where documents begin in the training files.
fn starts(
    subject: &Subject,
    (layout, borders): (&Layout, [u64; 2]),
    tokenizer: &Tokenizer,
    watch: &mut Watch,
) -> Result<Starts> {
    let sizes = tokenizer.bytes_per_id();
    let end = end_of_text(tokenizer, &sizes);
    let mut starts = Starts {
        ends: Ends::Nowhere,
        borders,
        found: [None; 2],
        documents: 0,
    };
    let mut progress = Progress {
        doing: "read",
        name: subject.name.into(),
        done: 0,
        all: subject.stream.bytes(),
    };
    let mut position = Position::START;
    for (index, file) in subject.stream.files.iter().enumerate() {
        let mut ids = Ids::open(file, 0, &sizes)?;
        loop {
            let piece = ids.read(PIECE)?;
            let Some(first) = piece.first() else {
                break;
            };
            if layout.is_train(index) {
                if position.at == 0 {
                    starts.ends = match end {
                        None => Ends::Nowhere,
                        // Shards after the first begin anywhere in a document.
                        Some(end) if *first == end || ids.shard.start > 0 => Ends::Before(end),
                        Some(end) => Ends::After(end),
                    };
                }
                starts.look_at(&piece, &mut position);
            }
            progress.done += piece.len() as u64 * ids.shard.bytes_per_token;
            watch(&progress)?;
        }
    }
    Ok(starts)
}

/// Looks for where documents begin, in the training files.
struct Starts {
    ends: Ends,
    borders: [u64; 2],
    /// The first document at each border or after it.
    found: [Option<u64>; 2],
    documents: u64,
}

impl Starts {
    fn look_at(&mut self, ids: &[u16], position: &mut Position) {
        for id in ids {
            if self.ends.begins(position.previous, *id) {
                self.documents += 1;
                for (found, border) in self.found.iter_mut().zip(self.borders) {
                    if position.at >= border {
                        found.get_or_insert(position.at);
                    }
                }
            }
            position.previous = Some(*id);
            position.at += 1;
        }
    }
}

impl Ends {
    /// Whether a document begins with the token `id` after `previous`.
    fn begins(self, previous: Option<u16>, id: u16) -> bool {
        match (previous, self) {
            (None, _) => true,
            (_, Self::Nowhere) => false,
            (_, Self::Before(end)) => id == end,
            (Some(previous), Self::After(end)) => previous == end,
        }
    }
}

/// Which files are for which part.
struct Layout {
    parts: Vec<Option<Part>>,
    validation: f64,
    test: f64,
}

impl Layout {
    fn new(stream: &Stream, rule: &SplitRule) -> Self {
        let named: Vec<Option<Part>> = stream.files.iter().map(SourceFile::part).collect();
        let has_test = named.contains(&Some(Part::Test));
        let (parts, validation, test) = match rule {
            SplitRule::Tail { validation, test } | SplitRule::Hash { validation, test } => {
                (vec![None; named.len()], *validation, *test)
            }
            SplitRule::Named { .. } if has_test => (named, 0.0, 0.0),
            SplitRule::Named { test } => (named, 0.0, *test),
        };
        Self {
            parts,
            validation,
            test,
        }
    }

    fn is_train(&self, file: usize) -> bool {
        !matches!(self.parts[file], Some(Part::Test | Part::Validation))
    }

    fn in_train(&self, lengths: &[u64]) -> u64 {
        let files = lengths.iter().enumerate();
        files
            .filter(|(file, _)| self.is_train(*file))
            .map(|(_, n)| n)
            .sum()
    }

    /// Where the test part and validation begin in the training files: with a document where there are
    /// enough of them, else exactly.
    fn cuts(&self, starts: &Starts, all: u64) -> [u64; 2] {
        let many = starts.documents >= FEWEST as u64;
        let [test, validation] = starts.found;
        match (test.filter(|_| many), validation.filter(|_| many)) {
            // Files of their own, or a part of them, are for these.
            _ if self.validation == 0.0 && self.test == 0.0 => [all, all],
            (Some(test), _) if self.validation == 0.0 => [test, all],
            (Some(test), Some(validation)) if test < validation => [test, validation],
            _ => starts.borders,
        }
    }

    /// Tokens of each part; a part with tokens has a document at least.
    fn count(&self, scan: &mut Scan, at: [u64; 2], all: u64) {
        scan.sizes = [at[0], at[1] - at[0], all - at[1]];
        for (file, n) in scan.lengths.iter().enumerate() {
            if let (false, Some(part)) = (self.is_train(file), self.parts[file]) {
                scan.sizes[part as usize] += n;
            }
        }
        scan.documents = scan.sizes.map(|n| n.min(1));
    }
}

/// Token files as parts, read from a position on.
pub struct Tokens<'a> {
    stream: &'a Stream,
    layout: Layout,
    cuts: Cuts,
    sizes: &'a [u32],
    open: Option<Ids<'a>>,
    position: Position,
}

impl<'a> Tokens<'a> {
    /// From `position` on; `sizes` are the bytes that each id stands for.
    pub fn open(
        stream: &'a Stream,
        rule: &SplitRule,
        cuts: Cuts,
        position: Position,
        sizes: &'a [u32],
    ) -> Self {
        Self {
            layout: Layout::new(stream, rule),
            stream,
            cuts,
            sizes,
            open: None,
            position,
        }
    }

    pub fn position(&self) -> Position {
        self.position
    }

    /// Bytes of all files that were read.
    pub fn read(&self) -> u64 {
        let before = self.stream.files.iter().take(self.position.file);
        let before: u64 = before.map(|file| file.bytes).sum();
        let here = self.open.as_ref();
        before + here.map_or(0, |ids| ids.next * ids.shard.bytes_per_token)
    }

    /// About `bytes` bytes of tokens more, by part; nothing at the end.
    pub fn read_next(&mut self, bytes: usize) -> Result<Option<[Tokenised; 3]>> {
        while let Some(file) = self.stream.files.get(self.position.file) {
            let ids = match &mut self.open {
                Some(ids) => ids,
                none => none.insert(Ids::open(file, self.position.offset, self.sizes)?),
            };
            let piece = ids.read((bytes / 2).max(1))?;
            if piece.is_empty() {
                self.turn();
                continue;
            }
            self.position.offset += piece.len() as u64;
            return Ok(Some(self.shared_out(&piece)));
        }
        Ok(None)
    }

    fn turn(&mut self) {
        let file = self.position.file;
        let parts = &self.layout.parts;
        let goes_on = parts.get(file + 1).is_none_or(|next| *next == parts[file]);
        self.open = None;
        self.position = Position {
            file: file + 1,
            offset: 0,
            previous: self.position.previous.filter(|_| goes_on),
            ..self.position
        };
    }

    fn shared_out(&mut self, ids: &[u16]) -> [Tokenised; 3] {
        let mut parts: [Tokenised; 3] = Default::default();
        let file = self.position.file;
        for id in ids {
            let at = self.position.at;
            let part = match self.layout.parts[file] {
                Some(part @ (Part::Test | Part::Validation)) => part,
                _ if at < self.cuts.at[0] => Part::Train,
                _ if at < self.cuts.at[1] => Part::Test,
                _ => Part::Validation,
            };
            let train = self.layout.is_train(file);
            let cut = train && self.cuts.at.contains(&at);
            let into = &mut parts[part as usize];
            if cut || self.cuts.ends.begins(self.position.previous, *id) {
                into.documents.push(into.tokens.len() as u64);
                into.counts.documents += 1;
            }
            into.tokens.push(*id);
            into.counts.tokens += 1;
            into.counts.bytes += u64::from(self.sizes[usize::from(*id)]);
            self.position.previous = Some(*id);
            self.position.at += u64::from(train);
        }
        parts
    }
}
