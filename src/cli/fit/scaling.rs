//! `windtunnel fit scaling RUNS.csv`

use super::{Output, plot, table};
use crate::{
    error::{Error, Result},
    laws::scaling::{
        self, Point,
        report::{Asked, fit_scaling},
    },
    report::plot::iso_flop_svg,
};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A row for each run: its loss, and two of parameters, tokens and training FLOPs
    runs: PathBuf,
    /// Leave out the N runs of fewest tokens per parameter
    #[arg(long, value_name = "N", default_value_t = 0)]
    drop_lowest_ratio: usize,
    /// Compute budgets, in FLOPs, to say the best parameters and tokens of
    #[arg(long, value_delimiter = ',', value_name = "FLOPS")]
    budget: Vec<f64>,
    /// Resamplings of the runs that intervals come from
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u16).range(2..=20000))]
    bootstrap: u16,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write a picture of losses at equal compute
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

pub fn run(args: &Args, output: Output) -> Result<()> {
    let mut points = scaling::points(&table(&args.runs)?)?;
    if args.drop_lowest_ratio >= points.len() {
        return Err(Error::input(
            format!("--drop-lowest-ratio {}", args.drop_lowest_ratio),
            format!("there are {} runs", points.len()),
            "leave some",
        ));
    }
    if let Some(wrong) = args.budget.iter().find(|b| !(**b > 0.0 && b.is_finite())) {
        return Err(Error::input(
            format!("--budget {wrong}"),
            "a budget is a number of FLOPs above 0",
            "write for example --budget 1e21,1e22",
        ));
    }
    let dropped: Vec<Point> = scaling::drop_lowest_ratio(&mut points, args.drop_lowest_ratio);
    let asked = Asked {
        dropped: &dropped,
        budgets: &args.budget,
        replicates: args.bootstrap.into(),
        seed: args.seed,
    };
    let found = fit_scaling(&points, &asked)?;
    plot(args.plot.as_deref(), || iso_flop_svg(&found), output)?;
    output.result("windtunnel.fit_scaling.v1", &found, &found.in_words());
    Ok(())
}
