//! Studies as written: a hypothesis, a decision rule, limits, and arms that are patches of one
//! recipe. Data, never code.
//!
//! Whatever a study can get wrong before anything is trained is found here, with file and line.

use super::{
    arms::{Arm, arms},
    ladder::{self, Ladder, Rung},
    seeds::{Between, FEWEST, Seeds},
    space::{self, Space},
    verdict::Looks,
};
use crate::{
    data::Share,
    error::{Error, Result, nearest},
    metrics::Metric,
    recipe::{Recipe, positive, seen_from},
    toml_file::{self, Place, Places, Source, set_path, typed},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path};

/// A study file: a hypothesis, a rule fixed before the first trial, and arms that each change one
/// thing of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Letters, digits, - and _, at most 64.
    #[schemars(extend("pattern" = NAME_PATTERN))]
    pub name: String,
    /// A recipe's file, seen from the study's folder.
    pub base: String,
    /// Changes to the recipe that every arm shares: dotted keys of a recipe and their values, such
    /// as `"budget.steps" = 300`.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>")]
    pub set: toml::Table,
    /// Who proposes it: "human", or a model's name.
    #[serde(default = "human")]
    pub proposer: String,
    pub hypothesis: Hypothesis,
    pub decision: Decision,
    #[serde(default)]
    pub limits: Limits,
    /// The sizes that it is run at, each as a study of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<Ladder>,
    /// Where arms are drawn from, instead of `[arms]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<Space>,
    /// Two or more, by name; one of them is the control.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arms: BTreeMap<String, ArmProposal>,
}

/// What names of studies and arms are made of.
const NAME_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}$";

fn human() -> String {
    "human".into()
}

/// What is claimed, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hypothesis {
    /// What one expects to see, in a sentence.
    pub claim: String,
    /// Why.
    #[serde(default)]
    pub rationale: String,
    /// Keys of papers in the library.
    #[serde(default)]
    pub references: Vec<String>,
    /// What comes of it, as the proposer sees it; of several arms, of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
}

/// What the proposer expects to see, written down before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// Of the arm against the control; less bits per byte is better.
    pub direction: Direction,
    /// Size of the effect in the metric's unit, 0 or more.
    #[schemars(range(min = 0.0))]
    pub effect: f64,
    /// Probability that the proposer gives it, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
    /// Where arm minus control is expected with a probability of 80%, from and to, in the metric's unit; below
    /// zero is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

/// The verdict that a prediction names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Better,
    Worse,
    Equivalent,
}

/// The `[decision]` table: fixed before the first trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Empty means every corpus that an arm trains on, weighted equally.
    #[serde(default)]
    pub eval: Vec<Share>,
    /// What arms are compared by.
    #[serde(default)]
    pub metric: Metric,
    /// The smallest effect worth acting on, in the metric's unit, above 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub margin: f64,
    /// Chance of any false alarm among the arms, above 0 and at most 0.5.
    #[serde(default = "five_percent")]
    #[schemars(range(max = 0.5), extend("exclusiveMinimum" = 0))]
    pub alpha: f64,
    /// Not written: fixed for a small study, anytime for one of more than 8 seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleKind>,
    /// Paired seeds: the recipe's seed and the next ones.
    pub seeds: Seeds,
    /// What arms have in common.
    #[serde(default, rename = "match")]
    pub matched: Matched,
}

/// The chance of a false alarm unless one is written.
pub fn five_percent() -> f64 {
    0.05
}

/// When a study may stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// All seeds, then one look.
    Fixed,
    /// A look after every seed, until each arm is decided.
    Anytime,
}

/// With so few seeds, stopping early saves little and the wider intervals cost more.
const SMALL_STUDY: usize = 8;

impl Decision {
    /// The rule that is written, or else the one that suits the number of seeds.
    pub fn rule(&self) -> RuleKind {
        self.rule.unwrap_or(match self.seeds.most() > SMALL_STUDY {
            true => RuleKind::Anytime,
            false => RuleKind::Fixed,
        })
    }

    pub fn looks(&self) -> Looks {
        match self.rule() {
            RuleKind::Fixed => Looks::Once,
            RuleKind::Anytime => Looks::EachSeed {
                first: self.seeds.fewest(),
                most: self.seeds.most(),
            },
        }
    }
}

/// What arms spend alike: the same number of tokens, or of FLOPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Matched {
    #[default]
    Tokens,
    Flops,
}

/// The `[limits]` table: `plan` and `run` refuse a study that exceeds one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Minutes of the device, by the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_minutes: Option<f64>,
    /// Tokens trained on, all trials together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// FLOPs of training, all trials together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flops: Option<f64>,
}

/// An `[arms.NAME]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmProposal {
    /// Whether this is the arm that the others are compared with.
    #[serde(default)]
    pub control: bool,
    /// The one path, or group of paths, in which the arm differs from the control; "stack" for
    /// several on purpose, "none" for an arm that is the control again (A/A).
    #[serde(default)]
    pub factor: Option<String>,
    /// What it changes: dotted keys of a recipe and their values, such as `"optimizer.lr" = 1e-3`.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>")]
    pub set: toml::Table,
}

