//! windtunnel: a wind tunnel for pre-training ideas.
pub mod checkpoint;
pub mod data;
pub mod digest;
pub mod error;
pub mod eval;
pub mod metrics;
pub mod model;
pub mod optim;
pub mod rng;
pub mod schedule;
