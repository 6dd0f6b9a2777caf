//! Text to ids and back: bytes, the characters that a run's corpora use, or what a `tokenizer.json`
//! says.
//!
//! Every tokenizer is lossless: the bytes of a text's tokens, one after the other, are the text, but
//! for a space that some put before it, which is counted nowhere.
//! Bits per byte rests on that, so [`Tokenizer::encode`] refuses a text that would not come back.

pub mod bpe;
pub mod files;
pub mod training;

pub use bpe::Bpe;

use super::{TokenizerChoice, TokenizerKind};
use crate::{
    digest::sha256_json,
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};

/// Ids are u16: there can't be more of them.
pub const MOST_IDS: usize = 1 << 16;

/// A tokenizer, whole: it travels in every checkpoint, which needs no file beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Tokenizer {
    /// One token a byte, 256 in all.
    Byte,
    /// One token for each of these characters, in code-point order.
    Char { characters: String },
    /// Byte pairs merged in the order of a list, or another model of a `tokenizer.json`.
    Bpe(Bpe),
}

impl Tokenizer {
    /// The tokenizer of a run over `texts`. Errors when they have more characters than ids.
    pub fn of<'a>(kind: TokenizerKind, texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        match kind {
            TokenizerKind::Byte => Ok(Self::Byte),
            TokenizerKind::Char => {
                let mut seen = std::collections::BTreeSet::new();
                for text in texts {
                    seen.extend(text.chars());
                }
                if seen.len() > usize::from(u16::MAX) {
                    return Err(Error::input(
                        "data.tokenizer",
                        format!("the text has {} different characters", seen.len()),
                        "use the tokenizer \"byte\"",
                    ));
                }
                Ok(Self::Char {
                    characters: seen.into_iter().collect(),
                })
            }
        }
    }

    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Byte => 256,
            Self::Char { characters } => characters.chars().count(),
            Self::Bpe(bpe) => bpe.vocab_size(),
        }
    }

    /// Ids of a text, without special tokens around it. Errors at the first character that has no
    /// id, or would not come back.
    pub fn encode(&self, text: &str) -> Result<Vec<u16>> {
        match self {
            Self::Byte => Ok(text.bytes().map(u16::from).collect()),
            Self::Char { characters } => {
                let known: Vec<char> = characters.chars().collect();
                // ASCII by table: text is mostly that.
                let ascii: Vec<Option<u16>> = (0u8..128)
                    .map(|c| known.binary_search(&char::from(c)).ok().map(|i| i as u16))
                    .collect();
                let mut ids = Vec::with_capacity(text.len());
                for (place, c) in text.char_indices() {
                    let id = match ascii.get(c as usize) {
                        Some(id) => *id,
                        None => known.binary_search(&c).ok().map(|i| i as u16),
                    };
                    ids.push(id.ok_or_else(|| {
                        Error::input(
                            format!("byte {place} of the text"),
                            format!("the character {c:?} is not one of the {} that this tokenizer knows", known.len()),
                            "leave it out, or use the tokenizer \"byte\"",
                        )
                    })?);
                }
                Ok(ids)
            }
            Self::Bpe(bpe) => bpe.encode(text),
        }
    }

    /// The text of some ids; bytes that are not UTF-8 become the replacement character.
    pub fn decode(&self, ids: &[u16]) -> String {
        match self {
            Self::Byte => {
                let bytes: Vec<u8> = ids.iter().map(|id| *id as u8).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Char { characters } => {
                let known: Vec<char> = characters.chars().collect();
                ids.iter()
                    .filter_map(|id| known.get(usize::from(*id)))
                    .collect()
            }
            Self::Bpe(bpe) => bpe.decode(ids),
        }
    }

    /// How many bytes of UTF-8 each id stands for; a token may be a part of a character.
    pub fn bytes_per_id(&self) -> Vec<u32> {
        match self {
            Self::Byte => vec![1; 256],
            Self::Char { characters } => characters.chars().map(|c| c.len_utf8() as u32).collect(),
            Self::Bpe(bpe) => bpe.bytes_per_id(),
        }
    }

    /// Changes with what the tokenizer does, and not with where its file lies.
    pub fn digest(&self) -> String {
        match self {
            Self::Bpe(bpe) => bpe.digest().into(),
            _ => sha256_json(self),
        }
    }

    /// What a resolved run calls it.
    pub fn resolved(&self) -> TokenizerChoice {
        match self {
            Self::Byte => TokenizerChoice::BuiltIn(TokenizerKind::Byte),
            Self::Char { .. } => TokenizerChoice::BuiltIn(TokenizerKind::Char),
            Self::Bpe(bpe) => TokenizerChoice::File(format!("sha256:{}", bpe.digest())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_and_bytes_are_counted() {
        let text = "naïve — 東京 🙂\n\ta";
        for kind in [TokenizerKind::Byte, TokenizerKind::Char] {
            let tokenizer = Tokenizer::of(kind, [text]).unwrap();
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids), text);
            let bytes = tokenizer.bytes_per_id();
            let total: u32 = ids.iter().map(|id| bytes[usize::from(*id)]).sum();
            assert_eq!(total as usize, text.len());
        }
    }

    #[test]
    fn characters_are_in_code_point_order_and_a_foreign_one_is_named() {
        let tokenizer = Tokenizer::of(TokenizerKind::Char, ["ba", "cab"]).unwrap();
        assert_eq!(tokenizer.encode("abc").unwrap(), [0, 1, 2]);
        let error = tokenizer.encode("abz").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.problem.contains("'z'") && error.place.contains("byte 2"),
            "{error}"
        );
    }
}
