//! A stream made into the files of a corpus: in memory, or on the disk where it is large.
//!
//! On the disk each part has a file of tokens and one of documents' starts, in a folder
//! `….building` beside the corpus's place. Now and then they are synced and `state.json` says how far
//! they count and where the reader was; whoever comes next cuts them there and goes on, so that a
//! kill at any moment costs a little work and changes no bit. At the end the parts are put together
//! and the folder is renamed. Text is read while the chunk before it is tokenised by all threads.

use super::{
    Format, Position, Progress, Settings, Stream, Watch,
    documents::{self, Document, Documents},
    scan::Scan,
    tokens::Tokens,
};
use crate::{
    data::{
        answers::Marker,
        corpus::{Manifest, PartCounts},
        source::{Source, SplitRule},
        tokenised::Tokenised,
        tokenizer::Tokenizer,
    },
    digest::{sha256_file, sha256_watched},
    error::{Error, Result},
    files,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

/// What is made, of what.
pub struct Plan<'a> {
    pub source: &'a Source,
    pub stream: &'a Stream,
    pub scan: &'a Scan,
    pub tokenizer: &'a Tokenizer,
    /// Of a corpus that declares answers.
    pub marker: Option<Marker>,
    pub settings: &'a Settings,
}

/// Work that was read and not tokenised yet.
enum Chunk {
    Text(Vec<Document>),
    Tokens(Box<[Tokenised; 3]>),
}

/// What chunks are read from.
enum Feed<'a> {
    Text(Documents<'a>),
    Tokens(Tokens<'a>),
}

impl Feed<'_> {
    /// About so many bytes more; nothing at the end.
    fn read_next(&mut self, bytes: usize) -> Result<Option<Chunk>> {
        let documents = match self {
            Self::Tokens(tokens) => {
                return Ok(tokens
                    .read_next(bytes)?
                    .map(|parts| Chunk::Tokens(Box::new(parts))));
            }
            Self::Text(documents) => documents,
        };
        let (mut chunk, mut size) = (Vec::new(), 0);
        while size < bytes {
            let Some(document) = documents.read_next()? else {
                break;
            };
            size += document.text.len();
            chunk.push(document);
        }
        Ok((!chunk.is_empty()).then_some(Chunk::Text(chunk)))
    }

    fn position(&self) -> Position {
        match self {
            Self::Text(documents) => documents.position(),
            Self::Tokens(tokens) => tokens.position(),
        }
    }

    fn read(&self) -> u64 {
        match self {
            Self::Text(documents) => documents.read(),
            Self::Tokens(tokens) => tokens.read(),
        }
    }
}

