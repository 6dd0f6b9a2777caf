//! Text to documents to three parts.

use super::source::SplitRule;
use crate::{
    digest::sha256,
    error::{Error, Result},
};

/// A document: a slice of the source, its separator included, so that nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document<'a>(pub &'a str);

/// The three parts of a corpus, in the order of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Train = 0,
    /// Locked: read once by a campaign.
    Test = 1,
    Validation = 2,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Test => "test",
            Self::Validation => "validation",
        }
    }
}

/// Fewer pieces than this can't be shared out among three parts.
pub const FEWEST: usize = 20;

/// The documents of each part, indexed by [`Part`]. Together they are the text. Errors when the
/// text is too short for three parts.
pub fn split<'a>(text: &'a str, rule: &SplitRule) -> Result<[Vec<Document<'a>>; 3]> {
    let parts = match rule {
        SplitRule::Tail { validation, test } => by_place(text, *validation, *test),
        SplitRule::Hash { validation, test } => by_content(text, *validation, *test),
        SplitRule::Named { .. } => {
            return Err(Error::input(
                "the text",
                "one text has no names to be shared out by",
                "use the split \"tail\" or \"hash\"",
            ));
        }
    };
    if parts.iter().any(Vec::is_empty) {
        return Err(Error::input(
            "the text",
            format!(
                "{} bytes are too few for a training, a test and a validation part",
                text.len()
            ),
            "use a longer text",
        ));
    }
    Ok(parts)
}

/// In order, in the coarsest pieces that leave something for every part: documents, or lines where
/// documents are too few or too unequal, or runs of characters where lines are.
fn by_place(text: &str, validation: f64, test: f64) -> [Vec<Document<'_>>; 3] {
    let borders = borders(text.len() as u64, validation, test);
    for pieces in [documents(text), lines(text)] {
        let enough = pieces.len() >= FEWEST;
        let parts = shared_out(pieces, borders);
        if enough && !parts.iter().any(Vec::is_empty) {
            return parts;
        }
    }
    shared_out(runs(text), borders)
}

/// Where the test part begins, and the validation part, of `length` bytes that are split by place.
pub fn borders(length: u64, validation: f64, test: f64) -> [f64; 2] {
    let end = length as f64;
    [end * (1.0 - validation - test), end * (1.0 - validation)]
}

/// The part of what begins at a place.
pub fn by_borders(at: u64, borders: &[f64; 2]) -> Part {
    match at as f64 {
        at if at < borders[0] => Part::Train,
        at if at < borders[1] => Part::Test,
        _ => Part::Validation,
    }
}

/// Each piece goes where it begins: before the first border, the second, or neither.
fn shared_out(pieces: Vec<Document<'_>>, borders: [f64; 2]) -> [Vec<Document<'_>>; 3] {
    let mut parts: [Vec<Document>; 3] = Default::default();
    let mut at = 0;
    for piece in pieces {
        let part = by_borders(at as u64, &borders);
        parts[part as usize].push(piece);
        at += piece.0.len();
    }
    parts
}

/// By content alone, so that two copies of a document are always in one part.
fn by_content(text: &str, validation: f64, test: f64) -> [Vec<Document<'_>>; 3] {
    let mut parts: [Vec<Document>; 3] = Default::default();
    for document in documents(text) {
        let part = by_share(document.0, validation, test);
        parts[part as usize].push(document);
    }
    parts
}

/// The part of a document by its content alone.
pub fn by_share(document: &str, validation: f64, test: f64) -> Part {
    // Blank lines around a copy do not make it another document.
    let digest = sha256(document.trim().as_bytes());
    let head = u64::from_str_radix(&digest[..15], 16).unwrap_or_default();
    let u = head as f64 / (1u64 << 60) as f64;
    match u {
        u if u < validation => Part::Validation,
        u if u < validation + test => Part::Test,
        _ => Part::Train,
    }
}

/// Documents end with a blank line, which they keep.
fn documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\n\n") {
        let end = rest.len() - rest[at..].trim_start_matches('\n').len();
        documents.push(Document(&rest[..end]));
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        documents.push(Document(rest));
    }
    documents
}

fn lines(text: &str) -> Vec<Document<'_>> {
    text.split_inclusive('\n').map(Document).collect()
}

/// Hundredths of the text, more or less: each ends with a whole character.
fn runs(text: &str) -> Vec<Document<'_>> {
    let share = (text.len() / 100).max(1);
    let mut runs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = share.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        runs.push(Document(&rest[..end]));
        rest = &rest[end..];
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(documents: &[Document]) -> String {
        documents.iter().map(|d| d.0).collect()
    }

    const TAIL: SplitRule = SplitRule::Tail {
        validation: 0.1,
        test: 0.05,
    };

    #[test]
    fn the_parts_of_a_tail_split_are_the_text_in_order() {
        let speech = "A: line one\nline two\n\n".repeat(200);
        let lines = "one line\n".repeat(300);
        let flat = "é".repeat(5000);
        for text in [&speech, &lines, &flat] {
            let parts = split(text, &TAIL).unwrap();
            assert_eq!(&parts.iter().map(|p| joined(p)).collect::<String>(), text);
            let validation = joined(&parts[2]).len() as f64 / text.len() as f64;
            assert!((0.08..0.11).contains(&validation), "{validation}");
        }
        assert_eq!(split("ab", &TAIL).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn copies_of_a_document_meet_in_one_part_of_a_hash_split() {
        let text: String = (0..2000)
            .map(|i| format!("story number {}\n\n", i % 500))
            .collect();
        let rule = SplitRule::Hash {
            validation: 0.1,
            test: 0.1,
        };
        let parts = split(&text, &rule).unwrap();
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 2000);
        for (i, part) in parts.iter().enumerate() {
            for other in &parts[i + 1..] {
                assert!(part.iter().all(|d| !other.contains(d)));
            }
        }
        let share = parts[2].len() as f64 / 2000.0;
        assert!((0.06..0.14).contains(&share), "{share}");
    }
}
