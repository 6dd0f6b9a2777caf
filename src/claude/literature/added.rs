//! Records that a home added: `<home>/library/*.bib`.
//!
//! A file is taken in whole or not at all, and one process at a time changes the folder.

use super::{
    Library,
    bibtex::{self, Record},
};
use crate::{
    error::{Error, Result},
    files,
};
use serde::Serialize;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// A file of records beyond this is a mistake: it holds some hundred thousand of them.
const MOST_BYTES: u64 = 64 << 20;

/// What became of a file, or of an answer of arXiv's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Added {
    /// Where the records are now.
    pub path: PathBuf,
    /// Keys that are new.
    pub added: Vec<String>,
    /// Keys of papers that the library had before.
    pub known: Vec<String>,
}

/// The folder of a home's own records.
pub fn folder(home: &Path) -> PathBuf {
    home.join("library")
}

/// Held while the folder is changed.
pub(super) struct Change {
    _lock: File,
}

/// Waits until no other process changes the folder, which it makes when there is none.
pub(super) fn change(home: &Path) -> Result<Change> {
    let folder = folder(home);
    fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", &e))?;
    let path = folder.join("lock");
    let lock = File::create(&path).map_err(|e| Error::io(&path, "open", &e))?;
    lock.lock().map_err(|e| Error::io(&path, "lock", &e))?;
    Ok(Change { _lock: lock })
}

/// Every record that `home` added, in the order of its files' names. Errors name file and line.
pub(super) fn records(home: &Path) -> Result<Vec<Record>> {
    let mut all = Vec::new();
    for path in bib_files(home)? {
        let place = path.display().to_string();
        all.extend(bibtex::parse(&place, &read(&path)?, false)?);
    }
    Ok(all)
}

/// One key for two records: which of them a finding cites could not be said.
pub(super) fn twice(record: &Record, known: &Record) -> Error {
    Error::input(
        &record.place,
        format!("the key {} is taken, at {}", record.key, known.place),
        "give the record another key, or leave it out",
    )
}

/// Takes in a file of records. Errors when one of them is not as it must be, has a key that is
/// taken, or is a paper that the library has under another key; nothing is changed then.
pub fn add(home: &Path, file: &Path) -> Result<Added> {
    let text = read(file)?;
    let records = bibtex::parse(&file.display().to_string(), &text, false)?;
    if records.is_empty() {
        return Err(Error::input(
            file.display().to_string(),
            "has no records",
            "write @article{key, title = {…}, author = {…}, year = {2024}, eprint = {…}}",
        ));
    }
    let name = name_of(file)?;
    let _change = change(home)?;
    let path = folder(home).join(name);
    if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
        let known = records.into_iter().map(|record| record.key).collect();
        return Ok(Added {
            path,
            added: Vec::new(),
            known,
        });
    }
    if path.exists() {
        return Err(Error::input(
            path.display().to_string(),
            "is there already, with other records",
            "give the new file another name; to replace the old one, remove it first",
        ));
    }
    all_new(&records, &Library::open(home)?)?;
    files::replace(&path, text.as_bytes())?;
    let added = records.into_iter().map(|record| record.key).collect();
    Ok(Added {
        path,
        added,
        known: Vec::new(),
    })
}

/// Errors when a record's key is taken, or its paper known under another key.
fn all_new(records: &[Record], library: &Library) -> Result<()> {
    for (idx, record) in records.iter().enumerate() {
        let before = library.records().iter().chain(&records[..idx]);
        for known in before {
            if known.key == record.key {
                return Err(twice(record, known));
            }
            if known.same_paper(record) {
                return Err(Error::input(
                    &record.place,
                    format!(
                        "{} is {}, which {} has as {}",
                        record.key,
                        record.identifier(),
                        known.place,
                        known.key
                    ),
                    format!("cite {}, and leave this record out", known.key),
                ));
            }
        }
    }
    Ok(())
}

/// A file's name in the folder: its own, in plain letters, so that it is a file of the folder.
fn name_of(file: &Path) -> Result<String> {
    let stem = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let bib = file
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("bib"));
    match bib && !stem.is_empty() && stem.chars().all(plain) {
        true => Ok(format!("{stem}.bib")),
        false => Err(Error::input(
            file.display().to_string(),
            "is not named as a file of records",
            "name it NAME.bib, with letters, digits, - and _",
        )),
    }
}

fn bib_files(home: &Path) -> Result<Vec<PathBuf>> {
    let folder = folder(home);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(&folder, "list", &e)),
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "bib"))
        .collect();
    paths.sort();
    Ok(paths)
}

pub(super) fn read(path: &Path) -> Result<String> {
    let size = fs::metadata(path)
        .map_err(|e| Error::io(path, "read", &e))?
        .len();
    if size > MOST_BYTES {
        return Err(Error::input(
            path.display().to_string(),
            format!("has {size} bytes; a file of records has at most {MOST_BYTES}"),
            "check the path, or split the file",
        ));
    }
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
    files::utf8(path, bytes)
}
