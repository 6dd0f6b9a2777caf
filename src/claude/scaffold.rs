//! Files for an idea: a study, the recipe that it needs, and for an idea that needs code a variant's
//! skeleton with its test. All of them are written, or none.

use super::{
    draft::{Change, Draft, DraftRecipe, RECIPES, STUDIES, VARIANT, seen_from},
    inside::{check_changes, check_paths, inside},
    written,
};
use crate::{
    data::TokenizerChoice,
    error::{Error, Result},
    files,
    model::variants,
    recipe::Recipe,
    study::proposal::Study,
    toml_file::{Place, Places, Source},
};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What was written, as seen from the project's folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Written {
    pub study: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<PathBuf>,
    /// The command to go on with.
    pub next: String,
}

/// A file to be, as seen from the project's folder.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFile {
    pub path: PathBuf,
    pub text: String,
    /// Whether there is one already, whose text this one has with something added.
    pub is_extended: bool,
}

const VARIANTS: &str = "src/model/variants";

/// Writes a draft's study into a project, with its recipe and its variant. Errors, with nothing changed,
/// when one of the files is there, a path leads out of the project, or the study would be refused.
pub fn write(root: &Path, draft: &Draft, proposer: &str) -> Result<Written> {
    draft.check()?;
    let study = study_file(draft);
    let recipe = draft.recipe.as_ref().map(|_| draft.starts_from());
    let mut new = Vec::new();
    if let Some(recipe) = &draft.recipe {
        new.push(NewFile::new(
            draft.starts_from(),
            recipe_text(root, draft, recipe)?,
        ));
    }
    let text = draft.study_text(proposer, Path::new(STUDIES))?;
    new.push(NewFile::new(study.clone(), text));
    let mut next = format!("windtunnel plan {}", study.display());
    let variant = match &draft.variant {
        Some(variant) => {
            let files = variant_files(root, &variant.name, Some(&variant.idea))?;
            let path = files[0].path.clone();
            new.extend(files);
            next = format!(
                "write the idea into {}, cargo test --release --lib variants::{}, cargo build --release, then {next}",
                path.display(),
                variant.name
            );
            Some(path)
        }
        None => None,
    };
    let made = Made::write(root, &new)?;
    would_load(root, draft)?;
    made.keep();
    Ok(Written {
        study,
        recipe,
        variant,
        next,
    })
}

/// Errors when the study, whose recipe is there, would be refused for what it says. A variant that no
/// binary knows yet is taken for one that this binary has.
fn would_load(root: &Path, draft: &Draft) -> Result<()> {
    let mut known = draft.clone();
    if let Some(variant) = known.variant.take() {
        let sets = known.arms.iter_mut().flat_map(|arm| &mut arm.set);
        sets.for_each(|change| change.stand_in(&variant.name));
    }
    let proposal = known.proposal("draft", Path::new(STUDIES))?;
    check_paths(root, &root.join(STUDIES), &proposal)?;
    let source = Source {
        path: root.join(study_file(draft)),
        text: known.study_text("draft", Path::new(STUDIES))?,
    };
    Study::of(source, &[], None).map(|_| ())
}

fn study_file(draft: &Draft) -> PathBuf {
    Path::new(STUDIES).join(format!("{}.toml", draft.name))
}

impl Change {
    /// Names the first variant that is there in place of one that is not yet.
    fn stand_in(&mut self, name: &str) {
        use super::draft::Setting::Words;
        if self.key == VARIANT && self.value == Words(name.into()) {
            self.value = Words(variants::NAMES[0].into());
        }
    }
}

