//! The learning rate as a pure function of the step: warm-up, then what the kind says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the rate moves after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Stays at the peak.
    Constant,
    /// Half a cosine from the peak to `final` times the peak (Loshchilov & Hutter 2017).
    Cosine,
    /// A straight line from the peak to `final` times the peak.
    Linear,
    /// Warm-up, stable, decay: stays at the peak, then goes to `final` times the peak within the
    /// last `cooldown` of all steps.
    Wsd,
}

impl ScheduleKind {
    /// As a recipe writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Cosine => "cosine",
            Self::Linear => "linear",
            Self::Wsd => "wsd",
        }
    }
}

/// How a cooldown falls from 1 to 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CooldownShape {
    #[default]
    Linear,
    /// 1 − √x: most of the fall comes first.
    Sqrt,
}

/// The `[schedule]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// How the rate moves after warm-up.
    pub kind: ScheduleKind,
    /// Length of the linear warm-up as a fraction of all steps, 0 to 1.
    pub warmup: f64,
    /// The same in steps; where it is written, `warmup` is not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// Rate when all steps are done as a fraction of the peak, 0 to 1; the last step's is one
    /// step's fall above it. A constant rate has no use for it.
    #[serde(rename = "final")]
    pub final_fraction: f64,
    /// Length of the cooldown, at the end, as a fraction of all steps: `wsd` alone has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<f64>,
    /// `wsd` alone has one; linear unless written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_shape: Option<CooldownShape>,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Cosine,
            warmup: 0.02,
            warmup_steps: None,
            final_fraction: 0.1,
            cooldown: None,
            cooldown_shape: None,
        }
    }
}

impl ScheduleConfig {
    /// Length of the cooldown as a fraction of all steps: as written, or a fifth of them, or what
    /// a long warm-up leaves.
    pub fn cooldown(&self) -> f64 {
        let default = (1.0 - self.warmup).clamp(0.0, 0.2);
        self.cooldown.unwrap_or(default)
    }

    /// The same with every key that its kind reads filled in.
    pub fn resolved(&self) -> Self {
        let is_wsd = self.kind == ScheduleKind::Wsd;
        Self {
            cooldown: is_wsd.then(|| self.cooldown()),
            cooldown_shape: is_wsd.then(|| self.cooldown_shape.unwrap_or_default()),
            ..self.clone()
        }
    }
}

/// A schedule over a known number of steps; it never reads a clock.
#[derive(Debug, Clone)]
pub struct Schedule {
    config: ScheduleConfig,
    peak: f64,
    warmup_steps: u64,
    cooldown_steps: u64,
    steps: u64,
}

impl Schedule {
    pub fn new(config: &ScheduleConfig, peak: f64, steps: u64) -> Self {
        let fraction = (config.warmup * steps as f64).round() as u64;
        let warmup_steps = config.warmup_steps.unwrap_or(fraction).min(steps);
        let cooldown_steps = (config.cooldown() * steps as f64).round() as u64;
        Self {
            config: config.clone(),
            peak,
            warmup_steps,
            // Both may have been rounded up.
            cooldown_steps: cooldown_steps.min(steps.saturating_sub(warmup_steps)),
            steps,
        }
    }

    pub fn warmup_steps(&self) -> u64 {
        self.warmup_steps
    }

    /// Steps before the cooldown, if there is one: up to there the rate does not depend on how many
    /// steps there are.
    pub fn cooldown_start(&self) -> Option<u64> {
        let start = self.steps.saturating_sub(self.cooldown_steps);
        (self.config.kind == ScheduleKind::Wsd && start < self.steps).then_some(start)
    }

