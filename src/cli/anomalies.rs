//! `windtunnel anomalies [RUN]`: what looks wrong in the log of one run, or of all.

use super::{Global, output::Output};
use crate::{
    error::Result,
    home::Home,
    study::flagged::{Flagged, all, beside, flagged},
};
use serde::Serialize;

#[derive(clap::Args)]
pub struct Args {
    /// A run: its id or the start of it, or its folder; without it, every run
    run: Option<String>,
    /// The run to compare it with [default: the control's trial with the same seed, where a study
    /// has both]
    #[arg(long, value_name = "RUN", requires = "run")]
    baseline: Option<String>,
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
    let Some(name) = &args.run else {
        let scan = scan(all(home)?);
        output.result("windtunnel.anomalies_scan.v1", &scan, &scan_text(&scan));
        return Ok(());
    };
    let dir = Home::find_run(home, name)?;
    let found = match &args.baseline {
        Some(name) => beside(&dir, Some(&Home::find_run(home, name)?))?,
        None => flagged(home, &dir)?,
    };
    output.result("windtunnel.anomalies.v1", &found, &text(&found));
    Ok(())
}

fn scan(all: Vec<Flagged>) -> Scan {
    let steps = all.iter().map(|run| run.steps).sum::<usize>();
    let flags = all.iter().map(|run| run.flags.len()).sum::<usize>();
    let is_flagged = |run: &Flagged| !run.flags.is_empty();
    Scan {
        runs: all.len(),
        steps,
        flags,
        per_thousand: 1000.0 * flags as f64 / steps.max(1) as f64,
        flagged: all.into_iter().filter(is_flagged).collect(),
    }
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
