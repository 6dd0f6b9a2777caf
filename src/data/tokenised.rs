//! Documents as tokens: what a corpus is made of, in memory and on the disk.

use super::{answers::Marker, corpus::PartCounts, tokenizer::Tokenizer};
use crate::error::Result;

/// The tokens of some documents of one part, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tokenised {
    pub tokens: Vec<u16>,
    /// The first token of each document, counted from the first one here.
    pub documents: Vec<u64>,
    /// The first token of each answer and the one after its last, counted likewise.
    pub answers: Vec<u64>,
    pub counts: PartCounts,
}

impl Tokenised {
    /// Appends a document, with its answers where `marker` says what those are. Errors when the
    /// tokenizer can't take it.
    pub fn append(
        &mut self,
        text: &str,
        tokenizer: &Tokenizer,
        marker: Option<&Marker>,
    ) -> Result<()> {
        let ids = tokenizer.encode(text)?;
        let first = self.tokens.len() as u64;
        self.documents.push(first);
        let answers = marker.map_or_else(Vec::new, |marker| marker.tokens(text, &ids));
        let answers = answers.into_iter().flat_map(|r| [r.start, r.end]);
        self.answers.extend(answers.map(|at| first + at as u64));
        self.tokens.extend(&ids);
        self.counts.documents += 1;
        self.counts.tokens += ids.len() as u64;
        self.counts.bytes += text.len() as u64;
        Ok(())
    }

    /// Appends what follows.
    pub fn extend(&mut self, more: &Self) {
        let first = self.tokens.len() as u64;
        self.documents
            .extend(more.documents.iter().map(|at| first + at));
        self.answers
            .extend(more.answers.iter().map(|at| first + at));
        self.tokens.extend(&more.tokens);
        self.counts.add(more.counts);
    }
}
