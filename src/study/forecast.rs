//! The forecast: what of a study is still to train, how long that takes and what it holds, from the
//! machine's calibration or a few steps timed now; and the limits that it has to keep.

use super::{
    contract::{Contract, StudyDir},
    ledger::Ledger,
    makespan::{Item, Span, makespan},
    plan::Planned,
    sight::{Sight, sight},
    verdict::Looks,
};
use crate::{
    calibration::{Entry, Key},
    checkpoint,
    data::overlap::Overlap,
    error::{Error, Kind, Result},
    metrics::Metric,
    session::{Effort, Session, Trial},
    trunk::Trunk,
};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

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
    /// Still to train, all trials' minutes added up.
    pub trial_minutes: f64,
    pub jobs: usize,
    pub threads: usize,
    /// The most that the process will hold: all jobs together, with binary and corpora.
    pub memory_bytes: u64,
    pub basis: Basis,
    pub sight: Sight,
    /// The contract was frozen before: what its seeds can see was settled then.
    pub frozen: bool,
    /// Validation text in training text: what is natural, for leaks were refused.
    pub overlaps: Vec<Overlap>,
    /// By trial that is still to be trained from its first step: what names its kind, what was
    /// known of that, and its seconds from the first step to the end.
    #[serde(skip)]
    pub whole: BTreeMap<String, (Key, Entry, f64)>,
}

/// What minutes and memory rest on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Basis {
    /// How far off the minutes may well be, relative to them.
    pub uncertainty: f64,
    /// Runs like these that ended on this machine and correct the estimate; 0 where it rests on a
    /// few timed steps alone.
    pub runs: u64,
    /// Of the oldest measurement.
    pub age_seconds: u64,
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
    pub steps_per_trial: u64,
    pub tokens_per_trial: u64,
    pub flops_per_trial: f64,
    /// `None` where all its trials have ended.
    pub seconds_per_trial: Option<f64>,
}

/// A forecast's trials in time.
struct Timed {
    span: Span,
    trial_seconds: f64,
    basis: Basis,
    whole: BTreeMap<String, (Key, Entry, f64)>,
}

/// A trial that leaves its share of a trunk, or of its own checkpoints, behind it.
struct Left<'a> {
    trial: &'a Trial,
    arm_idx: usize,
    /// Steps that need not be trained.
    done: u64,
    finished: bool,
}

/// By arm.
type Entries = Vec<Option<(Key, Entry)>>;

/// Where fewer trials than jobs run for a smaller share of the time, their speed is not measured.
const UNEVEN: f64 = 0.03;

impl Planned {
    /// The forecast with `jobs` trials at a time; what the calibration does not know is timed.
    pub fn forecast(
        &self,
        session: &Session,
        ledger: &Ledger,
        (jobs, effort): (usize, Effort),
    ) -> Result<Forecast> {
        let terms = &self.contract.terms;
        // Before anything is timed, which takes memory of its own.
        let base = session.resident();
        let left = self.left()?;
        let entries = self.entries(session, &left, (jobs, effort))?;
        let timed = self.timed(session, (&left, &entries), (jobs, effort))?;
        let arms = terms.arms.iter().zip(&entries);
        let tokens = |left: &Left| {
            let run = &left.trial.run;
            let steps = if left.finished { run.steps } else { left.done };
            (run.steps - steps) * run.tokens_per_step()
        };
        let flops = |left: &Left| {
            let run = &left.trial.run;
            tokens(left) as f64 * run.model.flops_per_token(run.vocab_size)
        };
        Ok(Forecast {
            study: self.contract.id.clone(),
            claim: terms.hypothesis.claim.clone(),
            metric: terms.decision.metric,
            seeds: terms.seeds.len(),
            looks: self.contract.rule().looks,
            arms: arms
                .map(|(arm, known)| ArmForecast {
                    name: arm.name.clone(),
                    factor: arm.factor.clone(),
                    changes: arm.changes.clone(),
                    confounded: arm.confounded.clone(),
                    parameters: arm.run.model.n_params(arm.run.vocab_size),
                    steps_per_trial: arm.run.steps,
                    tokens_per_trial: arm.tokens,
                    flops_per_trial: arm.flops,
                    seconds_per_trial: known.as_ref().map(|(_, e)| e.run_seconds(&arm.run, 0)),
                })
                .collect(),
            trials: left.len(),
            finished: left.iter().filter(|left| left.finished).count(),
            tokens: left.iter().map(tokens).sum(),
            flops: left.iter().map(flops).sum(),
            minutes: timed.span.seconds / 60.0,
            trial_minutes: timed.trial_seconds / 60.0,
            jobs,
            threads: session.compute.class.threads,
            memory_bytes: base.peak.max(base.now + timed.span.memory_bytes),
            basis: timed.basis,
            sight: sight(self, ledger)?,
            frozen: StudyDir::all(&session.home).contains(&self.contract.id),
            overlaps: self
                .overlaps
                .iter()
                .map(|(_, found)| found.clone())
                .collect(),
            whole: timed.whole,
        })
    }

