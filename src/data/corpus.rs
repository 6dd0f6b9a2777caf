//! A corpus: text turned into tokens once, kept in a memory-mapped file with a manifest.
//!
//! The parts are train, then the locked test part, then validation; each is whole documents. A
//! folder `<home>/corpora/<name>-<8 hex>` is made for each (text, tokenizer, split), beside its
//! place and renamed, so a kill leaves nothing half-made. Opening a corpus makes nothing: one that
//! is new stays in memory until [`Corpus::keep`], so that bad input found later touches no disk. Only
//! what is too large for memory is made on the disk at once ([`build`]).

pub use super::manifest::{AnswersKept, Manifest, PartCounts};
use super::{
    answers::Marker,
    ingest::{
        Format, Settings, Stream, Watch,
        build::{self, Plan},
        scan::{self, Subject},
        silent,
    },
    manifest::SCHEMA,
    source::{Source, SplitRule, Text},
    split::{Document, Part, split},
    tokenised::Tokenised,
    tokenizer::Tokenizer,
};
use crate::{
    digest::{sha256, sha256_file, sha256_json},
    error::{Error, Result},
    files,
    rng::Rng,
};
use memmap2::Mmap;
use std::{
    fs::{self, File},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// An opened corpus.
#[derive(Debug)]
pub struct Corpus {
    manifest: Manifest,
    folder: PathBuf,
    tokens: Numbers<u16>,
    /// The first token of each document.
    documents: Numbers<u64>,
    /// Of each answer its first token and the one after its last.
    answers: Numbers<u64>,
}

#[derive(Debug)]
enum Numbers<T> {
    /// Of a file that is kept.
    Kept(Mmap),
    /// Of a corpus that is not on the disk yet.
    New(Vec<T>),
}

impl Numbers<u16> {
    fn all(&self) -> &[u16] {
        match self {
            Self::New(numbers) => numbers,
            // SAFETY: a map starts on a page, and any two bytes are a u16; little-endian, as the
            // processors that this crate compiles for are.
            Self::Kept(map) => unsafe {
                std::slice::from_raw_parts(map.as_ptr().cast::<u16>(), map.len() / 2)
            },
        }
    }
}

impl Numbers<u64> {
    fn all(&self) -> &[u64] {
        match self {
            Self::New(numbers) => numbers,
            // SAFETY: as for u16, with eight bytes.
            Self::Kept(map) => unsafe {
                std::slice::from_raw_parts(map.as_ptr().cast::<u64>(), map.len() / 8)
            },
        }
    }
}

/// Larger files are checked by length alone when opened.
const CHECKED_BYTES: u64 = 256 << 20;

impl Corpus {
    /// Opens the corpus, or makes it in memory if this text was never tokenised so. Errors when the
    /// text does not fit the tokenizer, or what is kept of it is damaged.
    pub fn open(home: &Path, source: &Source, tokenizer: &Tokenizer) -> Result<Arc<Self>> {
        Self::open_with(home, source, tokenizer, &Settings::default(), &mut silent)
    }

    /// [`Corpus::open`], where more than `settings` allow in memory is made on the disk, going on
    /// from what a killed process left; `watch` hears how far it is.
    pub fn open_with(
        home: &Path,
        source: &Source,
        tokenizer: &Tokenizer,
        settings: &Settings,
        watch: &mut Watch,
    ) -> Result<Arc<Self>> {
        let made_of = (SCHEMA, &source.digest, tokenizer.digest(), &source.split);
        let address = match &source.answers {
            None => sha256_json(&made_of),
            Some(prefix) => sha256_json(&(made_of, prefix)),
        };
        let folder = home
            .join("corpora")
            .join(format!("{}-{}", source.name, &address[..8]));
        let stream = match &source.text {
            _ if folder.join("manifest.json").exists() => {
                return Self::read(&folder, source, tokenizer).map(Arc::new);
            }
            Text::Whole(text) => {
                let parts = of_text(source, text, tokenizer)?;
                return Ok(Arc::new(Self::made(folder, source, tokenizer, parts)));
            }
            Text::Files(stream) => stream,
        };
        check_tokenizer(source, stream, tokenizer)?;
        let subject = Subject {
            name: &source.name,
            stream,
            rule: &source.split,
            tokenizer: Some(tokenizer),
        };
        let scan = scan::kept(home, &subject, settings, watch)?;
        let plan = Plan {
            source,
            stream,
            scan: &scan,
            tokenizer,
            marker: Marker::of(source, tokenizer),
            settings,
        };
        if scan.size() <= settings.in_memory_bytes {
            let parts = build::in_memory(&plan, watch)?;
            return Ok(Arc::new(Self::made(folder, source, tokenizer, parts)));
        }
        let manifest = |counts| manifest(source, tokenizer, counts);
        build::on_disk(&plan, &folder, manifest, watch)?;
        Self::read(&folder, source, tokenizer).map(Arc::new)
    }

    /// Writes a corpus that is new, whole or not at all; one that is kept stays as it is.
    pub fn keep(&self) -> Result<()> {
        match &self.tokens {
            Numbers::Kept(_) => Ok(()),
            Numbers::New(_) if self.folder.join("manifest.json").exists() => Ok(()),
            Numbers::New(tokens) => self.write(&bytes_of(tokens, u16::to_le_bytes)),
        }
    }

    /// Ids below `vocab_size` drawn at random, as many for training as asked and none for anything
    /// else: what a bench trains on. It belongs to no home.
    pub fn random(vocab_size: usize, train_tokens: usize) -> Arc<Self> {
        let mut rng = Rng::named(1, "data.random");
        let source = Source {
            name: "random".into(),
            text: String::new().into(),
            digest: sha256_json(&(vocab_size, train_tokens)),
            split: SplitRule::Named { test: 0.0 },
            origin: String::new(),
            licence: String::new(),
            answers: None,
        };
        let train = Tokenised {
            tokens: (0..train_tokens)
                .map(|_| rng.below(vocab_size as u64) as u16)
                .collect(),
            documents: vec![0],
            answers: Vec::new(),
            counts: PartCounts {
                documents: 1,
                tokens: train_tokens as u64,
                bytes: train_tokens as u64,
            },
        };
        let parts = [train, Tokenised::default(), Tokenised::default()];
        Arc::new(Self::made(PathBuf::new(), &source, &Tokenizer::Byte, parts))
    }

    /// The corpus of these parts.
    fn made(
        folder: PathBuf,
        source: &Source,
        tokenizer: &Tokenizer,
        parts: [Tokenised; 3],
    ) -> Self {
        let counts = parts.each_ref().map(|part| part.counts);
        let mut all = Tokenised::default();
        for part in parts {
            all.extend(&part);
        }
        let Tokenised {
            tokens,
            documents,
            answers,
            ..
        } = all;
        let mut manifest = manifest(source, tokenizer, counts);
        if let Some(kept) = &mut manifest.answers {
            kept.n = answers.len() as u64 / 2;
            kept.digest = sha256(&bytes_of(&answers, u64::to_le_bytes));
        }
        manifest.tokens_digest = sha256(&bytes_of(&tokens, u16::to_le_bytes));
        manifest.documents_digest = sha256(&bytes_of(&documents, u64::to_le_bytes));
        Self {
            folder,
            manifest: manifest.sealed(),
            tokens: Numbers::New(tokens),
            documents: Numbers::New(documents),
            answers: Numbers::New(answers),
        }
    }

    fn write(&self, tokens: &[u8]) -> Result<()> {
        let (folder, temporary) = (&self.folder, temporary(&self.folder));
        let documents = bytes_of(self.documents.all(), u64::to_le_bytes);
        let write = || -> Result<()> {
            fs::create_dir_all(&temporary)
                .map_err(|e| Error::io(&temporary, "create the folder", &e))?;
            files::replace(&temporary.join("tokens.bin"), tokens)?;
            files::replace(&temporary.join("documents.bin"), &documents)?;
            if self.has_answers() {
                let answers = bytes_of(self.answers.all(), u64::to_le_bytes);
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
        let parts = [manifest.train, manifest.test, manifest.validation];
        let [mut n_tokens, mut n_documents] = [0, 0];
        for part in parts {
            n_tokens += part.tokens;
            n_documents += part.documents;
        }
        let map = |name: &str, bytes: u64, digest: &str| {
            let path = folder.join(name);
            let file =
                File::open(&path).map_err(|e| damaged(&path, format!("cannot open: {e}")))?;
            // SAFETY: the file is ours, written once and renamed into place; nobody writes it again.
            let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(&path, "map", &e))?;
            if map.len() as u64 != bytes {
                let problem = format!("has {} bytes where {bytes} were written", map.len());
                return Err(damaged(&path, problem));
            }
            if bytes <= CHECKED_BYTES && sha256_file(&path)? != digest {
                let problem = "its digest is not the one in the manifest: the file was changed";
                return Err(damaged(&path, problem.into()));
            }
            Ok(map)
        };
        let documents = map("documents.bin", 8 * n_documents, &manifest.documents_digest)?;
        let tokens = map("tokens.bin", 2 * n_tokens, &manifest.tokens_digest)?;
        let answers = match &manifest.answers {
            None => Numbers::New(Vec::new()),
            // An empty file can't be mapped.
            Some(kept) if kept.n == 0 => Numbers::New(Vec::new()),
            Some(kept) => Numbers::Kept(map("answers.bin", 16 * kept.n, &kept.digest)?),
        };
        Ok(Self {
            folder: folder.into(),
            manifest,
            tokens: Numbers::Kept(tokens),
            documents: Numbers::Kept(documents),
            answers,
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
        self.documents.all()[range]
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
        let all: &[[u64; 2]] = self.answers.all().as_chunks().0;
        let first = all.partition_point(|a| (a[0] as usize) < start);
        let after = all.partition_point(|a| (a[0] as usize) < end);
        let within = |a: &[u64; 2]| a[0] as usize - start..a[1] as usize - start;
        all[first..after].iter().map(within).collect()
    }

    /// The tokens of a part; of the locked test part, see [`Corpus::locked_test`].
    pub fn part(&self, part: Part) -> &[u16] {
        let Range { start, end } = self.range(part);
        &self.tokens.all()[start..end]
    }

    /// Tokens of a part within the file.
    fn range(&self, part: Part) -> Range<usize> {
        let m = &self.manifest;
        let counts = [m.train.tokens, m.test.tokens, m.validation.tokens];
        let start: u64 = counts[..part as usize].iter().sum();
        start as usize..(start + counts[part as usize]) as usize
    }
}

/// A text in memory as parts.
fn of_text(source: &Source, text: &str, tokenizer: &Tokenizer) -> Result<[Tokenised; 3]> {
    let mut parts: [Tokenised; 3] = Default::default();
    let marker = Marker::of(source, tokenizer);
    for (part, documents) in parts.iter_mut().zip(split(text, &source.split)?) {
        for Document(document) in documents {
            let appended = part.append(document, tokenizer, marker.as_ref());
            appended.map_err(|e| {
                // The place within the whole text: one within a document can't be looked up.
                let e = tokenizer.encode(text).err().unwrap_or(e);
                let place = format!("corpus \"{}\", {}", source.name, e.place);
                Error { place, ..e }
            })?;
        }
    }
    Ok(parts)
}

/// Errors when a corpus of tokens was made with another tokenizer.
fn check_tokenizer(source: &Source, stream: &Stream, tokenizer: &Tokenizer) -> Result<()> {
    match &stream.tokenizer {
        Some(theirs) if stream.format == Format::Tokens && theirs.digest != tokenizer.digest() => {
            Err(Error::input(
                "data.tokenizer",
                format!(
                    "the corpus \"{}\" holds tokens that the tokenizer \"{}\" made, which is another one than this",
                    source.name, theirs.name
                ),
                format!(
                    "set data.tokenizer to \"{}\", or leave the corpus out",
                    theirs.name
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// A manifest without digests.
fn manifest(source: &Source, tokenizer: &Tokenizer, counts: [PartCounts; 3]) -> Manifest {
    let mut all = PartCounts::default();
    counts.into_iter().for_each(|part| all.add(part));
    Manifest {
        schema: SCHEMA.into(),
        name: source.name.clone(),
        source: source.digest.clone(),
        tokenizer: tokenizer.digest(),
        split: source.split.clone(),
        train: counts[0],
        test: counts[1],
        validation: counts[2],
        tokens_digest: String::new(),
        documents_digest: String::new(),
        answers: source.answers.as_ref().map(|prefix| AnswersKept {
            prefix: prefix.clone(),
            n: 0,
            digest: String::new(),
        }),
        bytes_per_token: all.bytes as f64 / all.tokens.max(1) as f64,
        digest: String::new(),
    }
}

fn bytes_of<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| bytes(*value)).collect()
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
