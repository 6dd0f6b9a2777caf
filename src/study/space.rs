//! `[space]`: a study's arms drawn from a space of mixtures and rates, instead of written one by one.
//!
//! Every point trains on the same seeds, so that points differ in what the space says and in nothing
//! else. A swarm ranks its arms and feeds a law; with a seed or two each it tests none of them, and
//! its contract says so for good.

mod check;

use super::proposal::{ArmProposal, Proposal};
use crate::{
    error::{Error, Result},
    laws::simplex::dirichlet,
    rng::Rng,
    toml_file::Source,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The `[space]` table of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// The mixtures' corpora; none means that mixtures are left as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corpora: Vec<String>,
    /// How points are chosen.
    #[serde(default)]
    pub sample: Sample,
    /// Points to draw; a grid has as many as it has.
    #[serde(default = "thirty_two")]
    pub points: usize,
    /// More points of the same kind that no law is fitted on: what it is tested on.
    #[serde(default)]
    pub held_back: usize,
    /// Of the draws alone: which points there are.
    #[serde(default = "one")]
    pub seed: u64,
    /// Around which mixtures are drawn, by corpus; evenly where it is not written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prior: BTreeMap<String, f64>,
    /// Of the Dirichlet distribution, from and to: small ones draw mixtures of few corpora.
    #[serde(default = "strengths")]
    pub strength: [f64; 2],
    /// Least share of every corpus.
    #[serde(default)]
    pub min_weight: f64,
    /// Largest share of some corpora.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub max_weight: BTreeMap<String, f64>,
    /// A grid's shares are multiples of 1/steps.
    #[serde(default = "four")]
    pub steps: usize,
    /// What else varies: keys of the recipe.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vary: BTreeMap<String, Vary>,
}

fn thirty_two() -> usize {
    32
}

fn one() -> u64 {
    1
}

fn four() -> usize {
    4
}

/// What RegMix (Liu et al. 2024) draws with.
fn strengths() -> [f64; 2] {
    [0.1, 5.0]
}

/// How points are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sample {
    /// Mixtures from Dirichlet distributions around the prior, whose strength varies; other keys
    /// independently.
    #[default]
    Dirichlet,
    /// Every mixture of whole steps, times every choice of the other keys.
    Grid,
    /// Latin hypercubes (McKay et al. 1979): every corpus and key has each of its strata once.
    Latin,
}

/// The values of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Vary {
    /// Between two numbers above 0, evenly in their logarithm.
    Log {
        /// Above 0.
        low: f64,
        /// Above `low`.
        high: f64,
    },
    /// One of these.
    Choice(#[schemars(with = "Vec<serde_json::Value>")] Vec<toml::Value>),
}

/// More arms than anyone reads.
const MOST: usize = 2000;
/// Shares are written in so many parts.
const PARTS: f64 = 1e4;
/// Draws for each point before the limits are called too narrow.
const PATIENCE: usize = 1000;

/// What the arms of points are called.
pub const POINT: &str = "point";
pub const HELD_BACK: &str = "held";

type Point = (Option<Vec<f64>>, Vec<toml::Value>);

impl Space {
    /// The arms that the space means, the control among them: even shares, or the base as it is.
    /// Errors, with file and line, where the table contradicts itself.
    pub fn arms(&self, source: &Source) -> Result<BTreeMap<String, ArmProposal>> {
        self.check(source)?;
        let points = match self.sample {
            Sample::Grid => self.grid(source)?,
            Sample::Dirichlet | Sample::Latin => self.drawn(source)?,
        };
        let mut arms = BTreeMap::new();
        let digits = points.len().to_string().len();
        let n_fitted = points.len() - self.held_back.min(points.len());
        for (idx, point) in points.iter().enumerate() {
            let (kind, number) = match idx < n_fitted {
                true => (POINT, idx + 1),
                false => (HELD_BACK, idx + 1 - n_fitted),
            };
            arms.insert(format!("{kind}_{number:0digits$}"), self.arm(point));
        }
        if !self.corpora.is_empty() {
            // Even weights that are made proportional to the corpora's sizes when these are known.
            let even = vec![1.0 / self.corpora.len() as f64; self.corpora.len()];
            let mut natural = self.arm(&(Some(even), Vec::new()));
            natural
                .set
                .insert("data.weighting".into(), "natural".into());
            natural.factor = Some("data".into());
            arms.insert("natural".into(), natural);
        }
        for (name, weights) in self.always() {
            let control = name == "uniform";
            let mut arm = self.arm(&(Some(weights), Vec::new()));
            arm.factor = (!control).then(|| "data.mixture".into());
            arms.insert(name, ArmProposal { control, ..arm });
        }
        if self.corpora.is_empty() {
            arms.insert(
                "base".into(),
                ArmProposal {
                    control: true,
                    factor: None,
                    set: toml::Table::new(),
                },
            );
        }
        Ok(arms)
    }

