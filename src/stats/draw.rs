//! Random draws beyond the uniform and the normal, from a named stream.

use crate::rng::Rng;

/// A chi-squared draw with `df` degrees of freedom, 1 or more (Marsaglia & Tsang 2000, "A simple
/// method for generating gamma variables"; one degree is a squared normal).
pub fn chi_squared(rng: &mut Rng, df: f64) -> f64 {
    if df < 2.0 {
        return rng.normal().powi(2);
    }
    let d = 0.5 * df - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = rng.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - rng.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return 2.0 * d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{ChiSquared, ContinuousCDF};

    #[test]
    fn chi_squared_draws_fall_below_each_quantile_as_often_as_they_should() {
        let draws = 20_000;
        for df in [1.0, 2.0, 5.0, 40.0] {
            let mut rng = Rng::named(1, "chi squared");
            let exact = ChiSquared::new(df).unwrap();
            let below: Vec<f64> = (0..draws)
                .map(|_| exact.cdf(chi_squared(&mut rng, df)))
                .collect();
            for p in [0.05, 0.5, 0.95] {
                let share = below.iter().filter(|b| **b < p).count() as f64 / f64::from(draws);
                let three_errors = 3.0 * (p * (1.0 - p) / f64::from(draws)).sqrt();
                assert!((share - p).abs() < three_errors, "{df} {p}: {share}");
            }
        }
    }
}
