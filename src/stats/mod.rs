//! Statistics as pure functions: paired differences, power, exact sign tests, simultaneous
//! intervals. The seed is the unit of replication.

pub mod paired;
pub mod power;
pub mod sign;

/// Confidence of each of `k` intervals so that all of them hold together with 1 − α (Bonferroni).
pub fn simultaneous_confidence(alpha: f64, k: usize) -> f64 {
    1.0 - alpha / k.max(1) as f64
}
