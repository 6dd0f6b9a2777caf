//! The audit: whether journal, limits, submissions, contracts, verdicts, validation windows and ledger are
//! still what was written down. It finds what was changed by somebody who did not take the trouble to
//! change everything; it prevents nothing.

use super::{
    Job, Settings, State, Store,
    journal::{Entry, Kind, broken},
    known::{is_here, session},
    limits::Limits,
    snapshot::Snapshot,
};
use crate::{
    error::Result,
    files,
    report::StudyReport,
    run_dir::RunDir,
    session::{Session, windows_now},
    study::{
        contract::{Contract, StudyDir},
        ledger::Ledger,
    },
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Audit {
    /// What is not as it was written down.
    pub wrong: Vec<String>,
    /// What a person may want to know.
    pub remarks: Vec<String>,
    pub events: usize,
    pub jobs: usize,
    pub studies: usize,
}

/// Looks at everything that a home has; changes nothing. Errors when the store can't be read at all.
pub fn audit(settings: &Settings) -> Result<Audit> {
    let home = settings.home.as_path();
    let mut audit = Audit::default();
    if let Some(store) = Store::existing(home)? {
        let entries = store.entries()?;
        let jobs = store.jobs()?;
        (audit.events, audit.jobs) = (entries.len(), jobs.len());
        audit.wrong.extend(broken(&entries));
        audit.limits(home, &store, &entries);
        audit.jobs(&jobs, &entries);
        for job in &jobs {
            audit.job(home, job, &entries);
        }
    }
    let session = session(settings)?;
    for id in StudyDir::all(home) {
        audit.studies += 1;
        audit.study(&session, &id);
    }
    audit.ledger(home);
    Ok(audit)
}

impl Audit {
    /// Limits against those that were last approved, or else first read.
    fn limits(&mut self, home: &Path, store: &Store, entries: &[Entry]) {
        let known = match store.known_limits() {
            Ok(Some(known)) => known,
            Ok(None) => return,
            Err(error) => return self.wrong.push(error.to_string()),
        };
        match Limits::read(home) {
            Err(error) => self.wrong.push(error.to_string()),
            Ok(limits) => {
                if let Some(words) = limits.changes(&known) {
                    self.wrong.push(format!(
                        "limits.toml is not what was approved: {words}; `windtunnel approve limits` says that it is meant"
                    ));
                }
            }
        }
        let changes = entries.iter().map(|entry| &entry.event);
        let changes =
            changes.filter(|event| matches!(event.kind, Kind::LimitsChanged | Kind::Tampering));
        let words = changes.map(|event| format!("event {}: {}", event.seq, event.words));
        self.remarks.extend(words);
    }

    /// Every job's row against the last event about it.
    fn jobs(&mut self, jobs: &[Job], entries: &[Entry]) {
        let mut last: BTreeMap<String, Job> = BTreeMap::new();
        for entry in entries
            .iter()
            .filter(|entry| entry.event.kind == Kind::State)
        {
            if let Some(job) = entry.job() {
                last.insert(job.id.clone(), job);
            }
        }
        for job in jobs {
            let Some(journaled) = last.remove(&job.id) else {
                self.wrong.push(format!("{}: no event tells of it", job.id));
                continue;
            };
            self.wrong.extend(differences(&journaled, job));
        }
        let gone = last.into_keys();
        self.wrong
            .extend(gone.map(|id| format!("{id}: the journal tells of it, and it is gone")));
    }

    fn job(&mut self, home: &Path, job: &Job, entries: &[Entry]) {
        let files = Snapshot::read(&job.folder(home).join("files"), &job.file);
        match files.map(|snapshot| snapshot.digest() == job.text) {
            Ok(true) => {}
            Ok(false) => self.wrong.push(format!(
                "{}: its study or recipe is not what was submitted",
                job.id
            )),
            Err(error) => self.wrong.push(format!("{}: {error}", job.id)),
        }
        if let Some(approval) = &job.approval
            && !approval.terminal
        {
            let who = &approval.who;
            self.remarks
                .push(format!("{}: approved by {who}, not at a terminal", job.id));
        }
        self.result(home, job, entries);
        if job.state != State::Done {
            return;
        }
        // A ladder has studies, one a rung; each is looked at with all others.
        if let Some(study) = job.study.as_ref().filter(|_| job.written.len() == 1) {
            self.verdict(home, job, study);
        }
    }

    /// What a job's process printed, against the journal's state at that moment.
    fn result(&mut self, home: &Path, job: &Job, entries: &[Entry]) {
        let path = job.result_path(home);
        if !path.exists() {
            return;
        }
        let result: Value = match files::read_json(&path, "move this file away") {
            Ok(result) => result,
            Err(error) => return self.wrong.push(format!("{}: {error}", job.id)),
        };
        let seq = result["journal"]["seq"].as_u64().unwrap_or(0);
        let found = entries.iter().find(|entry| entry.event.seq == seq);
        if found.map(|entry| entry.digest.as_str()) != result["journal"]["digest"].as_str() {
            self.wrong.push(format!(
                "{}: its result was written at event {seq}, which had another digest then",
                job.id
            ));
        }
    }

    fn verdict(&mut self, home: &Path, job: &Job, study: &str) {
        let read = StudyDir::find(home, study).and_then(|dir| StudyReport::read(home, &dir));
        match read {
            Err(error) => self.wrong.push(format!("{}: {error}", job.id)),
            Ok(report) => {
                let said = job.verdict.as_deref().unwrap_or_default();
                let is = report.verdict.summary();
                if said != is {
                    self.wrong.push(format!(
                        "{}: it says {said:?}, the outcomes say {is:?}",
                        job.id
                    ));
                }
            }
        }
    }

    /// A contract against its digest, a verdict against its outcomes, windows against the contract's.
    fn study(&mut self, session: &Session, id: &str) {
        let home = session.home.as_path();
        let read = || -> Result<Option<StudyReport>> {
            let dir = StudyDir::find(home, id)?;
            dir.contract()?;
            match dir.verdict_path().exists() {
                true => StudyReport::read(home, &dir).map(Some),
                false => Ok(None),
            }
        };
        let report = match read() {
            Ok(Some(report)) => report,
            Ok(None) => return,
            Err(error) => return self.wrong.push(error.to_string()),
        };
        let windows_then = &report.contract.terms.windows;
        for outcome in report.outcomes.iter().flatten() {
            if outcome.windows != *windows_then {
                self.wrong.push(format!(
                    "{id}: trial {} was evaluated on other windows than the contract's",
                    outcome.trial
                ));
            }
        }
        match windows(session, &report.contract) {
            Ok(now) if now.as_ref().is_some_and(|now| now != windows_then) => {
                self.wrong.push(format!(
                    "{id}: its validation windows are no longer those of its contract"
                ));
            }
            Ok(_) => {}
            Err(error) => self
                .wrong
                .push(format!("{id}: its validation windows: {error}")),
        }
        for arm in &report.verdict.arms {
            if let Some(why) = &arm.invalid {
                self.remarks
                    .push(format!("{id}: {} is invalid: {why}", arm.arm));
            }
        }
        if report.contract.terms.numerics != env!("WINDTUNNEL_NUMERICS") {
            let words = "was trained by a windtunnel whose numbers may differ in their last bits";
            self.remarks.push(format!("{id}: {words}"));
        }
    }

    /// The ledger, which plans and noise are read from, against the folders that it is an index of.
    fn ledger(&mut self, home: &Path) {
        if !Ledger::path(home).exists() {
            return;
        }
        let both = || -> Result<[Rows; 2]> {
            let kept = rows(&Ledger::read(home)?)?;
            Ok([kept, rows(&Ledger::of_folders(home)?)?])
        };
        let [kept, made] = match both() {
            Ok(both) => both,
            Err(error) => return self.wrong.push(error.to_string()),
        };
        let remedy = "`windtunnel ls --rebuild` makes it again from the folders";
        for (id, row) in &kept {
            match made.get(id) {
                Some(truth) if truth == row => {}
                Some(truth) => self.wrong.push(format!(
                    "the ledger says of {id}: {row}; its folder says {truth}; {remedy}"
                )),
                None => self.wrong.push(format!(
                    "the ledger tells of {id}, whose folder is gone; {remedy}"
                )),
            }
        }
        // A kill between an outcome and its row leaves none.
        let missing = made.keys().filter(|id| !kept.contains_key(*id)).count();
        if missing > 0 {
            let words = format!("{missing} trials or studies are not in the ledger yet; {remedy}");
            self.remarks.push(words);
        }
    }

    /// For people.
    pub fn in_words(&self) -> String {
        let mut text = format!(
            "{} events, {} jobs, {} studies\n",
            self.events, self.jobs, self.studies
        );
        for remark in &self.remarks {
            text += &format!("note   {remark}\n");
        }
        for wrong in &self.wrong {
            text += &format!("WRONG  {wrong}\n");
        }
        if self.wrong.is_empty() {
            text += "everything is as it was written down\n";
        }
        text
    }
}

/// Digest of a study's validation windows as they are now; none where they can't be had without the
/// network, or the first trial has left no checkpoint.
fn windows(session: &Session, contract: &Contract) -> Result<Option<String>> {
    let arm = &contract.terms.arms[0];
    for name in &arm.run.data.vocabulary {
        if !is_here(name, &session.home)? {
            return Ok(None);
        }
    }
    match arm.trials.first() {
        Some(trial) => windows_now(session, &RunDir::of(&session.home, trial)),
        None => Ok(None),
    }
}

/// What a ledger says, by id.
type Rows = BTreeMap<String, Value>;

fn rows(ledger: &Ledger) -> Result<Rows> {
    // A kill between a verdict and its row leaves a row without one, and trials that are not counted.
    let studies = ledger.studies()?.into_iter();
    let judged = studies.filter(|line| line.verdict.is_some());
    let studies = judged.map(|line| {
        (
            line.id,
            json!({ "claim": line.claim, "verdict": line.verdict }),
        )
    });
    let trials = ledger.trials()?.into_iter();
    let trials = trials.map(|line| (line.id.clone(), json!(line)));
    Ok(studies.chain(trials).collect())
}

/// Where a job's row is not what the journal says; what a beat changes has no event.
pub fn differences(journaled: &Job, job: &Job) -> Vec<String> {
    let plain = |job: &Job| match serde_json::to_value(job) {
        Ok(Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let mut wrong = Vec::new();
    let (before, now) = (plain(journaled), plain(job));
    for (key, value) in &now {
        let beaten = ["spent_minutes", "finished", "study"].contains(&key.as_str());
        let was = before.get(key).unwrap_or(&Value::Null);
        if !beaten && value != was {
            wrong.push(format!(
                "{}: {key} is {value}, the journal says {was}",
                job.id
            ));
        }
    }
    if job.spent_minutes < journaled.spent_minutes {
        wrong.push(format!(
            "{}: it has taken {:.3} minutes, the journal says {:.3}",
            job.id, job.spent_minutes, journaled.spent_minutes
        ));
    }
    wrong
}
