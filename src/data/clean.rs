//! A corpus made of another one, without what should not be trained on.
//!
//! What is done to a document, in this order; the first that applies removes it and counts it:
//!
//! 1. **empty**: no character but white space. Always.
//! 2. **[`filters`]**: rules with a number each, such as `min_words=5`.
//! 3. **[`against`]**: it has a run of 13 words of a benchmark, or of a corpus's held-out parts.
//! 4. **exact**: the same text came before, but for white space around it.
//! 5. **near**: a text came before whose [shingles](sketch) have a Jaccard index of the threshold or
//!    more. [`near`] finds those that may be so alike, and their texts decide.
//!
//! **Parts.** A document stays in the part that it was in, for the parts become files of their own:
//! nothing moves from training to validation or back, however the source was split. Validation and
//! test go first, training after them, so that of two copies that straddle the parts it is the one
//! for training that goes. With [`Cleaning::keep_held_out`] the held-out parts stay as they are, and
//! what is trained on their text before and after cleaning can be compared on the same windows.
//! Against its own held-out parts, only the training part of a corpus is cleaned.
//!
//! **Memory.** Documents are read as a stream, twice, and written as one. What grows is the index:
//! about 300 bytes for each document kept, whatever its length, and 8 to 16 for each word of what is
//! cleaned against.
//!
//! **Files.** All is written in `<home>/clean/.NAME.building`, renamed to `<home>/clean/NAME` at the
//! end, and named in `sources/` last: a kill leaves no corpus. The same source and the same settings
//! give the same files, whatever the threads.

pub mod against;
pub mod duplicates;
pub mod filters;
mod kept;
mod near;
mod pass;
mod repeats;
pub mod sketch;
mod tally;

pub use against::Benchmark;
pub use filters::Filters;
pub use tally::{ByPart, Record, Removed};

use super::{
    added::{Added, Addition, CleanedOf},
    ingest::{
        Format, Progress, Settings, Stream, Watch, files as found_files,
        scan::{self, Subject},
    },
    reading::Reading,
    source::{Library, Source, SplitRule},
    split::Part,
    words::hashes,
};
use crate::{
    error::{Error, Kind, Result},
    files,
};
use kept::{Kept, Place};
use repeats::{Printer, Prints, Repeat, Repeats};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tally::{Cause, Tally};

/// Documents so alike are near duplicates, unless another likeness is asked for.
pub const NEAR: f64 = 0.5;

/// Ends the name of a folder in which a corpus is being made.
const BUILDING: &str = ".building";

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cleaning {
    pub filters: Filters,
    /// Runs of 13 words in common with a benchmark that remove a document.
    pub shared_runs: usize,
    pub exact: bool,
    /// The Jaccard index from which on documents are near duplicates.
    pub near: Option<f64>,
    /// Whether validation and test stay as they are.
    pub keep_held_out: bool,
}

/// What is to be cleaned, of what, and as what.
pub struct Job<'a> {
    pub source: &'a Source,
    /// The new corpus's name.
    pub name: &'a str,
    pub cleaning: &'a Cleaning,
    pub against: &'a [Benchmark],
    pub settings: &'a Settings,
}

/// A document that was looked at.
struct Looked {
    text: String,
    part: Part,
    cause: Option<Cause>,
    prints: Prints,
}

