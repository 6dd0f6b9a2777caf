//! Corpora with weights, and which of them each row of a run draws from.

use super::{Share, corpus::Corpus, phases::Stretch, stream::Stream};
use crate::{
    error::{Error, Result},
    rng::Rng,
};
use std::sync::Arc;

/// Opened corpora with weights that sum to 1: over the whole run, where they change.
#[derive(Debug, Clone)]
pub struct Mixture {
    pub parts: Vec<(f64, Stream)>,
}

impl Mixture {
    /// Of whole corpora.
    pub fn of(parts: Vec<(f64, Arc<Corpus>)>) -> Self {
        let parts = parts.into_iter();
        Self {
            parts: parts
                .map(|(weight, corpus)| (weight, corpus.into()))
                .collect(),
        }
    }
}

/// Normalised weights are whole numbers of parts of this many: coarse enough to hide how a sum of
/// decimals was rounded (0.7 + 0.2 + 0.1 is not 1), fine enough that no run has the rows to tell.
const GRAINS: f64 = 1e12;

/// A weight as a whole number of those parts.
pub fn in_grains(weight: f64) -> f64 {
    (weight * GRAINS).round() / GRAINS
}

/// Relative weights made to sum to 1, to within a part in 10^12 each: weights of the same
/// proportions come out the same to the last bit, in whatever order and scale they were written.
/// `place` is the key that the weights stand under. Errors when the list is empty, a weight is
/// negative or not a number, none is positive, their sum is infinite, or a corpus comes twice.
pub fn normalised(place: &str, shares: &[Share]) -> Result<Vec<Share>> {
    if shares.is_empty() {
        return Err(Error::input(
            place,
            "the list is empty",
            "name at least one corpus, such as [{ corpus = \"tales\" }]",
        ));
    }
    for (idx, share) in shares.iter().enumerate() {
        if !(share.weight >= 0.0 && share.weight.is_finite()) {
            return Err(Error::input(
                place,
                format!("weight of \"{}\" is {}", share.name(), share.weight),
                "weights must be 0 or more",
            ));
        }
        if shares[..idx]
            .iter()
            .any(|other| other.name() == share.name())
        {
            return Err(Error::input(
                place,
                format!("\"{}\" is there twice", share.name()),
                "name each corpus once, with the sum of its weights; in a mixture, `domain` tells two entries of one corpus apart",
            ));
        }
        check_part(place, share)?;
    }
    let total: f64 = shares.iter().map(|share| share.weight).sum();
    if total <= 0.0 {
        return Err(Error::input(
            place,
            "every weight is 0",
            "make at least one weight positive",
        ));
    }
    if !total.is_finite() {
        return Err(Error::input(
            place,
            "the weights' sum is infinite",
            "use smaller weights; only their ratios count",
        ));
    }
    // Weights that were normalised before stay as they are.
    let total = match (total - 1.0).abs() < 1e3 / GRAINS {
        true => 1.0,
        false => total,
    };
    Ok(shares
        .iter()
        .map(|share| Share {
            weight: in_grains(share.weight / total),
            ..share.clone()
        })
        .collect())
}

/// Errors when an entry's name can't be told from others in reports, its subset is none, or its caps
/// allow nothing.
fn check_part(place: &str, share: &Share) -> Result<()> {
    if let Some(domain) = &share.domain
        && (domain.is_empty() || domain.len() > 64 || domain.contains(char::is_whitespace))
    {
        return Err(Error::input(
            place,
            format!("{domain:?} can't be the name of a domain"),
            "use a word of at most 64 characters",
        ));
    }
    if let Some(epochs) = share.max_epochs.filter(|n| !(*n > 0.0 && n.is_finite())) {
        return Err(Error::input(
            place,
            format!("max_epochs of \"{}\" is {epochs}", share.name()),
            "use a number above 0; a corpus that is not to be drawn is left out",
        ));
    }
    if share.max_tokens == Some(0) {
        return Err(Error::input(
            place,
            format!("max_tokens of \"{}\" is 0", share.name()),
            "use a number above 0; a corpus that is not to be drawn is left out",
        ));
    }
    match share.subset {
        Some(subset) if !(subset.fraction > 0.0 && subset.fraction <= 1.0) => Err(Error::input(
            place,
            format!(
                "the subset of \"{}\" is a fraction of {}",
                share.name(),
                subset.fraction
            ),
            "use a number above 0 and at most 1",
        )),
        _ => Ok(()),
    }
}

