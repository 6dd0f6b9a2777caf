//! Files that are no tokenizer, and texts that a tokenizer would not give back: place, problem and
//! remedy.

use super::{fixture, source, trained, write};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;
use windtunnel::{
    data::{
        Corpus, EvalWindows, Tokenizer,
        tokenizer::{Bpe, files, training},
    },
    error::Error,
};

fn refused(error: &Error, place: &str, problem: &str, remedy: &str) {
    assert_eq!(error.exit_code(), 2, "{error}");
    for (part, words) in [
        (&error.place, place),
        (&error.problem, problem),
        (&error.remedy, remedy),
    ] {
        assert!(part.contains(words), "{words:?} is not in {error}");
    }
}

#[test]
fn a_file_that_is_no_tokenizer_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let read = |name: &str, text: &str| files::read(&write(folder.path(), name, text)).unwrap_err();
    refused(
        &read("a.json", "{\n\"model\": nothing"),
        "a.json:2",
        "expected",
        "tokenizer.json",
    );
    refused(
        &read("b.json", "[1, 2]"),
        "b.json",
        "model",
        "tokenizer.json",
    );
    refused(
        &read("c.json", "{\"!\": 0}"),
        "c.json",
        "no \"model\"",
        "tokenizer.json",
    );
    refused(
        &read("d.json", "{\"model\": {\"type\": \"Magic\"}}"),
        "d.json",
        "not a tokenizer",
        "tokenizer.json",
    );
    let bytes = folder.path().join("e.json");
    fs::write(&bytes, [b'{', 0xFF]).unwrap();
    assert_eq!(files::read(&bytes).unwrap_err().exit_code(), 2);
    let missing = files::find(folder.path(), "./none.json").unwrap_err();
    refused(&missing, "./none.json", "no such file", "tokenizer.json");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    refused(
        &files::read(&empty).unwrap_err(),
        "empty",
        "neither",
        "merges.txt",
    );
}

#[test]
fn a_name_that_nothing_has_suggests_one_that_something_has() {
    let home = TempDir::new().unwrap();
    refused(
        &files::find(home.path(), "chars").unwrap_err(),
        "\"chars\"",
        "no such tokenizer",
        "\"char\"",
    );
    write(home.path(), "tokenizers/tales4k.json", "{}");
    refused(
        &files::find(home.path(), "tales4").unwrap_err(),
        "\"tales4\"",
        "no such",
        "\"tales4k\"",
    );
    assert!(files::find(home.path(), "tales4k").is_ok());
}

#[test]
fn an_id_beyond_sixteen_bits_is_refused_and_the_last_one_that_fits_is_not() {
    let with = |id: u32| {
        let mut json: Value = serde_json::from_str(&trained("some text", 256).text()).unwrap();
        json["model"]["vocab"]["extra"] = id.into();
        Bpe::new(json)
    };
    let (problem, remedy) = with(65_536).unwrap_err();
    assert!(
        problem.contains("65536") && problem.contains("16-bit"),
        "{problem}"
    );
    assert!(remedy.contains("tokenizer train"), "{remedy}");
    assert_eq!(with(65_535).unwrap().vocab_size(), 65_536);
    let (problem, _) = with(7).unwrap_err();
    assert!(problem.contains("same id"), "{problem}");
    // The same beyond the model: a token that is added to it.
    let mut json: Value = serde_json::from_str(&trained("some text", 256).text()).unwrap();
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    vocab.insert("high".into(), 65_535.into());
    json["added_tokens"] = json!([{ "id": 65_536, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true }]);
    // The package gives added tokens the ids after the model's count, wherever those are.
    assert!(
        Bpe::new(json).map_or_else(|(p, _)| p.contains("16-bit"), |b| b.vocab_size() <= 65_536)
    );
}

#[test]
fn merges_that_do_not_fit_the_vocabulary_are_refused_with_their_line() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "vocab.json", r#"{"a":0,"b":1,"c":2,"ab":3}"#);
    let read = |merges: &str| {
        write(folder.path(), "merges.txt", merges);
        files::read(folder.path())
    };
    assert_eq!(
        read("#version: 0.2\na b\n").unwrap().encode("abc").unwrap(),
        [3, 2]
    );
    let error = read("#version: 0.2\na b\nab c\n").unwrap_err();
    refused(&error, "merges.txt:3", "\"abc\"", "vocab.json");
    let error = read("#version: 0.2\na z\n").unwrap_err();
    refused(&error, "merges.txt:2", "\"z\"", "vocab.json");
    let error = read("#version: 0.2\nab\n").unwrap_err();
    refused(&error, "merges.txt:2", "not two tokens", "vocab.json");
    let mut json = fixture()["small"]["tokenizer"].clone();
    json["model"]["merges"] = json!([["t", "zebra"]]);
    let (problem, _) = Bpe::new(json).unwrap_err();
    assert!(problem.contains("zebra"), "{problem}");
}

