//! What a study is likely to teach for its time, before it runs.
//!
//! The proposer's prediction says how uncertain the direction is: the confidence c for the one that it
//! names, and half of the rest for each of the other two, better, worse, equivalent. That has an
//! entropy, log₂ 3 bits at most; all of it is learnt if the study decides, nothing if it ends
//! inconclusive. The chance that it decides is the plan's, by the spread of earlier trials: c times
//! that under the predicted effect, and 1 − c times that under none. Where no spread is known yet
//! nothing speaks against a decision, and the chance is taken as 1: the first studies are how the
//! spread becomes known.
//!
//! Bits per device-minute are not the value of knowing, only its price: a floor under them stops an
//! autopilot that asks what it knows, or what its device can't see.

use crate::{stats::chances::Chances, study::proposal::Prediction};
use serde::Serialize;
use serde_json::Value;

/// What a study is expected to teach, and to take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Worth {
    /// Of the direction, before.
    pub entropy_bits: f64,
    /// Chance of a verdict other than inconclusive.
    pub decides: f64,
    /// Whether that chance rests on a spread that was seen.
    pub spread_known: bool,
    pub minutes: f64,
}

/// A study takes no less, whatever its plan says of trials that are there: a process has to start.
const LEAST_MINUTES: f64 = 0.05;

impl Worth {
    pub fn bits(&self) -> f64 {
        self.entropy_bits * self.decides
    }

    pub fn bits_per_minute(&self) -> f64 {
        self.bits() / self.minutes.max(LEAST_MINUTES)
    }

    pub fn in_words(&self) -> String {
        let spread = match self.spread_known {
            true => "",
            false => " (no spread is known yet)",
        };
        format!(
            "{:.2} bits expected: {:.2} of the direction, decided with chance {:.2}{spread}; about {:.2} minutes, {:.4} bits per minute",
            self.bits(),
            self.entropy_bits,
            self.decides,
            self.minutes,
            self.bits_per_minute()
        )
    }
}

/// Entropy of a direction that a prediction names with this confidence, in bits.
pub fn entropy(confidence: f64) -> f64 {
    let c = confidence.clamp(0.0, 1.0);
    let other = (1.0 - c) / 2.0;
    let term = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    term(c) + 2.0 * term(other)
}

/// What a planned study is worth; `plan` is what `windtunnel plan --json` says.
pub fn of(plan: &Value, prediction: &Prediction) -> Worth {
    let outlooks = plan["sight"]["outlook"].as_array();
    let rule = match plan["looks"] == "once" {
        true => "fixed",
        false => "anytime",
    };
    let decided = |predicted: bool| {
        let mut outlooks = outlooks.into_iter().flatten();
        let outlook = outlooks.find(|outlook| outlook["predicted"] == predicted)?;
        let chances: Chances = serde_json::from_value(outlook[rule].clone()).ok()?;
        Some(chances.decided())
    };
    let c = prediction.confidence.clamp(0.0, 1.0);
    // A prediction of no effect has no other outlook.
    let foreseen = decided(true);
    let chance =
        foreseen.map(|foreseen| c * foreseen + (1.0 - c) * decided(false).unwrap_or(foreseen));
    Worth {
        entropy_bits: entropy(c),
        decides: chance.unwrap_or(1.0),
        spread_known: chance.is_some(),
        minutes: plan["minutes"].as_f64().unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::proposal::Direction;
    use serde_json::json;

    fn prediction(confidence: f64) -> Prediction {
        serde_json::from_value(json!({
            "direction": Direction::Better, "effect": 0.1, "confidence": confidence,
        }))
        .unwrap()
    }

    fn chances(decided: f64) -> Value {
        json!({ "better": decided, "worse": 0.0, "equivalent": 0.0, "inconclusive": 1.0 - decided, "pairs": 4.0 })
    }

    #[test]
    fn what_is_certain_teaches_nothing_and_thirds_teach_most() {
        assert_eq!(entropy(1.0), 0.0);
        assert!((entropy(1.0 / 3.0) - 3f64.log2()).abs() < 1e-12);
        assert!((entropy(0.0) - 1.0).abs() < 1e-12, "between the other two");
        assert!((entropy(0.5) - 1.5).abs() < 1e-12);
    }

    #[test]
    fn bits_are_weighted_by_the_chance_of_a_verdict_under_either_truth() {
        let outlook = |predicted: bool, decided: f64| json!({ "predicted": predicted, "fixed": chances(decided), "anytime": chances(0.0) });
        let plan = json!({
            "looks": "once", "minutes": 2.0,
            "sight": { "outlook": [outlook(true, 0.8), outlook(false, 0.4)] },
        });
        let worth = of(&plan, &prediction(0.5));
        assert!((worth.decides - 0.6).abs() < 1e-12, "0.5 × 0.8 + 0.5 × 0.4");
        assert!((worth.bits_per_minute() - 1.5 * 0.6 / 2.0).abs() < 1e-12);
        let unknown = of(&json!({ "minutes": 0.0, "sight": {} }), &prediction(0.5));
        assert_eq!((unknown.decides, unknown.spread_known), (1.0, false));
        assert!(unknown.bits_per_minute().is_finite());
    }
}
