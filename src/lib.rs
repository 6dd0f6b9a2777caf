//! windtunnel: a wind tunnel for pre-training ideas.
pub mod checkpoint;
pub mod data;
pub mod digest;
pub mod error;
pub mod eval;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod optim;
pub mod params;
pub mod pool;
pub mod real;
pub mod rng;
pub mod schedule;
pub mod tape;
