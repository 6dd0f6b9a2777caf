//! What a study's arms say about mixtures: its runs as laws read them, from contract and outcomes.

use super::{
    contract::{ArmTerms, Contract},
    space::HELD_BACK,
};
use crate::{
    error::{Error, Result},
    laws::runs::Runs,
    metrics::{CorpusEval, Metric, Outcome},
};
use std::collections::BTreeSet;

/// Runs that a law may be fitted to, and runs that it is tested on.
#[derive(Debug, Clone, PartialEq)]
pub struct Swarm {
    pub fitted: Runs,
    pub held_back: Runs,
    /// What of each target makes the metric that the study is judged by; they add up to 1.
    pub weights: Vec<f64>,
    pub metric: Metric,
    /// Arms that diverged, which no law can be fitted to.
    pub diverged: Vec<String>,
    /// Arms beyond the limits of the study's space, which are there to be compared with.
    pub outside: Vec<String>,
}

/// The swarm of a study whose arms differ in their mixtures: every arm one run, the mean over its
/// seeds; a target for every corpus that is evaluated. Errors when the arms do not differ in mixtures, or
/// outcomes are missing.
pub fn swarm(contract: &Contract, outcomes: &[Vec<Outcome>]) -> Result<Swarm> {
    let terms = &contract.terms;
    let place = || format!("study \"{}\"", contract.id);
    let names: BTreeSet<&str> = terms
        .arms
        .iter()
        .flat_map(|arm| arm.run.data.mixture.iter().map(crate::data::Share::name))
        .collect();
    let domains: Vec<String> = names.into_iter().map(String::from).collect();
    if domains.len() < 2 {
        return Err(Error::input(
            place(),
            format!("its arms train on {} alone", domains.join(", ")),
            "give a study whose arms mix two corpora or more",
        ));
    }
    let eval = &terms.arms[0].run.eval.corpora;
    let metric = terms.decision.metric;
    let (mut fitted, mut held_back) = (Rows::default(), Rows::default());
    let (mut diverged, mut outside) = (Vec::new(), Vec::new());
    for (arm, outcomes) in terms.arms.iter().zip(outcomes) {
        let losses: Option<Vec<f64>> = eval
            .iter()
            .map(|share| mean(outcomes, &share.corpus, metric))
            .collect();
        let Some(losses) = losses else {
            diverged.push(arm.name.clone());
            continue;
        };
        let of = |corpus: &str| {
            let shares = arm.run.data.mixture.iter();
            let found = shares.filter(|share| share.name() == corpus);
            found.map(|share| share.weight).sum()
        };
        if terms.space.as_ref().is_some_and(|space| !space.allows(of)) {
            outside.push(arm.name.clone());
            continue;
        }
        let rows = match arm.name.starts_with(HELD_BACK) && terms.space.is_some() {
            true => &mut held_back,
            false => &mut fitted,
        };
        rows.mixtures.push(weights(arm, &domains));
        rows.losses.push(losses);
    }
    let targets: Vec<String> = eval.iter().map(|share| share.corpus.clone()).collect();
    let runs = |rows: Rows| Runs::new(domains.clone(), rows.mixtures, targets.clone(), rows.losses);
    Ok(Swarm {
        fitted: runs(fitted)?,
        held_back: runs(held_back)?,
        weights: eval.iter().map(|share| share.weight).collect(),
        metric,
        diverged,
        outside,
    })
}

#[derive(Default)]
struct Rows {
    mixtures: Vec<Vec<f64>>,
    losses: Vec<Vec<f64>>,
}

/// The arm's share of each domain.
fn weights(arm: &ArmTerms, domains: &[String]) -> Vec<f64> {
    let weight = |domain: &String| {
        let share = arm
            .run
            .data
            .mixture
            .iter()
            .find(|share| share.name() == domain);
        share.map_or(0.0, |share| share.weight)
    };
    domains.iter().map(weight).collect()
}

/// Over an arm's seeds; `None` where one diverged.
fn mean(outcomes: &[Outcome], corpus: &str, metric: Metric) -> Option<f64> {
    let of = |eval: &CorpusEval| match metric {
        Metric::Bpb => eval.bpb,
        Metric::Loss => eval.loss,
    };
    let values = outcomes
        .iter()
        .map(|outcome| Some(of(outcome.eval()?.val.get(corpus)?)));
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
