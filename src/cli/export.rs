//! `windtunnel export RUN --to hf`

use super::{Global, output::Output};
use crate::{
    error::{Error, Result},
    hf::{self, Origin},
    home::Home,
    session::{Session, restore},
};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A run: its id or the start of it, or its folder
    run: String,
    /// hf: config.json, model.safetensors and a tokenizer, as Hugging Face's transformers loads them
    #[arg(long, value_parser = ["hf"])]
    to: String,
    /// A new folder [default: the run's id with -hf]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The average of the weights that `eval.ema` keeps, in their place
    #[arg(long)]
    ema: bool,
}

pub fn run(global: &Global, args: Args, output: Output) -> Result<()> {
    let dir = Home::find_run(&global.home, &args.run)?;
    let out = args.out.unwrap_or_else(|| {
        let name = dir.path().file_name().unwrap_or_default();
        format!("{}-{}", name.to_string_lossy(), args.to).into()
    });
    let session = Session::new(&global.home, global.compute(output)?);
    let restored = restore(&session, &dir)?;
    let restored = match args.ema {
        true => restored.averaged(&dir)?,
        false => restored,
    };
    let at_model = |e: Error| match e.place.as_str() {
        "[model]" => Error {
            place: format!("{} [model]", dir.recipe().display()),
            ..e
        },
        _ => e,
    };
    let layout = hf::export(&restored, Origin::of(&dir)?.as_ref(), &out).map_err(at_model)?;
    let run = restored.run();
    let parameters = run.model.n_params(run.vocab_size);
    let value = json!({
        "run": dir.path(),
        "step": restored.step(),
        "layout": layout,
        "folder": out,
        "parameters": parameters,
        "vocabulary": run.vocab_size,
    });
    let mut text = format!(
        "{}: {} layout, {parameters} parameters of step {}, {} ids\n",
        out.display(),
        layout.name(),
        restored.step(),
        run.vocab_size
    );
    text += &format!(
        "  AutoModelForCausalLM.from_pretrained({0:?}), AutoTokenizer.from_pretrained({0:?})",
        out.display().to_string()
    );
    output.result("windtunnel.export.v1", &value, &text);
    Ok(())
}
