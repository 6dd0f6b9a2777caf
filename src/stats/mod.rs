//! Statistics as pure functions of numbers: no file, no clock, no tensor. The seed is the unit of
//! replication, differences are arm minus control on the same seed, and less is better.
//!
//! - [`paired`]: `paired(&differences, confidence)`, the t interval of a fixed number of seeds.
//! - [`anytime`]: `Anytime::new(α/k, margin).look(&differences)` after every pair, `.replay(…)` to
//!   make a study's looks again; each [`anytime::Look`] has e-value, interval and decision.
//! - [`decision`]: `Decision::of_interval(low, high, margin)`, how any interval is read.
//! - [`equivalence`]: `two_one_sided(&differences, margin)`.
//! - [`sign`]: the exact paired sign test, when a trial has no number.
//! - [`multiplicity`]: adjusted p values, `simultaneous_intervals`, and `ELond` over a stream of
//!   studies.
//! - [`power`]: what a fixed design can see. [`chances`]: the chance of each verdict and the pairs to
//!   expect, `fixed(…)` and `anytime(…)`; `further(…)` and `fresh_pairs(…)`: what more would decide.
//! - [`draw`]: random draws for simulations.
//! - [`bounded`]: `mean_interval(&values, bounds, confidence)` after every value, of numbers that have bounds.
//! - [`variance`]: `Spread`, a standard deviation and its degrees of freedom, pooled over groups; and
//!   `split(…)` of crossed seeds into initialisation, order and evaluation.

pub mod anytime;
pub mod bounded;
pub mod chances;
pub mod decision;
pub mod draw;
pub mod equivalence;
pub mod multiplicity;
pub mod paired;
pub mod power;
pub mod sign;
pub mod variance;

pub use multiplicity::simultaneous_confidence;
