//! The store: submitted studies and what happened to them, in `jobs.sqlite`. Every change is one
//! transaction with its entry in the [`journal`](super::journal), so that any number of processes may
//! write, and be killed, at any moment.

mod money;

use super::{
    Approval, Job, State,
    journal::{BEGINNING, Entry, Event, Kind},
    now,
};
use crate::{
    error::{DISK_REMEDY, Error, Result, nearest},
    home::Home,
};
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// An open store.
pub struct Store {
    path: PathBuf,
    connection: Connection,
}

/// Who says yes or no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    pub name: String,
    /// Whether they typed it at a terminal.
    pub terminal: bool,
}

const VERSION: i64 = 1;
const SCHEMA: &str = "
CREATE TABLE jobs (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE, body TEXT NOT NULL
) STRICT;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, job TEXT, kind TEXT NOT NULL, state TEXT,
    words TEXT NOT NULL, data TEXT NOT NULL, before TEXT NOT NULL, digest TEXT NOT NULL
) STRICT;
CREATE TABLE minutes (
    job TEXT NOT NULL, hour INTEGER NOT NULL, minutes REAL NOT NULL, PRIMARY KEY (job, hour)
) STRICT;
PRAGMA user_version = 1;
";

/// A writer waits so long for another's moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an approval allows beyond the prediction, which may be off: half of it, and a minute for starting.
const SLACK: f64 = 1.5;
const STARTING_MINUTES: f64 = 1.0;

/// The folder of all jobs.
pub fn all_folders(home: &Path) -> PathBuf {
    home.join("jobs")
}

/// The folder of one.
pub fn folder(home: &Path, id: &str) -> PathBuf {
    all_folders(home).join(id)
}

impl Store {
    fn path(home: &Path) -> PathBuf {
        home.join("jobs.sqlite")
    }

    /// The store of a home, made when there is none. Errors when it is damaged.
    pub fn open(home: &Path) -> Result<Self> {
        Home::check(home)?;
        fs::create_dir_all(home).map_err(|e| Error::io(home, "create the home folder", &e))?;
        let path = Self::path(home);
        let connection = Connection::open(&path).map_err(|e| failed(&path, &e))?;
        let store = Self { path, connection };
        store.sql(store.connection.busy_timeout(PATIENCE))?;
        let version = |c: &Connection| -> rusqlite::Result<i64> {
            c.query_row("PRAGMA user_version", [], |row| row.get(0))
        };
        // Asked again inside, for another process may have just made it.
        if store.sql(version(&store.connection))? == 0 {
            store.write(|tx| match store.sql(version(tx))? {
                0 => store.sql(tx.execute_batch(SCHEMA)),
                _ => Ok(()),
            })?;
        }
        match store.sql(version(&store.connection))? {
            VERSION => Ok(store),
            other => Err(damaged(
                &store.path,
                &format!("it has version {other}, not {VERSION}"),
            )),
        }
    }

    /// The store of a home that has one; makes nothing.
    pub fn existing(home: &Path) -> Result<Option<Self>> {
        match Self::path(home).exists() {
            true => Self::open(home).map(Some),
            false => Ok(None),
        }
    }

    /// All jobs, first to last.
    pub fn jobs(&self) -> Result<Vec<Job>> {
        self.bodies("SELECT body FROM jobs ORDER BY n")
    }

    /// Those that are queued or running, first to last.
    pub fn open_jobs(&self) -> Result<Vec<Job>> {
        let jobs = self.jobs()?.into_iter();
        Ok(jobs.filter(|job| job.state.is_open()).collect())
    }

    /// A job as the last event about it has it.
    pub fn journaled(&self, id: &str) -> Result<Option<Job>> {
        let query =
            "SELECT data FROM events WHERE job = ?1 AND kind = 'state' ORDER BY seq DESC LIMIT 1";
        let found = self.connection.query_row(query, [id], |row| row.get(0));
        let text: Option<String> = self.sql(found.optional())?;
        let Some(text) = text else {
            return Ok(None);
        };
        let data: Value = self.json(&text)?;
        Ok(serde_json::from_value(data["job"].clone()).ok())
    }

    /// Errors when there is no such job, with the nearest id.
    pub fn job(&self, id: &str) -> Result<Job> {
        match self.find("id", id)? {
            Some(job) => Ok(job),
            None => {
                let jobs = self.jobs()?;
                let near = nearest(id, jobs.iter().map(|job| job.id.as_str()));
                Err(Error::input(
                    format!("job {id:?}"),
                    "there is no job with this id",
                    match near {
                        Some(near) => format!("did you mean {near}? `windtunnel jobs` lists them"),
                        None => "`windtunnel jobs` lists them".into(),
                    },
                ))
            }
        }
    }

    /// The job of an idempotency key.
    pub fn by_key(&self, key: &str) -> Result<Option<Job>> {
        self.find("key", key)
    }

