//! Corpora that a user added: `<home>/sources/NAME.toml` says where their files are and what they were.

use super::{
    answers,
    ingest::{
        Format, Settings, SourceFile, Stream, TokenizerOf, Watch,
        decode::Compression,
        files as found_files,
        scan::{self, Scan, Subject},
        silent,
    },
    source::{Library, Source, SplitRule, content, read_text},
    split,
    tokenizer::Tokenizer,
};
use crate::{
    digest::sha256,
    error::{Error, Result},
    files,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is recorded of an added corpus. One small text has but the first three.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Added {
    /// A file, a folder or a pattern.
    pub path: PathBuf,
    /// Of one plain text the file's, else of all files and how they are read.
    pub sha256: String,
    pub split: SplitRule,
    /// What every answer in it follows, where it has any: see [`super::answers`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerOf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SourceFile>,
    /// Of a corpus that cleaning made; its paths are seen from the home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleaned: Option<CleanedOf>,
}

/// What a cleaned corpus was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanedOf {
    pub corpus: String,
    pub licence: String,
    /// Documents that it had.
    pub documents: u64,
    pub kept: u64,
}

impl Added {
    /// Whose licence holds: that of what was cleaned, or one that we can't know.
    pub fn licence(&self) -> &str {
        let cleaned = self.cleaned.as_ref();
        cleaned.map_or("yours to say", |of| &of.licence)
    }

    /// One line about it.
    pub fn about(&self) -> String {
        let path = self.path.display();
        if let Some(of) = &self.cleaned {
            return format!(
                "\"{}\" cleaned: {} of {} documents",
                of.corpus, of.kept, of.documents
            );
        }
        match (self.format, self.files.len()) {
            (None, _) => path.to_string(),
            (Some(format), 1) => format!("{path}, {}", format.name()),
            (Some(format), n) => format!("{path}, {n} files of {}", format.name()),
        }
    }
}

/// What shall be added, and how it is to be read.
#[derive(Debug, Clone, Default)]
pub struct ToAdd {
    /// A file, a folder or a pattern.
    pub path: PathBuf,
    /// Where the names of the files do not say it.
    pub format: Option<Format>,
    /// The field or column with the text; `text` if not given.
    pub field: Option<String>,
    /// What token files were made with, and its name.
    pub tokenizer: Option<(String, Tokenizer)>,
    /// Fraction for validation; a tenth if not given.
    pub validation: Option<f64>,
    /// Fraction for the locked test part; a twentieth if not given.
    pub test: Option<f64>,
    /// What its answers follow; without it the corpus has none.
    pub answers: Option<String>,
}

impl ToAdd {
    fn stream(&self, format: Format, files: Vec<SourceFile>) -> Stream {
        let tokenizer = self.tokenizer.as_ref();
        Stream {
            format,
            field: match format {
                Format::Jsonl | Format::Parquet => {
                    self.field.clone().unwrap_or_else(|| "text".into())
                }
                Format::Text | Format::Tokens => String::new(),
            },
            tokenizer: tokenizer.map(|(name, tokenizer)| TokenizerOf {
                name: name.clone(),
                digest: tokenizer.digest(),
            }),
            files,
        }
    }
}

/// A corpus that can be added.
#[derive(Debug, Clone)]
pub struct Addition {
    pub added: Added,
    /// What its files were found to hold; none of one small text.
    pub scan: Option<Scan>,
    /// Files of the folder that are no part of it.
    pub left_out: Vec<PathBuf>,
}

const VALIDATION: f64 = 0.1;
const TEST: f64 = 0.05;

impl Library {
    /// What adding a text file as a corpus would record. Errors when it can't be one, or the name
    /// is taken; nothing is changed.
    pub fn to_add(&self, name: &str, file: &Path) -> Result<Added> {
        let to_add = ToAdd {
            path: file.into(),
            ..ToAdd::default()
        };
        Ok(self.addition(name, &to_add, &mut silent)?.added)
    }

