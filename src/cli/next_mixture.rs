//! `windtunnel next-mixture STUDY`: which mixture would teach most, for anyone to take or leave.

use super::{Global, fit::mixture, output::Output};
use crate::error::Result;
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    /// A finished study whose arms mix corpora
    study: String,
    /// How many to propose
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    n: u16,
    /// Of resamplings and the search
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let asked = mixture::Args {
        next: args.n,
        seed: args.seed,
        ..mixture::Args::default_for(&args.study)
    };
    let (found, report) = mixture::of_study(global, (&args.study, &asked), output)?;
    let mut text = format!(
        "By laws fitted to {} runs of {}, resampled: a run of these is expected to lower the best mixture's loss most.\n",
        found.runs, report.contract.id
    );
    if found.next.is_empty() {
        text += "None: every mixture is near a run that was made.\n";
    }
    for next in &found.next {
        let shares = found
            .domains
            .iter()
            .zip(&next.mixture)
            .filter(|(_, w)| **w > 0.0);
        let shares: Vec<String> = shares
            .map(|(domain, weight)| format!("{{ corpus = \"{domain}\", weight = {weight:.4} }}"))
            .collect();
        text += &format!(
            "data.mixture = [{}]\n  expected gain {:.4}, better than the present best with chance {:.2}, {:.0}% of its tokens unlike any run\n",
            shares.join(", "),
            next.expected_improvement,
            next.chance_better,
            100.0 * next.nearest_run
        );
    }
    let value = json!({
        "study": report.contract.id,
        "runs": found.runs,
        "domains": found.domains,
        "next": found.next,
        "best": found.best,
    });
    output.result("windtunnel.next_mixture.v1", &value, &text);
    Ok(())
}
