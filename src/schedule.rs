//! The learning rate as a pure function of the step: warm-up, then constant or cosine.

use serde::{Deserialize, Serialize};

/// How the rate moves after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Stays at the peak.
    Constant,
    /// Half a cosine from the peak to `final` times the peak (Loshchilov & Hutter 2017).
    Cosine,
}

/// The `[schedule]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    pub kind: ScheduleKind,
    /// Length of the linear warm-up as a fraction of all steps, 0 to 1.
    pub warmup: f64,
    /// Rate at the last step as a fraction of the peak, 0 to 1.
    #[serde(rename = "final")]
    pub final_fraction: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Cosine,
            warmup: 0.02,
            final_fraction: 0.1,
        }
    }
}

/// A schedule over a known number of steps; it never reads a clock.
#[derive(Debug, Clone)]
pub struct Schedule {
    config: ScheduleConfig,
    peak: f64,
    warmup_steps: u64,
    steps: u64,
}

impl Schedule {
    pub fn new(config: &ScheduleConfig, peak: f64, steps: u64) -> Self {
        Self {
            config: config.clone(),
            peak,
            warmup_steps: (config.warmup * steps as f64).round() as u64,
            steps,
        }
    }

    /// The rate for optimizer step `step`, counted from 0. As in nanoGPT, step 0 already has a
    /// positive rate: (step + 1) / (warm-up + 1) of the peak.
    pub fn lr(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        match self.config.kind {
            ScheduleKind::Constant => self.peak,
            ScheduleKind::Cosine => {
                let span = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
                let done = ((step - self.warmup_steps) as f64 / span).min(1.0);
                let low = self.peak * self.config.final_fraction;
                low + 0.5 * (1.0 + (std::f64::consts::PI * done).cos()) * (self.peak - low)
            }
        }
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
            final_fraction: 0.1,
        };
        let schedule = Schedule::new(&config, 0.5, 10);
        assert!((0..10).all(|s| schedule.lr(s) == 0.5));
    }
}
