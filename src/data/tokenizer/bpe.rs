//! A tokenizer that a `tokenizer.json` describes, run by the `tokenizers` crate.
//!
//! Its JSON is kept in one canonical form (the crate's own, keys sorted, without truncation, padding
//! and dropout), so that the digest depends on what it does and the checkpoint is self-contained.
//! Decoding is ours: each id stands for a run of bytes, and a text's tokens have to add up to it,
//! but for a space that the tokenizer may put before each text.

use super::MOST_IDS;
use crate::{
    digest::{sha256, sorted},
    error::{Error, Result},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};
use serde_json::{Value, json};
use std::{
    cell::Cell,
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Once},
};

/// What to use where a tokenizer won't do.
const LOSSLESS: &str =
    "use a byte-level BPE, such as GPT-2's or one that `windtunnel tokenizer train` makes";

/// What a file's contents give, or the problem with them and the remedy.
type Checked<T> = std::result::Result<T, (String, String)>;

/// A tokenizer with its own vocabulary; a clone shares it.
#[derive(Clone)]
pub struct Bpe(Arc<Inner>);

struct Inner {
    /// Canonical.
    json: Value,
    digest: String,
    encoder: tokenizers::Tokenizer,
    /// The bytes that each id stands for; none for an id that no token has.
    pieces: Vec<Vec<u8>>,
}

impl Bpe {
    /// The tokenizer that the contents of a `tokenizer.json` describe. The error is a problem and a
    /// remedy, for the caller knows the place.
    pub fn new(mut json: Value) -> Checked<Self> {
        let remedy = || "give a tokenizer.json as Hugging Face's tokenizers write it".to_string();
        let Some(model) = json.get("model").filter(|model| model.is_object()) else {
            return Err(("it has no \"model\"".into(), remedy()));
        };
        check_vocabulary(model)?;
        check_merges(model).map_err(|(_, problem)| (problem, remedy()))?;
        for key in ["truncation", "padding"] {
            json[key] = Value::Null;
        }
        if json["model"].get("dropout").is_some() {
            json["model"]["dropout"] = Value::Null;
        }
        let refused =
            |e: &dyn std::fmt::Display| (format!("is not a tokenizer.json: {e}"), remedy());
        let encoder = encoder(&json).map_err(|e| refused(&e))?;
        let text = guarded(|| encoder.to_string(false)).map_err(|e| refused(&e))?;
        let json = serde_json::from_str(&text).map_err(|e| refused(&e))?;
        Self::canonical(json, encoder)
    }

    /// The same of JSON in the canonical form.
    fn canonical(json: Value, encoder: tokenizers::Tokenizer) -> Checked<Self> {
        let json = sorted(json);
        let pieces = pieces(&json, &encoder)?;
        Ok(Self(Arc::new(Inner {
            digest: sha256(json.to_string().as_bytes()),
            json,
            encoder,
            pieces,
        })))
    }

    /// The contents of its `tokenizer.json`, the same for the same tokenizer.
    pub fn text(&self) -> String {
        self.0.json.to_string()
    }

    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    pub fn vocab_size(&self) -> usize {
        self.0.pieces.len()
    }

    pub fn bytes_per_id(&self) -> Vec<u32> {
        let pieces = self.0.pieces.iter();
        pieces.map(|piece| piece.len() as u32).collect()
    }

    /// Ids of a text. Errors at the first place whose bytes would not come back.
    pub fn encode(&self, text: &str) -> Result<Vec<u16>> {
        let encoding = guarded(|| self.0.encoder.encode_fast(text, false));
        let encoding = encoding.map_err(|e| {
            Error::input(
                "the text",
                format!("the tokenizer can't encode it: {e}"),
                LOSSLESS,
            )
        })?;
        let ids: Vec<u16> = encoding.get_ids().iter().map(|id| *id as u16).collect();
        match self.spell(&ids, text, 0) {
            Ok(()) => Ok(ids),
            // Llama's kind puts a space before a text.
            Err(at) if self.spell(&ids, text, 1).is_err() => Err(changed(text, at)),
            Err(_) => Ok(ids),
        }
    }

