//! `windtunnel sample RUN`

use super::{Global, output::Output};
use crate::{
    error::{Error, Result},
    home::Home,
    session::{Sampling, Session, restore},
};
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    /// A run: its id or the start of it, or its folder
    run: String,
    /// Text to go on from
    #[arg(long, default_value = "\n")]
    prompt: String,
    /// Tokens to write
    #[arg(long, default_value_t = 300)]
    tokens: usize,
    /// Above 1 flattens the distribution, below 1 sharpens it; 0 takes the likeliest token
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
    /// Choose among the likeliest N tokens only; 0 means all
    #[arg(long, default_value_t = 0, value_name = "N")]
    top_k: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The average of the weights that `eval.ema` keeps, in their place
    #[arg(long)]
    ema: bool,
}

pub fn run(global: &Global, args: Args, output: Output) -> Result<()> {
    if !(args.temperature >= 0.0 && args.temperature.is_finite()) {
        return Err(Error::input(
            "--temperature",
            format!("{} is not a temperature", args.temperature),
            "use a number of 0 or more",
        ));
    }
    let dir = Home::find_run(&global.home, &args.run)?;
    let session =
        Session::new(&global.home, global.compute(output)?).watched(super::ingest::bar(output));
    let restored = restore(&session, &dir)?;
    let mut restored = match args.ema {
        true => restored.averaged(&dir)?,
        false => restored,
    };
    let sampling = Sampling {
        tokens: args.tokens,
        temperature: args.temperature,
        top_k: args.top_k,
        seed: args.seed,
    };
    let text = restored.sample(&args.prompt, &sampling)?;
    let value = json!({ "step": restored.step(), "prompt": args.prompt, "text": text });
    output.result(
        "windtunnel.sample.v1",
        &value,
        &format!("{}{text}", args.prompt),
    );
    Ok(())
}
