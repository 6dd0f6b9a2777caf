//! Training of a byte-level BPE (Sennrich et al. 2016; bytes and splitting as in GPT-2).
//!
//! Our own rather than the `tokenizers` crate's: that one walks hash maps with random keys, and a
//! pair that comes up again after its token exists may be ranked by their order. Here the same text
//! gives the same bytes, always: the pair that occurs most often is merged, of equals the one with
//! the lower ids, and a token is made by one merge only.

use super::{Bpe, MOST_IDS, bpe::byte_char, bpe::byte_level};
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet},
};
use tokenizers::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    pre_tokenizers::byte_level::ByteLevel,
};

/// A pair that occurs once says nothing about other texts.
const FEWEST: i64 = 2;

/// Errors when a vocabulary of this size can't be: there is a token for every byte, and ids are
/// u16.
pub fn check_size(vocab_size: usize) -> Result<()> {
    match (256..=MOST_IDS).contains(&vocab_size) {
        true => Ok(()),
        false => Err(Error::input(
            "--vocab-size",
            format!("{vocab_size} tokens: out of range"),
            format!("use 256 (every byte has a token) to {MOST_IDS} (ids are 16-bit numbers)"),
        )),
    }
}

/// The byte-level BPE of these documents, with at most `vocab_size` tokens: fewer when no pair of
/// tokens occurs twice any more. Errors when the size can't be.
pub fn train<'a>(documents: impl IntoIterator<Item = &'a str>, vocab_size: usize) -> Result<Bpe> {
    let documents: Vec<&str> = documents.into_iter().collect();
    let each = |take: &mut dyn FnMut(&str) -> Result<()>| {
        documents.iter().try_for_each(|document| take(document))
    };
    train_on(&each, vocab_size)
}

/// Hands documents to what it is given, one by one.
pub type Each<'a> = dyn Fn(&mut dyn FnMut(&str) -> Result<()>) -> Result<()> + 'a;

/// [`train`] with documents that are not in memory all at once; their different words are.
pub fn train_on(each: &Each, vocab_size: usize) -> Result<Bpe> {
    check_size(vocab_size)?;
    let mut alphabet: Vec<char> = (0..=255).map(byte_char).collect();
    alphabet.sort_unstable();
    let mut text = Words::new(&word_counts(each)?, &alphabet);
    let mut tokens: Vec<String> = alphabet.into_iter().map(String::from).collect();
    let mut known: HashSet<String> = tokens.iter().cloned().collect();
    let mut merges: Vec<Value> = Vec::new();
    while tokens.len() < vocab_size {
        let Some((a, b)) = text.most_frequent() else {
            break;
        };
        let (left, right) = (&tokens[a as usize], &tokens[b as usize]);
        let token = format!("{left}{right}");
        if known.insert(token.clone()) {
            merges.push(json!([left, right]));
            text.merge((a, b), tokens.len() as u32);
            tokens.push(token);
        }
    }
    let ids = tokens.into_iter().zip(0u32..);
    let vocabulary = ids.map(|(token, id)| (token, id.into())).collect();
    Bpe::new(byte_level(Value::Object(vocabulary), merges.into()))
        .map_err(|(problem, remedy)| Error::failed("the trained tokenizer", problem, remedy))
}

/// How often each word occurs, spelt as byte-level tokenizers do.
fn word_counts(each: &Each) -> Result<BTreeMap<String, i64>> {
    let splitter = ByteLevel::new(false, true, true);
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    each(&mut |document| {
        let mut text = PreTokenizedString::from(document);
        splitter.pre_tokenize(&mut text).map_err(|e| {
            Error::failed(
                "the text",
                format!("can't be split: {e}"),
                "report this as a bug",
            )
        })?;
        for (word, ..) in text.get_splits(OffsetReferential::Original, OffsetType::None) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => _ = counts.insert(word.into(), 1),
            }
        }
        Ok(())
    })?;
    Ok(counts)
}

type Pair = (u32, u32);

/// The different words of a text, as tokens so far, and the pairs in them.
struct Words {
    words: Vec<(Vec<u32>, i64)>,
    pairs: HashMap<Pair, i64>,
    /// Words that have, or had, a pair.
    places: HashMap<Pair, Vec<usize>>,
    /// Counts as they were when a pair was put here; they may have fallen since.
    queue: BinaryHeap<(i64, Reverse<Pair>)>,
}

impl Words {
    fn new(counts: &BTreeMap<String, i64>, alphabet: &[char]) -> Self {
        let mut text = Self {
            words: Vec::new(),
            pairs: HashMap::new(),
            places: HashMap::new(),
            queue: BinaryHeap::new(),
        };
        for (idx, (word, n)) in counts.iter().enumerate() {
            let ids: Vec<u32> = word
                .chars()
                .filter_map(|c| Some(alphabet.binary_search(&c).ok()? as u32))
                .collect();
            for pair in pairs(&ids) {
                *text.pairs.entry(pair).or_default() += n;
                text.places.entry(pair).or_default().push(idx);
            }
            text.words.push((ids, *n));
        }
        let queue = text.pairs.iter().map(|(pair, n)| (*n, Reverse(*pair)));
        text.queue = queue.collect();
        text
    }

    /// Takes the pair with the highest count from the queue; of equals, the one with the lowest ids.
    fn most_frequent(&mut self) -> Option<Pair> {
        while let Some((then, Reverse(pair))) = self.queue.pop() {
            let now = self.pairs.get(&pair).copied().unwrap_or(0);
            match then == now {
                true if now < FEWEST => return None,
                true => return Some(pair),
                // A count that rose has an entry of its own.
                false if now < then => self.queue.push((now, Reverse(pair))),
                false => {}
            }
        }
        None
    }

    /// Puts the token `id` where the pair stands, from left to right.
    fn merge(&mut self, pair: Pair, id: u32) {
        let places: BTreeSet<usize> = self
            .places
            .remove(&pair)
            .unwrap_or_default()
            .into_iter()
            .collect();
        let mut rose = BTreeSet::new();
        for idx in places {
            let (ids, n) = &mut self.words[idx];
            let merged = merged(ids, pair, id);
            for old in pairs(ids) {
                *self.pairs.entry(old).or_default() -= *n;
            }
            for new in pairs(&merged) {
                *self.pairs.entry(new).or_default() += *n;
                if new.0 == id || new.1 == id {
                    self.places.entry(new).or_default().push(idx);
                    rose.insert(new);
                }
            }
            *ids = merged;
        }
        let counts = rose.into_iter().map(|new| (self.pairs[&new], Reverse(new)));
        self.queue.extend(counts);
    }
}

fn pairs(ids: &[u32]) -> impl Iterator<Item = Pair> + '_ {
    ids.windows(2).map(|pair| (pair[0], pair[1]))
}

fn merged(ids: &[u32], (a, b): Pair, id: u32) -> Vec<u32> {
    let mut merged = Vec::with_capacity(ids.len());
    let mut rest = ids;
    while let [first, after @ ..] = rest {
        match after {
            [second, after @ ..] if (*first, *second) == (a, b) => {
                merged.push(id);
                rest = after;
            }
            _ => {
                merged.push(*first);
                rest = after;
            }
        }
    }
    merged
}
