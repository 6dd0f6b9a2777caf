//! What ids mean: of a run, a study or a job, by their start where that is enough. An id is never a
//! path, so that no client reads a folder outside the home.

use super::Desk;
use crate::{
    error::{Error, Result},
    home::Home,
    jobs::{Job, Store},
    run_dir::RunDir,
    study::contract::{StudyDir, studies},
};
use std::path::Path;

/// Errors when it can't be an id.
fn plain(kind: &str, name: &str) -> Result<()> {
    let known = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    match !name.is_empty() && name.chars().all(known) && !name.starts_with('.') {
        true => Ok(()),
        false => Err(Error::input(
            format!("{kind} {name:?}"),
            "is no id: ids are letters, digits, hyphens, underscores and dots",
            "give the id, or the start of it, as another tool returned it",
        )),
    }
}

/// The run with this id.
pub fn run(home: &Path, name: &str) -> Result<RunDir> {
    plain("run", name)?;
    // Looked for by id again: what is searched also knows folders of the working directory.
    let found = Home::find_run(home, name)?;
    Ok(RunDir::new(home.join("runs").join(id(found.path()))))
}

/// The study with this id, or that this job runs.
pub fn study(desk: &Desk, name: &str) -> Result<StudyDir> {
    plain("study", name)?;
    let home = &desk.settings.home;
    let found = match StudyDir::find(home, name) {
        Ok(found) => found,
        Err(no_study) => match job(desk, name).ok().map(|job| (job.study, job.state)) {
            Some((Some(study), _)) => StudyDir::find(home, &study)?,
            Some((None, state)) => {
                return Err(Error::input(
                    format!("job \"{name}\""),
                    format!("has no study yet: it is {}", state.name()),
                    "study_wait waits for it",
                ));
            }
            None => return Err(no_study),
        },
    };
    Ok(StudyDir::new(studies(home).join(id(found.path()))))
}

/// The job with this id.
pub fn job(desk: &Desk, name: &str) -> Result<Job> {
    plain("job", name)?;
    Store::open(&desk.settings.home)?.job(name)
}

/// A run's or a study's id, for answers.
pub fn id(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
