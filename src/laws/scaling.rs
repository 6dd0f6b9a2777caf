//! Scaling laws of loss in parameters N and tokens D, as Hoffmann et al. (2022, arXiv 2203.15556) fit
//! them. Approach 3, L = E + A/N^α + B/D^β, is the law; [`compared`] has approaches 1 and 2.
//!
//! Approach 3 minimises the *sum* over runs of Huber's loss (δ = 10⁻³) of ln L, predicted as the
//! logarithm of a sum of exponentials. Besiroglu et al. (2024, arXiv 2404.10102) found that the
//! original fit had ended early because it minimised the mean: its gradients were below the
//! optimiser's tolerance. Here tolerances are relative to the objective, and it makes no difference;
//! the objective that is reported is their sum. Starts are Hoffmann's grid of 4,500: all are
//! evaluated, the lowest are followed. ln N and ln D are centred, which takes most of the
//! correlation out of A with α and of B with β.

pub mod compared;
pub mod report;

use super::{
    best::Interval,
    lbfgs::{Minimum, huber, minimise},
    table::Table,
    threads,
};
use crate::{
    error::{Error, Result},
    rng::Rng,
};
use serde::Serialize;

const DELTA: f64 = 1e-3;
/// Of the grid's starts, how many are followed, and how far at first.
const FOLLOWED: usize = 120;
const FIRST_STEPS: usize = 80;
const STEPS: usize = 3_000;
const STEPS_OF_RESAMPLED: usize = 400;
/// Training takes about six operations for each parameter and token.
pub const FLOPS_PER_PARAMETER_TOKEN: f64 = 6.0;
/// There are five numbers to find.
const LEAST_RUNS: usize = 8;

/// A finished run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    pub parameters: f64,
    pub tokens: f64,
    pub flops: f64,
    pub loss: f64,
}

const PARAMETERS: [&str; 6] = [
    "model size",
    "parameters",
    "params",
    "n params",
    "n parameters",
    "n",
];
const TOKENS: [&str; 5] = ["training tokens", "tokens", "n tokens", "train tokens", "d"];
const FLOPS: [&str; 7] = [
    "training flop",
    "training flops",
    "flops",
    "flop",
    "total flops",
    "compute",
    "c",
];
const LOSS: [&str; 4] = ["loss", "val loss", "validation loss", "final loss"];

/// Reads runs by their columns' names: the loss, and two of parameters, tokens and FLOPs (C = 6·N·D
/// gives the third). Errors with what is missing, or the line of a number that is not positive.
pub fn points(table: &Table) -> Result<Vec<Point>> {
    let missing = |what: &str, names: &[&str]| {
        Error::input(
            &table.place,
            format!("there is no column for {what}"),
            format!(
                "call it one of {}; the columns are {}",
                names.join(", "),
                table.columns.join(", ")
            ),
        )
    };
    let loss = table
        .any_column(&LOSS)
        .ok_or_else(|| missing("the loss", &LOSS))?;
    let (n, d, c) = (
        table.any_column(&PARAMETERS),
        table.any_column(&TOKENS),
        table.any_column(&FLOPS),
    );
    if n.is_none() && (d.is_none() || c.is_none()) {
        return Err(missing("parameters", &PARAMETERS));
    }
    if d.is_none() && c.is_none() {
        let names = [&TOKENS[..], &FLOPS[..]].concat();
        return Err(missing("tokens or for FLOPs", &names));
    }
    let positive = |row: usize, column: usize| {
        let number = table.number(row, column)?;
        match number > 0.0 {
            true => Ok(number),
            false => Err(Error::input(
                table.place_of(row),
                format!("{} is {number}", table.columns[column]),
                "it must be more than 0",
            )),
        }
    };
    let get = |row: usize, column: Option<usize>| column.map(|c| positive(row, c)).transpose();
    let each = (0..table.n_rows()).map(|row| {
        let (n, d, c) = (get(row, n)?, get(row, d)?, get(row, c)?);
        let known = FLOPS_PER_PARAMETER_TOKEN;
        let (n, d) = match (n, d, c) {
            (Some(n), Some(d), _) => (n, d),
            (Some(n), None, Some(c)) => (n, c / (known * n)),
            (None, Some(d), Some(c)) => (c / (known * d), d),
            _ => return Err(missing("parameters", &PARAMETERS)),
        };
        Ok(Point {
            parameters: n,
            tokens: d,
            flops: c.unwrap_or(known * n * d),
            loss: positive(row, loss)?,
        })
    });
    each.collect()
}

/// Takes the `n` runs of fewest tokens per parameter out, and returns them.
pub fn drop_lowest_ratio(points: &mut Vec<Point>, n: usize) -> Vec<Point> {
    let ratio = |p: &Point| p.tokens / p.parameters;
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| ratio(&points[*a]).total_cmp(&ratio(&points[*b])));
    let mut out: Vec<usize> = order.into_iter().take(n).collect();
    out.sort_unstable();
    let dropped = out.iter().rev().map(|i| points.remove(*i));
    let mut dropped: Vec<Point> = dropped.collect();
    dropped.reverse();
    dropped
}

