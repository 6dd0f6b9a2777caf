//! The forecast: what of a study is still to train, how long that takes and what it holds, from the
//! machine's calibration or a few steps timed now; and the limits that it has to keep.

use super::{
    contract::{Contract, StudyDir},
    ledger::Ledger,
    makespan::{Item, Span, makespan},
    plan::Planned,
    queue::Queued,
    sight::{Sight, sight},
    spent::in_packs,
    verdict::Looks,
};
use crate::{
    calibration::{AtOnce, Entry, Key},
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
    /// Still to wait, with `jobs` programs side by side.
    pub minutes: f64,
    /// Still to train, all trials' minutes added up.
    pub trial_minutes: f64,
    pub jobs: usize,
    /// The most trials that are trained as one program.
    pub pack: usize,
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

/// By arm, and the size of a pack of its trials.
type Entries = BTreeMap<(usize, usize), (Key, Entry)>;

/// What is known of trials that are to train, and how they are packed.
struct Known {
    entries: Entries,
    /// By trial, the size of its pack; 0 where it has ended.
    sizes: Vec<usize>,
}

impl Known {
    fn of(&self, idx: usize, left: &Left) -> Option<&(Key, Entry)> {
        self.entries.get(&(left.arm_idx, self.sizes[idx]))
    }

    /// What is known of an arm's trials in the largest of their packs.
    fn of_arm(&self, arm_idx: usize) -> Option<&(Key, Entry)> {
        let of_arm = self.entries.range((arm_idx, 0)..(arm_idx + 1, 0));
        of_arm.last().map(|(_, known)| known)
    }
}

/// Where fewer trials than jobs run for a smaller share of the time, their speed is not measured.
const UNEVEN: f64 = 0.03;

impl Planned {
    /// The forecast with so many trials at a time; what the calibration does not know is timed.
    pub fn forecast(
        &self,
        session: &Session,
        ledger: &Ledger,
        (at, effort): (AtOnce, Effort),
    ) -> Result<Forecast> {
        let terms = &self.contract.terms;
        // Before anything is timed, which takes memory of its own.
        let base = session.resident();
        let left = self.left()?;
        let queued = queued(session, &left, at.pack)?;
        let known = self.known(session, (&left, &queued), (at, effort))?;
        let timed = timed(session, (&left, &queued, &known), (at, effort))?;
        let arms = terms.arms.iter().enumerate();
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
                .map(|(arm_idx, arm)| ArmForecast {
                    name: arm.name.clone(),
                    factor: arm.factor.clone(),
                    changes: arm.changes.clone(),
                    confounded: arm.confounded.clone(),
                    parameters: arm.run.model.n_params(arm.run.vocab_size),
                    steps_per_trial: arm.run.steps,
                    tokens_per_trial: arm.tokens,
                    flops_per_trial: arm.flops,
                    seconds_per_trial: known
                        .of_arm(arm_idx)
                        .map(|(_, e)| e.run_seconds(&arm.run, 0)),
                })
                .collect(),
            trials: left.len(),
            finished: left.iter().filter(|left| left.finished).count(),
            tokens: left.iter().map(tokens).sum(),
            flops: left.iter().map(flops).sum(),
            minutes: timed.span.seconds / 60.0,
            trial_minutes: timed.trial_seconds / 60.0,
            jobs: at.jobs,
            pack: known.sizes.iter().copied().max().unwrap_or(0).max(1),
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

    /// How the open trials are packed, and of each arm what is known of its kind of run in packs of
    /// those sizes; nothing where all its trials have ended.
    fn known(
        &self,
        session: &Session,
        (left, queued): (&[Left], &[Queued]),
        (at, effort): (AtOnce, Effort),
    ) -> Result<Known> {
        // All alike: who comes together does not depend on how long it takes, or hardly.
        let item = |(left, queued): (&Left, &Queued)| Item {
            seconds: if left.finished { 0.0 } else { 1.0 },
            alone: 1.0,
            memory_bytes: 0,
            queued: queued.clone(),
            trunk_seconds: to_trunk(left, 1.0),
        };
        let items: Vec<Item> = left.iter().zip(queued).map(item).collect();
        let mut known = Known {
            entries: BTreeMap::new(),
            sizes: vec![0; left.len()],
        };
        for pack in makespan(&items, at.jobs).packs {
            for idx in pack.iter().filter(|idx| !left[**idx].finished) {
                known.sizes[*idx] = pack.len();
            }
        }
        for (left, size) in left.iter().zip(&known.sizes) {
            let arm = (left.arm_idx, *size);
            if *size > 0 && !known.entries.contains_key(&arm) {
                let trial = &self.trials[left.arm_idx][0];
                let at = AtOnce { pack: *size, ..at };
                known
                    .entries
                    .insert(arm, session.timing(trial, at, effort)?);
            }
        }
        Ok(known)
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
}

/// The trials as the runner queues them: those that have ended are not packed.
fn queued(session: &Session, left: &[Left], asked: usize) -> Result<Vec<Queued>> {
    let queued = |left: &Left| {
        let trial = left.trial;
        let pack = match left.finished {
            true => None,
            false => Some((trial.pack_key(), session.most_in_pack(trial, asked)?)),
        };
        Ok(Queued {
            trunk: trial.trunk.clone(),
            pack,
        })
    };
    left.iter().map(queued).collect()
}

fn timed(
    session: &Session,
    (left, queued, known): (&[Left], &[Queued], &Known),
    (at, effort): (AtOnce, Effort),
) -> Result<Timed> {
    let entry = |idx: usize| known.of(idx, &left[idx]);
    let item = |(idx, queued): (usize, &Queued)| {
        let packed = (queued, known.sizes[idx]);
        item(&left[idx], packed, entry(idx).map(|(_, entry)| entry))
    };
    let mut items: Vec<Item> = queued.iter().enumerate().map(item).collect();
    let mut span = makespan(&items, at.jobs);
    if at.jobs > 1 && span.uneven_seconds > UNEVEN * span.seconds {
        // How much quicker they are alone is worth knowing.
        for (idx, item) in items.iter_mut().enumerate() {
            if let Some((_, beside)) = entry(idx) {
                let at = AtOnce {
                    jobs: 1,
                    pack: known.sizes[idx],
                };
                let (_, alone) = session.timing(left[idx].trial, at, effort)?;
                item.alone = times_quicker(beside, &alone);
            }
        }
        span = makespan(&items, at.jobs);
    }
    let open = || (0..left.len()).filter_map(entry).map(|(_, entry)| entry);
    let runs = |entry: &Entry| entry.learnt.map_or(0, |learnt| learnt.runs);
    let basis = Basis {
        uncertainty: open().map(Entry::uncertainty).fold(0.0, f64::max),
        runs: open().map(runs).min().unwrap_or(0),
        age_seconds: open().map(Entry::age_seconds).max().unwrap_or(0),
    };
    let whole = span.item_seconds.iter().enumerate();
    let whole = whole.filter_map(|(idx, seconds)| {
        let (key, entry) = entry(idx).filter(|_| left[idx].done == 0)?;
        let seconds = seconds - entry.timing.start_seconds;
        let id = left[idx].trial.id.to_string();
        Some((id, (key.clone(), *entry, seconds)))
    });
    Ok(Timed {
        trial_seconds: span.item_seconds.iter().sum(),
        whole: whole.collect(),
        basis,
        span,
    })
}

/// How many times quicker a run is alone than beside others; 1 where that is no number.
fn times_quicker(beside: &Entry, alone: &Entry) -> f64 {
    let ratio = beside.timing.seconds_per_step / alone.timing.seconds_per_step;
    match ratio.is_finite() && ratio > 0.0 {
        true => ratio,
        false => 1.0,
    }
}

/// A trial as the makespan sees it, of a pack of this size; nothing is known of one that has ended.
fn item(left: &Left, (queued, size): (&Queued, usize), entry: Option<&Entry>) -> Item {
    let seconds = entry.map_or(0.0, |entry| entry.run_seconds(&left.trial.run, left.done));
    let memory = entry.map_or(0, |entry| entry.timing.memory_bytes);
    Item {
        seconds,
        alone: 1.0,
        memory_bytes: memory.div_ceil(size.max(1) as u64),
        queued: queued.clone(),
        trunk_seconds: to_trunk(left, seconds),
    }
}

/// Of a trial's seconds, what passes until its trunk is there for others; `None` where it is there.
fn to_trunk(left: &Left, seconds: f64) -> Option<f64> {
    let trial = left.trial;
    let trunk = trial.trunk.as_ref().filter(|trunk| !trunk.is_whole())?;
    let ahead = trunk.step().saturating_sub(left.done) as f64;
    let steps = (trial.run.steps - left.done).max(1) as f64;
    (!left.finished).then_some(seconds * ahead / steps)
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
                    "would hold {:.1} GiB with {} jobs{}, {:.1} GiB are free",
                    gib(self.memory_bytes),
                    self.jobs,
                    in_packs(self.pack),
                    gib(available_bytes)
                ),
                match self.pack {
                    1 => "use fewer --jobs, or a smaller batch.rows_per_pass",
                    _ => "use fewer --jobs, a smaller --pack, or a smaller batch.rows_per_pass",
                },
            );
        }
        // Trials of a study that was begun may have told the bank more: it goes on all the same.
        match contract.terms.exploratory.is_empty() && !self.frozen {
            true => self.sight.check(&self.study, self.seeds, self.metric),
            false => Ok(()),
        }
    }
}
