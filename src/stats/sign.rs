//! The exact paired sign test, for when a trial has no number: divergence ranks last.

/// Two-sided probability of a split at least as uneven as `wins` against `losses` when both are
/// equally likely; ties are left out before (Dixon & Mood 1946). 1 when there is nothing to count.
pub fn sign_test(wins: usize, losses: usize) -> f64 {
    let n = wins + losses;
    if n == 0 {
        return 1.0;
    }
    let few = wins.min(losses);
    // Σ C(n, i)/2ⁿ for i ≤ few, each term from the one before.
    let mut term = 0.5f64.powi(n as i32);
    let mut tail = 0.0;
    for i in 0..=few {
        tail += term;
        term *= (n - i) as f64 / (i + 1) as f64;
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_binomial() {
        assert_eq!(sign_test(5, 0), 0.0625);
        assert_eq!(sign_test(0, 6), 0.03125);
        assert_eq!(sign_test(8, 0), 0.007_812_5);
        // 2·(1 + 8)/256
        assert_eq!(sign_test(7, 1), 0.070_312_5);
        assert_eq!(sign_test(3, 3), 1.0);
        assert_eq!(sign_test(0, 0), 1.0);
    }
}
