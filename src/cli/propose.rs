//! `windtunnel propose`: a study ready for review, by Claude or by a baseline; nothing runs.

use super::{Global, output::Output, stop_on_interrupt};
use crate::{
    claude::{
        autopilot::{MENDS, pause},
        baselines::{self, By, Space, Suggestion},
        messages::{Client, Secret, no_key},
        money::ClaudeSettings,
        propose::{Question, for_review},
    },
    error::{Error, Result},
    files,
    jobs::{self, Settings, StudyText},
};
use std::path::{Component, Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// What you want to find out, in your own words
    #[arg(long, value_name = "QUESTION", required_unless_present = "by")]
    about: Option<String>,
    /// What the study is to be called [default: what Claude calls it]
    #[arg(long, value_name = "NAME", conflicts_with = "by")]
    name: Option<String>,
    /// The study's file [default: its name, in configs/studies, or beside the space]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How often an answer that a gate refused may be mended
    #[arg(long, value_name = "N", default_value_t = MENDS)]
    mends: usize,
    /// Dollars for the API, at most [default: what limits.toml leaves for a day]
    #[arg(long, value_name = "D")]
    dollars: Option<f64>,
    /// A space of changes: its best points are told to Claude, and a baseline draws from it
    #[arg(long, value_name = "FILE", required_if_eq_any([("by", "random"), ("by", "tpe")]))]
    space: Option<PathBuf>,
    /// A baseline in Claude's place
    #[arg(long, conflicts_with = "about")]
    by: Option<By>,
    /// Of a baseline's draw
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl Args {
    /// A question whose study is to have a name.
    pub fn named(name: &str, about: &str) -> Self {
        Self {
            about: Some(about.into()),
            name: Some(name.into()),
            out: None,
            mends: MENDS,
            dollars: None,
            space: None,
            by: None,
            seed: 1,
        }
    }
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let space = args.space.as_deref().map(Space::read).transpose()?;
    match (args.by, space) {
        (Some(by), Some(space)) => by_baseline(global, args, (by, &space), output),
        (_, space) => by_claude(global, args, space.as_ref(), output),
    }
}

fn by_claude(global: &Global, args: &Args, space: Option<&Space>, output: Output) -> Result<()> {
    let about = args.about.as_deref().unwrap_or_default();
    if about.trim().is_empty() {
        return Err(Error::input(
            "--about",
            "is empty",
            "say what you want to find out, in a sentence",
        ));
    }
    positive("--dollars", args.dollars)?;
    let client = client(global)?;
    if args.dollars.is_some() {
        client.settings.demand_prices(&global.home)?;
    }
    let settings = global.settings()?;
    let out = out(&settings, args)?;
    let stop = stop_on_interrupt();
    output.note(&format!("asking {}", client.settings.model));
    let found = for_review(&Question {
        settings: &settings,
        client: &client,
        about,
        space,
        name: args.name.as_deref(),
        out: out.as_deref(),
        mends: args.mends,
        dollars: args.dollars,
        wait: &|time| pause(stop, time),
        say: &|words| output.note(words),
    })?;
    output.result("windtunnel.propose.v1", &found, &found.summary());
    Ok(())
}

/// A baseline's study, checked as anybody's.
fn by_baseline(
    global: &Global,
    args: &Args,
    (by, space): (By, &Space),
    output: Output,
) -> Result<()> {
    let suggestion = baselines::propose(&global.home, space, by, args.seed)?;
    let path = beside(&suggestion, args.out.as_deref())?;
    let folder = match &suggestion.folder {
        here if here.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    let study = StudyText {
        text: suggestion.text.clone(),
        folder: std::fs::canonicalize(folder).map_err(|e| Error::io(folder, "find", &e))?,
        file: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into(),
    };
    let checked = jobs::check(&global.settings()?, &study)?;
    files::replace(&path, suggestion.text.as_bytes())?;
    let text = format!(
        "study     {path}\nclaim     {}\nproposer  {}, from {} finished changes\nnext      windtunnel plan {path}\n",
        checked.claim,
        by.name(),
        suggestion.learned_from,
        path = path.display(),
    );
    let value = serde_json::json!({ "study": path, "suggestion": suggestion, "checked": checked });
    output.result("windtunnel.propose_baseline.v1", &value, &text);
    Ok(())
}

/// Where a baseline's study is written: beside the space, from where its recipe is seen. Errors when
/// that is another place, or taken.
fn beside(suggestion: &Suggestion, out: Option<&Path>) -> Result<PathBuf> {
    let usual = suggestion.folder.join(format!("{}.toml", suggestion.name));
    let path = out.map_or(usual.clone(), Path::to_path_buf);
    let folder = |path: &Path| {
        std::path::absolute(path)
            .ok()?
            .parent()
            .map(Path::to_path_buf)
    };
    if folder(&path) != folder(&usual) {
        return Err(Error::input(
            format!("--out {}", path.display()),
            "is in another folder than the space, from where its recipe is seen",
            "write it beside the space",
        ));
    }
    match path.exists() {
        false => Ok(path),
        true => Err(Error::input(
            path.display().to_string(),
            "is there already",
            "choose another --out, or another --seed",
        )),
    }
}

fn out(settings: &Settings, args: &Args) -> Result<Option<PathBuf>> {
    let out = args.out.as_deref();
    out.map(|out| inside_project(settings, "--out", out))
        .transpose()
}

/// The way to the API, by the home's settings. Errors (status 2) where there is no key, before
/// anything is read or made.
pub fn client(global: &Global) -> Result<Client> {
    if Secret::from_environment().is_none() {
        return Err(no_key());
    }
    Client::from_environment(ClaudeSettings::load(&global.home)?)
}

/// A path as seen from the project's folder. Errors when it is not inside.
pub fn inside_project(settings: &Settings, flag: &str, path: &Path) -> Result<PathBuf> {
    let here = std::fs::canonicalize(".").map_err(|e| Error::io(path, "find", &e))?;
    let plain: PathBuf = path.components().collect();
    let joined = here.join(plain);
    let climbs = joined.components().any(|part| part == Component::ParentDir);
    let inside = joined.strip_prefix(&settings.root).ok().filter(|_| !climbs);
    inside.map(Path::to_path_buf).ok_or_else(|| {
        Error::input(
            format!("{flag} {}", path.display()),
            format!("is outside of the project, {}", settings.root.display()),
            "choose a place inside",
        )
    })
}

/// Errors when an amount is none.
pub fn positive(flag: &str, amount: Option<f64>) -> Result<()> {
    match amount {
        Some(amount) if !(amount > 0.0 && amount.is_finite()) => Err(Error::input(
            format!("{flag} {amount}"),
            "is out of range",
            "use a number above 0",
        )),
        _ => Ok(()),
    }
}
