//! What a script may ask of a verdict.

use super::verdict::{Call, Verdict};

/// What `run --expect` may demand of every arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    Better,
    /// Better, a candidate, equivalent, or inconclusive with the interval's worse end inside the margin.
    NotWorse,
    Equivalent,
}

impl Verdict {
    /// Whether every arm meets the expectation.
    pub fn meets(&self, expectation: Expectation) -> bool {
        self.arms.iter().all(|arm| match expectation {
            Expectation::Better => arm.call == Call::Better,
            Expectation::Equivalent => arm.call == Call::Equivalent,
            Expectation::NotWorse => match arm.call {
                Call::Better | Call::Candidate | Call::Equivalent => true,
                Call::Worse | Call::Invalid => false,
                Call::Inconclusive => arm.effect.is_some_and(|e| e.high <= self.rule.margin),
            },
        })
    }
}
