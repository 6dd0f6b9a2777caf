//! Laws of mixtures under one name each, fitted to one target's losses.

use super::{
    log_linear::LogLinear,
    polynomial::{Degree, Polynomial},
    runs::Runs,
    trees::Trees,
};
use crate::error::{Error, Result, nearest};
use serde::Serialize;
use std::{fmt, str::FromStr};

/// Fewer runs say nothing that could be checked by leaving some out.
pub const LEAST_RUNS: usize = 5;

/// What a loss may be as a function of a mixture, the simplest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Law {
    Linear,
    LogLinear,
    Quadratic,
    Trees,
}

impl Law {
    pub const ALL: [Law; 4] = [Law::Linear, Law::LogLinear, Law::Quadratic, Law::Trees];

    pub fn name(self) -> &'static str {
        match self {
            Law::Linear => "linear",
            Law::LogLinear => "log-linear",
            Law::Quadratic => "quadratic",
            Law::Trees => "trees",
        }
    }

    /// The law in symbols, or who computes it.
    pub fn formula(self) -> &'static str {
        match self {
            Law::Linear => "L = a + Σ bⱼ rⱼ, ridge by leave-one-out error",
            Law::LogLinear => "L = c + k·exp(Σ tⱼ rⱼ), Huber .01, L-BFGS",
            Law::Quadratic => "L = a + Σ bⱼ rⱼ + Σ bᵢⱼ rᵢ rⱼ, ridge by leave-one-out error",
            Law::Trees => "boosted trees (forust-ml; RegMix used LightGBM)",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Law {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|law| law.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let near =
                nearest(name, names).map_or(String::new(), |n| format!("did you mean \"{n}\"? "));
            Error::input(
                format!("law \"{name}\""),
                "there is no such law",
                format!("{near}there are {}", names.join(", ")),
            )
        })
    }
}

/// A law with its numbers.
pub enum Fitted {
    LogLinear(LogLinear),
    Polynomial(Polynomial),
    Trees(Box<Trees>),
}

/// Fits a law to the losses of one target. Errors with too few runs.
pub fn fit(runs: &Runs, target: usize, law: Law, seed: u64) -> Result<Fitted> {
    if runs.len() < LEAST_RUNS {
        return Err(Error::input(
            format!("target \"{}\"", runs.targets[target]),
            format!("{} runs are too few to fit a law to", runs.len()),
            format!("give {LEAST_RUNS} runs or more; a few for each domain are better"),
        ));
    }
    Fitted::of(&runs.mixtures, &runs.target(target), law, seed)
}

impl Fitted {
    /// The same for mixtures and losses on their own.
    pub fn of(mixtures: &[Vec<f64>], losses: &[f64], law: Law, seed: u64) -> Result<Self> {
        Ok(match law {
            Law::LogLinear => Self::LogLinear(LogLinear::fit(mixtures, losses)),
            Law::Linear => Self::Polynomial(Polynomial::fit(mixtures, losses, Degree::One)),
            Law::Quadratic => Self::Polynomial(Polynomial::fit(mixtures, losses, Degree::Two)),
            Law::Trees => Self::Trees(Box::new(Trees::fit(mixtures, losses, seed)?)),
        })
    }

    /// This law fitted to resampled runs, quickly where this fit helps.
    pub fn refit(&self, mixtures: &[Vec<f64>], losses: &[f64], seed: u64) -> Result<Self> {
        Ok(match self {
            Self::LogLinear(law) => Self::LogLinear(law.refit(mixtures, losses)),
            Self::Polynomial(law) => Self::Polynomial(law.refit(mixtures, losses)),
            Self::Trees(_) => Self::Trees(Box::new(Trees::fit(mixtures, losses, seed)?)),
        })
    }

    pub fn law(&self) -> Law {
        match self {
            Self::LogLinear(_) => Law::LogLinear,
            Self::Polynomial(law) if law.degree == Degree::One => Law::Linear,
            Self::Polynomial(_) => Law::Quadratic,
            Self::Trees(_) => Law::Trees,
        }
    }

    /// The loss of a mixture whose weights add up to 1.
    pub fn predict(&self, mixture: &[f64]) -> f64 {
        match self {
            Self::LogLinear(law) => law.predict(mixture),
            Self::Polynomial(law) => law.predict(mixture),
            Self::Trees(law) => law.predict(mixture),
        }
    }

    pub fn predict_all(&self, mixtures: &[Vec<f64>]) -> Vec<f64> {
        match self {
            Self::Trees(law) => law.predict_all(mixtures),
            _ => mixtures.iter().map(|m| self.predict(m)).collect(),
        }
    }

    /// Slopes by domain; `None` of trees, which have steps.
    pub fn gradient(&self, mixture: &[f64]) -> Option<Vec<f64>> {
        match self {
            Self::LogLinear(law) => Some(law.gradient(mixture)),
            Self::Polynomial(law) => Some(law.gradient(mixture)),
            Self::Trees(_) => None,
        }
    }

    /// The law's numbers, to be written down; of trees there are too many.
    pub fn parameters(&self) -> serde_json::Value {
        match self {
            Self::LogLinear(law) => serde_json::json!(law),
            Self::Polynomial(law) => serde_json::json!(law),
            Self::Trees(_) => serde_json::Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_are_found_by_name_and_others_are_refused() {
        for law in Law::ALL {
            assert_eq!(law.name().parse::<Law>().unwrap(), law);
        }
        let error = "loglinear".parse::<Law>().unwrap_err();
        assert!(error.remedy.contains("\"log-linear\""), "{error}");
    }

    #[test]
    fn a_fit_to_too_few_runs_is_refused() {
        let runs = Runs::new(
            vec!["a".into()],
            vec![vec![1.0]; 4],
            vec!["t".into()],
            vec![vec![1.0]; 4],
        );
        let error = fit(&runs.unwrap(), 0, Law::Linear, 1).err().unwrap();
        assert!(error.to_string().contains("4 runs"), "{error}");
    }
}
