//! The plan: a study resolved to trials, in its place in its campaign, and found comparable before
//! anything is frozen.

use super::{
    arms::Arm,
    campaign::{self, Campaign, Member, Place},
    contract::{ArmTerms, Contract, StudyDir, Terms},
    proposal::Study,
    validity,
};
use crate::{
    data::{TokenizerChoice, overlap::Overlap},
    digest::sha256_json,
    error::{Error, Result},
    metrics::Cost,
    recipe::Budget,
    session::{Session, Trial},
    train::windows_digest,
};
use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

/// A study made ready: the contract to freeze, its trials opened, and the forecast.
pub struct Planned {
    pub contract: Contract,
    /// By arm, then seed, as in the contract.
    pub trials: Vec<Vec<Trial>>,
    /// How much validation text stands in what is trained on, and where that is written down.
    pub overlaps: Vec<(PathBuf, Overlap)>,
}

/// Resolves a study to trials on a session's device. Opens corpora, trains nothing (but a few steps
/// when the budget is in seconds, which become tokens for every arm alike).
pub fn plan(session: &Session, study: &Study) -> Result<Planned> {
    let mut study = study.clone();
    for arm in &study.arms {
        session
            .check_names(&arm.recipe)
            .map_err(|e| in_study(&study, arm, e))?;
    }
    let written = written(session, &study)?;
    if study
        .arms
        .iter()
        .any(|arm| arm.recipe.budget.seconds.is_some())
    {
        let tokens = match frozen_tokens(session, &study)? {
            Some(tokens) => tokens,
            None => {
                let control = study.control();
                let trial = session.resolve(&control.recipe);
                let trial = trial.map_err(|e| in_study(&study, control, e))?;
                trial.run.tokens()
            }
        };
        for arm in &mut study.arms {
            arm.recipe.budget = Budget {
                tokens: Some(tokens),
                ..Default::default()
            };
        }
    }
    let own = Own::of(session, &study, &written)?;
    let seeds = own.seeds;
    let mut trials: Vec<Vec<Trial>> = Vec::new();
    let mut arms: Vec<ArmTerms> = Vec::new();
    for arm in &study.arms {
        let first = session
            .resolve(&arm.recipe)
            .map_err(|e| in_study(&study, arm, e))?;
        let of_seeds = seeds
            .iter()
            .map(|seed| session.with_seed(&first, *seed))
            .collect::<Result<Vec<_>>>()?;
        let tokens = first.run.tokens();
        let control = arms.first().map(|control| &control.run);
        let factor = arm.factor.as_deref().unwrap_or_default();
        let confounded =
            control.and_then(|control| validity::confounded(control, &first.run, factor));
        arms.push(ArmTerms {
            name: arm.name.clone(),
            factor: arm.factor.clone(),
            changes: arm.changes.clone(),
            derived: BTreeMap::new(),
            confounded,
            tokens,
            flops: tokens as f64 * first.run.model.flops_per_token(first.run.vocab_size),
            trials: of_seeds.iter().map(|trial| trial.id.clone()).collect(),
            run: first.run,
        });
        trials.push(of_seeds);
    }
    let windows: Vec<String> = trials
        .iter()
        .map(|of_arm| windows_digest(&of_arm[0].data.windows))
        .collect();
    comparable(&study, &arms, &windows)?;
    for idx in 1..arms.len() {
        let runs = (&arms[0].run, &arms[idx].run);
        arms[idx].derived = validity::derived(&study, runs, &arms[idx])?;
    }
    let overlaps = validity::leaks(&study, &trials, &session.home)?;
    let contract = Contract::new(Terms {
        name: study.proposal.name.clone(),
        proposer: study.proposal.proposer.clone(),
        written,
        hypothesis: study.proposal.hypothesis.clone(),
        decision: study.proposal.decision.clone(),
        limits: study.proposal.limits.clone(),
        device: session.compute.class.clone(),
        numerics: env!("WINDTUNNEL_NUMERICS").into(),
        windows: windows[0].clone(),
        seeds,
        exploratory: own.exploratory,
        space: study.proposal.space.clone(),
        campaign: own.place,
        arms,
    });
    Ok(Planned {
        contract,
        trials,
        overlaps,
    })
}

/// Why a study with a space is exploratory.
const SWARM: &str = "a swarm ranks its points, and tests none";

/// What a study has of its own among those of its campaign.
struct Own {
    seeds: Vec<u64>,
    place: Option<Place>,
    exploratory: Vec<String>,
}

