//! What is known of a study before it runs: whether it is well formed, whether the very question was
//! answered before, and what earlier studies of the same factors found.

use super::{Settings, StudyText, evaluation, snapshot::Snapshot};
use crate::{
    data::fetch,
    device::{Backend, Compute},
    digest::sha256_json,
    error::{Error, Result},
    metrics::Metric,
    report::StudyReport,
    run::Run,
    session::Session,
    study::{
        arms::{NONE, STACK},
        contract::{ArmTerms, Contract, StudyDir},
        plan::plan,
        proposal::{Proposal, Study},
        verdict::{Call, Verdict},
    },
};
use serde::Serialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// A study that is well formed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    pub name: String,
    pub claim: String,
    /// Whether it was frozen before, under its contract's id; of a ladder, its first rung.
    pub study: Option<String>,
    /// Sizes that it is run at; 1 where it has no ladder.
    pub rungs: usize,
    /// Against the control, what each arm changes in its resolved recipe.
    pub arms: Vec<CheckedArm>,
    /// At most, of each arm.
    pub seeds: usize,
    /// What it is judged by, in words.
    pub judged_by: String,
    /// Where that is not what its recipe, or its campaign, is judged by.
    pub other_evaluation: Option<String>,
    /// A finished study that asked the same: its verdict is the answer.
    pub repeat: Option<Repeat>,
    /// A finished study that asked the same on other seeds: this one would replicate it.
    pub replicates: Option<Repeat>,
    /// Verdicts of other studies on the same factors, those that found nothing better first.
    pub earlier: Vec<Earlier>,
    /// What its design leaves open.
    pub cautions: Vec<String>,
    /// Digest of study and recipe as its contract has it; of each rung.
    pub written: Vec<String>,
    pub campaign: Option<String>,
    /// Arms that change several things on purpose, in words.
    pub stacked: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedArm {
    pub name: String,
    /// `None` for the control.
    pub factor: Option<String>,
    /// (before, after) by path.
    pub changes: BTreeMap<String, (String, String)>,
    /// What is computed from that.
    pub derived: BTreeMap<String, (String, String)>,
    pub confounded: Option<String>,
}

/// A finished study with the same question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repeat {
    pub study: String,
    /// "ARM: CALL", by arm.
    pub verdict: String,
    /// The verdict on each arm, in a sentence.
    pub headlines: Vec<String>,
    pub seeds: Vec<u64>,
}

/// What an earlier study found of a factor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Earlier {
    pub study: String,
    pub claim: String,
    pub arm: String,
    pub factor: String,
    pub changes: BTreeMap<String, (String, String)>,
    pub call: Call,
    pub metric: Metric,
    pub effect: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub margin: f64,
    pub seeds: usize,
    /// The size that it was found at.
    pub parameters: u64,
    pub tokens: u64,
    pub exploratory: bool,
}

impl Earlier {
    pub fn in_words(&self) -> String {
        let changes = self.changes.iter();
        let changes = changes.map(|(path, (before, after))| format!("{path}: {before} → {after}"));
        let effect = match (self.effect, self.low, self.high) {
            (Some(effect), Some(low), Some(high)) => format!(
                " by {effect:+.4} {} ({low:+.4} to {high:+.4}, margin ±{})",
                self.metric.unit(),
                self.margin
            ),
            _ => String::new(),
        };
        format!(
            "{}: {}{effect}, {}; {} parameters, {} tokens, {} seeds ({}{})",
            self.call.name(),
            self.arm,
            changes.collect::<Vec<_>>().join("; "),
            self.parameters,
            self.tokens,
            self.seeds,
            self.study,
            if self.exploratory {
                ", exploratory"
            } else {
                ""
            },
        )
    }
}

/// Reads and resolves a study, and looks up what is known of it; nothing is trained or written. Errors
/// with place, value and remedy where it is wrong.
pub fn check(settings: &Settings, text: &StudyText) -> Result<Checked> {
    // Before anything outside the project is looked at.
    Snapshot::take(settings, text)?;
    let source = text.source();
    let rungs = Study::rungs_of(&source)?;
    if rungs.is_empty() {
        return one(settings, text, None);
    }
    let mut all = Vec::new();
    for rung in &rungs {
        all.push(one(settings, text, Some(rung.idx))?);
    }
    let labels: Vec<&str> = rungs.iter().map(|rung| rung.label.as_str()).collect();
    let mut whole = all[0].clone();
    whole.name = source.parse::<Proposal>()?.name;
    whole.rungs = rungs.len();
    whole.written = all.iter().flat_map(|rung| rung.written.clone()).collect();
    whole.repeat = of_all_rungs(&labels, &all);
    Ok(whole)
}

