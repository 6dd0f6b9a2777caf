//! The noise bank: how much trials of one design differ by their seeds alone.
//!
//! Every design with two seeds or more says something of σ, and designs of the same model size,
//! length, data and evaluation are pooled. The bank plans studies; verdicts never use it, for an arm
//! has a variance of its own.

use crate::{
    metrics::Metric,
    run::Run,
    session::Trial,
    stats::{paired::Moments, variance::Spread},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What trials have in common whose seeds noise alike: sizes in octaves, names in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kin {
    /// ⌊log₂⌋ of the model's parameters.
    pub size: u32,
    /// ⌊log₂⌋ of the tokens trained on.
    pub horizon: u32,
    /// Corpora trained on.
    pub trained: Vec<String>,
    /// Corpora evaluated.
    pub evaluated: Vec<String>,
}

impl Kin {
    pub fn of(run: &Run) -> Self {
        let octave = |n: u64| n.max(1).ilog2();
        let of_run = run.data.trained().into_iter();
        let mut trained: Vec<String> = of_run.map(|share| share.corpus.clone()).collect();
        trained.dedup();
        Self {
            size: octave(run.model.n_params(run.vocab_size)),
            horizon: octave(run.tokens()),
            trained,
            evaluated: run.eval.corpora.iter().map(|s| s.corpus.clone()).collect(),
        }
    }

    /// "131k parameters, 614k tokens of tales": the bottom of the octaves.
    pub fn in_words(&self) -> String {
        let about = |octave: u32| match 2f64.powi(octave.cast_signed()) {
            n if n < 1e3 => format!("{n:.0}"),
            n if n < 1e6 => format!("{:.0}k", n / 1e3),
            n => format!("{:.0}M", n / 1e6),
        };
        format!(
            "{}+ parameters, {}+ tokens of {}, evaluated on {}",
            about(self.size),
            about(self.horizon),
            self.trained.join(" and "),
            self.evaluated.join(" and ")
        )
    }
}

/// A finished trial, as the bank sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub kin: Kin,
    pub design: String,
    pub value: f64,
}

/// A pooled standard deviation between seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Noise {
    pub kin: Kin,
    pub metric: Metric,
    pub sd: f64,
    /// Trials less designs.
    pub degrees_of_freedom: usize,
    pub designs: usize,
    pub trials: usize,
}

/// Every kind of trial with its noise: variances within designs, pooled by degrees of freedom.
/// Identical designs whose seeds were all the same value say nothing and are left out.
pub fn noises(entries: &[Entry], metric: Metric) -> Vec<Noise> {
    let mut values: BTreeMap<&Kin, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    for entry in entries {
        let designs = values.entry(&entry.kin).or_default();
        designs.entry(&entry.design).or_default().push(entry.value);
    }
    let pooled = values.into_iter().filter_map(|(kin, designs)| {
        let repeated: Vec<Moments> = designs
            .values()
            .filter(|values| values.len() > 1)
            .map(|values| Moments::of(values))
            .collect();
        let trials: usize = repeated.iter().map(|m| m.n).sum();
        let degrees_of_freedom = trials - repeated.len();
        let squares: f64 = repeated.iter().map(|m| m.sum_of_squares).sum();
        (squares > 0.0).then(|| Noise {
            kin: kin.clone(),
            metric,
            sd: (squares / degrees_of_freedom as f64).sqrt(),
            degrees_of_freedom,
            designs: repeated.len(),
            trials,
        })
    });
    pooled.collect()
}

impl Noise {
    /// "σ = 0.0140 bits per byte between seeds, from 8 trials of 2 designs: …".
    pub fn in_words(&self) -> String {
        format!(
            "σ = {:.4} {} between seeds, from {} trials of {} designs: {}",
            self.sd,
            self.metric.unit(),
            self.trials,
            self.designs,
            self.kin.in_words()
        )
    }

    /// As an estimate.
    pub fn spread(&self) -> Spread {
        Spread {
            sd: self.sd,
            df: self.degrees_of_freedom as f64,
        }
    }

    /// The noise of trials of the same kind as this one, if the bank has any.
    pub fn like(bank: &[Self], trial: &Trial) -> Option<Self> {
        let kin = Kin::of(&trial.run);
        bank.iter().find(|noise| noise.kin == kin).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(size: u32, design: &str, value: f64) -> Entry {
        Entry {
            kin: Kin {
                size,
                horizon: 19,
                trained: vec!["tales".into()],
                evaluated: vec!["tales".into()],
            },
            design: design.into(),
            value,
        }
    }

    #[test]
    fn designs_of_one_kind_are_pooled_about_their_own_means() {
        // Sums of squares 2 and 8 about means far apart, over 1 + 2 degrees of freedom.
        let entries = [
            entry(17, "a", 10.0),
            entry(17, "a", 12.0),
            entry(17, "b", 0.0),
            entry(17, "b", 2.0),
            entry(17, "b", 4.0),
            entry(17, "alone", 99.0),
            entry(18, "c", 1.0),
            entry(18, "c", 1.0),
        ];
        let bank = noises(&entries, Metric::Loss);
        assert_eq!(bank.len(), 1, "equal seeds say nothing of the noise");
        let noise = &bank[0];
        assert!((noise.sd - (10.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(
            (noise.degrees_of_freedom, noise.designs, noise.trials),
            (3, 2, 5)
        );
        assert!(
            noise
                .kin
                .in_words()
                .starts_with("131k+ parameters, 524k+ tokens of tales")
        );
    }
}
