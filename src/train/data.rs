//! The data of one run.

use crate::{
    data::{Batches, EvalWindows, Tokenizer, declared::Room, mixture::Mixture},
    error::Result,
    run::Run,
};
use std::sync::Arc;

/// The data of one run, opened: what its recipe's names stand for.
#[derive(Clone)]
pub struct RunData {
    pub tokenizer: Tokenizer,
    pub mixture: Mixture,
    /// The evaluated corpora with their weights, which sum to 1.
    pub windows: Vec<(f64, Arc<EvalWindows>)>,
}

impl RunData {
    /// Resolves a run's weights to plain numbers, which take the sizes of what is opened. Errors when
    /// its caps can't be kept.
    pub fn weigh(&mut self, run: &mut Run) -> Result<()> {
        let parts = self.mixture.parts.iter();
        run.data = run.data.weighed(&Room {
            tokens: parts.map(|(_, stream)| stream.len() as u64).collect(),
            block_size: run.model.block_size,
            rows: run.batch.rows,
            steps: run.steps,
        })?;
        let weights = run.data.mean_weights(run.steps);
        for ((part, _), weight) in self.mixture.parts.iter_mut().zip(weights) {
            *part = weight;
        }
        Ok(())
    }

    /// What a run draws. Errors when a block does not fit a corpus, or a corpus has nothing of what
    /// is to count.
    pub fn batches(&self, run: &Run) -> Result<Batches> {
        let (mixture, t, rows) = (self.mixture.clone(), run.model.block_size, run.batch.rows);
        let mut batches = Batches::new(mixture, t, rows, run.data_seed())?;
        if !run.data.is_plain() {
            batches = batches.scheduled(&run.data, run.steps);
        }
        let batches = batches.noisy(run.data.token_noise, self.tokenizer.vocab_size());
        batches.counting(run.data.targets)
    }
}

/// One digest over every evaluated corpus's windows.
pub fn windows_digest(windows: &[(f64, Arc<EvalWindows>)]) -> String {
    let all: Vec<String> = windows
        .iter()
        .map(|(_, w)| w.digest().to_string())
        .collect();
    crate::digest::sha256_json(&all)
}
