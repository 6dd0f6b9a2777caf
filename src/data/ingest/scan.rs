//! One pass over a stream before it is used: every error of its data, its lengths, its characters.

use super::{
    Format, Position, Progress, Settings, Stream, Watch,
    decode::{self, Compression},
    documents::{Document, Documents},
    pieces::{self, Pieces},
    tokens::{self, Cuts},
};
use crate::{
    data::{source::SplitRule, split::FEWEST, tokenizer::Tokenizer},
    digest::sha256_json,
    error::{Error, Result},
    files,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// What a stream is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    pub schema: String,
    /// Of what: digest of the stream and its split.
    pub of: String,
    /// Decoded bytes of each text file; tokens of each token file.
    pub lengths: Vec<u64>,
    pub pieces: Pieces,
    /// Documents of each part.
    pub documents: [u64; 3],
    /// Bytes of text of each part; tokens of a token file.
    pub sizes: [u64; 3],
    pub empty_rows: u64,
    /// Every character of the text once, in code-point order.
    pub characters: String,
    /// Of token files.
    pub cuts: Option<Cuts>,
}

const SCHEMA: &str = "windtunnel.scan.v1";
/// Documents between two reports of progress.
const REPORT: u64 = 1024;

/// A stream and how it is split, with its name.
pub struct Subject<'a> {
    pub name: &'a str,
    pub stream: &'a Stream,
    pub rule: &'a SplitRule,
    /// Of token files, which can't be read without.
    pub tokenizer: Option<&'a Tokenizer>,
}

impl Subject<'_> {
    fn key(&self) -> String {
        sha256_json(&(SCHEMA, self.stream.digest(), self.rule))
    }

    fn place(&self, home: &Path) -> PathBuf {
        let file = format!("{}.json", &self.key()[..16]);
        home.join("corpora").join("scans").join(file)
    }
}

impl Scan {
    /// Of a stream that was not gone through.
    pub fn unread(subject: &Subject) -> Self {
        Self {
            schema: SCHEMA.into(),
            of: subject.key(),
            lengths: Vec::new(),
            pieces: Pieces::Documents,
            documents: [0; 3],
            sizes: [0; 3],
            empty_rows: 0,
            characters: String::new(),
            cuts: None,
        }
    }

    /// Bytes of text, or tokens, in all.
    pub fn size(&self) -> u64 {
        self.sizes.iter().sum()
    }

    fn has_all_parts(&self) -> bool {
        self.documents.iter().all(|n| *n > 0)
    }
}

/// The scan that was kept of a stream, or a new one, kept where it was long. Errors as [`scan`].
pub fn kept(
    home: &Path,
    subject: &Subject,
    settings: &Settings,
    watch: &mut Watch,
) -> Result<Scan> {
    let place = subject.place(home);
    let remedy = "delete this file; it is made again";
    if place.exists() {
        let scan: Scan = files::read_json(&place, remedy)?;
        if scan.schema == SCHEMA && scan.of == subject.key() {
            return Ok(scan);
        }
    }
    let scan = scan(subject, settings, watch)?;
    if scan.size() > settings.in_memory_bytes {
        keep(home, subject, &scan)?;
    }
    Ok(scan)
}

/// Writes a scan down, so that the stream is not read for it again.
pub fn keep(home: &Path, subject: &Subject, scan: &Scan) -> Result<()> {
    let place = subject.place(home);
    let folder = place.parent().unwrap_or(home);
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))?;
    files::write_json(&place, scan)
}

