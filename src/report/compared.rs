//! Two runs side by side, for looking; a study is for judging.

use crate::{
    error::{Error, Result},
    metrics::{EvalRecord, Record},
    run::Run,
    run_dir::RunDir,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// (first, second) by recipe path, where they differ.
pub type Changes = BTreeMap<String, (String, String)>;

/// What two runs logged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub runs: [String; 2],
    /// Where their recipes differ.
    pub differences: Changes,
    /// Evaluations that both have, by step.
    pub evals: Vec<Pair>,
    pub warning: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    pub step: u64,
    pub first_bpb: f64,
    pub second_bpb: f64,
    /// Second minus first.
    pub difference: f64,
}

pub const WARNING: &str = "one pair of runs has no interval: seeds alone move losses this way and that; a study pairs several";

impl Comparison {
    /// Of two runs' recipes and what they logged. Errors when they were never evaluated at the same
    /// step.
    pub fn of([first, second]: [&RunDir; 2]) -> Result<Self> {
        let comparison = Self {
            runs: [first, second].map(|dir| dir.path().display().to_string()),
            differences: differences([first, second])?,
            evals: pairs(&[evals(first)?, evals(second)?]),
            warning: WARNING,
        };
        match comparison.evals.is_empty() {
            false => Ok(comparison),
            true => Err(Error::input(
                comparison.runs.join(" "),
                "the runs have no evaluation at the same step",
                "train both further, or with the same eval.every; or say --corpus A,B to evaluate both on these",
            )),
        }
    }
}

/// Where the recipes of two runs differ.
pub fn differences([first, second]: [&RunDir; 2]) -> Result<Changes> {
    let (first, second) = (Run::load(&first.recipe())?, Run::load(&second.recipe())?);
    Ok(changes(&first, &second))
}

fn evals(dir: &RunDir) -> Result<Vec<EvalRecord>> {
    let records = dir.records()?.into_iter();
    let evals = records.filter_map(|record| match record {
        Record::Eval(eval) => Some(eval),
        Record::Step(_) | Record::Data(_) => None,
    });
    Ok(evals.collect())
}

fn pairs([first, second]: &[Vec<EvalRecord>; 2]) -> Vec<Pair> {
    let of_second = |step: u64| second.iter().find(|eval| eval.step == step);
    let both = first.iter().filter_map(|a| Some((a, of_second(a.step)?)));
    both.map(|(a, b)| Pair {
        step: a.step,
        first_bpb: a.bpb,
        second_bpb: b.bpb,
        difference: b.bpb - a.bpb,
    })
    .collect()
}

fn changes(first: &Run, second: &Run) -> Changes {
    let leaves = |run: &Run| {
        let mut leaves = BTreeMap::new();
        let value = serde_json::to_value(run).expect("a run is plain data");
        flatten("", &value, &mut leaves);
        leaves
    };
    let (a, b) = (leaves(first), leaves(second));
    let unset = || "unset".to_string();
    a.keys()
        .chain(b.keys())
        .map(|path| {
            let before = a.get(path).cloned().unwrap_or_else(unset);
            let after = b.get(path).cloned().unwrap_or_else(unset);
            (path.clone(), (before, after))
        })
        .filter(|(_, (before, after))| before != after)
        .collect()
}

fn flatten(prefix: &str, value: &serde_json::Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                let path = match prefix {
                    "" => key.clone(),
                    _ => format!("{prefix}.{key}"),
                };
                flatten(&path, value, leaves);
            }
        }
        other => {
            leaves.insert(prefix.into(), other.to_string());
        }
    }
}
