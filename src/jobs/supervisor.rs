//! The supervisor: a detached process, one a home, that runs what is queued, one study after another, as
//! `windtunnel run` in a child process.
//!
//! It may be killed at any moment. Its child reads its stdin, a pipe that nobody else holds: when the
//! supervisor is gone the pipe ends, and the child saves and stops. Whoever looks at the store next
//! starts another supervisor, which queues again what the first one left running.

mod ended;

use super::{
    Job, Settings, State, Store,
    audit::differences,
    children::Said,
    gate::{asks_a_person, own},
    limits::{Limits, Spent},
    snapshot::Snapshot,
};
use crate::{
    error::{Error, Result},
    home::Home,
    metrics::Ending,
    run_dir::{RunDir, TrialId},
    study::contract::{Contract, StudyDir},
};
use ended::{Ended, settle};
use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions, TryLockError},
    io::Read,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

/// How often it looks at its child.
const LOOK: Duration = Duration::from_millis(100);
/// How often it writes down that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// With nothing to do for so long it ends.
const IDLE: Duration = Duration::from_secs(2);
/// A child that was asked to stop has so long to save.
const SAVING: Duration = Duration::from_secs(300);
/// Somebody who only looks whether the lock is held, holds it for less.
const GLANCE: Duration = Duration::from_secs(2);
/// A job whose process died of signals more often has failed.
const MOST_DEATHS: u32 = 1;

/// Starts a supervisor where there is work and none runs.
pub fn ensure_supervisor(settings: &Settings) -> Result<()> {
    let Some(store) = Store::existing(&settings.home)? else {
        return Ok(());
    };
    if store.open_jobs()?.is_empty() || is_held(&settings.home)? {
        return Ok(());
    }
    let path = settings.home.join("supervisor.log");
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let log = log.map_err(|e| Error::io(&path, "open", &e))?;
    let mut child = settings
        .command(&["supervise"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Not in the terminal's group: Ctrl-C here is not meant for it.
        .process_group(0)
        .spawn()
        .map_err(|e| Error::io(&settings.program, "start", &e))?;
    // So that it leaves no zombie behind in a process that lives longer.
    thread::spawn(move || child.wait());
    Ok(())
}

fn open_lock(home: &Path) -> Result<File> {
    let path = home.join("supervisor.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    file.map_err(|e| Error::io(&path, "open", &e))
}

/// Whether a supervisor runs.
fn is_held(home: &Path) -> Result<bool> {
    match open_lock(home)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(Error::io(&home.join("supervisor.lock"), "lock", &e)),
    }
}

/// The one supervisor's lock; none where another has it.
fn take_lock(home: &Path) -> Result<Option<File>> {
    let file = open_lock(home)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if begun.elapsed() < GLANCE => sleep(LOOK),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => {
                return Err(Error::io(&home.join("supervisor.lock"), "lock", &e));
            }
        }
    }
}

/// Runs what is queued until nothing is, or until `stop`; at once where another supervisor does.
pub fn supervise(settings: &Settings, stop: &AtomicBool) -> Result<()> {
    while let Some(lock) = take_lock(&settings.home)? {
        let store = Store::open(&settings.home)?;
        serve(settings, &store, stop)?;
        drop(lock);
        // Whoever submitted before the lock was free has left the starting of one to this.
        if stop.load(Ordering::Relaxed) || store.open_jobs()?.is_empty() {
            break;
        }
    }
    Ok(())
}

fn serve(settings: &Settings, store: &Store, stop: &AtomicBool) -> Result<()> {
    for job in store.open_jobs()? {
        store.change(&job.id, |job| {
            if job.state != State::Running {
                return Ok(None);
            }
            Ok(Some(match job.cancel {
                true => set(
                    job,
                    State::Cancelled,
                    None,
                    "cancelled; every trial is kept as far as it got",
                ),
                false => set(
                    job,
                    State::Queued,
                    None,
                    "its supervisor was gone: queued again",
                ),
            }))
        })?;
    }
    let mut idle_since = Instant::now();
    let mut said_of = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(job) = store.open_jobs()?.into_iter().next() else {
            if idle_since.elapsed() > IDLE {
                return Ok(());
            }
            sleep(LOOK);
            continue;
        };
        idle_since = Instant::now();
        if let Err(busy) = Home::check_free(&settings.home) {
            if said_of.as_ref() != Some(&job.id) {
                store.alert(Some(&job.id), &format!("it waits: {}", busy.problem))?;
                said_of = Some(job.id.clone());
            }
            sleep(BEAT);
            continue;
        }
        if may_start(settings, store, &job)? {
            run(settings, store, (job, stop))?;
        }
    }
    Ok(())
}

/// Puts a job into a state, and gives the event's words.
fn set(job: &mut Job, state: State, why: Option<String>, words: &str) -> String {
    job.state = state;
    job.why = why;
    words.into()
}

