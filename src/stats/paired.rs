//! Paired differences and their t interval (Student 1908).

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use std::{cell::RefCell, collections::BTreeMap};

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

/// Number, mean and spread of a sample, which can grow by one value at a time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    pub n: usize,
    pub mean: f64,
    /// Σ (x − mean)².
    pub sum_of_squares: f64,
}

impl Moments {
    /// Of all values at once. Equal values have that mean and no spread, to the last bit.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len();
        if values.iter().all(|value| *value == values[0]) {
            return Self {
                n,
                mean: values.first().copied().unwrap_or(0.0),
                sum_of_squares: 0.0,
            };
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        Self {
            n,
            mean,
            sum_of_squares: values.iter().map(|value| (value - mean).powi(2)).sum(),
        }
    }

    /// Adds one value (Welford 1962).
    pub fn push(&mut self, value: f64) {
        self.n += 1;
        let off = value - self.mean;
        self.mean += off / self.n as f64;
        self.sum_of_squares += off * (value - self.mean);
    }

    /// Standard deviation, n − 1 in the denominator; zero for fewer than two values.
    pub fn sd(&self) -> f64 {
        (self.sum_of_squares / self.n.saturating_sub(1).max(1) as f64).sqrt()
    }

    /// Standard error of the mean.
    pub fn standard_error(&self) -> f64 {
        self.sd() / (self.n.max(1) as f64).sqrt()
    }

    /// Square of the t statistic against a mean of zero: zero when all values are zero, infinite
    /// when they are equal and something else.
    pub fn t_squared(&self) -> f64 {
        if self.mean == 0.0 {
            return 0.0;
        }
        (self.mean / self.standard_error()).powi(2)
    }
}

/// Mean, spread and two-sided t interval of paired differences; `None` for fewer than two. When all
/// differences are equal the interval is that one number.
pub fn paired(differences: &[f64], confidence: f64) -> Option<Paired> {
    let seen = Moments::of(differences);
    let n = seen.n;
    if n < 2 {
        return None;
    }
    let half = t_quantile(n - 1, 0.5 + confidence / 2.0) * seen.sd() / (n as f64).sqrt();
    Some(Paired {
        n,
        mean: seen.mean,
        sd: seen.sd(),
        low: seen.mean - half,
        high: seen.mean + half,
        confidence,
        p: match seen.sum_of_squares == 0.0 {
            true => f64::from(u8::from(seen.mean == 0.0)),
            false => 2.0 * student_sf(seen.mean.abs() / seen.standard_error(), n - 1),
        },
    })
}

/// The chance that a t distribution exceeds `t`.
pub fn student_sf(t: f64, degrees_of_freedom: usize) -> f64 {
    student(degrees_of_freedom).sf(t)
}

/// The standard normal distribution's quantile.
pub fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// The standard normal distribution's probability below a value.
pub fn normal_probability(value: f64) -> f64 {
    Normal::standard().cdf(value)
}

/// The t distribution's quantile.
///
/// It is found by bisection, a tenth of a millisecond; thousands of simulated studies ask for the same
/// few, so that each thread remembers them.
pub fn t_quantile(degrees_of_freedom: usize, probability: f64) -> f64 {
    thread_local! {
        static FOUND: RefCell<BTreeMap<(usize, u64), f64>> = const { RefCell::new(BTreeMap::new()) };
    }
    FOUND.with_borrow_mut(|found| {
        *found
            .entry((degrees_of_freedom, probability.to_bits()))
            .or_insert_with(|| student(degrees_of_freedom).inverse_cdf(probability))
    })
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
