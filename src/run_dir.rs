//! A run's folder: what is in it, and who may write it when.

use crate::{
    device::{DeviceClass, Machine},
    digest::sha256_json,
    error::{Error, Result},
    files,
    metrics::{Outcome, Record},
    model::variants::Variant,
    run::Run,
    tensorboard::{self, EventFile},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// What computes a run: device class, the sources that decide numbers, and its variant's source.
pub fn numerics_of(run: &Run, device: &DeviceClass) -> serde_json::Value {
    serde_json::json!({
        "device": device,
        "sources": env!("WINDTUNNEL_NUMERICS"),
        "variant": run.model.variant.map(Variant::source_digest),
    })
}

/// What a trial is but for its seed: a digest of recipe, data, device class and the sources that
/// decide numbers (the git revision does not). Trials of one design differ by chance alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Design(String);

impl Design {
    /// The design of `run` on the data with these digests and this device.
    pub fn new(run: &Run, data_digests: &[String], device: &DeviceClass) -> Self {
        Self(sha256_json(&serde_json::json!({
            "run": run.identity(),
            "data": data_digests,
            "numerics": numerics_of(run, device),
        })))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A trial's content address: its design and its seeds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrialId(String);

/// Hexadecimal digits of an id: 64 bits, so that chance never makes two trials one.
const ID_DIGITS: usize = 16;

impl TrialId {
    pub fn new(design: &Design, run: &Run) -> Self {
        let digest = match (run.init_seed, run.data_seed) {
            (None, None) => sha256_json(&(design, run.seed)),
            (init, data) => sha256_json(&(design, run.seed, init, data)),
        };
        Self(digest[..ID_DIGITS].to_string())
    }
}

impl fmt::Display for TrialId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// "start", "branch" (from a trunk), "resume", "interrupted" or "finish"; "halved" where the
    /// device had no memory for the run's pack, which goes on in halves; "import" for a model that
    /// was trained elsewhere.
    pub kind: String,
    pub step: u64,
    /// Seconds since 1970.
    pub at: u64,
    pub pid: u32,
}

/// What `env.json` says: who computed this, and on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    pub schema: String,
    pub version: String,
    pub revision: String,
    /// Digest of the sources that decide numbers.
    pub numerics: String,
    pub device: DeviceClass,
    pub machine: Machine,
    /// Runs that were trained as one program, this one included: the last of them, where it was
    /// stopped and went on.
    #[serde(default = "one")]
    pub pack: usize,
}

fn one() -> usize {
    1
}

impl Environment {
    pub fn here(device: &DeviceClass, pack: usize) -> Self {
        Self {
            pack,
            schema: "windtunnel.env.v1".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            revision: env!("WINDTUNNEL_REVISION").into(),
            numerics: env!("WINDTUNNEL_NUMERICS").into(),
            device: device.clone(),
            machine: Machine::read(),
        }
    }
}

/// What `outcome.json` holds.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    outcome: Outcome,
    /// Of the outcome's canonical JSON.
    digest: String,
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The folder of a trial under a home.
    pub fn of(home: &Path, trial: &TrialId) -> Self {
        Self::new(home.join("runs").join(&trial.0))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    /// The outcome, once the run ended. Errors when the file is damaged or was edited.
    pub fn outcome(&self) -> Result<Option<Outcome>> {
        let path = self.path.join("outcome.json");
        if !path.exists() {
            return Ok(None);
        }
        let remedy = "delete this file and run the same command again; the run is finished again from its last checkpoint";
        let sealed: Sealed = files::read_json(&path, remedy)?;
        let digest = sha256_json(&sealed.outcome);
        match digest == sealed.digest {
            true => Ok(Some(sealed.outcome)),
            false => Err(Error::input(
                path.display().to_string(),
                format!(
                    "the outcome was edited: it has digest {digest}, it was written with {}",
                    sealed.digest
                ),
                remedy,
            )),
        }
    }

    pub fn environment(&self) -> Result<Environment> {
        files::read_json(&self.path.join("env.json"), "run the trial again")
    }

    /// Every record of `metrics.jsonl`. A last line that was cut short is left out. Errors when
    /// the file can't be read.
    pub fn records(&self) -> Result<Vec<Record>> {
        let path = self.path.join("metrics.jsonl");
        let text = fs::read_to_string(&path).map_err(|e| Error::io(&path, "read", &e))?;
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// Every event; a last line that was cut short is left out.
    pub fn events(&self) -> Vec<Event> {
        let text = fs::read_to_string(self.path.join("events.jsonl")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Writes what is known before the first step of a run that is one of `pack`.
    pub(crate) fn describe(&self, run: &Run, device: &DeviceClass, pack: usize) -> Result<()> {
        fs::create_dir_all(&self.path)
            .map_err(|e| Error::io(&self.path, "create the folder", &e))?;
        files::replace(&self.recipe(), run.to_toml().as_bytes())?;
        files::write_json(
            &self.path.join("env.json"),
            &Environment::here(device, pack),
        )
    }

    /// Appends an event and makes sure that it is on the disk.
    pub(crate) fn event(&self, kind: &str, step: u64) -> Result<()> {
        let path = self.path.join("events.jsonl");
        let event = Event {
            kind: kind.into(),
            step,
            at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| d.as_secs()),
            pid: std::process::id(),
        };
        let mut line = serde_json::to_string(&event).expect("an event is plain data");
        line.push('\n');
        let append = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(line.as_bytes())?;
            file.sync_data()
        };
        append().map_err(|e| Error::io(&path, "write", &e))
    }

    /// Writes the outcome: from now on the run is finished.
    pub(crate) fn finish(&self, outcome: &Outcome, step: u64) -> Result<()> {
        let sealed = Sealed {
            digest: sha256_json(outcome),
            outcome: outcome.clone(),
        };
        files::write_json(&self.path.join("outcome.json"), &sealed)?;
        self.event("finish", step)
    }

    /// `metrics.jsonl`, cut back to the records up to `step`, ready for more, and the event file
    /// beside it. What was written after the last of `steps` is made again by whoever goes on from
    /// there.
    pub(crate) fn metrics(&self, step: u64, steps: u64) -> Result<MetricsWriter> {
        let last = |record: &Record| record.step() == steps && !matches!(record, Record::Step(_));
        let path = self.path.join("metrics.jsonl");
        let text = match step {
            0 => String::new(),
            _ => fs::read_to_string(&path).map_err(|e| Error::io(&path, "read", &e))?,
        };
        let (mut kept, mut records) = (String::new(), Vec::new());
        for line in text.lines() {
            let record = serde_json::from_str::<Record>(line).ok();
            if let Some(record) = record.filter(|r| r.step() <= step && !last(r)) {
                kept += line;
                kept.push('\n');
                records.push(record);
            }
        }
        files::replace(&path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|e| Error::io(&path, "open", &e))?;
        let events = self.event_file(&records)?;
        Ok(MetricsWriter {
            path,
            file: BufWriter::new(file),
            events,
        })
    }

    /// The event file, made again from these records.
    fn event_file(&self, records: &[Record]) -> Result<EventFile> {
        let recipe = fs::read_to_string(self.recipe());
        let recipe = recipe.map_err(|e| Error::io(&self.recipe(), "read", &e))?;
        let events = self.events();
        let start = events.iter().rfind(|event| event.kind == "start");
        let started = start.map_or(0, |event| event.at);
        EventFile::begin(&self.path, &recipe, records, started as f64)
    }

    /// Makes the event file of a run that ended when it has none. Errors when the folder can't be
    /// read or written.
    pub(crate) fn restore_events(&self, records: &[Record]) -> Result<()> {
        match tensorboard::existing(&self.path)?.is_empty() {
            true => self.event_file(records).map(|_| ()),
            false => Ok(()),
        }
    }
}

/// Appends records to `metrics.jsonl` and to the event file.
pub(crate) struct MetricsWriter {
    path: PathBuf,
    file: BufWriter<File>,
    events: EventFile,
}

impl MetricsWriter {
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_string(record).expect("a record is plain data");
        line.push('\n');
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|e| Error::io(&self.path, "write", &e))?;
        self.events.write(record)
    }

    pub fn sync(&mut self) -> Result<()> {
        let synced = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_data());
        synced.map_err(|e| Error::io(&self.path, "write", &e))?;
        self.events.flush()
    }
}
