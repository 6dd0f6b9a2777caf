//! Answers: the parts of a text that it asks for.
//!
//! A corpus may declare a prefix, such as `"Answer: "`. What follows it is an answer: to the end of
//! its line, or, where the prefix itself ends with a newline (`"Output:\n"`), to the end of its
//! document. Training can count answers alone, and evaluation says how many of them a model gets
//! right. What ends an answer belongs to it, the newline or the blank line, so that a model that
//! would go on ("42" for "4") is wrong.

use super::{source::Source, tokenizer::Tokenizer};
use crate::error::{Error, Result};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

/// Where the answers of a text lie, in bytes, in order; none overlaps another.
///
/// A prefix counts wherever it stands, unless it is within an answer. An answer of white space alone
/// is none. A document ends with a blank line or with the text; of more blank lines the first
/// belongs to the answer.
pub fn spans(text: &str, prefix: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find(prefix).filter(|_| !prefix.is_empty()) {
        let start = at + found + prefix.len();
        let end = match prefix.ends_with('\n') {
            // From the prefix's own newline: the blank line may be the next one.
            true => document_end(text, start - 1).max(start),
            false => text[start..]
                .find('\n')
                .map_or(text.len(), |n| start + n + 1),
        };
        if !text[start..end].trim().is_empty() {
            spans.push(start..end);
        }
        at = end;
    }
    spans
}

/// The end of the first blank line at or after byte `from`, or of the text.
fn document_end(text: &str, from: usize) -> usize {
    let blank =
        ["\n\n", "\n\r\n"].map(|blank| Some(from + text[from..].find(blank)? + blank.len()));
    blank.into_iter().flatten().min().unwrap_or(text.len())
}

/// The tokens of some spans, which are in order: every token with a byte in one. A token that
/// straddles a border is the answer's, and where one token touches two spans it is in both ranges.
pub fn token_ranges(
    spans: &[Range<usize>],
    ids: &[u16],
    bytes_per_id: &[u32],
) -> Vec<Range<usize>> {
    let mut ends = Vec::with_capacity(ids.len());
    let mut byte = 0;
    for id in ids {
        byte += bytes_per_id[usize::from(*id)] as usize;
        ends.push(byte);
    }
    let range = |span: &Range<usize>| {
        let first = ends.partition_point(|end| *end <= span.start);
        // The first token that ends at or after the span's end is its last.
        let last = ends.partition_point(|end| *end < span.end);
        first..(last + 1).min(ends.len())
    };
    spans.iter().map(range).collect()
}

/// Finds the answers of a corpus's documents.
#[derive(Debug)]
pub struct Marker {
    prefix: String,
    bytes_per_id: Vec<u32>,
}

impl Marker {
    /// That of a corpus that declares answers.
    pub fn of(source: &Source, tokenizer: &Tokenizer) -> Option<Self> {
        Some(Self {
            prefix: source.answers.clone()?,
            bytes_per_id: tokenizer.bytes_per_id(),
        })
    }

    /// The tokens of each answer of a document whose ids are `ids`.
    pub fn tokens(&self, text: &str, ids: &[u16]) -> Vec<Range<usize>> {
        let mut spans = spans(text, &self.prefix);
        // A tokenizer may put a space before a text.
        let bytes = ids.iter().map(|id| self.bytes_per_id[usize::from(*id)]);
        let before = (bytes.sum::<u32>() as usize).saturating_sub(text.len());
        for span in &mut spans {
            *span = span.start + before..span.end + before;
        }
        token_ranges(&spans, ids, &self.bytes_per_id)
    }
}

/// Whether a token is in one of some ranges, which are in order.
pub fn covers(ranges: &[Range<usize>], token: usize) -> bool {
    let after = ranges.partition_point(|range| range.start <= token);
    after > 0 && token < ranges[after - 1].end
}

/// Errors when no text can hold an answer after `prefix`; `place` is what set it.
pub fn check(place: &str, prefix: &str) -> Result<()> {
    match prefix.trim().is_empty() {
        false => Ok(()),
        true => Err(Error::input(
            place,
            format!("{prefix:?} does not mark answers"),
            "give the words before each answer, such as \"Answer: \"",
        )),
    }
}

/// How well the commonest training answer does: the figure that an accuracy has to beat.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guess {
    /// Answers of each part.
    pub train: usize,
    pub validation: usize,
    /// Without the white space around it.
    pub answer: String,
    /// Share of the validation answers that it is.
    pub right: f64,
}

/// The commonest answer of some training documents, the first in alphabetical order of several, and
/// how often it is right in validation; `None` when either part has no answers.
pub fn guess<'a>(
    prefix: &str,
    train: impl IntoIterator<Item = &'a str>,
    validation: impl IntoIterator<Item = &'a str>,
) -> Option<Guess> {
    let train = counts(prefix, train);
    let validation = counts(prefix, validation);
    let ordered: BTreeMap<&str, usize> = train.iter().map(|(a, n)| (*a, *n)).collect();
    // Of equals `max_by_key` takes the last, which is the first of the reversed order.
    let (answer, _) = ordered.into_iter().rev().max_by_key(|(_, n)| *n)?;
    let n_validation: usize = validation.values().sum();
    let right = validation.get(answer).copied().unwrap_or(0);
    (n_validation > 0).then(|| Guess {
        train: train.values().sum(),
        validation: n_validation,
        answer: answer.into(),
        right: right as f64 / n_validation as f64,
    })
}