/// The text of a draft's own recipe: the base with its changes. Errors name the change.
fn recipe_text(root: &Path, draft: &Draft, new: &DraftRecipe) -> Result<String> {
    let base = inside(root, Path::new(&draft.base)).map_err(|e| Error {
        place: "base".into(),
        ..e
    })?;
    let (recipe, place) = Recipe::read(&base)?;
    let mut places = Places::new(place);
    let mut changes = Vec::new();
    for (idx, change) in new.set.iter().enumerate() {
        let name = format!("recipe.set[{idx}]");
        let set = toml::Table::from_iter([(change.key.clone(), change.value.toml())]);
        check_changes(root, root, (&name, &set))?;
        changes.push((
            change.key.clone(),
            change.value.toml(),
            Place::text(name, &change.key),
        ));
    }
    let changes = crate::recipe::seen_from(changes, root);
    let mut recipe = recipe.patched(&changes, &mut places)?;
    recipe.check(&places)?;
    if let TokenizerChoice::File(path) = &recipe.data.tokenizer
        && let Ok(inner) = Path::new(path).strip_prefix(root)
    {
        let there = inside(root, inner)?;
        let inner = there.strip_prefix(root).unwrap_or(&there);
        recipe.data.tokenizer = TokenizerChoice::File(seen_from(Path::new(RECIPES), inner));
    }
    let head = [
        new.about.clone(),
        format!("  windtunnel train {}", draft.starts_from().display()),
        format!("Made from {}; not run yet.", draft.base),
    ];
    written::recipe(&recipe, &head)
}

/// A new variant: its skeleton, with the idea at its top, and its line in the list of variants. Errors when
/// the name can't be one, or the project is not windtunnel's sources.
pub fn variant_files(root: &Path, name: &str, idea: Option<&str>) -> Result<[NewFile; 2]> {
    variants::check_new_name(name)?;
    let list = PathBuf::from(format!("{VARIANTS}.rs"));
    let source = fs::read_to_string(root.join(&list)).map_err(|e| Error {
        remedy: "a variant is code: run this in the top folder of windtunnel's sources".into(),
        ..Error::io(&list, "read", &e)
    })?;
    let listed = variants::with_listed(&source, name).ok_or_else(|| {
        Error::input(
            list.display().to_string(),
            "the list `variants! { … }` was not found",
            "put it back as it was",
        )
    })?;
    let path = Path::new(VARIANTS).join(format!("{name}.rs"));
    Ok([
        NewFile::new(path, variants::skeleton_for(name, idea)),
        NewFile {
            path: list,
            text: listed,
            is_extended: true,
        },
    ])
}

impl NewFile {
    pub fn new(path: PathBuf, text: String) -> Self {
        Self {
            path,
            text,
            is_extended: false,
        }
    }

    /// Errors when it would take the place of a file.
    fn check_place(&self, root: &Path) -> Result<()> {
        let there = inside(root, &self.path)?;
        match there.symlink_metadata().is_ok() && !self.is_extended {
            false => Ok(()),
            true => Err(Error::input(
                self.path.display().to_string(),
                "is there already",
                "choose another name, or remove the file",
            )),
        }
    }
}

/// Files that were written and are taken back again unless they are kept.
#[must_use = "files that are not kept are removed"]
pub struct Made {
    /// With the texts that they had before.
    files: Vec<(PathBuf, Option<Vec<u8>>)>,
    /// The inner ones last.
    folders: Vec<PathBuf>,
}

impl Made {
    /// Writes files into a project, all or none. Errors when one would take the place of another.
    pub fn write(root: &Path, new: &[NewFile]) -> Result<Self> {
        new.iter().try_for_each(|file| file.check_place(root))?;
        let mut made = Self {
            files: Vec::new(),
            folders: Vec::new(),
        };
        for file in new {
            let path = inside(root, &file.path)?;
            let missing = path
                .ancestors()
                .skip(1)
                .take_while(|folder| !folder.exists());
            let missing: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
            for folder in missing.into_iter().rev() {
                fs::create_dir(&folder).map_err(|e| Error::io(&folder, "create the folder", &e))?;
                made.folders.push(folder);
            }
            let before = fs::read(&path).ok();
            files::replace(&path, file.text.as_bytes())?;
            made.files.push((path, before));
        }
        Ok(made)
    }

    pub fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for (path, before) in self.files.drain(..) {
            let _ = match before {
                Some(bytes) => files::replace(&path, &bytes),
                None => fs::remove_file(&path).map_err(|e| Error::io(&path, "remove", &e)),
            };
        }
        // What others have put there meanwhile stays.
        for folder in self.folders.drain(..).rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}
