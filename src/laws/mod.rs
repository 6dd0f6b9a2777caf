//! Laws that small runs are fitted to, so that they say something of larger ones: pure functions of
//! numbers, like [`stats`](crate::stats). Nothing here reads a file or sees a tensor.
//!
//! Of mixtures of domains:
//! - [`runs`]: `Runs`, mixtures with losses on targets; `Joined`, the same from two [`table`]s.
//! - [`law`]: `fit(&runs, target, law, seed)` and `Fitted::predict`; the laws are [`log_linear`],
//!   [`polynomial`] (linear and quadratic) and boosted [`trees`].
//! - [`validate`]: `cross_validated`, `compare` and `choose` among laws, `Scores` of held-out runs.
//! - [`best`]: `ensemble` over resampled runs and `best_mix` under [`simplex`] `Bounds`, both with
//!   intervals; [`next`]: which mixture would teach most.
//! - [`mixture`]: all of these in one value, which `fit mixture` prints.
//! - [`mixmin`]: weights from the predictions of one model for each corpus, without any mixture run.
//!
//! Of sizes:
//! - [`scaling`]: Chinchilla's law, its optima, its two other approaches.
//! - [`transfer`]: an effect against size, and how much of it may be claimed.
//!
//! Beneath: [`rank`] correlations, ridge regression, L-BFGS. Random draws are named by seed, and
//! side-by-side work depends on its index alone: the same input gives the same numbers anywhere.

mod algebra;
pub mod best;
pub mod law;
mod lbfgs;
pub mod log_linear;
pub mod mixmin;
pub mod mixture;
pub mod next;
pub mod polynomial;
pub mod rank;
pub mod runs;
pub mod scaling;
pub mod simplex;
pub mod table;
mod threads;
pub mod transfer;
pub mod trees;
pub mod validate;

pub use best::{Best, Ensemble, Goal, Interval, Search, best_mix, ensemble};
pub use law::{Fitted, Law, fit};
pub use runs::{Joined, Runs};
pub use simplex::Bounds;
pub use validate::{CrossValidated, Scores, compare, cross_validated};
