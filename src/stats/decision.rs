//! What an interval for a paired difference says, for metrics of which less is better.
//!
//! Fixed and anytime-valid rules decide by this one function; they differ in the interval.

use serde::{Deserialize, Serialize};

/// What can be said of an arm at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Better,
    Worse,
    Equivalent,
    /// Nothing yet: a study with seeds left goes on, one without is inconclusive.
    Continue,
}

impl Decision {
    /// Inside ± `margin`: equivalent. Else off zero: better or worse. Else nothing.
    pub fn of_interval(low: f64, high: f64, margin: f64) -> Self {
        if low >= -margin && high <= margin {
            Self::Equivalent
        } else if high < 0.0 {
            Self::Better
        } else if low > 0.0 {
            Self::Worse
        } else {
            Self::Continue
        }
    }

    /// Whether it claims that the arms differ.
    pub fn is_difference(self) -> bool {
        matches!(self, Self::Better | Self::Worse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_read_from_the_margin_outwards() {
        let margin = 0.02;
        for (low, high, want) in [
            (-0.01, 0.01, Decision::Equivalent),
            // Off zero, and yet too small to matter.
            (0.005, 0.015, Decision::Equivalent),
            (-0.02, 0.02, Decision::Equivalent),
            (0.005, 0.03, Decision::Worse),
            (-0.03, -0.005, Decision::Better),
            (-0.03, 0.005, Decision::Continue),
            (0.0, 0.03, Decision::Continue),
            (f64::NEG_INFINITY, f64::INFINITY, Decision::Continue),
        ] {
            assert_eq!(
                Decision::of_interval(low, high, margin),
                want,
                "{low} {high}"
            );
        }
    }
}
