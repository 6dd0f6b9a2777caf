//! What a space's table can get wrong.

use super::{MOST, Sample, Space, Vary};
use crate::{
    error::{Error, Result},
    toml_file::Source,
};
use std::collections::BTreeSet;

impl Space {
    /// Errors, with file and line, where the table contradicts itself.
    pub(super) fn check(&self, source: &Source) -> Result<()> {
        let wrong = |key: &str, problem: String, remedy: &str| {
            Err(Error::input(
                source.place_of(&["space", key]),
                problem,
                remedy,
            ))
        };
        let k = self.corpora.len();
        if k == 0 && self.vary.is_empty() {
            return wrong(
                "corpora",
                "[space] has nothing that varies".into(),
                "give corpora = [\"…\", \"…\"], or keys under [space.vary]",
            );
        }
        let distinct: BTreeSet<&String> = self.corpora.iter().collect();
        if k == 1 || distinct.len() < k {
            return wrong(
                "corpora",
                format!("space.corpora is {:?}", self.corpora),
                "name two corpora or more, each once",
            );
        }
        let n = self.points + self.held_back;
        if self.sample != Sample::Grid && !(2..=MOST).contains(&n) {
            return wrong(
                "points",
                format!("space.points and held_back make {n} arms"),
                "draw 2 to 2000 points; 32 are a start for four corpora",
            );
        }
        for (name, weights) in [("prior", &self.prior), ("max_weight", &self.max_weight)] {
            for (corpus, weight) in weights {
                if !self.corpora.contains(corpus) {
                    return wrong(
                        name,
                        format!(
                            "space.{name} names \"{corpus}\", which is not among space.corpora"
                        ),
                        "name the same corpora",
                    );
                }
                if !(*weight > 0.0 && weight.is_finite()) {
                    return wrong(
                        name,
                        format!("space.{name}.{corpus} is {weight}"),
                        "use a number above 0",
                    );
                }
            }
        }
        if !self.prior.is_empty() && self.prior.len() < k {
            return wrong(
                "prior",
                format!("space.prior has {} of {k} corpora", self.prior.len()),
                "give every corpus a weight, or leave the prior out",
            );
        }
        let [low, high] = self.strength;
        if !(low > 0.0 && low <= high && high.is_finite()) {
            return wrong(
                "strength",
                format!("space.strength is {low} to {high}"),
                "use two numbers above 0, the smaller first; [0.1, 5.0] is RegMix's",
            );
        }
        if k > 0 && !(0.0..=1.0 / k as f64).contains(&self.min_weight) {
            return wrong(
                "min_weight",
                format!("space.min_weight is {} for {k} corpora", self.min_weight),
                "use 0 up to one over the number of corpora",
            );
        }
        if !(1..=100).contains(&self.steps) {
            return wrong(
                "steps",
                format!("space.steps is {}", self.steps),
                "use 1 to 100",
            );
        }
        for (key, vary) in &self.vary {
            let problem = match vary {
                Vary::Log { low, high } if !(*low > 0.0 && low < high && high.is_finite()) => {
                    format!("space.vary.\"{key}\" is {low} to {high}")
                }
                Vary::Log { .. } if self.sample == Sample::Grid => {
                    format!("space.vary.\"{key}\" is a range, of which a grid has no values")
                }
                Vary::Choice(values) if values.is_empty() => {
                    format!("space.vary.\"{key}\" is empty")
                }
                _ if key.starts_with("data.mixture") && k > 0 => {
                    format!("space.vary sets {key}, and space.corpora draws mixtures")
                }
                _ => continue,
            };
            return wrong(
                "vary",
                problem,
                "use { low, high } above 0, or a list of values",
            );
        }
        Ok(())
    }
}
