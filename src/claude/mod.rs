//! What talks to Claude, and what stands between.

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
