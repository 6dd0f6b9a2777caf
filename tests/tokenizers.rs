//! Tokenizers that files hold: the ids that Hugging Face's package gives, bytes that add up,
//! training that depends on the text alone, and checkpoints that need no file beside them.

#[path = "tokenizers/binary.rs"]
mod binary;
#[path = "tokenizers/refused.rs"]
mod refused;

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};
use tempfile::TempDir;
use windtunnel::{
    data::{
        Corpus, EvalWindows, Tokenizer,
        source::{Source, SplitRule},
        split::{Part, split},
        tokenizer::{Bpe, files, training},
    },
    digest::sha256,
    rng::Rng,
};

/// What `make_tokenizers.py` wrote.
fn fixture() -> Value {
    serde_json::from_str(include_str!("fixtures/tokenizers.json")).unwrap()
}

/// GPT-2's files in a folder as Hugging Face names them, or `None` where they are not at hand.
fn gpt2_folder() -> Option<TempDir> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/tokenizers");
    let folder = TempDir::new().unwrap();
    for name in ["vocab.json", "merges.txt"] {
        let from = shared.join(format!("gpt2_{name}"));
        if !from.is_file() {
            println!("skipped: no {}", from.display());
            return None;
        }
        fs::copy(from, folder.path().join(name)).unwrap();
    }
    Some(folder)
}

fn gpt2() -> Option<Bpe> {
    Some(files::read(gpt2_folder()?.path()).unwrap())
}

/// Paragraphs of words in several alphabets, made of a few syllables.
fn paragraphs(seed: u64, n: usize) -> String {
    let syllables = [
        "the", "wi", "nd", "tun", "nel", "smo", "ke", "naï", "風", "洞", "'t", "🙂", "42,", "ra",
    ];
    let mut rng = Rng::named(seed, "paragraphs");
    let mut text = String::new();
    for _ in 0..n {
        for _ in 0..12 {
            for _ in 0..1 + rng.below(4) {
                text += syllables[rng.below(syllables.len() as u64) as usize];
            }
            text += if rng.below(9) == 0 { "\n" } else { " " };
        }
        text += "\n\n";
    }
    text
}

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.into(),
        text: text.into(),
        digest: sha256(text.as_bytes()),
        split: SplitRule::Tail {
            validation: 0.1,
            test: 0.05,
        },
        origin: "a test".into(),
        licence: "none".into(),
        answers: None,
    }
}

fn trained(text: &str, vocab_size: usize) -> Bpe {
    training::train([text], vocab_size).unwrap()
}

/// Any characters at all, mostly from where text is.
fn any_text(rng: &mut Rng) -> String {
    let ranges = [
        (0, 0x80),
        (0, 0x80),
        (0x80, 0x800),
        (0x800, 0x10000),
        (0x1F300, 0x1F700),
        (0, 0x110000),
    ];
    let length = rng.below(60);
    (0..length)
        .filter_map(|_| {
            let (from, to) = ranges[rng.below(ranges.len() as u64) as usize];
            char::from_u32(from + rng.below(u64::from(to - from)) as u32)
        })
        .collect()
}

fn agrees(bpe: &Bpe, texts: &Value) {
    let texts = texts.as_array().unwrap();
    assert!(texts.len() >= 20);
    for pair in texts {
        let text = pair["text"].as_str().unwrap();
        let want: Vec<u16> = serde_json::from_value(pair["ids"].clone()).unwrap();
        let ids = bpe.encode(text).unwrap();
        assert_eq!(ids, want, "{text:?}");
        assert_eq!(bpe.decode(&ids), text);
    }
}

#[test]
fn gpt2_gives_the_reference_ids() {
    let Some(bpe) = gpt2() else { return };
    assert_eq!(bpe.vocab_size(), 50_257);
    agrees(&bpe, &fixture()["gpt2"]["texts"]);
}

#[test]
fn a_tokenizer_json_gives_the_reference_ids_whatever_else_it_asks_for() {
    let fixture = fixture();
    let bpe = Bpe::new(fixture["small"]["tokenizer"].clone()).unwrap();
    agrees(&bpe, &fixture["small"]["texts"]);
}

#[test]
fn random_text_comes_back_and_its_bytes_are_counted() {
    let small = fixture()["small"]["tokenizer"].clone();
    let mut all = vec![Bpe::new(small).unwrap(), trained(&paragraphs(1, 50), 400)];
    all.extend(gpt2());
    let mut rng = Rng::named(7, "unicode");
    for _ in 0..500 {
        let text = any_text(&mut rng);
        for bpe in &all {
            let ids = bpe.encode(&text).unwrap();
            assert_eq!(bpe.decode(&ids), text);
            let sizes = bpe.bytes_per_id();
            let bytes: u32 = ids.iter().map(|id| sizes[usize::from(*id)]).sum();
            assert_eq!(bytes as usize, text.len(), "{text:?}");
        }
    }
}

