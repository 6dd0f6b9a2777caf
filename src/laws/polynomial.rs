//! Polynomials of a mixture: linear, and Scheffé's quadratic (1958, "Experiments with mixtures"),
//! which is Σ bⱼ rⱼ + Σ bᵢⱼ rᵢ rⱼ over pairs i < j: squares add nothing where weights add up to 1.
//!
//! Least squares with a ridge on centred and scaled features; its size is the one of least
//! leave-one-out error.

use super::algebra::Ridge;
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Degree {
    One,
    Two,
}

#[derive(Debug, Clone, Serialize)]
pub struct Polynomial {
    pub degree: Degree,
    #[serde(flatten)]
    pub ridge: Ridge,
}

impl Polynomial {
    pub fn fit(mixtures: &[Vec<f64>], losses: &[f64], degree: Degree) -> Self {
        Self::with(mixtures, losses, degree, None)
    }

    /// The same with this fit's penalty: for resampled runs, which hold copies of one another and
    /// so would choose too small a one.
    pub fn refit(&self, mixtures: &[Vec<f64>], losses: &[f64]) -> Self {
        Self::with(mixtures, losses, self.degree, Some(self.ridge.penalty))
    }

    fn with(mixtures: &[Vec<f64>], losses: &[f64], degree: Degree, penalty: Option<f64>) -> Self {
        let rows: Vec<Vec<f64>> = mixtures.iter().map(|m| features(m, degree)).collect();
        Self {
            degree,
            ridge: Ridge::fit(&rows, losses, penalty),
        }
    }

    pub fn predict(&self, mixture: &[f64]) -> f64 {
        self.ridge.predict(&features(mixture, self.degree))
    }

    pub fn gradient(&self, mixture: &[f64]) -> Vec<f64> {
        let n = mixture.len();
        let (linear, pairs) = self.ridge.coefficients.split_at(n);
        let mut slopes = linear.to_vec();
        let mut pairs = pairs.iter();
        if self.degree == Degree::Two {
            for i in 0..n {
                for j in i + 1..n {
                    let b = pairs.next().copied().unwrap_or(0.0);
                    slopes[i] += b * mixture[j];
                    slopes[j] += b * mixture[i];
                }
            }
        }
        slopes
    }
}

/// Weights, and for degree two their products by pairs.
fn features(mixture: &[f64], degree: Degree) -> Vec<f64> {
    let mut features = mixture.to_vec();
    if degree == Degree::Two {
        for (i, a) in mixture.iter().enumerate() {
            features.extend(mixture[i + 1..].iter().map(|b| a * b));
        }
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{laws::simplex::dirichlet, rng::Rng};

    #[test]
    fn squares_and_products_of_weights_are_reproduced() {
        let mut rng = Rng::named(1, "quadratic");
        let truth = |r: &[f64]| 3.0 - r[0] + 2.0 * r[0] * r[0] - 1.5 * r[1] * r[2];
        let mixtures: Vec<Vec<f64>> = (0..80).map(|_| dirichlet(&mut rng, &[1.0; 3])).collect();
        let losses: Vec<f64> = mixtures.iter().map(|r| truth(r)).collect();
        let two = Polynomial::fit(&mixtures, &losses, Degree::Two);
        let one = Polynomial::fit(&mixtures, &losses, Degree::One);
        let worst = |law: &Polynomial| {
            let off = mixtures.iter().map(|r| (law.predict(r) - truth(r)).abs());
            off.fold(0.0, f64::max)
        };
        assert!(worst(&two) < 1e-4 && worst(&one) > 0.05);
        let at = [0.3, 0.3, 0.4];
        // Along the simplex, where alone slopes mean something.
        let along = |law: &Polynomial| law.gradient(&at)[0] - law.gradient(&at)[1];
        let (mut up, mut down) = (at, at);
        (up[0], up[1]) = (up[0] + 1e-5, up[1] - 1e-5);
        (down[0], down[1]) = (down[0] - 1e-5, down[1] + 1e-5);
        for law in [&one, &two] {
            let by_steps = (law.predict(&up) - law.predict(&down)) / 2e-5;
            assert!((along(law) - by_steps).abs() < 1e-6);
        }
        assert!((along(&two) - (-1.0 + 4.0 * 0.3 + 1.5 * 0.4)).abs() < 1e-2);
    }
}