/// Whether a job is what was submitted and still within limits; if not it is put aside.
fn may_start(settings: &Settings, store: &Store, job: &Job) -> Result<bool> {
    let home = &settings.home;
    let aside = |state, why: String| -> Result<bool> {
        store.change(&job.id, |job| {
            let words = format!("{}: {why}", state_words(state));
            Ok(Some(set(job, state, Some(why), &words)))
        })?;
        Ok(false)
    };
    if let Some(words) = changed_by_hand(home, store, job)? {
        store.tampering(Some(&job.id), &words)?;
        let why = format!("{words}; submit it again with a new key");
        return aside(State::Refused, why);
    }
    let limits = match Limits::read(home) {
        Ok(limits) => limits,
        Err(error) => {
            let why = format!("{}: {}; {}", error.place, error.problem, error.remedy);
            return aside(State::Waiting, why);
        }
    };
    store.note_limits(&limits)?;
    if job
        .approval
        .as_ref()
        .is_some_and(|approval| approval.text == job.text)
    {
        return Ok(true);
    }
    let others = store.spent_by_others(&job.id, job.campaign.as_deref())?;
    match asks_a_person(&limits.exceeded(own(job), &others), None) {
        Some(why) => aside(State::Waiting, why),
        None => Ok(true),
    }
}

/// How a job is not what was submitted and journaled, if it is not.
fn changed_by_hand(home: &Path, store: &Store, job: &Job) -> Result<Option<String>> {
    let Some(journaled) = store.journaled(&job.id)? else {
        return Ok(Some("the journal does not tell of it".into()));
    };
    let differences = differences(&journaled, job);
    if !differences.is_empty() {
        return Ok(Some(format!(
            "its row in the store was changed: {}",
            differences.join("; ")
        )));
    }
    let found = Snapshot::read(&job.folder(home).join("files"), &job.file);
    Ok(match found.map(|snapshot| snapshot.digest() == job.text) {
        Ok(true) => None,
        Ok(false) => Some("its files were changed after it was submitted".into()),
        Err(error) => Some(format!(
            "its files can't be read: {}: {}",
            error.place, error.problem
        )),
    })
}

fn state_words(state: State) -> &'static str {
    match state {
        State::Waiting => "waits for a person",
        other => other.name(),
    }
}

/// A child that runs a job.
struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    /// When it was asked to stop, and why.
    asked: Option<(Instant, Asked)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Asked {
    Cancelled,
    /// Its budget is spent; why.
    Over(String),
    /// The supervisor itself has to end.
    Ending,
}

/// Runs a job to its end, whatever that is.
fn run(settings: &Settings, store: &Store, (job, stop): (Job, &AtomicBool)) -> Result<()> {
    let home = &settings.home;
    let job = store.change(&job.id, |job| match job.state {
        State::Queued => Ok(Some(set(job, State::Running, None, "started"))),
        // Cancelled or rejected just now.
        _ => Ok(None),
    })?;
    if job.state != State::Running {
        return Ok(());
    }
    let mut running = match start(settings, &job) {
        Ok(running) => running,
        Err(error) => {
            store.change(&job.id, |job| {
                let why = format!("{}: {}; {}", error.place, error.problem, error.remedy);
                let words = format!("failed to start: {why}");
                Ok(Some(set(job, State::Failed, Some(why), &words)))
            })?;
            return Ok(());
        }
    };
    let status = attend(settings, store, (&job, stop), &mut running)?;
    let stdout = running.stdout.take().and_then(|thread| thread.join().ok());
    let ended = Ended {
        status,
        said: Said::read(&stdout.unwrap_or_default()),
        asked: running.asked.map(|(_, asked)| asked),
    };
    settle(home, store, (&job, &ended))
}

/// Looks after a child until it ends: writes down that it lives and how far it is, and asks it to stop
/// when it has to.
fn attend(
    settings: &Settings,
    store: &Store,
    (job, stop): (&Job, &AtomicBool),
    running: &mut Running,
) -> Result<ExitStatus> {
    let mut progress = Progress::default();
    let mut beaten = Instant::now();
    loop {
        let status = running.child.try_wait();
        let status = status.map_err(|e| Error::io(&settings.program, "wait for", &e))?;
        if status.is_some() || beaten.elapsed() >= BEAT {
            let minutes = beaten.elapsed().as_secs_f64() / 60.0;
            beaten = Instant::now();
            let job = progress.beat(&settings.home, store, (job, minutes))?;
            if running.asked.is_none() {
                running.ask(to_stop(settings, store, &job)?);
            }
        }
        if let Some(status) = status {
            return Ok(status);
        }
        if stop.load(Ordering::Relaxed) && running.asked.is_none() {
            running.ask(Some(Asked::Ending));
        }
        if running
            .asked
            .as_ref()
            .is_some_and(|(at, _)| at.elapsed() > SAVING)
        {
            let _ = running.child.kill();
        }
        sleep(LOOK);
    }
}

impl Running {
    /// Ends the child's stdin, which it takes as a request to save and stop.
    fn ask(&mut self, why: Option<Asked>) {
        if let Some(why) = why {
            drop(self.child.stdin.take());
            self.asked = Some((Instant::now(), why));
        }
    }
}

