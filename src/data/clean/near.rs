//! An index of sketches that finds those like a new one: locality-sensitive hashing by bands.
//!
//! A sketch is cut into 24 bands of a few values; documents that agree in all of a band are looked
//! at. How many values a band has follows from the likeness sought: as many as still find 95 of 100
//! pairs that are just so alike (98 to 100 of those that are clearly more). What is found is judged
//! by its sketch, and then by its text.
//!
//! A document takes its sketch and 24 slots of 4 bytes in a table that is 35 to 70% full: 72 + 137
//! to 274 bytes where the likeness sought is 0.5.

use super::sketch::mixed;

const BANDS: usize = 24;
const MOST_ROWS: i32 = 8;
/// Of pairs that are just as alike as is sought, this share is found at least.
const RECALL: f64 = 0.95;
/// Documents that agree in one band, at most: more say only that the band is of a common phrase.
const MOST_ALIKE: usize = 64;
/// Documents that are compared by their texts, at most.
const MOST_COMPARED: usize = 16;
const FREE: u32 = u32::MAX;

/// Sketches of documents, numbered as they came.
pub struct Near {
    threshold: f64,
    rows: usize,
    sketches: Vec<u8>,
    /// Numbers of documents, at places that a band's bytes say, or the next free ones.
    slots: Vec<u32>,
    n_used: usize,
}

impl Near {
    /// An index that finds documents whose Jaccard index is `threshold` or more.
    pub fn new(threshold: f64) -> Self {
        Self {
            threshold,
            rows: rows(threshold),
            sketches: Vec::new(),
            slots: vec![FREE; 1 << 10],
            n_used: 0,
        }
    }

    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// Values of a sketch.
    pub fn n_values(&self) -> usize {
        BANDS * self.rows
    }

    fn len(&self) -> usize {
        self.sketches.len() / self.n_values()
    }

    /// Bytes that the index holds in memory.
    pub fn bytes(&self) -> usize {
        self.sketches.capacity() + self.slots.capacity() * size_of::<u32>()
    }

    /// Documents that may be as alike as is sought, the likeliest first, earlier before later.
    pub fn candidates(&self, sketch: &[u8]) -> Vec<u32> {
        let mut found = Vec::new();
        for band in 0..BANDS {
            self.probe(sketch, band, |document| found.push(document));
        }
        found.sort_unstable();
        found.dedup();
        // Three standard errors of what a sketch tells.
        let t = self.threshold;
        let slack = 3.0 * (t * (1.0 - t) / self.n_values() as f64).sqrt();
        let least = (t - slack) * self.n_values() as f64;
        let agreeing = |document: u32| {
            let theirs = self.sketch(document).iter().zip(sketch);
            theirs.filter(|(a, b)| a == b).count()
        };
        let mut likely: Vec<(usize, u32)> = found
            .into_iter()
            .map(|document| (agreeing(document), document))
            .filter(|(n, _)| *n as f64 >= least)
            .collect();
        likely.sort_unstable_by_key(|(n, document)| (usize::MAX - n, *document));
        likely.truncate(MOST_COMPARED);
        likely.into_iter().map(|(_, document)| document).collect()
    }

    /// Adds the next document.
    pub fn insert(&mut self, sketch: &[u8]) {
        let document = self.len() as u32;
        self.sketches.extend_from_slice(sketch);
        if 10 * (self.n_used + BANDS) > 7 * self.slots.len() {
            self.slots = vec![FREE; 2 * self.slots.len()];
            self.n_used = 0;
            (0..=document).for_each(|document| self.place(document));
        } else {
            self.place(document);
        }
    }

    fn place(&mut self, document: u32) {
        for band in 0..BANDS {
            let mut n_alike = 0;
            let free = self.probe(self.sketch(document), band, |_| n_alike += 1);
            if n_alike < MOST_ALIKE {
                self.slots[free] = document;
                self.n_used += 1;
            }
        }
    }

    /// Tells `alike` of every document that agrees in a band; where the next such one would be put.
    fn probe(&self, sketch: &[u8], band: usize, mut alike: impl FnMut(u32)) -> usize {
        let bytes = &sketch[band * self.rows..(band + 1) * self.rows];
        let key = bytes
            .iter()
            .fold(band as u64 + 1, |key, byte| key << 8 ^ u64::from(*byte));
        let last = self.slots.len() - 1;
        let mut at = mixed(key ^ (band as u64) << 56) as usize & last;
        while self.slots[at] != FREE {
            let document = self.slots[at];
            if self.sketch(document)[band * self.rows..(band + 1) * self.rows] == *bytes {
                alike(document);
            }
            at = (at + 1) & last;
        }
        at
    }

    fn sketch(&self, document: u32) -> &[u8] {
        let n = self.n_values();
        &self.sketches[document as usize * n..(document as usize + 1) * n]
    }
}

/// Values of a band.
fn rows(threshold: f64) -> usize {
    let found = |rows: i32| 1.0 - (1.0 - threshold.powi(rows)).powi(BANDS as i32);
    let rows = (1..=MOST_ROWS).rfind(|rows| found(*rows) >= RECALL);
    rows.unwrap_or(1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::clean::sketch::{jaccard, sketch},
        rng::Rng,
    };

    fn set(n: u64, rng: &mut Rng) -> Vec<u64> {
        (0..n).map(|_| mixed(rng.below(1 << 62))).collect()
    }

    #[test]
    fn bands_are_as_long_as_the_likeness_allows() {
        assert_eq!([0.2, 0.5, 0.6, 0.7, 0.8, 1.0].map(rows), [1, 3, 4, 6, 8, 8]);
    }

    #[test]
    fn what_is_just_alike_is_found_and_what_is_not_is_left() {
        for threshold in [0.5, 0.7, 0.8] {
            let mut rng = Rng::named(5, "near");
            let mut near = Near::new(threshold);
            let n_values = near.n_values();
            let sets: Vec<Vec<u64>> = (0..400).map(|_| set(90, &mut rng)).collect();
            for set in &sets {
                near.insert(&sketch(set, n_values).unwrap());
            }
            let mut found = 0;
            for (i, set) in sets.iter().enumerate() {
                // So many of 90 replaced that the index is the threshold or a little more.
                let own = (90.0 * (1.0 - threshold) / (1.0 + threshold)) as usize;
                let mut copy = set.clone();
                copy.iter_mut().take(own).for_each(|x| *x = mixed(*x));
                let [mut a, mut b] = [set.clone(), copy.clone()];
                a.sort_unstable();
                b.sort_unstable();
                assert!(jaccard(&a, &b) >= threshold);
                let candidates = near.candidates(&sketch(&copy, n_values).unwrap());
                found += usize::from(candidates.contains(&(i as u32)));
                assert!(candidates.len() <= 1, "strangers: {candidates:?}");
            }
            assert!(found >= 375, "{found} of 400 at {threshold}");
        }
    }

    /// Ten thousand copies of one document do not make it slow, or the table endless.
    #[test]
    fn a_common_document_takes_few_places() {
        let mut rng = Rng::named(6, "near");
        let mut near = Near::new(0.5);
        let one = sketch(&set(50, &mut rng), near.n_values()).unwrap();
        (0..10_000).for_each(|_| near.insert(&one));
        assert_eq!(near.len(), 10_000);
        assert!(near.n_used <= BANDS * MOST_ALIKE);
        let expected: Vec<u32> = (0..MOST_COMPARED as u32).collect();
        assert_eq!(near.candidates(&one), expected);
    }
}