impl Plan<'_> {
    fn feed<'a>(&'a self, from: Position, sizes: &'a [u32]) -> Result<Feed<'a>> {
        let (rule, scan) = (&self.source.split, self.scan);
        Ok(match (self.stream.format, scan.cuts) {
            (Format::Tokens, Some(cuts)) => {
                Feed::Tokens(Tokens::open(self.stream, rule, cuts, from, sizes))
            }
            _ => Feed::Text(Documents::open(
                self.stream,
                rule,
                scan,
                from,
                self.settings,
            )?),
        })
    }

    /// Every chunk from a position on as tokens, in order; `take` has what a chunk gave and where the
    /// reader was after it.
    fn run(
        &self,
        from: Position,
        watch: &mut Watch,
        mut take: impl FnMut(&[Tokenised; 3], Position) -> Result<()>,
    ) -> Result<()> {
        let sizes = self.tokenizer.bytes_per_id();
        let mut feed = self.feed(from, &sizes)?;
        let bytes = self.settings.chunk_bytes;
        let mut next = feed.read_next(bytes)?;
        let mut progress = Progress {
            doing: "tokenise",
            name: self.source.name.clone(),
            done: 0,
            all: self.stream.bytes(),
        };
        while let Some(chunk) = next {
            let (position, read) = (feed.position(), feed.read());
            let (made, after) = std::thread::scope(|scope| {
                let work = scope.spawn(|| self.tokenise(chunk));
                let after = feed.read_next(bytes);
                (work.join(), after)
            });
            let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            take(&made, position)?;
            progress.done = read;
            watch(&progress)?;
            next = after?;
        }
        Ok(())
    }

    /// A chunk's tokens, by part.
    fn tokenise(&self, chunk: Chunk) -> Result<[Tokenised; 3]> {
        let documents = match chunk {
            Chunk::Tokens(parts) => return Ok(*parts),
            Chunk::Text(documents) => documents,
        };
        let bytes: usize = documents.iter().map(|document| document.text.len()).sum();
        let share = bytes.div_ceil(self.settings.threads.max(1)).max(1);
        let mut size = 0;
        let shares = documents.chunk_by(|document, _| {
            let before = size / share;
            size += document.text.len();
            size / share == before
        });
        let results: Vec<Result<[Tokenised; 3]>> = std::thread::scope(|scope| {
            let workers: Vec<_> = shares
                .map(|share| scope.spawn(|| self.tokenise_share(share)))
                .collect();
            let join = |worker: std::thread::ScopedJoinHandle<_>| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().map(join).collect()
        });
        let mut all: [Tokenised; 3] = Default::default();
        for result in results {
            for (all, part) in all.iter_mut().zip(&result?) {
                all.extend(part);
            }
        }
        Ok(all)
    }

    fn tokenise_share(&self, documents: &[Document]) -> Result<[Tokenised; 3]> {
        let mut parts: [Tokenised; 3] = Default::default();
        for document in documents {
            let into = &mut parts[document.part as usize];
            let appended = into.append(&document.text, self.tokenizer, self.marker.as_ref());
            appended.map_err(|e| {
                let place = documents::place(self.stream, document.file, document.line);
                let within = e.place.replace("of the text", "of the document there");
                Error {
                    place: format!("corpus \"{}\", {place}, {within}", self.source.name),
                    ..e
                }
            })?;
        }
        Ok(parts)
    }
}

/// The parts of a stream that fits in memory.
pub fn in_memory(plan: &Plan, watch: &mut Watch) -> Result<[Tokenised; 3]> {
    let mut all: [Tokenised; 3] = Default::default();
    plan.run(Position::START, watch, |made, _| {
        for (all, part) in all.iter_mut().zip(made) {
            all.extend(part);
        }
        Ok(())
    })?;
    Ok(all)
}

/// How far the files of an unfinished corpus count.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct State {
    schema: String,
    source: String,
    tokenizer: String,
    split: SplitRule,
    position: Position,
    counts: [PartCounts; 3],
    /// Of each part.
    n_answers: [u64; 3],
}

const SCHEMA: &str = "windtunnel.building.v2";
const TOKENS: [&str; 3] = ["tokens.bin", "test.tokens", "validation.tokens"];
const DOCUMENTS: [&str; 3] = ["documents.bin", "test.documents", "validation.documents"];
/// Of a corpus that declares answers.
const ANSWERS: [&str; 3] = ["answers.bin", "test.answers", "validation.answers"];

/// Makes `folder`, or goes on where an earlier process stopped; `manifest` completes what the files
/// say. Errors when another process is at it; what is done stays for the next try.
pub fn on_disk(
    plan: &Plan,
    folder: &Path,
    manifest: impl FnOnce([PartCounts; 3]) -> Manifest,
    watch: &mut Watch,
) -> Result<()> {
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(".building");
    let building = folder.with_file_name(name);
    fs::create_dir_all(&building).map_err(|e| Error::io(&building, "create the folder", &e))?;
    let lock = lock(&building)?;
    if folder.join("manifest.json").exists() {
        // Another process was quicker.
        let _ = fs::remove_dir_all(&building);
        return Ok(());
    }
    let state = building.join("state.json");
    if !building.join("manifest.json").exists() {
        let mut parts = Parts::open(plan, &building)?;
        let from = parts.state.position;
        let done = plan.run(from, watch, |made, position| parts.append(made, position));
        // What was done counts even where the rest can't be.
        parts.save()?;
        done?;
        finish(&building, manifest(parts.state.counts), watch)?;
    }
    let parts = [TOKENS, DOCUMENTS, ANSWERS];
    for name in parts.iter().flat_map(|names| &names[1..]) {
        let _ = fs::remove_file(building.join(name));
    }
    let _ = fs::remove_file(&state);
    let _ = fs::remove_file(building.join("lock"));
    drop(lock);
    fs::rename(&building, folder).map_err(|e| Error::io(folder, "put in place", &e))
}