/// L = E + A/N^α + B/D^β.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Chinchilla {
    pub e: f64,
    pub a: f64,
    pub b: f64,
    pub alpha: f64,
    pub beta: f64,
}

impl Chinchilla {
    pub fn loss(&self, parameters: f64, tokens: f64) -> f64 {
        self.e + self.a / parameters.powf(self.alpha) + self.b / tokens.powf(self.beta)
    }

    /// The parameters and tokens of least loss that so many FLOPs can train.
    pub fn optimum(&self, flops: f64) -> (f64, f64) {
        let both = self.alpha + self.beta;
        let ratio = (self.alpha * self.a / (self.beta * self.b)).powf(1.0 / both);
        let product = flops / FLOPS_PER_PARAMETER_TOKEN;
        let parameters = ratio * product.powf(self.beta / both);
        (parameters, product / parameters)
    }

    /// The exponent of C in the optimal N; that of D is what is left of 1.
    pub fn parameter_exponent(&self) -> f64 {
        self.beta / (self.alpha + self.beta)
    }
}

/// A law with what it was fitted to.
#[derive(Debug, Clone, Serialize)]
pub struct Fit {
    pub law: Chinchilla,
    /// The sum over runs of Huber's loss of ln L; divided by the number of runs, the mean.
    pub objective_sum: f64,
    pub objective_mean: f64,
    pub runs: usize,
}

/// Fits the law. Errors with too few runs, or when they do not differ in N or in D.
pub fn fit(points: &[Point]) -> Result<Fit> {
    let refuse = |problem: String, remedy: &str| Err(Error::input("runs", problem, remedy));
    if points.len() < LEAST_RUNS {
        return refuse(
            format!("{} runs are too few for five numbers", points.len()),
            "give 8 runs or more, of several sizes and lengths",
        );
    }
    let centred = Centred::of(points);
    let spread = |values: &dyn Fn(&Row) -> f64| {
        let all = centred.rows.iter().map(values);
        all.clone().fold(f64::MIN, f64::max) - all.fold(f64::MAX, f64::min)
    };
    if spread(&|r| r.n) < 0.1 || spread(&|r| r.d) < 0.1 {
        return refuse(
            "all runs have one size or one number of tokens".into(),
            "add runs that differ in both; over one of them no exponent can be told",
        );
    }
    let mut starts = centred.starts();
    starts.sort_by(|a, b| a.value.total_cmp(&b.value));
    starts.truncate(FOLLOWED);
    let mut ends = threads::map(starts.len(), |i| {
        centred.descend(&starts[i].at, FIRST_STEPS)
    });
    ends.sort_by(|a, b| a.value.total_cmp(&b.value));
    ends.truncate(4);
    let ends = ends.iter().map(|end| centred.descend(&end.at, STEPS));
    let best = ends.min_by(|a, b| a.value.total_cmp(&b.value));
    let Some(best) = best.filter(|best| best.value.is_finite()) else {
        return refuse(
            "no start leads anywhere".into(),
            "look at the losses and sizes",
        );
    };
    Ok(Fit {
        law: centred.law(&best.at),
        objective_sum: best.value,
        objective_mean: best.value / points.len() as f64,
        runs: points.len(),
    })
}

/// Laws fitted to resampled runs, each from where the fit of all runs ended.
pub fn resampled(points: &[Point], fit: &Fit, replicates: usize, seed: u64) -> Vec<Chinchilla> {
    threads::map(replicates, |replicate| {
        let mut rng = Rng::named(seed, &format!("laws.scaling.{replicate}"));
        let n = points.len() as u64;
        let some: Vec<Point> = (0..n).map(|_| points[rng.below(n) as usize]).collect();
        let centred = Centred::of(&some);
        let start = centred.parameters(&fit.law);
        centred.law(&centred.descend(&start, STEPS_OF_RESAMPLED).at)
    })
}

/// Logarithms, those of N and D less their means.
struct Centred {
    rows: Vec<Row>,
    mean_n: f64,
    mean_d: f64,
}

struct Row {
    n: f64,
    d: f64,
    loss: f64,
}

impl Centred {
    fn of(points: &[Point]) -> Self {
        let count = points.len() as f64;
        let mean_n = points.iter().map(|p| p.parameters.ln()).sum::<f64>() / count;
        let mean_d = points.iter().map(|p| p.tokens.ln()).sum::<f64>() / count;
        let row = |p: &Point| Row {
            n: p.parameters.ln() - mean_n,
            d: p.tokens.ln() - mean_d,
            loss: p.loss.ln(),
        };
        Self {
            rows: points.iter().map(row).collect(),
            mean_n,
            mean_d,
        }
    }

