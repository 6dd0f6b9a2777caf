//! Text to tokens to batches: sources, tokenizers, corpora, mixtures, batches, validation windows.

pub mod added;
pub mod answers;
pub mod apportion;
pub mod batches;
pub mod clean;
pub mod corpus;
pub mod declared;
pub mod fetch;
pub mod ingest;
pub mod manifest;
pub mod mixture;
pub mod ngram;
pub mod overlap;
pub mod phases;
pub mod reading;
pub mod source;
pub mod split;
pub mod stream;
pub mod synth;
pub mod tokenised;
pub mod tokenizer;
pub mod weighting;
pub mod windows;
pub mod words;

pub use batches::{Batch, Batches};
pub use corpus::Corpus;
pub use phases::Phase;
pub use source::Library;
pub use stream::{Stream, Subset, SubsetKind};
pub use tokenizer::Tokenizer;
pub use weighting::Weighting;
pub use windows::EvalWindows;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tokenizer::files;

/// A tokenizer that needs no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerKind {
    /// One token a byte, 256 in all.
    Byte,
    /// One token a character that occurs in the run's corpora, in code-point order.
    Char,
}

/// Which tokenizer a recipe names: `"byte"`, `"char"`, or one that files hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
pub enum TokenizerChoice {
    BuiltIn(TokenizerKind),
    /// A path, or a name in the home; in a resolved run, `sha256:` and the tokenizer's digest.
    File(String),
}

impl From<String> for TokenizerChoice {
    fn from(name: String) -> Self {
        match name.as_str() {
            "byte" => Self::BuiltIn(TokenizerKind::Byte),
            "char" => Self::BuiltIn(TokenizerKind::Char),
            _ => Self::File(name),
        }
    }
}

impl From<TokenizerChoice> for String {
    fn from(choice: TokenizerChoice) -> Self {
        match choice {
            TokenizerChoice::BuiltIn(TokenizerKind::Byte) => "byte".into(),
            TokenizerChoice::BuiltIn(TokenizerKind::Char) => "char".into(),
            TokenizerChoice::File(name) => name,
        }
    }
}

impl TokenizerChoice {
    /// What somebody who writes in `folder` means: a path is seen from there, and so is a word that
    /// a tokenizer's file or folder there is called; any other word is a name in the home.
    pub fn seen_from(self, folder: &Path) -> Self {
        let Self::File(name) = self else {
            return self;
        };
        let there = folder.join(&name);
        match files::is_path(&name) || files::holds_tokenizer(&there) {
            false => Self::File(name),
            // So that it stays a path where the folder is the current one.
            true if there.components().count() == 1 => {
                Self::File(Path::new(".").join(there).display().to_string())
            }
            true => Self::File(there.display().to_string()),
        }
    }
}

/// A corpus's part of a mixture, or of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Its name, as `windtunnel data list` says it.
    pub corpus: String,
    /// Relative: weights are divided by their sum.
    #[serde(default = "one")]
    pub weight: f64,
    /// What the entry is called, where one corpus is there more than once; a mixture's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// What is trained on of the corpus; a mixture's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// Passes over it that a run makes at most, above 0; a mixture's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_epochs: Option<f64>,
    /// Tokens of it that a run trains on at most; a mixture's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
}

impl Share {
    /// The whole of a corpus under its own name.
    pub fn of(corpus: &str, weight: f64) -> Self {
        Self {
            corpus: corpus.into(),
            weight,
            domain: None,
            subset: None,
            max_epochs: None,
            max_tokens: None,
        }
    }

    /// What an entry of a mixture is called.
    pub fn name(&self) -> &str {
        self.domain.as_deref().unwrap_or(&self.corpus)
    }

    /// Whether a run may draw only so much of it.
    pub fn is_capped(&self) -> bool {
        self.max_epochs.is_some() || self.max_tokens.is_some()
    }

