//! Studies: from a hypothesis to a verdict.
//!
//! [`validity`] finds what makes a comparison void, before and after; [`sight`] says what seeds can see, by the noise [`bank`];
//! a [`campaign`] shares one error budget among studies, and a candidate is confirmed by a study that [`confirm`] writes.
//!
//! [`proposal`] reads a study file, whose arms a [`space`] may draw; [`arms`] checks that its arms can be compared; [`plan`] resolves it to trials and says what it
//! can see; [`forecast`] says what it costs, by [`makespan`]; [`contract`] freezes it; [`runner`] trains, in the order of [`queue`], on cores shared as [`sides`] has it; [`spent`] is what that took; [`verdict`] judges;
//! [`judged`] reads finished studies back and holds each verdict against its outcomes; [`finding`] keeps what somebody said of one.
//! [`ledger`] keeps the index of it all. [`calibrate`] measures how often [`verdict`] is right.

pub mod arms;
pub mod bank;
pub mod calibrate;
pub mod campaign;
pub mod climb;
pub mod confirm;
pub mod contract;
pub mod crossed;
pub mod expectation;
pub mod finding;
pub mod flagged;
pub mod forecast;
pub mod headline;
pub mod inside;
pub mod judged;
pub mod known_answers;
pub mod ladder;
pub mod ledger;
pub mod makespan;
pub mod needed;
pub mod plan;
pub mod proposal;
pub mod queue;
pub mod runner;
pub mod seeds;
pub mod sides;
pub mod sight;
pub mod space;
pub mod spent;
pub mod swarm;
pub mod test_part;
pub mod validity;
pub mod verdict;
pub mod worth;
