//! What cleaning keeps: a file for each part, written once and read again here and there.

use crate::{
    data::{ingest::Format, split::Part},
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    fs::File,
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Where a document stands.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    part: Part,
    bytes: u32,
    offset: u64,
}

/// Files of documents, by part.
pub struct Kept {
    format: Format,
    longest: u64,
    parts: Vec<Written>,
}

struct Written {
    path: PathBuf,
    writer: BufWriter<File>,
    reader: File,
    bytes: u64,
    /// Of them, those that are not in the buffer any more.
    flushed: u64,
}

#[derive(Serialize, Deserialize)]
struct Row<'a> {
    text: Cow<'a, str>,
}

const NAMES: [&str; 3] = ["train", "test", "validation"];

impl Kept {
    /// Makes the files in a folder: rows of JSON, or texts as they are. No row may be longer than
    /// `longest`, for it could not be read.
    pub fn new(folder: &Path, format: Format, longest: u64) -> Result<Self> {
        let ending = match format {
            Format::Text => "txt",
            _ => "jsonl",
        };
        let open = |name: &&str| {
            let path = folder.join(format!("{name}.{ending}"));
            let open = || -> std::io::Result<(File, File)> {
                Ok((File::create_new(&path)?, File::open(&path)?))
            };
            let (writer, reader) = open().map_err(|e| Error::io(&path, "write", &e))?;
            Ok(Written {
                path,
                writer: BufWriter::with_capacity(1 << 18, writer),
                reader,
                bytes: 0,
                flushed: 0,
            })
        };
        Ok(Self {
            format,
            longest,
            parts: NAMES.iter().map(open).collect::<Result<_>>()?,
        })
    }

    /// Appends a document to its part.
    pub fn write(&mut self, part: Part, text: &str) -> Result<Place> {
        let written = &mut self.parts[part as usize];
        let row = match self.format {
            Format::Text => Cow::Borrowed(text),
            _ => {
                let row = serde_json::to_string(&Row { text: text.into() });
                Cow::Owned(row.expect("a text has a JSON form") + "\n")
            }
        };
        if row.len() as u64 > self.longest {
            return Err(Error::input(
                format!("the document that begins with {:?}", super::beginning(text)),
                format!(
                    "is {} bytes long as a row, and no row may have more than {}",
                    row.len(),
                    self.longest
                ),
                format!(
                    "leave such documents out with --filter max_bytes={}",
                    self.longest / 8
                ),
            ));
        }
        let place = Place {
            part,
            bytes: row.len() as u32,
            offset: written.bytes,
        };
        let writing = written.writer.write_all(row.as_bytes());
        writing.map_err(|e| Error::io(&written.path, "write", &e))?;
        written.bytes += row.len() as u64;
        Ok(place)
    }

    /// The text of a document that was written.
    pub fn read(&mut self, place: Place) -> Result<String> {
        let written = &mut self.parts[place.part as usize];
        let row = written
            .read(place)
            .map_err(|e| Error::io(&written.path, "read", &e))?;
        let damaged = |problem: String| {
            Error::failed(
                written.path.display().to_string(),
                format!("what was written is not there any more: {problem}"),
                "run the same command again, and let nothing else write there",
            )
        };
        if self.format == Format::Text {
            return String::from_utf8(row).map_err(|e| damaged(e.to_string()));
        }
        let row: Row = serde_json::from_slice(&row).map_err(|e| damaged(e.to_string()))?;
        Ok(row.text.into_owned())
    }

    /// Ends the files; their paths.
    pub fn finish(self) -> Result<Vec<PathBuf>> {
        let end = |written: Written| {
            let Written { path, writer, .. } = written;
            let synced = writer.into_inner().map_err(|e| e.into_error());
            let synced = synced.and_then(|file| file.sync_all());
            synced.map_err(|e| Error::io(&path, "write", &e))?;
            Ok(path)
        };
        self.parts.into_iter().map(end).collect()
    }
}

impl Written {
    fn read(&mut self, place: Place) -> std::io::Result<Vec<u8>> {
        if place.offset + u64::from(place.bytes) > self.flushed {
            self.writer.flush()?;
            self.flushed = self.bytes;
        }
        let mut row = vec![0; place.bytes as usize];
        self.reader.seek(SeekFrom::Start(place.offset))?;
        self.reader.read_exact(&mut row)?;
        Ok(row)
    }
}
