//! Fetching public corpora: a mirror folder first, then the network; resumed and verified.
//!
//! A recipe has the digest of a file where its source publishes one. Where it does not, the digest of
//! what comes first is pinned: written down beside the file, and anything else is refused from then on.

use super::{
    ingest::{
        Format, SourceFile,
        files::{self as kept_files, CHECKED_BYTES},
    },
    source::SplitRule,
};
use crate::{
    digest::sha256_file,
    error::{Error, Result},
    files,
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
    pub licence: String,
    #[serde(default = "text")]
    pub format: Format,
    /// The field or column with the text, where there are rows.
    #[serde(default)]
    pub field: String,
    pub split: SplitRule,
    pub files: Vec<RemoteFile>,
}

/// One file of a fetched corpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteFile {
    pub url: String,
    /// What the file is called in a mirror and in the home.
    pub file: String,
    /// Where the source says so.
    pub bytes: Option<u64>,
    /// Where the source publishes it, or it was computed from the file; else pinned on first use.
    pub sha256: Option<String>,
}

fn text() -> Format {
    Format::Text
}

const RECIPES: [&str; 5] = [
    include_str!("../../data/tinyshakespeare.toml"),
    include_str!("../../data/tinystories.toml"),
    include_str!("../../data/enwik8.toml"),
    include_str!("../../data/wikitext103.toml"),
    include_str!("../../data/fineweb_edu.toml"),
];

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
    /// Whether all files were fetched.
    pub fn is_here(&self, home: &Path) -> bool {
        self.files.iter().all(|file| file.place(home).exists())
    }

    /// How many files' digests are not known before they are fetched.
    pub fn pins(&self) -> usize {
        let unknown = self.files.iter().filter(|file| file.sha256.is_none());
        unknown.count()
    }
}

impl RemoteFile {
    /// Where the fetched file is kept.
    pub fn place(&self, home: &Path) -> PathBuf {
        home.join("downloads").join(&self.file)
    }

    fn pin_place(&self, home: &Path) -> PathBuf {
        home.join("downloads").join(format!("{}.pin", self.file))
    }

    /// What was written down of the file when it was fetched.
    fn pin(&self, home: &Path) -> Result<Option<SourceFile>> {
        let path = self.pin_place(home);
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(None);
        };
        toml::from_str(&text).map(Some).map_err(|e| {
            Error::input(
                path.display().to_string(),
                format!("is not what was written there: {}", e.message()),
                "delete this file; what was fetched is pinned anew",
            )
        })
    }
}

/// The verified files where they are: in the home, or in the folder in [`MIRROR`]; nothing is
/// written. Errors when there is one of its name with another digest, and none with its own.
pub fn find(recipe: &FetchRecipe, home: &Path) -> Result<Option<Vec<SourceFile>>> {
    let mirror = mirror();
    let one = |remote| Wanted::new(recipe, remote, home, mirror.as_deref())?.find();
    recipe.files.iter().map(one).collect()
}

