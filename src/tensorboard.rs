//! TensorBoard event files: a run's metrics once more, for `tensorboard --logdir HOME/runs`.
//!
//! `metrics.jsonl` is the truth and this a copy of it in 32-bit floats: made again whenever a run
//! goes on, then appended to, so that no kill leaves stale or doubled steps. A run folder has one
//! event file at any moment. One that goes on does so under a later name, with a "start" event at
//! its head: a TensorBoard that watched the old file finds the new one and forgets what it saw.

mod wire;

use crate::{
    error::{Error, Result},
    metrics::{Record, StepRecord},
};
use serde_json::Value;
use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use wire::What;

/// What the name of an event file begins with; seconds since 1970 and the host follow.
const PREFIX: &str = "events.out.tfevents.";

/// Events before the first record's: version, start, recipe.
const HEAD: usize = 3;

/// How long a record may wait for the disk while a run goes on.
const PATIENCE: Duration = Duration::from_secs(1);

/// A record's numbers under their tags: `train/…`, `val/…`, `val/CORPUS/…`, `ema/…`,
/// `data/CORPUS/…`. What is not finite, and counts that never change, are left out.
pub fn scalars(record: &Record) -> Vec<(String, f64)> {
    let value = serde_json::to_value(record).expect("a record is plain data");
    let mut scalars = Vec::new();
    match record {
        Record::Step(step) => {
            leaves("train", &value, &mut scalars);
            if let Some(speed) = tokens_per_second(step) {
                scalars.push(("train/tokens_per_second".into(), speed));
            }
        }
        Record::Eval(_) => {
            for (key, value) in value.as_object().into_iter().flatten() {
                match key.as_str() {
                    "val" | "ema" => leaves(key, value, &mut scalars),
                    _ => leaf("val", (key, value), &mut scalars),
                }
            }
        }
        Record::Data(data) => {
            for corpus in &data.corpora {
                let value = serde_json::to_value(corpus).expect("a record is plain data");
                leaves(&format!("data/{}", corpus.corpus), &value, &mut scalars);
            }
        }
    }
    scalars
}

/// Tokens a second of one step; `None` when the clock did not move.
fn tokens_per_second(step: &StepRecord) -> Option<f64> {
    let tokens = step.tokens as f64 / step.step as f64;
    (step.ms > 0.0).then(|| tokens / step.ms * 1e3)
}

/// Every number in an object, and in the objects in it.
fn leaves(prefix: &str, value: &Value, scalars: &mut Vec<(String, f64)>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => leaves(&format!("{prefix}/{key}"), value, scalars),
            _ => leaf(prefix, (key, value), scalars),
        }
    }
}

/// One number, unless it is the axis, a count that says nothing, or (`ms`) shown as a speed.
fn leaf(prefix: &str, (key, value): (&str, &Value), scalars: &mut Vec<(String, f64)>) {
    let shown = !["step", "tokens", "bytes", "ms"].contains(&key);
    if let Some(number) = value.as_f64().filter(|n| shown && n.is_finite()) {
        scalars.push((format!("{prefix}/{key}"), number));
    }
}

/// The event file of a run in training.
pub(crate) struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
    flushed: Instant,
}

impl EventFile {
    /// Makes the event file of the run in `folder` again, from the records that it keeps. `started`
    /// is when the run began, in seconds since 1970; the records' own times are read from the file
    /// that was there. Errors when the folder can't be written.
    pub fn begin(folder: &Path, recipe: &str, kept: &[Record], started: f64) -> Result<Self> {
        let old = existing(folder)?;
        let text = text(recipe, &timed(kept, &times(old.last()), started), started);
        let path = folder.join(name(old.last()));
        let temporary = folder.join("tensorboard.tmp");
        let replace = || -> std::io::Result<File> {
            fs::write(&temporary, &text)?;
            // Over the old file, then to the new name: there are never two, nor a part of one.
            if let Some((newest, older)) = old.split_last() {
                older.iter().try_for_each(fs::remove_file)?;
                fs::rename(&temporary, newest)?;
                fs::rename(newest, &path)?;
            } else {
                fs::rename(&temporary, &path)?;
            }
            OpenOptions::new().append(true).open(&path)
        };
        let file = replace().map_err(|e| {
            let _ = fs::remove_file(&temporary);
            Error::io(&path, "write", &e)
        })?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
            flushed: Instant::now(),
        })
    }

    pub fn write(&mut self, record: &Record) -> Result<()> {
        let event = framed(now(), record);
        let late = self.flushed.elapsed() > PATIENCE;
        let written = self.file.write_all(&event);
        written.map_err(|e| Error::io(&self.path, "write", &e))?;
        if late { self.flush() } else { Ok(()) }
    }

    /// Hands what was written to the system. It is not synced: a run that goes on makes it again.
    pub fn flush(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        let flushed = self.file.flush();
        flushed.map_err(|e| Error::io(&self.path, "write", &e))
    }
}

fn framed(at: f64, record: &Record) -> Vec<u8> {
    let what = &What::Scalars(&scalars(record));
    wire::frame(&wire::event(at, record.step(), what))
}

/// A whole event file.
fn text(recipe: &str, records: &[(f64, &Record)], started: f64) -> Vec<u8> {
    // Indented, it is code in Markdown, whatever is in it.
    let recipe: String = recipe.lines().map(|l| format!("    {l}\n")).collect();
    let head: [What; HEAD] = [What::Version, What::Start, What::Text("recipe", &recipe)];
    let head = head.iter().map(|what| wire::event(started, 0, what));
    let mut bytes: Vec<u8> = head.flat_map(|event| wire::frame(&event)).collect();
    bytes.extend(records.iter().flat_map(|(at, r)| framed(*at, r)));
    bytes
}

/// Every record with its time: the old file's, which has an event for each, in the same order;
/// where it ends, what the steps took is counted on.
fn timed<'a>(records: &'a [Record], times: &[(f64, u64)], started: f64) -> Vec<(f64, &'a Record)> {
    let (mut clock, mut last_step) = (started, 0);
    let mut timed = Vec::new();
    for (i, record) in records.iter().enumerate() {
        match (times.get(i), record) {
            (Some((at, step)), _) if *step == record.step() => clock = *at,
            (_, Record::Step(r)) => clock += r.ms / 1e3 * r.step.saturating_sub(last_step) as f64,
            _ => {}
        }
        last_step = record.step();
        timed.push((clock, record));
    }
    timed
}

/// (time, step) of each record's event in a file, as far as it is whole.
fn times(path: Option<&PathBuf>) -> Vec<(f64, u64)> {
    let bytes = path.and_then(|path| fs::read(path).ok());
    let bytes = bytes.unwrap_or_default();
    let events = wire::unframe(&bytes).into_iter().skip(HEAD);
    events.map_while(wire::time_and_step).collect()
}

/// The event files of a folder, the newest last.
pub(crate) fn existing(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, "read", &e))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(PREFIX))
    };
    let mut found: Vec<PathBuf> = paths.filter(ours).collect();
    found.sort();
    Ok(found)
}

/// A name that sorts after the old one's: readers go from file to file in that order.
fn name(old: Option<&PathBuf>) -> String {
    let old = old.and_then(|path| path.file_name()?.to_str()?.strip_prefix(PREFIX));
    let old = old.and_then(|rest| rest.split('.').next()?.parse::<u64>().ok());
    let seconds = (now() as u64).max(old.map_or(0, |old| old.saturating_add(1)));
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    let host: String = host.chars().filter(plain).take(64).collect();
    let host = if host.is_empty() { "localhost" } else { &host };
    format!("{PREFIX}{seconds:010}.{host}")
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests;