    /// Hoffmann's grid: ln A, ln B in 0..25, ln E in −1..1, exponents in 0..2, with their values.
    fn starts(&self) -> Vec<Minimum> {
        let steps = |from: f64, by: f64, n: u32| (0..n).map(move |i| from + by * f64::from(i));
        let mut starts = Vec::new();
        for alpha in steps(0.0, 0.5, 5) {
            for beta in steps(0.0, 0.5, 5) {
                for e in steps(-1.0, 0.5, 5) {
                    for a in steps(0.0, 5.0, 6) {
                        for b in steps(0.0, 5.0, 6) {
                            let (a, b) = (a - alpha * self.mean_n, b - beta * self.mean_d);
                            starts.push(vec![a, b, e, alpha, beta]);
                        }
                    }
                }
            }
        }
        threads::map(starts.len(), |i| Minimum {
            value: self.objective(&starts[i], &mut [0.0; 5]),
            at: starts[i].clone(),
        })
    }

    fn descend(&self, start: &[f64], steps: usize) -> Minimum {
        minimise(start, steps, &|x, gradient| self.objective(x, gradient))
    }

    /// The sum of Huber losses at (ln A', ln B', ln E, α, β), A' and B' being those of centred
    /// sizes.
    fn objective(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let mut sum = 0.0;
        for row in &self.rows {
            let terms = [x[0] - x[3] * row.n, x[1] - x[4] * row.d, x[2]];
            let most = terms.iter().copied().fold(f64::MIN, f64::max);
            let shares = terms.map(|t| (t - most).exp());
            let all: f64 = shares.iter().sum();
            let (value, slope) = huber(most + all.ln() - row.loss, DELTA);
            sum += value;
            let [of_n, of_d, of_e] = shares.map(|s| slope * s / all);
            gradient[0] += of_n;
            gradient[1] += of_d;
            gradient[2] += of_e;
            gradient[3] -= of_n * row.n;
            gradient[4] -= of_d * row.d;
        }
        sum
    }

    fn law(&self, x: &[f64]) -> Chinchilla {
        Chinchilla {
            e: x[2].exp(),
            a: (x[0] + x[3] * self.mean_n).exp(),
            b: (x[1] + x[4] * self.mean_d).exp(),
            alpha: x[3],
            beta: x[4],
        }
    }

    fn parameters(&self, law: &Chinchilla) -> Vec<f64> {
        vec![
            law.a.ln() - law.alpha * self.mean_n,
            law.b.ln() - law.beta * self.mean_d,
            law.e.ln(),
            law.alpha,
            law.beta,
        ]
    }
}

/// A law's numbers with their intervals.
#[derive(Debug, Clone, Serialize)]
pub struct Intervals {
    pub e: Estimate,
    pub a: Estimate,
    pub b: Estimate,
    pub alpha: Estimate,
    pub beta: Estimate,
    /// The exponent of C in the optimal N.
    pub parameter_exponent: Estimate,
    pub confidence: f64,
    pub replicates: usize,
}

/// A number, the middle 95% and the standard deviation of its resamplings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    #[serde(flatten)]
    pub interval: Interval,
    pub standard_error: f64,
}

/// Published intervals are at 95%, so these are.
pub const CONFIDENCE: f64 = 0.95;

impl Intervals {
    pub fn of(law: &Chinchilla, resampled: &[Chinchilla]) -> Self {
        let of = |pick: &dyn Fn(&Chinchilla) -> f64| estimate(law, resampled, pick);
        Self {
            e: of(&|l| l.e),
            a: of(&|l| l.a),
            b: of(&|l| l.b),
            alpha: of(&|l| l.alpha),
            beta: of(&|l| l.beta),
            parameter_exponent: of(&Chinchilla::parameter_exponent),
            confidence: CONFIDENCE,
            replicates: resampled.len(),
        }
    }
}

/// Any number that a law gives, with its interval.
fn estimate(
    law: &Chinchilla,
    resampled: &[Chinchilla],
    pick: &dyn Fn(&Chinchilla) -> f64,
) -> Estimate {
    let each: Vec<f64> = resampled
        .iter()
        .map(pick)
        .filter(|v| v.is_finite())
        .collect();
    let n = each.len().max(1) as f64;
    let mean = each.iter().sum::<f64>() / n;
    let squares: f64 = each.iter().map(|v| (v - mean).powi(2)).sum();
    Estimate {
        interval: Interval::at(pick(law), &each, CONFIDENCE),
        standard_error: (squares / n).sqrt(),
    }
}

/// The best use of a compute budget.
#[derive(Debug, Clone, Serialize)]
pub struct Optimum {
    pub flops: f64,
    pub parameters: Estimate,
    pub tokens: Estimate,
    pub tokens_per_parameter: Estimate,
    pub loss: Estimate,
}

/// The optimal N and D at so many FLOPs, with intervals.
pub fn optimum(law: &Chinchilla, resampled: &[Chinchilla], flops: f64) -> Optimum {
    let of = |pick: &dyn Fn(&Chinchilla) -> f64| estimate(law, resampled, pick);
    Optimum {
        flops,
        parameters: of(&|l| l.optimum(flops).0),
        tokens: of(&|l| l.optimum(flops).1),
        tokens_per_parameter: of(&|l| {
            let (n, d) = l.optimum(flops);
            d / n
        }),
        loss: of(&|l| {
            let (n, d) = l.optimum(flops);
            l.loss(n, d)
        }),
    }
}

#[cfg(test)]
mod tests;
