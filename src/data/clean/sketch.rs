//! A document as a set of shingles, and the set as a few bytes that tell how like two sets are.
//!
//! A shingle is a pair of neighbouring words; the first and the last word have a border as their
//! neighbour, so that a short document has enough of them. That was chosen by measurement
//! (`benches/clean.py --shingles`): between documents that are alike by nature (the 95th of 100) and
//! copies with a tenth of their words edited (the 5th of 100), the gap is .20 to .59 on six kinds of
//! text. Of single words, pairs without borders, 3 or 5 words, and 5 or 8 characters, none has a wider
//! one on more than one of the six.
//!
//! The sketch is that of Dahlgaard, Langhede, Houen and Thorup, "Fast Similarity Sketching"
//! (arXiv:1704.04370): each of its values agrees with another set's with a chance of their Jaccard
//! index, as in MinHash, at one or two hashes a shingle where the document is long and not one for
//! each value.

use crate::data::words;

/// The shingles of a text, in order, each once; none where it has no words.
pub fn shingles(text: &str) -> Vec<u64> {
    let mut before = BORDER;
    let mut shingles: Vec<u64> = words::words(text)
        .map(words::hash)
        .map(|word| pair(std::mem::replace(&mut before, word), word))
        .collect();
    if before != BORDER {
        shingles.push(pair(before, BORDER));
    }
    shingles.sort_unstable();
    shingles.dedup();
    shingles
}

/// Stands for no word.
const BORDER: u64 = 0;

fn pair(first: u64, second: u64) -> u64 {
    mixed(first.rotate_left(32) ^ mixed(second))
}

/// A bijection that spreads every bit over all (the finaliser of SplitMix64).
pub fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The Jaccard index of two sets in order: what they share, of all that either has.
pub fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut k, mut shared) = (0, 0, 0usize);
    while i < a.len() && k < b.len() {
        shared += usize::from(a[i] == b[k]);
        let (x, y) = (a[i], b[k]);
        i += usize::from(x <= y);
        k += usize::from(y <= x);
    }
    let all = a.len() + b.len() - shared;
    match all {
        0 => 0.0,
        all => shared as f64 / all as f64,
    }
}

/// `n_values` values of a set, a byte of each. None of an empty set.
pub fn sketch(shingles: &[u64], n_values: usize) -> Option<Box<[u8]>> {
    if shingles.is_empty() {
        return None;
    }
    let mut least = vec![u64::MAX; n_values];
    let mut n_empty = n_values;
    // In the first rounds a shingle falls into any place; in later ones, round n fills place n, so
    // that no place stays empty.
    for round in 0..2 * n_values as u64 {
        let seed = mixed(round + 1);
        for shingle in shingles {
            let hash = mixed(shingle ^ seed);
            let place = match round < n_values as u64 {
                true => ((hash >> 32) * n_values as u64) >> 32,
                false => round - n_values as u64,
            };
            let place = &mut least[place as usize];
            n_empty -= usize::from(*place == u64::MAX);
            *place = (*place).min(round << 32 | hash & 0xFFFF_FFFF);
        }
        if n_empty == 0 {
            break;
        }
    }
    Some(least.into_iter().map(|value| mixed(value) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn shingles_are_pairs_of_words_with_borders() {
        assert_eq!(shingles("one two three").len(), 4);
        assert_eq!(shingles("One, two -- THREE!"), shingles("one two three"));
        assert_eq!(shingles("one").len(), 2);
        assert_eq!(shingles("\r\n … "), Vec::<u64>::new());
        assert_ne!(shingles("a b"), shingles("b a"));
        // A pair that comes again counts once.
        assert_eq!(shingles("a b a b a b"), shingles("a b a b"));
    }

    #[test]
    fn the_jaccard_index_is_what_is_shared_of_all() {
        assert_eq!(jaccard(&[1, 2, 3, 9], &[2, 3, 4]), 0.4);
        assert_eq!(jaccard(&[1], &[1]), 1.0);
        assert_eq!(jaccard(&[], &[1]), 0.0);
        assert_eq!(jaccard(&[], &[]), 0.0);
    }

    /// The mean over many pairs of sets lies within four standard errors, for sets smaller and
    /// larger than the sketch; equal bytes of unequal values add 1/256 of the rest.
    #[test]
    fn sketches_agree_as_often_as_their_sets_are_alike() {
        let mut rng = Rng::named(3, "sketches");
        const VALUES: usize = 72;
        for (shared, own) in [(5, 2), (20, 20), (300, 100), (2000, 3000)] {
            let truth = shared as f64 / (shared + 2 * own) as f64;
            let pairs = 300;
            let mut equal = 0;
            for _ in 0..pairs {
                let draw = |n: u64, rng: &mut Rng| -> Vec<u64> {
                    (0..n).map(|_| mixed(rng.below(1 << 62))).collect()
                };
                let both = draw(shared, &mut rng);
                let [a, b] = [(); 2].map(|()| [both.clone(), draw(own, &mut rng)].concat());
                let [a, b] = [a, b].map(|set| sketch(&set, VALUES).unwrap());
                equal += a.iter().zip(&b).filter(|(a, b)| a == b).count();
            }
            let n = (pairs * VALUES) as f64;
            let expected = truth + (1.0 - truth) / 256.0;
            let error = (expected * (1.0 - expected) / n).sqrt();
            let found = equal as f64 / n;
            assert!(
                (found - expected).abs() < 4.0 * error,
                "{found} for {expected}"
            );
        }
        assert!(sketch(&[], VALUES).is_none());
    }
}