    /// Of each arm, what is known of its kind of run beside others like it; nothing where all its
    /// trials have ended.
    fn entries(
        &self,
        session: &Session,
        left: &[Left],
        (jobs, effort): (usize, Effort),
    ) -> Result<Entries> {
        let arms = self.trials.iter().enumerate();
        let known = arms.map(|(arm_idx, of_arm)| {
            let open = left.iter().any(|l| l.arm_idx == arm_idx && !l.finished);
            let timing = || session.timing(&of_arm[0], jobs, effort);
            open.then(timing).transpose()
        });
        known.collect()
    }

    /// Every trial once, in the order in which they start, with what need not be trained.
    fn left(&self) -> Result<Vec<Left<'_>>> {
        let distinct = self.distinct();
        // Of each trunk, the furthest step that somebody will have reached.
        let mut trunks: BTreeMap<&Path, u64> = BTreeMap::new();
        let mut by_trunk: Vec<usize> = (0..distinct.len()).collect();
        by_trunk.sort_by_key(|idx| distinct[*idx].trunk.as_ref().map_or(0, Trunk::step));
        let mut done = vec![(0, false); distinct.len()];
        for idx in by_trunk {
            let trial = distinct[idx];
            let shared = trial.trunk.as_ref().map_or(0, |trunk| {
                let reached = trunks.insert(trunk.id(), trunk.step());
                reached.max(trunk.furthest()).unwrap_or(0)
            });
            let saved = checkpoint::steps(&trial.dir.checkpoints()).pop();
            done[idx] = match trial.dir.outcome()? {
                Some(_) => (trial.run.steps, true),
                None => (saved.unwrap_or(shared), false),
            };
        }
        let arm_of = |trial: &Trial| {
            let has = |arm: &Vec<Trial>| arm.iter().any(|other| other.id == trial.id);
            self.trials.iter().position(has).unwrap_or(0)
        };
        let left = distinct.into_iter().zip(done);
        let left = left.map(|(trial, (done, finished))| Left {
            arm_idx: arm_of(trial),
            trial,
            done,
            finished,
        });
        Ok(left.collect())
    }

    fn timed(
        &self,
        session: &Session,
        (left, entries): (&[Left], &Entries),
        (jobs, effort): (usize, Effort),
    ) -> Result<Timed> {
        let known = |left: &Left| match left.finished {
            true => None,
            false => entries[left.arm_idx].as_ref(),
        };
        let item = |left| item(left, known(left).map(|(_, entry)| entry));
        let mut items: Vec<Item> = left.iter().map(item).collect();
        let mut span = makespan(&items, jobs);
        if jobs > 1 && span.uneven_seconds > UNEVEN * span.seconds {
            // How much quicker they are alone is worth knowing.
            for (left, item) in left.iter().zip(&mut items) {
                if let Some((_, beside)) = known(left) {
                    let (_, alone) = session.timing(left.trial, 1, effort)?;
                    item.alone = times_quicker(beside, &alone);
                }
            }
            span = makespan(&items, jobs);
        }
        let open = || left.iter().filter_map(known).map(|(_, entry)| entry);
        let runs = |entry: &Entry| entry.learnt.map_or(0, |learnt| learnt.runs);
        let basis = Basis {
            uncertainty: open().map(Entry::uncertainty).fold(0.0, f64::max),
            runs: open().map(runs).min().unwrap_or(0),
            age_seconds: open().map(Entry::age_seconds).max().unwrap_or(0),
        };
        let whole = left
            .iter()
            .zip(&span.item_seconds)
            .filter_map(|(left, seconds)| {
                let (key, entry) = known(left).filter(|_| left.done == 0)?;
                let seconds = seconds - entry.timing.start_seconds;
                let id = left.trial.id.to_string();
                Some((id, (key.clone(), *entry, seconds)))
            });
        Ok(Timed {
            trial_seconds: span.item_seconds.iter().sum(),
            whole: whole.collect(),
            basis,
            span,
        })
    }
}

/// How many times quicker a run is alone than beside others; 1 where that is no number.
fn times_quicker(beside: &Entry, alone: &Entry) -> f64 {
    let ratio = beside.timing.seconds_per_step / alone.timing.seconds_per_step;
    match ratio.is_finite() && ratio > 0.0 {
        true => ratio,
        false => 1.0,
    }
}

/// A trial as the makespan sees it; nothing is known of one that has ended.
fn item(left: &Left, entry: Option<&Entry>) -> Item {
    let trial = left.trial;
    let Some(entry) = entry else {
        return Item {
            seconds: 0.0,
            alone: 1.0,
            memory_bytes: 0,
            trunk: trial.trunk.clone(),
            trunk_seconds: None,
        };
    };
    let seconds = entry.run_seconds(&trial.run, left.done);
    let ahead = |trunk: &Trunk| trunk.step().saturating_sub(left.done) as f64;
    let steps = (trial.run.steps - left.done).max(1) as f64;
    let trunk = trial.trunk.as_ref().filter(|trunk| !trunk.is_whole());
    Item {
        seconds,
        alone: 1.0,
        memory_bytes: entry.timing.memory_bytes,
        trunk: trial.trunk.clone(),
        trunk_seconds: trunk.map(|trunk| seconds * ahead(trunk) / steps),
    }
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
        // Trials of a study that was begun may have told the bank more: it goes on all the same.
        match contract.terms.exploratory.is_empty() && !self.frozen {
            true => self.sight.check(&self.study, self.seeds, self.metric),
            false => Ok(()),
        }
    }
}
