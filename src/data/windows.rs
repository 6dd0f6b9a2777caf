//! The validation windows: fixed for a corpus and a block size, the same for every arm and step.

use super::{batches::Batch, corpus::Corpus, split::Part, tokenizer::Tokenizer};
use crate::{
    digest::sha256_json,
    error::{Error, Result},
    ops::cross_entropy::IGNORE,
};
use std::{ops::Range, sync::Arc};

/// Windows of T tokens over a corpus's validation part; every target counts once.
#[derive(Debug, Clone)]
pub struct EvalWindows {
    corpus: Arc<Corpus>,
    part: Part,
    block_size: usize,
    /// (start of the window, targets at its head that another window counts)
    windows: Vec<(usize, usize)>,
    tokens: u64,
    bytes: u64,
    /// Of a corpus that has answers: see [`EvalWindows::answers`].
    answers: Option<Vec<Range<usize>>>,
    digest: String,
}

impl EvalWindows {
    /// All windows of the validation part, or `limit` of them spread evenly over it when that is
    /// not 0. Errors when the part is shorter than a block.
    pub fn new(
        corpus: Arc<Corpus>,
        block_size: usize,
        limit: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        Self::of_part((corpus, Part::Validation), block_size, limit, tokenizer)
    }

    /// The same over the validation part, or over the locked test part.
    pub fn of_part(
        (corpus, which): (Arc<Corpus>, Part),
        block_size: usize,
        limit: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        let part = corpus.part(which);
        if part.len() < block_size + 1 {
            return Err(Error::input(
                "model.block_size",
                format!(
                    "a block of {block_size} tokens and its last target do not fit the {} part of \"{}\", {} tokens",
                    which.name(),
                    corpus.name(),
                    part.len()
                ),
                format!(
                    "use a block_size of at most {}, or a larger corpus",
                    part.len().saturating_sub(1)
                ),
            ));
        }
        let targets = part.len() - 1;
        let mut windows: Vec<(usize, usize)> = (0..targets / block_size)
            .map(|i| (i * block_size, 0))
            .collect();
        let rest = targets % block_size;
        if rest > 0 {
            // The last window ends with the part; what the one before counted is masked.
            windows.push((targets - block_size, block_size - rest));
        }
        if limit > 0 && limit < windows.len() {
            windows = (0..limit)
                .map(|i| windows[i * windows.len() / limit])
                .collect();
        }
        Ok(Self::over((corpus, which), block_size, windows, tokenizer))
    }

    /// Every `n`-th of these windows, from the `idx`-th on: n blocks that share none.
    pub fn block(&self, (idx, n): (usize, usize), tokenizer: &Tokenizer) -> Self {
        let windows = self.windows.iter().skip(idx).step_by(n.max(1)).copied();
        let of = (self.corpus.clone(), self.part);
        Self::over(of, self.block_size, windows.collect(), tokenizer)
    }

    /// These windows: (start, targets at the head that do not count).
    fn over(
        (corpus, which): (Arc<Corpus>, Part),
        block_size: usize,
        windows: Vec<(usize, usize)>,
        tokenizer: &Tokenizer,
    ) -> Self {
        let part = corpus.part(which);
        let sizes = tokenizer.bytes_per_id();
        let bytes_of = |ids: &[u16]| -> u64 {
            let sizes = ids.iter().map(|id| u64::from(sizes[usize::from(*id)]));
            sizes.sum()
        };
        let (mut tokens, mut bytes) = (0, 0);
        for (start, masked) in &windows {
            let counted = &part[start + 1 + masked..=start + block_size];
            tokens += counted.len() as u64;
            bytes += bytes_of(counted);
        }
        // Spaces that a tokenizer puts before texts are no bytes of theirs: taken off evenly.
        let (own, spelt) = (corpus.manifest().counts(which).bytes, bytes_of(part));
        if spelt > own {
            bytes = (bytes as f64 * own as f64 / spelt as f64).round() as u64;
        }
        let digest = sha256_json(&(corpus.digest(), block_size, &windows));
        let answers = corpus
            .has_answers()
            .then(|| judged((&corpus, which), block_size, &windows));
        Self {
            corpus,
            part: which,
            block_size,
            windows,
            tokens,
            bytes,
            answers,
            digest,
        }
    }

    /// The answers that are judged, of a corpus that has answers: where the targets of each lie when
    /// all windows' targets, block size of them each, stand in one row.
    ///
    /// Each is whole among one window's counted targets, so none is judged twice, and has before it
    /// in the window its document from the start, or half a window: an answer whose question was cut
    /// off would say little of the model.
    pub fn answers(&self) -> Option<&[Range<usize>]> {
        self.answers.as_deref()
    }

    /// Batches of at most `rows` windows; targets that do not count are [`IGNORE`].
    pub fn batches(&self, rows: usize) -> impl Iterator<Item = Batch> + '_ {
        let part = self.corpus.part(self.part);
        let t = self.block_size;
        self.windows.chunks(rows.max(1)).map(move |windows| {
            let mut batch = Batch {
                inputs: Vec::with_capacity(windows.len() * t),
                targets: Vec::with_capacity(windows.len() * t),
                corpus_of_row: vec![0; windows.len()],
            };
            for (start, masked) in windows {
                let window = &part[*start..=start + t];
                batch
                    .inputs
                    .extend(window[..t].iter().map(|id| u32::from(*id)));
                let targets = window[1..].iter().enumerate();
                batch.targets.extend(
                    targets.map(|(i, id)| if i < *masked { IGNORE } else { u32::from(*id) }),
                );
            }
            batch
        })
    }

    /// The corpus that they lie in.
    pub fn of(&self) -> &Arc<Corpus> {
        &self.corpus
    }

    /// The corpus's name.
    pub fn corpus(&self) -> &str {
        self.corpus.name()
    }

    /// How many there are.
    pub fn n(&self) -> usize {
        self.windows.len()
    }

    /// Targets that count.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Bytes of text that the counted targets stand for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Changes with the corpus's digest, the block size or the choice of windows.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// See [`EvalWindows::answers`].
fn judged(
    (corpus, part): (&Corpus, Part),
    block_size: usize,
    windows: &[(usize, usize)],
) -> Vec<Range<usize>> {
    let answers = corpus.answers(part);
    let documents: Vec<usize> = corpus.documents(part).collect();
    let mut judged = Vec::new();
    for (idx, (start, masked)) in windows.iter().enumerate() {
        // The window's targets begin one token after its inputs.
        let (first, end) = (start + 1 + masked, start + 1 + block_size);
        let from = answers.partition_point(|answer| answer.start < first);
        for answer in answers[from..].iter().take_while(|a| a.start < end) {
            let document = documents[documents.partition_point(|d| *d <= answer.start) - 1];
            let seen = document >= *start || answer.start - start >= block_size / 2;
            if answer.end <= end && seen {
                let at = |token: usize| idx * block_size + token - (start + 1);
                judged.push(at(answer.start)..at(answer.end));
            }
        }
    }
    judged
}
