//! The runner: trains a study's trials side by side and judges them.
//!
//! Trials are content-addressed, so one that ended before (in this study, or in another) is not
//! run again, and one that was killed goes on from its newest checkpoint.

use super::{
    contract::{Contract, StudyDir},
    ledger::Ledger,
    needed,
    plan::Planned,
    queue::{Next, Queue, Queued},
    validity,
    verdict::{ArmOutcomes, Looks, Verdict, judge, stop},
    worth::worth,
};
use crate::{
    calibration::AtOnce,
    error::{Error, Kind, Result},
    files,
    metrics::{Outcome, Record},
    run_dir::RunDir,
    session::{Session, Trial},
    train::{Job, Progress, pack::train_in_memory},
    trunk::Trunk,
};
use std::{
    collections::BTreeMap,
    ops::Range,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::Duration,
};

/// How often a worker looks whether a trunk is there.
const POLL: Duration = Duration::from_millis(20);

/// What a watcher hears of a trial.
pub enum Watched<'a> {
    Progress(Progress<'a>),
    /// It ended, now or before.
    Ended(&'a Outcome),
}

/// Hears of every trial, from several threads.
pub type Watch<'a> = &'a (dyn Fn(&Trial, Watched) + Sync);

/// Freezes the contract, trains what has no outcome yet, judges, and writes the verdict down.
/// Errors: interrupted (everything kept), or what failed first; the other trials save and stop.
pub fn run_study(
    session: &Session,
    planned: &Planned,
    (at, stopped): (AtOnce, &AtomicBool),
    watch: Watch,
) -> Result<(StudyDir, Verdict)> {
    let mut ledger = Ledger::open(&session.home)?;
    let dir = planned.contract.freeze(&session.home)?;
    ledger.freeze(&planned.contract)?;
    validity::keep(&planned.overlaps)?;
    let contract = &planned.contract;
    let ledger = Mutex::new(ledger);
    let train = |trials: &[&Trial]| train_all((session, &ledger), trials, (at, stopped), watch);
    match contract.rule().looks {
        Looks::Once => train(&planned.distinct())?,
        Looks::EachSeed { first, most } => {
            let pack = session.most_in_pack(&planned.trials[0][0], at.pack)?;
            let ahead = (at.jobs * pack).div_ceil(planned.trials.len());
            while let Some(seeds) = next_seeds(session, contract, (first, most), ahead)? {
                train(&planned.distinct_of(seeds))?;
            }
        }
    }
    let verdict = judge_again(&session.home, contract)?;
    files::write_json(&dir.verdict_path(), &verdict)?;
    let ledger = ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
    ledger.judged(&contract.id, &verdict)?;
    Ok((dir, verdict))
}

/// Trains what has no outcome yet of these trials, so many at a time, and writes every outcome into the
/// ledger at once, so that a kill loses no finished trial.
pub fn train_all(
    (session, ledger): (&Session, &Mutex<Ledger>),
    trials: &[&Trial],
    (at, stopped): (AtOnce, &AtomicBool),
    watch: Watch,
) -> Result<()> {
    let ended = |trial: &Trial, outcome: &Outcome| -> Result<()> {
        let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.record(&trial.run, outcome)?;
        drop(ledger);
        watch(trial, Watched::Ended(outcome));
        Ok(())
    };
    let mut open = Vec::new();
    for trial in trials {
        match trial.dir.outcome()? {
            Some(outcome) => ended(trial, &outcome)?,
            None => open.push(*trial),
        }
    }
    let queued = open.iter().map(|trial| {
        Ok(Queued {
            trunk: trial.trunk.clone(),
            pack: Some((trial.pack_key(), session.most_in_pack(trial, at.pack)?)),
        })
    });
    let queued = queued.collect::<Result<Vec<_>>>()?;
    let run_pack = |pack: &[usize]| -> Result<()> {
        let of = |idx: &usize| session.job(open[*idx], stopped);
        let jobs: Vec<Job> = pack.iter().map(of).collect();
        let outcomes = train_in_memory(&jobs, &mut |lane, progress| {
            watch(open[pack[lane]], Watched::Progress(progress));
        })?;
        let mut all = pack.iter().zip(&outcomes);
        all.try_for_each(|(idx, outcome)| ended(open[*idx], outcome))
    };
    side_by_side(Queue::new(queued), at.jobs, stopped, &run_pack)
}

/// Whether a study has all that its verdict needs.
pub fn is_decided(home: &Path, contract: &Contract) -> Result<bool> {
    let (control, arms) = there(home, contract)?;
    let needed = match contract.rule().looks {
        Looks::Once => Some(contract.terms.seeds.len()),
        Looks::EachSeed { .. } => stop(&contract.rule(), &control, &arms),
    };
    Ok(needed.is_some_and(|needed| needed <= control.outcomes.len()))
}

/// The seeds to train next, by index, of a study that looks after each: to the first look, and then
/// as many at a time as keep all jobs busy. `None` when the study is decided or at its last seed.
fn next_seeds(
    session: &Session,
    contract: &Contract,
    (first, most): (usize, usize),
    ahead: usize,
) -> Result<Option<Range<usize>>> {
    let (control, arms) = there(&session.home, contract)?;
    let done = control.outcomes.len();
    if stop(&contract.rule(), &control, &arms).is_some() {
        return Ok(None);
    }
    let until = (done + ahead.max(1)).max(first).min(most);
    Ok(Some(done..until))
}

/// Runs every pack of a [`Queue`], at most `jobs` at a time. After a failure, or once `stop` is set, none
/// starts and the running ones are asked to stop; the first failure is given, and one that is not an
/// interruption before one that is.
fn side_by_side(
    queue: Queue,
    jobs: usize,
    stop: &AtomicBool,
    run_pack: &(dyn Fn(&[usize]) -> Result<()> + Sync),
) -> Result<()> {
    let queue = Mutex::new(queue);
    let queue = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let failures: Mutex<Vec<Error>> = Mutex::default();
    let work = || {
        loop {
            let next = queue().next(Trunk::is_whole);
            let pack = match next {
                Next::Start(pack) => pack,
                Next::Wait => {
                    sleep(POLL);
                    continue;
                }
                Next::Done => return,
            };
            let result = match stop.load(Ordering::Relaxed) {
                true => Err(interrupted()),
                false => run_pack(&pack),
            };
            pack.iter().for_each(|idx| queue().ended(*idx));
            if let Err(error) = result {
                stop.store(true, Ordering::Relaxed);
                failures
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    let mut failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|error| error.kind == Kind::Interrupted);
    match failures.into_iter().next() {
        None => Ok(()),
        Some(error) if error.kind == Kind::Interrupted => Err(interrupted()),
        Some(error) => Err(error),
    }
}

fn interrupted() -> Error {
    Error::new(
        Kind::Interrupted,
        "the study",
        "stopped on request; every trial is kept as far as it got",
        "run the same command again to go on from here",
    )
}

/// The outcomes that a verdict rests on: of the control, and of the other arms, by seed. Errors when
/// a trial has none yet that the study needs.
pub fn outcomes(home: &Path, contract: &Contract) -> Result<(ArmOutcomes, Vec<ArmOutcomes>)> {
    let (mut control, mut arms) = there(home, contract)?;
    let rule = contract.rule();
    let needed = match rule.looks {
        Looks::Once => Some(contract.terms.seeds.len()),
        Looks::EachSeed { .. } => stop(&rule, &control, &arms),
    };
    let seen = control.outcomes.len();
    match needed.filter(|needed| *needed <= seen) {
        Some(needed) => {
            control.outcomes.truncate(needed);
            arms.iter_mut()
                .for_each(|arm| arm.outcomes.truncate(needed));
            Ok((control, arms))
        }
        None => Err(Error::input(
            contract.id.clone(),
            format!(
                "not every trial of seed {} has ended",
                contract.terms.seeds[seen]
            ),
            "`windtunnel run` with the study's file goes on with it",
        )),
    }
}

/// The outcomes that are there, up to the first seed that an arm lacks.
fn there(home: &Path, contract: &Contract) -> Result<(ArmOutcomes, Vec<ArmOutcomes>)> {
    let mut arms: Vec<ArmOutcomes> = contract
        .terms
        .arms
        .iter()
        .map(|arm| ArmOutcomes {
            name: arm.name.clone(),
            outcomes: Vec::new(),
        })
        .collect();
    for seed_idx in 0..contract.terms.seeds.len() {
        let of_seed = contract.terms.arms.iter();
        let of_seed = of_seed.map(|arm| RunDir::of(home, &arm.trials[seed_idx]).outcome());
        let Some(of_seed) = of_seed.collect::<Result<Option<Vec<Outcome>>>>()? else {
            break;
        };
        for (arm, outcome) in arms.iter_mut().zip(of_seed) {
            arm.outcomes.push(outcome);
        }
    }
    let control = arms.remove(0);
    Ok((control, arms))
}

/// The verdict again, from the run folders; the same function of the same numbers.
pub fn judge_again(home: &Path, contract: &Contract) -> Result<Verdict> {
    let (control, arms) = outcomes(home, contract)?;
    let mut verdict = judge(&contract.rule(), &control, &arms);
    verdict.exploratory = contract.terms.exploratory.clone();
    let faults = validity::realised(home, contract, verdict.seeds)?;
    let curves = mean_curves(home, contract, verdict.seeds)?;
    for (arm, fault) in verdict.arms.iter_mut().zip(faults) {
        if let Some(why) = fault {
            arm.refuse(why);
            continue;
        }
        let effect = arm.effect.as_ref();
        arm.worth = effect.and_then(|e| worth(e.mean, (e.low, e.high), &curves.judged));
        let corpora = arm.by_corpus.iter().filter_map(|(corpus, mean)| {
            let worth = worth(*mean, (*mean, *mean), curves.by_corpus.get(corpus)?)?;
            Some((corpus.clone(), worth.steps))
        });
        arm.worth_by_corpus = corpora.collect();
    }
    needed::fill(&mut verdict);
    Ok(verdict)
}

/// A validation curve: (tokens, value), in order.
type Curve = Vec<(f64, f64)>;

/// The control's validation curves.
struct Curves {
    judged: Curve,
    /// In bits per byte.
    by_corpus: BTreeMap<String, Curve>,
}

/// Averaged over the seeds that a verdict rests on; of the evaluations that all of them have.
fn mean_curves(home: &Path, contract: &Contract, seeds: usize) -> Result<Curves> {
    let metric = contract.terms.decision.metric;
    // The whole evaluation under "", which is no corpus's name.
    let mut sums: BTreeMap<String, BTreeMap<u64, (f64, usize)>> = BTreeMap::new();
    for trial in contract.terms.arms[0].trials.iter().take(seeds) {
        for record in RunDir::of(home, trial).records()? {
            let Record::Eval(eval) = record else {
                continue;
            };
            let corpora = eval.val.iter().map(|(name, val)| (name.clone(), val.bpb));
            for (name, value) in corpora.chain([(String::new(), eval.metric(metric))]) {
                let of_name = sums.entry(name).or_default();
                let sum = of_name.entry(eval.tokens).or_default();
                *sum = (sum.0 + value, sum.1 + 1);
            }
        }
    }
    let mut curves = sums.into_iter().map(|(name, sums)| {
        let whole = sums.into_iter().filter(|(_, (_, n))| *n == seeds);
        let mean = |(tokens, (sum, n)): (u64, (f64, usize))| (tokens as f64, sum / n as f64);
        (name, whole.map(mean).collect::<Curve>())
    });
    let judged = curves.next().map_or_else(Vec::new, |(_, curve)| curve);
    Ok(Curves {
        judged,
        by_corpus: curves.collect(),
    })
}
