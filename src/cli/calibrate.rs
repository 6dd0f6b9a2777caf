//! `calibrate --fast`: how often verdicts are right, on simulated outcomes.

use super::{Global, known_answers, output::Output};
use crate::{
    error::{Error, Kind, Result},
    study::calibrate::calibrate,
};

#[derive(clap::Args)]
pub struct Args {
    /// Simulated outcomes through the same verdicts, in seconds; trains nothing
    #[arg(long, conflicts_with_all = ["out", "from", "jobs"])]
    fast: bool,
    /// Of the simulation; each seed gives the same tables every time
    #[arg(long, value_name = "N", default_value_t = 1, requires = "fast")]
    seed: u64,
    /// Simulated studies behind each line
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "fast", value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    repeats: u32,
    #[command(flatten)]
    real: known_answers::Args,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    if !args.fast {
        return known_answers::run(global, &args.real, output);
    }
    let calibration = calibrate(args.seed, args.repeats as usize);
    output.result(
        "windtunnel.calibrate_fast.v1",
        &calibration,
        &calibration.in_words(),
    );
    let wrong = calibration.wrong();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Failed,
            "calibrate --fast",
            format!("not as it must be: {}", wrong.join("; ")),
            "run it with another --seed: a line is off by three standard errors once in 370 by chance, twice means that verdicts of this build can't be trusted",
        )),
    }
}
