//! What a run is going to draw, before it does: weights from sizes, caps kept, tokens and epochs of
//! each corpus by stretches of steps.

use super::{
    DataConfig, Weighting,
    apportion::{fill, fitted, whole_rows},
    mixture::in_grains,
    phases::Stretch,
};
use crate::error::{Error, Result};
use serde::Serialize;

/// What there is to draw from, and how much a run draws.
#[derive(Debug, Clone)]
pub struct Room {
    /// Of each entry of the mixture.
    pub tokens: Vec<u64>,
    pub block_size: usize,
    /// A step's.
    pub rows: usize,
    pub steps: u64,
}

/// Rows by which a stretch without limits may miss its weights, and more: measured, they are below 6
/// where weights stay.
const SLACK_ROWS: f64 = 16.0;
/// A corpus that comes this near to its cap is drawn by whole numbers of rows.
const NEAR: f64 = 0.95;

impl Room {
    /// Rows that the caps of a resolved mixture allow; `u64::MAX` where there is none.
    pub fn caps(&self, data: &DataConfig) -> Vec<u64> {
        let entries = data.mixture.iter().zip(&self.tokens);
        entries
            .map(|(share, tokens)| share.most_rows(*tokens, self.block_size))
            .collect()
    }

    /// The rows that each corpus may have given at the end of each stretch: exactly what its weights
    /// say where a cap is near, else its cap; nothing where there are no caps.
    pub fn limits(&self, stretches: &[Stretch], caps: &[u64]) -> Vec<Vec<u64>> {
        if caps.iter().all(|cap| *cap == u64::MAX) {
            return vec![Vec::new(); stretches.len()];
        }
        let rows_of = |stretch: &Stretch| (stretch.end - stretch.first) * self.rows as u64;
        let rows: Vec<u64> = stretches.iter().map(rows_of).collect();
        let wanted: Vec<Vec<f64>> = stretches
            .iter()
            .zip(&rows)
            .map(|(s, rows)| (0..caps.len()).map(|i| s.mean(i) * *rows as f64).collect())
            .collect();
        let slack = SLACK_ROWS * stretches.len() as f64;
        let near = |idx: usize| {
            let all: f64 = wanted.iter().map(|of| of[idx]).sum();
            caps[idx] < u64::MAX && all > 0.0 && all + slack > NEAR * caps[idx] as f64
        };
        if !(0..caps.len()).any(near) {
            return vec![caps.to_vec(); stretches.len()];
        }
        let allowed: Vec<Vec<bool>> = stretches
            .iter()
            .map(|s| (0..caps.len()).map(|i| s.mean(i) > 0.0).collect())
            .collect();
        let mut sum = vec![0; caps.len()];
        let mut limits = Vec::new();
        for given in whole_rows(&wanted, &rows, &allowed, caps) {
            sum.iter_mut().zip(given).for_each(|(sum, n)| *sum += n);
            limits.push(sum.clone());
        }
        limits
    }

    /// Twice the rows that are drawn by each set of weights, the mixture's first, then each phase's:
    /// a step on the line between two is half by either.
    fn doubled_rows(&self, data: &DataConfig) -> Vec<u64> {
        let mut doubled = vec![0];
        let mut reached = 0;
        for phase in &data.phases {
            let first = phase.at_step.unwrap_or(0);
            let over = phase.over_steps.unwrap_or(0);
            if let Some(last) = doubled.last_mut() {
                *last += 2 * (first - reached) + over;
            }
            doubled.push(over);
            reached = first + over;
        }
        if let Some(last) = doubled.last_mut() {
            *last += 2 * (self.steps - reached);
        }
        doubled.iter().map(|n| n * self.rows as u64).collect()
    }

    fn all_tokens(&self) -> u64 {
        self.steps * (self.rows * self.block_size) as u64
    }
}

impl DataConfig {
    /// A resolved mixture with its weights as plain numbers: from sizes where the weighting says so,
    /// and such that caps are kept. Errors, with the recipe's key as the place, when they can't be.
    pub fn weighed(&self, room: &Room) -> Result<Self> {
        if self.weighting.is_given() && !self.is_capped() {
            return Ok(self.clone());
        }
        let mut data = self.clone();
        let phases = self.phases.iter().map(|phase| self.weights_of(phase));
        let own: Vec<f64> = self.mixture.iter().map(|share| share.weight).collect();
        let mut weights: Vec<Vec<f64>> = std::iter::once(own).chain(phases).collect();
        let sizes: Vec<f64> = room.tokens.iter().map(|n| *n as f64).collect();
        let from_sizes = match self.weighting {
            // Even weights with caps are UniMax's.
            Weighting::UnimaxEpochs(epochs) => {
                for share in &mut data.mixture {
                    share.max_epochs = Some(share.max_epochs.map_or(epochs, |n| n.min(epochs)));
                }
                Weighting::Uniform
            }
            other => other,
        };
        if !from_sizes.is_given() {
            let budget = room.all_tokens() as f64;
            for of in &mut weights {
                *of = from_sizes.weights(of, &sizes, budget);
            }
        }
        keep_caps(&data, room, &mut weights)?;
        let rounded = |weight: f64| in_grains(weight);
        for (idx, share) in data.mixture.iter_mut().enumerate() {
            share.weight = rounded(weights[0][idx]);
        }
        for (phase, of) in data.phases.iter_mut().zip(&weights[1..]) {
            for share in &mut phase.mixture {
                let idx = self.mixture.iter().position(|s| s.name() == share.name());
                share.weight = idx.map_or(0.0, |idx| rounded(of[idx]));
            }
        }
        data.weighting = Weighting::Given;
        Ok(data)
    }

