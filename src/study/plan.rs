//! The plan: a study resolved to trials, with what they cost and the smallest effect that they can
//! see. A study that is over its limits, or blind, is refused before anything is frozen.

use super::{
    arms::Arm,
    campaign::{self, Campaign, Member, Place},
    contract::{ArmTerms, Contract, StudyDir, Terms},
    ledger::Ledger,
    proposal::Study,
    sight::{Sight, sight},
    validity,
    verdict::Looks,
};
use crate::{
    checkpoint,
    data::{TokenizerChoice, overlap::Overlap},
    digest::sha256_json,
    error::{Error, Kind, Result},
    metrics::{Cost, Metric},
    recipe::Budget,
    session::{Session, Timing, Trial},
    train::windows_digest,
    trunk::Trunk,
};
use serde::Serialize;
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

/// What `plan` says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    pub study: String,
    pub claim: String,
    pub metric: Metric,
    /// At most, where they come one by one.
    pub seeds: usize,
    pub looks: Looks,
    pub arms: Vec<ArmForecast>,
    /// Distinct trials in all; arms may share some.
    pub trials: usize,
    /// Trials that have their outcome already.
    pub finished: usize,
    /// Still to train.
    pub tokens: u64,
    /// Still to spend.
    pub flops: f64,
    /// Still to wait, with `jobs` trials side by side.
    pub minutes: f64,
    pub jobs: usize,
    pub threads: usize,
    /// Peak of all jobs together.
    pub memory_bytes: u64,
    pub sight: Sight,
    /// Validation text in training text: what is natural, for leaks were refused.
    pub overlaps: Vec<Overlap>,
}

