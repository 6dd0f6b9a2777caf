//! Submitted studies: gates, a store that survives everything, and the supervisor that runs them.

pub mod gate;
pub mod journal;
pub mod known;
pub mod limits;
pub mod store;
pub mod supervisor;
