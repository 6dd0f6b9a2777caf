//! The plan: a study resolved to trials, with what they cost and the smallest effect that they can
//! see. A study that is over its limits, or blind, is refused before anything is frozen.

use super::{
    arms::Arm,
    contract::{ArmTerms, Contract, StudyDir, Terms},
    forecast::Forecast,
    ledger::Ledger,
    proposal::Study,
};
use crate::{
    data::TokenizerChoice,
    digest::sha256_json,
    error::{Error, Kind, Result},
    metrics::Cost,
    recipe::Budget,
    session::{Session, Trial},
    stats::{paired::paired, power, simultaneous_confidence},
    train::windows_digest,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// A study made ready: the contract to freeze, its trials opened, and the forecast.
pub struct Planned {
    pub contract: Contract,
    /// By arm, then seed, as in the contract.
    pub trials: Vec<Vec<Trial>>,
}

/// What a design can see.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sight {
    /// Of each interval.
    pub confidence: f64,
    /// Seen with chance 0.8, in standard deviations of the paired differences.
    pub smallest_sd: f64,
    /// Standard deviation of the paired differences, when finished trials tell.
    pub sigma: Option<Sigma>,
    /// Seen with chance 0.8, in the metric's unit.
    pub smallest: Option<f64>,
    pub margin: f64,
}

/// A standard deviation and where it is from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sigma {
    pub value: f64,
    /// As low as it may well be, given so few values.
    pub lowest: f64,
    /// Trials, or pairs, that it rests on.
    pub n: usize,
    pub from: &'static str,
}

/// The chance with which an effect of the smallest size is seen.
pub const POWER: f64 = 0.8;
/// Fewer values say too little of their spread.
const FEWEST: usize = 3;

/// Resolves a study to trials on a session's device. Opens corpora, trains nothing (but a few steps
/// when the budget is in seconds, which become tokens for every arm alike).
pub fn plan(session: &Session, study: &Study) -> Result<Planned> {
    let mut study = study.clone();
    for arm in &study.arms {
        session
            .check_names(&arm.recipe)
            .map_err(|e| in_study(&study, arm, e))?;
    }
    let written = written(session, &study)?;
    if study
        .arms
        .iter()
        .any(|arm| arm.recipe.budget.seconds.is_some())
    {
        let tokens = match frozen_tokens(session, &study)? {
            Some(tokens) => tokens,
            None => {
                let control = study.control();
                let trial = session.resolve(&control.recipe);
                let trial = trial.map_err(|e| in_study(&study, control, e))?;
                trial.run.tokens()
            }
        };
        for arm in &mut study.arms {
            arm.recipe.budget = Budget {
                tokens: Some(tokens),
                ..Default::default()
            };
        }
    }
    let seeds = study.seeds();
    let mut trials: Vec<Vec<Trial>> = Vec::new();
    let mut arms: Vec<ArmTerms> = Vec::new();
    for arm in &study.arms {
        let first = session
            .resolve(&arm.recipe)
            .map_err(|e| in_study(&study, arm, e))?;
        let of_seeds = seeds
            .iter()
            .map(|seed| session.with_seed(&first, *seed))
            .collect::<Result<Vec<_>>>()?;
        let tokens = first.run.tokens();
        arms.push(ArmTerms {
            name: arm.name.clone(),
            factor: arm.factor.clone(),
            changes: arm.changes.clone(),
            tokens,
            flops: tokens as f64 * first.run.model.flops_per_token(first.run.vocab_size),
            trials: of_seeds.iter().map(|trial| trial.id.clone()).collect(),
            run: first.run,
        });
        trials.push(of_seeds);
    }
    let windows: Vec<String> = trials
        .iter()
        .map(|of_arm| windows_digest(&of_arm[0].data.windows))
        .collect();
    comparable(&study, &arms, &windows)?;
    let contract = Contract::new(Terms {
        name: study.proposal.name.clone(),
        proposer: study.proposal.proposer.clone(),
        written,
        hypothesis: study.proposal.hypothesis.clone(),
        decision: study.proposal.decision.clone(),
        limits: study.proposal.limits.clone(),
        device: session.compute.class.clone(),
        numerics: env!("WINDTUNNEL_NUMERICS").into(),
        windows: windows[0].clone(),
        seeds,
        arms,
    });
    Ok(Planned { contract, trials })
}

/// Digest of study and recipe as they were written, wherever a tokenizer's file is.
fn written(session: &Session, study: &Study) -> Result<String> {
    let mut recipe = study.control().recipe.clone();
    if let TokenizerChoice::File(_) = recipe.data.tokenizer {
        recipe.data.tokenizer = session.tokenizer(&recipe)?.resolved();
    }
    Ok(sha256_json(&(&study.proposal, &recipe)))
}

/// Contracts of this study, as it is written, that were frozen before, whatever the threads; and what
/// is wrong with those that can't be read, of whatever study.
pub fn frozen(session: &Session, study: &Study) -> Result<Vec<Result<Contract>>> {
    for arm in &study.arms {
        session
            .check_names(&arm.recipe)
            .map_err(|e| in_study(study, arm, e))?;
    }
    let written = written(session, study)?;
    let home = &session.home;
    let read = |id: &String| StudyDir::find(home, id)?.contract();
    let all = StudyDir::all(home);
    let is_it = |found: &Result<Contract>| {
        let found = found.as_ref();
        found.map_or(true, |contract| contract.terms.written == written)
    };
    Ok(all.iter().map(read).filter(is_it).collect())
}

