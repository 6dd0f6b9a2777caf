//! Answers: what the built-in corpora ask, which tokens an answer is, what training counts of them,
//! and how many a model gets right.

#[path = "answers/accuracy.rs"]
mod accuracy;
#[path = "answers/facts.rs"]
mod facts;
#[path = "answers/masked.rs"]
mod masked;
#[path = "answers/programs.rs"]
mod programs;
#[path = "answers/tokens.rs"]
mod tokens;

use std::{path::Path, sync::Arc};
use windtunnel::{
    data::{
        Corpus, Tokenizer, TokenizerKind,
        source::{Source, SplitRule},
        synth,
    },
    digest::sha256,
    rng::Rng,
};

/// A built-in corpus of so many bytes, by documents.
fn documents(name: &str, bytes: usize) -> Vec<String> {
    let grammar = synth::GRAMMARS.iter().find(|g| g.name == name).unwrap();
    let text = synth::generate(grammar, bytes, synth::DEFAULT_SEED).unwrap();
    text.trim_end().split("\n\n").map(Into::into).collect()
}

fn source(text: &str, answers: Option<&str>) -> Source {
    Source {
        name: "quiz".into(),
        text: text.into(),
        digest: sha256(text.as_bytes()),
        split: SplitRule::Hash {
            validation: 0.3,
            test: 0.1,
        },
        origin: "a test".into(),
        licence: "none".into(),
        answers: answers.map(Into::into),
    }
}

/// Short documents of lines of `a` and `b`, some with an answer of one or two letters after a colon.
fn quiz(seed: u64, n: usize) -> String {
    let mut rng = Rng::named(seed, "quiz");
    let mut text = String::new();
    for _ in 0..n {
        for _ in 0..1 + rng.below(4) {
            for _ in 0..1 + rng.below(8) {
                text.push(['a', 'b'][rng.below(2) as usize]);
            }
            if rng.below(3) > 0 {
                text.push_str([":a", ":b", ":ab", ":bb"][rng.pick(&[3.0, 3.0, 1.0, 1.0])]);
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

fn opened(home: &Path, source: &Source, kind: TokenizerKind) -> (Arc<Corpus>, Tokenizer) {
    let tokenizer = Tokenizer::of(kind, [source.text.whole().unwrap()]).unwrap();
    (Corpus::open(home, source, &tokenizer).unwrap(), tokenizer)
}

#[test]
fn the_samples_of_the_readme_are_documents_of_the_built_in_corpora() {
    let readme = include_str!("../README.md");
    for grammar in &synth::GRAMMARS {
        let fence = format!("```text {}\n", grammar.name);
        let sample = readme.split(&fence).nth(1).expect("a sample of each");
        let sample = sample.split("\n```").next().unwrap();
        let documents = documents(grammar.name, synth::DEFAULT_BYTES);
        assert!(
            documents.iter().any(|document| document == sample),
            "{sample}"
        );
    }
}
