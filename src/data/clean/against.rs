//! Texts that must not be trained on: the held-out parts of corpora, and benchmarks in files.

use crate::{
    data::{
        ingest::{
            Format, Position, Settings, Stream, Watch,
            documents::Documents,
            files as found_files,
            scan::{Scan, Subject},
        },
        source::{Source, SplitRule},
        split::Part,
        words::{RUN, hashes, runs, whole},
    },
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, path::Path};

/// A text to be kept out, as the hashes of its runs of 13 words.
pub struct Benchmark {
    pub about: About,
    runs: HashSet<u64>,
    /// Documents with fewer words, whole.
    short: HashSet<u64>,
}

/// What a record says of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// A corpus's name, or a path.
    pub name: String,
    /// Whether it is the held-out parts of a corpus.
    pub is_corpus: bool,
    /// Digest of the corpus, or of the files.
    pub sha256: String,
    pub documents: u64,
}

impl Benchmark {
    fn new(name: &str, sha256: String) -> Self {
        Self {
            about: About {
                name: name.into(),
                is_corpus: false,
                sha256,
                documents: 0,
            },
            runs: HashSet::new(),
            short: HashSet::new(),
        }
    }

    fn add(&mut self, text: &str) {
        let words = hashes(text);
        match words.len() {
            0 => return,
            1..RUN => _ = self.short.insert(whole(&words)),
            _ => self.runs.extend(runs(&words)),
        }
        self.about.documents += 1;
    }

    /// The validation and the test part of a corpus.
    pub fn held_out(
        home: &Path,
        source: &Source,
        settings: &Settings,
        watch: &mut Watch,
    ) -> Result<Self> {
        let mut benchmark = Self::new(&source.name, source.digest.clone());
        benchmark.about.is_corpus = true;
        let reading = source.reading(home, settings, watch)?;
        reading.documents(watch, &mut |text, part| {
            if part != Part::Train {
                benchmark.add(&text);
            }
            Ok(())
        })?;
        Ok(benchmark)
    }

    /// Files of text or rows, whole; `field` holds the text of a row.
    pub fn files(path: &Path, field: &str, settings: &Settings, watch: &mut Watch) -> Result<Self> {
        let name = path.display().to_string();
        let found = found_files::find(&found_files::absolute(path)?, None)?;
        if found.format == Format::Tokens {
            return Err(Error::input(
                format!("--against {name}"),
                "holds tokens, not text",
                "give the text that they were made of",
            ));
        }
        let stream = Stream {
            format: found.format,
            field: field.into(),
            tokenizer: None,
            files: found_files::describe(&name, &found.files, watch)?,
        };
        let mut benchmark = Self::new(&name, stream.digest());
        // All is wanted, so that it does not matter how it would be shared out.
        let rule = SplitRule::Named { test: 0.0 };
        let scan = Scan::unread(&Subject {
            name: &name,
            stream: &stream,
            rule: &rule,
            tokenizer: None,
        });
        let mut documents = Documents::open(&stream, &rule, &scan, Position::START, settings)?;
        while let Some(document) = documents.read_next()? {
            benchmark.add(&document.text);
        }
        match benchmark.about.documents {
            0 => Err(Error::input(
                format!("--against {name}"),
                "there is no word in it",
                "give a file with text",
            )),
            _ => Ok(benchmark),
        }
    }

    /// Whether a document, by its words' hashes, has `least` runs of 13 words of this text, or is one
    /// of its shorter documents.
    pub fn is_in(&self, hashes: &[u64], least: usize) -> bool {
        let is_short = hashes.len() < RUN && self.short.contains(&whole(hashes));
        let shared = runs(hashes).filter(|run| self.runs.contains(run));
        is_short || shared.take(least).count() == least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirteen_words_in_a_row_are_found_and_twelve_are_not() {
        let mut benchmark = Benchmark::new("b", String::new());
        let text: Vec<String> = (0..30).map(|i| format!("w{i}")).collect();
        benchmark.add(&text.join(" "));
        benchmark.add("Short, but whole.");
        benchmark.add(" … ");
        assert_eq!(benchmark.about.documents, 2);
        let has = |text: &str, least| benchmark.is_in(&hashes(text), least);
        let run = |n: usize| format!("Before! {}\r\nafter", text[9..9 + n].join(",\n"));
        assert!(has(&run(13).to_uppercase(), 1) && !has(&run(12), 1));
        assert!(has(&run(14), 2) && !has(&run(13), 2));
        assert!(has("short but WHOLE", 1) && !has("short but whole and more", 1));
        assert!(!has("", 1));
    }
}
