//! A snapshot: every file that a study reads, as it was when the study was handed in. What was submitted
//! is what runs, whatever happens to the files after.
//!
//! Files keep their places relative to each other, so the study's text stays as it was written, and with
//! it the contract's digest. What a study names lies inside the project: this is where a path that
//! leads out of it is refused, before anything there is looked at.

use super::{Settings, StudyText};
use crate::{
    data::TokenizerChoice,
    digest::sha256_pieces,
    error::{Error, Result},
    files,
    recipe::Recipe,
    study::{
        inside::check_paths,
        proposal::{Proposal, Study},
    },
    toml_file::Source,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

/// Files of a project that a study reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// By path inside the project.
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// The study among them.
    pub file: String,
}

/// A tokenizer is at most so large; what is larger is none.
const MOST_BYTES: u64 = 256 << 20;
/// Files that a tokenizer's folder may hold, as other programs write them.
const TOKENIZER_FILES: [&str; 4] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
];

impl Snapshot {
    /// Reads a study's recipe, campaign and tokenizers. Errors when a path leads out of the project, or
    /// a file can't be read; the study is not checked further.
    pub fn take(settings: &Settings, study: &StudyText) -> Result<Self> {
        let source = study.source();
        let proposal: Proposal = source.parse()?;
        let root = &settings.root;
        let folder = inside(root, &study.folder)
            .map_err(|why| Error::input(study.folder.display().to_string(), why, REMEDY))?;
        let mut snapshot = Self {
            files: BTreeMap::new(),
            file: folder.join(&study.file).display().to_string(),
        };
        let text = study.text.clone().into_bytes();
        snapshot.files.insert(folder.join(&study.file), text);
        let base = named(root, &study.folder, &proposal.base).map_err(|why| {
            Error::input(source.place_of(&["base"]), format!("base: {why}"), REMEDY)
        })?;
        snapshot.add(root, &base).map_err(|e| Error {
            place: source.place_of(&["base"]),
            problem: format!("base: {}: {}", e.place, e.problem),
            ..e
        })?;
        let campaign = folder.join("campaign.toml");
        if root.join(&campaign).is_file() {
            snapshot.add(root, &campaign)?;
        }
        for (name, place) in tokenizers(&proposal, &source, &root.join(&base))? {
            snapshot
                .add_tokenizer(root, &name)
                .map_err(|why| Error::input(place, format!("data.tokenizer: {why}"), REMEDY))?;
        }
        // What a ladder or a space sets, too.
        check_paths(root, &study.folder, &proposal).map_err(|e| Error {
            place: study.file.clone(),
            problem: format!("{}: {}", e.place, e.problem),
            ..e
        })?;
        Ok(snapshot)
    }

    /// The study, checked, with errors that name the project's files.
    pub fn load(settings: &Settings, study: &StudyText, rung: Option<usize>) -> Result<Study> {
        Self::take(settings, study)?;
        Study::of(study.source(), &[], rung)
    }

    /// Of all files with their places.
    pub fn digest(&self) -> String {
        let pieces = self.files.iter().flat_map(|(path, bytes)| {
            let head = format!("{}\0{}\0", path.display(), bytes.len());
            [head.into_bytes(), bytes.clone()]
        });
        let pieces: Vec<Vec<u8>> = pieces.collect();
        sha256_pieces(pieces.iter().map(Vec::as_slice))
    }

    /// Writes all files into a folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (path, bytes) in &self.files {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)
                    .map_err(|e| Error::io(parent, "create the folder", &e))?;
            }
            files::replace(&path, bytes)?;
        }
        Ok(())
    }

    /// The snapshot that was written into a folder. Errors when a file can't be read.
    pub fn read(folder: &Path, file: &str) -> Result<Self> {
        let mut snapshot = Self {
            files: BTreeMap::new(),
            file: file.into(),
        };
        let mut left = vec![PathBuf::new()];
        while let Some(at) = left.pop() {
            let here = folder.join(&at);
            let entries = fs::read_dir(&here).map_err(|e| Error::io(&here, "read", &e))?;
            for entry in entries {
                let entry = entry.map_err(|e| Error::io(&here, "read", &e))?;
                let path = at.join(entry.file_name());
                match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true => left.push(path),
                    false => snapshot.add(folder, &path)?,
                }
            }
        }
        Ok(snapshot)
    }

    fn add(&mut self, root: &Path, path: &Path) -> Result<()> {
        let there = root.join(path);
        let bytes = fs::read(&there).map_err(|e| Error::io(&there, "read", &e))?;
        self.files.insert(path.into(), bytes);
        Ok(())
    }

    /// A tokenizer's file, or its folder's; nothing for one that the home has under a name. The error is
    /// in words.
    fn add_tokenizer(&mut self, root: &Path, name: &Path) -> std::result::Result<(), String> {
        // The home has it under its digest or name; it stays where it is.
        if !name.exists() && name.components().count() == 1 {
            return Ok(());
        }
        let path = inside(root, name)?;
        let there = root.join(&path);
        let all = match there.is_dir() {
            true => TOKENIZER_FILES.map(|file| path.join(file)).to_vec(),
            false => vec![path],
        };
        for path in all {
            let there = root.join(&path);
            let Ok(about) = fs::metadata(&there) else {
                continue;
            };
            // A link inside the folder leads where it leads.
            let path = inside(root, &there)?;
            if about.len() > MOST_BYTES {
                return Err(format!("{} is too large for a tokenizer", there.display()));
            }
            self.add(root, &path).map_err(|e| e.problem)?;
        }
        Ok(())
    }
}

