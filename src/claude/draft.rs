//! A study as a model fills it in: a [`Proposal`](crate::study::proposal::Proposal) whose free keys
//! are lists of `{ key, value }`, for structured output closes every object.
//!
//! A draft holds the parts of a study that a proposer decides. What it leaves out, such as the rule and
//! the confidence of its intervals, has the file's defaults, so that it can't be bargained with.

mod checked;

pub use checked::VARIANT;

use super::{schema, written};
use crate::{
    data::{Phase, Share, tokenizer::files::is_path},
    error::Result,
    metrics::Metric,
    study::{
        inside::TOKENIZER,
        proposal::{
            ArmProposal, Decision, Hypothesis, Limits, Matched, Prediction, Proposal, five_percent,
        },
        seeds::Seeds,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// A study that one wants to be run: a claim, the arms that test it, and what they may cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// The name of the study and of its file: letters, digits, - and _, at most 64.
    pub name: String,
    /// The recipe that arms start from: a file's path as seen from the project's folder, such as
    /// configs/recipes/quickstart.toml.
    pub base: String,
    /// What you expect to see, in a sentence; it is frozen before the first trial.
    pub claim: String,
    /// Why you expect it.
    #[serde(default)]
    pub rationale: String,
    /// Keys of papers in the library; none that it does not have.
    #[serde(default)]
    pub references: Vec<String>,
    /// The verdict that you expect for the first arm that is not the control. It is scored.
    pub prediction: Prediction,
    /// What arms are compared by.
    #[serde(default)]
    pub metric: Metric,
    /// The smallest effect worth acting on, in the metric's unit, above 0.
    pub margin: f64,
    /// Paired seeds, 2 to 1000: every arm is trained once with each.
    pub seeds: usize,
    /// What every arm is evaluated on; empty means every corpus that an arm trains on, equally.
    #[serde(default)]
    pub eval: Vec<Part>,
    /// What arms spend alike.
    #[serde(default, rename = "match")]
    pub matched: Matched,
    /// The most that all trials together may take, in minutes of the device, above 0.
    pub device_minutes: f64,
    /// Changes to the recipe that every arm shares, the control too.
    #[serde(default)]
    pub set: Vec<Change>,
    /// Two or more; exactly one is the control.
    pub arms: Vec<DraftArm>,
    /// Null, or a recipe's file of its own: `base` with these changes, from which arms then start.
    #[serde(default)]
    pub recipe: Option<DraftRecipe>,
    /// Null, or an idea that no key of a recipe can say: code that a person is to write, which an arm
    /// names by the key model.variant.
    #[serde(default)]
    pub variant: Option<DraftVariant>,
}

/// A corpus's part of a mixture or of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name.
    pub corpus: String,
    /// Relative: weights are divided by their sum.
    pub weight: f64,
}

/// Other weights of the mixture from some step on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixturePhase {
    /// Where it begins, as a fraction of all steps, 0 to 1.
    pub at: f64,
    /// Over what fraction of all steps its weights are reached; 0 means at once.
    pub over: f64,
    /// Its weights.
    pub mixture: Vec<Part>,
}

/// A key of the recipe and its new value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// A dotted key of a recipe, such as optimizer.lr, model.n_layer or data.mixture.
    pub key: String,
    /// Its value: a number, a word, a list of numbers; of data.mixture a list of corpora with weights,
    /// of data.phases a list of phases.
    pub value: Setting,
}

/// A value of a recipe's key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Setting {
    Flag(bool),
    Number(f64),
    Words(String),
    Numbers(Vec<f64>),
    Mixture(Vec<Part>),
    Phases(Vec<MixturePhase>),
}

/// An arm: the recipe with the shared changes and its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftArm {
    /// Letters, digits, - and _, at most 64.
    pub name: String,
    /// Whether it is the one that the others are compared with.
    #[serde(default)]
    pub control: bool,
    /// The one key, or group of keys, in which it differs from the control, such as optimizer.lr or
    /// data; null for the control.
    #[serde(default)]
    pub factor: Option<String>,
    /// Its own changes.
    #[serde(default)]
    pub set: Vec<Change>,
}

/// A recipe to be written, configs/recipes/NAME.toml.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftRecipe {
    /// Letters, digits, - and _, at most 64.
    pub name: String,
    /// What it is for, in a line.
    pub about: String,
    /// What it changes of `base`.
    pub set: Vec<Change>,
}

/// A variant to be written, src/model/variants/NAME.rs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftVariant {
    /// A Rust module's name: small letters, digits and _, a letter first.
    pub name: String,
    /// The idea, precise enough that someone else can write it: what is computed, at which place of the
    /// model, with which parameters of which shapes, and how they start.
    pub idea: String,
}

/// Folders that recipes and studies are written to, seen from the project's folder.
pub const RECIPES: &str = "configs/recipes";
pub const STUDIES: &str = "configs/studies";

impl Draft {
    /// A draft from JSON. Errors name the place in it ("arms[1].fator"), what is wrong, and what would
    /// be right.
    pub fn parse(value: &serde_json::Value) -> Result<Self> {
        let draft: Self = schema::parse(value, "the draft")?;
        draft.check()?;
        Ok(draft)
    }