    /// Whether some ids stand for a text with `n_before` spaces before it; if not, the byte of the
    /// text at which they do not.
    fn spell(&self, ids: &[u16], text: &str, n_before: usize) -> std::result::Result<(), usize> {
        let mut rest = text.as_bytes();
        for (i, id) in ids.iter().enumerate() {
            let at = text.len() - rest.len();
            let piece = self.0.pieces.get(usize::from(*id)).map_or(&[][..], |p| p);
            let own = match piece.strip_prefix(b" ") {
                _ if i > 0 || n_before == 0 => piece,
                Some(own) => own,
                None => return Err(at),
            };
            match rest.strip_prefix(own) {
                Some(after) if !piece.is_empty() => rest = after,
                _ => return Err(at),
            }
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(text.len() - rest.len()),
        }
    }

    /// The bytes of some ids as text; what is not UTF-8 becomes the replacement character.
    pub fn decode(&self, ids: &[u16]) -> String {
        let pieces = ids
            .iter()
            .filter_map(|id| self.0.pieces.get(usize::from(*id)));
        let bytes: Vec<u8> = pieces.flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A text's byte `at` is where the tokens stop being the text.
fn changed(text: &str, at: usize) -> Error {
    let place = format!("byte {at} of the text");
    let rest = &text[text.floor_char_boundary(at)..];
    let problem = match rest.chars().next() {
        Some(c) => format!("the character {c:?} is unknown to this tokenizer, or changed by it"),
        None => "this tokenizer adds to the text".into(),
    };
    Error::input(
        place,
        format!("{problem}: bits per byte would not count it"),
        LOSSLESS,
    )
}

fn encoder(json: &Value) -> std::result::Result<tokenizers::Tokenizer, String> {
    guarded(|| tokenizers::Tokenizer::from_bytes(json.to_string()))
}

/// What a call into the `tokenizers` crate gives, or what it says: it panics at some files.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> std::result::Result<T, String> {
    thread_local!(static GUARDED: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                usual(info);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    match result {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(panic) => Err(match panic.downcast_ref::<String>() {
            Some(message) => message.clone(),
            None => "the tokenizers library can't use it".into(),
        }),
    }
}

/// Errors when an id does not fit, or two tokens have the same one.
fn check_vocabulary(model: &Value) -> Checked<()> {
    let Some(vocabulary) = model.get("vocab").and_then(Value::as_object) else {
        // Unigram models have a list; the crate says what else is wrong.
        return Ok(());
    };
    let mut tokens = BTreeMap::new();
    for (token, id) in vocabulary {
        let remedy = "give every token a number of its own, from 0 up";
        let Some(id) = id.as_u64() else {
            return Err((
                format!("the token {token:?} has the id {id}"),
                remedy.into(),
            ));
        };
        if let Some(other) = tokens.insert(id, token) {
            let problem = format!("the tokens {other:?} and {token:?} have the same id, {id}");
            return Err((problem, remedy.into()));
        }
        fits(id)?;
    }
    Ok(())
}

fn fits(id: u64) -> Checked<()> {
    match id < MOST_IDS as u64 {
        true => Ok(()),
        false => Err((
            format!(
                "a token has the id {id}; ids are 16-bit numbers here, so that a vocabulary has at most {MOST_IDS}"
            ),
            "use a smaller vocabulary; `windtunnel tokenizer train` makes one".into(),
        )),
    }
}

/// Errors at the first merge (counted from 0) whose parts or result the vocabulary lacks.
pub(super) fn check_merges(model: &Value) -> std::result::Result<(), (usize, String)> {
    let vocabulary = model.get("vocab").and_then(Value::as_object);
    let merges = model.get("merges").and_then(Value::as_array);
    let (Some(vocabulary), Some(merges)) = (vocabulary, merges) else {
        return Ok(());
    };
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or("");
    for (idx, merge) in merges.iter().enumerate() {
        let parts: Vec<&str> = match merge {
            Value::String(line) => line.split(' ').collect(),
            Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let [a, b] = parts[..] else {
            return Err((idx, format!("the merge {merge} is not two tokens")));
        };
        let whole = format!("{a}{}", b.strip_prefix(prefix).unwrap_or(b));
        for token in [a, b, &whole] {
            if !vocabulary.contains_key(token) {
                let problem =
                    format!("the merge of {a:?} and {b:?} needs {token:?}, which is not a token");
                return Err((idx, problem));
            }
        }
    }
    Ok(())
}

/// The bytes that each id stands for, from how the tokenizer spells them. Errors when an id does
/// not fit.
fn pieces(json: &Value, encoder: &tokenizers::Tokenizer) -> Checked<Vec<Vec<u8>>> {
    let parts = ["normalizer", "pre_tokenizer", "decoder"].map(|key| &json[key]);
    let byte_level = parts[..2].iter().any(|part| has_type(part, "ByteLevel"));
    let spaces = parts.iter().any(|part| part.to_string().contains('▁'));
    let fallback = json["model"]["byte_fallback"] == true;
    let bytes: BTreeMap<char, u8> = (0..=255).map(|b| (byte_char(b), b)).collect();
    let spelt = |token: &str| -> Vec<u8> {
        let of_bytes = || token.chars().map(|c| bytes.get(&c).copied()).collect();
        match of_bytes() {
            Some(piece) if byte_level => piece,
            _ if fallback && one_byte(token).is_some() => one_byte(token).into_iter().collect(),
            _ if spaces => token.replace('▁', " ").into_bytes(),
            _ => token.as_bytes().to_vec(),
        }
    };
    let added = encoder.get_added_tokens_decoder();
    let mut pieces = Vec::new();
    let mut put = |id: u32, piece: Vec<u8>| -> Checked<()> {
        fits(u64::from(id))?;
        let id = id as usize;
        pieces.resize(pieces.len().max(id + 1), Vec::new());
        pieces[id] = piece;
        Ok(())
    };
    for (token, id) in encoder.get_vocab(false) {
        put(id, spelt(&token))?;
    }
    for (id, token) in added {
        put(id, token.content.into_bytes())?;
    }
    Ok(pieces)
}

/// Whether an object in `value` says that it is of this type.
fn has_type(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, v)| match key == "type" {
            true => v == name,
            false => has_type(v, name),
        }),
        Value::Array(items) => items.iter().any(|item| has_type(item, name)),
        _ => false,
    }
}

