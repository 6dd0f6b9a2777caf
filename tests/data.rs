//! Text to tokens to batches, seen from outside: what is drawn, from where, and how it got here.

#[path = "data/batches.rs"]
mod batches;
#[path = "data/cache.rs"]
mod cache;
#[path = "data/fetch.rs"]
mod fetch;
#[path = "data/fetch_command.rs"]
mod fetch_command;
#[path = "data/mixtures.rs"]
mod mixtures;
#[path = "data/options.rs"]
mod options;
#[path = "data/parts.rs"]
mod parts;
#[path = "data/phases.rs"]
mod phases;
#[path = "data/server.rs"]
mod server;
#[path = "data/windows.rs"]
mod windows;

use std::{path::Path, sync::Arc};
use windtunnel::{
    data::{
        Corpus, Tokenizer, TokenizerKind,
        mixture::Mixture,
        source::{Source, SplitRule},
    },
    digest::sha256,
    rng::Rng,
};

const TAIL: SplitRule = SplitRule::Tail {
    validation: 0.1,
    test: 0.05,
};

/// Where the characters of [`counted`] texts begin: three alphabets without a common character.
const FIRST: [u32; 3] = [0x3400, 0x4E00, 0xAC00];

/// `n` different characters in code-point order, three bytes each: a token tells its place.
fn counted(alphabet: usize, n: u32) -> String {
    (0..n)
        .map(|i| char::from_u32(FIRST[alphabet] + i).unwrap())
        .collect()
}

/// Lines of random characters of one to four bytes, 20 to 60 a line.
fn noise(seed: u64, lines: usize) -> String {
    let letters: Vec<char> = "abcdefgh éüß—東京🙂".chars().collect();
    let mut rng = Rng::named(seed, "noise");
    let mut text = String::new();
    for _ in 0..lines {
        let length = 20 + rng.below(41);
        text.extend((0..length).map(|_| letters[rng.below(letters.len() as u64) as usize]));
        text.push('\n');
    }
    text
}

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.into(),
        text: text.into(),
        digest: sha256(text.as_bytes()),
        split: TAIL,
        origin: "a test".into(),
        licence: "none".into(),
        answers: None,
    }
}

/// The corpora of these names and texts, under one character tokenizer.
fn corpora(home: &Path, texts: &[(&str, String)]) -> (Vec<Arc<Corpus>>, Tokenizer) {
    let all = texts.iter().map(|(_, text)| text.as_str());
    let tokenizer = Tokenizer::of(TokenizerKind::Char, all).unwrap();
    let open = |(name, text): &(&str, String)| {
        Corpus::open(home, &source(name, text), &tokenizer).unwrap()
    };
    (texts.iter().map(open).collect(), tokenizer)
}

/// Corpora of [`counted`] characters, called "a", "b" and "c", of these lengths.
fn counted_corpora(home: &Path, lengths: &[u32]) -> Vec<Arc<Corpus>> {
    let names = ["a", "b", "c"];
    let texts: Vec<(&str, String)> = lengths
        .iter()
        .enumerate()
        .map(|(i, n)| (names[i], counted(i, *n)))
        .collect();
    corpora(home, &texts).0
}

/// A mixture in the order given; weights as they are.
fn mixture(parts: &[(f64, &Arc<Corpus>)]) -> Mixture {
    let parts = parts
        .iter()
        .map(|(weight, corpus)| (*weight, (*corpus).clone()));
    Mixture::of(parts.collect())
}