/// A ladder is a repeat when every rung of it is one.
fn of_all_rungs(labels: &[&str], all: &[Checked]) -> Option<Repeat> {
    let repeats: Option<Vec<&Repeat>> = all.iter().map(|rung| rung.repeat.as_ref()).collect();
    let repeats = repeats?;
    let labelled = || labels.iter().zip(&repeats);
    let verdicts = labelled().map(|(label, repeat)| format!("{label}: {}", repeat.verdict));
    let headlines = labelled().flat_map(|(label, repeat)| {
        let lines = repeat.headlines.iter();
        lines.map(move |line| format!("{label}: {line}"))
    });
    let studies: Vec<&str> = repeats.iter().map(|repeat| repeat.study.as_str()).collect();
    Some(Repeat {
        study: studies.join(", "),
        verdict: verdicts.collect::<Vec<_>>().join("; "),
        headlines: headlines.collect(),
        seeds: repeats
            .iter()
            .flat_map(|repeat| repeat.seeds.clone())
            .collect(),
    })
}

fn one(settings: &Settings, text: &StudyText, rung: Option<usize>) -> Result<Checked> {
    let study = Study::of(text.source(), &[], rung)?;
    let session = session(settings)?;
    on_this_machine(&session, &study)?;
    let planned = plan(&session, &study)?;
    let contract = &planned.contract;
    let terms = &contract.terms;
    let past = past(&settings.home)?;
    let same: Vec<&Past> = past
        .iter()
        .filter(|old| question(&old.contract) == question(contract))
        .collect();
    let answered = |old: &&&Past| answers(&old.contract, contract);
    let repeat = same
        .iter()
        .find(answered)
        .map(|old| old.repeat(&settings.home))
        .transpose()?;
    let replicates = match &repeat {
        Some(_) => None,
        None => same
            .first()
            .map(|old| old.repeat(&settings.home))
            .transpose()?,
    };
    let (judged_by, other_evaluation) = evaluation::of(&session, &study, contract)?;
    let frozen = StudyDir::all(&settings.home);
    Ok(Checked {
        name: terms.name.clone(),
        claim: terms.hypothesis.claim.clone(),
        study: frozen.contains(&contract.id).then(|| contract.id.clone()),
        rungs: 1,
        arms: terms.arms.iter().map(CheckedArm::of).collect(),
        seeds: terms.seeds.len(),
        judged_by,
        other_evaluation,
        earlier: earlier(&past, contract),
        repeat,
        replicates,
        cautions: study.caution().into_iter().collect(),
        written: vec![terms.written.clone()],
        campaign: terms
            .campaign
            .as_ref()
            .map(|place| place.campaign.name.clone()),
        stacked: stacked(contract),
    })
}

/// A session on the settings' device; where a number of threads is not given, one: only ids depend on it.
pub fn session(settings: &Settings) -> Result<Session> {
    let wrong = |key: &str, value: &str, why: String| {
        Error::input(format!("{key} {value}"), why, "give another value")
    };
    let device = settings.device.parse();
    let device = device.map_err(|why| wrong("--device", &settings.device, why))?;
    let precision = settings.dtype.parse();
    let precision = precision.map_err(|why| wrong("--dtype", &settings.dtype, why))?;
    let threads = settings.threads.unwrap_or(1);
    let mut compute = Compute::open(device, threads)?.multiplying_in(precision)?;
    if let Backend::Fused = compute.backend {
        compute.class.threads = threads;
    }
    Ok(Session::new(&settings.home, compute))
}

