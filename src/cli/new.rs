//! `windtunnel new study|recipe|variant NAME`, a study also from a question or a draft

use super::{Global, fit, output::Output, propose};
use crate::{
    claude::{
        draft::{Draft, STUDIES},
        scaffold::{self, Made},
    },
    error::{Error, Result},
    files,
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
        /// Have Claude write the study that would answer this, with the recipe or the variant that it
        /// needs (as `propose` does)
        #[arg(long, value_name = "QUESTION", conflicts_with_all = ["confirm", "best_mix", "draft"])]
        about: Option<String>,
        /// A study of this draft, a JSON file in the form of `schema proposal`, with the recipe or the
        /// variant that it needs; "-" reads it from stdin
        #[arg(long, value_name = "FILE", conflicts_with_all = ["confirm", "best_mix"])]
        draft: Option<PathBuf>,
        /// Who wrote the draft
        #[arg(long, value_name = "NAME", requires = "draft", default_value = "human")]
        proposer: String,
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
        Command::Study {
            name,
            about: Some(about),
            ..
        } => asked(global, (name, about), output),
        Command::Study {
            name,
            draft: Some(draft),
            proposer,
            ..
        } => drafted((name, draft, proposer), output),
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

/// A study by Claude under a name. What the name alone rules out is found before anything is paid.
fn asked(global: &Global, (name, about): (&str, &str), output: Output) -> Result<()> {
    plain_name(name)?;
    not_there(&Path::new(STUDIES).join(format!("{name}.toml")))?;
    propose::run(global, &propose::Args::named(name, about), output)
}

/// A draft's study under a name, with what it needs.
fn drafted((name, file, proposer): (&str, &Path, &str), output: Output) -> Result<()> {
    let text = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => fs::read_to_string(file),
    };
    let text = text.map_err(|e| Error::io(file, "read", &e))?;
    let value = serde_json::from_str(&text).map_err(|e| {
        Error::input(
            format!("{}:{}", file.display(), e.line()),
            format!("not JSON: {e}"),
            "write an object as `windtunnel schema proposal` says",
        )
    })?;
    let mut draft = Draft::parse(&value)?;
    draft.name = name.into();
    let written = scaffold::write(Path::new("."), &draft, proposer)?;
    let files = [
        Some(&written.study),
        written.recipe.as_ref(),
        written.variant.as_ref(),
    ];
    let files: Vec<String> = files
        .into_iter()
        .flatten()
        .map(|p| p.display().to_string())
        .collect();
    output.result(
        "windtunnel.new.v1",
        &json!({
            "path": written.study,
            "recipe": written.recipe,
            "variant": written.variant,
            "next": written.next,
        }),
        &format!("wrote {}\nnext: {}", files.join(", "), written.next),
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
    let root = Path::new(".");
    let files = scaffold::variant_files(root, name, None)?;
    Made::write(root, &files)?.keep();
    let [path, list] = files.map(|file| file.path);
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