    /// The same of files of any form, which are read through. Errors at the first thing in them that
    /// can't be used.
    pub fn addition(&self, name: &str, to_add: &ToAdd, watch: &mut Watch) -> Result<Addition> {
        self.check_new(name)?;
        let given = to_add.path.display().to_string();
        let path = found_files::absolute(&to_add.path)?;
        let found = found_files::find(&path, to_add.format).map_err(|e| {
            // As the user wrote it.
            let place = e.place.replace(&path.display().to_string(), &given);
            Error { place, ..e }
        })?;
        check_options(found.format, to_add)?;
        let settings = Settings::default();
        if let (Format::Text, [file]) = (found.format, &found.files[..])
            && Compression::of(file) == Compression::None
            && found_files::facts(file)?.0 <= settings.in_memory_bytes
        {
            return Ok(Addition {
                added: one_text(&given, &path, file, to_add)?,
                scan: None,
                left_out: found.left_out,
            });
        }
        let stream = to_add.stream(
            found.format,
            found_files::describe(name, &found.files, watch)?,
        );
        let split = rule(&stream, to_add);
        let subject = Subject {
            name,
            stream: &stream,
            rule: &split,
            tokenizer: to_add.tokenizer.as_ref().map(|(_, tokenizer)| tokenizer),
        };
        let scan = scan::scan(&subject, &settings, watch)?;
        Ok(Addition {
            added: Added {
                path,
                sha256: stream.digest(),
                split,
                answers: to_add.answers.clone(),
                format: Some(stream.format),
                field: stream.field,
                tokenizer: stream.tokenizer,
                files: stream.files,
                cleaned: None,
            },
            scan: Some(scan),
            left_out: found.left_out,
        })
    }

    /// Records a corpus, so that recipes can name it.
    pub fn add(&self, name: &str, added: &Added) -> Result<()> {
        let folder = self.home.join("sources");
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", &e))?;
        let record = toml::to_string(added).expect("a record is plain data");
        files::replace(&folder.join(format!("{name}.toml")), record.as_bytes())
    }

    /// Records what a scan found, so that large files are not read again for it.
    pub fn keep_scan(&self, name: &str, addition: &Addition) -> Result<()> {
        let (Some(scan), Some(stream)) = (&addition.scan, stream(&addition.added)) else {
            return Ok(());
        };
        if scan.size() <= Settings::default().in_memory_bytes {
            return Ok(());
        }
        let subject = Subject {
            name,
            stream: &stream,
            rule: &addition.added.split,
            tokenizer: None,
        };
        scan::keep(&self.home, &subject, scan)
    }

    /// Errors when a corpus can't have this name.
    pub fn check_new(&self, name: &str) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(Error::input(
                "NAME",
                format!("{name:?} can't be a corpus's name"),
                "use letters, digits, - and _, at most 64",
            ));
        }
        match self.list()?.iter().any(|listed| listed.name == name) {
            false => Ok(()),
            true => Err(Error::input(
                "NAME",
                format!("\"{name}\" is taken"),
                "choose another name",
            )),
        }
    }

    /// The names of added corpora, in order.
    pub(super) fn added(&self) -> Result<Vec<String>> {
        let Ok(entries) = fs::read_dir(self.home.join("sources")) else {
            return Ok(Vec::new());
        };
        let name = |entry: std::io::Result<fs::DirEntry>| {
            let file = entry.ok()?.file_name();
            Some(file.to_str()?.strip_suffix(".toml")?.to_string())
        };
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    pub(super) fn read_added(&self, name: &str) -> Result<Added> {
        let path = self.home.join("sources").join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).map_err(|e| Error::io(&path, "read", &e))?;
        let added: Added = toml::from_str(&text).map_err(|e| {
            Error::input(
                path.display().to_string(),
                format!("not a record of an added corpus: {}", e.message()),
                "delete this file and add the corpus again with `windtunnel data add`",
            )
        })?;
        Ok(match added.cleaned {
            None => added,
            Some(_) => self.seen_from_here(added),
        })
    }

    /// The paths of a record that are seen from the home.
    fn seen_from_here(&self, mut added: Added) -> Added {
        let files = added.files.iter_mut().map(|file| &mut file.path);
        for path in files.chain([&mut added.path]) {
            *path = self.home.join(&*path);
        }
        added
    }

    /// The added corpus of this name. Errors when its files are not the ones that they were.
    pub(super) fn added_source(&self, name: &str) -> Result<Source> {
        let added = self.read_added(name)?;
        let origin = match &added.cleaned {
            None => added.path.display().to_string(),
            Some(of) => format!("\"{}\" cleaned, {}", of.corpus, added.path.display()),
        };
        let licence = added.licence().to_string();
        let (text, digest) = match stream(&added) {
            Some(stream) => {
                let found = found_files::find(&added.path, Some(stream.format));
                // A file that is gone is named below.
                let found = match found {
                    Err(_) if !stream.files.iter().all(|file| file.path.exists()) => Vec::new(),
                    found => found?.files,
                };
                found_files::check(name, &stream.files, &found)?;
                content(stream)?
            }
            None => {
                let text = read_text(&added.path)?;
                let digest = sha256(text.as_bytes());
                (text.into(), digest)
            }
        };
        if digest != added.sha256 {
            return Err(Error::input(
                origin,
                format!(
                    "digest mismatch: \"{name}\" was added with SHA-256 {}, the file now has {digest}",
                    added.sha256
                ),
                "put the old file back, or add the new one under another name with `windtunnel data add`",
            ));
        }
        Ok(Source {
            name: name.into(),
            text,
            digest,
            split: added.split,
            origin,
            licence,
            answers: added.answers.clone(),
        })
    }
}

