//! What talks to Claude, and what stands between.
//!
//! Claude designs a study, reads what came of it, and says what it means. It never judges: it fills in a
//! [`draft`], whose types are those of study files ([`schema`]), and [`jobs`](crate::jobs) holds that against
//! the same gates as anybody's. Two ways lead there: [`mcp`], where an agent such as Claude Code calls
//! tools, and the Messages API ([`messages`], [`money`], [`exchange`]), over which [`propose`] asks for one
//! study and [`autopilot`] for one after another, each told of the ledger by a [`brief`].
//!
//! What it says of a verdict is a [`finding`], whose numbers come from the ledger and whose citations from
//! the [`literature`]. Its predictions are kept and [`score`]d beside those of people and of
//! [`baselines`]. Text of others reaches it as data ([`quoted`]).

pub mod autopilot;
pub mod baselines;
pub mod brief;
pub mod campaign;
pub mod draft;
pub mod exchange;
pub mod finding;
pub mod init;
pub mod literature;
pub mod mcp;
pub mod messages;
pub mod money;
pub mod propose;
pub mod proposed;
pub mod quoted;
pub mod scaffold;
pub mod schema;
pub mod score;
pub mod telling;
pub mod worth;
pub mod written;

pub use crate::study::inside::{self, inside};
