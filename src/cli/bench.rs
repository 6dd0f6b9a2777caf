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
    /// Without a recipe: a (nanoGPT's CPU run), b (its GPU run), c (a vocabulary of 50,304) or gpt2 (124M), on random tokens
    #[arg(long, value_name = "NAME", conflicts_with = "recipe")]
    config: Option<Config>,
    /// Train so many of it side by side as one program, with seeds of their own
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pack: u16,
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
    let mut bench = Bench::packed(subject, args.pack.into(), compute)?;
    let speed = bench.speed(args.seconds)?;
    let roofline = bench.roofline(args.seconds, &speed)?;
    let measured = Measured { speed, roofline };
    output.result("windtunnel.bench.v1", &measured, &text(&measured));
    Ok(())
}

fn text(measured: &Measured) -> String {
    let (s, r) = (&measured.speed, &measured.roofline);
    let packed = match s.pack {
        1 => String::new(),
        pack => format!("{pack} side by side, "),
    };
    let on_device = r.peak_of.starts_with("a product");
    let threads = match on_device {
        true => format!("{}, {}", s.device, s.dtype),
        false => format!("{} threads, {}, {}", s.threads, s.dtype, s.instruction_set),
    };
    let peak = match on_device {
        true => format!("{} reaches", r.peak_of),
        false => format!("{} reach", r.peak_of),
    };
    let text = format!(
        "{}: {packed}{threads}\n\
         {:.0} tokens/s, {:.1} ms a step (median of {} steps; the best twentieth {:.0} tokens/s)\n\
         {:.1} GFLOP/s, {:.0}% of the {:.0} that {peak}; memory {:.1} GB/s\n\
         {:.0} MB of arenas and activations, {:.0} MB resident at most\n",
        s.config,
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
    );
    match r.ops.is_empty() {
        true => text,
        false => text + &table(r),
    }
}

/// Every op's part of a step.
fn table(roofline: &Roofline) -> String {
    let mut text = format!(
        "\n{:<22} {:>9} {:>6} {:>9} {:>6} {:>7}\n",
        "op", "ms", "step", "GFLOP/s", "peak", "GB/s",
    );
    let cell = |value: Option<f64>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}"))
    };
    for op in &roofline.ops {
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