    /// The weight of each entry over a whole run of `steps` steps.
    pub fn mean_weights(&self, steps: u64) -> Vec<f64> {
        let stretches = self.stretches(steps);
        match &stretches[..] {
            [only] if !only.is_ramp() => only.from.clone(),
            all => {
                let of = |idx: usize| -> f64 {
                    let weights = all.iter().map(|stretch| stretch.weight_before(idx, steps));
                    weights.sum::<f64>() / steps.max(1) as f64
                };
                (0..self.mixture.len()).map(of).collect()
            }
        }
    }
}

/// Makes the weights, the mixture's and each phase's, such that no corpus gives more than its cap.
fn keep_caps(data: &DataConfig, room: &Room, weights: &mut Vec<Vec<f64>>) -> Result<()> {
    let caps = room.caps(data);
    let doubled = room.doubled_rows(data);
    let is_drawn = |idx: usize| weights.iter().any(|of| of[idx] > 0.0);
    for (idx, share) in data.mixture.iter().enumerate() {
        if caps[idx] == 0 && is_drawn(idx) {
            return Err(Error::input(
                "data.mixture",
                format!(
                    "the cap of \"{}\" is less than one row of {} tokens",
                    share.name(),
                    room.block_size
                ),
                "raise it, or leave the corpus out",
            ));
        }
    }
    let allowed: Vec<Vec<bool>> = weights
        .iter()
        .map(|of| of.iter().map(|weight| *weight > 0.0).collect())
        .collect();
    let twice = |cap: &u64| cap.saturating_mul(2);
    let twice: Vec<u64> = caps.iter().map(twice).collect();
    let mut given = vec![vec![0; caps.len()]; weights.len()];
    let missing = fill(&mut given, &doubled, &allowed, &twice).div_ceil(2);
    if missing > 0 {
        return Err(unmet(data, room, &caps, missing * room.block_size as u64));
    }
    let masses: Vec<f64> = doubled.iter().map(|n| *n as f64 / 2.0).collect();
    let limit = |cap: &u64| match *cap {
        u64::MAX => f64::INFINITY,
        cap => cap as f64,
    };
    let limits: Vec<f64> = caps.iter().map(limit).collect();
    let over = |idx: usize| {
        let rows = masses
            .iter()
            .zip(&*weights)
            .map(|(mass, of)| mass * of[idx]);
        rows.sum::<f64>() > limits[idx]
    };
    // Caps that no weights meet change no weight.
    if (0..caps.len()).any(over) {
        *weights = fitted(&masses, weights, &limits);
    }
    Ok(())
}

/// What is said of caps that leave tokens without a corpus.
fn unmet(data: &DataConfig, room: &Room, caps: &[u64], missing: u64) -> Error {
    let all = room.all_tokens();
    let gives = |(idx, cap): (usize, &u64)| {
        let tokens = cap * room.block_size as u64;
        format!(
            "\"{}\" gives at most {tokens} ({:.2} epochs)",
            data.mixture[idx].name(),
            tokens as f64 / room.tokens[idx].max(1) as f64
        )
    };
    let capped = caps.iter().enumerate().filter(|(_, cap)| **cap < u64::MAX);
    let capped: Vec<String> = capped.map(gives).collect();
    let (place, key) = match data.weighting {
        Weighting::UnimaxEpochs(_) => ("data.weighting", "unimax_epochs"),
        _ => ("data.mixture", "max_epochs or max_tokens"),
    };
    let when = match data.phases.is_empty() {
        true => "",
        false => ", where the phases draw from it",
    };
    Error::input(
        place,
        format!(
            "caps leave {missing} of the run's {all} tokens without a corpus: {}{when}",
            capped.join(", ")
        ),
        format!(
            "raise {key}, add a corpus without a cap, or lower the budget to {} tokens",
            all - missing
        ),
    )
}

/// What a run is going to draw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Declared {
    /// Of the whole run.
    pub corpora: Vec<DeclaredCorpus>,
    /// The same by stretches of steps, where weights change.
    pub phases: Vec<DeclaredPhase>,
}

/// What a run is going to draw from one corpus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeclaredCorpus {
    pub corpus: String,
    /// Fraction of the tokens, 0 to 1.
    pub weight: f64,
    pub tokens: u64,
    pub epochs: f64,
    /// In one pass over it.
    pub tokens_per_epoch: u64,
    /// Its cap.
    pub most_tokens: Option<u64>,
}

