//! A corpus: text turned into tokens once, kept in a memory-mapped file with a manifest.
//!
//! The parts are train, then the locked test part, then validation; each is whole documents. A
//! folder `<home>/corpora/<name>-<8 hex>` is made for each (text, tokenizer, split), beside its
//! place and renamed, so a kill leaves nothing half-made. Opening a corpus makes nothing: one that
//! is new stays in memory until [`Corpus::keep`], so that bad input found later touches no disk.

use super::{
    answers,
    source::{Source, SplitRule},
    split::{Document, Part, split},
    tokenizer::Tokenizer,
};
use crate::{
    digest::{sha256, sha256_json},
    error::{Error, Result},
    files,
};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What `manifest.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: String,
    pub name: String,
    /// SHA-256 of the text.
    pub source: String,
    /// Digest of the tokenizer.
    pub tokenizer: String,
    pub split: SplitRule,
    pub train: PartCounts,
    pub test: PartCounts,
    pub validation: PartCounts,
    /// SHA-256 of `tokens.bin`, two bytes a token, little-endian.
    pub tokens_digest: String,
    /// SHA-256 of `documents.bin`: for each document its first token, eight bytes, little-endian.
    pub documents_digest: String,
    /// Of a corpus that has answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswersKept>,
    pub bytes_per_token: f64,
    /// SHA-256 of all of the above but the name, as canonical JSON.
    pub digest: String,
}

impl Manifest {
    /// What `digest` has to be.
    fn own_digest(&self) -> String {
        sha256_json(&Self {
            name: String::new(),
            digest: String::new(),
            ..self.clone()
        })
    }

    /// Whether this is what `source` and `tokenizer` give, and as it was written.
    fn fits(&self, source: &Source, tokenizer: &Tokenizer) -> bool {
        self.schema == SCHEMA
            && self.name == source.name
            && self.source == source.digest
            && self.tokenizer == tokenizer.digest()
            && self.split == source.split
            && self.answers.as_ref().map(|kept| &kept.prefix) == source.answers.as_ref()
            && self.digest == self.own_digest()
    }
}

/// What a manifest says of a corpus's answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswersKept {
    /// What an answer follows: see [`answers`].
    pub prefix: String,
    /// SHA-256 of `answers.bin`: for each answer its first token and the one after its last, eight
    /// bytes each, little-endian.
    pub digest: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartCounts {
    pub documents: u64,
    pub tokens: u64,
    pub bytes: u64,
}

/// An opened corpus.
#[derive(Debug)]
pub struct Corpus {
    manifest: Manifest,
    folder: PathBuf,
    tokens: Tokens,
    documents: Vec<u64>,
    /// Tokens of each answer, counted from the file's first.
    answers: Vec<[u64; 2]>,
}

#[derive(Debug)]
enum Tokens {
    /// Of a file that is kept.
    Kept(Mmap),
    /// Of a corpus that is not on the disk yet.
    New(Vec<u16>),
}

const SCHEMA: &str = "windtunnel.corpus.v2";
/// Larger files are checked by length alone when opened.
const CHECKED_BYTES: u64 = 256 << 20;

impl Corpus {
    /// Opens the corpus, or makes it in memory if this text was never tokenised so. Errors when the
    /// text does not fit the tokenizer, or what is kept of it is damaged.
    pub fn open(home: &Path, source: &Source, tokenizer: &Tokenizer) -> Result<Arc<Self>> {
        let made_of = (SCHEMA, &source.digest, tokenizer.digest(), &source.split);
        let address = match &source.answers {
            None => sha256_json(&made_of),
            Some(prefix) => sha256_json(&(made_of, prefix)),
        };
        let folder = home
            .join("corpora")
            .join(format!("{}-{}", source.name, &address[..8]));
        match folder.join("manifest.json").exists() {
            true => Self::read(&folder, source, tokenizer).map(Arc::new),
            false => Self::make(folder, source, tokenizer).map(Arc::new),
        }
    }

    /// Writes a corpus that is new, whole or not at all; one that is kept stays as it is.
    pub fn keep(&self) -> Result<()> {
        match &self.tokens {
            Tokens::Kept(_) => Ok(()),
            Tokens::New(_) if self.folder.join("manifest.json").exists() => Ok(()),
            Tokens::New(tokens) => self.write(&bytes_of(tokens, u16::to_le_bytes)),
        }
    }

    /// Tokenises `source`.
    fn make(folder: PathBuf, source: &Source, tokenizer: &Tokenizer) -> Result<Self> {
        let parts = split(&source.text, &source.split)?;
        let (mut tokens, mut documents) = (Vec::<u16>::new(), Vec::<u64>::new());
        let (mut answers, sizes) = (Vec::new(), tokenizer.bytes_per_id());
        let mut counts = [PartCounts::default(); 3];
        for part in [Part::Train, Part::Test, Part::Validation] {
            let count = &mut counts[part as usize];
            for Document(text) in &parts[part as usize] {
                documents.push(tokens.len() as u64);
                let ids = tokenizer.encode(text).map_err(|e| {
                    // The place within the whole text: one within a document can't be looked up.
                    let e = tokenizer.encode(&source.text).err().unwrap_or(e);
                    let place = format!("corpus \"{}\", {}", source.name, e.place);
                    Error { place, ..e }
                })?;
                if let Some(prefix) = &source.answers {
                    let found = answers::spans(text, prefix);
                    let found = answers::token_ranges(&found, &ids, &sizes).into_iter();
                    let placed = found.map(|r| [r.start, r.end].map(|t| (tokens.len() + t) as u64));
                    answers.extend(placed);
                }
                tokens.extend(&ids);
                count.documents += 1;
                count.tokens += ids.len() as u64;
                count.bytes += text.len() as u64;
            }
        }
        let mut manifest = Manifest {
            schema: SCHEMA.into(),
            name: source.name.clone(),
            source: source.digest.clone(),
            tokenizer: tokenizer.digest(),
            split: source.split.clone(),
            train: counts[0],
            test: counts[1],
            validation: counts[2],
            tokens_digest: sha256(&bytes_of(&tokens, u16::to_le_bytes)),
            documents_digest: sha256(&bytes_of(&documents, u64::to_le_bytes)),
            answers: source.answers.as_ref().map(|prefix| AnswersKept {
                prefix: prefix.clone(),
                digest: sha256(&bytes_of(answers.as_flattened(), u64::to_le_bytes)),
            }),
            bytes_per_token: source.text.len() as f64 / tokens.len().max(1) as f64,
            digest: String::new(),
        };
        manifest.digest = manifest.own_digest();
        Ok(Self {
            folder,
            manifest,
            tokens: Tokens::New(tokens),
            documents,
            answers,
        })
    }

    fn write(&self, tokens: &[u8]) -> Result<()> {
        let (folder, temporary) = (&self.folder, temporary(&self.folder));
        let documents = bytes_of(&self.documents, u64::to_le_bytes);
        let write = || -> Result<()> {
            fs::create_dir_all(&temporary)
                .map_err(|e| Error::io(&temporary, "create the folder", &e))?;
            files::replace(&temporary.join("tokens.bin"), tokens)?;
            files::replace(&temporary.join("documents.bin"), &documents)?;
            if self.manifest.answers.is_some() {
                let answers = bytes_of(self.answers.as_flattened(), u64::to_le_bytes);
                files::replace(&temporary.join("answers.bin"), &answers)?;
            }
            files::write_json(&temporary.join("manifest.json"), &self.manifest)
        };
        let result = write();
        if result.is_ok() {
            // Another process may have made the same corpus meanwhile: then its folder is as good.
            let _ = fs::rename(&temporary, folder);
        }
        let _ = fs::remove_dir_all(&temporary);
        result?;
        match folder.join("manifest.json").exists() {
            true => Ok(()),
            false => Err(Error::input(
                folder.display().to_string(),
                "can't be put in its place: a folder without a manifest is there",
                "delete this folder and run the same command again",
            )),
        }
    }

    fn read(folder: &Path, source: &Source, tokenizer: &Tokenizer) -> Result<Self> {
        let remedy = format!("delete the folder {}; it is made again", folder.display());
        let damaged = |path: &Path, problem: String| {
            Error::input(path.display().to_string(), problem, &remedy)
        };
        let path = folder.join("manifest.json");
        let manifest: Manifest = files::read_json(&path, &remedy)?;
        if !manifest.fits(source, tokenizer) {
            let problem = "it is not what was written for this text and tokenizer";
            return Err(damaged(&path, problem.into()));
        }
        let changed = || "its digest is not the one in the manifest: the file was changed".into();
        let numbers = |name: &str, digest: &str| {
            let path = folder.join(name);
            let bytes = fs::read(&path).map_err(|e| damaged(&path, format!("cannot read: {e}")))?;
            match sha256(&bytes) == digest {
                true => Ok(numbers_of(&bytes)),
                false => Err(damaged(&path, changed())),
            }
        };
        let documents = numbers("documents.bin", &manifest.documents_digest)?;
        let answers = match &manifest.answers {
            None => Vec::new(),
            Some(kept) => numbers("answers.bin", &kept.digest)?,
        };
        let path = folder.join("tokens.bin");
        let file = File::open(&path).map_err(|e| damaged(&path, format!("cannot open: {e}")))?;
        // SAFETY: the file is ours, written once and renamed into place; nobody writes it again.
        let tokens = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(&path, "map", &e))?;
        let parts = [manifest.train, manifest.test, manifest.validation];
        let expected: u64 = 2 * parts.iter().map(|part| part.tokens).sum::<u64>();
        if tokens.len() as u64 != expected {
            let problem = format!("has {} bytes where {expected} were written", tokens.len());
            return Err(damaged(&path, problem));
        }
        if expected <= CHECKED_BYTES && sha256(&tokens) != manifest.tokens_digest {
            return Err(damaged(&path, changed()));
        }
        Ok(Self {
            folder: folder.into(),
            manifest,
            tokens: Tokens::Kept(tokens),
            documents,
            answers: answers.as_chunks().0.to_vec(),
        })
    }

    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Changes with the text, the tokenizer or the split, and with nothing else.
    pub fn digest(&self) -> &str {
        &self.manifest.digest
    }

    pub fn train(&self) -> &[u16] {
        self.part(Part::Train)
    }

    pub fn validation(&self) -> &[u16] {
        self.part(Part::Validation)
    }

    /// The locked test part: a campaign reads it once, for its last claim, and nothing else does.
    pub fn locked_test(&self) -> &[u16] {
        self.part(Part::Test)
    }

    /// Where each document of a part begins, counted from the part's first token.
    pub fn documents(&self, part: Part) -> impl Iterator<Item = usize> + '_ {
        let m = &self.manifest;
        let counts = [m.train.documents, m.test.documents, m.validation.documents];
        let first: u64 = counts[..part as usize].iter().sum();
        let range = first as usize..(first + counts[part as usize]) as usize;
        let start = self.range(part).start;
        self.documents[range]
            .iter()
            .map(move |at| *at as usize - start)
    }

    /// Whether the corpus declares answers; a part of it may have none all the same.
    pub fn has_answers(&self) -> bool {
        self.manifest.answers.is_some()
    }

    /// The tokens of each answer of a part, in order, counted from the part's first token.
    pub fn answers(&self, part: Part) -> Vec<Range<usize>> {
        let Range { start, end } = self.range(part);
        let first = self.answers.partition_point(|a| (a[0] as usize) < start);
        let after = self.answers.partition_point(|a| (a[0] as usize) < end);
        let within = |a: &[u64; 2]| a[0] as usize - start..a[1] as usize - start;
        self.answers[first..after].iter().map(within).collect()
    }

    fn part(&self, part: Part) -> &[u16] {
        let Range { start, end } = self.range(part);
        let all = match &self.tokens {
            Tokens::New(tokens) => tokens,
            // SAFETY: a map starts on a page, and any two bytes are a u16; little-endian, as the
            // processors that this crate compiles for are.
            Tokens::Kept(map) => unsafe {
                std::slice::from_raw_parts(map.as_ptr().cast::<u16>(), map.len() / 2)
            },
        };
        &all[start..end]
    }

    /// Tokens of a part within the file.
    fn range(&self, part: Part) -> Range<usize> {
        let m = &self.manifest;
        let counts = [m.train.tokens, m.test.tokens, m.validation.tokens];
        let start: u64 = counts[..part as usize].iter().sum();
        start as usize..(start + counts[part as usize]) as usize
    }
}

fn bytes_of<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| bytes(*value)).collect()
}

fn numbers_of(bytes: &[u8]) -> Vec<u64> {
    let numbers = bytes.as_chunks().0.iter();
    numbers.map(|b| u64::from_le_bytes(*b)).collect()
}

/// A place beside `folder` that no other process or thread uses.
fn temporary(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(format!(
        ".{}.{:?}.tmp",
        std::process::id(),
        std::thread::current().id()
    ));
    folder.with_file_name(name)
}
