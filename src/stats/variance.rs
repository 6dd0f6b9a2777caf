//! Where the spread between seeds comes from, and how well it is known.
//!
//! [`Spread`] is a standard deviation with its degrees of freedom: what a bank of earlier trials
//! knows. [`split`] takes trials of crossed seeds (every initialisation with every data order, each
//! evaluated on several blocks of windows) apart into two-way random effects by their expected mean
//! squares (Henderson 1953; Searle, Casella & McCulloch, "Variance components", 1992).

use super::paired::Moments;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// A standard deviation as an estimate: how large, and with how many degrees of freedom.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub sd: f64,
    /// Infinite when the value is no estimate.
    pub df: f64,
}

impl Spread {
    /// A standard deviation that is taken as true.
    pub fn known(sd: f64) -> Self {
        Self {
            sd,
            df: f64::INFINITY,
        }
    }

    /// Of one group of values; `None` for fewer than two.
    pub fn of(values: &[f64]) -> Option<Self> {
        let seen = Moments::of(values);
        (seen.n >= 2).then(|| Self {
            sd: seen.sd(),
            df: (seen.n - 1) as f64,
        })
    }

    /// One estimate from several groups with means of their own: squares weighted by degrees of
    /// freedom. `None` without any.
    pub fn pooled(groups: &[Self]) -> Option<Self> {
        let df: f64 = groups.iter().map(|group| group.df).sum();
        let squares: f64 = groups.iter().map(|group| group.df * group.sd.powi(2)).sum();
        (df > 0.0).then(|| Self {
            sd: (squares / df).sqrt(),
            df,
        })
    }

    /// The spread of something `factor` times as wide: √2 makes differences of independent trials.
    pub fn scaled(self, factor: f64) -> Self {
        Self {
            sd: self.sd * factor,
            ..self
        }
    }

    /// The truth is at most this with chance `probability`, as far as the estimate tells: σ² is taken
    /// as df·s²/χ².
    pub fn quantile(&self, probability: f64) -> f64 {
        if self.df.is_infinite() {
            return self.sd;
        }
        self.sd * (self.df / chi_squared(self.df).inverse_cdf(1.0 - probability)).sqrt()
    }

    /// The interval that holds the truth with this confidence, by the chi-squared distribution.
    pub fn interval(&self, confidence: f64) -> (f64, f64) {
        let tail = (1.0 - confidence) / 2.0;
        (self.quantile(tail), self.quantile(1.0 - tail))
    }
}

fn chi_squared(df: f64) -> ChiSquared {
    ChiSquared::new(df).expect("degrees of freedom above zero")
}

/// A variance, and the interval in which it lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// May be estimated below zero, and is then zero here.
    pub variance: f64,
    pub low: f64,
    pub high: f64,
}

/// The variance between seeds in parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Split {
    pub initialisation: Component,
    pub order: Component,
    /// What an initialisation and an order make together; with one block of windows the evaluation
    /// is in it.
    pub interaction: Component,
    /// Of one block of windows; `None` with one block.
    pub evaluation: Option<Component>,
    /// Confidence of each interval.
    pub confidence: f64,
}

/// Splits the variance of `values[initialisation][order][block]`. `None` unless there are at least
/// two of the first two and as many values everywhere.
///
/// Blocks are the same windows for every trial, so that a block's own mean is no noise and is taken
/// out. Intervals are by surrogate variables (Chiang 2001, "A simple general method for constructing
/// confidence intervals for functions of variance components"): each expected mean square is
/// df·MS/χ², and the interval holds the middle of what that makes of the component.
pub fn split(values: &[Vec<Vec<f64>>], confidence: f64) -> Option<Split> {
    let n_init = values.len();
    let n_order = values.first()?.len();
    let n_block = values.first()?.first()?.len();
    let even = |of_init: &Vec<Vec<f64>>| {
        of_init.len() == n_order && of_init.iter().all(|blocks| blocks.len() == n_block)
    };
    if n_init < 2 || n_order < 2 || n_block == 0 || !values.iter().all(even) {
        return None;
    }
    let squares = MeanSquares::of(values);
    let (a, b, m) = (n_init as f64, n_order as f64, n_block as f64);
    let difference = |above, below, times| component(above, below, times, confidence);
    Some(Split {
        initialisation: difference(squares.initialisation, squares.interaction, m * b),
        order: difference(squares.order, squares.interaction, m * a),
        interaction: difference(squares.interaction, squares.evaluation, m),
        evaluation: (n_block > 1).then(|| {
            difference(
                squares.evaluation,
                MeanSquare {
                    value: 0.0,
                    df: 0.0,
                },
                1.0,
            )
        }),
        confidence,
    })
}

