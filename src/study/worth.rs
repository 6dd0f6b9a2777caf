//! What an effect is worth: the training that would buy it, from the control's own curve.
//!
//! Over the last stretch of training, loss against the logarithm of the tokens is close to a line.
//! Its slope says how many more tokens the control would need for the same change. It is a local
//! statement: of this schedule and length, extrapolated no further than the stretch itself; a curve
//! that is still in warm-up, flat, or bent by a cooldown says little, and then nothing is said.

use serde::{Deserialize, Serialize};

/// An effect in the control's own currency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Worth {
    /// More steps that the control would need to reach the arm, as a fraction of its own: below zero
    /// when the arm is worse.
    pub steps: f64,
    /// The same for the ends of the interval: for its worse end, then its better one.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Change of the metric for each e-fold of tokens, below zero while the control learns.
    pub slope: f64,
    /// Evaluations that the slope rests on.
    pub points: usize,
}

/// The part of training that the line is fitted to: from this fraction of the tokens on.
const STRETCH: f64 = 0.5;
/// Fewer evaluations make no line.
const FEWEST: usize = 3;
/// Beyond twice the tokens, or half of them, the line is a guess.
const FURTHEST: f64 = 1.0;

/// What a difference is worth, with the ends of its interval (worse, better), by the control's mean
/// curve: (tokens, metric), in order. `None` where the curve can't tell: too few evaluations, no
/// descent, scatter as large as the descent, or an effect beyond what the line can carry.
pub fn worth(effect: f64, interval: (f64, f64), curve: &[(f64, f64)]) -> Option<Worth> {
    let last = curve.last()?.0;
    let stretch = curve
        .iter()
        .filter(|(tokens, _)| *tokens >= STRETCH * last && *tokens > 0.0);
    let points: Vec<(f64, f64)> = stretch.map(|(tokens, y)| (tokens.ln(), *y)).collect();
    let n = points.len();
    if n < FEWEST {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n as f64;
    let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
    let sxx: f64 = points.iter().map(|p| (p.0 - x_mean).powi(2)).sum();
    let sxy: f64 = points.iter().map(|p| (p.0 - x_mean) * (p.1 - y_mean)).sum();
    let slope = sxy / sxx;
    let residuals = points.iter().map(|p| p.1 - y_mean - slope * (p.0 - x_mean));
    let error = (residuals.map(|r| r * r).sum::<f64>() / (n - 2) as f64 / sxx).sqrt();
    // Two standard errors: a slope that might be nothing prices nothing.
    if slope >= 0.0 || !slope.is_finite() || -slope < 2.0 * error {
        return None;
    }
    // A difference of d is a factor of exp(d/slope) in tokens: d and the slope below zero, above 1.
    let log = |difference: f64| difference / slope;
    let price = |difference: f64| {
        let steps = log(difference).exp_m1();
        (log(difference).abs() <= FURTHEST.ln_1p()).then_some(steps)
    };
    Some(Worth {
        steps: price(effect)?,
        low: price(interval.1),
        high: price(interval.0),
        slope,
        points: n,
    })
}

impl Worth {
    /// "worth 3.1% more steps (1.0% to 5.2%)".
    pub fn in_words(&self) -> String {
        let percent = |steps: f64| format!("{:.1}%", 100.0 * steps.abs());
        let which = if self.steps >= 0.0 { "more" } else { "fewer" };
        let ends = match (self.low, self.high) {
            (Some(low), Some(high)) => format!(" ({:+.1}% to {:+.1}%)", 100.0 * low, 100.0 * high),
            _ => String::new(),
        };
        format!(
            "worth {} {which} steps of the control{ends}",
            percent(self.steps)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A curve that falls by `fall` for each e-fold of tokens.
    fn curve(fall: f64, noise: f64) -> Vec<(f64, f64)> {
        let wiggle = |i: u32| if i.is_multiple_of(2) { noise } else { -noise };
        (1..=20)
            .map(|i| (f64::from(i), 3.0 - fall * f64::from(i).ln() + wiggle(i)))
            .collect()
    }

    #[test]
    fn an_effect_is_worth_the_steps_that_would_buy_it() {
        // A tenth more tokens lower this curve by 0.2 ln 1.1.
        let effect = -0.2 * 1.1f64.ln();
        let worth = worth(effect, (2.0 * effect, 0.0), &curve(0.2, 0.0)).unwrap();
        assert!((worth.steps - 0.1).abs() < 1e-9, "{worth:?}");
        assert!((worth.high.unwrap() - 0.21).abs() < 1e-9 && worth.low.unwrap().abs() < 1e-12);
        assert!(
            worth.in_words().contains("10.0% more steps"),
            "{}",
            worth.in_words()
        );
        let worse = super::worth(-effect, (0.0, 0.1), &curve(0.2, 0.0)).unwrap();
        assert!((worse.steps - (1.0 / 1.1 - 1.0)).abs() < 1e-9);
        assert!(worse.in_words().contains("fewer"));
    }

    #[test]
    fn a_curve_that_can_not_tell_says_nothing() {
        let price = |effect: f64, curve: &[(f64, f64)]| worth(effect, (effect, effect), curve);
        // Flat, rising, as noisy as it falls, too short, and an effect far beyond it.
        assert!(price(-0.01, &curve(0.0, 0.0)).is_none());
        assert!(price(-0.01, &curve(-0.2, 0.0)).is_none());
        assert!(price(-0.01, &curve(0.01, 0.05)).is_none());
        assert!(price(-0.01, &curve(0.2, 0.0)[17..][..2]).is_none());
        assert!(price(-0.5, &curve(0.2, 0.0)).is_none());
        assert!(price(-0.01, &[]).is_none());
        // The effect can be told where an end of its interval can't.
        let wide = worth(-0.01, (-3.0, 3.0), &curve(0.2, 0.0)).unwrap();
        assert_eq!((wide.low, wide.high), (None, None));
    }
}
