//! Verdicts in words.

use super::verdict::{ArmVerdict, Call, Looks, Rule, Verdict, ranks};
use crate::metrics::Cost;

impl ArmVerdict {
    /// The verdict in a sentence: call, effect, interval, seeds, and what the margin makes of it.
    pub fn headline(&self, rule: &Rule) -> String {
        let n = self.pairs.len();
        let unit = rule.metric.unit();
        if let Some(why) = &self.invalid {
            return format!("{}: invalid: {why}", self.arm);
        }
        if let Some(p) = self.sign_p {
            let (wins, losses) = ranks(&self.pairs);
            return format!(
                "{}: {}: {} of {n} trials diverged against {} of {n} of the control; it won {wins} pairs and lost {losses} (exact sign test p = {p:.3})",
                self.arm,
                self.call.name(),
                self.diverged.1,
                self.diverged.0,
            );
        }
        let Some(e) = &self.effect else {
            let needed = self.needed.as_ref();
            let needed = needed.map_or(String::new(), |needed| format!("; {}", needed.in_words()));
            return format!(
                "{}: inconclusive: {n} pairs are too few for an interval{needed}",
                self.arm
            );
        };
        let digits = digits(rule.margin);
        let seeds = match rule.looks {
            Looks::Once => format!("{n} paired seeds"),
            Looks::EachSeed { most, .. } if e.n < most => {
                format!("decided by {} paired seeds of at most {most}", e.n)
            }
            Looks::EachSeed { .. } => format!("{n} paired seeds, the most it may use"),
        };
        let mut text = format!(
            "{}: {}: {:+.digits$} {unit} ({}% interval {:+.digits$} to {:+.digits$}, {seeds}, margin ±{:.digits$})",
            self.arm,
            self.call.name(),
            e.mean,
            Percent(e.confidence),
            e.low,
            e.high,
            rule.margin,
        );
        let clear = e.mean.abs() >= rule.margin;
        match (self.call, &self.needed) {
            (Call::Better | Call::Candidate | Call::Worse, _) if !clear => {
                text += "; smaller than the margin worth acting on"
            }
            (Call::Candidate, _) => {
                text +=
                    "; one of several arms: to be confirmed by a study of its own on other seeds"
            }
            (Call::Inconclusive, Some(needed)) => text += &format!("; {}", needed.in_words()),
            _ => {}
        }
        if let Some(worth) = &self.worth {
            text += &format!("; {}", worth.in_words());
        }
        text
    }
}

/// A fraction as a percentage without needless digits.
pub struct Percent(pub f64);

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let rounded = (self.0 * 1e4).round() / 1e2;
        write!(f, "{rounded}")
    }
}

/// Decimals that show a margin with one digit to spare, 4 to 8.
pub fn digits(margin: f64) -> usize {
    (1.0 - margin.log10().floor()).clamp(4.0, 8.0) as usize
}

impl ArmVerdict {
    /// What is not judged: the difference in the other metric, and each corpus's with its worth.
    pub fn details(&self, rule: &Rule) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(e) = &self.unjudged {
            let unit = rule.metric.other().unit();
            lines.push(format!(
                "{:+.4} {unit} ({:+.4} to {:+.4})",
                e.mean, e.low, e.high
            ));
        }
        for (corpus, difference) in &self.by_corpus {
            let worth = self.worth_by_corpus.get(corpus);
            let worth = worth.map_or(String::new(), |steps| {
                format!(", worth {:+.1}% of the control's steps", 100.0 * steps)
            });
            lines.push(format!("{corpus}: {difference:+.4} bits per byte{worth}"));
        }
        lines
    }
}

impl Verdict {
    /// What one arm's verdict cost: the trials that it rests on, shared among the arms.
    pub fn cost_each(&self) -> Cost {
        let n = self.arms.len().max(1);
        Cost {
            seconds: self.cost.seconds / n as f64,
            tokens: self.cost.tokens / n as u64,
            flops: self.cost.flops / n as f64,
        }
    }

    /// "ARM: CALL" for each arm, and whether the study was exploratory.
    pub fn summary(&self) -> String {
        let calls = match self.arms.len() > MOST_NAMED {
            true => self.counted(),
            false => {
                let named = |arm: &ArmVerdict| format!("{}: {}", arm.arm, arm.call.name());
                self.arms.iter().map(named).collect()
            }
        };
        let calls = calls.join(", ");
        match self.exploratory.is_empty() {
            true => calls,
            false => calls + " (exploratory)",
        }
    }

    /// How many arms came out which way.
    fn counted(&self) -> Vec<String> {
        let mut counts = std::collections::BTreeMap::new();
        for arm in &self.arms {
            *counts.entry(arm.call.name()).or_insert(0) += 1;
        }
        counts
            .iter()
            .map(|(call, n)| format!("{n} {call}"))
            .collect()
    }
}

/// Arms that a line has room for.
const MOST_NAMED: usize = 8;
