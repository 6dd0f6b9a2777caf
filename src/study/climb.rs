//! What a ladder's rungs say together: each arm's effect against the size of the model, how alike sizes
//! rank the arms, and how much may be claimed.

use super::{contract::Contract, ladder::Rung, verdict::Verdict};
use crate::{
    error::Result,
    laws::transfer::{self, Agreement, Claim, Transfer, agreement, transfer},
    stats::paired::Paired,
};
use serde::Serialize;

/// A rung that was judged.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    pub label: String,
    pub study: String,
    /// Of the control's model.
    pub parameters: u64,
    pub learning_rate: f64,
    pub seeds: Vec<u64>,
    pub exploratory: bool,
    pub arms: Vec<JudgedArm>,
}

/// An arm on a rung.
#[derive(Debug, Clone, Serialize)]
pub struct JudgedArm {
    pub arm: String,
    pub call: String,
    pub effect: Option<Paired>,
    /// By seed, of the pairs that both finished.
    pub differences: Vec<f64>,
    pub diverged: (usize, usize),
}

/// A whole ladder.
#[derive(Debug, Clone, Serialize)]
pub struct Climb {
    pub name: String,
    pub claim: String,
    pub unit: &'static str,
    pub rungs: Vec<Judged>,
    pub arms: Vec<ArmClimb>,
    /// Of sizes at one learning rate, where there are arms to rank.
    pub agreement: Vec<Agreement>,
    pub notes: Vec<String>,
}

/// One arm over all rungs.
#[derive(Debug, Clone, Serialize)]
pub struct ArmClimb {
    pub arm: String,
    /// The least that any learning rate allows.
    pub level: Claim,
    pub why: String,
    /// One for each learning rate.
    pub by_rate: Vec<RateClimb>,
}

/// One arm over the sizes at one learning rate.
#[derive(Debug, Clone, Serialize)]
pub struct RateClimb {
    pub learning_rate: f64,
    pub transfer: Transfer,
}

impl Judged {
    pub fn new(rung: &Rung, contract: &Contract, verdict: &Verdict) -> Self {
        let run = &contract.terms.arms[0].run;
        let arm = |arm: &super::verdict::ArmVerdict| JudgedArm {
            arm: arm.arm.clone(),
            call: arm.call.name().into(),
            effect: arm.effect,
            differences: arm
                .pairs
                .iter()
                .filter_map(|pair| pair.difference())
                .collect(),
            diverged: arm.diverged,
        };
        Self {
            label: rung.label.clone(),
            study: contract.id.clone(),
            parameters: run.model.n_params(run.vocab_size),
            learning_rate: run.optimizer.lr,
            seeds: contract.terms.seeds.clone(),
            exploratory: !contract.terms.exploratory.is_empty(),
            arms: verdict.arms.iter().map(arm).collect(),
        }
    }
}