/// Tokens of a study with this text that was frozen before: seconds are converted once.
fn frozen_tokens(session: &Session, study: &Study) -> Result<Option<u64>> {
    let frozen = frozen(session, study)?;
    let frozen = frozen.into_iter().collect::<Result<Vec<_>>>()?;
    let first = frozen.iter().find_map(|c| c.terms.arms.first());
    Ok(first.map(|arm| arm.tokens))
}

/// An error about an arm's recipe, with the arm that it is about and the place that set the key.
fn in_study(study: &Study, arm: &Arm, error: Error) -> Error {
    let located = arm.places.locate(error.clone());
    Error {
        place: match located.place == error.place {
            true => format!("{}: {}", study.place_of_arm(&arm.name), error.place),
            false => located.place,
        },
        problem: format!("arms.{}: {}", arm.name, located.problem),
        remedy: located.remedy,
        ..error
    }
}

fn comparable(study: &Study, arms: &[ArmTerms], windows: &[String]) -> Result<()> {
    let cost = |arm: &ArmTerms| Cost {
        tokens: arm.tokens,
        flops: arm.flops,
        ..Default::default()
    };
    for (arm, digest) in arms.iter().zip(windows).skip(1) {
        let matched = study.proposal.decision.matched;
        let differs = match matched.differs(&cost(&arms[0]), &cost(arm)) {
            Some(what) => Some(format!("would train on {what}")),
            None if *digest != windows[0] => Some("would read other validation windows".into()),
            None => None,
        };
        if let Some(what) = differs {
            return Err(Error::input(
                study.place_of_arm(&arm.name),
                format!("arms.{} {what}", arm.name),
                "make the arms spend and read alike; a whole number of steps of every arm must make the budget",
            ));
        }
    }
    Ok(())
}

impl Planned {
    /// Every trial once, pairs together: seed by seed, the control first.
    pub fn distinct(&self) -> Vec<&Trial> {
        let mut trials: Vec<&Trial> = Vec::new();
        for seed_idx in 0..self.contract.terms.seeds.len() {
            for of_arm in &self.trials {
                let trial = &of_arm[seed_idx];
                if trials.iter().all(|known| known.id != trial.id) {
                    trials.push(trial);
                }
            }
        }
        trials
    }

    pub(super) fn sight(&self, ledger: &Ledger) -> Result<Sight> {
        let terms = &self.contract.terms;
        let d = &terms.decision;
        let confidence = simultaneous_confidence(d.alpha, terms.arms.len() - 1);
        let smallest_sd = power::smallest_effect(d.seeds, 1.0 - confidence, POWER);
        let sigma = self.sigma(ledger)?;
        Ok(Sight {
            confidence,
            smallest_sd,
            smallest: sigma.as_ref().map(|sigma| sigma.value * smallest_sd),
            sigma,
            margin: d.margin,
        })
    }

    /// The spread of paired differences: of this study's own pairs where there are enough, else
    /// that of seeds of one design, as if arms were independent. For planning only.
    fn sigma(&self, ledger: &Ledger) -> Result<Option<Sigma>> {
        let metric = self.contract.terms.decision.metric;
        let values: Vec<BTreeMap<u64, f64>> = self
            .trials
            .iter()
            .map(|of_arm| ledger.values(of_arm[0].design.as_str(), metric))
            .collect::<Result<_>>()?;
        let differences = |arm: &BTreeMap<u64, f64>| -> Vec<f64> {
            let shared = arm
                .iter()
                .filter_map(|(seed, a)| Some(a - values[0].get(seed)?));
            shared.collect()
        };
        let widest = |samples: Vec<Vec<f64>>| -> Option<(f64, usize)> {
            samples
                .iter()
                .filter(|sample| sample.len() >= FEWEST)
                .filter_map(|sample| Some((paired(sample, 0.95)?.sd, sample.len())))
                .filter(|(sd, _)| *sd > 0.0)
                .max_by(|a, b| a.0.total_cmp(&b.0))
        };
        let sigma = |(value, n): (f64, usize), from: &'static str| Sigma {
            value,
            lowest: power::lowest_sd(value, n),
            n,
            from,
        };
        if let Some(found) = widest(values[1..].iter().map(differences).collect()) {
            return Ok(Some(sigma(found, "pairs of these arms")));
        }
        let alone = values
            .iter()
            .map(|of_arm| of_arm.values().copied().collect());
        let found = widest(alone.collect());
        Ok(found.map(|(sd, n)| sigma((sd * std::f64::consts::SQRT_2, n), "seeds of one arm")))
    }
}

impl Forecast {
    /// Errors (refused, status 3) when the design could not see an effect as large as its own margin.
    pub(super) fn check_sight(&self) -> Result<()> {
        let sight = &self.sight;
        let Some(sigma) = &sight.sigma else {
            return Ok(());
        };
        // A few values say little of their spread: only what is blind at its lowest is refused.
        let smallest = sigma.lowest * sight.smallest_sd;
        if smallest <= sight.margin {
            return Ok(());
        }
        let level = 1.0 - sight.confidence;
        let wanted = power::pairs_needed(sight.margin / sigma.value, level, POWER, 1000);
        let seeds = match wanted {
            Some(n) => format!("use {n} seeds, or "),
            None => String::new(),
        };
        Err(Error::new(
            Kind::Refused,
            self.study.clone(),
            format!(
                "blind: {} seeds see an effect of {smallest:.4} {} at best with chance 0.8 (σ is {:.4}, or {:.4} at its lowest, from {} {}), the margin is {}",
                self.seeds,
                self.metric.unit(),
                sigma.value,
                sigma.lowest,
                sigma.n,
                sigma.from,
                sight.margin
            ),
            format!(
                "{seeds}raise decision.margin to {:.4} or more",
                sigma.value * sight.smallest_sd
            ),
        ))
    }
}
