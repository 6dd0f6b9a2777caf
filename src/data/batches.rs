//! Batches as a pure function of seed and step.
//!
//! Row i of a run draws the next window of its corpus. Windows come in epochs: each epoch cuts the
//! training part at a fresh random offset, and visits its windows in a fresh random order, every
//! one once. All of it is a function of (seed, corpus name, epoch), so a run resumes with a step
//! number and nothing else, and a corpus of weight 0 changes nothing.

use super::{
    DataConfig, Realised, RealisedPhase, Targets, answers,
    declared::{Declared, Room},
    mixture::{Mixture, RowPlan},
    phases::Stretch,
};
use crate::{
    error::{Error, Result},
    ops::cross_entropy::IGNORE,
    rng::{Rng, counter, key, philox},
};
use std::ops::Range;

/// One optimizer step's sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// rows·T ids.
    pub inputs: Vec<u32>,
    /// The id after each input, or [`IGNORE`] where it does not count.
    pub targets: Vec<u32>,
    /// Which corpus of the mixture each row came from.
    pub corpus_of_row: Vec<usize>,
}

impl Batch {
    /// Targets that count.
    pub fn counted(&self) -> usize {
        self.targets.iter().filter(|id| **id != IGNORE).count()
    }
}

/// All batches of a run.
#[derive(Debug, Clone)]
pub struct Batches {
    mixture: Mixture,
    plan: RowPlan,
    /// The weights of every step.
    stretches: Vec<Stretch>,
    /// Rows that each corpus may give; `u64::MAX` is any number.
    caps: Vec<u64>,
    block_size: usize,
    rows: usize,
    seed: u64,
    /// Answers of each part, where they alone count.
    answers: Option<Vec<Vec<Range<usize>>>>,
    noise: Option<Noise>,
    /// Rows drawn from each corpus before every [`STRIDE`]-th row: what makes `at` quick anywhere.
    marks: std::cell::RefCell<Vec<Vec<u64>>>,
}

/// Tokens that are replaced by random ones.
#[derive(Debug, Clone, Copy)]
struct Noise {
    /// Of every token.
    probability: f64,
    vocab_size: usize,
    key: [u32; 2],
}

/// Rows between two marks.
const STRIDE: u64 = 4096;

impl Batches {
    /// Batches of `rows` sequences of `block_size` tokens. Errors when a corpus with a weight has
    /// a training part shorter than a block and its last target.
    pub fn new(mixture: Mixture, block_size: usize, rows: usize, seed: u64) -> Result<Self> {
        for (weight, stream) in &mixture.parts {
            let tokens = stream.len();
            if *weight > 0.0 && tokens < block_size + 1 {
                return Err(Error::input(
                    "model.block_size",
                    format!(
                        "a block of {block_size} tokens and its last target do not fit the training part of \"{}\", {tokens} tokens",
                        stream.name()
                    ),
                    format!(
                        "use a block_size of at most {}, or a larger corpus",
                        tokens.saturating_sub(1)
                    ),
                ));
            }
        }
        let weights: Vec<f64> = mixture.parts.iter().map(|(weight, _)| *weight).collect();
        Ok(Self {
            plan: RowPlan::new(&weights, seed),
            marks: vec![vec![0; weights.len()]].into(),
            caps: vec![u64::MAX; weights.len()],
            stretches: vec![Stretch {
                first: 0,
                end: u64::MAX,
                from: weights.clone(),
                to: weights,
            }],
            mixture,
            block_size,
            rows,
            seed,
            answers: None,
            noise: None,
        })
    }

    /// The batches of a run of `steps` steps with the phases and caps of `data`, which is resolved
    /// and weighed, its entries in the order of the mixture's parts.
    pub fn scheduled(mut self, data: &DataConfig, steps: u64) -> Self {
        let room = self.room(steps);
        self.caps = room.caps(data);
        self.stretches = data.stretches(steps);
        let limits = room.limits(&self.stretches, &self.caps);
        let stretches = self.stretches.iter().cloned().zip(limits);
        self.plan = RowPlan::changing(stretches.collect(), self.rows as u64, self.seed);
        self
    }

    /// What there is to draw in a run of `steps` steps.
    fn room(&self, steps: u64) -> Room {
        let parts = self.mixture.parts.iter();
        Room {
            tokens: parts.map(|(_, stream)| stream.len() as u64).collect(),
            block_size: self.block_size,
            rows: self.rows,
            steps,
        }
    }

