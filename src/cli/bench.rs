//! `windtunnel bench`: how fast a training step is, and where its time goes.

use super::{Global, output::Output};
use crate::{
    bench::{Bench, Config, Roofline, Speed, Subject},
    error::{Error, Result},
    recipe::Recipe,
    session::Session,
};
use serde::Serialize;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A recipe to time, a TOML file, on its own corpora
    recipe: Option<PathBuf>,
    /// Changes to the recipe
    #[arg(value_name = "KEY=VALUE", requires = "recipe")]
    overrides: Vec<String>,
    /// Without a recipe: a (nanoGPT's CPU run), b (its GPU run) or c (a vocabulary of 50,304), on random tokens
    #[arg(long, value_name = "NAME", conflicts_with = "recipe")]
    config: Option<Config>,
    /// How long to time whole steps, and then their ops, each
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    seconds: f64,
}

#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    speed: Speed,
    #[serde(flatten)]
    roofline: Roofline,
}

pub fn run(global: &Global, args: Args, output: Output) -> Result<()> {
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        return Err(Error::input(
            "--seconds",
            format!("{} is no time to measure for", args.seconds),
            "use more than 0, at most 3600",
        ));
    }
    let compute = global.compute(output)?;
    let subject = match &args.recipe {
        None => args.config.unwrap_or(Config::A).subject()?,
        Some(path) => {
            let (recipe, places) = Recipe::load(path, &args.overrides)?;
            let session =
                Session::new(&global.home, compute.clone()).watched(super::ingest::bar(output));
            let trial = session.resolve(&recipe).map_err(|e| places.locate(e))?;
            Subject {
                name: path.display().to_string(),
                run: trial.run,
                data: trial.data,
            }
        }
    };
    let mut bench = Bench::new(subject, compute)?;
    let speed = bench.speed(args.seconds)?;
    let roofline = bench.roofline(args.seconds, &speed)?;
    let measured = Measured { speed, roofline };
    output.result("windtunnel.bench.v1", &measured, &text(&measured));
    Ok(())
}

fn text(measured: &Measured) -> String {
    let (s, r) = (&measured.speed, &measured.roofline);
    let mut text = format!(
        "{}: {} threads, {}, {}\n\
         {:.0} tokens/s, {:.1} ms a step (median of {} steps; the best twentieth {:.0} tokens/s)\n\
         {:.1} GFLOP/s, {:.0}% of the {:.0} that multiply-adds in registers reach; memory {:.1} GB/s\n\
         {:.0} MB of arenas and activations, {:.0} MB resident at most\n\n\
         {:<22} {:>9} {:>6} {:>9} {:>6} {:>7}\n",
        s.config,
        s.threads,
        s.dtype,
        s.instruction_set,
        s.tokens_per_second,
        s.step_ms,
        s.steps,
        s.best_tokens_per_second,
        s.gflops,
        100.0 * r.share_of_peak,
        r.peak_gflops,
        r.memory_gb_per_second,
        s.memory_mb,
        s.peak_rss_mb,
        "op",
        "ms",
        "step",
        "GFLOP/s",
        "peak",
        "GB/s",
    );
    let cell = |value: Option<f64>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}"))
    };
    for op in &r.ops {
        text += &format!(
            "{:<22} {:>9.3} {:>5.1}% {:>9} {:>6} {:>7}\n",
            op.op,
            op.ms,
            100.0 * op.share,
            cell(op.gflops, 1),
            op.share_of_peak
                .map_or_else(String::new, |share| format!("{:.0}%", 100.0 * share)),
            cell(op.gb_per_second, 1),
        );
    }
    text
}
