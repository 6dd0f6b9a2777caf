//! Domains of one corpus, subsets and token noise: pure functions of seed and step, like all else.

use crate::{counted_corpora, mixture};
use std::{collections::BTreeSet, sync::Arc};
use windtunnel::data::{
    Batch, Batches, Corpus, Share, Stream, Subset, SubsetKind, mixture::Mixture,
};

const T: usize = 16;

fn part(corpus: &Arc<Corpus>, domain: &str, subset: Option<(f64, SubsetKind)>) -> Stream {
    let share = Share {
        domain: Some(domain.into()),
        subset: subset.map(|(fraction, kind)| Subset { fraction, kind }),
        ..Share::of(corpus.name(), 1.0)
    };
    Stream::new(corpus.clone(), &share).unwrap()
}

fn drawn(parts: Vec<(f64, Stream)>, seed: u64, steps: u64) -> Vec<Batch> {
    let batches = Batches::new(Mixture { parts }, T, 8, seed).unwrap();
    (0..steps).map(|step| batches.at(step)).collect()
}

fn distinct(batches: &[Batch]) -> BTreeSet<u32> {
    batches.iter().flat_map(|b| b.inputs.clone()).collect()
}

#[test]
fn one_corpus_as_two_domains_is_drawn_in_two_orders_and_makes_up_the_same_epochs() {
    let home = tempfile::tempdir().unwrap();
    let corpus = &counted_corpora(home.path(), &[3000])[0];
    let parts = || {
        vec![
            (0.8, part(corpus, "left", None)),
            (0.2, part(corpus, "right", None)),
        ]
    };
    let batches = drawn(parts(), 3, 60);
    let rows = |idx: usize| -> Vec<u32> {
        let rows = batches
            .iter()
            .flat_map(|b| b.inputs.chunks(T).zip(&b.corpus_of_row));
        rows.filter(|(_, of)| **of == idx)
            .map(|(row, _)| row[0])
            .collect()
    };
    assert!(rows(0).len() > 3 * rows(1).len());
    assert_ne!(rows(0)[..50], rows(1)[..50]);
    let realised = Batches::new(Mixture { parts: parts() }, T, 8, 3)
        .unwrap()
        .realised(60);
    let names: Vec<&str> = realised.iter().map(|r| r.corpus.as_str()).collect();
    assert_eq!(names, ["left", "right"]);
    // The corpus's own name is no domain, and draws as it always did.
    let plain = Batches::new(mixture(&[(1.0, corpus)]), T, 8, 3).unwrap();
    let named = drawn(vec![(1.0, part(corpus, corpus.name(), None))], 3, 20);
    assert!((0..20).all(|step| plain.at(step) == named[step as usize]));
}

#[test]
fn a_subset_is_repeated_and_nothing_else_is_drawn() {
    let home = tempfile::tempdir().unwrap();
    let corpus = &counted_corpora(home.path(), &[6000])[0];
    let train = corpus.train().len();
    let all: Vec<u32> = corpus.train().iter().map(|id| u32::from(*id)).collect();
    let position = |id: u32| all.iter().position(|x| *x == id).unwrap();
    for kind in [SubsetKind::Spread, SubsetKind::Leading] {
        let stream = part(corpus, "a", Some((0.125, kind)));
        let fraction = stream.len() as f64 / train as f64;
        assert!((fraction - 0.125).abs() < 0.01, "{kind:?}: {fraction}");
        let batches = drawn(vec![(1.0, stream.clone())], 1, 40);
        let tokens = (40 * 8 * T) as f64;
        let epochs = Batches::new(
            Mixture {
                parts: vec![(1.0, stream.clone())],
            },
            T,
            8,
            1,
        )
        .unwrap()
        .realised(40)[0]
            .epochs;
        assert!((epochs - tokens / stream.len() as f64).abs() < 1e-9 && epochs > 4.0);
        let seen = distinct(&batches);
        assert!(seen.len() <= stream.len(), "{kind:?}");
        let places: Vec<usize> = seen.iter().map(|id| position(*id)).collect();
        let (first, last) = (places.iter().min().unwrap(), places.iter().max().unwrap());
        match kind {
            SubsetKind::Leading => assert!(*last < train / 8 + 2),
            SubsetKind::Spread => assert!(*first < train / 8 && *last > train * 7 / 8),
        }
        // Another seed draws the same subset in another order.
        let other = drawn(vec![(1.0, stream)], 2, 40);
        assert_ne!(other, batches);
    }
}

#[test]
fn token_noise_replaces_its_share_whatever_is_drawn_first() {
    let home = tempfile::tempdir().unwrap();
    let corpus = &counted_corpora(home.path(), &[3000])[0];
    let batches = |noise: f64, seed: u64| {
        Batches::new(mixture(&[(1.0, corpus)]), T, 8, seed)
            .unwrap()
            .noisy(noise, 5000)
    };
    let (clean, noisy) = (batches(0.0, 1), batches(0.1, 1));
    let steps = 200;
    let (mut replaced, mut total) = (0, 0);
    for step in 0..steps {
        let (clean, noisy) = (clean.at(step), noisy.at(step));
        assert_eq!(clean.corpus_of_row, noisy.corpus_of_row);
        let pairs = clean.targets.iter().zip(&noisy.targets);
        replaced += pairs.filter(|(a, b)| a != b).count();
        total += clean.targets.len();
        for (inputs, targets) in noisy.inputs.chunks(T).zip(noisy.targets.chunks(T)) {
            assert_eq!(inputs[1..], targets[..T - 1], "a target is the next input");
        }
        assert!(noisy.targets.iter().all(|id| *id < 5000));
    }
    let share = replaced as f64 / total as f64;
    let error = (0.1f64 * 0.9 / total as f64).sqrt();
    assert!((share - 0.1).abs() < 5.0 * error, "{share}");
    // Backwards and afresh, the same; with another seed, other tokens.
    let again = batches(0.1, 1);
    assert!((0..20).rev().all(|step| again.at(step) == noisy.at(step)));
    assert_ne!(batches(0.1, 2).at(0), noisy.at(0));
    assert_eq!(batches(0.0, 1).at(7), clean.at(7));
}