    /// What happened after event `since`, to one job or to any.
    pub fn events(&self, since: u64, job: Option<&str>) -> Result<Vec<Event>> {
        let entries = self.entries_after(since)?;
        let events = entries.into_iter().map(|entry| entry.event);
        Ok(events
            .filter(|event| job.is_none() || event.job.as_deref() == job)
            .collect())
    }

    /// The whole journal.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        self.entries_after(0)
    }

    /// The last entry's number and digest.
    pub fn head(&self) -> Result<(u64, String)> {
        self.sql(head(&self.connection))
    }

    /// Takes in a new job under the next free id; `write` puts its files into its folder, before
    /// anything says that there is a job. Where the key has one by now, gives that one.
    pub fn insert(&self, job: Job, words: &str, write: &dyn Fn(&Job) -> Result<()>) -> Result<Job> {
        self.write(|tx| {
            if let Some(there) = self.body(tx, "key", &job.key)? {
                return Ok(there);
            }
            let n: i64 = self.sql(tx.query_row(
                "SELECT coalesce(max(n), 0) + 1 FROM jobs",
                [],
                |row| row.get(0),
            ))?;
            let job = Job {
                id: format!("job-{n}"),
                ..job
            };
            write(&job)?;
            self.sql(tx.execute(
                "INSERT INTO jobs VALUES (?1, ?2, ?3, ?4)",
                params![n, job.id, job.key, body(&job)],
            ))?;
            self.state_event(tx, &job, words)?;
            Ok(job)
        })
    }

    /// Changes a job; words, if `change` gives some, become an event. Errors when there is no such
    /// job, or `change` says so; then nothing is changed.
    pub fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut Job) -> Result<Option<String>>,
    ) -> Result<Job> {
        // For the error that names the nearest id.
        self.job(id)?;
        self.write(|tx| {
            let mut job = self
                .body(tx, "id", id)?
                .ok_or_else(|| damaged(&self.path, "a job has gone"))?;
            let words = change(&mut job)?;
            self.put(tx, &job)?;
            if let Some(words) = words {
                self.state_event(tx, &job, &words)?;
            }
            Ok(job)
        })
    }

    /// A person's yes to a job that waits, or was stopped: to its text, at its predicted cost, and no
    /// more.
    pub fn approve(&self, id: &str, who: &Who) -> Result<Job> {
        self.change(id, |job| {
            must_be(job, &[State::Waiting, State::Stopped], "approve")?;
            let approval = Approval {
                who: who.name.clone(),
                terminal: who.terminal,
                device_minutes: job.spent_minutes + SLACK * job.minutes + STARTING_MINUTES,
                dollars: job.dollars,
                text: job.text.clone(),
            };
            let words = format!(
                "approved by {}{} for {:.2} device-minutes in all",
                who.name,
                match who.terminal {
                    true => " at a terminal",
                    false => ", not at a terminal",
                },
                approval.device_minutes
            );
            job.approval = Some(approval);
            job.state = State::Queued;
            job.why = None;
            Ok(Some(words))
        })
    }

    /// A person's no.
    pub fn reject(&self, id: &str, why: &str) -> Result<Job> {
        self.change(id, |job| {
            let open = [State::Waiting, State::Queued, State::Stopped];
            must_be(job, &open, "reject")?;
            job.state = State::Rejected;
            job.why = Some(why.into());
            Ok(Some(format!("rejected: {why}")))
        })
    }

    /// Ends a job; one that runs is asked to save and stop.
    pub fn cancel(&self, id: &str) -> Result<Job> {
        self.change(id, |job| {
            let open = [
                State::Waiting,
                State::Queued,
                State::Running,
                State::Stopped,
            ];
            must_be(job, &open, "cancel")?;
            if job.state == State::Running {
                let asked = std::mem::replace(&mut job.cancel, true);
                return Ok((!asked).then(|| "asked to stop".into()));
            }
            job.state = State::Cancelled;
            job.why = None;
            Ok(Some("cancelled before it ran".into()))
        })
    }

    /// Something that a person may want to look at.
    pub fn alert(&self, job: Option<&str>, words: &str) -> Result<()> {
        self.event((Kind::Alert, job), words, Value::Null)
    }

    /// Something was changed that only this program changes.
    pub fn tampering(&self, job: Option<&str>, words: &str) -> Result<()> {
        self.event((Kind::Tampering, job), words, Value::Null)
    }

    fn state_event(&self, tx: &Transaction, job: &Job, words: &str) -> Result<()> {
        let what = (Kind::State, Some(job.id.as_str()), Some(job.state));
        self.append(tx, what, words, json!({ "job": job }))
    }

    fn event(&self, (kind, job): (Kind, Option<&str>), words: &str, data: Value) -> Result<()> {
        self.write(|tx| self.append(tx, (kind, job, None), words, data))
    }

    fn append(
        &self,
        tx: &Transaction,
        (kind, job, state): (Kind, Option<&str>, Option<State>),
        words: &str,
        data: Value,
    ) -> Result<()> {
        let (last, before) = self.sql(head(tx))?;
        let event = Event {
            seq: last + 1,
            at: now(),
            job: job.map(Into::into),
            kind,
            state,
            words: words.into(),
        };
        let entry = Entry::new(event, data, &before);
        let event = &entry.event;
        self.sql(tx.execute(
            "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                event.seq.cast_signed(),
                event.at.cast_signed(),
                event.job,
                event.kind.name(),
                event.state.map(State::name),
                event.words,
                entry.data.to_string(),
                entry.before,
                entry.digest
            ],
        ))?;
        Ok(())
    }

    fn entries_after(&self, since: u64) -> Result<Vec<Entry>> {
        type Row = (
            i64,
            i64,
            Option<String>,
            String,
            Option<String>,
            String,
            String,
            String,
            String,
        );
        let rows = || -> rusqlite::Result<Vec<Row>> {
            let mut statement = self.connection.prepare(
                "SELECT seq, at, job, kind, state, words, data, before, digest FROM events
                 WHERE seq > ?1 ORDER BY seq",
            )?;
            let rows = statement.query_map([since.cast_signed()], |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                    row.get(7)?,
                    row.get(8)?,
                ))
            })?;
            rows.collect()
        };
        let rows = self.sql(rows())?.into_iter();
        rows.map(|(seq, at, job, kind, state, words, data, before, digest)| {
            let state = state.map(|state| self.named(state)).transpose()?;
            Ok(Entry {
                event: Event {
                    seq: seq.cast_unsigned(),
                    at: at.cast_unsigned(),
                    job,
                    kind: self.named(kind)?,
                    state,
                    words,
                },
                data: self.json(&data)?,
                before,
                digest,
            })
        })
        .collect()
    }

    fn bodies(&self, query: &str) -> Result<Vec<Job>> {
        let rows = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare(query)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        };
        let rows = self.sql(rows())?;
        rows.iter().map(|text| self.json(text)).collect()
    }

    fn find(&self, column: &str, value: &str) -> Result<Option<Job>> {
        self.body(&self.connection, column, value)
    }

    fn body(&self, connection: &Connection, column: &str, value: &str) -> Result<Option<Job>> {
        let query = format!("SELECT body FROM jobs WHERE {column} = ?1");
        let text: Option<String> = self.sql(
            connection
                .query_row(&query, [value], |row| row.get(0))
                .optional(),
        )?;
        text.map(|text| self.json(&text)).transpose()
    }

    fn put(&self, tx: &Transaction, job: &Job) -> Result<()> {
        self.sql(tx.execute(
            "UPDATE jobs SET body = ?2 WHERE id = ?1",
            params![job.id, body(job)],
        ))?;
        Ok(())
    }

    /// One transaction, alone among all processes.
    fn write<T>(&self, f: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        let tx = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate);
        let tx = self.sql(tx)?;
        let value = f(&tx)?;
        self.sql(tx.commit())?;
        Ok(value)
    }

    fn named<T: serde::de::DeserializeOwned>(&self, word: String) -> Result<T> {
        serde_json::from_value(Value::String(word)).map_err(|e| damaged(&self.path, &e.to_string()))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|e| damaged(&self.path, &e.to_string()))
    }

    fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|e| failed(&self.path, &e))
    }
}

