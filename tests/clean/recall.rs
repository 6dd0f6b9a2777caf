//! Planted near duplicates, with 5 and 10% of their words edited.

use crate::{Bench, both, built_in, edited, speeches};
use std::collections::HashMap;
use windtunnel::{
    data::clean::sketch::{jaccard, shingles},
    rng::Rng,
};

/// Plants an edited copy of each of the first `n` of `documents` among them and `others`; recall and
/// precision of what cleaning removes.
fn planted(documents: &[String], others: &[String], n: usize, percent: usize) -> (f64, f64) {
    let mut rng = Rng::named(percent as u64, "planted");
    let words = documents.iter().flat_map(|text| text.split_whitespace());
    let vocabulary: Vec<String> = words.take(5000).map(str::to_string).collect();
    let mut pair_of = HashMap::new();
    let mut all: Vec<String> = documents.iter().chain(others).cloned().collect();
    for (i, document) in documents.iter().take(n).enumerate() {
        let copy = edited(document, percent, &vocabulary, &mut rng);
        pair_of.insert(document.trim().to_string(), i);
        pair_of.insert(copy.trim().to_string(), i);
        all.push(copy);
    }
    for i in (1..all.len()).rev() {
        all.swap(i, rng.below(i as u64 + 1) as usize);
    }
    let bench = Bench::new();
    bench.add_rows("raw", &all);
    bench.clean("raw", "clean", &both());
    let kept = bench.documents("clean");
    let kept: Vec<&str> = kept.iter().map(|text| text.trim()).collect();
    let mut left = vec![0; n];
    for pair in kept.iter().filter_map(|text| pair_of.get(*text)) {
        left[*pair] += 1;
    }
    let found = left.iter().filter(|n| **n == 1).count();
    let removed = all.len() - kept.len();
    (found as f64 / n as f64, found as f64 / removed as f64)
}

#[test]
fn nineteen_of_twenty_planted_copies_are_found_and_little_else() {
    let of_kind = |name| built_in(name, 250_000);
    let (tales, facts) = (of_kind("tales"), of_kind("facts"));
    let programs = of_kind("programs");
    let speeches = speeches(1200);
    let none = &[][..];
    for percent in [5, 10] {
        for (what, documents, others) in [
            ("tales among facts", &tales[..200], &facts[..]),
            ("facts among tales", &facts[..300], &tales),
            ("programs among tales", &programs[..300], &tales),
            ("speeches among facts", &speeches[..300], &facts),
            ("tales among tales", &tales, none),
            ("facts among facts", &facts, none),
            ("speeches among speeches", &speeches, none),
        ] {
            let (recall, precision) = planted(documents, others, 200, percent);
            let found = format!("{what}, {percent}%: recall {recall}, precision {precision}");
            eprintln!("{found}");
            assert!(recall >= 0.95 && precision >= 0.95, "{found}");
        }
    }
}

/// The oracle: all pairs, by their exact Jaccard index. What was removed is like something that
/// stays, and of what stays few are alike.
#[test]
fn what_the_index_finds_is_what_all_pairs_say() {
    let mut documents = built_in("sums", 120_000);
    let vocabulary: Vec<String> = ["three", "and", "17", "so"].map(String::from).into();
    let mut rng = Rng::named(4, "oracle");
    for i in 0..150 {
        let percent = 2 + 3 * (i % 12);
        documents.push(edited(&documents[i], percent, &vocabulary, &mut rng));
    }
    let bench = Bench::new();
    bench.add_rows("raw", &documents);
    let record = bench.clean("raw", "clean", &both());
    let near = record
        .removed
        .iter()
        .find(|removed| removed.transform == "near");
    assert!(near.unwrap().documents.sum() >= 100);
    let kept = bench.documents("clean");
    let sets: Vec<Vec<u64>> = kept.iter().map(|text| shingles(text)).collect();
    let is_near = |set: &Vec<u64>| sets.iter().any(|other| jaccard(set, other) >= 0.5);
    let removed = documents
        .iter()
        .filter(|text| !kept.contains(text.trim_end_matches('\n')));
    for text in removed {
        assert!(
            is_near(&shingles(text)),
            "removed, and like nothing: {text}"
        );
    }
    let pairs = (0..sets.len()).flat_map(|i| (0..i).map(move |k| (i, k)));
    let alike = |(i, k): &(usize, usize)| jaccard(&sets[*i], &sets[*k]) >= 0.5;
    let missed = pairs.filter(alike).count();
    let found = near.unwrap().documents.sum() as usize;
    assert!(
        20 * missed <= found,
        "{missed} pairs were missed, {found} documents found"
    );
}

#[test]
fn copies_that_differ_in_white_space_are_exact_and_reworded_ones_are_near() {
    let bench = Bench::new();
    let mut documents = speeches(300);
    documents.push(format!("\r\n\n{}  \n", documents[7]));
    documents.push(documents[8].to_lowercase().replace('\n', "\r\n"));
    bench.add_rows("raw", &documents);
    let record = bench.clean("raw", "clean", &both());
    let counts: Vec<(&str, u64)> = record
        .removed
        .iter()
        .map(|removed| (removed.transform.as_str(), removed.documents.sum()))
        .collect();
    assert_eq!(counts, [("exact", 1), ("near", 1)]);
    assert_eq!(record.removed[1].examples[0].likeness, Some(1.0));
}
