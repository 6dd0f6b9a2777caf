//! The fused operations, one file each: what it computes, forward, backward, and the composed
//! reference in candle that tests it. `cuda` has their device halves.

pub mod activation;
pub mod attention;
mod columns;
pub mod composed;
pub mod cross_entropy;
pub mod cuda;
pub mod dropout;
pub mod embedding;
pub mod gemm;
pub mod grad_norm;
pub mod linear;
pub mod norm;
pub mod peak;
pub mod rotary;
pub mod scale;

/// Rows that share one partial sum: fixed, so that sums do not depend on the number of threads.
pub(crate) const ROWS: usize = 64;