#[test]
fn the_tokens_of_each_part_stand_for_the_bytes_of_the_part() {
    let home = TempDir::new().unwrap();
    let text = paragraphs(2, 300);
    // Few merges: most characters beyond ASCII are cut into several tokens.
    for bpe in [Some(trained(&text[..200], 270)), gpt2()]
        .into_iter()
        .flatten()
    {
        let sizes = bpe.bytes_per_id();
        let tokenizer = Tokenizer::Bpe(bpe);
        let source = source("words", &text);
        let corpus = Corpus::open(home.path(), &source, &tokenizer).unwrap();
        let parts = split(&text, &source.split).unwrap();
        let tokens = [corpus.train(), corpus.locked_test(), corpus.validation()];
        for part in [Part::Train, Part::Test, Part::Validation] {
            let bytes: usize = tokens[part as usize]
                .iter()
                .map(|id| sizes[usize::from(*id)] as usize)
                .sum();
            let want: usize = parts[part as usize]
                .iter()
                .map(|document| document.0.len())
                .sum();
            assert_eq!(bytes, want);
        }
        // Every token of the validation part but the first is a target once.
        let first = sizes[usize::from(corpus.validation()[0])];
        let windows = EvalWindows::new(corpus.clone(), 16, 0, &tokenizer).unwrap();
        let part = &parts[Part::Validation as usize];
        let bytes: usize = part.iter().map(|document| document.0.len()).sum();
        assert_eq!(windows.bytes() + u64::from(first), bytes as u64);
    }
}

#[test]
fn training_depends_on_the_text_alone() {
    let text = paragraphs(3, 200);
    let first = trained(&text, 500);
    for _ in 0..3 {
        assert_eq!(trained(&text, 500).text(), first.text());
    }
    // The order of documents says nothing, and words are never cut across them.
    let mut documents: Vec<&str> = text.split_inclusive("\n\n").collect();
    let forwards = training::train(documents.iter().copied(), 500).unwrap();
    documents.reverse();
    let backwards = training::train(documents, 500).unwrap();
    assert_eq!(forwards.text(), backwards.text());
    assert_ne!(trained(&text, 499).digest(), first.digest());
}

#[test]
fn training_merges_what_the_reference_merges() {
    let small = &fixture()["small"];
    let reference = &small["tokenizer"]["model"];
    // The reference has a special token besides.
    let n_tokens = reference["vocab"].as_object().unwrap().len() - 1;
    assert_eq!(n_tokens, 419);
    let bpe = trained(small["trained_on"].as_str().unwrap(), n_tokens);
    let ours: Value = serde_json::from_str(&bpe.text()).unwrap();
    assert_eq!(ours["model"]["merges"], reference["merges"]);
}

#[test]
fn training_stops_when_no_pair_occurs_twice() {
    let bpe = trained("ab ab cd", 1000);
    // "a" with "b", and the space with that only once: 256 bytes and one merge.
    assert_eq!(bpe.vocab_size(), 257);
    assert_eq!(bpe.encode("ab").unwrap().len(), 1);
}

#[test]
fn the_same_tokenizer_has_one_digest_in_any_file() {
    let Some(folder) = gpt2_folder() else { return };
    let two = files::read(folder.path()).unwrap();
    let whole = folder.path().join("elsewhere.json");
    // As somebody's editor might write it: indented, with a limit on length.
    let mut json: Value = serde_json::from_str(&two.text()).unwrap();
    json["truncation"] = serde_json::json!({ "direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0 });
    fs::write(&whole, serde_json::to_string_pretty(&json).unwrap()).unwrap();
    let one = files::read(&whole).unwrap();
    assert_eq!(one.digest(), two.digest());
    assert_eq!(one.encode("a b c d e f g h i j k").unwrap().len(), 11);
}

#[test]
fn a_tokenizer_survives_a_checkpoints_header() {
    let bpe = trained(&paragraphs(4, 50), 320);
    let tokenizer = Tokenizer::Bpe(bpe);
    let text = serde_json::to_string(&tokenizer).unwrap();
    let back: Tokenizer = serde_json::from_str(&text).unwrap();
    assert_eq!(back, tokenizer);
    assert_eq!(back.digest(), tokenizer.digest());
    let ids = |t: &Tokenizer| t.encode("the wind tunnel 風").unwrap();
    assert_eq!(ids(&back), ids(&tokenizer));
}

#[test]
fn a_megabyte_is_encoded_in_seconds() {
    let Some(bpe) = gpt2() else { return };
    let text = paragraphs(5, 12_000);
    assert!(text.len() > 1_000_000, "{}", text.len());
    let started = Instant::now();
    let n: usize = text
        .split_inclusive("\n\n")
        .map(|document| bpe.encode(document).unwrap().len())
        .sum();
    let seconds = started.elapsed().as_secs_f64();
    println!("{n} tokens of {} bytes in {seconds:.2} s", text.len());
    assert!(seconds < 20.0, "{seconds}");
}

#[test]
fn one_very_long_word_is_no_trouble() {
    let bpe = trained(&"x".repeat(100_000), 270);
    let text = "x".repeat(200_000);
    assert_eq!(bpe.decode(&bpe.encode(&text).unwrap()), text);
}

/// A path under the test's folder.
fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}
