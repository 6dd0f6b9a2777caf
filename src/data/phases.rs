//! Mixtures that change while a run goes on: phases as they are written, and the stretches of steps
//! that they mean.
//!
//! `data.mixture` holds until the first phase. A phase begins at a step; its weights hold from there
//! on, or are reached in a straight line over so many steps. Steps, straight lines and a last phase
//! of other data ("midtraining") are all of this form.

use super::{DataConfig, Share, mixture::normalised};
use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One entry of `data.phases`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Where it begins, as a fraction of all steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<f64>,
    /// The same in steps, counted from 0: the first step that is drawn otherwise. A phase has one of
    /// the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_step: Option<u64>,
    /// Over how many steps its weights are reached from those before, as a fraction of all steps;
    /// at once unless written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<f64>,
    /// The same in steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_steps: Option<u64>,
    /// Its weights.
    pub mixture: Vec<Share>,
}

/// Steps whose weights stay, or move in a straight line. Each step has the weights of its middle.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    pub first: u64,
    /// The step after its last.
    pub end: u64,
    /// Weights of each entry of the mixture where it begins, summing to 1.
    pub from: Vec<f64>,
    /// Where it ends.
    pub to: Vec<f64>,
}

impl Stretch {
    pub fn is_ramp(&self) -> bool {
        self.from != self.to
    }

    /// How far along its line a step's weights are, 0 to 1.
    pub fn done(&self, step: u64) -> f64 {
        (step.saturating_sub(self.first) as f64 + 0.5) / (self.end - self.first).max(1) as f64
    }

    /// An entry's weights over the steps before `step`, added up.
    pub fn weight_before(&self, idx: usize, step: u64) -> f64 {
        let n = step.clamp(self.first, self.end) - self.first;
        let slope = (self.to[idx] - self.from[idx]) / (self.end - self.first).max(1) as f64;
        n as f64 * self.from[idx] + slope * (n as f64) * (n as f64) / 2.0
    }

    /// The mean weight of an entry.
    pub fn mean(&self, idx: usize) -> f64 {
        0.5 * (self.from[idx] + self.to[idx])
    }
}

impl DataConfig {
    /// Every entry as it is written: the mixture's, then the phases'.
    pub fn entries(&self) -> impl Iterator<Item = &Share> {
        let phases = self.phases.iter().flat_map(|phase| &phase.mixture);
        self.mixture.iter().chain(phases)
    }

    /// What is drawn from at some step: each entry once, where its name first stands.
    pub fn trained(&self) -> Vec<&Share> {
        let mut trained: Vec<&Share> = Vec::new();
        for share in self.entries().filter(|share| share.weight > 0.0) {
            let first = self.entries().find(|other| other.name() == share.name());
            if trained.iter().all(|known| known.name() != share.name()) {
                trained.push(first.unwrap_or(share));
            }
        }
        trained
    }

    /// Whether weights are as written, for the whole run, without caps.
    pub fn is_plain(&self) -> bool {
        self.phases.is_empty() && self.weighting.is_given() && !self.is_capped()
    }

    /// Whether a corpus may give only so much.
    pub fn is_capped(&self) -> bool {
        self.mixture.iter().any(Share::is_capped)
    }

    /// The same for a run of `steps` steps: weights normalised, entries in order of name, phases at
    /// steps; what only phases name is in the mixture with weight 0. Errors, with the recipe's key as
    /// the place, when weights can't be meant or phases don't follow each other within the run.
    pub fn resolved(&self, steps: u64) -> Result<Self> {
        let mut data = self.clone();
        data.mixture = normalised("data.mixture", &self.mixture)?;
        data.phases.clear();
        let mut before = (0, 0);
        for (idx, phase) in self.phases.iter().enumerate() {
            let at = |e: Error| in_phase(idx, e.problem, e.remedy);
            let (first, end) = phase.steps(idx, steps, before)?;
            before = (first, end);
            let mut shares = normalised("data.phases", &phase.mixture).map_err(at)?;
            for share in &mut shares {
                join(&mut data.mixture, share).map_err(at)?;
            }
            shares.retain(|share| share.weight > 0.0);
            shares.sort_by(|a, b| a.name().cmp(b.name()));
            data.phases.push(Phase {
                at_step: Some(first),
                over_steps: (end > first).then_some(end - first),
                mixture: shares,
                ..Default::default()
            });
        }
        data.mixture.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(data)
    }