impl Job<'_> {
    /// Errors when nothing would be done, or something that can't be.
    pub fn check(&self) -> Result<()> {
        let Cleaning {
            filters,
            exact,
            near,
            shared_runs,
            ..
        } = self.cleaning;
        if filters.is_empty() && !exact && near.is_none() && self.against.is_empty() {
            return Err(Error::input(
                "windtunnel data clean",
                "nothing is asked for",
                "give --dedup exact,near, --filter prose, or --against CORPUS_OR_FILE",
            ));
        }
        if let Some(threshold) = near.filter(|near| !(0.2..=1.0).contains(near)) {
            return Err(Error::input(
                "--near-threshold",
                format!("{threshold} can't be the likeness of near duplicates"),
                format!("use a number from 0.2 to 1, such as {NEAR}"),
            ));
        }
        match shared_runs {
            0 => Err(Error::input(
                "--shared-runs",
                "0 runs in common would remove every document",
                "use 1 or more",
            )),
            _ => Ok(()),
        }
    }

    /// What one document alone says.
    fn look(&self, (text, part): (String, Part), printer: Printer) -> Looked {
        let cause = match part {
            _ if text.trim().is_empty() => Some(Cause::Empty),
            Part::Test | Part::Validation if self.cleaning.keep_held_out => None,
            _ => self.cause(&text, part),
        };
        Looked {
            prints: printer.prints(&text),
            text,
            part,
            cause,
        }
    }

    fn cause(&self, text: &str, part: Part) -> Option<Cause> {
        if let Some(rule) = self.cleaning.filters.broken_by(text) {
            return Some(Cause::Filter(rule));
        }
        if self.against.is_empty() {
            return None;
        }
        let hashes = hashes(text);
        let found = self.against.iter().position(|benchmark| {
            let is_own = benchmark.about.is_corpus && benchmark.about.name == self.source.name;
            let is_meant = !is_own || part == Part::Train;
            is_meant && benchmark.is_in(&hashes, self.cleaning.shared_runs)
        });
        found.map(Cause::Against)
    }

    /// Writes what stays of the documents of the parts that are `wanted`.
    fn pass(
        &self,
        reading: &Reading,
        wanted: fn(Part) -> bool,
        state: &mut State,
        watch: &mut Watch,
    ) -> Result<()> {
        let printer = state.repeats.printer();
        pass::in_order(
            self.settings,
            |give| {
                reading.documents(watch, &mut |text, part| match wanted(part) {
                    true => give((text.into_owned(), part)),
                    false => Ok(()),
                })
            },
            |document| self.look(document, printer),
            |looked| state.take(looked, self.cleaning.keep_held_out),
        )
    }
}

/// What is known so far.
struct State {
    repeats: Repeats<Place>,
    kept: Kept,
    tally: Tally,
}

impl State {
    /// Keeps a document or removes it.
    fn take(&mut self, looked: Looked, keep_held_out: bool) -> Result<()> {
        let Looked {
            text,
            part,
            cause,
            prints,
        } = looked;
        self.tally.read(part, &text);
        if let Some(cause) = cause {
            self.tally.removed(cause, part, &text, None);
            return Ok(());
        }
        let stays = keep_held_out && part != Part::Train;
        let repeat = match stays {
            true => None,
            false => {
                let kept = &mut self.kept;
                let mut text_of = |place| kept.read(place);
                self.repeats.find(&prints, &text, &mut text_of)?
            }
        };
        match repeat {
            Some(Repeat::Exact { part: of }) => {
                self.tally.repeats(part, of);
                self.tally.removed(Cause::Exact, part, &text, None);
            }
            Some(Repeat::Near {
                of,
                part: of_part,
                likeness,
            }) => {
                self.tally.repeats(part, of_part);
                let like = match self.tally.wants_example(Cause::Near) {
                    true => Some((self.kept.read(of)?, likeness)),
                    false => None,
                };
                self.tally.removed(Cause::Near, part, &text, like);
            }
            None => {
                let place = self.kept.write(part, &text)?;
                self.tally.kept(part, &text);
                self.repeats.add(&prints, part, place);
            }
        }
        Ok(())
    }
}

/// Makes the corpus; nobody else may write to the home meanwhile. Errors leave nothing of it; so does
/// a kill, but for a hidden folder that the next cleaning removes.
pub fn clean(library: &Library, job: &Job, watch: &mut Watch) -> Result<Record> {
    job.check()?;
    library.check_new(job.name)?;
    let home = library.home.as_path();
    let reading = job.source.reading(home, job.settings, watch)?;
    let folder = home.join("clean");
    let building = folder.join(format!(".{}{BUILDING}", job.name));
    remove_unfinished(&folder)?;
    fs::create_dir_all(&building).map_err(|e| Error::io(&building, "create the folder", &e))?;
    let made = make(library, (job, &reading), &building, watch);
    if made.is_err() {
        let _ = fs::remove_dir_all(&building);
        // Only if nothing else is in it.
        let _ = fs::remove_dir(&folder);
    }
    made.map_err(|e| match e.kind {
        Kind::Interrupted => Error {
            remedy: "run the same command again; it starts anew, and nothing was changed".into(),
            ..e
        },
        _ => e,
    })
}