fn lock(building: &Path) -> Result<File> {
    let path = building.join("lock");
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| Error::io(&path, "open", &e))?;
    let mut tries = 20;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(e)) => return Err(Error::io(&path, "lock", &e)),
            // A program that this process is starting has its files for a moment.
            Err(TryLockError::WouldBlock) if tries > 0 => {
                tries -= 1;
                sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::input(
                    building.display().to_string(),
                    "another process is making this corpus",
                    "wait until it is done, then run the same command again",
                ));
            }
        }
    }
}

/// The files of a corpus that is being made.
struct Parts<'a> {
    plan: &'a Plan<'a>,
    building: PathBuf,
    tokens: Vec<BufWriter<File>>,
    documents: Vec<BufWriter<File>>,
    /// None where the corpus declares no answers.
    answers: Vec<BufWriter<File>>,
    state: State,
    /// Bytes of text since the last save.
    unsaved: u64,
}

impl<'a> Parts<'a> {
    /// Cuts the files to what was saved.
    fn open(plan: &'a Plan, building: &Path) -> Result<Self> {
        let new = State {
            schema: SCHEMA.into(),
            source: plan.source.digest.clone(),
            tokenizer: plan.tokenizer.digest(),
            split: plan.source.split.clone(),
            position: Position::START,
            counts: Default::default(),
            n_answers: Default::default(),
        };
        let path = building.join("state.json");
        let kept: Option<State> = match path.exists() {
            false => None,
            true => files::read_json(&path, "delete this file; the corpus is made anew").ok(),
        };
        let same = |kept: &State| {
            let key = |s: &State| (s.schema.clone(), s.source.clone(), s.tokenizer.clone());
            key(kept) == key(&new) && kept.split == new.split
        };
        let state = kept.filter(same).unwrap_or(new);
        let open = |name: &str, bytes: u64| {
            let path = building.join(name);
            let file = open_at(&path, bytes);
            file.map(BufWriter::new)
                .map_err(|e| Error::io(&path, "write", &e))
        };
        let tokens = TOKENS.iter().zip(&state.counts);
        let documents = DOCUMENTS.iter().zip(&state.counts);
        Ok(Self {
            tokens: tokens
                .map(|(name, n)| open(name, 2 * n.tokens))
                .collect::<Result<_>>()?,
            documents: documents
                .map(|(name, n)| open(name, 8 * n.documents))
                .collect::<Result<_>>()?,
            answers: match plan.marker {
                None => Vec::new(),
                Some(_) => ANSWERS
                    .iter()
                    .zip(state.n_answers)
                    .map(|(name, n)| open(name, 16 * n))
                    .collect::<Result<_>>()?,
            },
            plan,
            building: building.into(),
            state,
            unsaved: 0,
        })
    }

