//! What is kept of a tokenised text: counted right, the same when opened again, and never trusted
//! when it was changed.

use crate::{TAIL, noise, source};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use windtunnel::{
    data::{
        Corpus, Tokenizer, TokenizerKind,
        corpus::PartCounts,
        source::{Source, SplitRule},
        split::{Part, split},
    },
    error::Result,
};

fn text() -> String {
    noise(20, 200).replace('\n', ".\n\n")
}

fn open(home: &Path, kind: TokenizerKind) -> Result<Arc<Corpus>> {
    let source = source("kept", &text());
    let tokenizer = Tokenizer::of(kind, [source.text.whole().unwrap()]).unwrap();
    let corpus = Corpus::open(home, &source, &tokenizer)?;
    corpus.keep()?;
    Ok(corpus)
}

/// The one folder under `<home>/corpora`.
fn folder(home: &Path) -> PathBuf {
    let mut entries = fs::read_dir(home.join("corpora")).unwrap();
    let folder = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    folder
}

#[test]
fn a_manifest_counts_what_is_there() {
    let text = text();
    let parts = split(&text, &TAIL).unwrap();
    for kind in [TokenizerKind::Byte, TokenizerKind::Char] {
        let home = tempfile::tempdir().unwrap();
        let corpus = open(home.path(), kind).unwrap();
        let manifest = corpus.manifest();
        let counts = [manifest.train, manifest.test, manifest.validation];
        for (part, counts) in parts.iter().zip(counts) {
            let joined: String = part.iter().map(|d| d.0).collect();
            let tokens = match kind {
                TokenizerKind::Byte => joined.len(),
                TokenizerKind::Char => joined.chars().count(),
            };
            let expected = PartCounts {
                documents: part.len() as u64,
                tokens: tokens as u64,
                bytes: joined.len() as u64,
            };
            assert_eq!(counts, expected);
        }
        let tokens: u64 = counts.iter().map(|part| part.tokens).sum();
        assert_eq!(manifest.bytes_per_token, text.len() as f64 / tokens as f64);
        assert_eq!(manifest.name, "kept");
    }
}

#[test]
fn a_corpus_opened_again_or_made_elsewhere_is_the_same() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open(home.path(), TokenizerKind::Char).unwrap();
    let written = fs::metadata(folder(home.path()).join("tokens.bin")).unwrap();
    let second = open(home.path(), TokenizerKind::Char).unwrap();
    let third = open(elsewhere.path(), TokenizerKind::Char).unwrap();
    for other in [&second, &third] {
        assert_eq!(other.digest(), first.digest());
        assert_eq!(other.manifest(), first.manifest());
        assert_eq!(other.train(), first.train());
        assert_eq!(other.locked_test(), first.locked_test());
        assert_eq!(other.validation(), first.validation());
        for part in [Part::Train, Part::Test, Part::Validation] {
            assert!(other.documents(part).eq(first.documents(part)));
        }
    }
    let read = fs::metadata(folder(home.path()).join("tokens.bin")).unwrap();
    assert_eq!(read.modified().unwrap(), written.modified().unwrap());
}

