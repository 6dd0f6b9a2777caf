//! Validation windows: every target once, and a digest of nothing but what is evaluated.

use crate::{corpora, counted, counted_corpora, noise};
use std::{collections::BTreeSet, path::Path, sync::Arc};
use windtunnel::{
    data::{Corpus, EvalWindows, Tokenizer, TokenizerKind},
    ops::cross_entropy::IGNORE,
};

/// (start of the window, ids of the targets that count), for every window.
fn rows(windows: &EvalWindows, t: usize) -> Vec<(u32, Vec<u32>)> {
    let mut all = Vec::new();
    for batch in windows.batches(3) {
        for (row, targets) in batch.inputs.chunks(t).zip(batch.targets.chunks(t)) {
            assert!(row.windows(2).all(|pair| pair[1] == pair[0] + 1));
            let pairs = row.iter().zip(targets);
            let counted: Vec<u32> = pairs
                .filter(|(_, target)| **target != IGNORE)
                .map(|(input, target)| {
                    assert_eq!(*target, input + 1);
                    *target
                })
                .collect();
            all.push((row[0], counted));
        }
    }
    all
}

fn counted_tokenizer(n: u32) -> Tokenizer {
    Tokenizer::of(TokenizerKind::Char, [counted(0, n).as_str()]).unwrap()
}

#[test]
fn every_validation_target_counts_once_whatever_the_block() {
    let home = tempfile::tempdir().unwrap();
    let corpus = &counted_corpora(home.path(), &[2000])[0];
    let tokenizer = counted_tokenizer(2000);
    let part = corpus.validation();
    assert_eq!(part.len(), 200);
    // 199 targets: a block of all of them, of one, and others that leave a rest or none.
    for t in [199, 198, 150, 100, 99, 64, 16, 1] {
        let windows = EvalWindows::new(corpus.clone(), t, 0, &tokenizer).unwrap();
        let targets: Vec<u32> = rows(&windows, t)
            .into_iter()
            .flat_map(|(_, ids)| ids)
            .collect();
        let expected: Vec<u32> = part[1..].iter().map(|id| u32::from(*id)).collect();
        assert_eq!(targets, expected, "block of {t}");
        assert_eq!((windows.tokens(), windows.bytes()), (199, 3 * 199));
    }
    let error = EvalWindows::new(corpus.clone(), 200, 0, &tokenizer)
        .map(|_| ())
        .unwrap_err();
    assert!(
        error.exit_code() == 2 && error.remedy.contains("at most 199"),
        "{error}"
    );
}

#[test]
fn bytes_are_those_of_the_characters_that_count() {
    let home = tempfile::tempdir().unwrap();
    let (corpora, tokenizer) = corpora(home.path(), &[("plain", noise(30, 300))]);
    let part = corpora[0].validation();
    for (t, limit) in [(32, 0), (50, 0), (32, 5)] {
        let windows = EvalWindows::new(corpora[0].clone(), t, limit, &tokenizer).unwrap();
        let targets = windows.batches(4).flat_map(|batch| batch.targets);
        let ids: Vec<u16> = targets
            .filter(|id| *id != IGNORE)
            .map(|id| id as u16)
            .collect();
        assert_eq!(windows.tokens(), ids.len() as u64);
        assert_eq!(windows.bytes(), tokenizer.decode(&ids).len() as u64);
        assert_ne!(windows.bytes(), windows.tokens());
        if limit == 0 {
            assert_eq!(ids, part[1..]);
        }
    }
}

#[test]
fn limited_windows_are_whole_and_spread_evenly() {
    let home = tempfile::tempdir().unwrap();
    let corpus = &counted_corpora(home.path(), &[5000])[0];
    let tokenizer = counted_tokenizer(5000);
    let all = EvalWindows::new(corpus.clone(), 16, 0, &tokenizer).unwrap();
    let all = rows(&all, 16);
    for limit in [1, 2, 3, 7, 20, all.len() - 1] {
        let windows = EvalWindows::new(corpus.clone(), 16, limit, &tokenizer).unwrap();
        let some = rows(&windows, 16);
        assert_eq!(some.len(), limit);
        assert!(some.iter().all(|row| all.contains(row)));
        // Places among all windows, and the end: steps differ by one window at most.
        let place = |row| all.iter().position(|other| other == row).unwrap();
        let mut places: Vec<usize> = some.iter().map(place).collect();
        places.push(all.len());
        let steps = places.windows(2).map(|pair| pair[1] - pair[0]);
        let steps: BTreeSet<usize> = steps.collect();
        let spread = steps.last().unwrap() - steps.first().unwrap();
        assert!(places[0] == 0 && spread <= 1, "{limit}: {steps:?}");
    }
    let too_many = EvalWindows::new(corpus.clone(), 16, 10_000, &tokenizer).unwrap();
    assert_eq!(rows(&too_many, 16), all);
}

fn opened(home: &Path, name: &str, text: &str) -> (Arc<Corpus>, Tokenizer) {
    let (mut corpora, tokenizer) = corpora(home, &[(name, text.into())]);
    (corpora.remove(0), tokenizer)
}

#[test]
fn a_digest_changes_with_text_block_and_windows_and_with_nothing_else() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let text = noise(31, 300);
    let digest = |home: &Path, name: &str, text: &str, t: usize, limit: usize| {
        let (corpus, tokenizer) = opened(home, name, text);
        let windows = EvalWindows::new(corpus, t, limit, &tokenizer).unwrap();
        assert!(windows.batches(5).count() > 0);
        windows.digest().to_string()
    };
    let expected = digest(home.path(), "plain", &text, 32, 0);
    for (home, name, limit) in [
        (home.path(), "plain", 0),
        (elsewhere.path(), "plain", 0),
        (home.path(), "renamed", 0),
        // As many windows as there are is all of them.
        (home.path(), "plain", 100_000),
    ] {
        assert_eq!(
            digest(home, name, &text, 32, limit),
            expected,
            "{name} {limit}"
        );
    }
    // The last character becomes another of the same alphabet: validation text of the same length.
    let end = text.trim_end().char_indices().next_back().unwrap();
    let letter = if end.1 == 'a' { 'b' } else { 'a' };
    let changed = format!("{}{letter}\n", &text[..end.0]);
    let mut digests = BTreeSet::from([expected]);
    for (text, t, limit) in [
        (&changed, 32, 0),
        (&text, 31, 0),
        (&text, 32, 5),
        (&text, 32, 6),
        (&text, 32, 1),
    ] {
        digests.insert(digest(home.path(), "plain", text, t, limit));
    }
    assert_eq!(digests.len(), 6);
}
