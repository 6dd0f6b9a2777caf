//! Scoring rules: what a prediction was worth, once the verdict is in. Pure functions; less is better.

use crate::{
    stats::paired::normal_quantile,
    study::{
        proposal::{Direction, Prediction},
        verdict::Call,
    },
};

/// Probability that an interval is to hold the difference.
pub const COVERAGE: f64 = 0.8;
/// Brier score of a forecaster that gives every direction a third.
pub const GUESS: f64 = 2.0 / 3.0;

/// A forecast's probabilities: its confidence on the direction that it names, the rest shared evenly; in the
/// order better, worse, equivalent.
pub fn probabilities(prediction: &Prediction) -> [f64; 3] {
    let rest = (1.0 - prediction.confidence) / 2.0;
    let mut p = [rest; 3];
    p[place(prediction.direction)] = prediction.confidence;
    p
}

/// The Brier score over the three directions (Brier 1950): the sum of squared distances from what came, 0 to
/// 2. A candidate counts as better. `None` of an inconclusive or invalid verdict.
pub fn brier(prediction: &Prediction, call: Call) -> Option<f64> {
    let came = place(came(call)?);
    let each = probabilities(prediction).into_iter().enumerate();
    Some(each.map(|(i, p)| (p - f64::from(i == came)).powi(2)).sum())
}

/// The direction that a verdict showed; none of an inconclusive or invalid one.
pub fn came(call: Call) -> Option<Direction> {
    match call {
        Call::Better | Call::Candidate => Some(Direction::Better),
        Call::Worse => Some(Direction::Worse),
        Call::Equivalent => Some(Direction::Equivalent),
        Call::Inconclusive | Call::Invalid => None,
    }
}

fn place(direction: Direction) -> usize {
    match direction {
        Direction::Better => 0,
        Direction::Worse => 1,
        Direction::Equivalent => 2,
    }
}

/// Where a prediction expects arm minus control with a probability of [`COVERAGE`]. Where it says so, that;
/// else by this rule: a normal distribution around the effect (around zero, for "equivalent") that gives the
/// named direction the stated confidence, taken as 0.55 to 0.99, and a spread of half the margin at least.
pub fn interval(prediction: &Prediction, margin: f64) -> [f64; 2] {
    if let Some(interval) = prediction.interval {
        return interval;
    }
    let confidence = prediction.confidence.clamp(0.55, 0.99);
    let (centre, spread) = match prediction.direction {
        Direction::Better => (
            -prediction.effect,
            prediction.effect / normal_quantile(confidence),
        ),
        Direction::Worse => (
            prediction.effect,
            prediction.effect / normal_quantile(confidence),
        ),
        Direction::Equivalent => (0.0, margin / normal_quantile(0.5 + confidence / 2.0)),
    };
    let half = normal_quantile(0.5 + COVERAGE / 2.0) * spread.max(margin / 2.0);
    [centre - half, centre + half]
}

/// The interval score at level 1 − [`COVERAGE`] (Gneiting and Raftery 2007, eq. 43): the interval's width, and
/// 2/α for each unit by which it misses.
pub fn interval_score([low, high]: [f64; 2], seen: f64) -> f64 {
    let alpha = 1.0 - COVERAGE;
    let missed = (low - seen).max(seen - high).max(0.0);
    (high - low) + 2.0 / alpha * missed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn prediction(direction: Direction, effect: f64, confidence: f64) -> Prediction {
        Prediction {
            direction,
            effect,
            confidence,
            interval: None,
        }
    }

    #[test]
    fn a_third_for_each_is_the_guess_and_certainty_is_nothing_or_two() {
        let guess = prediction(Direction::Better, 0.1, 1.0 / 3.0);
        for call in [Call::Better, Call::Candidate, Call::Worse, Call::Equivalent] {
            assert!((brier(&guess, call).unwrap() - GUESS).abs() < 1e-12);
        }
        let sure = prediction(Direction::Worse, 0.1, 1.0);
        assert_eq!(brier(&sure, Call::Worse), Some(0.0));
        assert_eq!(brier(&sure, Call::Candidate), Some(2.0));
        assert_eq!(brier(&sure, Call::Inconclusive), None);
        assert_eq!(brier(&sure, Call::Invalid), None);
    }

    #[test]
    fn a_calibrated_forecaster_is_ranked_before_an_overconfident_and_a_timid_one() {
        // What is named comes with a probability of 0.6.
        let mut rng = Rng::named(1, "score.rules");
        let mut totals = [0.0; 3];
        for _ in 0..4000 {
            let call = match rng.uniform() {
                u if u < 0.6 => Call::Better,
                u if u < 0.8 => Call::Worse,
                _ => Call::Equivalent,
            };
            for (total, confidence) in totals.iter_mut().zip([0.6, 0.95, 0.35]) {
                *total += brier(&prediction(Direction::Better, 0.1, confidence), call).unwrap();
            }
        }
        assert!(totals[0] < totals[1] && totals[0] < totals[2], "{totals:?}");
    }

    #[test]
    fn the_interval_score_is_least_for_the_quantiles_of_what_comes() {
        assert!((interval_score([-1.0, 1.0], 0.0) - 2.0).abs() < 1e-12);
        // Half a unit outside costs 2/0.2 · 0.5 more.
        assert!((interval_score([-1.0, 1.0], 1.5) - 7.0).abs() < 1e-12);
        assert!((interval_score([-1.0, 1.0], -1.5) - 7.0).abs() < 1e-12);
        let mean = |half: f64| {
            let mut rng = Rng::named(2, "score.rules");
            let scores = (0..4000).map(|_| interval_score([-half, half], rng.normal()));
            scores.sum::<f64>() / 4000.0
        };
        let true_half = normal_quantile(0.9);
        assert!(mean(true_half) < mean(0.6 * true_half) && mean(true_half) < mean(1.6 * true_half));
    }

    #[test]
    fn an_interval_that_is_not_stated_follows_from_effect_and_confidence() {
        // 84% sure of an effect of 0.1: one standard deviation above zero.
        let [low, high] = interval(&prediction(Direction::Better, 0.1, 0.841_344_746), 0.01);
        assert!((low + 0.1 + 0.128_155).abs() < 1e-4 && (high + 0.1 - 0.128_155).abs() < 1e-4);
        let [low, high] = interval(&prediction(Direction::Equivalent, 0.0, 0.8), 0.02);
        assert!((low + 0.02).abs() < 1e-6 && (high - 0.02).abs() < 1e-6);
        // Sure of nothing at all: still half a margin wide either way.
        let [low, high] = interval(&prediction(Direction::Worse, 0.0, 0.99), 0.02);
        assert!(low < -0.012 && high > 0.012);
        let stated = Prediction {
            interval: Some([-0.3, -0.1]),
            ..prediction(Direction::Better, 0.2, 0.9)
        };
        assert_eq!(interval(&stated, 0.02), [-0.3, -0.1]);
    }
}
