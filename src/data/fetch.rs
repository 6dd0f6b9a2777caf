//! Fetching public corpora: a mirror folder first, then the network; resumed and verified.

use super::source::SplitRule;
use crate::{
    digest::sha256_file,
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Duration,
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

/// A server that is silent for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// The verified file where it is: in the home, or in the folder in [`MIRROR`]; nothing is written.
/// Errors when there is one of its name with another digest, and none with its own.
pub fn find(recipe: &FetchRecipe, home: &Path) -> Result<Option<PathBuf>> {
    find_in(recipe, home, mirror().as_deref())
}

/// The verified file in the home, fetched on first use; the mirror is read before the network.
/// `progress` hears of bytes done and in all. Errors when neither has the file, or what came has
/// another digest; then nothing is kept.
pub fn fetch(
    recipe: &FetchRecipe,
    home: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf> {
    fetch_from(recipe, home, mirror().as_deref(), progress)
}

/// [`fetch`] with a mirror folder, if any, as an argument.
pub fn fetch_from(
    recipe: &FetchRecipe,
    home: &Path,
    mirror: Option<&Path>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf> {
    let place = recipe.place(home);
    let found = find_in(recipe, home, mirror)?;
    if found.as_ref() == Some(&place) {
        return Ok(place);
    }
    let part = home.join("downloads").join(format!("{}.part", recipe.file));
    match found {
        Some(found) => {
            make_folder_of(&part)?;
            copy(&found, &part)?;
        }
        None => Download {
            recipe,
            mirror,
            part: &part,
        }
        .run(progress)?,
    }
    let remedy = "try again; if it stays so, the source has changed";
    if let Err(error) = verify(&part, recipe, remedy) {
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    fs::rename(&part, &place).map_err(|e| Error::io(&place, "write", &e))?;
    Ok(place)
}

fn mirror() -> Option<PathBuf> {
    let mirror = std::env::var_os(MIRROR).filter(|folder| !folder.is_empty());
    mirror.map(PathBuf::from)
}

fn find_in(recipe: &FetchRecipe, home: &Path, mirror: Option<&Path>) -> Result<Option<PathBuf>> {
    let place = recipe.place(home);
    if place.exists() {
        verify(&place, recipe, "delete this file; it is fetched again")?;
        return Ok(Some(place));
    }
    match mirror {
        Some(mirror) => in_mirror(recipe, mirror),
        None => Ok(None),
    }
}

/// The file in the mirror folder or one folder below it, by its own name or the address's. Errors
/// when one with its own name is there, and none with its digest.
fn in_mirror(recipe: &FetchRecipe, mirror: &Path) -> Result<Option<PathBuf>> {
    let mut folders = vec![mirror.to_path_buf()];
    if let Ok(entries) = fs::read_dir(mirror) {
        let mut below: Vec<PathBuf> = entries
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| p.is_dir())
            .collect();
        below.sort();
        folders.extend(below);
    }
    let candidates = |name: &str| -> Vec<PathBuf> {
        let paths = folders.iter().map(|folder| folder.join(name));
        paths.filter(|path| path.is_file()).collect()
    };
    let own = candidates(&recipe.file);
    // The address often ends in a name that many files have, such as input.txt.
    let others = candidates(recipe.url.rsplit('/').next().unwrap_or_default());
    let mut all = own.iter().chain(&others);
    if let Some(found) = all.find(|path| matches(path, recipe)) {
        return Ok(Some(found.clone()));
    }
    match own.first() {
        None => Ok(None),
        Some(wrong) => verify(wrong, recipe, "replace the file in the mirror").map(|()| None),
    }
}

fn make_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))
}

/// A plain copy: a mirror's files may be read-only, and what lies in the home must not be.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(|e| Error::io(from, "open", &e))?;
    let mut write = || -> std::io::Result<()> {
        let mut file = File::create(to)?;
        std::io::copy(&mut source, &mut file)?;
        file.sync_all()
    };
    write().map_err(|e| Error::io(to, "write", &e))
}

