//! Where text comes from: built-in grammars, fetched files, files that a user added.

use super::{
    fetch::{self, FetchRecipe},
    ingest::{
        Format, Settings, Stream, Watch,
        decode::Compression,
        scan::{self, Subject},
    },
    split::Part,
    synth,
};
use crate::{
    digest::sha256,
    error::{Error, Result, nearest},
    files,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// How a corpus's documents are shared out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SplitRule {
    /// In order: train, then test, then validation at the end; fractions of the text.
    Tail { validation: f64, test: f64 },
    /// By each document's own digest, so that copies never straddle; fractions of the documents.
    Hash { validation: f64, test: f64 },
    /// By the words train, val and test in the names of the files; where none is for test, this
    /// fraction of the training files is, of texts and tokens the last one, of rows by content.
    Named { test: f64 },
}

/// What a corpus's documents are read from.
#[derive(Debug, Clone)]
pub enum Text {
    /// One text, with blank lines between documents.
    Whole(String),
    /// Files that are read as a stream.
    Files(Stream),
}

impl Text {
    /// The text, if it is one in memory.
    pub fn whole(&self) -> Option<&str> {
        match self {
            Self::Whole(text) => Some(text),
            Self::Files(_) => None,
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Whole(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Whole(text.into())
    }
}

/// A text with its name and how to split it.
#[derive(Debug, Clone)]
pub struct Source {
    pub name: String,
    pub text: Text,
    /// SHA-256 of the text; of several files, a digest of theirs.
    pub digest: String,
    pub split: SplitRule,
    pub origin: String,
    pub licence: String,
    /// What every answer in it follows, where it has any: see [`super::answers`].
    pub answers: Option<String>,
}

impl Source {
    /// Every character of the text once, in code-point order. Errors when its files can't be read, or
    /// hold tokens.
    pub fn characters(
        &self,
        home: &Path,
        settings: &Settings,
        watch: &mut Watch,
    ) -> Result<String> {
        let stream = match &self.text {
            Text::Whole(text) => {
                let all: BTreeSet<char> = text.chars().collect();
                return Ok(all.into_iter().collect());
            }
            Text::Files(stream) => stream,
        };
        if let (Format::Tokens, Some(tokenizer)) = (stream.format, &stream.tokenizer) {
            return Err(Error::input(
                "data.tokenizer",
                format!(
                    "the corpus \"{}\" holds tokens, not characters; they were made by the tokenizer \"{}\"",
                    self.name, tokenizer.name
                ),
                format!("set data.tokenizer to \"{}\"", tokenizer.name),
            ));
        }
        let subject = Subject {
            name: &self.name,
            stream,
            rule: &self.split,
            tokenizer: None,
        };
        Ok(scan::kept(home, &subject, settings, watch)?.characters)
    }

    /// Hands every document of the training part to `take`, in order. Errors as [`Source::characters`].
    pub fn training_documents(
        &self,
        home: &Path,
        watch: &mut Watch,
        take: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let settings = Settings::default();
        let reading = self.reading(home, &settings, watch)?;
        reading.documents(watch, &mut |document, part| match part {
            Part::Train => take(&document),
            Part::Test | Part::Validation => Ok(()),
        })
    }
}

/// One corpus that a recipe may name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    pub name: String,
    /// "built in", "to fetch", "fetched", "added" or "cleaned".
    pub state: String,
    pub about: String,
    pub licence: String,
}

/// All corpora that names can mean, under one home.
#[derive(Debug, Clone)]
pub struct Library {
    pub(super) home: PathBuf,
}

const BUILT_IN_SPLIT: SplitRule = SplitRule::Hash {
    validation: 0.08,
    test: 0.04,
};

impl Library {
    pub fn new(home: &Path) -> Self {
        Self { home: home.into() }
    }

