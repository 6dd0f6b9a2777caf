//! What talks to Claude, and what stands between.

pub mod autopilot;
pub mod baselines;
pub mod brief;
pub mod draft;
pub mod exchange;
pub mod finding;
pub mod inside;
pub mod literature;
pub mod mcp;
pub mod messages;
pub mod money;
pub mod propose;
pub mod quoted;
pub mod schema;
pub mod score;
