//! How predictable a text is from the last few bytes alone: Witten-Bell n-gram cross-entropies.
//!
//! A model that does not beat these floors has learnt no more than letter statistics; a corpus whose
//! floors stop falling after order 2 has nothing to learn beyond them.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// The highest order: a gram is packed into one u64.
pub const HIGHEST: usize = 8;

/// Cross-entropy of `validation`, in nats per byte, under the interpolated Witten-Bell model of
/// `train` for each order 1..=`most` (order 1 is the unigram; `most` above [`HIGHEST`] is cut).
///
/// p_n(c|h) = (count(h,c) + types(h) p_{n-1}(c|h')) / (count(h) + types(h)), and p_{n-1} where h was
/// never seen. Order 0 is uniform over the byte values of `train`, and of
/// `validation` too where it has others, so that every model is a distribution. Contexts are cut at
/// the start of `validation`. NaN when `validation` is empty.
pub fn floors(train: &[u8], validation: &[u8], most: usize) -> Vec<f64> {
    let mut seen = [false; 256];
    for byte in train.iter().chain(validation) {
        seen[usize::from(*byte)] = true;
    }
    let values = seen.iter().filter(|s| **s).count();
    // The probability of each byte of `validation` under the order reached so far.
    let mut p = vec![1.0 / values as f64; validation.len()];
    (1..=most.min(HIGHEST))
        .map(|order| {
            let counts = Counts::of(train, order);
            for (end, gram) in grams(validation, order) {
                p[end] = counts.interpolate(gram, p[end]);
            }
            -p.iter().map(|p| p.ln()).sum::<f64>() / p.len() as f64
        })
        .collect()
}

/// Every run of `order` bytes as a number, with the index of its last byte.
fn grams(text: &[u8], order: usize) -> impl Iterator<Item = (usize, u64)> {
    let mask = u64::MAX >> (64 - 8 * order);
    let mut packed = 0;
    text.iter().enumerate().filter_map(move |(end, byte)| {
        packed = (packed << 8 | u64::from(*byte)) & mask;
        (end + 1 >= order).then_some((end, packed))
    })
}

/// What follows a context: how many bytes, and how many different ones.
#[derive(Default)]
struct Followers {
    count: u32,
    types: u32,
}

/// The counts of one order.
struct Counts {
    grams: HashMap<u64, u32, BuildHasherDefault<Mixer>>,
    contexts: HashMap<u64, Followers, BuildHasherDefault<Mixer>>,
}

impl Counts {
    fn of(text: &[u8], order: usize) -> Self {
        let mut grams_seen: HashMap<u64, u32, _> = HashMap::default();
        for (_, gram) in grams(text, order) {
            *grams_seen.entry(gram).or_default() += 1;
        }
        let mut contexts: HashMap<u64, Followers, _> = HashMap::default();
        for (gram, count) in &grams_seen {
            let followers = contexts.entry(gram >> 8).or_default();
            followers.count += count;
            followers.types += 1;
        }
        Self {
            grams: grams_seen,
            contexts,
        }
    }

    fn interpolate(&self, gram: u64, lower: f64) -> f64 {
        let Some(followers) = self.contexts.get(&(gram >> 8)) else {
            return lower;
        };
        let count = f64::from(self.grams.get(&gram).copied().unwrap_or(0));
        let types = f64::from(followers.types);
        (count + types * lower) / (f64::from(followers.count) + types)
    }
}

/// Mixes one u64: the keys are text, nobody's attack.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        let wide = u128::from(self.0 ^ key ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = wide as u64 ^ (wide >> 64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synth::{DEFAULT_BYTES, DEFAULT_SEED, GRAMMARS, generate};
    use std::path::PathBuf;

    #[test]
    fn a_tiny_case_agrees_with_the_hand() {
        // Unigram: p(a) = (2 + 2/2) / (3 + 2), p(b) = (1 + 2/2) / (3 + 2).
        // Bigram: after "a" came "a" and "b": p(b|a) = (1 + 2 * 2/5) / (2 + 2).
        let found = floors(b"aab", b"ab", 2);
        let want = [0.6 * 0.4, 0.6 * 0.45].map(|p: f64| -p.ln() / 2.0);
        assert!(found.iter().zip(want).all(|(f, w)| (f - w).abs() < 1e-12));
    }

    #[test]
    fn a_byte_that_training_lacks_costs_a_finite_amount() {
        // Three values in all; "c" has only the base's share: (0 + 2/3) / (3 + 2).
        let found = floors(b"aab", b"c", 1);
        assert!((found[0] + (2.0f64 / 15.0).ln()).abs() < 1e-12);
    }

    #[test]
    fn the_floors_of_tiny_shakespeare_are_the_reference_ones() {
        let folder = std::env::var_os("WINDTUNNEL_MIRROR").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/text"),
            PathBuf::from,
        );
        let Ok(text) = std::fs::read(folder.join("tinyshakespeare.txt")) else {
            println!("skipped: no tinyshakespeare.txt in {}", folder.display());
            return;
        };
        let found = floors(&text[..1_003_854], &text[text.len() - 111_540..], 6);
        let want = [3.3473, 2.4858, 2.0492, 1.7738, 1.6688, 1.6981];
        assert_eq!(found.len(), want.len());
        for (f, w) in found.iter().zip(want) {
            assert!((f - w).abs() < 1e-4, "{found:?}");
        }
    }

    #[test]
    fn the_floors_of_the_built_in_corpora_fall_through_order_four() {
        // Of random letters no order foretells any.
        for grammar in GRAMMARS.iter().filter(|g| g.name != "echoes") {
            let text = generate(grammar, DEFAULT_BYTES, DEFAULT_SEED).unwrap();
            // Nine documents in ten train.
            let mut parts = [String::new(), String::new()];
            for (i, document) in text.split("\n\n").enumerate() {
                let part = &mut parts[usize::from(i % 10 == 9)];
                part.push_str(document);
                part.push_str("\n\n");
            }
            let found = floors(parts[0].as_bytes(), parts[1].as_bytes(), 6);
            for pair in found[..4].windows(2) {
                assert!(pair[0] - pair[1] > 0.05, "{}: {found:?}", grammar.name);
            }
            assert!(found[5].min(found[4]) > 0.25, "{}: {found:?}", grammar.name);
        }
    }
}
