//! Which files a path means, what is in them, and whether they are still the ones that were added.

use super::{Format, Progress, SourceFile, Watch, decode::Compression};
use crate::{
    digest::{sha256_file, sha256_watched},
    error::{Error, Result},
};
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// Files of one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub format: Format,
    /// In the order of their paths.
    pub files: Vec<PathBuf>,
    /// Files beside them that are of no form that is known.
    pub left_out: Vec<PathBuf>,
}

/// Of larger corpora a file is read again only where its length or its time of writing changed.
pub const CHECKED_BYTES: u64 = 256 << 20;

/// The files that `path` means: itself; those in a folder and the folders in it, but for hidden ones
/// and links to folders; or those that a pattern with `*`, `?` or `[…]` matches.
///
/// A name's ending says what is in a file. Where the files are of one known form, all others are
/// left out; of two forms, `format` has to choose. One file, and what a pattern matches, is text
/// where its ending says nothing. Errors when there is no file, or its first bytes are of another form.
pub fn find(path: &Path, format: Option<Format>) -> Result<Found> {
    let (all, is_folder) = candidates(path)?;
    let named: Vec<Option<Format>> = all.iter().map(|file| format_of(file)).collect();
    let mut known: Vec<Format> = named.iter().flatten().copied().collect();
    known.sort_by_key(|format| *format as usize);
    known.dedup();
    let chosen = match (format, &known[..]) {
        (Some(format), _) => format,
        (None, [one]) => *one,
        (None, []) if !is_folder => Format::Text,
        (None, []) => {
            return Err(Error::input(
                path.display().to_string(),
                "no file in this folder has an ending that says what is in it",
                "give --format text to take every file as text, or a quoted pattern such as \"docs/*.md\"; known are .txt, .jsonl, .parquet and .bin, and .gz or .zst after the first two",
            ));
        }
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|format| format.name()).collect();
            return Err(Error::input(
                path.display().to_string(),
                format!("there are files of several forms: {}", names.join(", ")),
                format!(
                    "choose with --format {}, or give a quoted pattern such as \"shards/*.jsonl\"",
                    names.join(" or --format ")
                ),
            ));
        }
    };
    // Where no name says the form that was asked for, all of them are meant.
    let any = named.contains(&Some(chosen));
    let is_meant = |(_, named): &(PathBuf, Option<Format>)| !any || *named == Some(chosen);
    let (meant, others): (Vec<_>, Vec<_>) = all.into_iter().zip(named).partition(is_meant);
    let files: Vec<PathBuf> = meant.into_iter().map(|(file, _)| file).collect();
    files
        .iter()
        .try_for_each(|file| check_start(file, chosen))?;
    let unknown = others.into_iter().filter(|(_, named)| named.is_none());
    Ok(Found {
        format: chosen,
        files,
        left_out: unknown.map(|(file, _)| file).collect(),
    })
}

