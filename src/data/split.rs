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

/// Fewer pieces than this can't be shared out among three parts.
const FEWEST: usize = 20;

/// The documents of each part, indexed by [`Part`]. Together they are the text. Errors when the
/// text is too short for three parts.
pub fn split<'a>(text: &'a str, rule: &SplitRule) -> Result<[Vec<Document<'a>>; 3]> {
    let parts = match rule {
        SplitRule::Tail { validation, test } => {
            let documents = pieces(text);
            let end = text.len() as f64;
            let (train_end, test_end) = (end * (1.0 - validation - test), end * (1.0 - validation));
            let mut at = 0;
            let mut parts: [Vec<Document>; 3] = Default::default();
            for document in documents {
                // A document belongs where it begins.
                let part = match at as f64 {
                    at if at < train_end => Part::Train,
                    at if at < test_end => Part::Test,
                    _ => Part::Validation,
                };
                parts[part as usize].push(document);
                at += document.0.len();
            }
            parts
        }
        SplitRule::Hash { validation, test } => {
            let mut parts: [Vec<Document>; 3] = Default::default();
            for document in documents(text) {
                // By content alone, so that two copies of a document are always in one part.
                let digest = sha256(document.0.trim_end().as_bytes());
                let head = u64::from_str_radix(&digest[..15], 16).unwrap_or_default();
                let u = head as f64 / (1u64 << 60) as f64;
                let part = match u {
                    u if u < *validation => Part::Validation,
                    u if u < validation + test => Part::Test,
                    _ => Part::Train,
                };
                parts[part as usize].push(document);
            }
            parts
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

/// Documents, or lines where there are too few documents, or runs of characters where there are
/// too few lines.
fn pieces(text: &str) -> Vec<Document<'_>> {
    let documents = documents(text);
    if documents.len() >= FEWEST {
        return documents;
    }
    let lines: Vec<Document> = text.split_inclusive('\n').map(Document).collect();
    if lines.len() >= FEWEST {
        return lines;
    }
    let share = (text.len() / 100).max(1);
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = share.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        pieces.push(Document(&rest[..end]));
        rest = &rest[end..];
    }
    pieces
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