    /// Mixtures that are always among them: even, and each corpus alone where limits allow it.
    fn always(&self) -> Vec<(String, Vec<f64>)> {
        let k = self.corpora.len();
        if k == 0 {
            return Vec::new();
        }
        let mut always = vec![("uniform".to_string(), vec![1.0 / k as f64; k])];
        for (idx, corpus) in self.corpora.iter().enumerate() {
            let alone: Vec<f64> = (0..k).map(|i| f64::from(i == idx)).collect();
            always.push((format!("only_{corpus}"), alone));
        }
        always
    }

    /// Whether a point is one of those, which have arms already.
    fn is_always(&self, (weights, _): &Point) -> bool {
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1.0 / PARTS);
        self.vary.is_empty()
            && weights
                .as_ref()
                .is_some_and(|weights| self.always().iter().any(|(_, known)| near(known, weights)))
    }

    fn arm(&self, (weights, values): &Point) -> ArmProposal {
        let mut set = toml::Table::new();
        if let Some(weights) = weights {
            let shares = self.corpora.iter().zip(weights).filter(|(_, w)| **w > 0.0);
            let shares = shares.map(|(corpus, weight)| {
                let share = [
                    ("corpus", corpus.as_str().into()),
                    ("weight", (*weight).into()),
                ];
                toml::Value::Table(
                    share
                        .map(|(key, value)| (key.into(), value))
                        .into_iter()
                        .collect(),
                )
            });
            set.insert("data.mixture".into(), shares.collect::<Vec<_>>().into());
        }
        for (key, value) in self.vary.keys().zip(values) {
            set.insert(key.clone(), value.clone());
        }
        let factor = match set.len() {
            1 => set.keys().next().cloned(),
            _ => Some(super::arms::STACK.into()),
        };
        ArmProposal {
            control: false,
            factor,
            set,
        }
    }

    /// Shares in whole parts, if limits allow them; `shares` sum to 1.
    fn limited(&self, shares: &[f64]) -> Option<Vec<f64>> {
        let k = shares.len() as f64;
        let lifted = shares
            .iter()
            .map(|x| self.min_weight + (1.0 - k * self.min_weight) * x);
        let rounded: Vec<f64> = lifted.map(|w| (w * PARTS).round() / PARTS).collect();
        let fits = self.corpora.iter().zip(&rounded).all(|(corpus, weight)| {
            self.max_weight
                .get(corpus)
                .is_none_or(|most| *weight <= *most)
        });
        (fits && rounded.iter().sum::<f64>() > 0.0).then_some(rounded)
    }

    /// Whether a mixture, by corpus, is within the limits, give or take the rounding of its shares.
    pub fn allows(&self, share: impl Fn(&str) -> f64) -> bool {
        self.corpora.iter().all(|corpus| {
            let most = self.max_weight.get(corpus).copied().unwrap_or(1.0);
            let share = share(corpus);
            share >= self.min_weight - 2.0 / PARTS && share <= most + 2.0 / PARTS
        })
    }

    /// The prior's shares.
    fn around(&self) -> Vec<f64> {
        let k = self.corpora.len();
        let weight = |corpus| self.prior.get(corpus).copied().unwrap_or(1.0 / k as f64);
        let weights: Vec<f64> = self.corpora.iter().map(weight).collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / total).collect()
    }

    fn drawn(&self, source: &Source) -> Result<Vec<Point>> {
        let n = self.points + self.held_back;
        let mut rng = Rng::named(self.seed, "study.space");
        let dimensions = self.corpora.len() + self.vary.len();
        // Which stratum of each dimension a point of a hypercube has.
        let strata: Vec<Vec<usize>> = (0..dimensions)
            .map(|_| {
                let mut order: Vec<usize> = (0..n).collect();
                rng.shuffle(&mut order);
                order
            })
            .collect();
        let stratum = |idx: usize, dimension: usize| strata[dimension][idx];
        let mut points: Vec<Point> = Vec::new();
        let mut seen = BTreeSet::new();
        for idx in 0..n {
            let found = (0..PATIENCE).find_map(|_| {
                let point = match self.sample {
                    Sample::Latin => {
                        self.latin((n, &|dimension| stratum(idx, dimension)), &mut rng)?
                    }
                    _ => self.dirichlet(&mut rng)?,
                };
                let new = !self.is_always(&point) && seen.insert(format!("{point:?}"));
                new.then_some(point)
            });
            points.push(found.ok_or_else(|| {
                Error::input(
                    source.place_of(&["space"]),
                    format!("{idx} of {n} points were found: in {PATIENCE} draws there was no other within the limits"),
                    "raise space.max_weight, lower space.min_weight, or draw fewer points",
                )
            })?);
        }
        Ok(points)
    }

    /// A mixture around the prior, with a strength of its own, and values of the other keys. `None`
    /// beyond the limits.
    fn dirichlet(&self, rng: &mut Rng) -> Option<Point> {
        let [low, high] = self.strength;
        let strength = low * (high / low).powf(rng.uniform());
        let parameters: Vec<f64> = self.around().iter().map(|prior| prior * strength).collect();
        let mixture = match parameters.is_empty() {
            true => None,
            false => Some(self.limited(&dirichlet(rng, &parameters))?),
        };
        let values = self
            .vary
            .values()
            .map(|vary| vary.at(rng.uniform()))
            .collect();
        Some((mixture, values))
    }

    /// The same with one number out of each stratum in every dimension: exponentials times the prior, which
    /// are even over the simplex where the prior is.
    fn latin(
        &self,
        (n, stratum): (usize, &dyn Fn(usize) -> usize),
        rng: &mut Rng,
    ) -> Option<Point> {
        let mut place = |dimension: usize| (stratum(dimension) as f64 + rng.uniform()) / n as f64;
        let around = self.around();
        let parts = around.iter().enumerate();
        let parts: Vec<f64> = parts
            .map(|(i, prior)| -prior * (-place(i)).ln_1p())
            .collect();
        let total: f64 = parts.iter().sum();
        let shares: Vec<f64> = parts.iter().map(|part| part / total).collect();
        let values = self.vary.values().enumerate();
        let values = values
            .map(|(i, vary)| vary.at(place(around.len() + i)))
            .collect();
        let mixture = match shares.is_empty() {
            true => None,
            false => Some(self.limited(&shares)?),
        };
        Some((mixture, values))
    }

    fn grid(&self, source: &Source) -> Result<Vec<Point>> {
        let k = self.corpora.len();
        let mut mixtures: Vec<Option<Vec<f64>>> = vec![None];
        if k > 0 {
            let parts = compositions(self.steps, k, MOST);
            let shares = parts.iter().map(|parts| {
                let shares: Vec<f64> = parts
                    .iter()
                    .map(|n| *n as f64 / self.steps as f64)
                    .collect();
                self.limited(&shares)
            });
            mixtures = shares.flatten().map(Some).collect();
        }
        let mut points: Vec<Point> = mixtures
            .into_iter()
            .map(|mixture| (mixture, Vec::new()))
            .collect();
        for vary in self.vary.values() {
            let Vary::Choice(values) = vary else { continue };
            let longer = |(mixture, before): &Point| {
                let (mixture, before) = (mixture.clone(), before.clone());
                values.iter().map(move |value| {
                    let values = before.iter().chain([value]).cloned().collect();
                    (mixture.clone(), values)
                })
            };
            points = points.iter().flat_map(longer).take(MOST + 1).collect();
        }
        points.retain(|point| !self.is_always(point));
        match points.len() {
            0 => Err(Error::input(
                source.place_of(&["space"]),
                format!("no mixture of {}ths is within the limits", self.steps),
                "raise space.max_weight or space.steps",
            )),
            n if n > MOST => Err(Error::input(
                source.place_of(&["space"]),
                format!("the grid has more than {MOST} points"),
                "lower space.steps, or sample = \"latin\"",
            )),
            _ => Ok(points),
        }
    }
}

