//! What a draft can get wrong by itself, before a recipe is read.

use super::{Change, Draft, DraftArm, MixturePhase, Part, Setting};
use crate::{
    error::{Error, Result},
    model::variants,
    study::seeds::FEWEST,
};
use std::{
    collections::BTreeSet,
    path::{Component, Path},
};

/// More words than a claim or a reason needs, in characters.
const LONGEST: usize = 4000;
/// The key by which an arm names a variant.
pub const VARIANT: &str = "model.variant";

impl Draft {
    /// Errors at the first thing that can't be meant, with its place in the draft.
    pub fn check(&self) -> Result<()> {
        name("name", &self.name)?;
        words(
            "base",
            &self.base,
            "give a recipe's path, such as configs/recipes/quickstart.toml",
        )?;
        path("base", Path::new(&self.base))?;
        words(
            "claim",
            &self.claim,
            "say in a sentence what you expect to see; it is frozen before the first trial",
        )?;
        for (place, text) in [("claim", &self.claim), ("rationale", &self.rationale)] {
            if text.chars().count() > LONGEST {
                return wrong(
                    place,
                    format!("has more than {LONGEST} characters"),
                    "say it shorter",
                );
            }
        }
        self.check_numbers()?;
        for (idx, key) in self.references.iter().enumerate() {
            words(
                &format!("references[{idx}]"),
                key,
                "give a key of the library, or leave it out",
            )?;
        }
        parts("eval", &self.eval)?;
        changes("set", &self.set)?;
        self.check_arms()?;
        if let Some(recipe) = &self.recipe {
            name("recipe.name", &recipe.name)?;
            changes("recipe.set", &recipe.set)?;
        }
        self.check_variant()
    }

    fn check_numbers(&self) -> Result<()> {
        let above = |x: f64| x > 0.0 && x.is_finite();
        let p = &self.prediction;
        let seeds = self.seeds as f64;
        let [low, high] = p.interval.unwrap_or([0.0, 1.0]);
        for (place, value, fits, remedy) in [
            (
                "prediction.effect",
                p.effect,
                p.effect >= 0.0 && p.effect.is_finite(),
                "use its size, 0 or more; the direction says its sign",
            ),
            (
                "prediction.confidence",
                p.confidence,
                (0.0..=1.0).contains(&p.confidence),
                "use a probability, 0 to 1",
            ),
            (
                "prediction.interval[0]",
                low,
                low < high && low.is_finite() && high.is_finite(),
                "give [low, high] of arm minus control, low below high; below zero is better",
            ),
            (
                "margin",
                self.margin,
                above(self.margin),
                "use the smallest effect worth acting on, a number above 0",
            ),
            (
                "seeds",
                seeds,
                (FEWEST..=1000).contains(&self.seeds),
                "use 2 to 1000 paired seeds; 8 is a good start",
            ),
            (
                "device_minutes",
                self.device_minutes,
                above(self.device_minutes),
                "use a number above 0",
            ),
        ] {
            if !fits {
                return wrong(place, format!("is {value}: out of range"), remedy);
            }
        }
        Ok(())
    }

    fn check_arms(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for (idx, arm) in self.arms.iter().enumerate() {
            let place = |key: &str| format!("arms[{idx}].{key}");
            name(&place("name"), &arm.name)?;
            if !names.insert(&arm.name) {
                let problem = format!("is \"{}\", as another arm is", arm.name);
                return wrong(&place("name"), problem, "give each arm a name of its own");
            }
            changes(&place("set"), &arm.set)?;
            match (arm.control, &arm.factor) {
                (true, Some(factor)) => {
                    let problem = format!("is \"{factor}\", and the arm is the control");
                    let remedy = "give null; the other arms name what they change";
                    return wrong(&place("factor"), problem, remedy);
                }
                (false, None) => {
                    let remedy = "name the one key that the arm changes, such as optimizer.lr, or \
                                  control = true for the arm that others are compared with";
                    return wrong(&place("factor"), "is missing".into(), remedy);
                }
                _ => {}
            }
        }
        let controls: Vec<&str> = self
            .arms
            .iter()
            .filter(|arm| arm.control)
            .map(|arm| arm.name.as_str())
            .collect();
        match (&controls[..], self.arms.len()) {
            ([_], 2..) => Ok(()),
            ([_], _) => wrong(
                "arms",
                "has nothing to compare the control with".into(),
                "add an arm with a factor and a set",
            ),
            ([], _) => wrong(
                "arms",
                "has no control".into(),
                "mark exactly one arm with control = true",
            ),
            (several, _) => {
                let problem = format!("has {} controls: {}", several.len(), several.join(", "));
                wrong("arms", problem, "mark exactly one arm with control = true")
            }
        }
    }

