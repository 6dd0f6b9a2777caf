//! What several tests share.

use windtunnel::{metrics::Record, run_dir::RunDir};

/// Every record of a run without its wall-clock: what identical runs have in common.
pub fn records_without_clock(dir: &RunDir) -> Vec<String> {
    let records = dir.records().unwrap().into_iter();
    records
        .map(|mut record| {
            if let Record::Step(step) = &mut record {
                step.ms = 0.0;
            }
            serde_json::to_string(&record).unwrap()
        })
        .collect()
}
