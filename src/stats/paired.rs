//! Paired differences and their t interval (Student 1908).

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// What n paired differences say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    pub n: usize,
    pub mean: f64,
    /// Standard deviation of the differences, n − 1 in the denominator.
    pub sd: f64,
    pub low: f64,
    pub high: f64,
    /// Confidence of the interval, 0 to 1.
    pub confidence: f64,
    /// Two-sided probability of a mean this far from zero when the truth is zero.
    pub p: f64,
}

/// Mean, spread and two-sided t interval of paired differences; `None` for fewer than two. When all
/// differences are equal the interval is that one number.
pub fn paired(differences: &[f64], confidence: f64) -> Option<Paired> {
    let n = differences.len();
    if n < 2 {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / n as f64;
    let sum_of_squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
    let sd = (sum_of_squares / (n - 1) as f64).sqrt();
    let equal = differences.iter().all(|d| *d == differences[0]);
    let (mean, sd) = if equal {
        (differences[0], 0.0)
    } else {
        (mean, sd)
    };
    let half = t_quantile(n - 1, 0.5 + confidence / 2.0) * sd / (n as f64).sqrt();
    Some(Paired {
        n,
        mean,
        sd,
        low: mean - half,
        high: mean + half,
        confidence,
        p: p_value(mean, sd, n),
    })
}

fn p_value(mean: f64, sd: f64, n: usize) -> f64 {
    if sd == 0.0 {
        return if mean == 0.0 { 1.0 } else { 0.0 };
    }
    let t = mean.abs() / (sd / (n as f64).sqrt());
    2.0 * student(n - 1).sf(t)
}

/// The t distribution's quantile.
pub fn t_quantile(degrees_of_freedom: usize, probability: f64) -> f64 {
    student(degrees_of_freedom).inverse_cdf(probability)
}

fn student(degrees_of_freedom: usize) -> StudentsT {
    StudentsT::new(0.0, 1.0, degrees_of_freedom.max(1) as f64)
        .expect("one degree of freedom or more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_printed_table() {
        // Two-sided 95%: any table of Student's t.
        for (df, t) in [
            (1, 12.706),
            (2, 4.303),
            (5, 2.571),
            (7, 2.365),
            (15, 2.131),
            (100, 1.984),
        ] {
            assert!((t_quantile(df, 0.975) - t).abs() < 5e-4, "{df}");
        }
    }

    #[test]
    fn the_sleep_data_of_student_1908_come_out() {
        // Extra hours of sleep, ten patients: R's `t.test(extra ~ group, paired = TRUE)` prints
        // t = -4.0621, df = 9, p = 0.002833, interval -2.4598858 to -0.7001142.
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
        let result = paired(&differences, 0.95).unwrap();
        assert!((result.mean + 1.58).abs() < 1e-9);
        assert!(
            (result.low + 2.459_885_8).abs() < 1e-6 && (result.high + 0.700_114_2).abs() < 1e-6
        );
        assert!((result.p - 0.002_833).abs() < 1e-6);
    }

    #[test]
    fn equal_differences_make_a_point_not_a_division_by_zero() {
        let zero = paired(&[0.0; 5], 0.95).unwrap();
        assert_eq!(
            (zero.mean, zero.low, zero.high, zero.p),
            (0.0, 0.0, 0.0, 1.0)
        );
        let same = paired(&[0.1; 5], 0.95).unwrap();
        assert_eq!((same.mean, same.low, same.high), (0.1, 0.1, 0.1));
        assert!(paired(&[0.1], 0.95).is_none());
    }
}