const REMEDY: &str = "give a path inside the project's folder (the nearest one from here up with the home or .git in it), as seen from the study's folder, without links that lead out of it";

/// Every tokenizer that a study names, as seen from here, and where.
fn tokenizers(proposal: &Proposal, source: &Source, base: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut named = Vec::new();
    let key = "data.tokenizer";
    let (recipe, _) = Recipe::read(base)?;
    named.push((recipe.data.tokenizer, base.display().to_string()));
    let folder = source.path.parent().unwrap_or(Path::new(""));
    let tables = proposal
        .arms
        .iter()
        .map(|(name, arm)| (vec!["arms", name.as_str(), "set"], &arm.set));
    for (path, set) in tables.chain([(vec!["set"], &proposal.set)]) {
        for (changed, value, _) in source.changes(&path, set) {
            if let (true, toml::Value::String(name)) = (changed == key, value) {
                let choice = TokenizerChoice::from(name).seen_from(folder);
                named.push((choice, source.place_of(&path)));
            }
        }
    }
    let files = named
        .into_iter()
        .filter_map(|(choice, place)| match choice {
            TokenizerChoice::File(name) => Some((PathBuf::from(name), place)),
            TokenizerChoice::BuiltIn(_) => None,
        });
    Ok(files.collect())
}

/// A path that a study's text names, as a path inside the project.
fn named(root: &Path, folder: &Path, name: &str) -> std::result::Result<PathBuf, String> {
    match Path::new(name).is_absolute() {
        true => Err(format!("{name:?} is an absolute path")),
        false => inside(root, &folder.join(name)),
    }
}

/// A path as one inside the project. In words: it leads out, by `..`, or by a link.
fn inside(root: &Path, path: &Path) -> std::result::Result<PathBuf, String> {
    let outside = || {
        format!(
            "{} is outside the project, {}",
            path.display(),
            root.display()
        )
    };
    let absolute = match path.is_absolute() {
        true => path.to_path_buf(),
        false => std::path::absolute(path).map_err(|e| e.to_string())?,
    };
    let plain = lexical(&absolute).ok_or_else(outside)?;
    let inner = plain.strip_prefix(root).map_err(|_| outside())?;
    // What is not there yet leads nowhere.
    match fs::canonicalize(&plain) {
        Ok(real) if !real.starts_with(root) => Err(outside()),
        _ => Ok(inner.to_path_buf()),
    }
}

/// A path without `.` and `..`, by its words alone; none where it leads above its own start.
fn lexical(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match plain.file_name() {
                Some(_) => drop(plain.pop()),
                None => return None,
            },
            part => plain.push(part),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_of_the_project_is_found_out_by_its_words_or_by_its_link() {
        let outer = tempfile::tempdir().unwrap();
        let outer = outer.path().canonicalize().unwrap();
        let root = outer.join("project");
        fs::create_dir_all(root.join("studies")).unwrap();
        fs::write(root.join("recipe.toml"), "").unwrap();
        fs::write(outer.join("secret.toml"), "").unwrap();
        std::os::unix::fs::symlink(outer.join("secret.toml"), root.join("link.toml")).unwrap();
        let studies = root.join("studies");
        let named = |name: &str| named(&root, &studies, name);
        assert_eq!(named("../recipe.toml").unwrap(), Path::new("recipe.toml"));
        assert_eq!(named("./x.toml").unwrap(), Path::new("studies/x.toml"));
        for name in [
            "../../secret.toml",
            "../link.toml",
            "/etc/passwd",
            "../../project/../secret.toml",
            "../../../../../../../../../../etc/passwd",
        ] {
            assert!(named(name).is_err(), "{name}");
        }
    }
}