    /// The rate for optimizer step `step`, counted from 0. As in nanoGPT, step 0 already has a
    /// positive rate: (step + 1) / (warm-up + 1) of the peak.
    pub fn lr(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let low = self.peak * self.config.final_fraction;
        match self.config.kind {
            ScheduleKind::Constant => self.peak,
            ScheduleKind::Cosine => {
                let done = self.done(step, self.warmup_steps);
                low + 0.5 * (1.0 + (std::f64::consts::PI * done).cos()) * (self.peak - low)
            }
            ScheduleKind::Linear => {
                low + (1.0 - self.done(step, self.warmup_steps)) * (self.peak - low)
            }
            ScheduleKind::Wsd => {
                let start = self.steps.saturating_sub(self.cooldown_steps);
                if step < start {
                    return self.peak;
                }
                let done = self.done(step, start);
                let left = match self.config.cooldown_shape.unwrap_or_default() {
                    CooldownShape::Linear => 1.0 - done,
                    CooldownShape::Sqrt => 1.0 - done.sqrt(),
                };
                low + left * (self.peak - low)
            }
        }
    }

    /// How much of the way from step `start` to the end is done at `step`, 0 to 1.
    fn done(&self, step: u64, start: u64) -> f64 {
        let span = self.steps.saturating_sub(start).max(1) as f64;
        (step.saturating_sub(start) as f64 / span).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_climbs_to_the_peak_and_falls_to_the_final_fraction() {
        let config = ScheduleConfig {
            warmup: 0.1,
            ..Default::default()
        };
        let schedule = Schedule::new(&config, 1e-3, 1000);
        assert!((schedule.lr(0) - 1e-3 / 101.0).abs() < 1e-12);
        assert!((schedule.lr(100) - 1e-3).abs() < 1e-12);
        assert!((schedule.lr(550) - 0.55e-3).abs() < 1e-12);
        assert!((schedule.lr(1000) - 1e-4).abs() < 1e-12);
        assert!((1..1000).all(|s| schedule.lr(s) > 0.0));
    }

    #[test]
    fn constant_stays_at_the_peak_after_warm_up() {
        let config = ScheduleConfig {
            kind: ScheduleKind::Constant,
            warmup: 0.0,
            ..Default::default()
        };
        let schedule = Schedule::new(&config, 0.5, 10);
        assert!((0..10).all(|s| schedule.lr(s) == 0.5));
    }

    fn wsd(shape: CooldownShape, steps: u64) -> Schedule {
        let config = ScheduleConfig {
            kind: ScheduleKind::Wsd,
            warmup: 0.1,
            final_fraction: 0.0,
            cooldown: Some(0.4),
            cooldown_shape: Some(shape),
            ..Default::default()
        };
        Schedule::new(&config, 2.0, steps)
    }

    #[test]
    fn linear_falls_by_the_same_amount_every_step() {
        let config = ScheduleConfig {
            kind: ScheduleKind::Linear,
            warmup: 0.2,
            final_fraction: 0.5,
            ..Default::default()
        };
        let schedule = Schedule::new(&config, 1.0, 10);
        let rates: Vec<f64> = (0..10).map(|step| schedule.lr(step)).collect();
        // Two steps up, by thirds; then eight down, each by a sixteenth, to 0.5 after the last.
        let expected = [
            1.0 / 3.0,
            2.0 / 3.0,
            1.0,
            0.9375,
            0.875,
            0.8125,
            0.75,
            0.6875,
            0.625,
            0.5625,
        ];
        for (step, (rate, expected)) in rates.iter().zip(expected).enumerate() {
            assert!((rate - expected).abs() < 1e-15, "step {step}: {rate}");
        }
        assert_eq!(schedule.lr(10), 0.5);
    }

    #[test]
    fn wsd_climbs_stays_and_cools_down_in_a_line() {
        let schedule = wsd(CooldownShape::Linear, 10);
        let rates: Vec<f64> = (0..10).map(|step| schedule.lr(step)).collect();
        // One step of warm-up, the peak up to step 6, then quarters of it.
        let expected = [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5];
        assert_eq!(rates, expected);
        assert_eq!(schedule.lr(10), 0.0);
    }

    #[test]
    fn before_its_cooldown_a_run_does_not_know_how_long_it_is() {
        let of = |steps: u64, cooldown: f64, shape| {
            let config = ScheduleConfig {
                kind: ScheduleKind::Wsd,
                warmup_steps: Some(7),
                cooldown: Some(cooldown),
                cooldown_shape: Some(shape),
                ..Default::default()
            };
            Schedule::new(&config, 3e-3, steps)
        };
        let long = of(1000, 0.1, CooldownShape::Linear);
        for steps in [20, 100, 333] {
            let short = of(steps, 0.3, CooldownShape::Sqrt);
            let start = short.cooldown_start().unwrap();
            assert_eq!(start, steps - (0.3 * steps as f64).round() as u64);
            assert!((0..start).all(|step| short.lr(step) == long.lr(step)));
            // A root falls at once where it begins.
            assert!(short.lr(start + 1) < long.lr(start + 1));
        }
        assert_eq!(of(10, 0.0, CooldownShape::Linear).cooldown_start(), None);
        // A warm-up that is longer than the run is the run.
        let config = ScheduleConfig {
            warmup_steps: Some(50),
            ..Default::default()
        };
        assert_eq!(Schedule::new(&config, 1.0, 9).lr(8), 0.9);
    }

    #[test]
    fn a_sqrt_cooldown_is_one_less_the_root_of_what_is_done() {
        let schedule = wsd(CooldownShape::Sqrt, 10);
        let rates: Vec<f64> = (5..10).map(|step| schedule.lr(step)).collect();
        // 1 − √(n/4) of the peak: n = 1 halves it.
        let last = 2.0 * (1.0 - 0.75f64.sqrt());
        let expected = [2.0, 2.0, 1.0, 2.0 * (1.0 - 0.5f64.sqrt()), last];
        assert_eq!(rates, expected);
        assert_eq!(schedule.lr(10), 0.0);
    }

    #[test]
    fn phases_meet_without_a_jump() {
        let n = 100_000;
        for kind in [
            ScheduleKind::Constant,
            ScheduleKind::Cosine,
            ScheduleKind::Linear,
            ScheduleKind::Wsd,
        ] {
            let config = ScheduleConfig {
                kind,
                warmup: 0.1,
                ..Default::default()
            };
            let schedule = Schedule::new(&config, 1.0, n);
            let jump = |step: u64| (schedule.lr(step + 1) - schedule.lr(step)).abs();
            // The steepest slope is the warm-up's, over a tenth of the steps.
            assert!((0..n).all(|step| jump(step) <= 10.0 / n as f64), "{kind:?}");
        }
        // A root is steep where it starts: √(1/40000) on its first step.
        let schedule = wsd(CooldownShape::Sqrt, n);
        assert_eq!(schedule.lr(60_000), 2.0);
        assert!((schedule.lr(60_001) - 1.99).abs() < 1e-12);
    }

    #[test]
    fn a_cooldown_begins_no_earlier_than_the_warm_up_ends() {
        let config = ScheduleConfig {
            kind: ScheduleKind::Wsd,
            warmup: 0.5,
            cooldown: Some(0.5),
            final_fraction: 0.0,
            ..Default::default()
        };
        // Five steps: 2.5 and 2.5 are both rounded up.
        let schedule = Schedule::new(&config, 1.0, 5);
        let rates: Vec<f64> = (0..5).map(|step| schedule.lr(step)).collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 0.5]);
        // No cooldown at all is a constant rate.
        let none = ScheduleConfig {
            cooldown: Some(0.0),
            warmup: 0.0,
            ..config
        };
        let schedule = Schedule::new(&none, 1.0, 5);
        assert!((0..5).all(|step| schedule.lr(step) == 1.0));
    }

    #[test]
    fn a_cooldown_takes_a_fifth_of_all_steps_or_what_the_warm_up_leaves() {
        let config = |warmup| ScheduleConfig {
            kind: ScheduleKind::Wsd,
            warmup,
            ..Default::default()
        };
        assert_eq!(config(0.0).cooldown(), 0.2);
        assert_eq!(config(0.9).cooldown(), 1.0 - 0.9);
        assert_eq!(config(1.0).resolved().cooldown, Some(0.0));
    }
}
