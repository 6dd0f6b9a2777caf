//! The gates that a submission passes, in order: well formed, inside the project, one factor an arm, judged
//! as its recipe is, not answered before, planned (memory, what it can see, its own limits), and within
//! the limits of the home, or else a person's to approve.

use super::{
    HUMAN, How, Job, Settings, State, Store, Submission,
    children::planned,
    ensure_supervisor,
    known::{Checked, check},
    limits::{Excess, Limits, Spent},
    now,
    snapshot::Snapshot,
    store,
};
use crate::{
    error::{Error, Result},
    home::Home,
};
use serde_json::Value;
use std::{
    fs::{self, File, OpenOptions},
    path::Path,
};

/// The longest key; a longer one is no key.
const MOST_KEY: usize = 200;

/// Hands a study in. Gives its job, in whatever state the gates leave it: queued, waiting for a person,
/// refused, or done where a finished study answers it already. The same key with the same study gives
/// the same job again, however often, from however many processes.
///
/// Errors, and nothing is kept, where the study is wrong, or the key stands for another study.
pub fn submit(settings: &Settings, submission: &Submission) -> Result<Job> {
    check_key(submission)?;
    Home::check(&settings.home)?;
    let snapshot = Snapshot::take(settings, &submission.study)?;
    // One at a time: plans time this machine, and budgets are shared.
    let alone = lock(&settings.home)?;
    let store = Store::open(&settings.home)?;
    let job = match store.by_key(&submission.key)? {
        Some(job) => the_same(job, submission, &snapshot)?,
        None => admit(settings, submission, (&store, &snapshot))?,
    };
    drop(alone);
    ensure_supervisor(settings)?;
    Ok(job)
}

fn check_key(submission: &Submission) -> Result<()> {
    let key = &submission.key;
    if key.trim().is_empty() || key.len() > MOST_KEY || key.chars().any(char::is_control) {
        return Err(Error::input(
            "the idempotency key",
            format!("{key:?} can't be one"),
            format!("give 1 to {MOST_KEY} printable characters, new ones for a new submission"),
        ));
    }
    match submission.dollars >= 0.0 && submission.dollars.is_finite() {
        true => Ok(()),
        false => Err(Error::input(
            "dollars",
            format!("{} is no amount", submission.dollars),
            "give a number, 0 or more",
        )),
    }
}

/// Held while a process submits; the system lets go of it when the process ends.
fn lock(home: &Path) -> Result<File> {
    let folder = store::all_folders(home);
    fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", &e))?;
    let path = folder.join("submit.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.map_err(|e| Error::io(&path, "open", &e))?;
    file.lock().map_err(|e| Error::io(&path, "lock", &e))?;
    Ok(file)
}

/// The job of a key that was used before. Errors when it was used for something else.
fn the_same(job: Job, submission: &Submission, snapshot: &Snapshot) -> Result<Job> {
    let same = job.text == snapshot.digest() && job.exploratory == submission.exploratory;
    match same {
        true => Ok(job),
        false => Err(Error::input(
            format!("key {:?}", submission.key),
            format!(
                "it stands for {}, another text than this one (study, recipe, campaign and tokenizer count)",
                job.id
            ),
            format!(
                "give a new key for a new text; `windtunnel jobs {}` shows that one",
                job.id
            ),
        )),
    }
}

/// What the gates decide.
struct Decision {
    state: State,
    why: Option<String>,
    words: String,
}

impl Decision {
    fn refused(why: String) -> Self {
        Self {
            state: State::Refused,
            words: format!("refused: {why}"),
            why: Some(why),
        }
    }
}

fn admit(
    settings: &Settings,
    submission: &Submission,
    (store, snapshot): (&Store, &Snapshot),
) -> Result<Job> {
    let checked = check(settings, &submission.study)?;
    let limits = Limits::read(&settings.home)?;
    let mut job = new_job(settings, submission, (&checked, snapshot));
    let decision = decide(
        settings,
        (submission, snapshot, &checked),
        (store, &limits),
        &mut job,
    )?;
    (job.state, job.why) = (decision.state, decision.why);
    store.note_limits(&limits)?;
    let home = &settings.home;
    store.insert(job, &decision.words, &|job| {
        let folder = job.folder(home);
        // Of a submission that was killed before its job was written down, or of a store that is gone.
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, "remove", &e))?;
        }
        snapshot.write(&folder.join("files"))
    })
}

