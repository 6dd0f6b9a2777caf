//! Runs with what looks wrong in their logs, each beside the control of its study where that saw the
//! same batches.

use super::contract::StudyDir;
use crate::{
    anomalies::{Flag, Log, flags},
    error::Result,
    home::Home,
    run_dir::RunDir,
};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

/// One run's flags.
#[derive(Debug, Serialize)]
pub struct Flagged {
    pub run: String,
    pub steps: usize,
    pub baseline: Option<String>,
    pub flags: Vec<Flag>,
}

/// What looks wrong in a run, beside its control's trial where it has one. Errors when a file of one
/// of the two is damaged.
pub fn flagged(home: &Path, dir: &RunDir) -> Result<Flagged> {
    let control = controls(home)?.remove(&id(dir));
    let control = control.map(|id| RunDir::new(home.join("runs").join(id)));
    beside(dir, control.as_ref())
}

/// The same of every run of a home.
pub fn all(home: &Path) -> Result<Vec<Flagged>> {
    let controls = controls(home)?;
    let folder = |id: &String| RunDir::new(home.join("runs").join(id));
    let runs = Home::runs(home);
    let of = |id: &String| beside(&folder(id), controls.get(id).map(folder).as_ref());
    runs.iter().map(of).collect()
}

/// What looks wrong in a run beside another one, if there is one.
pub fn beside(dir: &RunDir, baseline: Option<&RunDir>) -> Result<Flagged> {
    let log = Log::read(dir)?;
    let theirs = baseline.map(Log::read).transpose()?;
    Ok(Flagged {
        run: id(dir),
        steps: log.steps.len(),
        baseline: baseline.map(id),
        flags: flags(&log, theirs.as_ref()),
    })
}

fn id(dir: &RunDir) -> String {
    let name = dir.path().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Of each trial of a study's arm, the control's trial with the same seed.
fn controls(home: &Path) -> Result<BTreeMap<String, String>> {
    let mut controls = BTreeMap::new();
    for study in StudyDir::all(home) {
        let contract = StudyDir::find(home, &study)?.contract()?;
        let Some((control, arms)) = contract.terms.arms.split_first() else {
            continue;
        };
        for arm in arms {
            // Arms that read other data have no residual.
            if arm.run.data != control.run.data || arm.run.batch.rows != control.run.batch.rows {
                continue;
            }
            for (own, theirs) in arm.trials.iter().zip(&control.trials) {
                let is_there = RunDir::of(home, theirs).recipe().exists();
                if own != theirs && is_there {
                    controls.insert(own.to_string(), theirs.to_string());
                }
            }
        }
    }
    Ok(controls)
}
