//! What a run draws from one entry of its mixture: a corpus's training part, or a subset of it.
//!
//! A subset is the same for every seed and step: it stands for having less text, so that repeating
//! it can be told from reading on. An evenly spread one is a sample of whole documents from
//! beginning to end; a leading one is the first stretch of the text, whose content may be another.

use super::{Share, corpus::Corpus, split::Part};
use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{ops::Range, sync::Arc};

/// A part of a corpus's training text, by tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subset {
    /// Above 0, at most 1.
    pub fraction: f64,
    /// Which tokens it takes.
    #[serde(default)]
    pub kind: SubsetKind,
}

/// Which tokens a subset takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubsetKind {
    /// Whole documents from beginning to end of the text.
    #[default]
    Spread,
    /// The first tokens of the text.
    Leading,
}

impl SubsetKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Leading => "leading",
        }
    }
}

/// A sample of fewer documents than this hardly looks like the whole: then equal stretches of the
/// text are taken instead.
const FEWEST_PIECES: f64 = 20.0;

/// An entry of a mixture, opened.
#[derive(Debug, Clone)]
pub struct Stream {
    corpus: Arc<Corpus>,
    name: String,
    /// The training part's tokens that are drawn from, in order; `None` means all.
    pieces: Option<Vec<Piece>>,
    len: usize,
}

/// A run of the training part's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    /// Where it begins in the subset.
    at: usize,
    /// Where it lies in the training part.
    tokens: Range<usize>,
}

impl From<Arc<Corpus>> for Stream {
    /// The whole training part under the corpus's own name.
    fn from(corpus: Arc<Corpus>) -> Self {
        Self {
            name: corpus.name().into(),
            len: corpus.train().len(),
            pieces: None,
            corpus,
        }
    }
}

impl Stream {
    /// What `share` means by `corpus`. Errors, with the recipe's key as the place, when nothing is
    /// left of it.
    pub fn new(corpus: Arc<Corpus>, share: &Share) -> Result<Self> {
        let whole = Self::from(corpus);
        let Some(subset) = share.subset else {
            return Ok(Self {
                name: share.name().into(),
                ..whole
            });
        };
        let up_to = |end: usize| std::iter::once(0..end).collect::<Vec<_>>();
        let pieces = match subset.kind {
            _ if subset.fraction == 1.0 => up_to(whole.len),
            SubsetKind::Leading => up_to((subset.fraction * whole.len as f64).ceil() as usize),
            SubsetKind::Spread => {
                spread(&pieces_of(&whole.corpus, subset.fraction), subset.fraction)
            }
        };
        let pieces = laid_out(pieces);
        let len = pieces
            .last()
            .map_or(0, |piece| piece.at + piece.tokens.len());
        if len == 0 {
            return Err(Error::input(
                "data.mixture",
                format!(
                    "nothing is left of \"{}\" in a fraction of {}",
                    share.corpus, subset.fraction
                ),
                "use a larger fraction",
            ));
        }
        Ok(Self {
            name: share.name().into(),
            pieces: Some(pieces),
            len,
            ..whole
        })
    }

    /// The name of its domain.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn corpus(&self) -> &Arc<Corpus> {
        &self.corpus
    }

    /// Tokens that can be drawn.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `n` tokens from `start` on, as ids.
    pub fn ids(&self, start: usize, n: usize, into: &mut Vec<u32>) {
        let train = self.corpus.train();
        let Some(pieces) = &self.pieces else {
            into.extend(train[start..start + n].iter().map(|id| u32::from(*id)));
            return;
        };
        let (mut at, end) = (start, start + n);
        let mut idx = pieces.partition_point(|piece| piece.at <= start) - 1;
        while at < end {
            let piece = &pieces[idx];
            let from = piece.tokens.start + at - piece.at;
            let taken = (end - at).min(piece.tokens.end - from);
            into.extend(train[from..from + taken].iter().map(|id| u32::from(*id)));
            at += taken;
            idx += 1;
        }
    }

    /// The tokens of each answer that can be drawn, in order, counted as [`Stream::ids`] does.
    pub fn answers(&self) -> Vec<Range<usize>> {
        let answers = self.corpus.answers(Part::Train);
        let Some(pieces) = &self.pieces else {
            return answers;
        };
        let mut drawn = Vec::new();
        for piece in pieces {
            let first = answers.partition_point(|answer| answer.end <= piece.tokens.start);
            let inside = answers[first..]
                .iter()
                .take_while(|a| a.start < piece.tokens.end);
            drawn.extend(inside.map(|answer| {
                let at = |token: usize| piece.at + token - piece.tokens.start;
                at(answer.start.max(piece.tokens.start))..at(answer.end.min(piece.tokens.end))
            }));
        }
        drawn
    }
}

/// The training part cut for an evenly spread subset: its documents, or equal stretches where a
/// subset of them would be too few.
fn pieces_of(corpus: &Corpus, fraction: f64) -> Vec<Range<usize>> {
    let len = corpus.train().len();
    let mut edges: Vec<usize> = corpus.documents(Part::Train).collect();
    if (edges.len() as f64 * fraction) < FEWEST_PIECES {
        let n = (FEWEST_PIECES / fraction).ceil() as usize;
        edges = (0..n).map(|i| i * len / n).collect();
    }
    edges.push(len);
    edges.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// The pieces that keep the share of tokens taken so far at `fraction`, from beginning to end.
fn spread(pieces: &[Range<usize>], fraction: f64) -> Vec<Range<usize>> {
    let (mut taken, mut seen) = (0.0, 0.0);
    let keep = |piece: &&Range<usize>| {
        let len = piece.len() as f64;
        seen += len;
        let keep = taken + len / 2.0 <= fraction * seen;
        taken += if keep { len } else { 0.0 };
        keep
    };
    pieces.iter().filter(keep).cloned().collect()
}

/// Ranges one behind the other; neighbours become one.
fn laid_out(ranges: Vec<Range<usize>>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for tokens in ranges.into_iter().filter(|range| !range.is_empty()) {
        let at = match pieces.last_mut() {
            Some(last) if last.tokens.end == tokens.start => {
                last.tokens.end = tokens.end;
                continue;
            }
            Some(last) => last.at + last.tokens.len(),
            None => 0,
        };
        pieces.push(Piece { at, tokens });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_subset_holds_its_fraction_of_every_stretch_of_the_text() {
        let lengths = [7usize, 30, 11, 2, 19, 5, 40, 13].repeat(200);
        let mut at = 0;
        let pieces: Vec<Range<usize>> = lengths
            .iter()
            .map(|n| {
                at += n;
                at - n..at
            })
            .collect();
        for fraction in [1.0 / 16.0, 0.25, 0.7, 1.0] {
            let kept = spread(&pieces, fraction);
            for stretch in 1..=8 {
                let end = at * stretch / 8;
                let tokens: usize = kept.iter().filter(|p| p.end <= end).map(Range::len).sum();
                let off = tokens as f64 - fraction * end as f64;
                assert!(off.abs() <= 41.0, "{fraction} {stretch}: {off}");
            }
        }
        assert_eq!(laid_out(spread(&pieces, 1.0)).len(), 1);
    }
}