    /// The stretches of a resolved run of `steps` steps, none of them empty.
    pub fn stretches(&self, steps: u64) -> Vec<Stretch> {
        let mut now: Vec<f64> = self.mixture.iter().map(|share| share.weight).collect();
        let (mut stretches, mut at) = (Vec::new(), 0);
        for phase in &self.phases {
            let to = self.weights_of(phase);
            let first = phase.at_step.unwrap_or(0);
            let end = first + phase.over_steps.unwrap_or(0);
            let held = (at, first, now.clone(), now.clone());
            for (first, end, from, to) in [held, (first, end, now, to.clone())] {
                if end > first {
                    stretches.push(Stretch {
                        first,
                        end,
                        from,
                        to,
                    });
                }
            }
            (now, at) = (to, end);
        }
        if steps > at || stretches.is_empty() {
            stretches.push(Stretch {
                first: at,
                end: steps.max(at),
                from: now.clone(),
                to: now,
            });
        }
        stretches
    }

    /// A phase's weights of the mixture's entries, in their order.
    pub fn weights_of(&self, phase: &Phase) -> Vec<f64> {
        let of = |name: &str| phase.mixture.iter().find(|share| share.name() == name);
        let weight = |share: &Share| of(share.name()).map_or(0.0, |share| share.weight);
        self.mixture.iter().map(weight).collect()
    }
}

impl Phase {
    /// Its first step and the one where its weights are reached, in a run of `steps`; `before` are
    /// those of the phase before.
    fn steps(&self, idx: usize, steps: u64, before: (u64, u64)) -> Result<(u64, u64)> {
        let wrong = |problem: String, remedy: &str| Err(in_phase(idx, problem, remedy));
        let in_steps = |fraction: f64| (fraction * steps as f64).round() as u64;
        for (key, fraction) in [("at", self.at), ("over", self.over)] {
            if let Some(x) = fraction.filter(|x| !(0.0..=1.0).contains(x)) {
                let remedy = format!("use a fraction of all steps, 0 to 1, or {key}_step");
                let remedy = remedy.replace("over_step", "over_steps");
                return wrong(format!("{key} is {x}: out of range"), &remedy);
            }
        }
        let first = match (self.at, self.at_step) {
            (Some(fraction), None) => in_steps(fraction),
            (None, Some(step)) => step,
            (at, _) => {
                let words = if at.is_some() { "both" } else { "neither" };
                let remedy = "give exactly one: at = 0.8 is four fifths through, at_step = 480 is step 480, counted from 0";
                return wrong(format!("sets {words} of at and at_step"), remedy);
            }
        };
        let over = match (self.over, self.over_steps) {
            (Some(_), Some(_)) => {
                return wrong("sets both over and over_steps".into(), "give one of them");
            }
            (fraction, over_steps) => over_steps.or(fraction.map(in_steps)).unwrap_or(0),
        };
        // More than any run has, not more than can be counted.
        let end = first.saturating_add(over);
        if end > steps || first >= steps {
            let what = match over {
                0 => format!("begins at step {first}"),
                _ => format!("goes from step {first} to {end}"),
            };
            return wrong(
                format!(
                    "{what}, beyond the run, whose {steps} steps are 0 to {}",
                    steps - 1
                ),
                "begin it earlier, or raise the budget",
            );
        }
        if idx > 0 && (first < before.1 || end == before.0) {
            return wrong(
                format!(
                    "begins at step {first}, and the phase before it is reached at step {}",
                    before.1
                ),
                "write phases in the order of their steps, each beginning after the one before is reached",
            );
        }
        if end == 0 {
            return wrong(
                "begins at step 0, so that nothing is drawn by data.mixture".into(),
                "write its weights as data.mixture, or begin it later",
            );
        }
        Ok((first, end))
    }
}

