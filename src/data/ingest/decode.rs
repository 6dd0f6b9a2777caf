//! A file's bytes as a stream, whatever it is compressed with.

use crate::error::{Error, Result};
use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What a file is compressed with, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    /// Any number of members, one after the other.
    Gzip,
    /// Any number of frames, one after the other.
    Zstd,
    /// An archive with one file in it.
    Zip,
}

/// Bytes that a decoded file is read in.
const BUFFER_BYTES: usize = 1 << 18;

/// A file that is being decoded.
pub struct Decoded {
    pub reader: BufReader<Box<dyn Read>>,
    /// Bytes of the file itself that were read: what a progress bar shows.
    pub read: Arc<AtomicU64>,
}

impl Compression {
    pub fn of(path: &Path) -> Self {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match ending.to_ascii_lowercase().as_str() {
            "gz" | "gzip" => Self::Gzip,
            "zst" | "zstd" => Self::Zstd,
            "zip" => Self::Zip,
            _ => Self::None,
        }
    }
}

/// Opens a file at byte `from` of what is in it. Errors when it can't be read so far.
pub fn open(path: &Path, from: u64) -> Result<Decoded> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", &e))?;
    let read = Arc::new(AtomicU64::new(0));
    let compression = Compression::of(path);
    if compression == Compression::None {
        file.seek(SeekFrom::Start(from))
            .map_err(|e| Error::io(path, "read", &e))?;
        read.store(from, Ordering::Relaxed);
    }
    let length = match compression {
        Compression::Zip => only_member(path, &mut file)?,
        _ => u64::MAX,
    };
    let counted = Counted {
        file: file.take(length),
        read: read.clone(),
    };
    let buffered = BufReader::with_capacity(BUFFER_BYTES, counted);
    let decoder: Box<dyn Read> = match compression {
        Compression::None => Box::new(buffered),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        Compression::Zip => Box::new(flate2::bufread::DeflateDecoder::new(buffered)),
        Compression::Zstd => Box::new(
            zstd::stream::read::Decoder::with_buffer(buffered).map_err(|e| broken(path, 1, &e))?,
        ),
    };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, decoder);
    if compression != Compression::None {
        let skipped = io::copy(&mut reader.by_ref().take(from), &mut io::sink())
            .map_err(|e| broken(path, 1, &e))?;
        if skipped < from {
            return Err(broken(path, 1, &io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(Decoded { reader, read })
}

/// What a failed read means, at a line of the decoded file.
pub fn broken(path: &Path, line: u64, error: &io::Error) -> Error {
    if Compression::of(path) == Compression::None {
        return Error::io(path, "read", error);
    }
    let problem = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the compressed file is cut off".to_string(),
        _ => format!("cannot be decompressed: {error}"),
    };
    Error::input(
        format!("{}:{line}", path.display()),
        problem,
        "get or make this file again; `gzip -t` and `zstd -t` test one",
    )
}

/// Puts the file where the archive's only member begins, and says how long that is, compressed.
fn only_member(path: &Path, file: &mut File) -> Result<u64> {
    let refused = |problem: String| {
        Error::input(
            path.display().to_string(),
            problem,
            "unpack it, and add what is in it",
        )
    };
    let mut archive =
        zip::ZipArchive::new(&mut *file).map_err(|e| refused(format!("is no zip archive: {e}")))?;
    if archive.len() != 1 {
        return Err(refused(format!(
            "has {} files in it, not one",
            archive.len()
        )));
    }
    let member = archive.by_index_raw(0);
    let member = member.map_err(|e| refused(format!("is no zip archive: {e}")))?;
    let (start, length) = (member.data_start(), member.compressed_size());
    // By number: the name is compiled into the crate only with a decoder, and flate2 is ours.
    #[allow(deprecated)]
    let method = member.compression().to_u16();
    drop(member);
    match (method, start) {
        (8, Some(start)) => {
            file.seek(SeekFrom::Start(start))
                .map_err(|e| Error::io(path, "read", &e))?;
            Ok(length)
        }
        _ => Err(refused("is not packed with deflate".into())),
    }
}

/// A file that says how much of it was read.
struct Counted {
    file: io::Take<File>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