#[test]
fn a_corpus_made_by_threads_at_once_is_whole_and_leaves_nothing_beside_it() {
    let home = tempfile::tempdir().unwrap();
    let digests: Vec<String> = std::thread::scope(|scope| {
        let open = || open(home.path(), TokenizerKind::Byte).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        let corpora = threads.into_iter().map(|thread| thread.join().unwrap());
        corpora.map(|corpus| corpus.digest().to_string()).collect()
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert_eq!(fs::read_dir(folder(home.path())).unwrap().count(), 3);
}

#[test]
fn a_digest_changes_with_text_tokenizer_and_split_and_not_with_name_or_origin() {
    let home = tempfile::tempdir().unwrap();
    let plain = source("kept", &text());
    let char = Tokenizer::of(TokenizerKind::Char, [plain.text.whole().unwrap()]).unwrap();
    let digest = |source: &Source, tokenizer: &Tokenizer| {
        let corpus = Corpus::open(home.path(), source, tokenizer).unwrap();
        corpus.digest().to_string()
    };
    let expected = digest(&plain, &char);
    let mut renamed = source("renamed", &text());
    renamed.origin = "elsewhere".into();
    assert_eq!(digest(&renamed, &char), expected);

    assert_ne!(digest(&plain, &Tokenizer::Byte), expected);
    let more = Tokenizer::of(TokenizerKind::Char, [plain.text.whole().unwrap(), "Ω"]).unwrap();
    assert_ne!(digest(&plain, &more), expected);
    assert_ne!(digest(&source("kept", &(text() + "a")), &char), expected);
    let mut other = plain.clone();
    other.split = SplitRule::Tail {
        validation: 0.1,
        test: 0.06,
    };
    assert_ne!(digest(&other, &char), expected);
}

/// Every change of one file of a kept corpus is refused in words, and the remedy is one.
fn refused(name: &str, change: impl Fn(Vec<u8>) -> Option<Vec<u8>>) {
    let home = tempfile::tempdir().unwrap();
    let whole = open(home.path(), TokenizerKind::Char).unwrap();
    let folder = folder(home.path());
    let path = folder.join(name);
    let before = fs::read(&path).unwrap();
    match change(before.clone()) {
        Some(after) => {
            assert_ne!(after, before);
            // Another file, as a damaged disk would give: what is mapped already stays.
            fs::remove_file(&path).unwrap();
            fs::write(&path, after).unwrap();
        }
        None => fs::remove_file(&path).unwrap(),
    }
    let error = open(home.path(), TokenizerKind::Char)
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.place.contains(name), "{error}");
    let remedy = format!("delete the folder {}; it is made again", folder.display());
    assert_eq!(error.remedy, remedy);

    fs::remove_dir_all(&folder).unwrap();
    let again = open(home.path(), TokenizerKind::Char).unwrap();
    assert_eq!(
        (again.digest(), again.train()),
        (whole.digest(), whole.train())
    );
}

#[test]
fn tokens_and_documents_that_were_cut_flipped_or_lost_are_refused() {
    for name in ["tokens.bin", "documents.bin"] {
        refused(name, |bytes| Some(bytes[..bytes.len() / 2].to_vec()));
        refused(name, |bytes| Some(bytes[..bytes.len() - 1].to_vec()));
        refused(name, |bytes| Some([&bytes[..], &[0, 0]].concat()));
        refused(name, |_| Some(Vec::new()));
        refused(name, |_| None);
        for at in [0.0, 0.5, 0.999] {
            refused(name, |mut bytes| {
                let at = (bytes.len() as f64 * at) as usize;
                bytes[at] ^= 1;
                Some(bytes)
            });
        }
    }
}

#[test]
fn a_manifest_that_was_changed_anywhere_is_refused() {
    let edited = |edit: &dyn Fn(&mut serde_json::Value)| {
        refused("manifest.json", |bytes| {
            let mut json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            edit(&mut json);
            Some(serde_json::to_vec(&json).unwrap())
        });
    };
    // Validation tokens moved to training: every sum stays the same.
    edited(&|json| {
        for (part, by) in [("train", 100), ("validation", -100)] {
            let count = &mut json[part]["tokens"];
            *count = (count.as_i64().unwrap() + by).into();
        }
    });
    edited(&|json| json["train"]["documents"] = 1_000_000.into());
    edited(&|json| json["bytes_per_token"] = 2.5.into());
    edited(&|json| json["source"] = "0".repeat(64).into());
    edited(&|json| json["name"] = "other".into());
    edited(&|json| json["schema"] = "windtunnel.corpus.v0".into());
    refused("manifest.json", |bytes| {
        Some(bytes[..bytes.len() / 2].to_vec())
    });
    refused("manifest.json", |_| Some(Vec::new()));
}

#[test]
fn a_folder_whose_manifest_is_gone_is_refused_with_the_remedy_that_works() {
    let home = tempfile::tempdir().unwrap();
    open(home.path(), TokenizerKind::Char).unwrap();
    let folder = folder(home.path());
    fs::remove_file(folder.join("manifest.json")).unwrap();
    let error = open(home.path(), TokenizerKind::Char)
        .map(|_| ())
        .unwrap_err();
    assert!(
        error.exit_code() == 2 && error.remedy.contains("delete this folder"),
        "{error}"
    );
    fs::remove_dir_all(&folder).unwrap();
    open(home.path(), TokenizerKind::Char).unwrap();
    assert_eq!(
        fs::read_dir(home.path().join("corpora")).unwrap().count(),
        1
    );
}