/// Reads a stream through. Errors at the first thing in it that can't be used, and when it is too
/// short for three parts.
pub fn scan(subject: &Subject, settings: &Settings, watch: &mut Watch) -> Result<Scan> {
    let mut scan = Scan::unread(subject);
    let stream = subject.stream;
    if stream.format == Format::Tokens {
        tokens::scan(subject, &mut scan, watch)?;
        return enough(subject, scan, "tokens");
    }
    if stream.format != Format::Text {
        pass(subject, &mut scan, settings, watch)?;
        return enough(subject, scan, "rows with text");
    }
    let lengths = stream.files.iter().map(length);
    scan.lengths = lengths.collect::<Result<Vec<_>>>()?;
    if matches!(subject.rule, SplitRule::Hash { .. }) {
        pass(subject, &mut scan, settings, watch)?;
        return enough(subject, scan, "documents");
    }
    // The coarsest pieces that leave something for every part, as for a text in memory.
    let run = (scan.lengths.iter().sum::<u64>() / 100).max(1);
    let run = run.min(settings.longest_bytes / 2);
    for pieces in [Pieces::Documents, Pieces::Lines, Pieces::Runs(run)] {
        let mut tried = Scan {
            pieces,
            ..scan.clone()
        };
        match pass(subject, &mut tried, settings, watch) {
            Err(error) if pieces::is_too_long(&error) => continue,
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        let many = tried.documents.iter().sum::<u64>() >= FEWEST as u64;
        let last = matches!(pieces, Pieces::Runs(_));
        if last || (many && tried.has_all_parts()) {
            return enough(subject, tried, "bytes");
        }
    }
    enough(subject, scan, "bytes")
}

fn enough(subject: &Subject, scan: Scan, what: &str) -> Result<Scan> {
    if scan.has_all_parts() {
        return Ok(scan);
    }
    let n: u64 = match what {
        "bytes" | "tokens" => scan.size(),
        _ => scan.documents.iter().sum(),
    };
    let files = &subject.stream.files;
    let place = match &files[..] {
        [one] => one.path.display().to_string(),
        _ => format!("the {} files of \"{}\"", files.len(), subject.name),
    };
    let many = match &scan.documents {
        [0, 0, 0] => format!("there are no {what}"),
        [train, test, validation] => format!(
            "{n} {what} are too few for a training, a test and a validation part: {train}, {test} and {validation} documents"
        ),
    };
    Err(Error::input(place, many, "use more text"))
}

/// Decoded bytes of a text file.
fn length(file: &super::SourceFile) -> Result<u64> {
    if Compression::of(&file.path) == Compression::None {
        return Ok(file.bytes);
    }
    let mut decoded = decode::open(&file.path, 0)?;
    let count = io::copy(&mut decoded.reader, &mut io::sink());
    match count {
        Ok(count) => Ok(count),
        // Once more, for the line where it breaks.
        Err(_) => {
            let mut texts = pieces::Texts::open(&file.path, Pieces::Lines, (0, 1), u64::MAX - 1)?;
            while texts.read_next()?.is_some() {}
            Ok(texts.offset)
        }
    }
}

/// Counts the documents and gathers the characters.
fn pass(subject: &Subject, scan: &mut Scan, settings: &Settings, watch: &mut Watch) -> Result<()> {
    let stream = subject.stream;
    let mut documents = Documents::open(stream, subject.rule, scan, Position::START, settings)?;
    let mut characters = Characters::default();
    let mut progress = Progress {
        doing: "read",
        name: subject.name.into(),
        done: 0,
        all: stream.bytes(),
    };
    let mut n = 0;
    while let Some(Document { text, part, .. }) = documents.read_next()? {
        scan.documents[part as usize] += 1;
        scan.sizes[part as usize] += text.len() as u64;
        characters.add(&text);
        n += 1;
        if n % REPORT == 0 {
            progress.done = documents.read();
            watch(&progress)?;
        }
    }
    scan.empty_rows = documents.empty_rows;
    scan.characters = characters.all();
    Ok(())
}

/// A set of characters that text is added to quickly.
struct Characters {
    ascii: [bool; 128],
    others: BTreeSet<char>,
    /// The last few that were seen: text repeats itself.
    recent: [char; 64],
}

impl Default for Characters {
    fn default() -> Self {
        Self {
            ascii: [false; 128],
            others: BTreeSet::new(),
            recent: ['\0'; 64],
        }
    }
}

impl Characters {
    fn add(&mut self, text: &str) {
        if text.is_ascii() {
            text.bytes()
                .for_each(|byte| self.ascii[usize::from(byte)] = true);
            return;
        }
        for c in text.chars() {
            match self.ascii.get_mut(c as usize) {
                Some(seen) => *seen = true,
                None => {
                    let slot = &mut self.recent[c as usize % 64];
                    if *slot != c {
                        *slot = c;
                        self.others.insert(c);
                    }
                }
            }
        }
    }

    fn all(&self) -> String {
        let ascii = (0..128u8).filter(|byte| self.ascii[usize::from(*byte)]);
        ascii
            .map(char::from)
            .chain(self.others.iter().copied())
            .collect()
    }
}
