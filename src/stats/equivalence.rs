//! Equivalence by two one-sided tests (Schuirmann 1987, "A comparison of the two one-sided tests
//! procedure and the power approach for assessing the equivalence of average bioavailability").

use super::paired::{Moments, student_sf};
use serde::{Deserialize, Serialize};

/// Two one-sided t tests of paired differences against ± a margin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TwoOneSided {
    /// Probability of a mean this high when the truth is −margin.
    pub p_above_lower: f64,
    /// Probability of a mean this low when the truth is +margin.
    pub p_below_upper: f64,
    /// Of the test: the larger of both. At most α says equivalent at level α, which is when the
    /// interval at confidence 1 − 2α lies inside ± the margin.
    pub p: f64,
}

/// Tests whether the mean of `differences` lies inside ± `margin`; `None` for fewer than two.
pub fn two_one_sided(differences: &[f64], margin: f64) -> Option<TwoOneSided> {
    let seen = Moments::of(differences);
    if seen.n < 2 {
        return None;
    }
    let error = seen.standard_error();
    // Equal differences have no spread, and then the mean is what it is.
    let tail = |distance: f64| match error == 0.0 {
        true => f64::from(u8::from(distance <= 0.0)),
        false => student_sf(distance / error, seen.n - 1),
    };
    let p_above_lower = tail(seen.mean + margin);
    let p_below_upper = tail(margin - seen.mean);
    Some(TwoOneSided {
        p_above_lower,
        p_below_upper,
        p: p_above_lower.max(p_below_upper),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::paired::paired;

    #[test]
    fn both_tests_pass_exactly_when_the_narrower_interval_is_inside_the_margin() {
        let differences = [0.011, -0.004, 0.006, 0.013, -0.002, 0.009];
        let interval = paired(&differences, 0.90).unwrap();
        let edge = interval.high.max(-interval.low);
        for (margin, inside) in [(edge * 1.001, true), (edge * 0.999, false)] {
            let test = two_one_sided(&differences, margin).unwrap();
            assert_eq!(test.p <= 0.05, inside, "{margin}: {}", test.p);
        }
    }

    #[test]
    fn equal_differences_are_equivalent_or_not_without_a_spread() {
        assert_eq!(two_one_sided(&[0.0; 4], 0.01).unwrap().p, 0.0);
        assert_eq!(two_one_sided(&[0.02; 4], 0.01).unwrap().p, 1.0);
        assert!(two_one_sided(&[0.0], 0.01).is_none());
    }
}