/// The corpus of every row: row i goes where the i-th number of a golden-ratio sequence falls
/// among the cumulative weights of its step.
///
/// The sequence spreads so evenly that realised shares stay within a few rows of the weights at any
/// moment, and arms with other weights meet the same numbers, so their rows differ only where the
/// weights say so. Where a corpus has given all that it may, the row goes to another in proportion to
/// their weights.
#[derive(Debug, Clone)]
pub struct RowPlan {
    stretches: Vec<Edges>,
    rows_per_step: u64,
    start: f64,
}

/// The cumulative weights of one stretch.
#[derive(Debug, Clone)]
struct Edges {
    steps: Stretch,
    is_ramp: bool,
    from: Vec<f64>,
    to: Vec<f64>,
    /// Rows that each corpus may have given when the stretch ends; empty means any number.
    limits: Vec<u64>,
}

impl RowPlan {
    /// The plan of a run: weights sum to 1, in an order that does not matter to what is drawn.
    pub fn new(weights: &[f64], seed: u64) -> Self {
        let all = Stretch {
            first: 0,
            end: u64::MAX,
            from: weights.to_vec(),
            to: weights.to_vec(),
        };
        Self::changing(vec![(all, Vec::new())], 1, seed)
    }

    /// The plan of a run whose weights change: stretches of steps that follow each other, each with
    /// the rows that a corpus may have given when it ends, or none for any number.
    pub fn changing(stretches: Vec<(Stretch, Vec<u64>)>, rows_per_step: u64, seed: u64) -> Self {
        let stretches = stretches.into_iter().map(|(steps, limits)| Edges {
            from: cumulative(&steps.from),
            to: cumulative(&steps.to),
            is_ramp: steps.is_ramp(),
            steps,
            limits,
        });
        Self {
            stretches: stretches.collect(),
            rows_per_step,
            start: Rng::named(seed, "data.mixture").uniform(),
        }
    }

    /// Index of the corpus that row `row` of the run draws from; `drawn` are the rows that each gave
    /// before.
    pub fn corpus(&self, row: u64, drawn: &[u64]) -> usize {
        // The fraction of row·φ⁻¹ in 64-bit fixed point: exact for every row.
        let turn = row.wrapping_mul(0x9E37_79B9_7F4A_7C15) as f64 / 18_446_744_073_709_551_616.0;
        let u = (self.start + turn).fract();
        let (edges, step) = match &self.stretches[..] {
            [only] if !only.is_ramp => (only, 0),
            all => {
                let step = row / self.rows_per_step;
                // Steps after the run's end are like its last.
                let idx = all.partition_point(|edges| edges.steps.end <= step);
                (&all[idx.min(all.len() - 1)], step)
            }
        };
        let idx = edges.pick(u, step);
        match edges.limits.get(idx) {
            Some(limit) if drawn[idx] >= *limit => edges.instead(idx, (u, step), drawn),
            _ => idx,
        }
    }
}

fn cumulative(weights: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let edges = weights.iter().map(|weight| {
        sum += weight;
        sum
    });
    edges.collect()
}

impl Edges {
    /// The upper edge of a corpus's part of 0..1 at a step.
    fn edge(&self, idx: usize, done: f64) -> f64 {
        self.from[idx] + done * (self.to[idx] - self.from[idx])
    }

