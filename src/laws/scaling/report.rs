//! All that `fit scaling` says, in one value: the law with intervals, the other two approaches,
//! optima at budgets, and every number of its picture.

use super::{
    Chinchilla, Fit, Intervals, Optimum, Point,
    compared::{IsoFlop, PowerLaw, envelope, iso_flops},
    fit, optimum, resampled,
};
use crate::error::Result;
use serde::Serialize;

/// Budgets when none are given: the runs' greatest, and a hundred and ten thousand times it.
const FURTHER: [f64; 3] = [1.0, 1e2, 1e4];
/// Points of each curve of the picture.
const CURVE_POINTS: usize = 41;

/// What is asked for beside the law.
pub struct Asked<'a> {
    pub dropped: &'a [Point],
    /// In FLOPs.
    pub budgets: &'a [f64],
    pub replicates: usize,
    pub seed: u64,
}

#[derive(Debug, Serialize)]
pub struct ScalingFit {
    pub formula: &'static str,
    #[serde(flatten)]
    pub fit: Fit,
    pub intervals: Intervals,
    pub dropped: Vec<Point>,
    pub optima: Vec<Optimum>,
    pub envelope: Option<PowerLaw>,
    pub parabolas: Option<PowerLaw>,
    pub iso_flops: Vec<Curve>,
    pub seed: u64,
}

/// Runs of nearly one compute, the law at that compute, and where either is least.
#[derive(Debug, Serialize)]
pub struct Curve {
    #[serde(flatten)]
    pub group: IsoFlop,
    /// (parameters, loss) by the law.
    pub law: Vec<(f64, f64)>,
    /// The law's best (parameters, tokens).
    pub law_optimum: (f64, f64),
}

/// Fits the law and what is put beside it.
pub fn fit_scaling(points: &[Point], asked: &Asked) -> Result<ScalingFit> {
    let fit = fit(points)?;
    let others = resampled(points, &fit, asked.replicates, asked.seed);
    let (groups, parabolas) = iso_flops(points);
    let most = points.iter().map(|p| p.flops).fold(0.0, f64::max);
    let budgets = match asked.budgets {
        [] => FURTHER.map(|times| times * most).to_vec(),
        given => given.to_vec(),
    };
    let law = fit.law;
    Ok(ScalingFit {
        formula: "L = E + A/N^α + B/D^β; the sum of Huber's loss (δ = 1e-3) of ln L",
        intervals: Intervals::of(&law, &others),
        dropped: asked.dropped.to_vec(),
        optima: budgets.iter().map(|c| optimum(&law, &others, *c)).collect(),
        envelope: envelope(points),
        parabolas,
        iso_flops: groups.into_iter().map(|group| curve(&law, group)).collect(),
        seed: asked.seed,
        fit,
    })
}

fn curve(law: &Chinchilla, group: IsoFlop) -> Curve {
    let sizes = group.runs.iter().map(|p| p.parameters);
    let (low, high) = sizes.fold((f64::MAX, 0.0f64), |r, n| (r.0.min(n), r.1.max(n)));
    let at = |i: usize| {
        let n = low * (high / low).powf(i as f64 / (CURVE_POINTS - 1) as f64);
        (
            n,
            law.loss(n, group.flops / (super::FLOPS_PER_PARAMETER_TOKEN * n)),
        )
    };
    Curve {
        law: (0..CURVE_POINTS).map(at).collect(),
        law_optimum: law.optimum(group.flops),
        group,
    }
}

impl ScalingFit {
    /// Tables for people.
    pub fn in_words(&self) -> String {
        let i = &self.intervals;
        let mut text = format!(
            "{} runs{}\nL = E + A/N^α + B/D^β\n{:<10} {:>10} {:>24} {:>12}\n",
            self.fit.runs,
            match self.dropped.len() {
                0 => String::new(),
                n => format!(", without {n} of fewest tokens per parameter"),
            },
            "",
            "",
            format!("{:.0}% interval", 100.0 * i.confidence),
            "std. error"
        );
        for (name, e) in [
            ("E", i.e),
            ("A", i.a),
            ("B", i.b),
            ("α", i.alpha),
            ("β", i.beta),
            ("β/(α+β)", i.parameter_exponent),
        ] {
            text += &format!(
                "{name:<10} {:>10.5} {:>24} {:>12.5}\n",
                e.interval.value,
                format!("[{:.4}, {:.4}]", e.interval.low, e.interval.high),
                e.standard_error
            );
        }
        text += &format!(
            "objective  {:.6e} in sum, {:.4e} in mean; {} resamplings of the runs\n",
            self.fit.objective_sum, self.fit.objective_mean, i.replicates
        );
        text += "\nthe best N goes as C to the power of\n";
        text += &format!(
            "           {:.3} by approach 3, the law\n",
            i.parameter_exponent.interval.value
        );
        for (name, law) in [
            ("approach 1, the envelope of last losses", self.envelope),
            ("approach 2, parabolas at equal compute", self.parabolas),
        ] {
            text += &match law {
                Some(law) => format!(
                    "           {:.3} by {name} ({} points)\n",
                    law.exponent, law.points
                ),
                None => format!("           no {name}: too few runs\n"),
            };
        }
        text += "\nFLOPs      parameters [interval]               tokens [interval]                   loss\n";
        for o in &self.optima {
            let shown = |e: &super::Estimate| {
                let i = e.interval;
                format!("{:.3e} [{:.2e}, {:.2e}]", i.value, i.low, i.high)
            };
            text += &format!(
                "{:<10.3e} {:<35} {:<35} {:.4}\n",
                o.flops,
                shown(&o.parameters),
                shown(&o.tokens),
                o.loss.interval.value
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_law_optima_and_curves() {
        let truth = Chinchilla {
            e: 1.7,
            a: 400.0,
            b: 1500.0,
            alpha: 0.34,
            beta: 0.35,
        };
        let budgets = (0..4).map(|i| 1e18 * 5f64.powi(i));
        let mut points = Vec::new();
        for flops in budgets {
            for i in -4..=4 {
                let parameters = truth.optimum(flops).0 * 1.6f64.powi(i);
                let tokens = flops / (6.0 * parameters);
                // A little off, by turns: exact losses have no intervals.
                let loss = truth.loss(parameters, tokens) * (1.0 + 1e-3 * f64::from(i % 2));
                points.push(Point {
                    parameters,
                    tokens,
                    flops,
                    loss,
                });
            }
        }
        let asked = Asked {
            dropped: &[],
            budgets: &[1e22],
            replicates: 40,
            seed: 1,
        };
        let found = fit_scaling(&points, &asked).unwrap();
        let n = found.optima[0].parameters.interval;
        assert!((n.value / truth.optimum(1e22).0).ln().abs() < 0.3, "{n:?}");
        assert!(n.low <= n.value && n.value <= n.high && n.low < n.high);
        assert_eq!(found.iso_flops.len(), 4);
        let curve = &found.iso_flops[1];
        assert_eq!((curve.law.len(), curve.group.runs.len()), (41, 9));
        let words = found.in_words();
        for word in ["36 runs", "approach 2", "1.000e22", "in sum"] {
            assert!(words.contains(word), "{words}");
        }
        assert_eq!(
            found.in_words(),
            fit_scaling(&points, &asked).unwrap().in_words()
        );
    }
}