#[derive(Debug, Clone, Copy)]
struct MeanSquare {
    value: f64,
    df: f64,
}

struct MeanSquares {
    initialisation: MeanSquare,
    order: MeanSquare,
    interaction: MeanSquare,
    evaluation: MeanSquare,
}

impl MeanSquares {
    /// Of a balanced table.
    fn of(values: &[Vec<Vec<f64>>]) -> Self {
        let (a, b, m) = (values.len(), values[0].len(), values[0][0].len());
        let mean = |pick: &dyn Fn(usize, usize, usize) -> bool| {
            let (mut sum, mut n) = (0.0, 0usize);
            for (i, of_init) in values.iter().enumerate() {
                for (j, blocks) in of_init.iter().enumerate() {
                    for (k, value) in blocks.iter().enumerate() {
                        if pick(i, j, k) {
                            sum += value;
                            n += 1;
                        }
                    }
                }
            }
            sum / n as f64
        };
        let whole = mean(&|_, _, _| true);
        let of_init: Vec<f64> = (0..a).map(|i| mean(&|x, _, _| x == i)).collect();
        let of_order: Vec<f64> = (0..b).map(|j| mean(&|_, x, _| x == j)).collect();
        let of_block: Vec<f64> = (0..m).map(|k| mean(&|_, _, x| x == k)).collect();
        let off = |means: &[f64]| means.iter().map(|x| (x - whole).powi(2)).sum::<f64>();
        let (mut together, mut rest) = (0.0, 0.0);
        for i in 0..a {
            for j in 0..b {
                let cell = values[i][j].iter().sum::<f64>() / m as f64;
                together += (cell - of_init[i] - of_order[j] + whole).powi(2);
                let residual = |k: usize| values[i][j][k] - cell - of_block[k] + whole;
                rest += (0..m).map(|k| residual(k).powi(2)).sum::<f64>();
            }
        }
        let square = |sum: f64, df: usize| MeanSquare {
            value: if df == 0 { 0.0 } else { sum / df as f64 },
            df: df as f64,
        };
        Self {
            initialisation: square((m * b) as f64 * off(&of_init), a - 1),
            order: square((m * a) as f64 * off(&of_order), b - 1),
            interaction: square(m as f64 * together, (a - 1) * (b - 1)),
            evaluation: square(rest, (a * b - 1) * (m - 1)),
        }
    }
}

/// (E MS above − E MS below)/times, with its interval.
fn component(above: MeanSquare, below: MeanSquare, times: f64, confidence: f64) -> Component {
    let (above_of, below_of) = (surrogates(above), surrogates(below));
    let mut likely: Vec<f64> = above_of
        .iter()
        .flat_map(|a| below_of.iter().map(move |b| ((a - b) / times).max(0.0)))
        .collect();
    likely.sort_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    let at = |p: f64| likely[((p * likely.len() as f64) as usize).min(likely.len() - 1)];
    Component {
        variance: ((above.value - below.value) / times).max(0.0),
        low: at(tail),
        high: at(1.0 - tail),
    }
}

