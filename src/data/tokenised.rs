//! Documents as tokens: what a corpus is made of, in memory and on the disk.

use super::{corpus::PartCounts, tokenizer::Tokenizer};
use crate::error::Result;

/// The tokens of some documents of one part, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tokenised {
    pub tokens: Vec<u16>,
    /// The first token of each document, counted from the first one here.
    pub documents: Vec<u64>,
    pub counts: PartCounts,
}

impl Tokenised {
    /// Appends a document. Errors when the tokenizer can't take it.
    pub fn append(&mut self, text: &str, tokenizer: &Tokenizer) -> Result<()> {
        let ids = tokenizer.encode(text)?;
        self.documents.push(self.tokens.len() as u64);
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
        self.tokens.extend(&more.tokens);
        self.counts.add(more.counts);
    }
}