    /// Whole rows of `block_size` tokens that its caps allow, of a stream of `tokens`: an epoch is so
    /// many windows, so that none is drawn once more than the cap says.
    pub fn most_rows(&self, tokens: u64, block_size: usize) -> u64 {
        let windows = batches::windows_per_epoch(tokens, block_size) as f64;
        let epochs = self.max_epochs.map(|n| (n * windows) as u64);
        let tokens = self.max_tokens.map(|n| n / block_size as u64);
        epochs.unwrap_or(u64::MAX).min(tokens.unwrap_or(u64::MAX))
    }
}

fn one() -> f64 {
    1.0
}

/// The `[data]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// "byte", "char", or a file's path as seen from here, or a name in the home.
    pub tokenizer: TokenizerChoice,
    /// What is trained on.
    pub mixture: Vec<Share>,
    /// More corpora whose text the tokenizer covers; a study puts every arm's corpora here, so that
    /// all arms share one vocabulary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vocabulary: Vec<String>,
    /// What training counts.
    #[serde(default, skip_serializing_if = "Targets::are_all")]
    pub targets: Targets,
    /// Probability with which a token of training becomes a random one of the vocabulary, 0 to 1;
    /// as the target of the token before it, and as an input.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub token_noise: f64,
    /// Where weights come from; a resolved run has them as plain numbers.
    #[serde(default, skip_serializing_if = "Weighting::is_given")]
    pub weighting: Weighting,
    /// Other weights from some step on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
}

fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

/// Which tokens training counts in loss and gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Targets {
    #[default]
    All,
    /// Those of [`answers`]; the loss is their mean.
    Answers,
}

impl Targets {
    fn are_all(&self) -> bool {
        *self == Self::All
    }
}

/// The `[batch]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Sequences in one optimizer step.
    pub rows: usize,
    /// Sequences in one forward pass; fewer than `rows` means gradient accumulation. 0 leaves it to
    /// [`BatchConfig::rows_in_pass`].
    pub rows_per_pass: usize,
}

/// Tokens of a pass beyond which more of them make a CPU's step no faster: weights are read often
/// enough, and activations only leave the caches earlier.
const TOKENS_PER_PASS: usize = 2048;
/// Tokens of a pass below which weights are packed too often for what is multiplied with them.
const FEWEST_TOKENS: usize = 512;

impl BatchConfig {
    /// Sequences of `block_size` tokens in one forward pass on a CPU: as written, else the largest
    /// divisor of `rows` with at most 2048 tokens, or the smallest with 512 if that has fewer.
    pub fn rows_in_pass(&self, block_size: usize) -> usize {
        let rows = self.rows;
        if self.rows_per_pass > 0 {
            return self.rows_per_pass;
        }
        let divisors = || (1..=rows).filter(|n| rows.is_multiple_of(*n));
        let most = divisors().rfind(|n| n * block_size <= TOKENS_PER_PASS);
        let most = most.filter(|n| n * block_size >= FEWEST_TOKENS);
        let least = || divisors().find(|n| n * block_size >= FEWEST_TOKENS);
        most.or_else(least).unwrap_or(rows)
    }
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
    /// What the weights say that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<f64>,
    /// The same by stretches of steps, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<RealisedPhase>,
}

/// What one stretch of a run drew from one corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RealisedPhase {
    /// Its first step, counted from 0.
    pub from_step: u64,
    /// The step after its last that is done.
    pub to_step: u64,
    pub tokens: u64,
    /// Fraction of the stretch's tokens, 0 to 1.
    pub share: f64,
    pub declared: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_has_about_two_thousand_tokens_and_divides_the_batch() {
        let rows = |rows, rows_per_pass, block_size| {
            let batch = BatchConfig {
                rows,
                rows_per_pass,
            };
            batch.rows_in_pass(block_size)
        };
        assert_eq!(rows(64, 0, 256), 8);
        assert_eq!(rows(12, 0, 64), 12);
        assert_eq!(rows(12, 0, 1024), 2);
        assert_eq!(rows(4, 0, 4096), 1);
        assert_eq!(rows(64, 16, 256), 16);
        // A prime number of short sequences: one at a time would be too few tokens.
        assert_eq!(rows(61, 0, 64), 61);
        assert_eq!(rows(61, 0, 1024), 1);
        for n in 1..100 {
            assert_eq!(n % rows(n, 0, 32), 0);
        }
    }
}
