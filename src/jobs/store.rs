//! The store of jobs.
