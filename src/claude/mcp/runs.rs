//! Tools that look at what was trained: a run's curve, its log, two runs side by side.

use super::{
    Caller, Desk,
    answer::{Answer, short},
    names,
};
use crate::{
    claude::quoted::quoted_at_most,
    error::Result,
    metrics::{Metric, Record},
    report::{compared::Comparison, figures::Recorded, html::thin, recorded},
    run_dir::RunDir,
    study::flagged,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

/// What a curve shows over the tokens trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// Validation in bits per byte, comparable between tokenizers
    #[default]
    Bpb,
    /// Validation in nats per token
    Loss,
    /// Training loss of the steps that were logged
    TrainingLoss,
    /// Global gradient norm before clipping
    GradNorm,
    /// Learning rate
    Lr,
}

impl Shown {
    pub fn recorded(self) -> Recorded {
        match self {
            Self::Bpb => Recorded::Validation(Metric::Bpb),
            Self::Loss => Recorded::Validation(Metric::Loss),
            Self::TrainingLoss => Recorded::Training,
            Self::GradNorm => Recorded::GradNorm,
            Self::Lr => Recorded::LearningRate,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurveArgs {
    /// The run's id, or the start of it (study_results lists them)
    run: String,
    /// What to show [default: bpb]
    #[serde(default)]
    what: Shown,
    /// Points at most; of each stretch the lowest and the highest are kept [default: 60]
    #[serde(default)]
    #[schemars(range(min = 4, max = 500))]
    max_points: Option<usize>,
}

const USUAL_POINTS: usize = 60;

pub fn curve(desk: &Desk, args: &CurveArgs, _: &Caller) -> Result<Answer> {
    let dir = names::run(&desk.settings.home, &args.run)?;
    let what = args.what.recorded();
    let all = what.points(&recorded(&dir)?);
    let few = thin(&all, args.max_points.unwrap_or(USUAL_POINTS));
    let points: Vec<Value> = few
        .iter()
        .map(|(tokens, value)| json!([*tokens as u64, short(*value)]))
        .collect();
    Ok(Answer::Json(json!({
        "run": names::id(dir.path()),
        "state": state(&dir)?,
        "what": what.in_words(),
        "columns": ["tokens", "value"],
        "points": points,
        "recorded": all.len(),
    })))
}

/// How far a run is, in a word or two.
fn state(dir: &RunDir) -> Result<String> {
    use crate::metrics::Ending;
    Ok(match dir.outcome()?.map(|outcome| outcome.ending) {
        None => "not ended".into(),
        Some(Ending::Finished { .. }) => "finished".into(),
        Some(Ending::Diverged { step, .. }) => format!("diverged at step {step}"),
    })
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlagArgs {
    /// A run's id, or the start of it; without it, every run
    #[serde(default)]
    run: Option<String>,
}

/// Runs that an answer has room for, and flags of each.
const MOST_FLAGGED: usize = 20;
const MOST_FLAGS: usize = 8;

pub fn anomalies(desk: &Desk, args: &FlagArgs, _: &Caller) -> Result<Answer> {
    let home = &desk.settings.home;
    let found = match &args.run {
        Some(run) => vec![flagged::flagged(home, &names::run(home, run)?)?],
        None => flagged::all(home)?,
    };
    let (runs, steps) = (
        found.len(),
        found.iter().map(|run| run.steps).sum::<usize>(),
    );
    let mut flagged: Vec<_> = found.iter().filter(|run| !run.flags.is_empty()).collect();
    flagged.sort_by_key(|run| std::cmp::Reverse(run.flags.len()));
    let shown = flagged.iter().take(MOST_FLAGGED).map(|run| {
        json!({
            "run": run.run,
            "baseline": run.baseline,
            "flags": run.flags.iter().take(MOST_FLAGS).collect::<Vec<_>>(),
            "flags_in_all": run.flags.len(),
        })
    });
    Ok(Answer::Json(json!({
        "runs": runs,
        "steps": steps,
        "runs_with_flags": flagged.len(),
        "flagged": shown.collect::<Vec<_>>(),
        "more": (flagged.len() > MOST_FLAGGED).then_some("name a run to see its flags"),
    })))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogArgs {
    /// A job's id (what its process said), or a run's id (its events and last records)
    id: String,
    /// Lines from the end [default: 40]
    #[serde(default)]
    #[schemars(range(min = 1, max = 400))]
    lines: Option<usize>,
}

const USUAL_LINES: usize = 40;
/// Of a log's end, what is shown at most.
const MOST_CHARACTERS: usize = 16_000;

pub fn log_tail(desk: &Desk, args: &LogArgs, _: &Caller) -> Result<Answer> {
    let home = &desk.settings.home;
    let lines = args.lines.unwrap_or(USUAL_LINES);
    let (what, of, text) = match names::job(desk, &args.id) {
        Ok(job) => ("job", job.id.clone(), end_of(&job.log_path(home))),
        Err(_) => {
            let dir = names::run(home, &args.id)?;
            ("run", names::id(dir.path()), in_lines(&dir)?)
        }
    };
    let all: Vec<&str> = text.lines().collect();
    let tail = &all[all.len().saturating_sub(lines)..];
    Ok(Answer::Json(json!({
        what: of,
        "lines": tail.len(),
        "log": last_of(tail),
    })))
}

/// The last lines that fit, as text of others.
fn last_of(lines: &[&str]) -> String {
    let mut room = MOST_CHARACTERS;
    let fitting = lines.iter().rev().take_while(|line| {
        let length = line.chars().count() + 1;
        let fits = length <= room;
        room = room.saturating_sub(length);
        fits
    });
    let n = fitting.count();
    let text = match n {
        // One line that is longer than all the room: its end.
        0 => lines.last().map_or(String::new(), |line| {
            let skipped = line.chars().count().saturating_sub(MOST_CHARACTERS);
            line.chars().skip(skipped).collect()
        }),
        n => lines[lines.len() - n..].join("\n"),
    };
    quoted_at_most("log", &text, MOST_CHARACTERS)
}

/// The end of a file that may be long; nothing of one that is not there.
fn end_of(path: &Path) -> String {
    const MOST: u64 = 256 << 10;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// What a run wrote down, a line each, in the order of steps.
pub fn in_lines(dir: &RunDir) -> Result<String> {
    let mut lines: Vec<(u64, String)> = dir
        .events()
        .into_iter()
        .map(|event| {
            (
                event.step,
                format!("step {} {} (process {})", event.step, event.kind, event.pid),
            )
        })
        .collect();
    for record in recorded(dir)? {
        let line = match &record {
            Record::Step(s) => format!(
                "step {} loss {:.4} lr {:.3e} grad_norm {:.3}",
                s.step, s.loss, s.lr, s.grad_norm
            ),
            Record::Eval(e) => {
                format!(
                    "step {} validation {:.4} nats {:.4} bpb{}",
                    e.step,
                    e.loss,
                    e.bpb,
                    e.accuracies()
                )
            }
            Record::Data(_) => continue,
        };
        lines.push((record.step(), line));
    }
    lines.sort_by_key(|(step, _)| *step);
    Ok(lines.into_iter().map(|(_, line)| line + "\n").collect())
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareArgs {
    /// A run's id, or the start of it
    first: String,
    /// Another run's
    second: String,
}

/// Evaluations of a comparison that are shown: the first, the last, and evenly between.
const MOST_EVALS: usize = 40;

pub fn compare(desk: &Desk, args: &CompareArgs, _: &Caller) -> Result<Answer> {
    let home = &desk.settings.home;
    let (first, second) = (
        names::run(home, &args.first)?,
        names::run(home, &args.second)?,
    );
    let compared = Comparison::of([&first, &second])?;
    let n = compared.evals.len();
    let shown = (0..n).filter(|i| n <= MOST_EVALS || i * MOST_EVALS % n < MOST_EVALS || i + 1 == n);
    let evals: Vec<Value> = shown
        .map(|i| {
            let pair = &compared.evals[i];
            let numbers = [pair.first_bpb, pair.second_bpb, pair.difference].map(short);
            json!([pair.step, numbers[0], numbers[1], numbers[2]])
        })
        .collect();
    Ok(Answer::Json(json!({
        "runs": [names::id(first.path()), names::id(second.path())],
        "differences": compared.differences,
        "columns": ["step", "first_bpb", "second_bpb", "second_minus_first"],
        "evals": evals,
        "evals_in_all": n,
        "warning": compared.warning,
    })))
}