    /// The recipe that its arms start from, seen from the project's folder.
    pub fn starts_from(&self) -> PathBuf {
        match &self.recipe {
            Some(recipe) => Path::new(RECIPES).join(format!("{}.toml", recipe.name)),
            None => PathBuf::from(&self.base),
        }
    }

    /// The text of its study file, which is to lie in `folder`, itself seen from the project's folder.
    /// Errors as [`Draft::check`] does.
    pub fn study_text(&self, proposer: &str, folder: &Path) -> Result<String> {
        let proposal = self.proposal(proposer, folder)?;
        let file = folder.join(format!("{}.toml", self.name));
        let head = [
            format!(
                "{} {} arms, {} paired seeds.",
                cut(&self.claim, 200),
                self.arms.len(),
                self.seeds
            ),
            format!("  windtunnel plan {}", file.display()),
            format!("  windtunnel run {}", file.display()),
            format!("Proposed by {}; not run yet.", cut(proposer, 80)),
        ];
        let order: Vec<&str> = self.arms.iter().map(|arm| arm.name.as_str()).collect();
        written::study(&proposal, &order, &head)
    }

    /// The study that it means, whose file is to lie in `folder`. Errors as [`Draft::check`] does.
    pub fn proposal(&self, proposer: &str, folder: &Path) -> Result<Proposal> {
        self.check()?;
        let arm = |arm: &DraftArm| {
            let proposal = ArmProposal {
                control: arm.control,
                factor: arm.factor.clone(),
                set: table(&arm.set, folder),
            };
            (arm.name.clone(), proposal)
        };
        Ok(Proposal {
            name: self.name.clone(),
            base: seen_from(folder, &self.starts_from()),
            set: table(&self.set, folder),
            proposer: proposer.into(),
            hypothesis: Hypothesis {
                claim: self.claim.clone(),
                rationale: self.rationale.clone(),
                references: self.references.clone(),
                prediction: Some(self.prediction.clone()),
            },
            decision: Decision {
                eval: self.eval.iter().map(Part::share).collect(),
                metric: self.metric,
                margin: self.margin,
                alpha: five_percent(),
                rule: None,
                seeds: Seeds::Count(self.seeds),
                matched: self.matched,
            },
            limits: Limits {
                device_minutes: Some(self.device_minutes),
                ..Limits::default()
            },
            ladder: None,
            space: None,
            arms: self.arms.iter().map(arm).collect(),
        })
    }
}

/// A path, seen from another folder; both are seen from one place, and lead nowhere above it.
pub(super) fn seen_from(folder: &Path, path: &Path) -> String {
    let plain = |path: &Path| -> Vec<String> {
        let parts = path.components().filter(|part| *part != Component::CurDir);
        parts
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect()
    };
    let (folder, path) = (plain(folder), plain(path));
    let shared = folder.iter().zip(&path).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_string(), folder.len() - shared);
    up.chain(path[shared..].iter().cloned())
        .collect::<Vec<_>>()
        .join("/")
}

/// The first characters of some words.
fn cut(words: &str, most: usize) -> String {
    match words.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words.into(),
    }
}

/// Changes as a table of a file in `folder`, from where a path in them is seen.
fn table(changes: &[Change], folder: &Path) -> toml::Table {
    let pair = |change: &Change| match (change.path(), change.value.toml()) {
        (Some(path), _) => (change.key.clone(), seen_from(folder, path).into()),
        (None, value) => (change.key.clone(), value),
    };
    changes.iter().map(pair).collect()
}

impl Change {
    /// The path that it names, as seen from the project's folder.
    pub fn path(&self) -> Option<&Path> {
        match &self.value {
            Setting::Words(words) if self.key == TOKENIZER && is_path(words) => {
                Some(Path::new(words))
            }
            _ => None,
        }
    }
}

impl Part {
    fn share(&self) -> Share {
        Share::of(&self.corpus, self.weight)
    }
}

impl MixturePhase {
    fn phase(&self) -> Phase {
        Phase {
            at: Some(self.at),
            over: (self.over > 0.0).then_some(self.over),
            mixture: self.mixture.iter().map(Part::share).collect(),
            ..Phase::default()
        }
    }
}

impl Setting {
    /// The value as TOML. A number without a fraction is a whole one, for JSON has one kind: where a
    /// recipe wants a fraction it takes a whole number too.
    pub fn toml(&self) -> toml::Value {
        match self {
            Self::Flag(flag) => (*flag).into(),
            Self::Number(x) => number(*x),
            Self::Words(words) => words.clone().into(),
            Self::Numbers(list) => list.iter().map(|x| number(*x)).collect::<Vec<_>>().into(),
            Self::Mixture(parts) => plain(parts.iter().map(Part::share)),
            Self::Phases(phases) => plain(phases.iter().map(MixturePhase::phase)),
        }
    }
}

/// Entries of a list as TOML.
fn plain<T: Serialize>(entries: impl Iterator<Item = T>) -> toml::Value {
    let value = |entry| toml::Value::try_from(entry).expect("an entry is plain data");
    entries.map(value).collect::<Vec<_>>().into()
}

/// Whole numbers beyond are not exact in JSON.
const EXACT: f64 = (1u64 << 53) as f64;

fn number(x: f64) -> toml::Value {
    match x.fract() == 0.0 && x.abs() < EXACT {
        true => toml::Value::Integer(x as i64),
        false => toml::Value::Float(x),
    }
}