/// A path as it is kept: whole, so that it means the same from any folder.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    let read = |e: std::io::Error| Error::io(path, "read", &e);
    match (path.exists(), is_pattern(path)) {
        (false, true) if path.is_relative() => {
            let here = std::env::current_dir().map_err(read)?;
            let here = glob::Pattern::escape(&here.display().to_string());
            Ok(Path::new(&here).join(path))
        }
        (false, true) => Ok(path.into()),
        _ => fs::canonicalize(path).map_err(read),
    }
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// The files that a path may mean, in order, and whether it is a folder.
fn candidates(path: &Path) -> Result<(Vec<PathBuf>, bool)> {
    if path.is_dir() {
        let mut files = Vec::new();
        walk(path, &mut files)?;
        files.sort();
        return match files.is_empty() {
            false => Ok((files, true)),
            true => Err(Error::input(
                path.display().to_string(),
                "there is no file in this folder",
                "check the path; hidden files do not count",
            )),
        };
    }
    if path.exists() || !is_pattern(path) {
        let meta = fs::metadata(path).map_err(|e| Error::io(path, "read", &e))?;
        return match meta.is_file() {
            true => Ok((vec![path.into()], false)),
            false => Err(Error::input(
                path.display().to_string(),
                "is neither a file nor a folder",
                "save its contents to a file first, and add that",
            )),
        };
    }
    let refused = |problem: String| {
        Error::input(
            path.display().to_string(),
            problem,
            "check the pattern, and quote it",
        )
    };
    let found = glob::glob(&path.to_string_lossy());
    let found = found.map_err(|e| refused(format!("is no pattern: {e}")))?;
    let mut files = Vec::new();
    for entry in found {
        let file = entry.map_err(|e| Error::io(e.path(), "read", e.error()))?;
        if file.is_file() && !is_hidden(&file) {
            files.push(file);
        }
    }
    files.sort();
    match files.is_empty() {
        false => Ok((files, false)),
        true => Err(refused("no file matches this pattern".into())),
    }
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with('.')
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let read = |e: std::io::Error| Error::io(folder, "read", &e);
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let path = entry.path();
        if is_hidden(&path) {
            continue;
        }
        // A link to a folder may lead back here; a link to a file is that file.
        if entry.file_type().map_err(read)?.is_dir() {
            walk(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// What a file's name says is in it.
fn format_of(path: &Path) -> Option<Format> {
    let name = match Compression::of(path) {
        Compression::None => path.to_path_buf(),
        _ => path.with_extension(""),
    };
    let ending = name.extension()?.to_string_lossy().to_ascii_lowercase();
    match ending.as_str() {
        "txt" | "text" => Some(Format::Text),
        "jsonl" | "ndjson" | "json" => Some(Format::Jsonl),
        "parquet" | "pq" => Some(Format::Parquet),
        "bin" => Some(Format::Tokens),
        _ => None,
    }
}

/// Errors when a file's first bytes are not of the form that it is taken for.
fn check_start(path: &Path, format: Format) -> Result<()> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(path, "open", &e))?;
    file.take(6)
        .read_to_end(&mut start)
        .map_err(|e| Error::io(path, "read", &e))?;
    if start.is_empty() {
        return Ok(());
    }
    let refused = |problem: &str, remedy: &str| {
        Err(Error::input(path.display().to_string(), problem, remedy))
    };
    let compression = match &start[..] {
        [0x1F, 0x8B, ..] => Compression::Gzip,
        [0x28, 0xB5, 0x2F, 0xFD, ..] => Compression::Zstd,
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Compression::Zip,
        _ => Compression::None,
    };
    if matches!(format, Format::Tokens | Format::Parquet) {
        if Compression::of(path) != Compression::None {
            return refused("is compressed", "decompress it, and add what is in it");
        }
    } else if compression != Compression::of(path) {
        return refused(
            "its name and its first bytes do not agree on how it is compressed",
            "end the name with .gz or .zst where the file is so compressed, and nowhere else",
        );
    }
    match (format, start.starts_with(b"PAR1")) {
        (Format::Parquet, false) => refused(
            "is taken for Parquet, and does not begin as such a file does",
            "get or make this file again, or say what it is with --format",
        ),
        (Format::Parquet, true) | (_, false) if !start.starts_with(b"\x93NUMPY") => Ok(()),
        (_, true) => refused("is a Parquet file", "end its name with .parquet"),
        _ => refused(
            "is a NumPy array",
            "write its ids as 16-bit numbers, with `tofile`",
        ),
    }
}

/// Length and time of writing of a file.
pub fn facts(path: &Path) -> Result<(u64, i64)> {
    let meta = fs::metadata(path).map_err(|e| Error::io(path, "read", &e))?;
    let since = meta
        .modified()
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = since.and_then(|since| i64::try_from(since.as_nanos()).ok());
    Ok((meta.len(), nanoseconds.unwrap_or(0)))
}

/// What is kept of files: read whole once, for their digests.
pub fn describe(name: &str, paths: &[PathBuf], watch: &mut Watch) -> Result<Vec<SourceFile>> {
    let facts = paths.iter().map(|path| facts(path));
    let facts = facts.collect::<Result<Vec<_>>>()?;
    let mut progress = Progress {
        doing: "check",
        name: name.into(),
        done: 0,
        all: facts.iter().map(|(bytes, _)| bytes).sum(),
    };
    let mut files = Vec::new();
    for (path, (bytes, modified)) in paths.iter().zip(facts) {
        let sha256 = sha256_watched(path, &mut |n| {
            progress.done += n;
            watch(&progress)
        })?;
        files.push(SourceFile {
            path: path.clone(),
            bytes,
            sha256,
            modified,
        });
    }
    Ok(files)
}

/// Errors at the first file that is gone, changed, or was not there when the corpus `name` was added.
pub fn check(name: &str, kept: &[SourceFile], found: &[PathBuf]) -> Result<()> {
    for file in kept {
        if !found.contains(&file.path) {
            return Err(Error::input(
                file.path.display().to_string(),
                format!("the file is gone that \"{name}\" was added with"),
                "put it back, or add the rest under another name with `windtunnel data add`",
            ));
        }
    }
    for path in found {
        if !kept.iter().any(|file| file.path == *path) {
            return Err(Error::input(
                path.display().to_string(),
                format!("the file is new: \"{name}\" was added without it"),
                "move it away, or add all under another name with `windtunnel data add`",
            ));
        }
    }
    let all: u64 = kept.iter().map(|file| file.bytes).sum();
    kept.iter().try_for_each(|file| unchanged(name, file, all))
}

fn unchanged(name: &str, file: &SourceFile, all_bytes: u64) -> Result<()> {
    let (bytes, modified) = facts(&file.path)?;
    let untouched = bytes == file.bytes && modified == file.modified && modified != 0;
    if untouched && all_bytes > CHECKED_BYTES {
        return Ok(());
    }
    let digest = match bytes == file.bytes {
        true => sha256_file(&file.path)?,
        false => format!("(of {bytes} bytes)"),
    };
    match digest == file.sha256 {
        true => Ok(()),
        false => Err(Error::input(
            file.path.display().to_string(),
            format!(
                "digest mismatch: \"{name}\" was added with SHA-256 {} ({} bytes), the file now has {digest}",
                file.sha256, file.bytes
            ),
            "put the old file back, or add the new one under another name with `windtunnel data add`",
        )),
    }
}
