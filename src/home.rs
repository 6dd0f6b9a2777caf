//! The home folder: corpora, runs and studies; one writing process at a time.

use crate::{
    error::{Error, Result, nearest},
    run_dir::RunDir,
};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

/// Names of the home's folder.
pub struct Home;

/// Held while a process writes to a home; the system lets go of it when the process ends, however
/// it ends.
#[derive(Debug)]
pub struct HomeLock {
    file: File,
}

impl Drop for HomeLock {
    /// A lock that nobody holds names nobody, so that a command which changes nothing else leaves
    /// the home as it was.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

impl Home {
    /// Errors when `home` is there and is no folder; makes nothing.
    pub fn check(home: &Path) -> Result<()> {
        match home.exists() && !home.is_dir() {
            false => Ok(()),
            true => Err(Error::input(
                format!("--home {}", home.display()),
                "is a file, not a folder",
                "choose another --home",
            )),
        }
    }

    /// Errors when another process holds the home; makes nothing. For finding out before work that
    /// would be in vain.
    pub fn check_free(home: &Path) -> Result<()> {
        match File::open(home.join("lock")) {
            Err(_) => Ok(()),
            Ok(mut file) => match file.try_lock_shared() {
                Err(TryLockError::WouldBlock) => Err(in_use(home, &mut file)),
                _ => Ok(()),
            },
        }
    }

    /// Whether an error, perhaps another process's, says that the home is held.
    pub fn is_in_use(error: &Error) -> bool {
        error.problem.starts_with(IN_USE)
    }

    /// Takes the home for this process, creating it. Errors when another process holds it.
    pub fn lock(home: &Path) -> Result<HomeLock> {
        fs::create_dir_all(home).map_err(|e| Error::io(home, "create the home folder", &e))?;
        let path = home.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let mut file = file.map_err(|e| Error::io(&path, "open", &e))?;
        match file.try_lock() {
            Ok(()) => {
                // For the other process's message only: the lock is what counts.
                let _ = file
                    .set_len(0)
                    .and_then(|()| write!(file, "{}", std::process::id()));
                Ok(HomeLock { file })
            }
            Err(TryLockError::WouldBlock) => Err(in_use(home, &mut file)),
            Err(TryLockError::Error(error)) => Err(Error::io(&path, "lock", &error)),
        }
    }

    /// The run that `name` means: a run folder, a trial's id, or the start of one. Errors when
    /// there is none, or more than one.
    pub fn find_run(home: &Path, name: &str) -> Result<RunDir> {
        let as_path = Path::new(name);
        if as_path.join("recipe.toml").is_file() {
            return Ok(RunDir::new(as_path.to_path_buf()));
        }
        let runs = Self::runs(home);
        let matching: Vec<&String> = runs.iter().filter(|id| id.starts_with(name)).collect();
        match matching[..] {
            [id] if !name.is_empty() => Ok(RunDir::new(home.join("runs").join(id))),
            [] => {
                let near = nearest(name, runs.iter().map(String::as_str));
                Err(Error::input(
                    format!("run \"{name}\""),
                    format!("no run in {} has this id", home.display()),
                    match near {
                        Some(id) => format!("did you mean {id}? `windtunnel ls` lists them"),
                        None => "see `windtunnel ls` for the runs there are".into(),
                    },
                ))
            }
            _ => Err(Error::input(
                format!("run \"{name}\""),
                format!("{} runs start so", matching.len()),
                format!("give more of the id: {}", join(&matching)),
            )),
        }
    }

    /// Ids of all runs, in order.
    pub fn runs(home: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(home.join("runs")) else {
            return Vec::new();
        };
        let mut ids: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        ids.sort();
        ids
    }
}

const IN_USE: &str = "this home is in use by";

fn in_use(home: &Path, lock: &mut File) -> Error {
    let mut holder = String::new();
    let _ = lock
        .rewind()
        .and_then(|()| lock.read_to_string(&mut holder));
    let holder = match holder.trim() {
        "" => "another process".to_string(),
        pid => format!("process {pid}"),
    };
    Error::input(
        home.display().to_string(),
        format!("{IN_USE} {holder}"),
        "wait until it is done, stop it, or choose another --home",
    )
}

fn join(ids: &[&String]) -> String {
    let shown: Vec<&str> = ids.iter().take(6).map(|id| id.as_str()).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_writer_and_is_free_when_the_writer_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let held = Home::lock(dir.path()).unwrap();
        let error = Home::lock(dir.path()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.problem.contains(&std::process::id().to_string()),
            "{error}"
        );
        drop(held);
        Home::lock(dir.path()).unwrap();
    }

    #[test]
    fn a_run_is_found_by_the_start_of_its_id_when_that_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        for id in ["abc1", "abd2"] {
            fs::create_dir_all(dir.path().join("runs").join(id)).unwrap();
        }
        let found = Home::find_run(dir.path(), "abc").unwrap();
        assert!(found.path().ends_with("runs/abc1"));
        assert!(
            Home::find_run(dir.path(), "ab")
                .unwrap_err()
                .remedy
                .contains("abd2")
        );
        assert!(
            Home::find_run(dir.path(), "abx1")
                .unwrap_err()
                .remedy
                .contains("abc1")
        );
    }
}
