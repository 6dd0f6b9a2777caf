//! Text to tokens to batches: sources, tokenizers, corpora, mixtures, batches, validation windows.

pub mod batches;
pub mod corpus;
pub mod fetch;
pub mod mixture;
pub mod ngram;
pub mod source;
pub mod split;
pub mod synth;
pub mod tokenizer;
pub mod windows;

pub use batches::{Batch, Batches};
pub use corpus::Corpus;
pub use source::Library;
pub use tokenizer::Tokenizer;
pub use windows::EvalWindows;

use serde::{Deserialize, Serialize};

/// Which tokenizer a recipe names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerKind {
    /// One token a byte, 256 in all.
    Byte,
    /// One token a character that occurs in the run's corpora, in code-point order.
    Char,
}

/// A corpus's part of a mixture, or of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    pub corpus: String,
    /// Relative: weights are divided by their sum.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// The `[data]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    pub tokenizer: TokenizerKind,
    pub mixture: Vec<Share>,
    /// More corpora whose text the tokenizer covers; a study puts every arm's corpora here, so that
    /// all arms share one vocabulary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vocabulary: Vec<String>,
}

/// The `[batch]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Sequences in one optimizer step.
    pub rows: usize,
    /// Sequences in one forward pass; fewer than `rows` means gradient accumulation. 0 means `rows`.
    pub rows_per_pass: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            rows: 12,
            rows_per_pass: 0,
        }
    }
}

/// What training really drew from one corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Realised {
    pub corpus: String,
    pub tokens: u64,
    /// Passes over the corpus's training part.
    pub epochs: f64,
    /// Fraction of all tokens, 0 to 1.
    pub share: f64,
}