/// Quantiles of df·MS/χ², evenly in probability: the draws of a simulation without its noise.
fn surrogates(square: MeanSquare) -> Vec<f64> {
    const POINTS: usize = 150;
    if square.df == 0.0 {
        return vec![0.0];
    }
    let exact = chi_squared(square.df);
    (0..POINTS)
        .map(|i| {
            let p = (i as f64 + 0.5) / POINTS as f64;
            square.df * square.value / exact.inverse_cdf(p)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A table with these standard deviations, and block means that must not matter.
    fn table(rng: &mut Rng, shape: [usize; 3], sd: [f64; 4]) -> Vec<Vec<Vec<f64>>> {
        let [a, b, m] = shape;
        let inits: Vec<f64> = (0..a).map(|_| sd[0] * rng.normal()).collect();
        let orders: Vec<f64> = (0..b).map(|_| sd[1] * rng.normal()).collect();
        let cell = |rng: &mut Rng, main: f64| {
            let together = main + sd[2] * rng.normal();
            (0..m)
                .map(|k| together + 10.0 * k as f64 + sd[3] * rng.normal())
                .collect()
        };
        let row = |rng: &mut Rng, init: f64| orders.iter().map(|o| cell(rng, init + o)).collect();
        inits.iter().map(|init| row(rng, *init)).collect()
    }

    #[test]
    fn intervals_of_components_hold_the_truth_about_as_often_as_they_say() {
        let (shape, sd) = ([6, 6, 4], [1.0, 0.5, 0.3, 0.8]);
        let mut rng = Rng::named(1, "split");
        let tables = 400;
        let mut held = [0.0; 4];
        let mut mean = [0.0; 4];
        for _ in 0..tables {
            let split = split(&table(&mut rng, shape, sd), 0.9).unwrap();
            let parts = [
                split.initialisation,
                split.order,
                split.interaction,
                split.evaluation.unwrap(),
            ];
            for (i, part) in parts.iter().enumerate() {
                let truth = sd[i] * sd[i];
                held[i] += f64::from(u8::from(part.low <= truth && truth <= part.high));
                mean[i] += part.variance / f64::from(tables);
            }
        }
        for i in 0..4 {
            let share = held[i] / f64::from(tables);
            // Surrogate intervals are known to hold a little more often than they say.
            assert!((0.86..0.97).contains(&share), "part {i}: {share}");
            let truth = sd[i] * sd[i];
            assert!(
                (mean[i] / truth - 1.0).abs() < 0.15,
                "part {i}: {}",
                mean[i]
            );
        }
    }

    #[test]
    fn one_block_leaves_the_evaluation_in_the_interaction() {
        let mut rng = Rng::named(2, "one block");
        let split = split(&table(&mut rng, [12, 12, 1], [1.0, 1.0, 0.5, 0.5]), 0.9).unwrap();
        assert!(split.evaluation.is_none());
        assert!((split.interaction.variance - 0.5).abs() < 0.15);
    }

    #[test]
    fn tables_that_are_not_crossed_are_refused() {
        assert!(split(&[], 0.9).is_none());
        assert!(split(&[vec![vec![1.0], vec![2.0]]], 0.9).is_none());
        let ragged = [vec![vec![1.0], vec![2.0]], vec![vec![1.0]]];
        assert!(split(&ragged, 0.9).is_none());
    }

    #[test]
    fn pooling_weighs_by_degrees_of_freedom_and_does_not_see_means() {
        let near = Spread::of(&[1.0, 2.0, 3.0]).unwrap();
        let far = Spread::of(&[101.0, 103.0]).unwrap();
        let pooled = Spread::pooled(&[near, far]).unwrap();
        // (2·1 + 1·2)/3
        assert_eq!(pooled.df, 3.0);
        assert!((pooled.sd.powi(2) - 4.0 / 3.0).abs() < 1e-12);
        assert!(Spread::pooled(&[]).is_none() && Spread::of(&[1.0]).is_none());
        let (low, high) = pooled.interval(0.95);
        assert!(low < pooled.sd && pooled.sd < high);
        assert_eq!(Spread::known(2.0).interval(0.95), (2.0, 2.0));
    }
}