    /// The corpus in whose part of 0..1 a number falls.
    fn pick(&self, u: f64, step: u64) -> usize {
        if !self.is_ramp {
            let found = self.from.partition_point(|edge| *edge <= u);
            if found < self.from.len() {
                return found;
            }
            // Rounding left the last edge below 1: the last corpus that has a weight.
            let last = self.from.last().copied().unwrap_or(1.0);
            return self.from.partition_point(|edge| *edge < last);
        }
        let done = self.steps.done(step);
        let found = (0..self.from.len()).find(|idx| self.edge(*idx, done) > u);
        found.unwrap_or_else(|| {
            let weight = |idx: &usize| self.weight(*idx, done) > 0.0;
            (0..self.from.len()).rfind(weight).unwrap_or(0)
        })
    }

    fn weight(&self, idx: usize, done: f64) -> f64 {
        let (from, to) = (self.steps.from[idx], self.steps.to[idx]);
        from + done * (to - from)
    }

    /// The corpus that stands in for one that has given all that it may: by its place in that one's
    /// part of 0..1, among those that have rows left, in proportion to their weights.
    fn instead(&self, full: usize, (u, step): (f64, u64), drawn: &[u64]) -> usize {
        let done = match self.is_ramp {
            true => self.steps.done(step),
            false => 0.0,
        };
        let room = |idx: usize| drawn[idx] < self.limits[idx];
        let weights: Vec<f64> = (0..drawn.len())
            .map(|idx| {
                if room(idx) {
                    self.weight(idx, done)
                } else {
                    0.0
                }
            })
            .collect();
        let low = full.checked_sub(1).map_or(0.0, |idx| self.edge(idx, done));
        let high = self.edge(full, done);
        let place = ((u - low) / (high - low)).clamp(0.0, 1.0);
        let mut left = place * weights.iter().sum::<f64>();
        for (idx, weight) in weights.iter().enumerate() {
            left -= weight;
            if *weight > 0.0 && left < 0.0 {
                return idx;
            }
        }
        let last = weights.iter().rposition(|weight| *weight > 0.0);
        // Limits of a stretch add up to its rows, so there is one, if of no weight at this step.
        last.or_else(|| (0..drawn.len()).find(|idx| room(*idx)))
            .unwrap_or(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(corpus: &str, weight: f64) -> Share {
        Share::of(corpus, weight)
    }

    #[test]
    fn weights_are_normalised_and_wrong_ones_are_refused() {
        let shares = normalised("data.mixture", &[share("a", 3.0), share("b", 1.0)]).unwrap();
        assert_eq!((shares[0].weight, shares[1].weight), (0.75, 0.25));
        for wrong in [
            vec![],
            vec![share("a", -0.2), share("b", 1.0)],
            vec![share("a", f64::NAN)],
            vec![share("a", f64::INFINITY)],
            vec![share("a", 0.0), share("b", 0.0)],
            vec![share("a", 1.0), share("a", 1.0)],
        ] {
            assert_eq!(
                normalised("data.mixture", &wrong).unwrap_err().exit_code(),
                2
            );
        }
    }

    #[test]
    fn realised_shares_stay_within_a_few_rows_of_the_weights_at_any_moment() {
        let weights = [0.5, 0.2, 0.0, 0.3];
        let plan = RowPlan::new(&weights, 9);
        let mut counts = [0u32; 4];
        for row in 0..20_000u64 {
            counts[plan.corpus(row, &[])] += 1;
            for (count, weight) in counts.iter().zip(weights) {
                let off = f64::from(*count) - weight * (row + 1) as f64;
                assert!(off.abs() < 6.0, "{off} rows off after {row}");
            }
        }
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn arms_with_near_weights_share_most_rows() {
        let (a, b) = (RowPlan::new(&[0.5, 0.5], 1), RowPlan::new(&[0.65, 0.35], 1));
        let same = (0..10_000)
            .filter(|row| a.corpus(*row, &[]) == b.corpus(*row, &[]))
            .count();
        assert!((8_450..8_550).contains(&same), "{same}");
    }
}