/// Errors where a study names a corpus that would have to be downloaded: that is a person's to begin.
fn on_this_machine(session: &Session, study: &Study) -> Result<()> {
    for arm in &study.arms {
        session
            .check_names(&arm.recipe)
            .map_err(|e| arm.places.locate(e))?;
        for name in arm.recipe.vocabulary() {
            if !is_here(&name, &session.home)? {
                return Err(Error::input(
                    arm.places.find("data.mixture"),
                    format!("corpus \"{name}\" is not on this machine yet"),
                    format!("`windtunnel data fetch {name}` downloads it; then submit again"),
                ));
            }
        }
    }
    Ok(())
}

/// Whether a corpus can be read without the network.
pub fn is_here(name: &str, home: &Path) -> Result<bool> {
    let recipes = fetch::recipes()?;
    match recipes.into_iter().find(|recipe| recipe.name == name) {
        Some(recipe) => Ok(fetch::find(&recipe, home)?.is_some()),
        None => Ok(true),
    }
}

/// A finished study.
struct Past {
    dir: StudyDir,
    contract: Contract,
    verdict: Verdict,
}

impl Past {
    /// Its verdict, checked against its outcomes.
    fn repeat(&self, home: &Path) -> Result<Repeat> {
        let report = StudyReport::read(home, &self.dir)?;
        let rule = &report.verdict.rule;
        Ok(Repeat {
            study: self.contract.id.clone(),
            verdict: report.verdict.summary(),
            headlines: report
                .verdict
                .arms
                .iter()
                .map(|arm| arm.headline(rule))
                .collect(),
            seeds: self.contract.terms.seeds.clone(),
        })
    }
}

/// Every study of a home that has its verdict. Errors when a contract was edited, or a verdict can't be
/// read.
fn past(home: &Path) -> Result<Vec<Past>> {
    let mut past = Vec::new();
    for id in StudyDir::all(home) {
        let dir = StudyDir::find(home, &id)?;
        if !dir.verdict_path().exists() {
            continue;
        }
        let remedy = "run the study again; finished trials are kept";
        past.push(Past {
            contract: dir.contract()?,
            verdict: crate::files::read_json(&dir.verdict_path(), remedy)?,
            dir,
        });
    }
    Ok(past)
}

/// Digest of what a study asks, whatever it and its arms are called, on whatever seeds: what is
/// evaluated, the rule, and the arms' runs.
fn question(contract: &Contract) -> String {
    let terms = &contract.terms;
    let d = &terms.decision;
    let run = |arm: &ArmTerms| {
        let run = Run {
            seed: 0,
            // How often it is saved or logged decides nothing.
            checkpoint: Default::default(),
            log: Default::default(),
            ..arm.run.clone()
        };
        sha256_json(&run)
    };
    let runs: Vec<String> = terms.arms.iter().map(run).collect();
    let others: BTreeSet<&String> = runs.iter().skip(1).collect();
    sha256_json(&json!({
        "rule": [json!(d.metric), json!(d.margin), json!(d.alpha), json!(d.rule()), json!(d.matched)],
        "windows": terms.windows,
        "device": [&terms.device.class, &terms.device.dtype],
        "numerics": terms.numerics,
        "control": runs.first(),
        "arms": others,
    }))
}

/// Whether a finished study is the answer to one that asks the same: it has all its seeds, or, where
/// seeds are the campaign's to give, as many.
fn answers(old: &Contract, new: &Contract) -> bool {
    let (old, new) = (&old.terms, &new.terms);
    let has_all = new.seeds.iter().all(|seed| old.seeds.contains(seed));
    let campaign = new.campaign.as_ref().map(|place| &place.campaign);
    let same_campaign = campaign.is_some_and(|campaign| {
        campaign.fresh_seeds
            && old
                .campaign
                .as_ref()
                .is_some_and(|place| place.campaign.name == campaign.name)
    });
    has_all || (same_campaign && old.seeds.len() >= new.seeds.len())
}

