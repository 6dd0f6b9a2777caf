//! `windtunnel new study|recipe NAME`

use super::output::Output;
use crate::{
    error::{Error, Result},
    files,
};
use serde_json::json;
use std::{fs, path::PathBuf};

#[derive(clap::Subcommand)]
pub enum Command {
    /// A commented study file, configs/studies/NAME.toml
    Study { name: String },
    /// A commented recipe file, configs/recipes/NAME.toml
    Recipe { name: String },
}

pub fn run(command: Command, output: Output) -> Result<()> {
    let (kind, name) = match &command {
        Command::Study { name } => ("studies", name),
        Command::Recipe { name } => ("recipes", name),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(Error::input(
            "NAME",
            format!("{name:?} can't be a file's name here"),
            "use letters, digits, - and _",
        ));
    }
    let folder = PathBuf::from("configs").join(kind);
    let path = folder.join(format!("{name}.toml"));
    if path.exists() {
        return Err(Error::input(
            path.display().to_string(),
            "is there already",
            "choose another name, or remove the file",
        ));
    }
    let text = match command {
        Command::Study { .. } => crate::study::proposal::template(name),
        Command::Recipe { .. } => crate::recipe::template(name),
    };
    fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", &e))?;
    files::replace(&path, text.as_bytes())?;
    let next = if kind == "studies" { "plan" } else { "train" };
    output.result(
        "windtunnel.new.v1",
        &json!({ "path": path }),
        &format!("wrote {0}\nnext: windtunnel {next} {0}", path.display()),
    );
    Ok(())
}
