//! Our tokenizers as `tokenizer.json` and `tokenizer_config.json`, with exactly our ids.

use crate::data::Tokenizer;
use serde_json::{Map, Value, json};

/// The text of a `tokenizer.json`.
pub fn tokenizer_json(tokenizer: &Tokenizer) -> String {
    let json = match tokenizer {
        Tokenizer::Bpe(bpe) => return bpe.text(),
        Tokenizer::Byte => crate::data::tokenizer::bpe::bytes_alone(),
        Tokenizer::Char { characters } => of_characters(characters),
    };
    json.to_string()
}

/// One token a character. A word-level model without an unknown word raises at a character that it
/// does not know, as ours refuses it; a BPE would leave it out without a word.
fn of_characters(characters: &str) -> Value {
    let words: Map<String, Value> = characters
        .chars()
        .enumerate()
        .map(|(id, c)| (c.to_string(), id.into()))
        .collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": { "Regex": "[\\s\\S]" },
            "behavior": "Isolated",
            "invert": false,
        },
        "post_processor": null,
        "decoder": { "type": "Fuse" },
        "model": { "type": "WordLevel", "vocab": words, "unk_token": "<unknown>" },
    })
}

/// A `tokenizer_config.json` that makes `AutoTokenizer` take the `tokenizer.json` as it is.
pub fn tokenizer_config(block_size: usize) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": block_size,
        "clean_up_tokenization_spaces": false,
    })
}
