//! The ledger: an SQLite index of trials and studies, for looking things up.
//!
//! Run and study folders are the truth; [`Ledger::rebuild`] makes the index again from them.

use super::{
    bank::{Entry, Kin, Noise, noises},
    contract::{Contract, StudyDir},
    verdict::Verdict,
};
use crate::{
    error::{DISK_REMEDY, Error, Result},
    files,
    home::Home,
    metrics::{Metric, Outcome},
    run::Run,
    run_dir::RunDir,
};
use rusqlite::{Connection, OpenFlags, ffi, params};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// An open ledger.
pub struct Ledger {
    path: PathBuf,
    connection: Connection,
}

/// A study's line in `ls`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyLine {
    pub id: String,
    pub claim: String,
    pub trials: usize,
    pub finished: usize,
    /// "ARM: CALL" for each arm, once judged.
    pub verdict: Option<String>,
}

/// A finished trial's line in `ls`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialLine {
    pub id: String,
    pub seed: u64,
    pub state: String,
    pub loss: Option<f64>,
    pub bpb: Option<f64>,
    pub tokens: u64,
    pub seconds: f64,
}

/// What a ledger file says of itself, so that one cut to nothing is not taken for a new one.
const VERSION: i64 = 2;

/// What SQLite says when a file can't grow or be synced, other than "disk full".
const WRITE_ERRORS: [i32; 4] = [
    ffi::SQLITE_IOERR_WRITE,
    ffi::SQLITE_IOERR_FSYNC,
    ffi::SQLITE_IOERR_TRUNCATE,
    ffi::SQLITE_IOERR_DIR_FSYNC,
];

const SCHEMA: &str = "
CREATE TABLE trials (
    id TEXT PRIMARY KEY, design TEXT NOT NULL, seed INTEGER NOT NULL, state TEXT NOT NULL,
    loss REAL, bpb REAL, tokens INTEGER NOT NULL, seconds REAL NOT NULL, flops REAL NOT NULL,
    kin TEXT NOT NULL, crossed INTEGER NOT NULL
) STRICT;
CREATE INDEX trials_by_design ON trials (design);
CREATE TABLE studies (
    id TEXT PRIMARY KEY, digest TEXT NOT NULL, claim TEXT NOT NULL, verdict TEXT
) STRICT;
CREATE TABLE uses (
    study TEXT NOT NULL, arm TEXT NOT NULL, seed INTEGER NOT NULL, trial TEXT NOT NULL,
    PRIMARY KEY (study, arm, seed)
) STRICT;
PRAGMA user_version = 2;
";

impl Ledger {
    pub fn path(home: &Path) -> PathBuf {
        home.join("ledger.sqlite")
    }

    /// The ledger of a home, made when there is none. Errors when the file is damaged.
    pub fn open(home: &Path) -> Result<Self> {
        if !Self::path(home).exists() {
            fs::create_dir_all(home).map_err(|e| Error::io(home, "create the home folder", &e))?;
            return Self::rebuild(home);
        }
        match Self::version(home) {
            // Of an older windtunnel: the folders say all that it said, and more.
            Some(1..VERSION) => Self::rebuild(home),
            _ => Self::existing(home),
        }
    }

