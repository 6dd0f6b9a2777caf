//! Proposers to be measured against: at random, and a tree-structured Parzen estimator (Bergstra et al.
//! 2011, "Algorithms for Hyper-Parameter Optimization") that has read the ledger.
//!
//! Both propose one change of one recipe, out of a [`Space`], as a study with a prediction, and go through the
//! same gates as anybody. The estimator learns from every finished study that changed one key of the space
//! from the same recipe, whoever proposed it. Equal seeds and ledgers give equal studies.

mod choose;
mod foresee;
mod seen;
mod space;

pub use choose::choose;
pub use foresee::{Rates, foresee};
pub use seen::{Seen, seen};
pub use space::{Dimension, Point, Space};

use crate::{
    error::{Error, Result},
    study::{
        judged,
        proposal::{ArmProposal, Direction, Hypothesis, Prediction, Proposal},
    },
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Which baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Every key and every value alike.
    Random,
    /// Where what was tried came out well.
    Tpe,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Tpe => "tpe",
        }
    }
}

/// A study that a baseline proposes.
#[derive(Debug, Clone, Serialize)]
pub struct Suggestion {
    pub name: String,
    /// TOML.
    pub text: String,
    /// `base` is seen from here: the space's folder.
    pub folder: PathBuf,
    pub prediction: Prediction,
    /// Finished changes of this space that were in the ledger.
    pub learned_from: usize,
}

/// What a baseline proposes next. Errors when the space is wrong, or all of it has been tried.
pub fn propose(home: &Path, space: &Space, by: By, seed: u64) -> Result<Suggestion> {
    let (judged, _) = judged::all(home);
    let seen = seen(&judged, space);
    let point = choose(space, by, &seen, seed).ok_or_else(|| {
        Error::input(
            space.place(),
            "every point that was drawn has been tried, or is the base itself",
            "widen a range of [vary], add a key, or give another --seed",
        )
    })?;
    let prediction = foresee(space, by, &point, (&seen, &Rates::of(&judged)));
    let name = format!("{}_{}_{seed}", space.name, by.name());
    let proposal = proposal(space, (by, &name), &point, prediction.clone());
    let body = toml::to_string(&proposal).map_err(|e| {
        Error::input(
            space.place(),
            e.to_string(),
            "use plain values: words, numbers, true, false",
        )
    })?;
    let head = format!(
        "# Proposed by the baseline \"{}\" with seed {seed}, from {} finished changes of the same recipe.\n",
        by.name(),
        seen.len()
    );
    Ok(Suggestion {
        name,
        text: head + &body,
        folder: space.folder(),
        prediction,
        learned_from: seen.len(),
    })
}

fn proposal(
    space: &Space,
    (by, name): (By, &str),
    point: &Point,
    prediction: Prediction,
) -> Proposal {
    let word = match prediction.direction {
        Direction::Better => "better than",
        Direction::Worse => "worse than",
        Direction::Equivalent => "equivalent to",
    };
    let arm = ArmProposal {
        control: false,
        factor: Some(point.path.clone()),
        set: toml::Table::from_iter([(point.path.clone(), point.value.clone())]),
    };
    let base = ArmProposal {
        control: true,
        factor: None,
        set: toml::Table::new(),
    };
    let rationale = match by {
        By::Random => {
            "Drawn evenly from the space; the prediction is how often verdicts came out so."
        }
        By::Tpe => "Where changes of this recipe that did well are dense and others are not (TPE).",
    };
    Proposal {
        name: name.into(),
        base: space.base.clone(),
        set: space.set.clone(),
        proposer: by.name().into(),
        hypothesis: Hypothesis {
            claim: format!("{} = {} is {word} the base.", point.path, point.value),
            rationale: rationale.into(),
            references: Vec::new(),
            prediction: Some(prediction),
        },
        decision: space.decision.clone(),
        limits: space.limits.clone(),
        ladder: None,
        space: None,
        arms: BTreeMap::from([("base".into(), base), ("changed".into(), arm)]),
    }
}
