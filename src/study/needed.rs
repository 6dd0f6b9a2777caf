//! What would decide an arm that is not decided: seeds, tokens, minutes, and how surely.

use super::verdict::{Call, Looks, Pair, Rule, Verdict};
use crate::stats::{
    anytime::Anytime,
    chances::{self, Fixed},
    simultaneous_confidence,
};
use serde::{Deserialize, Serialize};

/// More seeds that would decide.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Needed {
    pub pairs: usize,
    /// Whether they have to be other seeds than those seen: a fixed rule looks once.
    pub fresh: bool,
    /// The chance that they decide, by what the seeds so far leave open.
    pub chance: f64,
    pub tokens: u64,
    /// Minutes in which a trial holds its device.
    pub minutes: f64,
}

/// The chance that is asked for.
const CHANCE: f64 = 0.8;
/// More pairs than this are not proposed to anyone.
const MOST: usize = 200;

/// Says of every undecided arm of a verdict what would decide it.
pub fn fill(verdict: &mut Verdict) {
    let alpha = 1.0 - simultaneous_confidence(verdict.rule.alpha, verdict.arms.len());
    let seeds = verdict.seeds.max(1) as f64;
    let (rule, cost) = (verdict.rule, verdict.cost);
    for arm in &mut verdict.arms {
        let undecided = arm.call == Call::Inconclusive;
        let differences: Option<Vec<f64>> = arm.pairs.iter().map(Pair::difference).collect();
        let found = differences
            .filter(|_| undecided)
            .and_then(|differences| needed(&rule, alpha, &differences));
        arm.needed = found.map(|(pairs, fresh, chance)| {
            let of_pairs = |total: f64| total / seeds * pairs as f64;
            Needed {
                pairs,
                fresh,
                chance,
                tokens: of_pairs(cost.tokens as f64).round() as u64,
                minutes: of_pairs(cost.seconds) / 60.0,
            }
        });
    }
}

/// (pairs, whether they are fresh, the chance that they decide).
fn needed(rule: &Rule, alpha: f64, differences: &[f64]) -> Option<(usize, bool, f64)> {
    let margin = rule.margin;
    match rule.looks {
        Looks::EachSeed { .. } => {
            let further = chances::further(&Anytime::new(alpha, margin), differences, MOST)?;
            let pairs = further.pairs(CHANCE).unwrap_or(MOST);
            Some((pairs, false, *further.chances.get(pairs)?))
        }
        Looks::Once => {
            let fixed = |n: usize| Fixed { n, alpha, margin };
            let pairs = chances::fresh_pairs(&fixed(0), differences, CHANCE, MOST);
            let pairs = pairs.unwrap_or(MOST);
            let chance = chances::fresh(&fixed(pairs), differences)?.decided();
            Some((pairs, true, chance))
        }
    }
}

impl Needed {
    /// "12 more pairs (1.2e7 tokens, 3.1 minutes) would decide with chance 83%".
    pub fn in_words(&self) -> String {
        let pairs = match self.fresh {
            true => format!("a study of {} other seeds", self.pairs),
            false => format!("{} more seeds", self.pairs),
        };
        let even = if self.chance < CHANCE { "even " } else { "" };
        format!(
            "{even}{pairs} ({:.1e} tokens, {:.1} minutes of trials) would decide with chance {:.0}%",
            self.tokens as f64,
            self.minutes,
            100.0 * self.chance
        )
    }
}
