//! Token files: nanoGPT's, llm.c's, and what is wrong with some.

use crate::{Bench, on_disk, to_add};
use std::path::PathBuf;
use windtunnel::{
    data::{
        Corpus, Tokenizer,
        added::{Added, ToAdd},
        ingest::silent,
        split::Part,
        tokenizer::{Bpe, training},
    },
    error::{Error, Result},
};

/// A tokenizer with an end-of-text token, number 300.
fn tokenizer() -> Tokenizer {
    let bpe = training::train(["the cat and the hat and the mat, "].repeat(9), 300).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&bpe.text()).unwrap();
    let size = bpe.vocab_size();
    json["added_tokens"] = serde_json::json!([{
        "id": size, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true
    }]);
    Tokenizer::Bpe(Bpe::new(json).unwrap())
}

fn end(tokenizer: &Tokenizer) -> u16 {
    (tokenizer.vocab_size() - 1) as u16
}

fn le(ids: &[u16]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

/// llm.c's header, then the ids.
fn shard(ids: &[u16]) -> Vec<u8> {
    header([20_240_520, 1, ids.len() as i32], &le(ids))
}

fn header(start: [i32; 3], rest: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = start.iter().flat_map(|n| n.to_le_bytes()).collect();
    bytes.resize(1024, 0);
    [&bytes, rest].concat()
}

fn with(path: PathBuf, tokenizer: &Tokenizer) -> ToAdd {
    ToAdd {
        tokenizer: Some(("the.json".into(), tokenizer.clone())),
        ..to_add(path)
    }
}

fn add(bench: &Bench, path: &str, name: &str, tokenizer: &Tokenizer) -> Result<Added> {
    let added = bench
        .addition(name, &with(bench.path(path), tokenizer))?
        .added;
    bench.library.add(name, &added)?;
    Ok(added)
}

/// The corpus from memory, after it was found to be the same from the disk.
fn open(bench: &Bench, name: &str, tokenizer: &Tokenizer) -> std::sync::Arc<Corpus> {
    let source = bench.source(name).unwrap();
    let memory = Corpus::open(&bench.home(), &source, tokenizer).unwrap();
    let disk = bench.path("disk");
    let disk = Corpus::open_with(&disk, &source, tokenizer, &on_disk(), &mut silent).unwrap();
    assert_eq!(memory.manifest(), disk.manifest());
    assert_eq!(memory.train(), disk.train());
    assert_eq!(memory.validation(), disk.validation());
    memory
}

/// Documents of 5 to 14 ids, without the end-of-text token.
fn documents(n: u16) -> Vec<Vec<u16>> {
    (0..n)
        .map(|i| (0..5 + i % 10).map(|j| (i * 7 + j) % 256).collect())
        .collect()
}

#[test]
fn nanogpts_two_files_are_training_and_validation() {
    let (bench, tokenizer) = (Bench::new(), tokenizer());
    let end = end(&tokenizer);
    // An end after each document, as its scripts write.
    let ids = |documents: &[Vec<u16>]| -> Vec<u16> {
        documents
            .iter()
            .flat_map(|d| [&d[..], &[end]].concat())
            .collect()
    };
    let all = documents(200);
    let (train, val) = (ids(&all[..150]), ids(&all[150..]));
    bench.write("d/train.bin", le(&train));
    bench.write("d/val.bin", le(&val));
    bench.write("d/prepare.py", "a script");
    add(&bench, "d", "nano", &tokenizer).unwrap();
    let corpus = open(&bench, "nano", &tokenizer);
    assert_eq!([corpus.train(), corpus.locked_test()].concat(), train);
    assert_eq!(corpus.validation(), val);
    let share = corpus.locked_test().len() as f64 / train.len() as f64;
    assert!((0.03..0.06).contains(&share), "{share}");
    // Every document begins where it does, the test part with a whole one.
    assert_eq!(corpus.train().last(), Some(&end));
    let starts: Vec<usize> = corpus.documents(Part::Validation).collect();
    let mut at = 0;
    let expected: Vec<usize> = all[150..]
        .iter()
        .map(|d| (at, at += d.len() + 1).0)
        .collect();
    assert_eq!(starts, expected);
    let m = corpus.manifest();
    assert_eq!(m.train.documents + m.test.documents, 150);
    // The end-of-text token counts as the text that it is spelt with.
    let sizes = tokenizer.bytes_per_id();
    assert_eq!(sizes[usize::from(end)], 13);
    let bytes: u64 = val
        .iter()
        .map(|id| u64::from(sizes[usize::from(*id)]))
        .sum();
    assert_eq!(m.validation.bytes, bytes);
}

#[test]
fn shards_with_a_header_follow_each_other_and_documents_may_straddle_them() {
    let (bench, tokenizer) = (Bench::new(), tokenizer());
    let end = end(&tokenizer);
    // An end before each document, as llm.c writes.
    let ids: Vec<u16> = documents(300)
        .iter()
        .flat_map(|d| [&[end], &d[..]].concat())
        .collect();
    let shards: Vec<&[u16]> = ids.chunks(700).collect();
    for (i, ids) in shards.iter().enumerate() {
        let part = if i == 0 { "val" } else { "train" };
        bench.write(&format!("s/web_{part}_{i:06}.bin"), shard(ids));
    }
    add(&bench, "s", "shards", &tokenizer).unwrap();
    let corpus = open(&bench, "shards", &tokenizer);
    assert_eq!(corpus.validation(), shards[0]);
    assert_eq!([corpus.train(), corpus.locked_test()].concat(), ids[700..]);
    assert_eq!(corpus.locked_test()[0], end);
    let begun = corpus.train().iter().filter(|id| **id == end).count();
    // The first shard to train on begins within a document.
    let within = usize::from(corpus.train()[0] != end);
    assert_eq!(corpus.documents(Part::Train).count(), begun + within);

    // Without names that say it, the last ones are for validation.
    for (i, ids) in shards.iter().enumerate() {
        bench.write(&format!("t/web_{i:06}.bin"), shard(ids));
    }
    add(&bench, "t/web_*.bin", "tail", &tokenizer).unwrap();
    let corpus = open(&bench, "tail", &tokenizer);
    let all = [corpus.train(), corpus.locked_test(), corpus.validation()];
    assert_eq!(all.concat(), ids);
    assert!(all.iter().all(|part| part[0] == end));
    let share = all[2].len() as f64 / ids.len() as f64;
    assert!((0.09..=0.1).contains(&share), "{share}");
}

#[test]
fn ids_without_ends_of_text_are_cut_exactly_and_32_bit_ones_that_fit_are_taken() {
    let bench = Bench::new();
    let ids: Vec<u16> = (0..1000).map(|i| i % 256).collect();
    let wide: Vec<u8> = ids
        .iter()
        .flat_map(|id| u32::from(*id).to_le_bytes())
        .collect();
    bench.write("plain.bin", le(&ids));
    bench.write("wide.bin", header([20_240_801, 7, 1000], &wide));
    for name in ["plain", "wide"] {
        let byte = ToAdd {
            tokenizer: Some(("byte".into(), Tokenizer::Byte)),
            ..to_add(bench.path(&format!("{name}.bin")))
        };
        let added = bench.addition(name, &byte).unwrap().added;
        bench.library.add(name, &added).unwrap();
        let corpus = open(&bench, name, &Tokenizer::Byte);
        assert_eq!(corpus.train(), &ids[..850]);
        assert_eq!(corpus.locked_test(), &ids[850..900]);
        assert_eq!(corpus.validation(), &ids[900..]);
        assert_eq!(corpus.manifest().train.documents, 1);
    }
}

fn refused(bytes: Vec<u8>) -> Error {
    let bench = Bench::new();
    bench.write("a.bin", bytes);
    let error = add(&bench, "a.bin", "a", &tokenizer()).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    assert!(error.place.contains("a.bin"), "{error}");
    assert!(!bench.home().exists());
    error
}

#[test]
fn a_file_that_is_not_what_its_header_says_is_refused() {
    let ids: Vec<u16> = (0..2000).map(|i| i % 250).collect();
    let body = le(&ids);
    for (bytes, problem) in [
        (
            header([20_240_520, 1, 2001], &body),
            "says 2001 ids, and 4000 bytes",
        ),
        (
            header([20_240_520, 1, 1999], &body),
            "says 1999 ids, and 4000 bytes",
        ),
        (header([20_240_520, 1, -1], &body), "says -1 ids"),
        (header([20_240_520, 2, 2000], &body), "version 2"),
        (header([20_240_801, 7, 2000], &body), "room for 1000"),
        (header([20_240_522, 1, 2000], &body), "questions"),
        (body[..3999].to_vec(), "3999 bytes"),
        (Vec::new(), "no tokens"),
        (le(&[1]), "too few"),
    ] {
        let error = refused(bytes);
        assert!(error.problem.contains(problem), "{error}");
    }
    // Another magic number is none: the file is taken for ids, and its first is out of range.
    let error = refused(header([20_240_521, 1, 2000], &body));
    assert!(
        error.place.ends_with("byte 0") && error.problem.contains("55433"),
        "{error}"
    );
}

#[test]
fn an_id_that_the_tokenizer_does_not_have_is_named_with_its_place() {
    let tokenizer = tokenizer();
    let size = tokenizer.vocab_size() as u16;
    let mut ids: Vec<u16> = (0..2000).map(|i| i % 250).collect();
    ids[1234] = size;
    let error = refused(le(&ids));
    assert!(error.place.ends_with("byte 2468"), "{error}");
    assert!(
        error.problem.contains(&format!("token 1234 is {size}")),
        "{error}"
    );
    let error = refused(shard(&ids));
    assert!(error.place.ends_with("byte 3492"), "{error}");
    let mut wide: Vec<u32> = vec![1; 500];
    wide[7] = 70_000;
    let wide: Vec<u8> = wide.iter().flat_map(|id| id.to_le_bytes()).collect();
    let error = refused(header([20_240_801, 7, 500], &wide));
    assert!(error.problem.contains("token 7 is 70000"), "{error}");
}

#[test]
fn tokens_of_one_tokenizer_are_refused_under_another() {
    let (bench, tokenizer) = (Bench::new(), tokenizer());
    let ids: Vec<u16> = (0..1000).map(|i| i % 250).collect();
    bench.write("a.bin", le(&ids));
    let error = bench
        .addition("a", &to_add(bench.path("a.bin")))
        .unwrap_err();
    assert_eq!(error.place, "--tokenizer");
    let char = Tokenizer::Char {
        characters: "ab".into(),
    };
    let error = bench
        .addition("a", &with(bench.path("a.bin"), &char))
        .unwrap_err();
    assert_eq!(error.place, "--tokenizer");
    add(&bench, "a.bin", "a", &tokenizer).unwrap();
    let source = bench.source("a").unwrap();
    let error = Corpus::open(&bench.home(), &source, &Tokenizer::Byte).unwrap_err();
    assert_eq!(error.place, "data.tokenizer");
    assert!(
        error.problem.contains("the.json") && error.remedy.contains("the.json"),
        "{error}"
    );
    let error = source
        .characters(&bench.home(), &on_disk(), &mut silent)
        .unwrap_err();
    assert_eq!(error.place, "data.tokenizer");
    // A tokenizer for text is a recipe's matter.
    bench.write("a.txt", crate::text(50));
    let error = bench
        .addition("b", &with(bench.path("a.txt"), &tokenizer))
        .unwrap_err();
    assert_eq!(error.place, "--tokenizer");
}