    /// What a run of `steps` steps is going to draw, by its weights.
    pub fn declared(&self, steps: u64) -> Declared {
        let names = self.mixture.parts.iter().map(|(_, stream)| stream.name());
        let names: Vec<&str> = names.collect();
        Declared::new(&self.room(steps), &names, &self.stretches, &self.caps)
    }

    /// The same rows with each token replaced by a random one of `vocab_size` with this
    /// probability, whatever step and process draws it.
    pub fn noisy(mut self, probability: f64, vocab_size: usize) -> Self {
        self.noise = (probability > 0.0).then(|| Noise {
            probability,
            vocab_size,
            key: key(self.seed, "data.token_noise"),
        });
        self
    }

    /// The same rows with these targets alone. Errors when a corpus with a weight has none of them.
    pub fn counting(mut self, targets: Targets) -> Result<Self> {
        if targets == Targets::All {
            return Ok(self);
        }
        let mut answers = Vec::new();
        for (weight, stream) in &self.mixture.parts {
            let found = stream.answers();
            if *weight > 0.0 && found.is_empty() {
                let problem = match stream.corpus().has_answers() {
                    true => "has no answer in its training part",
                    false => "does not say what its answers are",
                };
                return Err(Error::input(
                    "data.targets",
                    format!(
                        "only answers are to count, and \"{}\" {problem}",
                        stream.name()
                    ),
                    "leave it out of data.mixture, or leave data.targets at \"all\"",
                ));
            }
            answers.push(found);
        }
        self.answers = Some(answers);
        Ok(self)
    }

    /// The batch of optimizer step `step`, counted from 0.
    pub fn at(&self, step: u64) -> Batch {
        let first = step * self.rows as u64;
        let mut drawn = self.drawn_before(first);
        let n = self.rows * self.block_size;
        let mut window = Vec::with_capacity(self.block_size + 1);
        let mut batch = Batch {
            inputs: Vec::with_capacity(n),
            targets: Vec::with_capacity(n),
            corpus_of_row: Vec::with_capacity(self.rows),
        };
        for row in first..first + self.rows as u64 {
            let idx = self.plan.corpus(row, &drawn);
            let start = self.window_start(idx, drawn[idx]);
            drawn[idx] += 1;
            window.clear();
            let stream = &self.mixture.parts[idx].1;
            stream.ids(start, self.block_size + 1, &mut window);
            if let Some(noise) = &self.noise {
                noise.replace(row, &mut window);
            }
            batch.inputs.extend(&window[..self.block_size]);
            batch.targets.extend(&window[1..]);
            if let Some(answers) = &self.answers {
                let first = batch.targets.len() - self.block_size;
                for (i, target) in batch.targets[first..].iter_mut().enumerate() {
                    if !answers::covers(&answers[idx], start + 1 + i) {
                        *target = IGNORE;
                    }
                }
            }
            batch.corpus_of_row.push(idx);
        }
        batch
    }

    /// What the first `steps` steps draw from each corpus.
    pub fn realised(&self, steps: u64) -> Vec<Realised> {
        let rows = steps * self.rows as u64;
        let drawn = self.drawn_before(rows);
        let mut phases = self.realised_phases(steps);
        let parts = self.mixture.parts.iter().zip(drawn).enumerate();
        parts
            .map(|(idx, ((_, stream), drawn))| {
                let tokens = drawn * self.block_size as u64;
                Realised {
                    corpus: stream.name().into(),
                    tokens,
                    epochs: tokens as f64 / stream.len().max(1) as f64,
                    share: drawn as f64 / rows.max(1) as f64,
                    declared: Some(self.declared_share(idx, steps)),
                    phases: std::mem::take(&mut phases[idx]),
                }
            })
            .collect()
    }

    /// What the weights of the first `steps` steps say that a corpus's share is.
    fn declared_share(&self, idx: usize, steps: u64) -> f64 {
        match &self.stretches[..] {
            [only] if !only.is_ramp() => only.from[idx],
            all => {
                let weights = all.iter().map(|stretch| stretch.weight_before(idx, steps));
                weights.sum::<f64>() / steps.max(1) as f64
            }
        }
    }