fn counts<'a>(
    prefix: &str,
    documents: impl IntoIterator<Item = &'a str>,
) -> HashMap<&'a str, usize> {
    let mut counts = HashMap::new();
    for document in documents {
        for span in spans(document, prefix) {
            *counts.entry(document[span].trim()).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
        spans(text, prefix)
            .into_iter()
            .map(|span| &text[span])
            .collect()
    }

    #[test]
    fn an_answer_is_the_rest_of_its_line_with_what_ends_it() {
        for (text, want) in [
            ("Q\nAnswer: 4\nQ\nAnswer: five \n", vec!["4\n", "five \n"]),
            ("Answer: 4", vec!["4"]),
            ("so Answer: 4\r\nAnswer: 5\r\n", vec!["4\r\n", "5\r\n"]),
            ("Answer: 1 Answer: 2\nAnswer: 3", vec!["1 Answer: 2\n", "3"]),
            ("Answer: é東🙂\n", vec!["é東🙂\n"]),
            ("Answer: \nAnswer:  \t \nAnswer: ", vec![]),
            ("Answer:4\nanswer: 4\nAnswe", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(found(text, "Answer: "), want, "{text:?}");
        }
        assert!(found("anything\n", "").is_empty());
        assert_eq!(
            found("Answer: a\nNo Answer: b\nAnswer: c\n", "\nAnswer: "),
            ["c\n"]
        );
        assert_eq!(found("問: x 答: y\n", "答: "), ["y\n"]);
    }

    #[test]
    fn after_a_prefix_that_ends_its_line_an_answer_is_the_rest_of_the_document() {
        for (text, want) in [
            (
                "f\nOutput:\n1\n2\n\ng\nOutput:\n3\n",
                vec!["1\n2\n\n", "3\n"],
            ),
            ("Output:\n1\n\n\n\nOutput:\n2", vec!["1\n\n", "2"]),
            ("Output:\r\n1\n", vec![]),
            ("Output:\n\nnot this\n\nOutput:\n", vec![]),
            ("Output:\nOutput:\n1\n\n", vec!["Output:\n1\n\n"]),
            ("Output:\n1\n\r\n2\n", vec!["1\n\r\n"]),
        ] {
            assert_eq!(found(text, "Output:\n"), want, "{text:?}");
        }
        assert_eq!(found("Output:\r\n1\r\n\r\n2", "Output:\r\n"), ["1\r\n\r\n"]);
    }

    #[test]
    fn a_token_with_any_byte_of_an_answer_is_the_answers() {
        // Token 0 has one byte, 1 two, 2 three; token 3 none.
        let sizes = [1, 2, 3, 0];
        // Bytes:    0  1-2  3-5  6  7-8
        let ids = [0, 1, 2, 0, 1];
        for (span, want) in [
            (0..1, 0..1),
            (1..3, 1..2),
            (2..3, 1..2),
            (2..4, 1..3),
            (3..6, 2..3),
            (4..5, 2..3),
            (5..9, 2..5),
            (0..9, 0..5),
        ] {
            assert_eq!(
                token_ranges(std::slice::from_ref(&span), &ids, &sizes),
                [want],
                "{span:?}"
            );
        }
        assert_eq!(token_ranges(&[1..2, 2..4], &ids, &sizes), [1..2, 1..3]);
        assert!(token_ranges(&[], &ids, &sizes).is_empty());
    }

    #[test]
    fn covered_tokens_are_those_in_a_range() {
        let ranges = [2..4, 7..8, 7..10];
        let covered: Vec<usize> = (0..12).filter(|token| covers(&ranges, *token)).collect();
        assert_eq!(covered, [2, 3, 7, 8, 9]);
        assert!(!covers(&[], 0));
    }

    #[test]
    fn the_guess_is_the_commonest_training_answer() {
        let train = [
            "Answer: red\nAnswer: blue\n",
            "Answer: blue\nAnswer: red\nAnswer: x\n",
        ];
        let validation = ["Answer: blue\n", "Answer: y\nAnswer: blue\nAnswer: red"];
        let guess = |t: &[&'static str], v: &[&'static str]| {
            guess("Answer: ", t.iter().copied(), v.iter().copied())
        };
        let found = guess(&train, &validation).unwrap();
        assert_eq!((found.answer.as_str(), found.right), ("blue", 0.5));
        assert_eq!((found.train, found.validation), (5, 4));
        assert_eq!(guess(&train, &["none"]), None);
        assert_eq!(guess(&["none"], &validation), None);
    }

    #[test]
    fn a_prefix_of_nothing_is_refused() {
        for prefix in ["", " ", "\n"] {
            assert_eq!(check("--answers", prefix).unwrap_err().exit_code(), 2);
        }
        check("--answers", "A:").unwrap();
    }
}