    fn check_variant(&self) -> Result<()> {
        let Some(variant) = &self.variant else {
            return Ok(());
        };
        variants::check_new_name(&variant.name).map_err(|e| Error {
            place: "variant.name".into(),
            ..e
        })?;
        words(
            "variant.idea",
            &variant.idea,
            "say what is computed, where, and with which parameters",
        )?;
        let names_it = |arm: &DraftArm| {
            let value = arm.set.iter().find(|change| change.key == VARIANT);
            value.is_some_and(|change| change.value == Setting::Words(variant.name.clone()))
        };
        match self.arms.iter().any(names_it) {
            true => Ok(()),
            false => wrong(
                "variant",
                format!("no arm sets {VARIANT} to \"{}\"", variant.name),
                "let one arm set it, with that key as its factor; or give null where a key of a recipe \
                 says the idea",
            ),
        }
    }
}

fn name(place: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.len() <= 64 && name.chars().all(plain) {
        true => Ok(()),
        false => wrong(
            place,
            format!("is {name:?}, which can't be a name"),
            "use letters, digits, - and _, at most 64",
        ),
    }
}

fn words(place: &str, words: &str, remedy: &str) -> Result<()> {
    match words.trim().is_empty() {
        false => Ok(()),
        true => wrong(place, "is empty".into(), remedy),
    }
}

/// Errors when a path leads out of the folder that it is seen from, by its words; links are for
/// [`inside`](crate::study::inside) to follow.
fn path(place: &str, path: &Path) -> Result<()> {
    let mut depth = 0;
    let stays = path.components().all(|part| {
        depth += match part {
            Component::CurDir => 0,
            Component::Normal(_) => 1,
            Component::ParentDir => -1,
            Component::RootDir | Component::Prefix(_) => return false,
        };
        depth >= 0
    });
    match stays && !path.to_string_lossy().contains('\\') {
        true => Ok(()),
        false => wrong(
            place,
            format!(
                "is {:?}, which leads out of the project's folder",
                path.display().to_string()
            ),
            "give a path inside it, as seen from the project's folder",
        ),
    }
}

fn changes(place: &str, changes: &[Change]) -> Result<()> {
    let mut keys = BTreeSet::new();
    for (idx, change) in changes.iter().enumerate() {
        let at = |key: &str| format!("{place}[{idx}].{key}");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let part = |part: &str| !part.is_empty() && part.chars().all(plain);
        if !change.key.split('.').all(part) {
            let problem = format!("is {:?}, which is not a dotted key", change.key);
            return wrong(&at("key"), problem, "write it as optimizer.lr is written");
        }
        if !keys.insert(&change.key) {
            let problem = format!("sets {} once more", change.key);
            return wrong(&at("key"), problem, "set each key once");
        }
        if let Some(named) = change.path() {
            path(&at("value"), named)?;
        }
        setting(&at("value"), &change.value)?;
    }
    Ok(())
}

fn setting(place: &str, value: &Setting) -> Result<()> {
    let numbers: Vec<f64> = match value {
        Setting::Flag(_) | Setting::Words(_) => Vec::new(),
        Setting::Number(x) => vec![*x],
        Setting::Numbers(list) => list.clone(),
        Setting::Mixture(mixture) => mixture.iter().map(|part| part.weight).collect(),
        Setting::Phases(phases) => {
            let of = |phase: &MixturePhase| {
                [
                    vec![phase.at, phase.over],
                    phase.mixture.iter().map(|p| p.weight).collect(),
                ]
                .concat()
            };
            phases.iter().flat_map(of).collect()
        }
    };
    match numbers.iter().find(|x| !x.is_finite()) {
        None => Ok(()),
        Some(x) => wrong(place, format!("has {x}"), "use plain numbers"),
    }
}

fn parts(place: &str, parts: &[Part]) -> Result<()> {
    let mut names = BTreeSet::new();
    for (idx, part) in parts.iter().enumerate() {
        let at = |key: &str| format!("{place}[{idx}].{key}");
        words(&at("corpus"), &part.corpus, "give a corpus's name")?;
        if !names.insert(&part.corpus) {
            return wrong(
                &at("corpus"),
                format!("is \"{}\" once more", part.corpus),
                "name each corpus once",
            );
        }
        if !(part.weight > 0.0 && part.weight.is_finite()) {
            let remedy = "weights of what is evaluated must be above 0; leave the others out";
            return wrong(&at("weight"), format!("is {}", part.weight), remedy);
        }
    }
    Ok(())
}

fn wrong<T>(place: &str, problem: String, remedy: &str) -> Result<T> {
    Err(Error::input(place, problem, remedy))
}