fn matches(path: &Path, recipe: &FetchRecipe) -> bool {
    length(path) == recipe.bytes && sha256_file(path).is_ok_and(|digest| digest == recipe.sha256)
}

/// Bytes of a file; 0 when there is none.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

fn verify(path: &Path, recipe: &FetchRecipe, remedy: &str) -> Result<()> {
    let digest = sha256_file(path)?;
    if digest == recipe.sha256 {
        return Ok(());
    }
    Err(Error::input(
        path.display().to_string(),
        format!(
            "digest mismatch: its {} bytes have SHA-256 {digest}, {} should have {} bytes and {}",
            length(path),
            recipe.name,
            recipe.bytes,
            recipe.sha256
        ),
        remedy,
    ))
}

/// A file on its way from the network to `part`.
struct Download<'a> {
    recipe: &'a FetchRecipe,
    /// Where it was looked for before.
    mirror: Option<&'a Path>,
    part: &'a Path,
}

impl Download<'_> {
    /// Goes on where an earlier try stopped; begins anew where what that left turns out to be of
    /// another file. Errors keep what came, for the next try.
    fn run(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let left = length(self.part);
        if left == self.recipe.bytes && matches(self.part, self.recipe) {
            return Ok(());
        }
        if left > 0 && left < self.recipe.bytes {
            let from = self.receive(left, progress)?;
            if from == 0 || matches(self.part, self.recipe) {
                return Ok(());
            }
        }
        self.receive(0, progress).map(|_| ())
    }

    /// Appends what the server has from byte `from` on, and says from which byte on it sent.
    fn receive(&self, from: u64, progress: &mut dyn FnMut(u64, u64)) -> Result<u64> {
        let mut response = self.request(from)?;
        let from = match response.status().as_u16() {
            206 => from,
            // A server that ignores the range sends the whole file.
            200 => 0,
            // What is here is longer than what the server has.
            416 if from > 0 => return Ok(from),
            status => return Err(self.failed(&format!("the server answers with status {status}"))),
        };
        make_folder_of(self.part)?;
        let writing = |e: std::io::Error| Error::io(self.part, "write", &e);
        let mut options = OpenOptions::new();
        options.create(true).write(true);
        let options = options.append(from > 0).truncate(from == 0);
        let mut file = options.open(self.part).map_err(writing)?;
        let promised = response.body().content_length();
        let mut body = response.body_mut().as_reader();
        let (mut done, mut piece) = (from, vec![0; 1 << 16]);
        let all = self.recipe.bytes;
        // What is longer than it should be is wrong, whatever follows.
        while done <= all {
            let cut = |why: &str| self.failed(&format!("{done} of {all} bytes came, then {why}"));
            let n = body
                .read(&mut piece)
                .map_err(|e| cut(&format!("reading failed: {e}")))?;
            if n == 0 && promised.is_none() && done < all {
                return Err(cut("the connection ended"));
            }
            if n == 0 {
                break;
            }
            file.write_all(&piece[..n]).map_err(writing)?;
            done += n as u64;
            progress(done, all);
        }
        file.sync_all().map_err(writing)?;
        Ok(from)
    }

    fn request(&self, from: u64) -> Result<ureq::http::Response<ureq::Body>> {
        // Not compressed: a range of a compressed file is not a range of the file.
        let mut request = ureq::get(&self.recipe.url)
            .config()
            .accept_encoding("identity")
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .build();
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request.call().map_err(|e| self.failed(&e.to_string()))
    }

    fn failed(&self, problem: &str) -> Error {
        let file = &self.recipe.file;
        let remedy = match self.mirror {
            None => format!(
                "check the network and run the same command again, or set {MIRROR} to a folder that holds {file}"
            ),
            Some(mirror) => format!(
                "put {file} into {MIRROR}, {}: neither it nor a folder in it has the file; or check the network",
                mirror.display()
            ),
        };
        let problem = format!("cannot fetch {}: {problem}", self.recipe.name);
        Error::input(self.recipe.url.clone(), problem, remedy)
    }
}
