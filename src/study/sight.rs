//! What a design can see: the smallest effect that its seeds tell from none, by the spread of earlier
//! trials. It plans and refuses; it never decides.

use super::{
    bank::Noise,
    ledger::Ledger,
    plan::Planned,
    proposal::{Direction, Prediction},
};
use crate::{
    error::{Error, Kind, Result},
    metrics::Metric,
    stats::{
        anytime::Anytime,
        chances::{self, Chances, Fixed},
        power, simultaneous_confidence,
        variance::Spread,
    },
};
use serde::Serialize;
use std::collections::BTreeMap;

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
    /// The chance of each verdict, under the predicted effect and under none, where σ is known.
    pub outlook: Vec<Outlook>,
}

/// What to expect if the true effect is this one, by either rule with as many seeds at most.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlook {
    /// Arm less control, in the metric's unit.
    pub effect: f64,
    pub predicted: bool,
    pub fixed: Chances,
    pub anytime: Chances,
}

/// A standard deviation and where it is from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sigma {
    pub value: f64,
    /// As low as it may well be, given so few values.
    pub lowest: f64,
    pub degrees_of_freedom: f64,
    /// Trials, or pairs, that it rests on.
    pub n: usize,
    pub from: &'static str,
}

/// The chance with which an effect of the smallest size is seen.
pub const POWER: f64 = 0.8;
/// Fewer values say too little of their spread.
const FEWEST: usize = 3;
/// More seeds are not proposed to anyone.
const MOST_SEEDS: usize = 1000;

/// What a study's seeds can see, by all trials that the ledger knows.
pub fn sight(planned: &Planned, ledger: &Ledger) -> Result<Sight> {
    let terms = &planned.contract.terms;
    let d = &terms.decision;
    // In a campaign, its level.
    let alpha = planned.contract.rule().alpha;
    let confidence = simultaneous_confidence(alpha, terms.arms.len() - 1);
    let seeds = d.seeds.most();
    let smallest_sd = power::smallest_effect(seeds, 1.0 - confidence, POWER);
    let sigma = sigma(planned, ledger)?;
    let outlook = sigma.as_ref().filter(|_| seeds >= 2).map(|sigma| {
        let spread = sigma.spread();
        let rule = (1.0 - confidence, d.margin, seeds);
        let predicted = terms.hypothesis.prediction.as_ref().map(signed);
        let effects = predicted.map(|effect| (effect, true));
        let none = (predicted != Some(0.0)).then_some((0.0, false));
        let effects = effects.into_iter().chain(none);
        effects
            .map(|effect| outlook(rule, effect, &spread))
            .collect()
    });
    Ok(Sight {
        confidence,
        smallest_sd,
        smallest: sigma.as_ref().map(|sigma| sigma.value * smallest_sd),
        sigma,
        margin: d.margin,
        outlook: outlook.unwrap_or_default(),
    })
}

/// A predicted effect with its sign: less is better.
fn signed(prediction: &Prediction) -> f64 {
    match prediction.direction {
        Direction::Better => -prediction.effect,
        Direction::Worse => prediction.effect,
        Direction::Equivalent => 0.0,
    }
}

fn outlook(
    (alpha, margin, n): (f64, f64, usize),
    (effect, predicted): (f64, bool),
    spread: &Spread,
) -> Outlook {
    Outlook {
        effect,
        predicted,
        fixed: chances::fixed(&Fixed { n, alpha, margin }, effect, spread),
        anytime: chances::anytime(&Anytime::new(alpha, margin), n, effect, spread),
    }
}

/// The spread of paired differences: of this study's own pairs where there are enough, else that of
/// seeds of one design, else that of like trials in the noise bank, the last two as if arms were
/// independent.
fn sigma(planned: &Planned, ledger: &Ledger) -> Result<Option<Sigma>> {
    let metric = planned.contract.terms.decision.metric;
    let values: Vec<BTreeMap<u64, f64>> = planned
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
    let widest = |samples: Vec<Vec<f64>>| -> Option<Spread> {
        let spreads = samples.iter().filter(|sample| sample.len() >= FEWEST);
        let spreads = spreads.filter_map(|sample| Spread::of(sample));
        let spreads = spreads.filter(|spread| spread.sd > 0.0);
        spreads.max_by(|a, b| a.sd.total_cmp(&b.sd))
    };
    if let Some(found) = widest(values[1..].iter().map(differences).collect()) {
        return Ok(Some(Sigma::new(found, "pairs of these arms")));
    }
    let independent = |spread: Spread| spread.scaled(std::f64::consts::SQRT_2);
    let alone = values
        .iter()
        .map(|of_arm| of_arm.values().copied().collect());
    if let Some(found) = widest(alone.collect()) {
        return Ok(Some(Sigma::new(independent(found), "seeds of one arm")));
    }
    let like = Noise::like(&ledger.bank(metric)?, &planned.trials[0][0]);
    Ok(like.map(|noise| {
        let from = "trials like these in the noise bank";
        Sigma::new(independent(noise.spread()), from)
    }))
}

impl Sigma {
    fn new(spread: Spread, from: &'static str) -> Self {
        let n = spread.df as usize + 1;
        Self {
            value: spread.sd,
            lowest: power::lowest_sd(spread.sd, n),
            degrees_of_freedom: spread.df,
            n,
            from,
        }
    }

    fn spread(&self) -> Spread {
        Spread {
            sd: self.value,
            df: self.degrees_of_freedom,
        }
    }
}

impl Sight {
    /// Errors (refused, status 3) when the design is blind: even at the lowest likely spread it could
    /// not see an effect as large as its own margin. `seeds` is the most that it may use.
    pub fn check(&self, study: &str, seeds: usize, metric: Metric) -> Result<()> {
        match self.blind(seeds, metric) {
            None => Ok(()),
            Some(problem) => Err(Error::new(Kind::Refused, study, problem, self.remedy())),
        }
    }

    /// Why the design is blind, if it is.
    pub fn blind(&self, seeds: usize, metric: Metric) -> Option<String> {
        let sigma = self.sigma.as_ref()?;
        // A few values say little of their spread: only what is blind at its lowest is refused.
        let smallest = sigma.lowest * self.smallest_sd;
        (smallest > self.margin).then(|| {
            format!(
                "blind: {seeds} seeds see an effect of {smallest:.4} {} at best with chance {POWER} (σ is {:.4}, or {:.4} at its lowest, from {} {}), the margin is {}",
                metric.unit(),
                sigma.value,
                sigma.lowest,
                sigma.n,
                sigma.from,
                self.margin
            )
        })
    }

    /// What would be enough.
    fn remedy(&self) -> String {
        let Some(sigma) = &self.sigma else {
            return "use more seeds".into();
        };
        let level = 1.0 - self.confidence;
        let wanted = power::pairs_needed(self.margin / sigma.value, level, POWER, MOST_SEEDS);
        let seeds = match wanted {
            Some(n) => format!("use {n} seeds, or "),
            None => String::new(),
        };
        format!(
            "{seeds}raise decision.margin to {:.4} or more; --exploratory runs it as it is, and its verdict says so for good",
            sigma.value * self.smallest_sd
        )
    }
}
