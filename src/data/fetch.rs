//! Fetching public corpora: a mirror folder first, then the network; resumed and verified.

use super::source::SplitRule;
use crate::{
    digest::sha256_file,
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// A file `data/NAME.toml` of this repository, compiled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchRecipe {
    pub name: String,
    pub about: String,
    pub url: String,
    /// What the file is called in a mirror and in the home.
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
    pub licence: String,
    pub split: SplitRule,
}

const RECIPES: [&str; 1] = [include_str!("../../data/tinyshakespeare.toml")];

/// The environment variable that names a folder to look in before the network.
pub const MIRROR: &str = "WINDTUNNEL_MIRROR";

/// Every fetch recipe that is compiled in.
pub fn recipes() -> Result<Vec<FetchRecipe>> {
    RECIPES
        .iter()
        .map(|text| {
            toml::from_str(text).map_err(|e| {
                Error::failed(
                    "data/",
                    format!("a built-in recipe does not parse: {e}"),
                    "report this as a bug",
                )
            })
        })
        .collect()
}

impl FetchRecipe {
    /// Where the fetched file is kept.
    pub fn place(&self, home: &Path) -> PathBuf {
        home.join("downloads").join(&self.file)
    }
}

/// The verified file where it is, in the home or in the mirror; nothing is written. Errors when its
/// digest is not the one in the recipe.
pub fn find(recipe: &FetchRecipe, home: &Path) -> Result<Option<PathBuf>> {
    let place = recipe.place(home);
    if place.exists() {
        verify(&place, recipe, "delete this file; it is fetched again")?;
        return Ok(Some(place));
    }
    let found = in_mirror(recipe);
    if let Some(found) = &found {
        verify(found, recipe, "replace the file in the mirror")?;
    }
    Ok(found)
}

/// The verified file in the home, fetched on first use. `before` is called before anything is
/// written, `progress` hears of bytes done and in all. Errors when neither mirror nor network has
/// it, or what came has another digest; then nothing is kept.
pub fn fetch(
    recipe: &FetchRecipe,
    home: &Path,
    before: &mut dyn FnMut() -> Result<()>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf> {
    let place = recipe.place(home);
    let found = find(recipe, home)?;
    if found.as_ref() == Some(&place) {
        return Ok(place);
    }
    let folder = home.join("downloads");
    let mut before = || {
        before()?;
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", &e))
    };
    let part = folder.join(format!("{}.part", recipe.file));
    match found {
        Some(found) => {
            before()?;
            fs::copy(&found, &part).map_err(|e| Error::io(&part, "write", &e))?;
        }
        None => download(recipe, &part, &mut before, progress)?,
    }
    if let Err(error) = verify(
        &part,
        recipe,
        "try again; if it stays so, the source has changed",
    ) {
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    fs::rename(&part, &place).map_err(|e| Error::io(&place, "write", &e))?;
    Ok(place)
}

/// The file in the mirror folder or one folder below it, by its own name or the address's.
fn in_mirror(recipe: &FetchRecipe) -> Option<PathBuf> {
    let mirror = PathBuf::from(std::env::var_os(MIRROR)?);
    let mut folders = vec![mirror.clone()];
    if let Ok(entries) = fs::read_dir(&mirror) {
        let mut below: Vec<PathBuf> = entries
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| p.is_dir())
            .collect();
        below.sort();
        folders.extend(below);
    }
    let basename = recipe.url.rsplit('/').next().unwrap_or_default();
    let names = [recipe.file.as_str(), basename];
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

fn verify(path: &Path, recipe: &FetchRecipe, remedy: &str) -> Result<()> {
    let digest = sha256_file(path)?;
    if digest == recipe.sha256 {
        return Ok(());
    }
    Err(Error::input(
        path.display().to_string(),
        format!(
            "digest mismatch: SHA-256 is {digest}, {} should have {}",
            recipe.name, recipe.sha256
        ),
        remedy,
    ))
}

/// Downloads to `part`, going on where an earlier try stopped.
fn download(
    recipe: &FetchRecipe,
    part: &Path,
    before: &mut dyn FnMut() -> Result<()>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let offline = |problem: String| {
        Error::input(
            recipe.url.clone(),
            format!("cannot fetch {}: {problem}", recipe.name),
            format!(
                "check the network, or set {MIRROR} to a folder that holds {}",
                recipe.file
            ),
        )
    };
    let have = fs::metadata(part).map_or(0, |m| m.len());
    let mut request = ureq::get(&recipe.url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|e| offline(e.to_string()))?;
    // A server that ignores the range sends the whole file.
    let resumed = response.status().as_u16() == 206;
    before()?;
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .append(resumed)
        .truncate(!resumed)
        .open(part)
        .map_err(|e| Error::io(part, "open", &e))?;
    let mut done = if resumed { have } else { 0 };
    let mut body = response.body_mut().as_reader();
    let mut piece = vec![0; 1 << 16];
    loop {
        let n = body.read(&mut piece).map_err(|e| offline(e.to_string()))?;
        if n == 0 {
            return file.sync_all().map_err(|e| Error::io(part, "write", &e));
        }
        file.write_all(&piece[..n])
            .map_err(|e| Error::io(part, "write", &e))?;
        done += n as u64;
        progress(done, recipe.bytes);
    }
}
