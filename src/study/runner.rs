//! The runner: trains a study's trials side by side and judges them.
//!
//! Trials are content-addressed, so one that ended before (in this study, or in another) is not
//! run again, and one that was killed goes on from its newest checkpoint.

use super::{
    contract::{Contract, StudyDir},
    ledger::Ledger,
    plan::Planned,
    queue::{Next, Queue},
    verdict::{ArmOutcomes, Verdict, judge},
};
use crate::{
    error::{Error, Kind, Result},
    files,
    metrics::Outcome,
    run_dir::RunDir,
    session::{Session, Trial},
    train::{Progress, train},
    trunk::Trunk,
};
use std::{
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
    (jobs, stop): (usize, &AtomicBool),
    watch: Watch,
) -> Result<(StudyDir, Verdict)> {
    let mut ledger = Ledger::open(&session.home)?;
    let dir = planned.contract.freeze(&session.home)?;
    ledger.freeze(&planned.contract)?;
    let ledger = Mutex::new(ledger);
    let run_one = |trial: &Trial| -> Result<()> {
        let outcome = train(session.job(trial, stop), &mut |progress| {
            watch(trial, Watched::Progress(progress));
        })?;
        // At once, so that a kill loses no finished trial.
        ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(&outcome)?;
        watch(trial, Watched::Ended(&outcome));
        Ok(())
    };
    side_by_side(&planned.distinct(), jobs, stop, &run_one)?;
    let (control, arms) = outcomes(&session.home, &planned.contract)?;
    let verdict = judge(&planned.contract.rule(), &control, &arms);
    files::write_json(&dir.verdict_path(), &verdict)?;
    let ledger = ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
    ledger.judged(&planned.contract.id, &verdict)?;
    Ok((dir, verdict))
}

/// Runs every trial, at most `jobs` at a time, in the order of a [`Queue`]. After a failure, or once `stop`
/// is set, no item starts and the running ones are asked to stop; the first failure is given, and
/// one that is not an interruption before one that is.
fn side_by_side(
    trials: &[&Trial],
    jobs: usize,
    stop: &AtomicBool,
    run_one: &(dyn Fn(&Trial) -> Result<()> + Sync),
) -> Result<()> {
    let trunks = trials.iter().map(|trial| trial.trunk.clone());
    let queue = Mutex::new(Queue::new(trunks.collect()));
    let queue = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let failures: Mutex<Vec<Error>> = Mutex::default();
    let work = || {
        loop {
            let next = queue().next(Trunk::is_whole);
            let idx = match next {
                Next::Start(idx) => idx,
                Next::Wait => {
                    sleep(POLL);
                    continue;
                }
                Next::Done => return,
            };
            let result = match stop.load(Ordering::Relaxed) {
                true => Err(interrupted()),
                false => run_one(trials[idx]),
            };
            queue().ended(idx);
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

/// The outcomes that a contract names: of the control, and of the other arms, by seed. Errors when
/// a trial has none yet.
pub fn outcomes(home: &Path, contract: &Contract) -> Result<(ArmOutcomes, Vec<ArmOutcomes>)> {
    let mut arms = Vec::new();
    for arm in &contract.terms.arms {
        let mut outcomes = Vec::new();
        for trial in &arm.trials {
            let outcome = RunDir::of(home, trial).outcome()?;
            outcomes.push(outcome.ok_or_else(|| {
                Error::input(
                    contract.id.clone(),
                    format!("trial {trial} of arm {} has not ended", arm.name),
                    "`windtunnel run` with the study's file goes on with it",
                )
            })?);
        }
        arms.push(ArmOutcomes {
            name: arm.name.clone(),
            outcomes,
        });
    }
    let control = arms.remove(0);
    Ok((control, arms))
}

/// The verdict again, from the outcomes; the same function of the same numbers.
pub fn judge_again(home: &Path, contract: &Contract) -> Result<Verdict> {
    let (control, arms) = outcomes(home, contract)?;
    Ok(judge(&contract.rule(), &control, &arms))
}