/// What finished studies found of this one's factors.
fn earlier(past: &[Past], contract: &Contract) -> Vec<Earlier> {
    let factors = |arm: &ArmTerms| -> BTreeSet<String> {
        let factor = arm.factor.iter().filter(|f| *f != STACK && *f != NONE);
        factor.cloned().chain(arm.changes.keys().cloned()).collect()
    };
    let arms = contract.terms.arms.iter().skip(1);
    let asked: BTreeSet<String> = arms.flat_map(factors).collect();
    let mut found = Vec::new();
    for old in past {
        let terms = &old.contract.terms;
        for (arm, verdict) in terms.arms.iter().skip(1).zip(&old.verdict.arms) {
            if factors(arm).is_disjoint(&asked) {
                continue;
            }
            let effect = verdict.effect.as_ref();
            found.push(Earlier {
                study: old.contract.id.clone(),
                claim: terms.hypothesis.claim.clone(),
                arm: arm.name.clone(),
                factor: arm.factor.clone().unwrap_or_default(),
                changes: arm.changes.clone(),
                call: verdict.call,
                metric: terms.decision.metric,
                effect: effect.map(|e| e.mean),
                low: effect.map(|e| e.low),
                high: effect.map(|e| e.high),
                margin: terms.decision.margin,
                seeds: verdict.pairs.len(),
                parameters: arm.run.model.n_params(arm.run.vocab_size),
                tokens: arm.tokens,
                exploratory: !terms.exploratory.is_empty(),
            });
        }
    }
    found.sort_by_key(|earlier| (rank(earlier.call), earlier.study.clone()));
    found
}

/// What warns comes first.
fn rank(call: Call) -> u8 {
    match call {
        Call::Worse => 0,
        Call::Equivalent => 1,
        Call::Inconclusive => 2,
        Call::Invalid => 3,
        Call::Better | Call::Candidate => 4,
    }
}

/// Arms that change more than one path: a stack, or a whole table of a recipe.
fn stacked(contract: &Contract) -> Option<String> {
    let of = |arm: &ArmTerms| {
        let factor = arm.factor.as_deref().unwrap_or(NONE);
        let is_whole_table = !factor.contains('.') && factor != NONE;
        (is_whole_table && arm.changes.len() > 1).then(|| {
            let paths: Vec<&str> = arm.changes.keys().map(String::as_str).collect();
            format!(
                "arms.{} changes {} paths at once ({}) under factor = {factor:?}",
                arm.name,
                paths.len(),
                paths.join(", ")
            )
        })
    };
    let words: Vec<String> = contract.terms.arms.iter().filter_map(of).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

impl CheckedArm {
    fn of(arm: &ArmTerms) -> Self {
        Self {
            name: arm.name.clone(),
            factor: arm.factor.clone(),
            changes: arm.changes.clone(),
            derived: arm.derived.clone(),
            confounded: arm.confounded.clone(),
        }
    }
}

impl Checked {
    /// For people.
    pub fn in_words(&self) -> String {
        let mut text = format!("study     {}\nclaim     {}\n", self.name, self.claim);
        for (idx, arm) in self.arms.iter().enumerate() {
            let label = if idx == 0 { "arms" } else { "" };
            let what = match &arm.factor {
                None => "control".to_string(),
                Some(_) if arm.changes.is_empty() => "the control again (A/A)".to_string(),
                Some(_) => {
                    let all = arm.changes.iter().chain(&arm.derived);
                    let words =
                        all.map(|(path, (before, after))| format!("{path}: {before} → {after}"));
                    words.collect::<Vec<_>>().join("; ")
                }
            };
            text += &format!("{label:<9} {}: {what}\n", arm.name);
            if let Some(why) = &arm.confounded {
                text += &format!("          confounded, so its verdict will be invalid: {why}\n");
            }
        }
        text += &format!("judged by {}\n", self.judged_by);
        if let Some(words) = &self.other_evaluation {
            text += &format!("note      {words}\n");
        }
        if let Some(words) = &self.stacked {
            text += &format!("note      {words}\n");
        }
        for words in &self.cautions {
            text += &format!("note      {words}\n");
        }
        if let Some(repeat) = &self.repeat {
            text += &format!("answered  by {}: nothing would be trained\n", repeat.study);
            for line in &repeat.headlines {
                text += &format!("          {line}\n");
            }
        }
        if let Some(repeat) = &self.replicates {
            text += &format!(
                "again     on other seeds than {} ({})\n",
                repeat.study, repeat.verdict
            );
        }
        for (idx, earlier) in self.earlier.iter().enumerate() {
            let label = if idx == 0 { "earlier" } else { "" };
            text += &format!("{label:<9} {}\n", earlier.in_words());
        }
        text
    }
}
