//! Which documents came before, exactly or nearly.

use super::{
    near::Near,
    sketch::{jaccard, shingles, sketch},
};
use crate::{data::split::Part, digest::sha256_half, error::Result};
use std::collections::HashMap;

/// Documents so far, with where each can be read again.
pub struct Repeats<P> {
    exact: Option<HashMap<[u8; 16], Part>>,
    near: Option<Near>,
    /// Of the documents in `near`.
    places: Vec<(P, Part)>,
}

/// How a document repeats an earlier one, which is in `part`.
pub enum Repeat<P> {
    /// The same but for white space around it.
    Exact {
        part: Part,
    },
    Near {
        of: P,
        part: Part,
        likeness: f64,
    },
}

/// What tells documents apart.
pub struct Prints {
    digest: Option<[u8; 16]>,
    /// None where there are no words, or none is asked for.
    sketch: Option<Box<[u8]>>,
}

/// Makes [`Prints`]; any number of threads may.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    exact: bool,
    n_values: Option<usize>,
}

impl Printer {
    pub fn prints(self, text: &str) -> Prints {
        Prints {
            digest: self.exact.then(|| sha256_half(text.trim().as_bytes())),
            sketch: self.n_values.and_then(|n| sketch(&shingles(text), n)),
        }
    }
}

impl<P: Copy> Repeats<P> {
    /// Looks for copies where `exact`, and for documents whose sets of shingles have a Jaccard index
    /// of `near` or more.
    pub fn new(exact: bool, near: Option<f64>) -> Self {
        Self {
            exact: exact.then(HashMap::new),
            near: near.map(Near::new),
            places: Vec::new(),
        }
    }

    pub fn printer(&self) -> Printer {
        Printer {
            exact: self.exact.is_some(),
            n_values: self.near.as_ref().map(Near::n_values),
        }
    }

    /// The earlier document that this one repeats: the most alike of those that are alike enough.
    /// `text_of` reads one again.
    pub fn find(
        &self,
        prints: &Prints,
        text: &str,
        text_of: &mut dyn FnMut(P) -> Result<String>,
    ) -> Result<Option<Repeat<P>>> {
        let exact = self.exact.as_ref().zip(prints.digest);
        if let Some(part) = exact.and_then(|(seen, digest)| seen.get(&digest)) {
            return Ok(Some(Repeat::Exact { part: *part }));
        }
        let (Some(near), Some(sketch)) = (&self.near, &prints.sketch) else {
            return Ok(None);
        };
        let candidates = near.candidates(sketch);
        let ours = match candidates.is_empty() {
            true => return Ok(None),
            false => shingles(text),
        };
        let mut best: Option<(f64, (P, Part))> = None;
        for candidate in candidates {
            let place = self.places[candidate as usize];
            let likeness = jaccard(&ours, &shingles(&text_of(place.0)?));
            let is_better = best.is_none_or(|(most, _)| likeness > most);
            if likeness >= near.threshold() && is_better {
                best = Some((likeness, place));
            }
        }
        Ok(best.map(|(likeness, (of, part))| Repeat::Near { of, part, likeness }))
    }

    /// From now on the document counts as an earlier one.
    pub fn add(&mut self, prints: &Prints, part: Part, place: P) {
        if let (Some(seen), Some(digest)) = (&mut self.exact, prints.digest) {
            seen.entry(digest).or_insert(part);
        }
        if let (Some(near), Some(sketch)) = (&mut self.near, &prints.sketch) {
            near.insert(sketch);
            self.places.push((place, part));
        }
    }

    /// Bytes of memory, about, that all this takes.
    pub fn bytes(&self) -> usize {
        // A table of std's has a byte beside each entry, and 7 of 8 places in use at most.
        let entry = size_of::<([u8; 16], Part)>() + 1;
        let exact = self
            .exact
            .as_ref()
            .map_or(0, |seen| seen.capacity() * entry * 8 / 7);
        let places = self.places.capacity() * size_of::<(P, Part)>();
        exact + places + self.near.as_ref().map_or(0, Near::bytes)
    }
}
