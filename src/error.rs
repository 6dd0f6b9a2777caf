//! One error type: every failure names the place, the problem and the remedy.
//!
//! [`Kind`] decides the exit status, so a script can tell a misspelt key (2) from a budget that
//! refused the work (3) and from a run that failed (4).

use std::path::Path;

/// What to do when a disk is full.
pub const DISK_REMEDY: &str = "free disk space, then run the same command again; it goes on from what was saved, and nothing saved is lost";

pub type Result<T> = std::result::Result<T, Error>;

/// What sort of failure it is, and so which exit status the program ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `run --expect` saw another verdict: status 1.
    Unexpected,
    /// The input is wrong; nothing was changed: status 2.
    Input,
    /// A budget or a gate refused the work: status 3.
    Refused,
    /// The run itself failed (diverged, a device went away): status 4.
    Failed,
    /// A device has no memory left for it: status 4.
    Memory,
    /// Interrupted with everything kept: status 130.
    Interrupted,
}

/// A failure in the words that a person needs: where, what, and what would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}\n  try: {remedy}")]
pub struct Error {
    pub kind: Kind,
    /// A file and line, a key, a command-line flag, a path.
    pub place: String,
    pub problem: String,
    pub remedy: String,
}

impl Error {
    pub fn new(
        kind: Kind,
        place: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            place: place.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// Bad input (status 2).
    pub fn input(
        place: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Kind::Input, place, problem, remedy)
    }

    /// A failure of the run itself (status 4).
    pub fn failed(
        place: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Kind::Failed, place, problem, remedy)
    }

    /// A file operation that the system refused, with a remedy that fits the reason (status 2).
    pub fn io(path: &Path, doing: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as E;
        let remedy = match error.kind() {
            E::NotFound => "check the path",
            E::PermissionDenied => "change the permissions, or choose another --home",
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => DISK_REMEDY,
            E::ReadOnlyFilesystem => "choose another --home, on a file system that can be written",
            E::IsADirectory | E::NotADirectory => "check the path",
            _ => "look at the file and run the same command again",
        };
        Self::input(
            path.display().to_string(),
            format!("cannot {doing}: {error}"),
            remedy,
        )
    }

    /// The exit status that this error ends the program with.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Unexpected => 1,
            Kind::Input => 2,
            Kind::Refused => 3,
            Kind::Failed | Kind::Memory => 4,
            Kind::Interrupted => 130,
        }
    }
}

/// A candle error in the words of this crate; it can only come from a composed op or a device.
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::failed(
            "candle",
            error.to_string(),
            "check shapes and the device; `windtunnel doctor` says what this machine has",
        )
    }
}

/// The name in `known` that is nearest to `name`, when one is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| {
            let longer = candidate.len().max(name.len());
            *distance <= 1 + longer / 3 && 2 * distance <= longer
        })
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance with adjacent transpositions counted as one edit.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut d = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in d.iter_mut().enumerate() {
        row[0] = i;
    }
    d[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            d[i][j] = (d[i - 1][j] + 1)
                .min(d[i][j - 1] + 1)
                .min(d[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                d[i][j] = d[i][j].min(d[i - 2][j - 2] + 1);
            }
        }
    }
    d[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour_and_a_foreign_one_finds_none() {
        let known = ["n_layer", "n_head", "n_embd", "block_size", "dropout"];
        assert_eq!(nearest("n_layers", known), Some("n_layer"));
        assert_eq!(nearest("n_haed", known), Some("n_head"));
        assert_eq!(nearest("zzzzzzzz", known), None);
        assert_eq!(nearest("foo", ["log", "seed"]), None);
    }
}
