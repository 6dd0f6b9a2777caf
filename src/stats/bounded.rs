//! The mean of numbers that lie between two bounds, such as scores of predictions: a confidence
//! sequence by betting (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
//! betting").
//!
//! Against every value that the mean might have, half of a unit is bet on it being higher, half on it
//! being lower. A value at which the wealth ever reached 1/α would be a false one in all but α of the
//! cases, however often one looks. Unlike a t interval it does not shrink to nothing when two or three
//! scores happen to be equal.

/// Stakes, as parts of what can be lost at most; the wealth is their mean.
const STAKES: usize = 24;
/// Values that the mean might have, from one end of the bounds to the other, before the ends of the interval
/// are sought between two of them.
const GRID: usize = 40;
/// Halvings of that distance.
const HALVINGS: usize = 6;

/// An interval for the mean at this confidence, valid after every value. `values` lie within
/// `bounds`; of none, the interval is the bounds.
pub fn mean_interval(values: &[f64], bounds: (f64, f64), confidence: f64) -> (f64, f64) {
    let (low, high) = bounds;
    let scaled: Vec<f64> = values
        .iter()
        .map(|value| ((value - low) / (high - low)).clamp(0.0, 1.0))
        .collect();
    let most = -(1.0 - confidence).ln();
    let stands = |mean: f64| log_wealth(&scaled, mean) < most;
    // From the outside in: the last mean that is ruled out.
    let end = |outside: f64, inside: f64| {
        let at = |i: usize| outside + (inside - outside) * i as f64 / GRID as f64;
        let first = (0..=GRID).find(|i| stands(at(*i))).unwrap_or(GRID);
        if first == 0 {
            return outside;
        }
        let (mut ruled_out, mut standing) = (at(first - 1), at(first));
        for _ in 0..HALVINGS {
            let middle = (ruled_out + standing) / 2.0;
            match stands(middle) {
                true => standing = middle,
                false => ruled_out = middle,
            }
        }
        ruled_out
    };
    let value = |mean: f64| low + (high - low) * mean;
    (value(end(0.0, 1.0)), value(end(1.0, 0.0)))
}

/// Logarithm of the most wealth that betting against this mean reached.
fn log_wealth(values: &[f64], mean: f64) -> f64 {
    let stakes = (1..=STAKES).map(|k| 0.99 * (k as f64 / STAKES as f64).powi(2));
    let bets: Vec<f64> = stakes
        .flat_map(|stake| [stake / mean.max(1e-9), -stake / (1.0 - mean).max(1e-9)])
        .collect();
    let mut logs = vec![0.0; bets.len()];
    let mut most = 0.0f64;
    for value in values {
        for (log, bet) in logs.iter_mut().zip(&bets) {
            *log += (bet * (value - mean)).ln_1p();
        }
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
        most = most.max(largest + (sum / logs.len() as f64).ln());
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_reader_who_looks_after_every_value_is_wrong_at_most_as_often_as_was_said() {
        let mut wrong = 0;
        let studies = 100;
        for seed in 0..studies {
            let mut rng = Rng::named(seed, "bounded");
            let values: Vec<f64> = (0..40).map(|_| f64::from(rng.uniform() < 0.3)).collect();
            // The interval remembers its most daring look.
            let (low, high) = mean_interval(&values, (0.0, 1.0), 0.9);
            wrong += usize::from(!(low..=high).contains(&0.3));
        }
        assert!(wrong <= studies as usize / 10, "{wrong} of {studies}");
        assert!(wrong > 0, "so wide that it says nothing");
    }

    #[test]
    fn a_few_equal_values_do_not_make_a_certainty_and_many_do_make_a_finding() {
        let (low, high) = mean_interval(&[0.6; 3], (-4.0 / 3.0, 2.0 / 3.0), 0.95);
        assert!(low < 0.0 && high > 0.6, "{low} {high}");
        let (low, _) = mean_interval(&[0.6; 20], (-4.0 / 3.0, 2.0 / 3.0), 0.95);
        assert!(low > 0.1, "{low}");
        assert_eq!(mean_interval(&[], (-1.0, 1.0), 0.95), (-1.0, 1.0));
    }
}