/// The byte that a token such as `<0x0A>` stands for.
fn one_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

/// The character that a byte-level tokenizer writes for a byte: itself where it can be seen
/// (GPT-2's `bytes_to_unicode`).
pub(super) fn byte_char(byte: u8) -> char {
    let seen = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match seen(byte) {
        true => char::from(byte),
        false => {
            let before = (0..byte).filter(|b| !seen(*b)).count() as u32;
            char::from_u32(256 + before).expect("below the surrogates")
        }
    }
}

/// The `tokenizer.json` of the tokenizer that has one token a byte.
pub fn bytes_alone() -> Value {
    let bytes = (0..=255).map(|byte| (byte_char(byte).to_string(), byte.into()));
    byte_level(Value::Object(bytes.collect()), json!([]))
}

/// The `tokenizer.json` of a byte-level BPE with GPT-2's splitting of text.
pub(super) fn byte_level(vocabulary: Value, merges: Value) -> Value {
    let byte_level = json!({
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": true,
        "use_regex": true,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocabulary,
            "merges": merges,
        },
    })
}

impl PartialEq for Bpe {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for Bpe {}

impl std::fmt::Debug for Bpe {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Bpe({} tokens, {})", self.vocab_size(), self.0.digest)
    }
}

impl Serialize for Bpe {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut whole = serializer.serialize_struct("Bpe", 1)?;
        whole.serialize_field("tokenizer", &self.0.json)?;
        whole.end()
    }
}

impl<'de> Deserialize<'de> for Bpe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Whole {
            tokenizer: Value,
        }
        let json = Whole::deserialize(deserializer)?.tokenizer;
        let encoder = encoder(&json).map_err(de::Error::custom)?;
        Self::canonical(json, encoder).map_err(|(problem, _)| de::Error::custom(problem))
    }
}
