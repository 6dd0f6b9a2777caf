//! How many documents of a corpus repeat others of it: what cleaning would remove.

use super::{
    pass,
    repeats::{Prints, Repeat, Repeats},
};
use crate::{
    data::{Corpus, Tokenizer, ingest::Settings, split::Part},
    error::Result,
};
use serde::Serialize;
use std::ops::Range;

/// Repeated documents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Duplicates {
    /// Documents that were looked at, and their tokens; the validation and the test part come first.
    pub documents: u64,
    pub tokens: u64,
    /// The same as an earlier one but for white space around it.
    pub exact: u64,
    /// Others whose likeness to an earlier one is `near_threshold` or more.
    pub near: u64,
    pub near_threshold: f64,
    /// Of all these, training documents that repeat held-out ones.
    pub copies_of_held_out: u64,
}

struct Looked {
    text: String,
    part: Part,
    prints: Prints,
}

/// Looks for repeated documents in the first `most_tokens` tokens.
pub fn duplicates(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    near_threshold: f64,
    most_tokens: usize,
    settings: &Settings,
) -> Result<Duplicates> {
    let mut found = Duplicates {
        documents: 0,
        tokens: 0,
        exact: 0,
        near: 0,
        near_threshold,
        copies_of_held_out: 0,
    };
    let places = places(corpus, most_tokens);
    let text_of =
        |(part, range): &(Part, Range<usize>)| tokenizer.decode(&corpus.part(*part)[range.clone()]);
    let mut repeats: Repeats<usize> = Repeats::new(true, Some(near_threshold));
    let printer = repeats.printer();
    pass::in_order(
        settings,
        |give| {
            let mut documents = places.iter();
            documents.try_for_each(|place| give((text_of(place), place.0)))
        },
        |(text, part)| Looked {
            prints: printer.prints(&text),
            text,
            part,
        },
        |Looked { text, part, prints }| {
            let idx = found.documents as usize;
            found.documents += 1;
            found.tokens += places[idx].1.len() as u64;
            let mut again = |idx: usize| Ok(text_of(&places[idx]));
            let of = match repeats.find(&prints, &text, &mut again)? {
                None => {
                    repeats.add(&prints, part, idx);
                    return Ok(());
                }
                Some(Repeat::Exact { part }) => {
                    found.exact += 1;
                    part
                }
                Some(Repeat::Near { part, .. }) => {
                    found.near += 1;
                    part
                }
            };
            let is_held_out = of != Part::Train;
            found.copies_of_held_out += u64::from(part == Part::Train && is_held_out);
            Ok(())
        },
    )?;
    Ok(found)
}

/// The tokens of each document, held-out parts first, up to so many in all.
fn places(corpus: &Corpus, most_tokens: usize) -> Vec<(Part, Range<usize>)> {
    let (mut places, mut n_tokens) = (Vec::new(), 0);
    for part in [Part::Validation, Part::Test, Part::Train] {
        let mut starts: Vec<usize> = corpus.documents(part).collect();
        starts.push(corpus.part(part).len());
        for ends in starts.windows(2) {
            if n_tokens >= most_tokens {
                return places;
            }
            n_tokens += ends[1] - ends[0];
            places.push((part, ends[0]..ends[1]));
        }
    }
    places
}
