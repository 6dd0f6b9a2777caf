//! The locked test part of a campaign: read once, for its last claim, and written down.

use super::{
    contract::Contract,
    verdict::{Percent, Verdict, digits},
};
use crate::{
    digest::sha256,
    error::{Error, Result},
    files,
    metrics::Metric,
    stats::{
        paired::{Paired, paired},
        simultaneous_confidence,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestRead {
    pub schema: String,
    pub study: String,
    pub metric: Metric,
    pub readings: Vec<Reading>,
    /// Of each arm but the control, in their order: paired differences from the control.
    pub effects: Vec<Option<Paired>>,
}

/// An arm's values on the test part, by seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub arm: String,
    pub values: Vec<f64>,
}

impl TestRead {
    /// The paired differences on the test part, at the study's confidence.
    pub fn new(contract: &Contract, verdict: &Verdict, readings: Vec<Reading>) -> Self {
        let (control, arms) = readings.split_at(1);
        let confidence = simultaneous_confidence(verdict.rule.alpha, arms.len());
        let effect = |arm: &Reading| {
            let pairs = control[0].values.iter().zip(&arm.values);
            paired(&pairs.map(|(c, a)| a - c).collect::<Vec<f64>>(), confidence)
        };
        Self {
            schema: "windtunnel.test_read.v1".into(),
            study: contract.id.clone(),
            metric: verdict.rule.metric,
            effects: arms.iter().map(effect).collect(),
            readings,
        }
    }

    /// For a terminal.
    pub fn in_words(&self) -> String {
        let mut text = format!("test part read for {}\n", self.study);
        for (reading, effect) in self.readings.iter().skip(1).zip(&self.effects) {
            let Some(e) = effect else {
                continue;
            };
            let places = digits((e.high - e.low).abs().max(1e-4));
            text += &format!(
                "          {}: {:+.places$} {} ({}% interval {:+.places$} to {:+.places$})\n",
                reading.arm,
                e.mean,
                self.metric.unit(),
                Percent(e.confidence),
                e.low,
                e.high
            );
        }
        text
    }
}

fn path(home: &Path, campaign: &str) -> PathBuf {
    // A name may hold what a file's can't.
    let name = &sha256(campaign.as_bytes())[..16];
    home.join("campaigns").join(format!("{name}.test.json"))
}

/// The one reading of a campaign's test part, if there was one. Errors when its file is damaged: it
/// counts as read.
pub fn read(home: &Path, campaign: &str) -> Result<Option<TestRead>> {
    let path = path(home, campaign);
    match path.exists() {
        true => files::read_json(&path, "restore this file: the test part was read").map(Some),
        false => Ok(None),
    }
}

/// Writes a reading down.
pub fn keep(home: &Path, campaign: &str, read: &TestRead) -> Result<()> {
    let path = path(home, campaign);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))?;
    }
    files::write_json(&path, read)
}