    /// Every corpus, built-in ones first.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut listed: Vec<Listed> = synth::GRAMMARS
            .iter()
            .map(|grammar| Listed {
                name: grammar.name.into(),
                state: "built in".into(),
                about: grammar.about.into(),
                licence: "made by windtunnel, free to use".into(),
            })
            .collect();
        for recipe in fetch::recipes()? {
            let here = recipe.is_here(&self.home);
            let pins = match (recipe.pins(), recipe.files.len()) {
                (0, _) => String::new(),
                (n, all) => {
                    format!("; pins on first use (no published digest of {n} of its {all} files)")
                }
            };
            listed.push(Listed {
                state: if here { "fetched" } else { "to fetch" }.into(),
                about: format!("{}{pins}", recipe.about),
                name: recipe.name,
                licence: recipe.licence,
            });
        }
        for name in self.added()? {
            let added = self.read_added(&name)?;
            let is_cleaned = added.cleaned.is_some();
            listed.push(Listed {
                name,
                state: if is_cleaned { "cleaned" } else { "added" }.into(),
                about: added.about(),
                licence: added.licence().into(),
            });
        }
        Ok(listed)
    }

    /// Brings a text that was read from the mirror into the home, so that it is there without it.
    pub fn keep(&self, name: &str) -> Result<()> {
        for recipe in fetch::recipes()?.iter().filter(|r| r.name == name) {
            fetch::fetch(recipe, &self.home, &mut |_, _| {})?;
        }
        Ok(())
    }

    /// The text called `name`: generated, read, or fetched on first use. Errors when there is none,
    /// or when a file is not the one it was.
    pub fn source(&self, name: &str, progress: &mut dyn FnMut(u64, u64)) -> Result<Source> {
        if let Some(grammar) = synth::GRAMMARS.iter().find(|grammar| grammar.name == name) {
            let text = synth::generate(grammar, synth::DEFAULT_BYTES, synth::DEFAULT_SEED)?;
            return Ok(Source {
                name: name.into(),
                digest: sha256(text.as_bytes()),
                text: text.into(),
                split: BUILT_IN_SPLIT,
                origin: grammar.origin(),
                licence: "made by windtunnel, free to use".into(),
                answers: grammar.answers.map(Into::into),
            });
        }
        if let Some(recipe) = fetch::recipes()?
            .into_iter()
            .find(|recipe| recipe.name == name)
        {
            return self.fetched(recipe, progress);
        }
        if self.added()?.iter().any(|added| added == name) {
            return self.added_source(name);
        }
        Err(self.unknown(name)?)
    }

    fn fetched(&self, recipe: FetchRecipe, progress: &mut dyn FnMut(u64, u64)) -> Result<Source> {
        let files = match fetch::find(&recipe, &self.home)? {
            Some(files) => files,
            None => fetch::fetch(&recipe, &self.home, progress)?,
        };
        let stream = Stream {
            format: recipe.format,
            field: recipe.field,
            tokenizer: None,
            files,
        };
        let (text, digest) = content(stream)?;
        Ok(Source {
            name: recipe.name,
            text,
            digest,
            split: recipe.split,
            origin: recipe
                .files
                .into_iter()
                .map(|file| file.url)
                .collect::<Vec<_>>()
                .join(" "),
            licence: recipe.licence,
            answers: None,
        })
    }

    /// Errors when no corpus is called `name`; opens nothing.
    pub fn check(&self, name: &str) -> Result<()> {
        match self.list()?.iter().any(|listed| listed.name == name) {
            true => Ok(()),
            false => Err(self.unknown(name)?),
        }
    }

    fn unknown(&self, name: &str) -> Result<Error> {
        let known: Vec<String> = self.list()?.into_iter().map(|listed| listed.name).collect();
        let list = known.join(", ");
        let remedy = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"? known: {list}"),
            None => format!("known: {list}; `windtunnel data add FILE NAME` adds one"),
        };
        Ok(Error::input(
            format!("corpus \"{name}\""),
            "there is no such corpus",
            remedy,
        ))
    }
}

/// What files hold: one small text in memory, all else as a stream; and its digest.
pub(super) fn content(stream: Stream) -> Result<(Text, String)> {
    let digest = stream.digest();
    if let (Format::Text, [file]) = (stream.format, &stream.files[..])
        && Compression::of(&file.path) == Compression::None
        && file.bytes <= Settings::default().in_memory_bytes
    {
        return Ok((Text::Whole(read_text(&file.path)?), digest));
    }
    Ok((Text::Files(stream), digest))
}

/// A file's text. Errors when it is empty or not UTF-8, naming the place.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
    if bytes.is_empty() {
        return Err(Error::input(
            path.display().to_string(),
            "the file is empty",
            "use a file with text in it",
        ));
    }
    files::utf8(path, bytes)
}