/// Number and digest of the last entry.
fn head(connection: &Connection) -> rusqlite::Result<(u64, String)> {
    let query = "SELECT seq, digest FROM events ORDER BY seq DESC LIMIT 1";
    let row = connection.query_row(query, [], |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
    });
    Ok(row.optional()?.unwrap_or((0, BEGINNING.into())))
}

fn body(job: &Job) -> String {
    serde_json::to_string(job).expect("plain data has a JSON form")
}

fn must_be(job: &Job, states: &[State], verb: &str) -> Result<()> {
    match states.contains(&job.state) {
        true => Ok(()),
        false => Err(Error::input(
            job.id.clone(),
            format!("it is {}: there is nothing to {verb}", job.state.name()),
            format!("`windtunnel jobs {}` says what became of it", job.id),
        )),
    }
}

fn failed(path: &Path, error: &rusqlite::Error) -> Error {
    let place = path.display().to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            Error::input(place, format!("cannot write: {error}"), DISK_REMEDY)
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::input(
            place,
            format!("another process has kept it for {} s", PATIENCE.as_secs()),
            "run the same command again",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Error::input(
                place,
                format!("cannot be written: {error}"),
                "change the permissions, or choose another --home",
            )
        }
        _ => damaged(path, &error.to_string()),
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::input(
        path.display().to_string(),
        format!("the store of submitted studies can't be used: {what}"),
        "move this file away; submissions are then forgotten, but no trial, contract or verdict is, and a study that is submitted again goes on from them",
    )
}