/// A study that was read and checked.
#[derive(Debug, Clone)]
pub struct Study {
    pub source: Source,
    pub proposal: Proposal,
    /// The control first, then as written.
    pub arms: Vec<Arm>,
    /// Which rung of a ladder it is.
    pub rung: Option<Rung>,
    /// Whether its ladder has more than one learning rate.
    varies_rate: bool,
}

/// More arms and seeds than anyone can afford; a number beyond is a slip.
const MOST_SEEDS: usize = 1000;

impl Study {
    /// Reads a study and applies `dotted.key=value` changes: `decision.…`, `limits.…` and `space.…` to the
    /// study, other keys to every arm's recipe. Errors name file, line, value and remedy.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        Self::load_rung(path, overrides, None)
    }

    /// The rungs of a study's ladder, none where it has no ladder. Errors as [`Study::load`] does.
    pub fn rungs(path: &Path) -> Result<Vec<Rung>> {
        Self::rungs_of(&Source::read(path)?)
    }

    /// The same of a study's text, wherever it came from.
    pub fn rungs_of(source: &Source) -> Result<Vec<Rung>> {
        let proposal: Proposal = source.parse()?;
        let ladder = proposal.ladder.as_ref();
        ladder.map_or(Ok(Vec::new()), |ladder| ladder.rungs(source))
    }

    /// One rung of a study with a ladder, or a study without one.
    pub fn load_rung(path: &Path, overrides: &[String], rung: Option<usize>) -> Result<Self> {
        Self::of(Source::read(path)?, overrides, rung)
    }

    /// The same of a study's text; its path says what errors call it, and where its recipe is seen from.
    pub fn of(source: Source, overrides: &[String], rung: Option<usize>) -> Result<Self> {
        let mut proposal: Proposal = source.parse()?;
        let mut places = Places::new(source.place());
        let folder = source.path.parent().unwrap_or(Path::new(""));
        let written = seen_from(source.changes(&["set"], &proposal.set), folder);
        let varies_rate = proposal.ladder.as_ref().is_some_and(Ladder::varies_rate);
        let rung = match rung {
            Some(idx) => Some(ladder::take_rung(&source, &mut proposal, idx)?),
            None => None,
        };
        let sizes = rung
            .iter()
            .flat_map(|rung| source.changes(&["ladder"], &rung.set));
        let sizes = sizes.collect();
        let mut given = Vec::new();
        for (key, value, place) in toml_file::overrides(overrides)? {
            let head = key.split('.').next().unwrap_or_default();
            if STUDY_KEYS.contains(&head) {
                let mut table = toml::Table::try_from(&proposal).expect("a study is plain data");
                set_path(&mut table, &key, value, &place)?;
                proposal = typed(table, &place)?;
                places.push(place);
            } else {
                known_head(head, &key, &place)?;
                proposal.set.insert(key.clone(), value.clone());
                given.push((key, value, place));
            }
        }
        space::expand(&source, &mut proposal)?;
        check_words(&source, &proposal)?;
        check_decision(&places, &proposal)?;
        let given = seen_from(given, Path::new(""));
        let arms = arms(&source, &proposal, &[written, sizes, given], &places)?;
        Ok(Self {
            source,
            proposal,
            arms,
            rung,
            varies_rate,
        })
    }

    pub fn control(&self) -> &Arm {
        &self.arms[0]
    }

    /// Where errors about an arm point.
    pub fn place_of_arm(&self, arm: &str) -> String {
        self.source.place_of(&["arms", arm])
    }

    /// What its design leaves open, for whoever plans it.
    pub fn caution(&self) -> Option<String> {
        let data = |arm: &Arm| {
            let factor = arm.factor.as_deref().unwrap_or_default();
            factor == "data" || factor.starts_with("data.")
        };
        (self.arms.iter().any(data) && !self.varies_rate).then(|| {
            "it compares data at one learning rate, and which data is best can change with the rate \
             (arXiv 2512.24503): [ladder] rates = [a, b] asks at two"
                .into()
        })
    }

    /// The seeds that all arms share: fresh ones on every rung of a ladder.
    pub fn seeds(&self) -> Vec<u64> {
        let most = self.proposal.decision.seeds.most() as u64;
        let rung = self.rung.as_ref().map_or(0, |rung| rung.idx as u64);
        let first = self.control().recipe.seed.wrapping_add(rung * most);
        (0..most).map(|i| first.wrapping_add(i)).collect()
    }
}

/// Tables of a study that the command line may change.
const STUDY_KEYS: [&str; 3] = ["decision", "limits", "space"];

