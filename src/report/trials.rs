//! What a trial has on the disk, finished or not.

use crate::{
    error::Result,
    metrics::{Outcome, Record},
    run_dir::{RunDir, TrialId},
    study::contract::Contract,
};
use std::path::Path;

/// One trial of a study, as far as it got.
pub struct TrialRecords {
    pub id: TrialId,
    pub seed: u64,
    /// `None` until it ended.
    pub outcome: Option<Outcome>,
    pub records: Vec<Record>,
}

impl TrialRecords {
    /// Every trial of a study: by arm, the control first, then by seed. Errors when a file is
    /// damaged; one that is not there yet is no error.
    pub fn read(home: &Path, contract: &Contract) -> Result<Vec<Vec<Self>>> {
        let one = |(id, seed): (&TrialId, &u64)| {
            let dir = RunDir::of(home, id);
            Ok(Self {
                id: id.clone(),
                seed: *seed,
                outcome: dir.outcome()?,
                records: recorded(&dir)?,
            })
        };
        let arms = contract.terms.arms.iter();
        arms.map(|arm| {
            arm.trials
                .iter()
                .zip(&contract.terms.seeds)
                .map(one)
                .collect()
        })
        .collect()
    }

    /// The last step that was recorded; 0 when there is none.
    pub fn last_step(&self) -> u64 {
        self.records.last().map_or(0, Record::step)
    }
}

/// A run's records; none where it has not begun.
pub fn recorded(dir: &RunDir) -> Result<Vec<Record>> {
    match dir.path().join("metrics.jsonl").exists() {
        true => dir.records(),
        false => Ok(Vec::new()),
    }
}