/// One arm of a forecast.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmForecast {
    pub name: String,
    pub factor: Option<String>,
    pub changes: BTreeMap<String, (String, String)>,
    /// Why a difference could not be put down to the factor.
    pub confounded: Option<String>,
    pub parameters: u64,
    pub tokens_per_trial: u64,
    pub flops_per_trial: f64,
    pub seconds_per_trial: f64,
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
        let tokens = match frozen_tokens(&session.home, &written)? {
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
        campaign: own.place,
        arms,
    });
    Ok(Planned {
        contract,
        trials,
        overlaps,
    })
}

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
        let folder = study.source.path.parent().unwrap_or(Path::new(""));
        let Some(campaign) = Campaign::of(folder)? else {
            return Ok(Self {
                seeds: asked,
                place: None,
                exploratory: Vec::new(),
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
            exploratory: reused.into_iter().collect(),
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

/// Tokens of a study with this text that was frozen before: seconds are converted once.
fn frozen_tokens(home: &Path, written: &str) -> Result<Option<u64>> {
    for id in StudyDir::all(home) {
        let contract = StudyDir::find(home, &id)?.contract()?;
        if contract.terms.written == written {
            return Ok(contract.terms.arms.first().map(|arm| arm.tokens));
        }
    }
    Ok(None)
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

    /// The forecast, from a few steps timed here, `jobs` at a time as `run` would.
    pub fn forecast(&self, session: &Session, ledger: &Ledger, jobs: usize) -> Result<Forecast> {
        let terms = &self.contract.terms;
        let mut forecast = Forecast {
            study: self.contract.id.clone(),
            claim: terms.hypothesis.claim.clone(),
            metric: terms.decision.metric,
            seeds: terms.seeds.len(),
            looks: self.contract.rule().looks,
            arms: Vec::new(),
            trials: self.distinct().len(),
            finished: 0,
            tokens: 0,
            flops: 0.0,
            minutes: 0.0,
            jobs,
            threads: session.compute.class.threads,
            memory_bytes: 0,
            sight: sight(self, ledger)?,
            overlaps: self
                .overlaps
                .iter()
                .map(|(_, found)| found.clone())
                .collect(),
        };
        let mut timings: BTreeMap<String, Timing> = BTreeMap::new();
        let mut seconds_of: BTreeMap<String, f64> = BTreeMap::new();
        for (arm, trials) in terms.arms.iter().zip(&self.trials) {
            // Shapes decide the speed; a learning rate does not.
            let run = &arm.run;
            let shape =
                sha256_json(&(&run.model, &run.batch, run.vocab_size, run.steps, &run.eval));
            let timing = match timings.get(&shape) {
                Some(timing) => *timing,
                None => time_side_by_side(session, &trials[0], jobs)?,
            };
            timings.insert(shape, timing);
            forecast.memory_bytes = forecast.memory_bytes.max(timing.memory_bytes * jobs as u64);
            let seconds = timing.run_seconds(run);
            for trial in trials {
                seconds_of.insert(trial.id.to_string(), seconds);
            }
            forecast.arms.push(ArmForecast {
                name: arm.name.clone(),
                factor: arm.factor.clone(),
                changes: arm.changes.clone(),
                confounded: arm.confounded.clone(),
                parameters: run.model.n_params(run.vocab_size),
                tokens_per_trial: arm.tokens,
                flops_per_trial: arm.flops,
                seconds_per_trial: seconds,
            });
        }
        let mut seconds = 0.0;
        // Of each trunk, the furthest step that somebody will have reached.
        let mut trunks: BTreeMap<&Path, u64> = BTreeMap::new();
        let mut distinct = self.distinct();
        distinct.sort_by_key(|trial| trial.trunk.as_ref().map_or(0, Trunk::step));
        for trial in distinct {
            let shared = trial.trunk.as_ref().map_or(0, |trunk| {
                let reached = trunks.insert(trunk.id(), trunk.step());
                reached.max(trunk.furthest()).unwrap_or(0)
            });
            let left = share_left(trial, shared)?;
            forecast.finished += usize::from(left == 0.0);
            let tokens = trial.run.tokens() as f64 * left;
            forecast.tokens += tokens as u64;
            forecast.flops += tokens * trial.run.model.flops_per_token(trial.run.vocab_size);
            seconds += left * seconds_of[&trial.id.to_string()];
        }
        forecast.minutes = seconds / jobs as f64 / 60.0;
        Ok(forecast)
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

/// The fraction of a trial that is still to be trained, by its newest checkpoint or where it leaves
/// what it shares.
fn share_left(trial: &Trial, shared: u64) -> Result<f64> {
    if trial.dir.outcome()?.is_some() {
        return Ok(0.0);
    }
    let done = checkpoint::steps(&trial.dir.checkpoints())
        .pop()
        .unwrap_or(shared);
    Ok(1.0 - done as f64 / trial.run.steps as f64)
}

/// Times a trial's steps while others like it run beside it: cores share caches and memory.
fn time_side_by_side(session: &Session, trial: &Trial, jobs: usize) -> Result<Timing> {
    let timings: Vec<Result<Timing>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|_| scope.spawn(|| session.time_steps(&trial.run, trial.data.clone())))
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut slowest: Option<Timing> = None;
    for timing in timings {
        let timing = timing?;
        if slowest.is_none_or(|s| timing.seconds_per_step > s.seconds_per_step) {
            slowest = Some(timing);
        }
    }
    slowest.ok_or_else(|| Error::input("--jobs", "no job was timed", "use at least 1"))
}

impl Forecast {
    /// Errors (refused, status 3) when a limit is exceeded or the design is blind: it could not see
    /// an effect as large as its own margin.
    pub fn check(&self, contract: &Contract, available_bytes: u64) -> Result<()> {
        let limits = &contract.terms.limits;
        let refuse = |what: String, remedy: &str| {
            Err(Error::new(Kind::Refused, self.study.clone(), what, remedy))
        };
        for (name, limit, planned) in [
            ("device_minutes", limits.device_minutes, self.minutes),
            (
                "tokens",
                limits.tokens.map(|n| n as f64),
                self.tokens as f64,
            ),
            ("flops", limits.flops, self.flops),
        ] {
            if let Some(limit) = limit
                && planned > limit
            {
                return refuse(
                    format!("would take {planned:.4e} {name}, limits.{name} is {limit:.4e}"),
                    "use fewer steps or seeds, or raise the limit",
                );
            }
        }
        if self.memory_bytes > available_bytes {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            return refuse(
                format!(
                    "would hold {:.1} GiB with {} jobs, {:.1} GiB are free",
                    gib(self.memory_bytes),
                    self.jobs,
                    gib(available_bytes)
                ),
                "use fewer --jobs, or a smaller batch.rows_per_pass",
            );
        }
        match contract.terms.exploratory.is_empty() {
            true => self.sight.check(&self.study, self.seeds, self.metric),
            false => Ok(()),
        }
    }
}