#[test]
fn a_character_that_would_not_come_back_is_refused_with_its_place() {
    let home = TempDir::new().unwrap();
    let folder = TempDir::new().unwrap();
    write(folder.path(), "vocab.json", r#"{"a":0,"b":1,"Ġ":2,"Ċ":3}"#);
    write(folder.path(), "merges.txt", "#version: 0.2\n");
    let tokenizer = Tokenizer::Bpe(files::read(folder.path()).unwrap());
    let error = tokenizer.encode("ab é").unwrap_err();
    refused(&error, "byte 3", "'é' is unknown", "byte-level BPE");
    let text = "ab ab\n\n".repeat(100) + "abc\n\n";
    let error = Corpus::open(home.path(), &source("letters", &text), &tokenizer).unwrap_err();
    refused(
        &error,
        "corpus \"letters\", byte 702",
        "'c'",
        "byte-level BPE",
    );
    assert!(fs::read_dir(home.path()).unwrap().next().is_none());
}

#[test]
fn a_tokenizer_that_changes_text_is_refused_when_it_does() {
    let mut json: Value = serde_json::from_str(&trained("some text", 256).text()).unwrap();
    json["normalizer"] = json!({ "type": "Lowercase" });
    let lower = Bpe::new(json.clone()).unwrap();
    assert!(lower.encode("quiet").is_ok());
    refused(
        &lower.encode("a Shout").unwrap_err(),
        "byte 2",
        "'S'",
        "byte-level",
    );
    json["normalizer"] = Value::Null;
    json["pre_tokenizer"]["add_prefix_space"] = true.into();
    let spaced = Bpe::new(json).unwrap();
    // A space before the text is all that may be added.
    assert_eq!(
        spaced.encode("word").unwrap(),
        spaced.encode(" word").unwrap()
    );
    assert_eq!(spaced.decode(&spaced.encode("word").unwrap()), " word");
}

/// As Llama 2 has it: a space before each text, "▁" for spaces, bytes for what has no token.
fn llama() -> Bpe {
    let mut vocab = json!({ "▁": 256, "a": 257, "▁a": 258, "▁▁": 259 });
    for byte in 0..=255 {
        vocab[format!("<0x{byte:02X}>")] = byte.into();
    }
    Bpe::new(json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "▁" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        ] },
        "model": { "type": "BPE", "byte_fallback": true, "vocab": vocab, "merges": ["▁ a", "▁ ▁"] },
    }))
    .unwrap()
}

#[test]
fn a_space_that_llama_puts_before_a_text_is_taken_and_counted_nowhere() {
    let bpe = llama();
    assert_eq!(bpe.encode("a a").unwrap(), [258, 258]);
    assert_eq!(bpe.encode(" a").unwrap(), [256, 258]);
    assert_eq!(bpe.encode("é").unwrap(), [256, 0xC3, 0xA9]);
    assert_eq!(bpe.encode("  a").unwrap(), [259, 258]);
    assert!(bpe.encode("").unwrap().len() <= 1);

    let home = TempDir::new().unwrap();
    let text: String = (0..400).map(|n| format!("a {n} é\n\n")).collect();
    let corpus = Corpus::open(
        home.path(),
        &source("spaced", &text),
        &Tokenizer::Bpe(bpe.clone()),
    )
    .unwrap();
    let counts = corpus.manifest().validation;
    let sizes = bpe.bytes_per_id();
    let bytes = |ids: &[u16]| -> u64 {
        let sizes = ids.iter().map(|id| u64::from(sizes[usize::from(*id)]));
        sizes.sum()
    };
    // One space too many in each document.
    let spelt = bytes(corpus.validation());
    assert_eq!(spelt, counts.bytes + counts.documents);
    // All targets but the first token, so a first byte or two are missing.
    let windows = EvalWindows::new(corpus, 16, 0, &Tokenizer::Bpe(bpe)).unwrap();
    let missing = counts.bytes - windows.bytes();
    assert!((1..=2).contains(&missing), "{missing}");
}