/// Errors when an override's first word is neither a table of a study nor a key of a recipe.
fn known_head(head: &str, key: &str, place: &Place) -> Result<()> {
    let known = || STUDY_KEYS.into_iter().chain(Recipe::KEYS);
    if known().any(|known| known == head) {
        return Ok(());
    }
    let list = known().collect::<Vec<_>>().join(", ");
    Err(Error::input(
        place.find(key).unwrap_or_default(),
        format!("{key}: unknown key"),
        match nearest(head, known()) {
            Some(near) => format!("did you mean \"{near}\"? known here: {list}"),
            None => format!("known here: {list}"),
        },
    ))
}

/// Names that become folders and lines of reports.
fn check_words(source: &Source, proposal: &Proposal) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut names = vec![(source.place_of(&["name"]), proposal.name.as_str())];
    for arm in proposal.arms.keys() {
        names.push((source.place_of(&["arms", arm]), arm.as_str()));
    }
    for (place, name) in names {
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(Error::input(
                place,
                format!("{name:?} can't be a name"),
                "use letters, digits, - and _, at most 64",
            ));
        }
    }
    if proposal.hypothesis.claim.trim().is_empty() {
        return Err(Error::input(
            source.place_of(&["hypothesis", "claim"]),
            "the claim is empty",
            "say in a sentence what you expect to see; it is frozen before the first trial",
        ));
    }
    Ok(())
}

fn check_decision(places: &Places, proposal: &Proposal) -> Result<()> {
    let d = &proposal.decision;
    let limits = &proposal.limits;
    let positive_number = |x: f64| x > 0.0 && x.is_finite();
    let prediction = proposal.hypothesis.prediction.as_ref();
    // A swarm spends its trials on points; what it finds is tested by a study of its own.
    let fewest = match proposal.space {
        Some(_) => 1,
        None => FEWEST,
    };
    let rows = [
        (
            "decision.margin",
            d.margin,
            positive_number(d.margin),
            "use the smallest effect worth acting on, a number above 0",
        ),
        (
            "decision.alpha",
            d.alpha,
            d.alpha > 0.0 && d.alpha <= 0.5,
            "use a number above 0 and at most 0.5; 0.05 is usual",
        ),
        (
            "decision.seeds",
            d.seeds.most() as f64,
            (fewest..=MOST_SEEDS).contains(&d.seeds.most()),
            "use 2 to 1000 paired seeds; one pair has no interval, and 8 is a good start",
        ),
        (
            "limits.device_minutes",
            limits.device_minutes.unwrap_or(1.0),
            limits.device_minutes.is_none_or(positive_number),
            "use a number above 0",
        ),
        (
            "limits.flops",
            limits.flops.unwrap_or(1.0),
            limits.flops.is_none_or(positive_number),
            "use a number above 0",
        ),
        (
            "hypothesis.prediction.effect",
            prediction.map_or(0.0, |p| p.effect),
            prediction.is_none_or(|p| p.effect >= 0.0 && p.effect.is_finite()),
            "use its size, 0 or more; the direction says its sign",
        ),
        (
            "hypothesis.prediction.confidence",
            prediction.map_or(0.0, |p| p.confidence),
            prediction.is_none_or(|p| (0.0..=1.0).contains(&p.confidence)),
            "use a probability, 0 to 1",
        ),
        (
            "hypothesis.prediction.interval[0]",
            prediction.and_then(|p| p.interval).map_or(0.0, |i| i[0]),
            prediction
                .and_then(|p| p.interval)
                .is_none_or(|[low, high]| low < high && low.is_finite() && high.is_finite()),
            "give [low, high] of arm minus control, low below high; below zero is better",
        ),
    ];
    for (key, value, ok, remedy) in rows {
        if !ok {
            return Err(Error::input(
                places.find(key),
                format!("{key} is {value}: out of range"),
                remedy,
            ));
        }
    }
    if let Seeds::Between(between) = d.seeds {
        check_range(places, d, between)?;
    }
    if !d.eval.is_empty() {
        positive("decision.eval", &d.eval).map_err(|e| places.locate(e))?;
    }
    Ok(())
}

/// Errors when seeds can't come one by one as written.
fn check_range(places: &Places, d: &Decision, seeds: Between) -> Result<()> {
    let wrong = |problem: String, remedy: &str| {
        Err(Error::input(places.find("decision.seeds"), problem, remedy))
    };
    if d.rule == Some(RuleKind::Fixed) {
        return wrong(
            "decision.seeds has a minimum, and decision.rule is \"fixed\"".into(),
            "give one number of seeds, or rule = \"anytime\"",
        );
    }
    match (FEWEST..=seeds.max).contains(&seeds.min) {
        true => Ok(()),
        false => wrong(
            format!("decision.seeds has min {} and max {}", seeds.min, seeds.max),
            "use a min of 2 or more, and at most max",
        ),
    }
}

/// The text of a commented study to start from.
pub fn template(name: &str) -> String {
    include_str!("../../configs/studies/template.txt").replace("NAME", name)
}