    /// What the ledger file of a home says of itself, if it can be read.
    fn version(home: &Path) -> Option<i64> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let connection = Connection::open_with_flags(Self::path(home), flags).ok()?;
        let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
        version.ok()
    }

    /// The ledger of a home to read from; nothing is made. Where there is none, one in memory says
    /// what the folders say.
    pub fn read(home: &Path) -> Result<Self> {
        let path = Self::path(home);
        let is_older = || matches!(Self::version(home), Some(1..VERSION));
        match path.exists() && !is_older() {
            true => Self::existing(home),
            false => Self::of_folders(home),
        }
    }

    /// What run and study folders say, in memory; nothing is made.
    pub fn of_folders(home: &Path) -> Result<Self> {
        let path = Self::path(home);
        let connection = Connection::open_in_memory();
        let connection = connection.map_err(|e| damaged(&path, &e.to_string()))?;
        let mut ledger = Self { path, connection };
        ledger.fill(home)?;
        Ok(ledger)
    }

    fn existing(home: &Path) -> Result<Self> {
        let path = Self::path(home);
        // To write, even for a reader: what a killed writer left half-done is undone on opening.
        // Where the file can't be written, SQLite opens it to read.
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE);
        let connection = connection.map_err(|e| damaged(&path, &e.to_string()))?;
        let ledger = Self { path, connection };
        // A reader waits for a writer's moment instead of failing.
        let _ = ledger.connection.busy_timeout(Duration::from_secs(10));
        ledger.check()?;
        Ok(ledger)
    }

    fn check(&self) -> Result<()> {
        let pragma = |name: &str| -> rusqlite::Result<String> {
            let value: rusqlite::types::Value =
                self.connection
                    .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?;
            Ok(match value {
                rusqlite::types::Value::Integer(n) => n.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            })
        };
        let check = self.sql(pragma("quick_check"))?;
        if check != "ok" {
            return Err(damaged(&self.path, &check));
        }
        let version = self.sql(pragma("user_version"))?;
        if version != VERSION.to_string() {
            let what = format!("it has version {version}, not {VERSION}");
            return Err(damaged(&self.path, &what));
        }
        Ok(())
    }

    fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|e| match &e {
            rusqlite::Error::SqliteFailure(code, _)
                if code.code == rusqlite::ErrorCode::DiskFull
                    || WRITE_ERRORS.contains(&code.extended_code) =>
            {
                let problem = format!("cannot write: {e}");
                Error::input(self.path.display().to_string(), problem, DISK_REMEDY)
            }
            _ => damaged(&self.path, &e.to_string()),
        })
    }

    /// Writes down a study and what it will train, before the first trial.
    pub fn freeze(&mut self, contract: &Contract) -> Result<()> {
        let result = insert_study(&mut self.connection, contract);
        self.sql(result)
    }

    /// Writes down how a trial of this run ended.
    pub fn record(&self, run: &Run, outcome: &Outcome) -> Result<()> {
        let kin = serde_json::to_string(&Kin::of(run)).expect("names and numbers");
        let crossed = run.init_seed.is_some() || run.data_seed.is_some();
        let state = match outcome.eval() {
            Some(_) => "finished",
            None => "diverged",
        };
        self.sql(self.connection.execute(
            "INSERT OR REPLACE INTO trials VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                outcome.trial,
                outcome.design,
                outcome.seed.cast_signed(),
                state,
                outcome.metric(Metric::Loss),
                outcome.metric(Metric::Bpb),
                outcome.cost.tokens.cast_signed(),
                outcome.cost.seconds,
                outcome.cost.flops,
                kin,
                crossed
            ],
        ))?;
        Ok(())
    }

    /// Writes down a study's verdict.
    pub fn judged(&self, study: &str, verdict: &Verdict) -> Result<()> {
        self.sql(self.connection.execute(
            "UPDATE studies SET verdict = ?2 WHERE id = ?1",
            params![study, verdict.summary()],
        ))?;
        Ok(())
    }

    /// The noise bank of everything that finished: see [`bank`](super::bank). Trials whose parts have
    /// seeds of their own are no repetitions, and stay out.
    pub fn bank(&self, metric: Metric) -> Result<Vec<Noise>> {
        let query = format!(
            "SELECT kin, design, {} FROM trials WHERE state = 'finished' AND crossed = 0 ORDER BY id",
            metric.name()
        );
        let rows = || -> rusqlite::Result<Vec<(String, String, f64)>> {
            let mut statement = self.connection.prepare(&query)?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        };
        let entries = self.sql(rows())?.into_iter().map(|(kin, design, value)| {
            let kin = serde_json::from_str(&kin);
            let kin = kin.map_err(|e| damaged(&self.path, &e.to_string()))?;
            Ok(Entry { kin, design, value })
        });
        Ok(noises(&entries.collect::<Result<Vec<_>>>()?, metric))
    }

    /// Final values of a design's finished trials, by seed.
    pub fn values(&self, design: &str, metric: Metric) -> Result<BTreeMap<u64, f64>> {
        let query = format!(
            "SELECT seed, {} FROM trials WHERE design = ?1 AND state = 'finished' AND crossed = 0",
            metric.name()
        );
        let rows = || {
            let mut statement = self.connection.prepare(&query)?;
            let rows = statement.query_map([design], |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
            })?;
            rows.collect()
        };
        self.sql(rows())
    }

    /// All studies, by id.
    pub fn studies(&self) -> Result<Vec<StudyLine>> {
        let rows = || {
            let mut statement = self.connection.prepare(
                "SELECT id, claim, verdict,
                    (SELECT count(DISTINCT trial) FROM uses WHERE study = id),
                    (SELECT count(DISTINCT trial) FROM uses JOIN trials ON trials.id = trial
                        WHERE study = studies.id)
                 FROM studies ORDER BY id",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(StudyLine {
                    id: row.get(0)?,
                    claim: row.get(1)?,
                    verdict: row.get(2)?,
                    trials: row.get::<_, i64>(3)? as usize,
                    finished: row.get::<_, i64>(4)? as usize,
                })
            })?;
            rows.collect()
        };
        self.sql(rows())
    }

    /// All trials that ended, by id.
    pub fn trials(&self) -> Result<Vec<TrialLine>> {
        let rows = || {
            let mut statement = self.connection.prepare(
                "SELECT id, seed, state, loss, bpb, tokens, seconds FROM trials ORDER BY id",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(TrialLine {
                    id: row.get(0)?,
                    seed: row.get::<_, i64>(1)?.cast_unsigned(),
                    state: row.get(2)?,
                    loss: row.get(3)?,
                    bpb: row.get(4)?,
                    tokens: row.get::<_, i64>(5)?.cast_unsigned(),
                    seconds: row.get(6)?,
                })
            })?;
            rows.collect()
        };
        self.sql(rows())
    }

    /// Makes the ledger again from run and study folders; the old one is replaced when the new one
    /// is whole. Errors when a folder is damaged; then the old ledger is still there.
    pub fn rebuild(home: &Path) -> Result<Self> {
        let path = Self::path(home);
        let temporary = path.with_extension("sqlite.new");
        remove(&temporary, &["", "-journal"]);
        let make = || -> Result<()> {
            let connection = Connection::open(&temporary);
            let mut ledger = Self {
                connection: connection.map_err(|e| damaged(&temporary, &e.to_string()))?,
                path: temporary.clone(),
            };
            ledger.fill(home)
        };
        if let Err(error) = make() {
            remove(&temporary, &["", "-journal"]);
            return Err(error);
        }
        // A journal of the old file would be played into the new one.
        remove(&path, &["-journal"]);
        fs::rename(&temporary, &path).map_err(|e| Error::io(&path, "replace", &e))?;
        Self::existing(home)
    }

    /// Tables, and what run and study folders say.
    fn fill(&mut self, home: &Path) -> Result<()> {
        self.sql(self.connection.execute_batch(SCHEMA))?;
        for id in Home::runs(home) {
            let dir = RunDir::new(home.join("runs").join(id));
            if let Some(outcome) = dir.outcome()? {
                self.record(&Run::load(&dir.recipe())?, &outcome)?;
            }
        }
        for id in StudyDir::all(home) {
            let dir = StudyDir::find(home, &id)?;
            let contract = dir.contract()?;
            self.freeze(&contract)?;
            if dir.verdict_path().exists() {
                let remedy = "delete this file and run the study again; its trials are kept";
                let verdict = files::read_json(&dir.verdict_path(), remedy)?;
                self.judged(&contract.id, &verdict)?;
            }
        }
        Ok(())
    }
}

/// Removes an SQLite file and its companions, where they are.
fn remove(path: &Path, endings: &[&str]) {
    for ending in endings {
        let _ = fs::remove_file(format!("{}{ending}", path.display()));
    }
}

fn insert_study(connection: &mut Connection, contract: &Contract) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute(
        "INSERT OR IGNORE INTO studies (id, digest, claim) VALUES (?1, ?2, ?3)",
        params![
            contract.id,
            contract.digest,
            contract.terms.hypothesis.claim
        ],
    )?;
    for arm in &contract.terms.arms {
        for (seed, trial) in contract.terms.seeds.iter().zip(&arm.trials) {
            transaction.execute(
                "INSERT OR IGNORE INTO uses VALUES (?1, ?2, ?3, ?4)",
                params![contract.id, arm.name, seed.cast_signed(), trial.to_string()],
            )?;
        }
    }
    transaction.commit()
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::input(
        path.display().to_string(),
        format!("the ledger can't be used: {what}"),
        "`windtunnel ls --rebuild` makes it again from the run folders",
    )
}
