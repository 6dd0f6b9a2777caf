//! `windtunnel new study|recipe|variant NAME`

use super::{Global, fit, output::Output};
use crate::{
    error::{Error, Result},
    files,
    model::variants,
    report::StudyReport,
    study::{
        confirm::{Confirmation, confirm, confirm_mixture},
        contract::StudyDir,
    },
};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

#[derive(clap::Subcommand)]
pub enum Command {
    /// A commented study file, configs/studies/NAME.toml
    Study {
        name: String,
        /// The study that confirms the candidate of this one, on fresh seeds, and its recipe
        #[arg(long, value_name = "STUDY")]
        confirm: Option<String>,
        /// The study that puts the best mixture by the laws of this swarm against its control, on
        /// fresh seeds, and its recipe
        #[arg(long, value_name = "STUDY", conflicts_with = "confirm")]
        best_mix: Option<String>,
    },
    /// A commented recipe file, configs/recipes/NAME.toml
    Recipe { name: String },
    /// An idea in code, src/model/variants/NAME.rs, with its test, put in the list of variants
    Variant { name: String },
}

pub fn run(global: &Global, command: Command, output: Output) -> Result<()> {
    match &command {
        Command::Study {
            name,
            confirm: Some(study),
            ..
        } => confirming(global, (name, study), output),
        Command::Study {
            name,
            best_mix: Some(study),
            ..
        } => foretold(global, (name, study), output),
        Command::Study { name, .. } => config("studies", name, output),
        Command::Recipe { name } => config("recipes", name, output),
        Command::Variant { name } => variant(name, output),
    }
}

/// A confirming study with its recipe.
fn confirming(global: &Global, (name, study): (&str, &str), output: Output) -> Result<()> {
    let dir = StudyDir::find(&global.home, study)?;
    let report = StudyReport::read(&global.home, &dir)?;
    let text = |base: &str| confirm(&report.contract, &report.verdict, name, base);
    write_both(name, &text, output)
}

/// The study of a mixture that laws foretell.
fn foretold(global: &Global, (name, study): (&str, &str), output: Output) -> Result<()> {
    let args = fit::mixture::Args::default_for(study);
    let (found, report) = fit::mixture::of_study(global, (study, &args), output)?;
    let best: Vec<(String, f64)> = found
        .best
        .mixture
        .iter()
        .map(|share| (share.domain.clone(), share.weight.value))
        .collect();
    let uniform = found
        .best
        .beside
        .iter()
        .find(|beside| beside.name == "uniform");
    let effect = uniform.map_or(0.0, |beside| beside.above_best.value);
    let text = |base: &str| {
        Ok(confirm_mixture(
            &report.contract,
            (&best, effect, found.runs),
            name,
            base,
        ))
    };
    write_both(name, &text, output)
}

/// A study and its recipe, named alike; `text` makes both, given the recipe as the study sees it.
fn write_both(
    name: &str,
    text: &dyn Fn(&str) -> Result<Confirmation>,
    output: Output,
) -> Result<()> {
    plain_name(name)?;
    let folders = ["recipes", "studies"].map(|kind| PathBuf::from("configs").join(kind));
    let [recipe, study] = folders
        .each_ref()
        .map(|dir| dir.join(format!("{name}.toml")));
    not_there(&recipe)?;
    not_there(&study)?;
    let base = format!("../recipes/{name}.toml");
    let text = text(&base)?;
    for folder in &folders {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))?;
    }
    files::replace(&recipe, text.recipe.as_bytes())?;
    files::replace(&study, text.study.as_bytes())?;
    output.result(
        "windtunnel.new.v1",
        &json!({ "path": study, "recipe": recipe }),
        &format!(
            "wrote {0} and {1}\nnext: windtunnel plan {0}",
            study.display(),
            recipe.display()
        ),
    );
    Ok(())
}

fn plain_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(plain) {
        true => Ok(()),
        false => Err(not_a_name(name, "use letters, digits, - and _")),
    }
}

fn config(kind: &str, name: &str, output: Output) -> Result<()> {
    plain_name(name)?;
    let folder = PathBuf::from("configs").join(kind);
    let path = folder.join(format!("{name}.toml"));
    not_there(&path)?;
    let (text, next) = match kind {
        "studies" => (crate::study::proposal::template(name), "plan"),
        _ => (crate::recipe::template(name), "train"),
    };
    fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", &e))?;
    files::replace(&path, text.as_bytes())?;
    output.result(
        "windtunnel.new.v1",
        &json!({ "path": path }),
        &format!("wrote {0}\nnext: windtunnel {next} {0}", path.display()),
    );
    Ok(())
}

/// Writes the skeleton and its line in the list, or neither.
fn variant(name: &str, output: Output) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(plain) {
        let remedy = "use small letters, digits and _, a letter first: it names a Rust module";
        return Err(not_a_name(name, remedy));
    }
    let taken = ["skeleton", "testing"].contains(&name) || KEYWORDS.contains(&name);
    if taken || variants::NAMES.contains(&name) {
        return Err(not_a_name(
            name,
            "it is taken, by a variant or by Rust: choose another",
        ));
    }
    let list = PathBuf::from("src/model/variants.rs");
    let path = PathBuf::from("src/model/variants").join(format!("{name}.rs"));
    let source = fs::read_to_string(&list).map_err(|e| Error {
        remedy: "a variant is code: run this in the top folder of windtunnel's sources".into(),
        ..Error::io(&list, "read", &e)
    })?;
    not_there(&path)?;
    let listed = variants::with_listed(&source, name).ok_or_else(|| {
        Error::input(
            list.display().to_string(),
            "the list `variants! { … }` was not found",
            "put it back as it was",
        )
    })?;
    files::replace(&path, variants::skeleton_for(name).as_bytes())?;
    if let Err(error) = files::replace(&list, listed.as_bytes()) {
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    output.result(
        "windtunnel.new.v1",
        &json!({ "path": path, "list": list }),
        &format!(
            "wrote {}, listed in {}\nnext: cargo test --release --lib variants::{name}, then \"model.variant\" = \"{name}\" in a recipe or an arm",
            path.display(),
            list.display()
        ),
    );
    Ok(())
}

/// Words that can't name a module.
const KEYWORDS: [&str; 49] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "while",
];

fn not_a_name(name: &str, remedy: &str) -> Error {
    Error::input(
        "NAME",
        format!("{name:?} can't be a file's name here"),
        remedy,
    )
}

fn not_there(path: &Path) -> Result<()> {
    match path.exists() {
        false => Ok(()),
        true => Err(Error::input(
            path.display().to_string(),
            "is there already",
            "choose another name, or remove the file",
        )),
    }
}