/// The files of an added corpus, unless it is one small text.
fn stream(added: &Added) -> Option<Stream> {
    Some(Stream {
        format: added.format?,
        field: added.field.clone(),
        tokenizer: added.tokenizer.clone(),
        files: added.files.clone(),
    })
}

fn one_text(given: &str, path: &Path, file: &Path, to_add: &ToAdd) -> Result<Added> {
    let text = read_text(file)?;
    let split = tail(to_add);
    split::split(&text, &split).map_err(|e| Error {
        place: given.into(),
        ..e
    })?;
    Ok(Added {
        // A folder or a pattern is no text: the one file of it is.
        path: match path.is_file() {
            true => path.into(),
            false => file.into(),
        },
        sha256: sha256(text.as_bytes()),
        split,
        answers: to_add.answers.clone(),
        format: None,
        field: String::new(),
        tokenizer: None,
        files: Vec::new(),
        cleaned: None,
    })
}

fn tail(to_add: &ToAdd) -> SplitRule {
    SplitRule::Tail {
        validation: to_add.validation.unwrap_or(VALIDATION),
        test: to_add.test.unwrap_or(TEST),
    }
}

/// By the files' names where they say it; else texts and tokens by place, rows by content.
fn rule(stream: &Stream, to_add: &ToAdd) -> SplitRule {
    let test = to_add.test.unwrap_or(TEST);
    match stream.format {
        _ if stream.is_shared_out() => SplitRule::Named { test },
        Format::Text | Format::Tokens => tail(to_add),
        Format::Jsonl | Format::Parquet => SplitRule::Hash {
            validation: to_add.validation.unwrap_or(VALIDATION),
            test,
        },
    }
}

/// Errors at an option that means nothing for such files.
fn check_options(format: Format, to_add: &ToAdd) -> Result<()> {
    let refused =
        |option: &str, problem: String, remedy: &str| Err(Error::input(option, problem, remedy));
    let [validation, test] = [
        to_add.validation.unwrap_or(VALIDATION),
        to_add.test.unwrap_or(TEST),
    ];
    let is_share = |share: f64| share > 0.0 && share < 1.0;
    if !is_share(validation) || !is_share(test) || validation + test >= 1.0 {
        return refused(
            "--validation, --test",
            format!("{validation} and {test} leave no three parts"),
            "use fractions above 0 that add up to less than 1",
        );
    }
    if let Some(prefix) = &to_add.answers {
        answers::check("--answers", prefix)?;
    }
    match format {
        Format::Tokens if to_add.answers.is_some() => refused(
            "--answers",
            "files of tokens have no text in which answers could be marked".into(),
            "leave --answers out, or add the text itself",
        ),
        Format::Text | Format::Tokens if to_add.field.is_some() => refused(
            "--field",
            format!("files of {} have no fields", format.name()),
            "leave --field out, or say what is in the files with --format",
        ),
        Format::Tokens => match &to_add.tokenizer {
            Some((_, Tokenizer::Char { .. })) => refused(
                "--tokenizer",
                "\"char\" makes its ids from a text, so that files of tokens can't name it".into(),
                "add the text itself, or give the path of a tokenizer.json",
            ),
            Some(_) => Ok(()),
            None => refused(
                "--tokenizer",
                "files of tokens mean nothing without their tokenizer".into(),
                "name the one that made them: a name that `windtunnel tokenizer list` gives, or the path of a tokenizer.json",
            ),
        },
        _ if to_add.tokenizer.is_some() => refused(
            "--tokenizer",
            format!(
                "files of {} are text; a recipe says which tokenizer cuts it",
                format.name()
            ),
            "leave --tokenizer out",
        ),
        _ => Ok(()),
    }
}
