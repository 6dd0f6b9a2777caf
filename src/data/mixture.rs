//! Corpora with weights, and which of them each row of a run draws from.

use super::{Share, corpus::Corpus, stream::Stream};
use crate::{
    error::{Error, Result},
    rng::Rng,
};
use std::sync::Arc;

/// Opened corpora with weights that sum to 1.
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
            weight: (share.weight / total * GRAINS).round() / GRAINS,
            ..share.clone()
        })
        .collect())
}

/// Errors when an entry's name can't be told from others in reports, or its subset is none.
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
/// among the cumulative weights.
///
/// The sequence spreads so evenly that realised shares stay within a few rows of the weights at any
/// moment, and arms with other weights meet the same numbers, so their rows differ only where the
/// weights say so.
#[derive(Debug, Clone)]
pub struct RowPlan {
    cumulative: Vec<f64>,
    start: f64,
}

impl RowPlan {
    /// The plan of a run: weights sum to 1, in an order that does not matter to what is drawn.
    pub fn new(weights: &[f64], seed: u64) -> Self {
        let mut sum = 0.0;
        let cumulative = weights
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        Self {
            cumulative,
            start: Rng::named(seed, "data.mixture").uniform(),
        }
    }

    /// Index of the corpus that row `row` of the run draws from.
    pub fn corpus(&self, row: u64) -> usize {
        // The fraction of row·φ⁻¹ in 64-bit fixed point: exact for every row.
        let turn = row.wrapping_mul(0x9E37_79B9_7F4A_7C15) as f64 / 18_446_744_073_709_551_616.0;
        let u = (self.start + turn).fract();
        let found = self.cumulative.partition_point(|edge| *edge <= u);
        if found < self.cumulative.len() {
            return found;
        }
        // Rounding left the last edge below 1: the last corpus that has a weight.
        let last = self.cumulative.last().copied().unwrap_or(1.0);
        self.cumulative.partition_point(|edge| *edge < last)
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
            counts[plan.corpus(row)] += 1;
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
            .filter(|row| a.corpus(*row) == b.corpus(*row))
            .count();
        assert!((8_450..8_550).contains(&same), "{same}");
    }
}
