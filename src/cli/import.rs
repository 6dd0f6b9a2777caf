//! `windtunnel import DIR [NAME]`

use super::{Global, output::Output, tokenizer::named};
use crate::{
    error::{Error, Result},
    hf::{Imported, import::Choices},
    home::Home,
    run_dir::RunDir,
};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// A folder with config.json, model.safetensors (whole or in shards) and a tokenizer
    dir: PathBuf,
    /// The run's id starts with it [default: the folder's name]
    name: Option<String>,
    /// A tokenizer instead of the folder's own: a path, "byte", or a name that `tokenizer list` has
    #[arg(long, value_name = "T")]
    tokenizer: Option<String>,
    /// Sequences of at most N tokens, where the model could take longer ones
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    block_size: usize,
}

pub fn run(global: &Global, args: Args, output: Output) -> Result<()> {
    let name = match &args.name {
        Some(name) => checked(name)?.to_string(),
        None => name_of(&args.dir),
    };
    let tokenizer = match args.tokenizer.as_deref() {
        None => None,
        Some("char") => {
            return Err(Error::input(
                "--tokenizer char",
                "its characters are those of a run's corpora, and an imported model has none",
                "give the tokenizer.json that the model was trained with",
            ));
        }
        Some(name) => Some(named(&global.home, name, "")?),
    };
    let compute = global.compute(output)?;
    Home::check_free(&global.home)?;
    let choices = Choices {
        tokenizer,
        block_size: args.block_size,
    };
    let model = Imported::read(&args.dir, choices)?;
    let id = model.id(&name);
    let there = RunDir::new(global.home.join("runs").join(&id));
    let dir = match there.recipe().exists() {
        true => there,
        false => {
            let _lock = Home::lock(&global.home)?;
            model.keep(&global.home, &id, &compute.class)?
        }
    };
    for note in &model.notes {
        output.note(&format!("note: {note}"));
    }
    let value = json!({
        "run": id,
        "folder": dir.path(),
        "origin": model.origin,
        "model": model.run.model,
        "vocabulary": model.run.vocab_size,
        "notes": model.notes,
    });
    let text = format!(
        "{id}: {} layout, {} parameters, {} ids, sequences of {}\n{}\n",
        model.origin.layout.name(),
        model.origin.parameters,
        model.run.vocab_size,
        model.run.model.block_size,
        dir.path().display()
    );
    output.result("windtunnel.import.v1", &value, &text);
    Ok(())
}

const MOST_NAME: usize = 64;

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn checked(name: &str) -> Result<&str> {
    match !name.is_empty() && name.len() <= MOST_NAME && name.chars().all(plain) {
        true => Ok(name),
        false => Err(Error::input(
            "NAME",
            format!("{name:?} can't be a run's name"),
            format!("use letters, digits, - and _, at most {MOST_NAME}"),
        )),
    }
}

/// The folder's name, with - for what a run's name can't have.
fn name_of(dir: &Path) -> String {
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.into());
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().take(MOST_NAME).collect();
    let name = name.replace(|c| !plain(c), "-");
    match name.trim_matches('-') {
        "" => "model".into(),
        name => name.into(),
    }
}
