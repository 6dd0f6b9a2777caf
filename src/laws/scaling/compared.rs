//! Approaches 1 and 2 of Hoffmann et al. (2022), where the runs allow them: they see no law, only
//! where losses are least, and so check the one that approach 3 assumes.

use super::{FLOPS_PER_PARAMETER_TOKEN, Point};
use crate::laws::algebra::{Ridge, line};
use serde::Serialize;

/// N = coefficient · C^exponent for the best N at a compute C.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PowerLaw {
    pub coefficient: f64,
    pub exponent: f64,
    pub points: usize,
}

impl PowerLaw {
    /// By least squares of logarithms. `None` with fewer than three points, or one budget.
    fn through(points: &[(f64, f64)]) -> Option<Self> {
        let logs: Vec<(f64, f64)> = points.iter().map(|(c, n)| (c.ln(), n.ln())).collect();
        let (intercept, exponent) = line(&logs).filter(|_| points.len() >= 3)?;
        Some(Self {
            coefficient: intercept.exp(),
            exponent,
            points: points.len(),
        })
    }

    pub fn at(&self, flops: f64) -> f64 {
        self.coefficient * flops.powf(self.exponent)
    }
}

/// Approach 1 takes, at each compute, the size whose training curve is lowest there. Of runs that
/// only have a last loss, these are the runs that no run of as much compute or less beats.
pub fn envelope(points: &[Point]) -> Option<PowerLaw> {
    let mut order: Vec<&Point> = points.iter().collect();
    order.sort_by(|a, b| a.flops.total_cmp(&b.flops).then(a.loss.total_cmp(&b.loss)));
    let mut lowest = f64::INFINITY;
    let mut best = Vec::new();
    for point in order {
        if point.loss < lowest {
            lowest = point.loss;
            best.push((point.flops, point.parameters));
        }
    }
    PowerLaw::through(&best)
}

/// Runs of nearly one compute, and the size of least loss by a parabola in ln N.
#[derive(Debug, Clone, Serialize)]
pub struct IsoFlop {
    /// The geometric mean of the runs'.
    pub flops: f64,
    pub runs: Vec<Point>,
    /// Loss as (constant, linear, quadratic) in ln N.
    pub parabola: [f64; 3],
    /// (N, D, loss) at its bottom; `None` when that lies outside of the runs, or there is none.
    pub optimum: Option<(f64, f64, f64)>,
}

/// A gap of so much in log₁₀ C parts groups of runs.
const GAP: f64 = 0.02;
/// A group needs so many runs, and sizes from the least to the greatest of so large a ratio.
const LEAST_RUNS: usize = 6;
const LEAST_RATIO: f64 = 2.0;

/// Approach 2: groups of runs of nearly one compute, and the power law through their best sizes.
pub fn iso_flops(points: &[Point]) -> (Vec<IsoFlop>, Option<PowerLaw>) {
    let mut order: Vec<Point> = points.to_vec();
    order.sort_by(|a, b| a.flops.total_cmp(&b.flops));
    let apart = |a: &Point, b: &Point| (b.flops / a.flops).log10() <= GAP;
    let groups = order.chunk_by(apart).filter_map(iso_flop);
    let groups: Vec<IsoFlop> = groups.collect();
    let optima = groups.iter().filter_map(|g| Some((g.flops, g.optimum?.0)));
    let law = PowerLaw::through(&optima.collect::<Vec<_>>());
    (groups, law)
}

fn iso_flop(runs: &[Point]) -> Option<IsoFlop> {
    let sizes = runs.iter().map(|p| p.parameters);
    let (low, high) = sizes.fold((f64::MAX, 0.0f64), |r, n| (r.0.min(n), r.1.max(n)));
    if runs.len() < LEAST_RUNS || high / low < LEAST_RATIO {
        return None;
    }
    let flops = (runs.iter().map(|p| p.flops.ln()).sum::<f64>() / runs.len() as f64).exp();
    // About the middle, so that the two columns are not nearly one.
    let middle = 0.5 * (low.ln() + high.ln());
    let row = |p: &Point| {
        let x = p.parameters.ln() - middle;
        vec![x, x * x]
    };
    let rows: Vec<Vec<f64>> = runs.iter().map(row).collect();
    let losses: Vec<f64> = runs.iter().map(|p| p.loss).collect();
    let fit = Ridge::fit(&rows, &losses, Some(1e-10));
    let (slope, bend) = (fit.coefficients[0], fit.coefficients[1]);
    let bottom = -0.5 * slope / bend;
    let n = (middle + bottom).exp();
    let inside = bend > 0.0 && (low..=high).contains(&n);
    let loss = fit.intercept + slope * bottom + bend * bottom * bottom;
    Some(IsoFlop {
        flops,
        runs: runs.to_vec(),
        parabola: [
            fit.intercept - slope * middle + bend * middle * middle,
            slope - 2.0 * bend * middle,
            bend,
        ],
        optimum: inside.then(|| (n, flops / (FLOPS_PER_PARAMETER_TOKEN * n), loss)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::scaling::Chinchilla;

    /// Exponents alike, so that parabolas are not skewed: the best N goes with √C.
    const TRUTH: Chinchilla = Chinchilla {
        e: 1.8,
        a: 500.0,
        b: 500.0,
        alpha: 0.35,
        beta: 0.35,
    };

    fn runs() -> Vec<Point> {
        let budgets = (0..6).map(|i| 1e18 * 4f64.powi(i));
        let mut runs = Vec::new();
        for flops in budgets {
            let best = TRUTH.optimum(flops).0;
            for i in -4..=4 {
                let n = best * 1.5f64.powi(i);
                let tokens = flops / (6.0 * n);
                runs.push(Point {
                    parameters: n,
                    tokens,
                    flops,
                    loss: TRUTH.loss(n, tokens),
                });
            }
        }
        runs
    }

    #[test]
    fn bottoms_of_parabolas_are_where_the_law_has_them() {
        let (groups, law) = iso_flops(&runs());
        assert_eq!(groups.len(), 6);
        for group in &groups {
            let (n, d, loss) = group.optimum.unwrap();
            let (best, tokens) = TRUTH.optimum(group.flops);
            assert!((n / best - 1.0).abs() < 0.02 && (d / tokens - 1.0).abs() < 0.02);
            assert!((loss - TRUTH.loss(best, tokens)).abs() < 0.02);
            let [constant, linear, quadratic] = group.parabola;
            let x = n.ln();
            assert!((constant + linear * x + quadratic * x * x - loss).abs() < 1e-6);
        }
        let law = law.unwrap();
        assert!((law.exponent - 0.5).abs() < 0.01, "{law:?}");
        assert!((law.at(1e20) / TRUTH.optimum(1e20).0 - 1.0).abs() < 0.05);
    }

    #[test]
    fn the_envelope_has_the_best_run_of_each_budget() {
        let law = envelope(&runs()).unwrap();
        assert_eq!(law.points, 6);
        assert!((law.exponent - 0.5).abs() < 0.02);
    }

    #[test]
    fn runs_without_groups_have_no_parabolas() {
        let few: Vec<Point> = runs().into_iter().step_by(5).collect();
        let (groups, law) = iso_flops(&few);
        assert!(groups.is_empty() && law.is_none());
        assert!(envelope(&few[..2]).is_none());
    }
}