/// The verified files in the home, fetched on first use; the mirror is read before the network.
/// `progress` hears of bytes done and in all. Errors when neither has a file, or what came has
/// another digest; then nothing of it is kept.
pub fn fetch(
    recipe: &FetchRecipe,
    home: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<SourceFile>> {
    fetch_from(recipe, home, mirror().as_deref(), progress)
}

/// [`fetch`] with a mirror folder, if any, as an argument.
pub fn fetch_from(
    recipe: &FetchRecipe,
    home: &Path,
    mirror: Option<&Path>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<SourceFile>> {
    let mut one = |remote| Wanted::new(recipe, remote, home, mirror)?.fetch(progress);
    recipe.files.iter().map(&mut one).collect()
}

/// A file that is looked for.
struct Wanted<'a> {
    corpus: &'a str,
    remote: &'a RemoteFile,
    home: &'a Path,
    mirror: Option<&'a Path>,
    pin: Option<SourceFile>,
}

impl<'a> Wanted<'a> {
    fn new(
        recipe: &'a FetchRecipe,
        remote: &'a RemoteFile,
        home: &'a Path,
        mirror: Option<&'a Path>,
    ) -> Result<Self> {
        Ok(Self {
            corpus: &recipe.name,
            remote,
            home,
            mirror,
            pin: remote.pin(home)?,
        })
    }

    /// The digest that the file has to have, if one is known.
    fn sha256(&self) -> Option<&str> {
        let pinned = self.pin.as_ref().map(|pin| pin.sha256.as_str());
        self.remote.sha256.as_deref().or(pinned)
    }

    fn find(&self) -> Result<Option<SourceFile>> {
        let place = self.remote.place(self.home);
        if place.exists() {
            let remedy = "delete this file; it is fetched again";
            return self.verified(&place, remedy).map(Some);
        }
        match self.mirror {
            Some(mirror) => self.in_mirror(mirror),
            None => Ok(None),
        }
    }

    fn fetch(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<SourceFile> {
        let place = self.remote.place(self.home);
        let found = self.find()?;
        if let Some(here) = found.as_ref().filter(|found| found.path == place) {
            self.write_pin(here)?;
            return Ok(here.clone());
        }
        let part = self
            .home
            .join("downloads")
            .join(format!("{}.part", self.remote.file));
        match found {
            Some(found) => {
                make_folder_of(&part)?;
                copy(&found.path, &part)?;
            }
            None => Download {
                wanted: self,
                part: &part,
            }
            .run(progress)?,
        }
        let remedy = "try again; if it stays so, the source has changed";
        let right = self.verified(&part, remedy);
        if right.is_err() {
            let _ = fs::remove_file(&part);
        }
        let here = SourceFile {
            path: place.clone(),
            ..right?
        };
        fs::rename(&part, &place).map_err(|e| Error::io(&place, "write", &e))?;
        self.write_pin(&here)?;
        Ok(here)
    }

    /// Writes down what a file is where its digest was not known before, and where it is too large to
    /// be read again at each use.
    fn write_pin(&self, here: &SourceFile) -> Result<()> {
        let needed = self.remote.sha256.is_none() || here.bytes > CHECKED_BYTES;
        if !needed || self.pin.as_ref() == Some(here) {
            return Ok(());
        }
        let pin = toml::to_string(here).expect("a record is plain data");
        files::replace(&self.remote.pin_place(self.home), pin.as_bytes())
    }

    /// The file at `path`, which has to be the one that is wanted.
    fn verified(&self, path: &Path, remedy: &str) -> Result<SourceFile> {
        let (bytes, modified) = kept_files::facts(path)?;
        let pinned = self.pin.as_ref().filter(|pin| {
            pin.path == path && (pin.bytes, pin.modified) == (bytes, modified) && modified != 0
        });
        let sha256 = match pinned {
            Some(pin) if bytes > CHECKED_BYTES => pin.sha256.clone(),
            _ => sha256_file(path)?,
        };
        let right_length = self.remote.bytes.is_none_or(|n| n == bytes);
        if right_length && self.sha256().is_none_or(|wanted| wanted == sha256) {
            return Ok(SourceFile {
                path: path.into(),
                bytes,
                sha256,
                modified,
            });
        }
        let said = match self.remote.bytes {
            Some(n) => format!("{n} bytes and "),
            None => String::new(),
        };
        let wanted = self.sha256().unwrap_or("any digest");
        Err(Error::input(
            path.display().to_string(),
            format!(
                "digest mismatch: its {bytes} bytes have SHA-256 {sha256}, {} should have {said}{wanted}{}",
                self.corpus,
                match self.remote.sha256 {
                    None if self.pin.is_some() => ", as what was fetched first",
                    _ => "",
                }
            ),
            remedy,
        ))
    }

    /// The file in the mirror folder or one folder below it, by its own name or the address's. Errors
    /// when one with its own name is there, and none with its digest.
    fn in_mirror(&self, mirror: &Path) -> Result<Option<SourceFile>> {
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
        let own = candidates(&self.remote.file);
        // The address often ends in a name that many files have, such as input.txt: only a digest
        // tells them apart.
        let others = match self.sha256() {
            Some(_) => candidates(self.remote.url.rsplit('/').next().unwrap_or_default()),
            None => Vec::new(),
        };
        let remedy = "replace the file in the mirror";
        for path in own.iter().chain(&others) {
            if self.has_length(path)
                && let Ok(found) = self.verified(path, remedy)
            {
                return Ok(Some(found));
            }
        }
        match own.first() {
            None => Ok(None),
            Some(wrong) => self.verified(wrong, remedy).map(Some),
        }
    }

    fn has_length(&self, path: &Path) -> bool {
        self.remote.bytes.is_none_or(|n| n == length(path))
    }
}

fn mirror() -> Option<PathBuf> {
    let mirror = std::env::var_os(MIRROR).filter(|folder| !folder.is_empty());
    mirror.map(PathBuf::from)
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

/// Bytes of a file; 0 when there is none.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// A file on its way from the network to `part`.
struct Download<'a> {
    wanted: &'a Wanted<'a>,
    part: &'a Path,
}

impl Download<'_> {
    /// Goes on where an earlier try stopped; begins anew where what that left turns out to be of
    /// another file. Errors keep what came, for the next try.
    fn run(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let left = length(self.part);
        let whole = || self.wanted.verified(self.part, "").is_ok();
        // Without a digest nobody would see that the two halves are of different files.
        if left > 0 && self.wanted.sha256().is_some() {
            let n = self.wanted.remote.bytes;
            if n.is_none_or(|n| n == left) && whole() {
                return Ok(());
            }
            if n.is_none_or(|n| left < n) {
                let from = self.receive(left, progress)?;
                if from == 0 || whole() {
                    return Ok(());
                }
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
        let all = match (self.wanted.remote.bytes, promised) {
            (Some(all), _) => all,
            (None, Some(promised)) => from + promised,
            (None, None) => {
                return Err(self.failed("the server does not say how long the file is"));
            }
        };
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
        let mut request = ureq::get(&self.wanted.remote.url)
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
        let RemoteFile { file, url, .. } = self.wanted.remote;
        let remedy = match self.wanted.mirror {
            None => format!(
                "check the network and run the same command again, or set {MIRROR} to a folder that holds {file}"
            ),
            Some(mirror) => format!(
                "put {file} into {MIRROR}, {}: neither it nor a folder in it has the file; or check the network",
                mirror.display()
            ),
        };
        let problem = format!("cannot fetch {}: {problem}", self.wanted.corpus);
        Error::input(url.clone(), problem, remedy)
    }
}