/// What one stretch of a run is going to draw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeclaredPhase {
    /// Its first step, counted from 0.
    pub from_step: u64,
    /// The step after its last.
    pub to_step: u64,
    pub corpora: Vec<DeclaredPart>,
}

/// Weights where a stretch begins and ends, and what is drawn in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeclaredPart {
    pub corpus: String,
    pub from_weight: f64,
    pub to_weight: f64,
    pub tokens: u64,
    pub epochs: f64,
}

/// Passes over one text up to which repeating it costs next to nothing (Muennighoff et al. 2023).
pub const CHEAP_EPOCHS: f64 = 4.0;

impl Declared {
    pub(super) fn new(room: &Room, names: &[&str], stretches: &[Stretch], caps: &[u64]) -> Self {
        let row_tokens = (room.rows * room.block_size) as f64;
        let epochs = |idx: usize, tokens: u64| tokens as f64 / room.tokens[idx].max(1) as f64;
        let within = |stretch: &Stretch, idx: usize| -> u64 {
            (stretch.weight_before(idx, room.steps) * row_tokens).round() as u64
        };
        let corpus = |idx: usize| {
            let weights = stretches.iter().map(|s| s.weight_before(idx, room.steps));
            let steps: f64 = weights.sum();
            let most_tokens = match caps[idx] {
                u64::MAX => None,
                rows => Some(rows * room.block_size as u64),
            };
            let tokens = (steps * row_tokens).round() as u64;
            let tokens = tokens.min(most_tokens.unwrap_or(u64::MAX));
            DeclaredCorpus {
                corpus: names[idx].into(),
                weight: steps / room.steps.max(1) as f64,
                tokens,
                epochs: epochs(idx, tokens),
                tokens_per_epoch: room.tokens[idx],
                most_tokens,
            }
        };
        let part = |stretch: &Stretch, idx: usize| DeclaredPart {
            corpus: names[idx].into(),
            from_weight: stretch.from[idx],
            to_weight: stretch.to[idx],
            tokens: within(stretch, idx),
            epochs: epochs(idx, within(stretch, idx)),
        };
        let phase = |stretch: &Stretch| DeclaredPhase {
            from_step: stretch.first,
            to_step: stretch.end,
            corpora: (0..names.len()).map(|idx| part(stretch, idx)).collect(),
        };
        let constant = matches!(stretches, [only] if !only.is_ramp());
        Self {
            corpora: (0..names.len()).map(corpus).collect(),
            phases: match constant {
                true => Vec::new(),
                false => stretches.iter().map(phase).collect(),
            },
        }
    }

    /// A line a corpus, and a line a phase and corpus where weights change.
    pub fn lines(&self) -> Vec<String> {
        let width = self.corpora.iter().map(|c| c.corpus.len()).max();
        let width = width.unwrap_or(0);
        let mut lines = Vec::new();
        for phase in &self.phases {
            let ramp = phase.corpora.iter().any(|c| c.from_weight != c.to_weight);
            let how = if ramp { ", in a straight line" } else { "" };
            lines.push(format!(
                "steps {} to {}{how}",
                phase.from_step,
                phase.to_step - 1
            ));
            for part in phase.corpora.iter().filter(|part| part.tokens > 0) {
                let weight = match ramp {
                    true => format!(
                        "{:>5.1}% to {:>5.1}%",
                        100.0 * part.from_weight,
                        100.0 * part.to_weight
                    ),
                    false => format!("{:.1}%", 100.0 * part.from_weight),
                };
                lines.push(format!(
                    "  {:<width$}  {weight:>6}  {} tokens, {:.2} epochs",
                    part.corpus, part.tokens, part.epochs
                ));
            }
        }
        let indent = match self.phases.is_empty() {
            true => "",
            false => {
                lines.push("the whole run".into());
                "  "
            }
        };
        for corpus in &self.corpora {
            let cap = corpus.most_tokens.map_or_else(String::new, |most| {
                format!(
                    "; at most {most} ({:.2} epochs)",
                    most as f64 / corpus.tokens_per_epoch.max(1) as f64
                )
            });
            lines.push(format!(
                "{indent}{:<width$}  {:>5.1}%  {} tokens, {:.2} epochs{cap}",
                corpus.corpus,
                100.0 * corpus.weight,
                corpus.tokens,
                corpus.epochs
            ));
        }
        lines
    }

    /// What is repeated more often than is cheap.
    pub fn warnings(&self) -> Vec<String> {
        let repeated = self.corpora.iter().filter(|c| c.epochs > CHEAP_EPOCHS);
        let words = |c: &DeclaredCorpus| {
            format!(
                "\"{}\" is gone through {:.1} times: after {CHEAP_EPOCHS} epochs repeated text is worth less than new (Muennighoff et al. 2023)",
                c.corpus, c.epochs
            )
        };
        repeated.map(words).collect()
    }
}
