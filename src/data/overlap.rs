//! How much of a corpus's validation text stands in what is trained on: whole documents, and runs of
//! 13 [`words`].
//!
//! Texts of one kind share phrases, so some overlap is natural: of the built-in corpora, up to 9% of
//! the runs and 4% of the passages. Copies are another matter: see [`Overlap::is_leak`].

use super::{
    corpus::Corpus,
    split::Part,
    tokenizer::Tokenizer,
    words::{RUN, hashes, runs, whole, words},
};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Words in a passage, at most: what of a long document is judged at once.
const PASSAGE: usize = 100;
/// A passage with this share of its runs in the training text is covered.
const COVERED: f64 = 0.8;
/// More of the documents than this, copied whole, are a leak.
const MOST_COPIED: f64 = 0.005;
/// More of the passages than this, covered, are a leak: more than twice what built-in corpora have.
const MOST_COVERED: f64 = 0.1;
/// Examples that are kept, and their words.
const EXAMPLES: usize = 3;
const EXAMPLE_WORDS: usize = 20;

/// What of a validation part stands in a training part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// The corpus whose training part was searched.
    pub train: String,
    /// The corpus whose validation part was looked for.
    pub validation: String,
    /// Validation documents of 13 words or more.
    pub documents: u64,
    /// Of them, those that stand in the training part word for word.
    pub copied: u64,
    /// Passages of at most 100 words.
    pub passages: u64,
    /// Of them, those with at least 80% of their runs in the training part.
    pub covered: u64,
    /// Runs of 13 words.
    pub runs: u64,
    /// Of them, those in the training part.
    pub shared: u64,
    /// Beginnings of what was copied or covered.
    pub examples: Vec<String>,
}

impl Overlap {
    /// Whether validation text was copied into the training text: more than 1 document in 200 whole,
    /// or more than 1 passage in 10 nearly so.
    pub fn is_leak(&self) -> bool {
        self.copied as f64 > MOST_COPIED * self.documents as f64
            || self.covered as f64 > MOST_COVERED * self.passages as f64
    }

    /// Of the validation part's runs of words those that the training part has, 0 to 1.
    pub fn share(&self) -> f64 {
        self.shared as f64 / self.runs.max(1) as f64
    }

    /// Counts and an example, in words.
    pub fn in_words(&self) -> String {
        let mut words = format!(
            "{} of {} documents and {} of {} passages of \"{}\"'s validation part stand in \"{}\"'s training part ({:.1}% of its runs of {RUN} words)",
            self.copied,
            self.documents,
            self.covered,
            self.passages,
            self.validation,
            self.train,
            100.0 * self.share(),
        );
        if let Some(example) = self.examples.first() {
            words += &format!(", such as \"{example} …\"");
        }
        words
    }
}

/// A validation document, ready to be looked for.
struct Sought {
    text: String,
    /// Of every run, in order.
    runs: Vec<u64>,
    whole: u64,
}

/// How much of `held_out`'s validation part stands in `trained`'s training part; both are in
/// `tokenizer`'s tokens.
pub fn overlap(trained: &Corpus, held_out: &Corpus, tokenizer: &Tokenizer) -> Overlap {
    let sought: Vec<Sought> = texts(held_out, Part::Validation, tokenizer)
        .map(|text| (hashes(&text), text))
        .filter(|(hashes, _)| hashes.len() >= RUN)
        .map(|(hashes, text)| Sought {
            runs: runs(&hashes).collect(),
            whole: whole(&hashes),
            text,
        })
        .collect();
    let all_runs = sought.iter().flat_map(|document| &document.runs);
    let mut seen: HashMap<u64, bool> = all_runs.map(|run| (*run, false)).collect();
    let documents: HashSet<u64> = sought.iter().map(|document| document.whole).collect();
    let mut copied: HashSet<u64> = HashSet::new();
    for text in texts(trained, Part::Train, tokenizer) {
        let hashes = hashes(&text);
        if documents.contains(&whole(&hashes)) {
            copied.insert(whole(&hashes));
        }
        for run in runs(&hashes) {
            if let Some(seen) = seen.get_mut(&run) {
                *seen = true;
            }
        }
    }
    let mut overlap = Overlap {
        train: trained.name().into(),
        validation: held_out.name().into(),
        documents: sought.len() as u64,
        copied: 0,
        passages: 0,
        covered: 0,
        runs: 0,
        shared: 0,
        examples: Vec::new(),
    };
    for document in &sought {
        count(document, (&seen, &copied), &mut overlap);
    }
    overlap
}

/// Adds a document to the counts.
fn count(
    document: &Sought,
    (seen, copied): (&HashMap<u64, bool>, &HashSet<u64>),
    overlap: &mut Overlap,
) {
    let is_copied = copied.contains(&document.whole);
    overlap.copied += u64::from(is_copied);
    // Runs of a passage begin in it and end in it.
    let per_passage = PASSAGE - RUN + 1;
    for (idx, runs) in document.runs.chunks(per_passage).enumerate() {
        let shared = runs.iter().filter(|run| seen[*run]).count();
        let is_covered = shared as f64 >= COVERED * runs.len() as f64;
        overlap.runs += runs.len() as u64;
        overlap.shared += shared as u64;
        overlap.passages += 1;
        overlap.covered += u64::from(is_covered);
        if (is_covered || is_copied) && overlap.examples.len() < EXAMPLES {
            let words = words(&document.text).skip(idx * per_passage);
            let words: Vec<String> = words.take(EXAMPLE_WORDS).map(str::to_lowercase).collect();
            overlap.examples.push(words.join(" "));
        }
    }
}

/// The documents of a part as text.
fn texts<'a>(
    corpus: &'a Corpus,
    part: Part,
    tokenizer: &'a Tokenizer,
) -> impl Iterator<Item = String> + 'a {
    let tokens = match part {
        Part::Train => corpus.train(),
        Part::Test => corpus.locked_test(),
        Part::Validation => corpus.validation(),
    };
    let mut starts: Vec<usize> = corpus.documents(part).collect();
    starts.push(tokens.len());
    (1..starts.len()).map(move |i| tokenizer.decode(&tokens[starts[i - 1]..starts[i]]))
}
