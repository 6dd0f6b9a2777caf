//! Where tokenizers are: a `tokenizer.json`, a folder with one or with `vocab.json` and
//! `merges.txt`, or a name in the home (`<home>/tokenizers/NAME.json`).

use super::{
    Bpe,
    bpe::{byte_level, check_merges},
};
use crate::{
    error::{Error, Result, nearest},
    files,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What may be given.
const REMEDY: &str =
    "give a tokenizer.json, or a folder that holds one or vocab.json and merges.txt";

/// Whether a recipe's word is a path, whatever there is on the disk.
pub fn is_path(name: &str) -> bool {
    name.contains(['/', '\\', '.'])
}

/// Whether a tokenizer's file or folder is called `path`.
pub fn holds_tokenizer(path: &Path) -> bool {
    path.is_file() || (path.is_dir() && parts(path).is_ok())
}

/// The file of the home's tokenizer `name`.
pub fn place(home: &Path, name: &str) -> PathBuf {
    home.join("tokenizers").join(format!("{name}.json"))
}

/// Names of the home's tokenizers, in order.
pub fn names(home: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(home.join("tokenizers")) else {
        return Vec::new();
    };
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let file = entry.ok()?.file_name().into_string().ok()?;
        Some(file.strip_suffix(".json")?.to_string())
    };
    let mut names: Vec<String> = entries.filter_map(name).collect();
    names.sort();
    names
}

/// Where the tokenizer is that a recipe calls `name`. Errors when there is none.
pub fn find(home: &Path, name: &str) -> Result<PathBuf> {
    let (path, problem, remedy) = match is_path(name) {
        true => (PathBuf::from(name), "there is no such file or folder", None),
        false => {
            let known = names(home);
            let all = ["byte", "char"].into_iter();
            let all: Vec<&str> = all.chain(known.iter().map(String::as_str)).collect();
            let quoted: Vec<String> = all.iter().map(|name| format!("{name:?}")).collect();
            let list = quoted.join(", ");
            let remedy = match nearest(name, all) {
                Some(near) => format!("did you mean {near:?}? known: {list}, or a path"),
                None => format!("known: {list}; or {REMEDY}, as seen from the recipe's folder"),
            };
            (
                place(home, name),
                "there is no such tokenizer",
                Some(remedy),
            )
        }
    };
    match path.exists() {
        true => Ok(path),
        false => Err(Error::input(
            format!("tokenizer \"{name}\""),
            problem,
            remedy.unwrap_or_else(|| format!("{REMEDY}, as seen from the recipe's folder")),
        )),
    }
}

/// Reads the tokenizer of a file or a folder. Errors name the file, and the line where one is at
/// fault.
pub fn read(path: &Path) -> Result<Bpe> {
    let (file, json) = match parts(path)? {
        Parts::Whole(file) => {
            let json = read_json(&file)?;
            (file, json)
        }
        Parts::Two(vocabulary, merges) => {
            let json = of_two(&vocabulary, &merges)?;
            (vocabulary, json)
        }
    };
    Bpe::new(json)
        .map_err(|(problem, remedy)| Error::input(file.display().to_string(), problem, remedy))
}

/// Writes a tokenizer to the home.
pub fn keep(path: &Path, bpe: &Bpe) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))?;
    files::replace(path, bpe.text().as_bytes())
}

/// The files of one tokenizer.
enum Parts {
    Whole(PathBuf),
    /// The vocabulary and the merges.
    Two(PathBuf, PathBuf),
}

fn parts(path: &Path) -> Result<Parts> {
    if !path.is_dir() {
        return Ok(Parts::Whole(path.into()));
    }
    let whole = path.join("tokenizer.json");
    if whole.is_file() {
        return Ok(Parts::Whole(whole));
    }
    let two = |ending| Some((one(path, "vocab.json")?, one(path, ending)?));
    match two("merges.txt") {
        Some((vocabulary, merges)) => Ok(Parts::Two(vocabulary, merges)),
        None => Err(Error::input(
            path.display().to_string(),
            "the folder has neither tokenizer.json nor vocab.json and merges.txt",
            REMEDY,
        )),
    }
}

/// The file of this name, or the only one with a name before it (`gpt2-vocab.json`).
fn one(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = folder.join(name);
    if plain.is_file() {
        return Some(plain);
    }
    let files = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok());
    let ends = |file: &fs::DirEntry| file.file_name().to_string_lossy().ends_with(name);
    let mut found: Vec<PathBuf> = files.filter(ends).map(|file| file.path()).collect();
    found.pop().filter(|_| found.is_empty())
}

fn read_json(path: &Path) -> Result<Value> {
    files::read_json(path, REMEDY)
}

/// The `tokenizer.json` of a `vocab.json` and a `merges.txt`, as GPT-2's.
fn of_two(vocabulary: &Path, merges: &Path) -> Result<Value> {
    let words = read_json(vocabulary)?;
    if !words.is_object() {
        return Err(Error::input(
            vocabulary.display().to_string(),
            "is not an object of tokens and their ids",
            REMEDY,
        ));
    }
    let bytes = fs::read(merges).map_err(|e| Error::io(merges, "read", &e))?;
    let text = files::utf8(merges, bytes)?;
    let lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with("#version"))
        .collect();
    let pairs: Vec<Value> = lines
        .iter()
        .map(|(_, line)| json!(line.split(' ').collect::<Vec<_>>()))
        .collect();
    let json = byte_level(words, pairs.into());
    check_merges(&json["model"]).map_err(|(idx, problem)| {
        Error::input(
            format!("{}:{}", merges.display(), lines[idx].0 + 1),
            problem,
            format!("use the merges that belong to {}", vocabulary.display()),
        )
    })?;
    Ok(json)
}
