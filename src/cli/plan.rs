//! `windtunnel plan STUDY.toml`

use super::{
    Global,
    output::Output,
    study::{StudyArgs, ready},
};
use crate::{
    error::Result,
    report::{duration, threads},
    study::{ledger::Ledger, plan::Forecast, verdict::Percent},
};

pub fn run(global: &Global, args: &StudyArgs, output: Output) -> Result<()> {
    let ready = ready(global, args, output)?;
    let ledger = Ledger::read(&global.home)?;
    let forecast = ready
        .planned
        .forecast(&ready.session, &ledger, ready.jobs)?;
    output.result("windtunnel.plan.v1", &forecast, &describe(&forecast));
    forecast.check(&ready.planned.contract, ready.available_bytes)
}

/// A forecast in words.
pub fn describe(f: &Forecast) -> String {
    let mut text = format!("study     {}\nclaim     {}\n", f.study, f.claim);
    for (idx, arm) in f.arms.iter().enumerate() {
        let label = if idx == 0 { "arms" } else { "" };
        let what = match &arm.factor {
            None => "control".to_string(),
            Some(_) if arm.changes.is_empty() => "the control again (A/A)".to_string(),
            Some(_) => {
                let changes = arm.changes.iter();
                let changes =
                    changes.map(|(path, (before, after))| format!("{path}: {before} → {after}"));
                changes.collect::<Vec<_>>().join("; ")
            }
        };
        text += &format!("{label:<9} {}: {what}\n", arm.name);
        if let Some(why) = &arm.confounded {
            text += &format!("          confounded, so its verdict will be invalid: {why}\n");
        }
    }
    let first = &f.arms[0];
    text += &format!(
        "trials    {} ({} arms × {} paired seeds), {} finished; {} parameters, {} tokens each\n",
        f.trials,
        f.arms.len(),
        f.seeds,
        f.finished,
        first.parameters,
        first.tokens_per_trial,
    );
    text += &format!(
        "to do     {} tokens, {:.3e} FLOPs, about {} with {} of {} side by side, {:.0} MiB\n",
        f.tokens,
        f.flops,
        duration(60.0 * f.minutes),
        f.jobs,
        threads(f.threads),
        f.memory_bytes as f64 / f64::from(1 << 20),
    );
    for overlap in &f.overlaps {
        text += &format!("leaks     none: {}\n", overlap.in_words());
    }
    let s = &f.sight;
    text += &format!(
        "sees      {:.2} σ of the paired differences with chance 0.8, by {}% intervals\n",
        s.smallest_sd,
        Percent(s.confidence),
    );
    match (&s.sigma, s.smallest) {
        (Some(sigma), Some(smallest)) => {
            text += &format!(
                "          = {smallest:.4} {}; σ is {:.4} from {} {}; the margin is {}\n",
                f.metric.unit(),
                sigma.value,
                sigma.n,
                sigma.from,
                s.margin
            );
        }
        _ => {
            text += "          σ is not known before three seeds of an arm are finished\n";
        }
    }
    text
}
