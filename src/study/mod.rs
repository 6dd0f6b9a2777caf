//! Studies: from a hypothesis to a verdict.
//!
//! [`proposal`] reads a study file, [`arms`] checks that its arms can be compared; [`plan`] resolves it to trials and says what it
//! can see; [`forecast`] says what it costs, by [`makespan`]; [`contract`] freezes it; [`runner`] trains, in the order of [`queue`], on cores shared as [`sides`] has it; [`spent`] is what that took; [`verdict`] judges;
//! [`ledger`] keeps the index of it all.

pub mod arms;
pub mod contract;
pub mod forecast;
pub mod ledger;
pub mod makespan;
pub mod plan;
pub mod proposal;
pub mod queue;
pub mod runner;
pub mod sides;
pub mod spent;
pub mod verdict;
