//! The ledger: an SQLite index of trials and studies, for looking things up.
//!
//! Run and study folders are the truth; [`Ledger::rebuild`] makes the index again from them.

use super::{
    contract::{Contract, StudyDir},
    verdict::Verdict,
};
use crate::{
    error::{Error, Result},
    files,
    home::Home,
    metrics::{Metric, Outcome},
    run_dir::RunDir,
};
use rusqlite::{Connection, OpenFlags, params};
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
const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE trials (
    id TEXT PRIMARY KEY, design TEXT NOT NULL, seed INTEGER NOT NULL, state TEXT NOT NULL,
    loss REAL, bpb REAL, tokens INTEGER NOT NULL, seconds REAL NOT NULL, flops REAL NOT NULL
) STRICT;
CREATE INDEX trials_by_design ON trials (design);
CREATE TABLE studies (
    id TEXT PRIMARY KEY, digest TEXT NOT NULL, claim TEXT NOT NULL, verdict TEXT
) STRICT;
CREATE TABLE uses (
    study TEXT NOT NULL, arm TEXT NOT NULL, seed INTEGER NOT NULL, trial TEXT NOT NULL,
    PRIMARY KEY (study, arm, seed)
) STRICT;
PRAGMA user_version = 1;
";

impl Ledger {
    fn path(home: &Path) -> PathBuf {
        home.join("ledger.sqlite")
    }

    /// The ledger of a home, made when there is none. Errors when the file is damaged.
    pub fn open(home: &Path) -> Result<Self> {
        let path = Self::path(home);
        let existed = path.exists();
        fs::create_dir_all(home).map_err(|e| Error::io(home, "create the home folder", &e))?;
        let connection = Connection::open(&path).map_err(|e| damaged(&path, &e.to_string()))?;
        let ledger = Self { path, connection };
        ledger.prepare(existed)?;
        Ok(ledger)
    }

    /// The ledger of a home to read from; nothing is made. An empty one when there is none.
    pub fn read(home: &Path) -> Result<Self> {
        let path = Self::path(home);
        let existed = path.exists();
        let connection = match existed {
            true => Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY),
            false => Connection::open_in_memory(),
        };
        let connection = connection.map_err(|e| damaged(&path, &e.to_string()))?;
        let ledger = Self { path, connection };
        ledger.prepare(existed)?;
        Ok(ledger)
    }

    fn prepare(&self, existed: bool) -> Result<()> {
        // A reader waits for a writer's moment instead of failing.
        let _ = self.connection.busy_timeout(Duration::from_secs(10));
        if !existed {
            return self.sql(self.connection.execute_batch(SCHEMA));
        }
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
                if code.code == rusqlite::ErrorCode::DiskFull =>
            {
                Error::input(
                    self.path.display().to_string(),
                    format!("cannot write: {e}"),
                    "free disk space or choose another --home, then run the same command again",
                )
            }
            _ => damaged(&self.path, &e.to_string()),
        })
    }

    /// Writes down a study and what it will train, before the first trial.
    pub fn freeze(&mut self, contract: &Contract) -> Result<()> {
        let result = insert_study(&mut self.connection, contract);
        self.sql(result)
    }

    /// Writes down how a trial ended.
    pub fn record(&self, outcome: &Outcome) -> Result<()> {
        let state = match outcome.eval() {
            Some(_) => "finished",
            None => "diverged",
        };
        self.sql(self.connection.execute(
            "INSERT OR REPLACE INTO trials VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                outcome.trial,
                outcome.design,
                outcome.seed.cast_signed(),
                state,
                outcome.metric(Metric::Loss),
                outcome.metric(Metric::Bpb),
                outcome.cost.tokens.cast_signed(),
                outcome.cost.seconds,
                outcome.cost.flops
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

    /// Final values of a design's finished trials, by seed.
    pub fn values(&self, design: &str, metric: Metric) -> Result<BTreeMap<u64, f64>> {
        let query = format!(
            "SELECT seed, {} FROM trials WHERE design = ?1 AND state = 'finished'",
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
        for leftover in ["", "-journal", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{leftover}", temporary.display()));
        }
        let connection = Connection::open(&temporary);
        let mut ledger = Self {
            connection: connection.map_err(|e| damaged(&temporary, &e.to_string()))?,
            path: temporary.clone(),
        };
        ledger.prepare(false)?;
        for id in Home::runs(home) {
            let dir = RunDir::new(home.join("runs").join(id));
            if let Some(outcome) = dir.outcome()? {
                ledger.record(&outcome)?;
            }
        }
        for id in StudyDir::all(home) {
            let dir = StudyDir::find(home, &id)?;
            let contract = dir.contract()?;
            ledger.freeze(&contract)?;
            if dir.verdict_path().exists() {
                let remedy = "delete this file and run the study again; its trials are kept";
                let verdict = files::read_json(&dir.verdict_path(), remedy)?;
                ledger.judged(&contract.id, &verdict)?;
            }
        }
        drop(ledger);
        fs::rename(&temporary, &path).map_err(|e| Error::io(&path, "replace", &e))?;
        Self::open(home)
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