    fn append(&mut self, made: &[Tokenised; 3], position: Position) -> Result<()> {
        for (i, part) in made.iter().enumerate() {
            let counts = &mut self.state.counts[i];
            let tokens = part.tokens.iter().flat_map(|id| id.to_le_bytes());
            let first = counts.tokens;
            let placed = |numbers: &[u64]| -> Vec<u8> {
                let placed = numbers.iter().map(|at| first + at);
                placed.flat_map(u64::to_le_bytes).collect()
            };
            let writing = |e| Error::io(&self.building, "write", &e);
            let tokens: Vec<u8> = tokens.collect();
            self.tokens[i].write_all(&tokens).map_err(writing)?;
            let starts = placed(&part.documents);
            self.documents[i].write_all(&starts).map_err(writing)?;
            if let Some(file) = self.answers.get_mut(i) {
                file.write_all(&placed(&part.answers)).map_err(writing)?;
                self.state.n_answers[i] += part.answers.len() as u64 / 2;
            }
            counts.add(part.counts);
            self.unsaved += part.counts.bytes;
        }
        self.state.position = position;
        match self.unsaved >= self.plan.settings.save_bytes {
            true => self.save(),
            false => Ok(()),
        }
    }

    /// From now on a killed process's work up to here counts.
    fn save(&mut self) -> Result<()> {
        let files = self.tokens.iter_mut().chain(&mut self.documents);
        for file in files.chain(&mut self.answers) {
            let sync = |file: &mut BufWriter<File>| {
                file.flush()?;
                file.get_ref().sync_data()
            };
            sync(file).map_err(|e| Error::io(&self.building, "write", &e))?;
        }
        self.unsaved = 0;
        files::write_json(&self.building.join("state.json"), &self.state)
    }
}

/// A file to append to, cut after so many bytes.
fn open_at(path: &Path, bytes: u64) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.set_len(bytes)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// Puts the parts together, and writes the manifest.
fn finish(building: &Path, mut manifest: Manifest, watch: &mut Watch) -> Result<()> {
    let counts = [manifest.train, manifest.test, manifest.validation];
    let writing = |e| Error::io(building, "write", &e);
    append_files(building, &TOKENS, |_, bytes| bytes.to_vec()).map_err(writing)?;
    let placed = |part: usize, bytes: &[u8]| {
        let before: u64 = counts[..part].iter().map(|part| part.tokens).sum();
        let numbers = bytes.as_chunks().0.iter();
        let numbers = numbers.map(|at| before + u64::from_le_bytes(*at));
        numbers.flat_map(u64::to_le_bytes).collect()
    };
    append_files(building, &DOCUMENTS, placed).map_err(writing)?;
    if let Some(kept) = &mut manifest.answers {
        append_files(building, &ANSWERS, placed).map_err(writing)?;
        let path = building.join(ANSWERS[0]);
        kept.n = fs::metadata(&path).map_err(writing)?.len() / 16;
        kept.digest = sha256_file(&path)?;
    }
    let mut progress = Progress {
        doing: "check",
        name: manifest.name.clone(),
        done: 0,
        all: 2 * counts.iter().map(|part| part.tokens).sum::<u64>(),
    };
    manifest.tokens_digest = sha256_watched(&building.join(TOKENS[0]), &mut |n| {
        progress.done += n;
        watch(&progress)
    })?;
    manifest.documents_digest = sha256_file(&building.join(DOCUMENTS[0]))?;
    files::write_json(&building.join("manifest.json"), &manifest.sealed())
}

/// Appends the second and third file to the first, changed by `change`.
fn append_files(
    building: &Path,
    names: &[&str; 3],
    change: impl Fn(usize, &[u8]) -> Vec<u8>,
) -> std::io::Result<()> {
    let into = OpenOptions::new()
        .append(true)
        .open(building.join(names[0]))?;
    let mut into = BufWriter::with_capacity(1 << 20, into);
    for (part, name) in names.iter().enumerate().skip(1) {
        let mut from = BufReader::new(File::open(building.join(name))?);
        // A multiple of every number's bytes.
        let mut piece = Vec::with_capacity(1 << 16);
        while from.by_ref().take(1 << 16).read_to_end(&mut piece)? > 0 {
            into.write_all(&change(part, &piece))?;
            piece.clear();
        }
    }
    into.flush()?;
    into.get_ref().sync_data()
}
