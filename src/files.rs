//! Files that are whole or absent: written beside their place, synced, and renamed.

use crate::error::{Error, Result};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

/// Replaces `path` with `bytes` so that a reader, or a kill, sees the old file or the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_by_pieces(path, [bytes])
}

/// The same with pieces one after another, which need not stand in one buffer.
pub fn replace_by_pieces<'a>(
    path: &Path,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(&temporary)?);
        for piece in pieces {
            file.write_all(piece)?;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| {
        // A half-written neighbour is of no use to anyone, least of all on a full disk.
        let _ = fs::remove_file(&temporary);
        Error::io(path, "write", &e)
    })
}

/// A file's bytes as text. Errors with the line when they are not UTF-8.
pub fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        Error::input(
            format!("{}:{line}", path.display()),
            format!(
                "byte {at} is 0x{:02x}, which is not UTF-8",
                error.as_bytes()[at]
            ),
            "convert the file to UTF-8, for example with iconv",
        )
    })
}

/// Reads and parses a JSON file. Errors name the file, and `remedy` when its text is damaged.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path, remedy: &str) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|e| Error::io(path, "read", &e))?;
    serde_json::from_str(&text).map_err(|e| {
        let place = format!("{}:{}", path.display(), e.line());
        Error::input(place, format!("not what was expected here: {e}"), remedy)
    })
}

/// Writes a value as indented JSON, by rename.
pub fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).expect("plain data has a JSON form");
    text.push('\n');
    replace(path, text.as_bytes())
}