    /// By corpus: what was drawn in each stretch that began; nothing where one is the whole run.
    fn realised_phases(&self, steps: u64) -> Vec<Vec<RealisedPhase>> {
        let mut phases = vec![Vec::new(); self.mixture.parts.len()];
        if self.stretches.len() == 1 {
            return phases;
        }
        for stretch in self.stretches.iter().filter(|s| s.first < steps) {
            let (from, to) = (stretch.first, stretch.end.min(steps));
            let n = (to - from) * self.rows as u64;
            let [before, after] = [from, to].map(|step| self.drawn_before(step * self.rows as u64));
            for (idx, of) in phases.iter_mut().enumerate() {
                let drawn = after[idx] - before[idx];
                of.push(RealisedPhase {
                    from_step: from,
                    to_step: to,
                    tokens: drawn * self.block_size as u64,
                    share: drawn as f64 / n as f64,
                    declared: stretch.weight_before(idx, to) / (to - from) as f64,
                });
            }
        }
        phases
    }

    /// Rows that each corpus gave before row `row` of the run.
    fn drawn_before(&self, row: u64) -> Vec<u64> {
        let mut marks = self.marks.borrow_mut();
        while (marks.len() as u64) <= row / STRIDE {
            let first = (marks.len() as u64 - 1) * STRIDE;
            let mut counts = marks[marks.len() - 1].clone();
            self.count(first..first + STRIDE, &mut counts);
            marks.push(counts);
        }
        let mut counts = marks[(row / STRIDE) as usize].clone();
        self.count(row / STRIDE * STRIDE..row, &mut counts);
        counts
    }

    /// Adds what each corpus gives in these rows to what it gave before them.
    fn count(&self, rows: Range<u64>, counts: &mut [u64]) {
        for row in rows {
            let idx = self.plan.corpus(row, counts);
            counts[idx] += 1;
        }
    }

    /// Where the `draw`-th window of a part begins in its stream.
    fn window_start(&self, idx: usize, draw: u64) -> usize {
        let stream = &self.mixture.parts[idx].1;
        let (t, len) = (self.block_size, stream.len());
        let windows = windows_per_epoch(len as u64, t);
        let (epoch, position) = (draw / windows, draw % windows);
        let order = format!("data.epoch.{}.{epoch}", stream.name());
        let slack = len - (windows as usize * t + 1);
        let offset = Rng::named(self.seed, &order).below(slack as u64 + 1) as usize;
        let order = permuted(position, windows, key(self.seed, &order));
        offset + order as usize * t
    }
}

impl Noise {
    /// Replaces tokens of row `row` of the run.
    fn replace(&self, row: u64, window: &mut [u32]) {
        for (lane, pair) in window.chunks_mut(2).enumerate() {
            let random = philox(self.key, counter(row, lane as u64));
            for (id, words) in pair.iter_mut().zip(random.chunks(2)) {
                if f64::from(words[0]) < self.probability * 4_294_967_296.0 {
                    // The high half of a product: as even as 32 bits can be.
                    *id = ((u64::from(words[1]) * self.vocab_size as u64) >> 32) as u32;
                }
            }
        }
    }
}

/// Windows of `block_size` tokens in one pass over a stream of `tokens`: as many as fit whatever the
/// offset, so that an epoch has one length.
pub(super) fn windows_per_epoch(tokens: u64, block_size: usize) -> u64 {
    let t = block_size as u64;
    (tokens.saturating_sub(t) / t).max(1)
}

/// Where `index` goes in a pseudo-random permutation of 0..n: four Feistel rounds over the
/// smallest square of a power of two that holds n, walked until the result is below n (Black &
/// Rogaway 2002).
fn permuted(index: u64, n: u64, key: [u32; 2]) -> u64 {
    let half_bits = (64 - (n - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << half_bits) - 1;
    let mut x = index;
    loop {
        let (mut left, mut right) = (x >> half_bits, x & mask);
        for round in 0..4 {
            let mixed = u64::from(philox(key, counter(right, round + 1))[0]);
            (left, right) = (right, left ^ (mixed & mask));
        }
        x = (left << half_bits) | right;
        if x < n {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_visits_everything_once_and_looks_shuffled() {
        for n in [1, 2, 3, 10, 64, 1000] {
            let mut seen: Vec<u64> = (0..n).map(|i| permuted(i, n, [1, 2])).collect();
            if n == 1000 {
                let fixed = seen
                    .iter()
                    .enumerate()
                    .filter(|(i, x)| *i as u64 == **x)
                    .count();
                let rising = seen.windows(2).filter(|w| w[0] < w[1]).count();
                assert!(fixed < 10 && (400..600).contains(&rising));
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }
    }
}
