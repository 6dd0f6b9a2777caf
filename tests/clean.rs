//! Cleaned corpora: planted duplicates and planted validation text are found and nothing else is,
//! documents stay in their parts, and what is made is whole, repeatable and can be trained on.

mod clean {
    mod against;
    mod commands;
    mod parts;
    mod recall;
    mod undisturbed;
}

use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;
use windtunnel::{
    data::{
        Corpus, Library, Tokenizer,
        added::ToAdd,
        clean::{Cleaning, Job, NEAR, Record, clean as run_clean},
        ingest::{Settings, silent},
        synth::{GRAMMARS, generate},
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Adds documents as rows, which are split by content.
    fn add_rows(&self, name: &str, documents: &[String]) {
        let row = |text: &String| serde_json::json!({ "text": text }).to_string() + "\n";
        let rows: String = documents.iter().map(row).collect();
        self.add_file(name, &format!("{name}.jsonl"), &rows);
    }

    fn add_file(&self, name: &str, file: &str, text: &str) {
        self.write(file, text);
        let to_add = ToAdd {
            path: self.path(file),
            ..ToAdd::default()
        };
        let addition = self.library.addition(name, &to_add, &mut silent).unwrap();
        self.library.add(name, &addition.added).unwrap();
    }

    fn clean_with(
        &self,
        (source, name): (&str, &str),
        cleaning: &Cleaning,
        settings: &Settings,
    ) -> Result<Record> {
        let source = self.library.source(source, &mut |_, _| {})?;
        let job = Job {
            source: &source,
            name,
            cleaning,
            against: &[],
            settings,
        };
        run_clean(&self.library, &job, &mut silent)
    }

    fn clean(&self, source: &str, name: &str, cleaning: &Cleaning) -> Record {
        let settings = Settings::default();
        self.clean_with((source, name), cleaning, &settings)
            .unwrap()
    }

    /// The documents of train, test and validation, without the blank lines at their ends.
    fn parts(&self, name: &str) -> [Vec<String>; 3] {
        let source = self.library.source(name, &mut |_, _| {}).unwrap();
        let corpus = Corpus::open(&self.path("home"), &source, &Tokenizer::Byte).unwrap();
        use windtunnel::data::split::Part;
        [Part::Train, Part::Test, Part::Validation].map(|part| {
            let mut starts: Vec<usize> = corpus.documents(part).collect();
            starts.push(corpus.part(part).len());
            let text =
                |ends: &[usize]| Tokenizer::Byte.decode(&corpus.part(part)[ends[0]..ends[1]]);
            starts
                .windows(2)
                .map(|ends| text(ends).trim_end_matches('\n').to_string())
                .collect()
        })
    }

    /// All documents of a corpus, in no order.
    fn documents(&self, name: &str) -> BTreeSet<String> {
        self.parts(name).into_iter().flatten().collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command
            .args(args)
            .args(["--json", "--home", "home", "--device", "cpu"])
            .env_remove("WINDTUNNEL_MIRROR")
            .current_dir(self.folder.path());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn succeed(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What is said on stderr of bad input.
    fn refuse(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Every file under a folder, with its bytes.
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

/// Documents of a built-in corpus.
fn built_in(name: &str, bytes: usize) -> Vec<String> {
    let grammar = GRAMMARS.iter().find(|grammar| grammar.name == name);
    let text = generate(grammar.unwrap(), bytes, 11).unwrap();
    let documents = text.split("\n\n").map(str::to_string);
    documents.filter(|text| !text.is_empty()).collect()
}

/// Speeches of 8 to 60 made-up words, in verses, each under a speaker's name: no two alike.
fn speeches(n: usize) -> Vec<String> {
    let mut rng = Rng::named(21, "speeches");
    let syllables = [
        "ba", "ne", "lor", "tis", "qua", "mi", "rend", "o", "shu", "vel", "ka", "dun",
    ];
    let word = |rng: &mut Rng| -> String {
        let n = 1 + rng.below(3);
        (0..n).map(|_| syllables[rng.below(12) as usize]).collect()
    };
    let mut speech = || {
        let mut text = format!("{}:\n", word(&mut rng).to_uppercase());
        for i in 0..8 + rng.below(53) {
            text += &word(&mut rng);
            text += if i % 8 == 7 { ",\n" } else { " " };
        }
        text.trim_end().to_string()
    };
    (0..n).map(|_| speech()).collect()
}

/// The text with so many of each hundred words replaced, left out, or followed by another.
fn edited(text: &str, percent: usize, vocabulary: &[String], rng: &mut Rng) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_string).collect();
    let n_words = text.split_whitespace().count();
    let n_edits = (n_words * percent).div_ceil(100).max(1);
    let mut places: Vec<usize> = (0..words.len()).collect();
    for i in 0..n_edits.min(words.len()) {
        let k = i + rng.below((places.len() - i) as u64) as usize;
        places.swap(i, k);
        let other = &vocabulary[rng.below(vocabulary.len() as u64) as usize];
        let word = &mut words[places[i]];
        match rng.below(3) {
            0 => *word = other.clone(),
            1 => word.clear(),
            _ => *word = format!("{word} {other}"),
        }
    }
    words.join(" ")
}

fn both() -> Cleaning {
    Cleaning {
        exact: true,
        near: Some(NEAR),
        shared_runs: 1,
        ..Cleaning::default()
    }
}