/// An error about one phase: they are numbered from 1.
fn in_phase(idx: usize, problem: String, remedy: impl Into<String>) -> Error {
    Error::input(
        "data.phases",
        format!("phase {}: {problem}", idx + 1),
        remedy,
    )
}

/// Makes a phase's entry one of the mixture's, where all but its weight is said. Errors when it says
/// something else of a corpus than an earlier entry of the same name.
fn join(mixture: &mut Vec<Share>, share: &mut Share) -> Result<()> {
    let bare = Share {
        domain: share.domain.clone(),
        ..Share::of(&share.corpus, share.weight)
    };
    match mixture.iter().find(|known| known.name() == share.name()) {
        None => mixture.push(Share {
            weight: 0.0,
            ..share.clone()
        }),
        Some(known) => {
            let differs = known.corpus != share.corpus
                || share.subset.is_some() && share.subset != known.subset
                || share.max_epochs.is_some() && share.max_epochs != known.max_epochs
                || share.max_tokens.is_some() && share.max_tokens != known.max_tokens;
            if differs {
                return Err(Error::input(
                    "data.phases",
                    format!(
                        "\"{}\" is another corpus, subset or cap than where it is first named",
                        share.name()
                    ),
                    "say subset and caps, which are a whole run's, once; or give the entry a domain of its own",
                ));
            }
        }
    }
    *share = bare;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(phases: &str) -> DataConfig {
        let text = format!(
            "tokenizer = \"byte\"\nmixture = [{{ corpus = \"b\", weight = 3 }}, {{ corpus = \"a\" }}]\nphases = {phases}"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn phases_become_stretches_at_their_exact_steps() {
        let phases = r#"[
            { at = 0.5, mixture = [{ corpus = "c" }] },
            { at_step = 70, over = 0.2, mixture = [{ corpus = "a" }, { corpus = "c" }] }]"#;
        let data = data(phases).resolved(100).unwrap();
        let names: Vec<&str> = data.mixture.iter().map(Share::name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let stretches = data.stretches(100);
        let edges: Vec<(u64, u64)> = stretches.iter().map(|s| (s.first, s.end)).collect();
        assert_eq!(edges, [(0, 50), (50, 70), (70, 90), (90, 100)]);
        assert_eq!(stretches[0].from, [0.25, 0.75, 0.0]);
        assert_eq!(stretches[1].from, [0.0, 0.0, 1.0]);
        let ramp = &stretches[2];
        assert!(ramp.is_ramp() && ramp.to == [0.5, 0.0, 0.5]);
        assert_eq!((ramp.done(70), ramp.done(89)), (0.025, 0.975));
        // What a step is given, added up.
        let of_step = |step| ramp.from[0] + ramp.done(step) * (ramp.to[0] - ramp.from[0]);
        let sum: f64 = (70..83).map(of_step).sum();
        assert!((ramp.weight_before(0, 83) - sum).abs() < 1e-12);
        assert!((ramp.weight_before(0, 200) - 20.0 * ramp.mean(0)).abs() < 1e-12);
    }

    #[test]
    fn a_resolved_mixture_resolves_to_itself() {
        let phases = r#"[{ at = 0.25, over = 0.5, mixture = [{ corpus = "c", weight = 5, max_epochs = 2.0 }] }]"#;
        let data = data(phases).resolved(80).unwrap();
        assert_eq!(data.resolved(80).unwrap(), data);
        let text = toml::to_string(&data).unwrap();
        assert_eq!(toml::from_str::<DataConfig>(&text).unwrap(), data);
    }

    #[test]
    fn a_whole_run_in_one_line_has_one_stretch() {
        let phases = r#"[{ at = 0.0, over = 1.0, mixture = [{ corpus = "a" }] }]"#;
        let stretches = data(phases).resolved(10).unwrap().stretches(10);
        assert_eq!(stretches.len(), 1);
        assert!((stretches[0].weight_before(0, 10) - 6.25).abs() < 1e-12);
    }
}
