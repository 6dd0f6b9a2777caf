//! The tool that draws: a study's or a run's figure as PNG, with what it shows in words.

use super::{Caller, Desk, answer::Answer, names, runs::Shown};
use crate::{
    error::{Error, Result, nearest},
    files,
    report::{TrialRecords, figures, png, recorded},
    study::{
        contract::{Contract, StudyDir},
        verdict::Verdict,
    },
};
use schemars::JsonSchema;
use serde::Deserialize;

/// What to draw.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// A judged study: every arm's paired differences with interval, zero and margin
    Differences,
    /// Validation curves over tokens: of all arms and seeds of a study, or of one run
    Curves,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlotArgs {
    /// A study's, a job's or a run's id, or the start of it
    id: String,
    /// [default: differences of a study that is judged, else curves]
    #[serde(default)]
    figure: Option<Figure>,
    /// Of a run: what its curve shows [default: bpb]
    #[serde(default)]
    what: Option<Shown>,
    /// Of a study: these arms alone [default: all, or the first 24]
    #[serde(default)]
    arms: Vec<String>,
    /// Pixels [default: 1400]
    #[serde(default)]
    #[schemars(range(min = 600, max = 2000))]
    width: Option<u32>,
}

const USUAL_WIDTH: u32 = 1400;
/// More arms than this are too small to read.
const MOST_ARMS: usize = 24;

pub fn plot(desk: &Desk, args: &PlotArgs, _: &Caller) -> Result<Answer> {
    let (words, svg) = match names::study(desk, &args.id) {
        Ok(dir) => of_study(desk, &dir, args)?,
        Err(no_study) => match names::run(&desk.settings.home, &args.id) {
            Ok(dir) if args.figure != Some(Figure::Differences) => {
                let what = args.what.unwrap_or_default().recorded();
                let name = names::id(dir.path());
                let words = format!("Run {name}: {} over tokens trained.", what.in_words());
                (words, figures::runs(&[(name, recorded(&dir)?)], what))
            }
            Ok(_) => {
                return Err(Error::input(
                    "plot: figure",
                    "a single run has no paired differences",
                    "say figure = \"curves\", or give a study's id",
                ));
            }
            Err(no_run) => {
                return Err(Error {
                    problem: format!("{}; {}", no_study.problem, no_run.problem),
                    ..no_study
                });
            }
        },
    };
    let png = png(&svg, args.width.unwrap_or(USUAL_WIDTH))?;
    Ok(Answer::Picture { words, png })
}

/// (what it shows, the figure) of a study.
fn of_study(desk: &Desk, dir: &StudyDir, args: &PlotArgs) -> Result<(String, String)> {
    if args.what.is_some() {
        return Err(Error::input(
            "plot: what",
            "is of a run; a study's curves show the metric that it is judged by",
            "leave it out, or give a run's id",
        ));
    }
    let contract = dir.contract()?;
    let verdict = verdict(dir)?;
    let shown = shown(&contract, &args.arms)?;
    let is_shown = |arm: &str| shown.iter().any(|name| name == arm);
    let terms = &contract.terms;
    let mut words = format!("Study {}: ", contract.id);
    let svg = match (args.figure, &verdict) {
        (Some(Figure::Differences) | None, Some(verdict)) => {
            words += "paired differences, arm minus control; left is better.\n";
            for arm in verdict.arms.iter().filter(|arm| is_shown(&arm.arm)) {
                words += &format!("{}\n", arm.headline(&verdict.rule));
            }
            figures::differences(terms, verdict, is_shown)
        }
        (Some(Figure::Differences), None) => {
            return Err(Error::input(
                format!("study \"{}\"", contract.id),
                "is not judged yet: there are no differences to draw",
                "wait for it with study_wait, or say figure = \"curves\"",
            ));
        }
        (Some(Figure::Curves), _) | (None, None) => {
            words += "validation curves of every seed (thin) and their means (bold).\n";
            let trials = TrialRecords::read(&desk.settings.home, &contract)?;
            figures::curves(terms, &trials, is_shown)
        }
    };
    let all = terms.arms.len();
    if shown.len() < all {
        words += &format!(
            "{} of {all} arms are drawn, the control among them; say arms = [\"NAME\", …] for others.\n",
            shown.len()
        );
    }
    Ok((words, svg))
}

pub fn verdict(dir: &StudyDir) -> Result<Option<Verdict>> {
    let path = dir.verdict_path();
    match path.exists() {
        true => files::read_json(&path, "run the study again; finished trials are kept").map(Some),
        false => Ok(None),
    }
}

/// The arms to draw, the control first. Errors when the study has none of this name.
fn shown(contract: &Contract, wanted: &[String]) -> Result<Vec<String>> {
    let arms = contract.terms.arms.iter().map(|arm| &arm.name);
    let Some(control) = arms.clone().next() else {
        return Ok(Vec::new());
    };
    for name in wanted {
        if !arms.clone().any(|arm| arm == name) {
            return Err(no_such_arm(contract, name));
        }
    }
    let chosen = |arm: &&String| wanted.is_empty() || wanted.contains(arm) || *arm == control;
    Ok(arms.filter(chosen).take(MOST_ARMS).cloned().collect())
}

pub fn no_such_arm(contract: &Contract, name: &str) -> Error {
    let arms: Vec<&str> = contract
        .terms
        .arms
        .iter()
        .map(|arm| arm.name.as_str())
        .collect();
    Error::input(
        format!("arm {name:?}"),
        format!("study \"{}\" has no arm of this name", contract.id),
        match nearest(name, arms.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("its arms: {}", arms.join(", ")),
        },
    )
}