#[test]
fn an_unknown_token_is_no_token() {
    let json = json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": { "type": "Split", "pattern": { "Regex": "." }, "behavior": "Isolated", "invert": false },
        "model": { "type": "WordLevel", "vocab": { "[UNK]": 0, "a": 1, "b": 2 }, "unk_token": "[UNK]" },
    });
    let bpe = Bpe::new(json).unwrap();
    assert_eq!(bpe.encode("aba").unwrap(), [1, 2, 1]);
    refused(
        &bpe.encode("abc").unwrap_err(),
        "byte 2",
        "'c' is unknown",
        "byte-level",
    );
}

#[test]
fn pieces_of_sentences_are_bytes_too() {
    // As SentencePiece spells them: "▁" for a space, bytes where a character has no token.
    let json = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        "model": {
            "type": "BPE",
            "byte_fallback": true,
            "vocab": { "a": 0, "▁": 1, "▁a": 2, "<0xC3>": 3, "<0xA9>": 4 },
            "merges": ["▁ a"],
        },
    });
    let bpe = Bpe::new(json).unwrap();
    let ids = bpe.encode("a a é").unwrap();
    assert_eq!(ids, [0, 2, 1, 3, 4]);
    assert_eq!(bpe.decode(&ids), "a a é");
    assert_eq!(bpe.bytes_per_id(), [1, 1, 2, 1, 1]);
}

/// Every value within `json`, itself included, by its path.
fn paths(json: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_string());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match json {
        Value::Object(map) if map.len() < 50 => {
            for (key, value) in map {
                paths(value, &format!("{path}/{}", escaped(key)), found);
            }
        }
        Value::Array(items) => {
            for (idx, item) in items.iter().enumerate().take(5) {
                paths(item, &format!("{path}/{idx}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn whatever_a_file_says_there_is_an_answer() {
    let junk = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(4_294_967_296_u64),
        json!(""),
        json!("ByteLevel"),
        json!("(?<"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({ "type": "Sequence", "pretokenizers": [], "normalizers": [], "decoders": [] }),
        json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA" }),
        json!({ "type": "Precompiled", "precompiled_charsmap": "" }),
        json!({ "type": "Split", "pattern": { "Regex": "(" }, "behavior": "Isolated", "invert": false }),
        json!({ "type": "Split", "pattern": { "String": "" }, "behavior": "Removed", "invert": true }),
        json!({ "type": "FixedLength", "length": 0 }),
        json!({ "type": "Unigram", "unk_id": 9, "vocab": [["a", -1.0]] }),
        json!({ "type": "Unigram", "unk_id": null, "vocab": [["a", -1.0], ["", 0.0]] }),
        json!({ "type": "Unigram", "unk_id": null, "vocab": [] }),
        json!({ "type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9, "vocab": { "a": 0 } }),
        json!({ "type": "WordLevel", "unk_token": "?", "vocab": {} }),
        json!({ "type": "BPE", "vocab": {}, "merges": [] }),
        json!({ "type": "BPE", "vocab": { "é": 0, "a": 1, "éa": 2 }, "merges": [["é", "a"]], "continuing_subword_prefix": "ab" }),
        json!({ "type": "BPE", "vocab": { "a": 0 }, "merges": [], "unk_token": "?" }),
    ];
    let whole = fixture()["small"]["tokenizer"].clone();
    let mut found = Vec::new();
    paths(&whole, "", &mut found);
    assert!(found.len() > 60, "{}", found.len());
    for path in &found {
        for value in &junk {
            let mut json = whole.clone();
            *json.pointer_mut(path).unwrap() = value.clone();
            if let Ok(bpe) = Bpe::new(json) {
                for text in ["", "a cat, é 🙂", "<|endoftext|>"] {
                    let ids = bpe.encode(text);
                    let back = ids.map(|ids| bpe.decode(&ids));
                    let is_text = |back: String| {
                        // But for the space that some put before it.
                        back == text || back.strip_prefix(' ') == Some(text)
                    };
                    assert!(back.is_err() || is_text(back.unwrap()), "{path}: {value}");
                }
            }
        }
    }
}

#[test]
fn sizes_that_no_vocabulary_has_are_refused() {
    for size in [0, 255, 65_537] {
        let error = training::train(["text"], size).unwrap_err();
        refused(&error, "--vocab-size", &size.to_string(), "65536");
    }
}