fn start(settings: &Settings, job: &Job) -> Result<Running> {
    let home = &settings.home;
    let of_job = Settings {
        device: job.how.device.clone(),
        dtype: job.how.dtype.clone(),
        threads: job.how.threads,
        ..settings.clone()
    };
    let mut command = of_job.command(&["run", "--json", "--stop-with-stdin"]);
    if let Some(jobs) = job.how.jobs {
        command.args(["--jobs", &jobs.to_string()]);
    }
    if job.exploratory {
        command.arg("--exploratory");
    }
    let path = job.log_path(home);
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let log = log.map_err(|e| Error::io(&path, "open", &e))?;
    let child = command
        .arg(job.study_path(home))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn();
    let mut child = child.map_err(|e| Error::io(&settings.program, "start", &e))?;
    let stdout = child.stdout.take().map(|mut pipe| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        })
    });
    Ok(Running {
        child,
        stdout,
        asked: None,
    })
}

/// How far a job's process is.
#[derive(Default)]
struct Progress {
    contract: Option<Contract>,
    ended: BTreeSet<TrialId>,
    /// It was said that it takes long.
    is_late: bool,
}

/// Well over its prediction, a job is worth a look.
const LATE: f64 = 2.0;
/// And small ones take longer to start than to train.
const LATE_MINUTES: f64 = 1.0;

impl Progress {
    /// Writes down that a job has taken so many minutes more, and how far it is; and says what a person
    /// may want to look at.
    fn beat(&mut self, home: &Path, store: &Store, (job, minutes): (&Job, f64)) -> Result<Job> {
        self.contract = self.contract.take().or_else(|| begun(home, job));
        if let Some(contract) = &self.contract {
            for words in news(home, contract, &mut self.ended) {
                store.alert(Some(&job.id), &words)?;
            }
        }
        let study = self.contract.as_ref().map(|contract| contract.id.as_str());
        let finished = match study {
            Some(_) => self.ended.len(),
            None => job.finished,
        };
        let job = store.beat(&job.id, minutes, (study, finished))?;
        if !self.is_late && job.spent_minutes > LATE * job.minutes + LATE_MINUTES {
            self.is_late = true;
            let words = format!(
                "it takes long: {:.1} minutes so far, {:.1} were foreseen",
                job.spent_minutes, job.minutes
            );
            store.alert(Some(&job.id), &words)?;
        }
        Ok(job)
    }
}

/// The contract that a job's process has frozen, once it has: of its text, whatever its place in a
/// campaign came to be. A ladder has several; its progress is not followed.
fn begun(home: &Path, job: &Job) -> Option<Contract> {
    let [written] = &job.written[..] else {
        return None;
    };
    let stem = format!("{}-", job.name);
    let mut ids = StudyDir::all(home).into_iter();
    ids.find_map(|id| {
        let contract = match id.starts_with(&stem) {
            true => StudyDir::find(home, &id).ok()?.contract().ok()?,
            false => return None,
        };
        (contract.terms.written == *written).then_some(contract)
    })
}

/// Takes note of the trials that have ended since, and says which of them diverged.
fn news(home: &Path, contract: &Contract, ended: &mut BTreeSet<TrialId>) -> Vec<String> {
    let mut words = Vec::new();
    for arm in &contract.terms.arms {
        for (trial, seed) in arm.trials.iter().zip(&contract.terms.seeds) {
            if ended.contains(trial) {
                continue;
            }
            // One that can't be read is for the study's own process to complain about.
            let Ok(Some(outcome)) = RunDir::of(home, trial).outcome() else {
                continue;
            };
            ended.insert(trial.clone());
            if let Ending::Diverged { step, what } = outcome.ending {
                words.push(format!(
                    "{} with seed {seed} diverged at step {step}: {what}",
                    arm.name
                ));
            }
        }
    }
    words
}

/// Why a job that runs has to stop, if it has to.
fn to_stop(settings: &Settings, store: &Store, job: &Job) -> Result<Option<Asked>> {
    if job.cancel {
        return Ok(Some(Asked::Cancelled));
    }
    if let Some(approval) = &job.approval {
        let over = job.spent_minutes > approval.device_minutes;
        return Ok(over.then(|| {
            Asked::Over(format!(
                "it has taken {:.2} device-minutes, {} approved {:.2}; `windtunnel approve {}` allows more",
                job.spent_minutes, approval.who, approval.device_minutes, job.id
            ))
        }));
    }
    // A file that is wrong at this moment may be half-written.
    let Ok(limits) = Limits::read(&settings.home) else {
        return Ok(None);
    };
    store.note_limits(&limits)?;
    let others = store.spent_by_others(&job.id, job.campaign.as_deref())?;
    let taken = Spent {
        device_minutes: job.spent_minutes,
        api_dollars: job.dollars,
    };
    let over = limits.exceeded(taken, &others);
    let over = asks_a_person(&over, None).map(Asked::Over);
    Ok(over)
}