impl Vary {
    /// The value at a place in [0, 1).
    fn at(&self, place: f64) -> toml::Value {
        match self {
            Self::Log { low, high } => {
                let value = low * (high / low).powf(place);
                // Four digits are what one would write.
                let text = format!("{value:.3e}");
                text.parse::<f64>().unwrap_or(value).into()
            }
            Self::Choice(values) => values[(place * values.len() as f64) as usize].clone(),
        }
    }
}

/// Puts a space's arms into a study that has written none. Errors when it has, or when the space is
/// wrong.
pub fn expand(source: &Source, proposal: &mut Proposal) -> Result<()> {
    let Some(space) = &proposal.space else {
        return Ok(());
    };
    if !proposal.arms.is_empty() {
        return Err(Error::input(
            source.place_of(&["arms"]),
            "the study has [space], which makes its arms, and [arms]",
            "leave [arms] out: even shares are the control, and every corpus alone is an arm",
        ));
    }
    proposal.arms = space.arms(source)?;
    Ok(())
}

/// Every way to share `n` whole parts among `k`, at most one more than `most` of them.
fn compositions(n: usize, k: usize, most: usize) -> Vec<Vec<usize>> {
    if k == 1 {
        return vec![vec![n]];
    }
    let rest = (0..=n).flat_map(|first| {
        compositions(n - first, k - 1, most)
            .into_iter()
            .map(move |mut rest| {
                rest.insert(0, first);
                rest
            })
    });
    rest.take(most + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_compositions_as_binomials_say() {
        assert_eq!(compositions(4, 3, 100).len(), 15);
        assert_eq!(compositions(4, 4, 10).len(), 11);
        let all = compositions(5, 4, 100);
        assert!(all.iter().all(|parts| parts.iter().sum::<usize>() == 5));
    }
}
