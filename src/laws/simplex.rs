//! Mixtures as points of a simplex: what bounds allow, the nearest allowed point, random draws.

use crate::{
    error::{Error, Result},
    rng::Rng,
};
use serde::Serialize;

/// Least and greatest weights by domain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bounds {
    pub low: Vec<f64>,
    pub high: Vec<f64>,
}

impl Bounds {
    /// Anything between 0 and 1.
    pub fn free(n_domains: usize) -> Self {
        Self {
            low: vec![0.0; n_domains],
            high: vec![1.0; n_domains],
        }
    }

    /// Errors when a bound is not a share, a least weight is above its greatest, or no mixture
    /// fits them all.
    pub fn check(&self, domains: &[String]) -> Result<()> {
        for (domain, (low, high)) in domains.iter().zip(self.low.iter().zip(&self.high)) {
            if !(0.0 <= *low && low <= high && *high <= 1.0) {
                return Err(Error::input(
                    format!("bounds of \"{domain}\""),
                    format!("the weight would lie between {low} and {high}"),
                    "give a least weight of 0 or more and a greatest of up to 1, not below it",
                ));
            }
        }
        let (low, high): (f64, f64) = (self.low.iter().sum(), self.high.iter().sum());
        match low > 1.0 + 1e-9 || high < 1.0 - 1e-9 {
            false => Ok(()),
            true => Err(Error::input(
                "bounds",
                format!("least weights add up to {low}, greatest ones to {high}"),
                "no mixture fits them: least weights must leave room, greatest ones reach 1",
            )),
        }
    }

    pub fn hold(&self, mixture: &[f64]) -> bool {
        let each = mixture.iter().zip(self.low.iter().zip(&self.high));
        each.into_iter()
            .all(|(w, (low, high))| *w >= low - 1e-9 && *w <= high + 1e-9)
    }

    /// The allowed mixture nearest to a point (Euclid's distance): every weight is moved by one
    /// amount and cut at its bounds.
    pub fn project(&self, point: &[f64]) -> Vec<f64> {
        let at = |shift: f64| -> Vec<f64> {
            let each = point.iter().zip(self.low.iter().zip(&self.high));
            each.map(|(x, (low, high))| (x + shift).clamp(*low, *high))
                .collect()
        };
        let size = point.iter().fold(1.0f64, |most, x| most.max(x.abs()));
        let (mut low, mut high) = (-size - 1.0, size + 1.0);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            match at(middle).iter().sum::<f64>() < 1.0 {
                true => low = middle,
                false => high = middle,
            }
        }
        at(0.5 * (low + high))
    }
}

/// A draw from the Dirichlet distribution with these parameters, all above 0.
pub fn dirichlet(rng: &mut Rng, parameters: &[f64]) -> Vec<f64> {
    // As logarithms: with small parameters all gammas may be too small for a float.
    let logs: Vec<f64> = parameters.iter().map(|a| ln_gamma_draw(rng, *a)).collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let raw: Vec<f64> = logs.iter().map(|l| (l - most).exp()).collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|x| x / sum).collect()
}

/// The logarithm of a gamma draw with this shape: Marsaglia & Tsang (2000), below shape 1 by their
/// power of a uniform.
fn ln_gamma_draw(rng: &mut Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        let uniform = 1.0 - rng.uniform();
        return ln_gamma_draw(rng, shape + 1.0) + uniform.ln() / shape;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = rng.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - rng.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d.ln() + v.ln();
        }
    }
}

/// `n` allowed mixtures around a prior: Dirichlet draws whose concentration goes from loose (most
/// weight on few domains) to tight, as RegMix's do; a tenth of the prior is uniform, so that a
/// domain that it leaves out is tried, too. The prior itself comes first.
pub fn draws(bounds: &Bounds, prior: &[f64], n: usize, rng: &mut Rng) -> Vec<Vec<f64>> {
    let n_domains = prior.len() as f64;
    let mut points = vec![bounds.project(prior)];
    while points.len() < n {
        let concentration = n_domains * 0.1 * 50f64.powf(rng.uniform());
        let parameters: Vec<f64> = prior
            .iter()
            .map(|p| concentration * (0.9 * p + 0.1 / n_domains))
            .collect();
        points.push(bounds.project(&dirichlet(rng, &parameters)));
    }
    points
}

/// Half the sum of absolute differences: the share of tokens that two mixtures do not have in common.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    0.5 * a.iter().zip(b).map(|(x, y)| (x - y).abs()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dirichlet_draws_have_the_means_and_variances_of_theory() {
        let mut rng = Rng::named(1, "dirichlet");
        for parameters in [[0.02, 0.1, 0.3], [1.0, 2.0, 5.0]] {
            let n = 40_000;
            let all: f64 = parameters.iter().sum();
            let draws: Vec<Vec<f64>> = (0..n).map(|_| dirichlet(&mut rng, &parameters)).collect();
            for (j, parameter) in parameters.iter().enumerate() {
                let p = parameter / all;
                let mean = draws.iter().map(|d| d[j]).sum::<f64>() / f64::from(n);
                let square = draws.iter().map(|d| d[j] * d[j]).sum::<f64>() / f64::from(n);
                let variance = p * (1.0 - p) / (all + 1.0);
                assert!((mean - p).abs() < 4.0 * (variance / f64::from(n)).sqrt());
                assert!((square - mean * mean - variance).abs() < 5e-3);
            }
        }
    }

    #[test]
    fn a_projection_is_allowed_and_nothing_allowed_is_nearer() {
        let mut rng = Rng::named(2, "projection");
        let bounds = Bounds {
            low: vec![0.05, 0.0, 0.1, 0.0],
            high: vec![0.3, 1.0, 0.5, 0.4],
        };
        for _ in 0..200 {
            let point: Vec<f64> = (0..4).map(|_| rng.normal()).collect();
            let near = bounds.project(&point);
            assert!((near.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!(bounds.hold(&near));
            let far =
                |to: &[f64]| -> f64 { point.iter().zip(to).map(|(a, b)| (a - b).powi(2)).sum() };
            for other in draws(&bounds, &[0.25; 4], 20, &mut rng) {
                assert!((other.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                assert!(bounds.hold(&other));
                assert!(far(&near) <= far(&other) + 1e-9);
            }
        }
        let inside = [0.2, 0.4, 0.3, 0.1];
        assert!(distance(&bounds.project(&inside), &inside) < 1e-12);
    }

    #[test]
    fn bounds_that_no_mixture_fits_are_refused() {
        let names = ["a".to_string(), "b".to_string()];
        let bounds = |low: [f64; 2], high: [f64; 2]| Bounds {
            low: low.to_vec(),
            high: high.to_vec(),
        };
        assert!(bounds([0.0; 2], [1.0; 2]).check(&names).is_ok());
        for wrong in [
            bounds([0.6, 0.6], [1.0; 2]),
            bounds([0.0; 2], [0.4, 0.5]),
            bounds([0.5, 0.0], [0.4, 1.0]),
            bounds([-0.1, 0.0], [1.0; 2]),
            bounds([f64::NAN, 0.0], [1.0; 2]),
        ] {
            assert!(wrong.check(&names).is_err(), "{wrong:?}");
        }
    }
}
