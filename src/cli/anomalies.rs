//! `windtunnel anomalies [RUN]`: what looks wrong in the log of one run, or of all.

use super::{Global, output::Output};
use crate::{
    anomalies::{Flag, Log, flags},
    error::Result,
    home::Home,
    run_dir::RunDir,
    study::contract::StudyDir,
};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

#[derive(clap::Args)]
pub struct Args {
    /// A run: its id or the start of it, or its folder; without it, every run
    run: Option<String>,
    /// The run to compare it with [default: the control's trial with the same seed, where a study
    /// has both]
    #[arg(long, value_name = "RUN", requires = "run")]
    baseline: Option<String>,
}

/// One run's flags.
#[derive(Serialize)]
pub struct Flagged {
    pub run: String,
    pub steps: usize,
    pub baseline: Option<String>,
    pub flags: Vec<Flag>,
}

#[derive(Serialize)]
struct Scan {
    runs: usize,
    steps: usize,
    flags: usize,
    /// Flags in a thousand steps.
    per_thousand: f64,
    flagged: Vec<Flagged>,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let home = &global.home;
    let controls = controls(home)?;
    let Some(name) = &args.run else {
        let scan = scan(home, &controls)?;
        output.result("windtunnel.anomalies_scan.v1", &scan, &scan_text(&scan));
        return Ok(());
    };
    let dir = Home::find_run(home, name)?;
    let baseline = match &args.baseline {
        Some(name) => Some(Home::find_run(home, name)?),
        None => controls
            .get(&id(&dir))
            .map(|control| RunDir::new(home.join("runs").join(control))),
    };
    let found = flagged(&dir, baseline.as_ref())?;
    output.result("windtunnel.anomalies.v1", &found, &text(&found));
    Ok(())
}

fn id(dir: &RunDir) -> String {
    let name = dir.path().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Of each trial of a study's arm, the control's trial with the same seed.
pub fn controls(home: &Path) -> Result<BTreeMap<String, String>> {
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
                if own != theirs {
                    controls.insert(own.to_string(), theirs.to_string());
                }
            }
        }
    }
    Ok(controls)
}

/// What looks wrong in a run. Errors when its files, or its baseline's, are damaged.
pub fn flagged(dir: &RunDir, baseline: Option<&RunDir>) -> Result<Flagged> {
    let log = Log::read(dir)?;
    let beside = baseline.map(Log::read).transpose()?;
    Ok(Flagged {
        run: id(dir),
        steps: log.steps.len(),
        baseline: baseline.map(id),
        flags: flags(&log, beside.as_ref()),
    })
}

fn scan(home: &Path, controls: &BTreeMap<String, String>) -> Result<Scan> {
    let runs = Home::runs(home);
    let folder = |id: &String| RunDir::new(home.join("runs").join(id));
    let all = runs
        .iter()
        .map(|id| flagged(&folder(id), controls.get(id).map(folder).as_ref()));
    let all = all.collect::<Result<Vec<_>>>()?;
    let steps = all.iter().map(|run| run.steps).sum::<usize>();
    let flags = all.iter().map(|run| run.flags.len()).sum::<usize>();
    Ok(Scan {
        runs: all.len(),
        steps,
        flags,
        per_thousand: 1000.0 * flags as f64 / steps.max(1) as f64,
        flagged: all
            .into_iter()
            .filter(|run| !run.flags.is_empty())
            .collect(),
    })
}

fn text(found: &Flagged) -> String {
    let beside = found.baseline.as_ref();
    let beside = beside.map_or(String::new(), |run| format!(" beside {run}"));
    let mut text = format!(
        "run       {}: {} logged steps{beside}\n",
        found.run, found.steps
    );
    for flag in &found.flags {
        text += &format!(
            "step {:<6} {}: {}\n            look at {}\n",
            flag.step,
            flag.anomaly.name(),
            flag.words,
            flag.look
        );
    }
    if found.flags.is_empty() {
        text += "nothing looks wrong\n";
    }
    text
}

fn scan_text(scan: &Scan) -> String {
    let mut words: String = scan.flagged.iter().map(text).collect();
    words += &format!(
        "{} runs, {} steps: {} flags, {:.2} in a thousand steps\n",
        scan.runs, scan.steps, scan.flags, scan.per_thousand
    );
    words
}
