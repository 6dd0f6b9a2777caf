//! Where text comes from: built-in grammars, fetched files, files that a user added.

use super::{fetch, synth};
use crate::{
    digest::sha256,
    error::{Error, Result, nearest},
    files,
};
use serde::{Deserialize, Serialize};
use std::{
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
}

/// A text with its name and how to split it.
#[derive(Debug, Clone)]
pub struct Source {
    pub name: String,
    pub text: String,
    /// SHA-256 of the text.
    pub digest: String,
    pub split: SplitRule,
    pub origin: String,
    pub licence: String,
    /// What every answer in it follows, where it has any: see [`super::answers`].
    pub answers: Option<String>,
}

/// A file that the user added: `<home>/sources/NAME.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Added {
    pub path: PathBuf,
    pub sha256: String,
    /// What every answer in it follows, where it has any: see [`super::answers`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<String>,
    pub split: SplitRule,
}

/// One corpus that a recipe may name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    pub name: String,
    /// "built in", "to fetch", "fetched" or "added".
    pub state: String,
    pub about: String,
    pub licence: String,
}

/// All corpora that names can mean, under one home.
#[derive(Debug, Clone)]
pub struct Library {
    home: PathBuf,
}

const ADDED_SPLIT: SplitRule = SplitRule::Tail {
    validation: 0.1,
    test: 0.05,
};
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
            let here = recipe.place(&self.home).exists();
            listed.push(Listed {
                name: recipe.name,
                state: if here { "fetched" } else { "to fetch" }.into(),
                about: recipe.about,
                licence: recipe.licence,
            });
        }
        for name in self.added()? {
            let added = self.read_added(&name)?;
            listed.push(Listed {
                name,
                state: "added".into(),
                about: added.path.display().to_string(),
                licence: "yours to say".into(),
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
                text,
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
            let path = match fetch::find(&recipe, &self.home)? {
                Some(path) => path,
                None => fetch::fetch(&recipe, &self.home, progress)?,
            };
            let text = read_text(&path)?;
            return Ok(Source {
                name: name.into(),
                digest: recipe.sha256.clone(),
                text,
                split: recipe.split,
                origin: recipe.url,
                licence: recipe.licence,
                answers: None,
            });
        }
        if self.added()?.iter().any(|added| added == name) {
            let added = self.read_added(name)?;
            let text = read_text(&added.path)?;
            let digest = sha256(text.as_bytes());
            if digest != added.sha256 {
                return Err(Error::input(
                    added.path.display().to_string(),
                    format!(
                        "digest mismatch: \"{name}\" was added with SHA-256 {}, the file now has {digest}",
                        added.sha256
                    ),
                    "put the old file back, or add the new one under another name with `windtunnel data add`",
                ));
            }
            return Ok(Source {
                name: name.into(),
                text,
                digest,
                split: added.split,
                answers: added.answers,
                origin: added.path.display().to_string(),
                licence: "yours to say".into(),
            });
        }
        Err(self.unknown(name)?)
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

    /// What adding a text file as a corpus would record. Errors when it can't be one, or the name
    /// is taken; nothing is changed.
    pub fn to_add(&self, name: &str, file: &Path) -> Result<Added> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(Error::input(
                "NAME",
                format!("{name:?} can't be a corpus's name"),
                "use letters, digits, - and _, at most 64",
            ));
        }
        if self.list()?.iter().any(|listed| listed.name == name) {
            return Err(Error::input(
                "NAME",
                format!("\"{name}\" is taken"),
                "choose another name",
            ));
        }
        let path = fs::canonicalize(file).map_err(|e| Error::io(file, "read", &e))?;
        let text = read_text(&path)?;
        super::split::split(&text, &ADDED_SPLIT).map_err(|e| Error {
            place: file.display().to_string(),
            ..e
        })?;
        Ok(Added {
            path,
            sha256: sha256(text.as_bytes()),
            answers: None,
            split: ADDED_SPLIT,
        })
    }

    /// Records a corpus, so that recipes can name it.
    pub fn add(&self, name: &str, added: &Added) -> Result<()> {
        let folder = self.home.join("sources");
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", &e))?;
        let record = toml::to_string(added).expect("a record is plain data");
        files::replace(&folder.join(format!("{name}.toml")), record.as_bytes())
    }

    fn added(&self) -> Result<Vec<String>> {
        let Ok(entries) = fs::read_dir(self.home.join("sources")) else {
            return Ok(Vec::new());
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| {
                Some(
                    entry
                        .ok()?
                        .file_name()
                        .to_str()?
                        .strip_suffix(".toml")?
                        .to_string(),
                )
            })
            .collect();
        names.sort();
        Ok(names)
    }

    fn read_added(&self, name: &str) -> Result<Added> {
        let path = self.home.join("sources").join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).map_err(|e| Error::io(&path, "read", &e))?;
        toml::from_str(&text).map_err(|e| {
            Error::input(
                path.display().to_string(),
                format!("not a record of an added corpus: {}", e.message()),
                "delete this file and add the corpus again with `windtunnel data add`",
            )
        })
    }
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