/// Sums up judged rungs; claims are about a model of `target` parameters, or of the largest rung's.
/// Errors when a rung has no pair that finished.
pub fn climb(
    (name, claim, unit): (&str, &str, &'static str),
    rungs: Vec<Judged>,
    target: Option<f64>,
) -> Result<Climb> {
    let largest = rungs.iter().map(|rung| rung.parameters).max().unwrap_or(1);
    let target = target.unwrap_or(largest as f64);
    let mut rates: Vec<f64> = rungs.iter().map(|rung| rung.learning_rate).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    // Rungs that set the rate with the size are one ladder, whatever their rates.
    let sizes = rungs.iter().map(|rung| rung.parameters);
    let n_sizes = sizes.collect::<std::collections::BTreeSet<_>>().len();
    let together = rungs.len() == n_sizes;
    let at = |rate: f64| -> Vec<&Judged> {
        let same = rungs
            .iter()
            .filter(|rung| together || rung.learning_rate == rate);
        same.collect()
    };
    if together {
        rates.truncate(1);
    }
    let names = rungs
        .first()
        .map(|rung| rung.arms.iter().map(|arm| &arm.arm));
    let mut arms = Vec::new();
    for (idx, arm) in names.into_iter().flatten().enumerate() {
        let mut by_rate = Vec::new();
        for rate in &rates {
            let points: Vec<transfer::Rung> = at(*rate)
                .into_iter()
                .map(|rung| transfer::Rung {
                    size: rung.parameters as f64,
                    differences: rung.arms[idx].differences.clone(),
                    fresh: !rung.exploratory,
                })
                .collect();
            by_rate.push(RateClimb {
                learning_rate: *rate,
                transfer: transfer(&points, target, 0)?,
            });
        }
        let (level, why) = least(&by_rate);
        arms.push(ArmClimb {
            arm: arm.clone(),
            level,
            why,
            by_rate,
        });
    }
    let agreements = rates.iter().flat_map(|rate| {
        let means = at(*rate).into_iter().map(|rung| {
            let mean = |arm: &JudgedArm| {
                arm.differences.iter().sum::<f64>() / arm.differences.len().max(1) as f64
            };
            // The control, which differs from itself by nothing, is ranked too.
            let means = std::iter::once(0.0).chain(rung.arms.iter().map(mean));
            (rung.parameters as f64, means.collect())
        });
        agreement(&means.collect::<Vec<_>>())
    });
    let agreement = agreements.collect();
    Ok(Climb {
        name: name.into(),
        claim: claim.into(),
        unit,
        notes: notes(&rungs),
        arms,
        agreement,
        rungs,
    })
}

/// The least that any rate allows, and none at all where rates disagree about the sign.
fn least(by_rate: &[RateClimb]) -> (Claim, String) {
    let sign = |rate: &RateClimb| {
        let means = rate.transfer.rungs.iter().map(|rung| rung.mean);
        means.sum::<f64>() > 0.0
    };
    if by_rate.iter().any(|rate| sign(rate) != sign(&by_rate[0])) {
        let why = "learning rates disagree about the sign".to_string();
        return (Claim::Exploratory, why);
    }
    let found = by_rate.iter().min_by_key(|rate| rate.transfer.claim);
    found.map_or((Claim::Exploratory, String::new()), |rate| {
        let why = match by_rate.len() {
            1 => rate.transfer.why.clone(),
            _ => format!("at rate {}: {}", rate.learning_rate, rate.transfer.why),
        };
        (rate.transfer.claim, why)
    })
}

fn notes(rungs: &[Judged]) -> Vec<String> {
    let lost = |rung: &Judged| {
        let arms = rung.arms.iter().filter(|arm| arm.diverged != (0, 0));
        let words = arms.map(|arm| {
            let (control, own) = arm.diverged;
            format!(
                "{}: {own} trials of {} and {control} of the control diverged; their pairs are in no mean here",
                rung.label, arm.arm
            )
        });
        words.collect::<Vec<_>>()
    };
    rungs.iter().flat_map(lost).collect()
}

impl Climb {
    /// For a terminal.
    pub fn in_words(&self) -> String {
        let mut text = format!("ladder    {}\nclaim     {}\n", self.name, self.claim);
        for rung in &self.rungs {
            for arm in &rung.arms {
                let effect = arm.effect.map_or("no interval".into(), |e| {
                    format!("{:+.4} [{:+.4}, {:+.4}]", e.mean, e.low, e.high)
                });
                text += &format!(
                    "rung      {:<24} {:>10} parameters  {}: {effect} {}, {}\n",
                    rung.label, rung.parameters, arm.arm, self.unit, arm.call
                );
            }
        }
        for arm in &self.arms {
            text += &format!("level     {}: {}: {}\n", arm.arm, arm.level.name(), arm.why);
            for rate in &arm.by_rate {
                let Some(at) = rate.transfer.at_target else {
                    continue;
                };
                text += &format!(
                    "          at {:.3e} parameters {:+.4} [{:+.4}, {:+.4}] ({:.0}%), rate {}\n",
                    rate.transfer.target_size,
                    at.value,
                    at.low,
                    at.high,
                    100.0 * rate.transfer.confidence,
                    rate.learning_rate
                );
            }
        }
        for agreement in self.agreement.iter().filter(|a| a.arms > 2) {
            let (small, large) = agreement.sizes;
            let percent = agreement.same_order.map_or(0.0, |share| 100.0 * share);
            text += &format!(
                "ranks     {small:.3e} and {large:.3e} parameters put {percent:.0}% of pairs of arms in one order\n"
            );
        }
        for note in &self.notes {
            text += &format!("note      {note}\n");
        }
        text
    }
}
