//! What a kept corpus says of itself.

use super::{
    source::{Source, SplitRule},
    split::Part,
    tokenizer::Tokenizer,
};
use crate::digest::sha256_json;
use serde::{Deserialize, Serialize};

pub(super) const SCHEMA: &str = "windtunnel.corpus.v2";

/// What `manifest.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: String,
    pub name: String,
    /// SHA-256 of the text.
    pub source: String,
    /// Digest of the tokenizer.
    pub tokenizer: String,
    pub split: SplitRule,
    pub train: PartCounts,
    pub test: PartCounts,
    pub validation: PartCounts,
    /// SHA-256 of `tokens.bin`, two bytes a token, little-endian.
    pub tokens_digest: String,
    /// SHA-256 of `documents.bin`: for each document its first token, eight bytes, little-endian.
    pub documents_digest: String,
    /// Of a corpus that has answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswersKept>,
    pub bytes_per_token: f64,
    /// SHA-256 of all of the above but the name, as canonical JSON.
    pub digest: String,
}

impl Manifest {
    /// What `digest` has to be.
    fn own_digest(&self) -> String {
        sha256_json(&Self {
            name: String::new(),
            digest: String::new(),
            ..self.clone()
        })
    }

    /// Sizes of a part.
    pub fn counts(&self, part: Part) -> PartCounts {
        match part {
            Part::Train => self.train,
            Part::Test => self.test,
            Part::Validation => self.validation,
        }
    }

    /// With its own digest, when all else is known.
    pub fn sealed(mut self) -> Self {
        self.digest = self.own_digest();
        self
    }

    /// Whether this is what `source` and `tokenizer` give, and as it was written.
    pub(super) fn fits(&self, source: &Source, tokenizer: &Tokenizer) -> bool {
        self.schema == SCHEMA
            && self.name == source.name
            && self.source == source.digest
            && self.tokenizer == tokenizer.digest()
            && self.split == source.split
            && self.answers.as_ref().map(|kept| &kept.prefix) == source.answers.as_ref()
            && self.digest == self.own_digest()
    }
}

/// What a manifest says of a corpus's answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswersKept {
    /// What an answer follows: see [`answers`].
    pub prefix: String,
    /// How many there are.
    pub n: u64,
    /// SHA-256 of `answers.bin`: for each answer its first token and the one after its last, eight
    /// bytes each, little-endian.
    pub digest: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartCounts {
    pub documents: u64,
    pub tokens: u64,
    pub bytes: u64,
}

impl PartCounts {
    pub fn add(&mut self, more: Self) {
        self.documents += more.documents;
        self.tokens += more.tokens;
        self.bytes += more.bytes;
    }
}