impl Own {
    /// As it was frozen, or, of a study that is new, after all others. Errors when the campaign's
    /// file is wrong.
    fn of(session: &Session, study: &Study, written: &str) -> Result<Self> {
        let asked = study.seeds();
        let swarm = study.proposal.space.iter().map(|_| SWARM.to_string());
        let folder = study.source.path.parent().unwrap_or(Path::new(""));
        let Some(campaign) = Campaign::of(folder)? else {
            return Ok(Self {
                seeds: asked,
                place: None,
                exploratory: swarm.collect(),
            });
        };
        let members = campaign.members(&session.home)?;
        let before = |member: &&Member| member.contract.terms.written == written;
        if let Some(member) = members.iter().find(before) {
            let terms = &member.contract.terms;
            return Ok(Self {
                seeds: terms.seeds.clone(),
                place: terms.campaign.clone(),
                exploratory: terms.exploratory.clone(),
            });
        }
        let (seeds, reused) = campaign::seeds(&campaign, &members, &asked);
        Ok(Self {
            seeds,
            place: Some(campaign.next(&members, &folder.display().to_string())?),
            exploratory: reused.into_iter().chain(swarm).collect(),
        })
    }
}

/// Digest of study and recipe as they were written, wherever a tokenizer's file is.
fn written(session: &Session, study: &Study) -> Result<String> {
    let mut recipe = study.control().recipe.clone();
    if let TokenizerChoice::File(_) = recipe.data.tokenizer {
        recipe.data.tokenizer = session.tokenizer(&recipe)?.resolved();
    }
    Ok(sha256_json(&(&study.proposal, &recipe)))
}

/// Contracts of this study, as it is written, that were frozen before, whatever the threads; and what
/// is wrong with those that can't be read, of whatever study.
pub fn frozen(session: &Session, study: &Study) -> Result<Vec<Result<Contract>>> {
    for arm in &study.arms {
        session
            .check_names(&arm.recipe)
            .map_err(|e| in_study(study, arm, e))?;
    }
    let written = written(session, study)?;
    let home = &session.home;
    let read = |id: &String| StudyDir::find(home, id)?.contract();
    let all = StudyDir::all(home);
    let is_it = |found: &Result<Contract>| {
        let found = found.as_ref();
        found.map_or(true, |contract| contract.terms.written == written)
    };
    Ok(all.iter().map(read).filter(is_it).collect())
}

/// Tokens of a study with this text that was frozen before: seconds are converted once.
fn frozen_tokens(session: &Session, study: &Study) -> Result<Option<u64>> {
    let frozen = frozen(session, study)?;
    let frozen = frozen.into_iter().collect::<Result<Vec<_>>>()?;
    let first = frozen.iter().find_map(|c| c.terms.arms.first());
    Ok(first.map(|arm| arm.tokens))
}

/// An error about an arm's recipe, with the arm that it is about and the place that set the key.
fn in_study(study: &Study, arm: &Arm, error: Error) -> Error {
    let located = arm.places.locate(error.clone());
    Error {
        place: match located.place == error.place {
            true => format!("{}: {}", study.place_of_arm(&arm.name), error.place),
            false => located.place,
        },
        problem: format!("arms.{}: {}", arm.name, located.problem),
        remedy: located.remedy,
        ..error
    }
}

fn comparable(study: &Study, arms: &[ArmTerms], windows: &[String]) -> Result<()> {
    let cost = |arm: &ArmTerms| Cost {
        tokens: arm.tokens,
        flops: arm.flops,
        ..Default::default()
    };
    for (arm, digest) in arms.iter().zip(windows).skip(1) {
        let matched = study.proposal.decision.matched;
        let differs = match matched.differs(&cost(&arms[0]), &cost(arm)) {
            Some(what) => Some(format!("would train on {what}")),
            None if *digest != windows[0] => Some("would read other validation windows".into()),
            None => None,
        };
        if let Some(what) = differs {
            return Err(Error::input(
                study.place_of_arm(&arm.name),
                format!("arms.{} {what}", arm.name),
                "make the arms spend and read alike; a whole number of steps of every arm must make the budget",
            ));
        }
    }
    Ok(())
}

impl Planned {
    /// The same study as one that tests nothing: its contract, and so its verdict and report, say so
    /// for good.
    pub fn exploratory(mut self) -> Self {
        let mut terms = self.contract.terms;
        let declared = "declared exploratory before its first trial".to_string();
        if !terms.exploratory.contains(&declared) {
            terms.exploratory.push(declared);
        }
        self.contract = Contract::new(terms);
        self
    }

    /// Every trial once, pairs together: seed by seed, the control first.
    pub fn distinct(&self) -> Vec<&Trial> {
        self.distinct_of(0..self.contract.terms.seeds.len())
    }

    /// Those of the seeds with these indices.
    pub fn distinct_of(&self, seeds: Range<usize>) -> Vec<&Trial> {
        let mut trials: Vec<&Trial> = Vec::new();
        for seed_idx in seeds {
            for of_arm in &self.trials {
                let trial = &of_arm[seed_idx];
                if trials.iter().all(|known| known.id != trial.id) {
                    trials.push(trial);
                }
            }
        }
        trials
    }
}