fn decide(
    settings: &Settings,
    (submission, snapshot, checked): (&Submission, &Snapshot, &Checked),
    (store, limits): (&Store, &Limits),
    job: &mut Job,
) -> Result<Decision> {
    let is_human = submission.proposer == HUMAN;
    if let Some(other) = checked.other_evaluation.as_ref().filter(|_| !is_human) {
        return Ok(Decision::refused(format!(
            "{other}; leave eval out of [decision] and set, or ask a person to submit it"
        )));
    }
    if let Some(repeat) = &checked.repeat {
        // A ladder's studies are several.
        job.study = Some(repeat.study.clone()).filter(|_| checked.rungs == 1);
        job.verdict = Some(repeat.verdict.clone());
        return Ok(Decision {
            state: State::Done,
            words: format!(
                "answered already, nothing was trained: {}: {}",
                repeat.study, repeat.verdict
            ),
            why: Some(format!(
                "a repeat of {}, whose verdict is the answer",
                repeat.study
            )),
        });
    }
    let plan = planned(settings, snapshot, submission.exploratory)?;
    foreseen(job, &plan.value);
    if let Some(error) = plan.refused {
        return Ok(Decision::refused(format!(
            "{}: {}; {}",
            error.place, error.problem, error.remedy
        )));
    }
    let others = store.others(job.campaign.as_deref())?;
    let over = limits.exceeded(own(job), &others);
    let stacked = checked.stacked.clone().filter(|_| !is_human);
    Ok(match asks_a_person(&over, stacked) {
        Some(why) => Decision {
            state: State::Waiting,
            words: format!("waits for a person: {why}"),
            why: Some(why),
        },
        None => Decision {
            state: State::Queued,
            words: format!(
                "queued: {} trials, about {:.2} device-minutes",
                job.trials, job.minutes
            ),
            why: None,
        },
    })
}

/// What a job takes in all, as foreseen, or as it turned out.
pub fn own(job: &Job) -> Spent {
    Spent {
        device_minutes: job.minutes.max(job.spent_minutes),
        api_dollars: job.dollars,
    }
}

/// Why a person has to say yes, in words, and how.
pub fn asks_a_person(over: &[Excess], stacked: Option<String>) -> Option<String> {
    let words: Vec<String> = over.iter().map(Excess::in_words).chain(stacked).collect();
    (!words.is_empty()).then(|| {
        format!(
            "{}; a person decides: `windtunnel approve ID` or `reject ID`; or submit a smaller study",
            words.join("; ")
        )
    })
}

fn new_job(
    settings: &Settings,
    submission: &Submission,
    (checked, snapshot): (&Checked, &Snapshot),
) -> Job {
    Job {
        id: String::new(),
        key: submission.key.clone(),
        name: checked.name.clone(),
        claim: checked.claim.clone(),
        study: None,
        state: State::Queued,
        proposer: submission.proposer.clone(),
        campaign: checked.campaign.clone(),
        exploratory: submission.exploratory,
        trials: 0,
        finished: 0,
        minutes: 0.0,
        spent_minutes: 0.0,
        dollars: submission.dollars,
        approval: None,
        why: None,
        verdict: None,
        text: snapshot.digest(),
        written: checked.written.clone(),
        file: snapshot.file.clone(),
        how: How {
            device: settings.device.clone(),
            dtype: settings.dtype.clone(),
            threads: settings.threads,
            jobs: None,
        },
        submitted_at: now(),
        cancel: false,
        deaths: 0,
    }
}

/// What a plan foresees, of a study or of all rungs of a ladder.
fn foreseen(job: &mut Job, plan: &Value) {
    let number = |value: &Value, key: &str| value[key].as_u64().unwrap_or(0) as usize;
    job.minutes = plan["minutes"].as_f64().unwrap_or(0.0);
    match plan["rungs"].as_array() {
        Some(rungs) => {
            job.trials = rungs.iter().map(|rung| number(rung, "trials")).sum();
            job.finished = rungs.iter().map(|rung| number(rung, "finished")).sum();
        }
        None => {
            job.study = plan["study"].as_str().map(Into::into);
            job.trials = number(plan, "trials");
            job.finished = number(plan, "finished");
            job.how.jobs = Some(number(plan, "jobs")).filter(|n| *n > 0);
            job.how.threads = Some(number(plan, "threads")).filter(|n| *n > 0);
        }
    }
}
