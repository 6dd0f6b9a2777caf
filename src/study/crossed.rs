//! Where the spread between seeds comes from: every initialisation with every data order.
//!
//! All trials have one seed (it draws dropout), and first weights and data order of their own; each
//! is evaluated on blocks of windows that share none, so that the three parts can be told apart.

use super::{
    ledger::Ledger,
    runner::{Watch, train_all},
};
use crate::{
    calibration::AtOnce,
    error::{Error, Result},
    metrics::Metric,
    run_dir::RunDir,
    session::{Session, Trial, restore},
    stats::variance::{Split, split},
};
use serde::Serialize;
use std::sync::{Mutex, atomic::AtomicBool};

/// What crossed seeds showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Crossed {
    pub metric: Metric,
    pub initialisations: usize,
    pub orders: usize,
    pub blocks: usize,
    pub trials: usize,
    /// `None` where a trial diverged.
    pub split: Option<Split>,
}

/// How sure each interval is.
const CONFIDENCE: f64 = 0.9;

/// The trials of a design with these many first weights and data orders, by weights, then order.
pub fn trials(session: &Session, trial: &Trial, (inits, orders): (u64, u64)) -> Result<Vec<Trial>> {
    let first = trial.run.seed;
    let pairs = (0..inits).flat_map(|init| (0..orders).map(move |order| (init, order)));
    pairs
        .map(|(init, order)| session.with_seeds(trial, (first + init, first + order)))
        .collect()
}

/// Trains those trials and takes their losses apart. Errors as training does.
pub fn crossed(
    session: &Session,
    trials: &[Trial],
    (orders, blocks, metric): (usize, usize, Metric),
    (at, stopped): (AtOnce, &AtomicBool),
    watch: Watch,
) -> Result<Crossed> {
    let ledger = Mutex::new(Ledger::open(&session.home)?);
    let all: Vec<&Trial> = trials.iter().collect();
    train_all((session, &ledger), &all, (at, stopped), watch)?;
    let values: Vec<Option<Vec<f64>>> = trials
        .iter()
        .map(|trial| on_blocks(session, &trial.dir, blocks, metric))
        .collect::<Result<_>>()?;
    let values: Option<Vec<Vec<f64>>> = values.into_iter().collect();
    let table = values.map(|values| -> Vec<Vec<Vec<f64>>> {
        values.chunks(orders).map(<[Vec<f64>]>::to_vec).collect()
    });
    Ok(Crossed {
        metric,
        initialisations: trials.len() / orders.max(1),
        orders,
        blocks,
        trials: trials.len(),
        split: table.and_then(|table| split(&table, CONFIDENCE)),
    })
}

/// A trial's final metric on every block; `None` where it diverged.
fn on_blocks(
    session: &Session,
    dir: &RunDir,
    blocks: usize,
    metric: Metric,
) -> Result<Option<Vec<f64>>> {
    let outcome = dir.outcome()?.ok_or_else(|| {
        Error::input(
            dir.path().display().to_string(),
            "the trial has not ended",
            "run the same command again",
        )
    })?;
    let Some(whole) = outcome.metric(metric) else {
        return Ok(None);
    };
    if blocks == 1 {
        return Ok(Some(vec![whole]));
    }
    let records = restore(session, dir)?.evaluate_blocks(session, blocks)?;
    Ok(Some(records.iter().map(|r| r.metric(metric)).collect()))
}

impl Crossed {
    /// For a terminal.
    pub fn in_words(&self) -> String {
        let unit = self.metric.unit();
        let mut text = format!(
            "{} trials: {} initialisations × {} data orders, evaluated on {} blocks of windows\n",
            self.trials, self.initialisations, self.orders, self.blocks
        );
        let Some(split) = &self.split else {
            return text + "a trial diverged: there is no variance to take apart\n";
        };
        let evaluation = split.evaluation.map(|c| ("evaluation, one block", c));
        let rows = [
            ("initialisation", split.initialisation),
            ("data order", split.order),
            ("the two together", split.interaction),
        ];
        for (name, c) in rows.into_iter().chain(evaluation) {
            text += &format!(
                "  {name:<22} σ {:.5} {unit} ({:.0}% interval {:.5} to {:.5})\n",
                c.variance.sqrt(),
                100.0 * split.confidence,
                c.low.max(0.0).sqrt(),
                c.high.max(0.0).sqrt()
            );
        }
        text
    }
}
