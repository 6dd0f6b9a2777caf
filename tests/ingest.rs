//! Corpora of every form, read as a stream: the same documents as from memory, every bad row named,
//! a killed ingestion that goes on, and files that are still what they were.

mod ingest {
    mod bad;
    mod commands;
    mod files;
    #[cfg(feature = "parquet")]
    mod parquet;
    mod pins;
    mod resume;
    mod rows;
    mod same;
    mod texts;
    mod tokens;
}

use flate2::{Compression, write::GzEncoder};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;
use windtunnel::{
    data::{
        Corpus, Library, Tokenizer,
        added::{Added, Addition, ToAdd},
        ingest::{Settings, silent},
        source::Source,
    },
    error::Result,
    rng::Rng,
};

/// A folder with files, and a home in it.
struct Bench {
    folder: TempDir,
    library: Library,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let library = Library::new(&folder.path().join("home"));
        Self { folder, library }
    }

    fn home(&self) -> PathBuf {
        self.path("home")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn addition(&self, name: &str, to_add: &ToAdd) -> Result<Addition> {
        self.library.addition(name, to_add, &mut silent)
    }

    /// Adds a file, a folder or a pattern of this bench.
    fn add(&self, path: &str, name: &str) -> Result<Added> {
        let added = self.addition(name, &to_add(self.path(path)))?.added;
        self.library.add(name, &added).unwrap();
        Ok(added)
    }

    fn source(&self, name: &str) -> Result<Source> {
        self.library.source(name, &mut |_, _| {})
    }

    /// The corpus of bytes that a name means, made in memory.
    fn bytes_of(&self, name: &str) -> Arc<Corpus> {
        let source = self.source(name).unwrap();
        Corpus::open(&self.home(), &source, &Tokenizer::Byte).unwrap()
    }

    /// The three parts of a name as text.
    fn parts(&self, name: &str) -> [String; 3] {
        parts(&self.bytes_of(name))
    }
}

fn to_add(path: PathBuf) -> ToAdd {
    ToAdd {
        path,
        ..ToAdd::default()
    }
}

/// Train, test and validation of a corpus of bytes, as text.
fn parts(corpus: &Corpus) -> [String; 3] {
    [corpus.train(), corpus.locked_test(), corpus.validation()]
        .map(|ids| Tokenizer::Byte.decode(ids))
}

/// Settings with which even small files are made on the disk, in small steps.
fn on_disk() -> Settings {
    Settings {
        in_memory_bytes: 0,
        chunk_bytes: 700,
        save_bytes: 3000,
        longest_bytes: 1 << 20,
        threads: 3,
    }
}

/// Documents of one to four lines, some with unusual characters, no two the same.
fn documents(n: usize) -> Vec<String> {
    let words = [
        "river",
        "stone",
        "naïve",
        "東京",
        "🙂",
        "a",
        "\"quoted\"",
        "back\\slash",
        "the",
    ];
    let mut rng = Rng::named(7, "documents");
    let mut line = || -> String {
        let n = 3 + rng.below(9);
        let words: Vec<&str> = (0..n)
            .map(|_| words[rng.below(words.len() as u64) as usize])
            .collect();
        words.join(" ")
    };
    (0..n)
        .map(|i| {
            let lines: Vec<String> = (0..1 + i % 4).map(|_| line()).collect();
            format!("{i}. {}", lines.join("\n"))
        })
        .collect()
}

/// The documents as one text.
fn text(n: usize) -> String {
    documents(n).join("\n\n")
}

/// The documents as JSON lines.
fn jsonl(documents: &[String]) -> String {
    let row =
        |text: &String| serde_json::json!({ "id": 1, "text": text, "more": [{}] }).to_string();
    documents.iter().map(row).map(|row| row + "\n").collect()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// Every file under a folder and its bytes.
fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => all.push((path.clone(), fs::read(&path).unwrap())),
            }
        }
    }
    all.sort();
    all
}
