//! What makes a comparison one that nothing can be concluded from: found before the first trial
//! where files tell, and in what trials really did where only that tells.

use super::{
    arms::{NONE, STACK, flat_changes},
    contract::{ArmTerms, Contract},
    proposal::Study,
};
use crate::{
    data::{
        Corpus, SubsetKind, Tokenizer,
        overlap::{Overlap, overlap},
    },
    digest::sha256_json,
    error::{Error, Result},
    files,
    run::Run,
    run_dir::{RunDir, TrialId},
    session::Trial,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Errors when a corpus that an arm trains on holds validation text of one that is evaluated; else
/// what was found, and where [`keep`] puts it so that it is not searched again.
pub fn leaks(study: &Study, trials: &[Vec<Trial>], home: &Path) -> Result<Vec<(PathBuf, Overlap)>> {
    let mut found: BTreeMap<(String, String), (PathBuf, Overlap)> = BTreeMap::new();
    for (arm, trials) in study.arms.iter().zip(trials) {
        let data = &trials[0].data;
        for (weight, stream) in &data.mixture.parts {
            for (_, windows) in data.windows.iter().filter(|_| *weight > 0.0) {
                let (trained, held_out) = (stream.corpus(), windows.of());
                let pair = (trained.name().to_string(), held_out.name().to_string());
                if found.contains_key(&pair) {
                    continue;
                }
                let (path, overlap) = searched(home, (trained, held_out), &data.tokenizer)?;
                if overlap.is_leak() {
                    let remedy = "leave that corpus out of the mixture, or evaluate on another one; corpora that are split by document content (`data add`) keep copies in one part";
                    return Err(Error::input(
                        arm.places.find("data.mixture"),
                        format!(
                            "arms.{} trains on validation text: {}",
                            arm.name,
                            overlap.in_words()
                        ),
                        remedy,
                    ));
                }
                found.insert(pair, (path, overlap));
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The overlap of two corpora, searched once for each pair of digests.
fn searched(
    home: &Path,
    (trained, held_out): (&Arc<Corpus>, &Arc<Corpus>),
    tokenizer: &Tokenizer,
) -> Result<(PathBuf, Overlap)> {
    let of = sha256_json(&("overlap.v2", trained.digest(), held_out.digest()));
    let path = home.join("overlaps").join(format!("{}.json", &of[..16]));
    if path.exists() {
        let kept: Overlap = files::read_json(&path, "delete this file; it is made again")?;
        // Names are no part of a corpus's digest.
        let named = Overlap {
            train: trained.name().into(),
            validation: held_out.name().into(),
            ..kept
        };
        return Ok((path, named));
    }
    Ok((path, overlap(trained, held_out, tokenizer)))
}

/// Writes down what was searched, once.
pub fn keep(overlaps: &[(PathBuf, Overlap)]) -> Result<()> {
    for (path, overlap) in overlaps.iter().filter(|(path, _)| !path.exists()) {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))?;
        }
        files::write_json(path, overlap)?;
    }
    Ok(())
}

/// Why a difference between arm and control could not be put down to what the arm declares: it has
/// less or more of a corpus, so repeats it more or less, and what it has is not a sample of what the
/// control has. `None` where the arm declares several changes on purpose.
pub fn confounded(control: &Run, arm: &Run, factor: &str) -> Option<String> {
    if factor == STACK {
        return None;
    }
    let parts = |run: &Run| -> BTreeMap<String, (f64, SubsetKind)> {
        let trained = run.data.trained().into_iter();
        trained
            .map(|share| {
                let subset = share.subset.filter(|subset| subset.fraction < 1.0);
                let part = subset.map_or((1.0, SubsetKind::Spread), |s| (s.fraction, s.kind));
                (share.corpus.clone(), part)
            })
            .collect()
    };
    let (control, arm) = (parts(control), parts(arm));
    for (corpus, ours) in &arm {
        let Some(theirs) = control.get(corpus) else {
            continue;
        };
        let a_stretch = [ours, theirs]
            .iter()
            .any(|part| part.1 == SubsetKind::Leading);
        if ours.0 != theirs.0 && a_stretch {
            let text = |part: &(f64, SubsetKind)| match part {
                (fraction, _) if *fraction == 1.0 => "all of it".to_string(),
                (fraction, kind) => format!("a {} {fraction} of it", kind.name()),
            };
            return Some(format!(
                "the arm has {} of \"{corpus}\" and the control {}: how often text is repeated and which text it is change together; use subsets of kind \"spread\", or say factor = \"{STACK}\"",
                text(ours),
                text(theirs)
            ));
        }
    }
    None
}

/// What changed between two resolved runs outside the factor: computed from it. Errors when a key
/// that nothing derives did.
pub fn derived(
    study: &Study,
    (control, arm): (&Run, &Run),
    terms: &ArmTerms,
) -> Result<BTreeMap<String, (String, String)>> {
    let factor = terms.factor.as_deref().unwrap_or(NONE);
    let mut outside = flat_changes(control, arm);
    if factor == STACK {
        return Ok(BTreeMap::new());
    }
    outside.retain(|path, _| !within(path, factor) && !terms.changes.contains_key(path));
    // Budgets become steps; choosing an optimizer or a schedule chooses what they leave unset.
    let head = |path: &str| path.split('.').next().unwrap_or_default().to_string();
    let derives = |path: &str| path == "steps" || head(path) == head(factor);
    match outside.keys().find(|path| !derives(path)) {
        None => Ok(outside),
        Some(path) => Err(Error::input(
            study.place_of_arm(&terms.name),
            format!(
                "arms.{} declares {factor:?}, and {path} comes out as {} instead of {}",
                terms.name, outside[path].1, outside[path].0
            ),
            format!("set {path} for all arms, or say factor = \"{STACK}\""),
        )),
    }
}

/// Whether a path is the factor, or one of its group.
fn within(path: &str, factor: &str) -> bool {
    let rest = path.strip_prefix(factor);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Why each arm's trials, as they were run, are not what the contract says; the control's faults
/// are every arm's. Errors when a run folder can't be read.
pub fn realised(home: &Path, contract: &Contract, seeds: usize) -> Result<Vec<Option<String>>> {
    let arms = &contract.terms.arms;
    let faults: Vec<Option<String>> = arms
        .iter()
        .map(|arm| faults(home, contract, arm, seeds))
        .collect::<Result<_>>()?;
    let of_control = faults.first().cloned().flatten();
    let confounded = arms.iter().map(|arm| {
        let why = arm.confounded.as_ref();
        why.map(|why| format!("confounded: {why}"))
    });
    Ok(faults
        .iter()
        .zip(confounded)
        .skip(1)
        .map(|(fault, confounded)| of_control.clone().or(fault.clone()).or(confounded))
        .collect())
}

fn faults(
    home: &Path,
    contract: &Contract,
    arm: &ArmTerms,
    seeds: usize,
) -> Result<Option<String>> {
    for (trial, seed) in arm.trials.iter().zip(&contract.terms.seeds).take(seeds) {
        let dir = RunDir::of(home, trial);
        let Some(outcome) = dir.outcome()? else {
            continue;
        };
        if outcome.windows != contract.terms.windows {
            return Ok(Some(format!(
                "{} with seed {seed} was evaluated on other windows than the contract's",
                arm.name
            )));
        }
        if let Some(path) = edited(&dir, trial, arm, *seed)? {
            return Ok(Some(format!(
                "{} with seed {seed} ran with another {path} than the contract's",
                arm.name
            )));
        }
    }
    Ok(None)
}

/// A key in which a trial's recipe, as it ran, is not the contract's.
fn edited(dir: &RunDir, trial: &TrialId, arm: &ArmTerms, seed: u64) -> Result<Option<String>> {
    let ran = Run::load(&dir.recipe()).map_err(|e| Error {
        problem: format!("trial {trial}: {}", e.problem),
        ..e
    })?;
    let mut agreed = arm.run.clone();
    agreed.seed = seed;
    // How often it is saved or logged decides nothing.
    (agreed.checkpoint, agreed.log) = (ran.checkpoint.clone(), ran.log.clone());
    Ok(flat_changes(&agreed, &ran).into_keys().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_holds_its_paths_and_no_namesakes() {
        assert!(within("optimizer.lr", "optimizer.lr") && within("optimizer.lr", "optimizer"));
        assert!(
            !within("optimizer.lr_min", "optimizer.lr") && !within("optimizer", "optimizer.lr")
        );
    }
}
