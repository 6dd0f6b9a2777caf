//! Boosted regression trees, by the crate `forust-ml` (XGBoost's algorithm). RegMix (Liu et al.
//! 2024, arXiv 2407.01492) used LightGBM, and stopped it early on its test set; here the number of
//! trees is fixed before any test run is seen.

use crate::error::{Error, Result};
use forust_ml::{
    GradientBooster, Matrix, gradientbooster::GrowPolicy, objective::ObjectiveType,
    sampler::SampleMethod,
};

/// Small trees, many of them, each on most of the runs and domains.
const TREES: usize = 600;
const RATE: f32 = 0.04;
const DEPTH: usize = 5;
const LEAST_RUNS_IN_LEAF: f32 = 3.0;
const SHARE_OF_RUNS: f32 = 0.7;
const SHARE_OF_DOMAINS: f64 = 0.7;

pub struct Trees {
    booster: GradientBooster,
}

impl Trees {
    /// The same runs and seed give the same trees.
    pub fn fit(mixtures: &[Vec<f64>], losses: &[f64], seed: u64) -> Result<Self> {
        let mut booster = GradientBooster::default()
            .set_objective_type(ObjectiveType::SquaredLoss)
            .set_iterations(TREES)
            .set_learning_rate(RATE)
            .set_max_depth(DEPTH)
            .set_min_leaf_weight(LEAST_RUNS_IN_LEAF)
            .set_sample_method(SampleMethod::Random)
            .set_subsample(SHARE_OF_RUNS)
            .set_colsample_bytree(SHARE_OF_DOMAINS)
            .set_parallel(false)
            .set_seed(seed);
        booster.grow_policy = GrowPolicy::DepthWise;
        let columns = by_column(mixtures);
        let matrix = Matrix::new(&columns, losses.len(), columns.len() / losses.len().max(1));
        let fitted = booster.fit_unweighted(&matrix, losses, None);
        fitted.map_err(|e| {
            Error::failed(
                "boosted trees",
                e.to_string(),
                "choose another law: --law log-linear",
            )
        })?;
        Ok(Self { booster })
    }

    pub fn predict(&self, mixture: &[f64]) -> f64 {
        self.predict_all(std::slice::from_ref(&mixture.to_vec()))[0]
    }

    pub fn predict_all(&self, mixtures: &[Vec<f64>]) -> Vec<f64> {
        let columns = by_column(mixtures);
        let n = mixtures.len();
        let matrix = Matrix::new(&columns, n, columns.len() / n.max(1));
        self.booster.predict(&matrix, false)
    }
}

fn by_column(rows: &[Vec<f64>]) -> Vec<f64> {
    let n_columns = rows.first().map_or(0, Vec::len);
    let column = |j: usize| rows.iter().map(move |row| row[j]);
    (0..n_columns).flat_map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        laws::{rank::spearman, simplex::dirichlet},
        rng::Rng,
    };

    #[test]
    fn a_step_is_found_that_no_smooth_law_has_and_the_seed_decides() {
        let mut rng = Rng::named(1, "trees");
        let truth =
            |r: &[f64]| f64::from(u8::from(r[0] > 0.3)) + 0.5 * f64::from(u8::from(r[1] > 0.5));
        let mut draw = || -> (Vec<Vec<f64>>, Vec<f64>) {
            let rows: Vec<Vec<f64>> = (0..300).map(|_| dirichlet(&mut rng, &[1.0; 3])).collect();
            let y = rows.iter().map(|r| truth(r)).collect();
            (rows, y)
        };
        let (runs, tests) = (draw(), draw());
        let trees = Trees::fit(&runs.0, &runs.1, 1).unwrap();
        let predicted = trees.predict_all(&tests.0);
        assert!(spearman(&predicted, &tests.1).unwrap() > 0.85);
        assert_eq!(trees.predict(&tests.0[3]), predicted[3]);
        let again = Trees::fit(&runs.0, &runs.1, 1).unwrap();
        assert_eq!(again.predict_all(&tests.0), predicted);
        let other = Trees::fit(&runs.0, &runs.1, 2).unwrap();
        assert_ne!(other.predict_all(&tests.0), predicted);
    }
}