fn make(
    library: &Library,
    (job, reading): (&Job, &Reading),
    building: &Path,
    watch: &mut Watch,
) -> Result<Record> {
    // A text without blank lines has no rows: its lines stay lines.
    let format = match reading.has_documents() {
        true => Format::Jsonl,
        false => Format::Text,
    };
    let mut state = State {
        repeats: Repeats::new(job.cleaning.exact, job.cleaning.near),
        kept: Kept::new(building, format, job.settings.longest_bytes)?,
        tally: Tally::default(),
    };
    let mut shown = |doing: &'static str, progress: &Progress| {
        watch(&Progress {
            doing,
            ..progress.clone()
        })
    };
    let held_out = |part| part != Part::Train;
    job.pass(reading, held_out, &mut state, &mut |p| {
        shown("clean held-out", p)
    })?;
    let train = |part| part == Part::Train;
    job.pass(reading, train, &mut state, &mut |p| shown("clean", p))?;
    state.tally.check(job.name)?;
    let index_bytes = state.repeats.bytes();
    let paths = state.kept.finish()?;
    let mut addition = described(job, format, paths, watch)?;
    let record = state.tally.record(job, &addition.added.sha256, index_bytes);
    put_in_place(library, &mut addition, building)?;
    let path = library
        .home
        .join("clean")
        .join(format!("{}.json", job.name));
    files::write_json(&path, &record)?;
    library.keep_scan(job.name, &addition)?;
    addition.added.cleaned = Some(CleanedOf {
        corpus: job.source.name.clone(),
        licence: job.source.licence.clone(),
        documents: record.documents.read.sum(),
        kept: record.documents.kept.sum(),
    });
    library.add(job.name, &addition.added)?;
    Ok(record)
}

/// The new files as a corpus, gone through once.
fn described(
    job: &Job,
    format: Format,
    mut paths: Vec<PathBuf>,
    watch: &mut Watch,
) -> Result<Addition> {
    paths.sort();
    let stream = Stream {
        format,
        field: match format {
            Format::Text => String::new(),
            _ => "text".into(),
        },
        tokenizer: None,
        files: found_files::describe(job.name, &paths, watch)?,
    };
    let split = SplitRule::Named { test: 0.0 };
    let subject = Subject {
        name: job.name,
        stream: &stream,
        rule: &split,
        tokenizer: None,
    };
    let scan = scan::scan(&subject, job.settings, watch)?;
    Ok(Addition {
        added: Added {
            path: Path::new("clean").join(job.name),
            sha256: stream.digest(),
            split,
            answers: job.source.answers.clone(),
            format: Some(format),
            field: stream.field,
            tokenizer: None,
            files: stream.files,
            cleaned: None,
        },
        scan: Some(scan),
        left_out: Vec::new(),
    })
}

/// Gives the folder its name. Paths are seen from the home, which may be moved.
fn put_in_place(library: &Library, addition: &mut Addition, building: &Path) -> Result<()> {
    let within = addition.added.path.clone();
    let folder = library.home.join(&within);
    // Of a corpus whose record somebody deleted, or that a kill left without a name.
    remove(&folder)?;
    fs::rename(building, &folder).map_err(|e| Error::io(&folder, "put in place", &e))?;
    for file in &mut addition.added.files {
        let name = file.path.file_name().unwrap_or_default().to_os_string();
        file.path = within.join(name);
    }
    Ok(())
}

/// Removes what killed processes left: the home has one writer, so that nobody is at it.
fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(BUILDING) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match folder.exists() {
        false => Ok(()),
        true => fs::remove_dir_all(folder).map_err(|e| Error::io(folder, "remove", &e)),
    }
}

/// The beginning of a text on one line, for people.
fn beginning(text: &str) -> String {
    const CHARACTERS: usize = 80;
    let words: Vec<&str> = text.split_whitespace().take(CHARACTERS).collect();
    let line = words.join(" ");
    match line.char_indices().nth(CHARACTERS) {
        None => line,
        Some((end, _)) => format!("{} …", &line[..end]),
    }
}
