//! Arms: patches of one recipe that differ in one declared factor and are asked the same questions
//! after spending the same.

use super::proposal::{ArmProposal, Matched, Proposal};
use crate::{
    data::Share,
    error::{Error, Result},
    recipe::{Recipe, seen_from},
    toml_file::{Change, Place, Places, Source},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// An arm with its whole recipe.
#[derive(Debug, Clone)]
pub struct Arm {
    pub name: String,
    /// `None` for the control.
    pub factor: Option<String>,
    /// Against the control: what changed, as TOML (before, after), by path.
    pub changes: BTreeMap<String, (String, String)>,
    pub recipe: Recipe,
    /// What set the recipe's keys.
    pub places: Places,
}

/// A factor's name for several changes on purpose.
pub const STACK: &str = "stack";
/// A factor's name for no change at all.
pub const NONE: &str = "none";

/// Every arm with its whole recipe, the control first, then as written; `shared` are changes for
/// all, in layers, and `set_by` is what set the study's own keys. Errors name file and line.
pub fn arms(
    source: &Source,
    proposal: &Proposal,
    shared: &[Vec<Change>],
    set_by: &Places,
) -> Result<Vec<Arm>> {
    let controls: Vec<&String> = proposal
        .arms
        .iter()
        .filter(|(_, arm)| arm.control)
        .map(|(name, _)| name)
        .collect();
    let [control] = controls[..] else {
        return Err(Error::input(
            source.place_of(&["arms"]),
            format!("{} arms say control = true", controls.len()),
            "mark exactly one arm as the control",
        ));
    };
    if proposal.arms.len() < 2 {
        return Err(Error::input(
            source.place_of(&["arms", control]),
            "there is nothing to compare the control with",
            "add an arm: [arms.NAME] with a factor and a set",
        ));
    }
    let folder = source.path.parent().unwrap_or(Path::new("."));
    let base_path = folder.join(&proposal.base);
    let (base, base_place) = Recipe::read(&base_path).map_err(|e| match base_path.is_file() {
        true => e,
        false => Error {
            place: source.place_of(&["base"]),
            problem: format!("base: {}: {}", e.place, e.problem),
            remedy: "give the recipe's path as seen from the study's folder".into(),
            ..e
        },
    })?;
    let mut places = Places::new(base_place);
    let mut recipe = base;
    for changes in shared {
        for (key, _, place) in changes {
            frozen_keys(key, place)?;
        }
        recipe = recipe.patched(changes, &mut places)?;
    }
    let mut order: Vec<&String> = proposal.arms.keys().collect();
    order.sort_by_key(|name| (*name != control, source.line_of_path(&["arms", name])));
    let mut arms: Vec<Arm> = Vec::new();
    for name in order {
        let arm = arm(source, (name, &proposal.arms[name]), (&recipe, &places))?;
        arms.push(arm);
    }
    let control_recipe = arms[0].recipe.clone();
    for arm in &mut arms[1..] {
        arm.changes = changes(&control_recipe, &arm.recipe);
        one_factor(source, arm)?;
        comparable((&control_recipe, proposal.decision.matched), arm)?;
    }
    share_what_is_measured(set_by, proposal, &mut arms);
    Ok(arms)
}

/// One arm: the shared recipe with its own changes, checked.
fn arm(
    source: &Source,
    (name, written): (&str, &ArmProposal),
    (shared, places): (&Recipe, &Places),
) -> Result<Arm> {
    let mut places = places.clone();
    let folder = source.path.parent().unwrap_or(Path::new(""));
    let changes = seen_from(source.changes(&["arms", name, "set"], &written.set), folder);
    for (key, _, place) in &changes {
        if key.ends_with("seed") || key == "eval" || key.starts_with("eval.") {
            return Err(Error::input(
                place.find(key).unwrap_or_default(),
                format!("arms.{name} sets {key}, which all arms share"),
                "leave it out: seeds are paired, and [decision] freezes what is evaluated",
            ));
        }
        frozen_keys(key, place)?;
    }
    let recipe = shared.patched(&changes, &mut places)?;
    recipe.check(&places)?;
    let factor = match (written.control, &written.factor) {
        (true, None) => None,
        (true, Some(_)) => {
            return Err(Error::input(
                source.place_of(&["arms", name, "factor"]),
                format!("arms.{name} is the control and has a factor"),
                "leave the factor out; the other arms name what they change",
            ));
        }
        (false, Some(factor)) => Some(factor.clone()),
        (false, None) => {
            return Err(Error::input(
                source.place_of(&["arms", name]),
                format!("arms.{name} has no factor"),
                "name the one path that it changes, such as factor = \"optimizer.lr\"",
            ));
        }
    };
    Ok(Arm {
        name: name.into(),
        factor,
        changes: BTreeMap::new(),
        recipe,
        places,
    })
}

/// `[decision]` says what is evaluated; a recipe key that would is refused.
fn frozen_keys(key: &str, place: &Place) -> Result<()> {
    if key == "eval.corpora" || key == "data.vocabulary" {
        return Err(Error::input(
            place.find(key).unwrap_or_default(),
            format!("{key} can't be set in a study"),
            "write decision.eval = [{ corpus = \"…\" }]; the vocabulary is that of all arms",
        ));
    }
    Ok(())
}

/// Same evaluation and same vocabulary for every arm, whatever each trains on.
fn share_what_is_measured(set_by: &Places, proposal: &Proposal, arms: &mut [Arm]) {
    let mut trained = BTreeSet::new();
    for arm in arms.iter() {
        let of_arm = arm.recipe.data.trained().into_iter();
        trained.extend(of_arm.map(|share| share.corpus.clone()));
    }
    let eval = match proposal.decision.eval.is_empty() {
        false => proposal.decision.eval.clone(),
        true => trained
            .iter()
            .map(|corpus| Share::of(corpus, 1.0))
            .collect(),
    };
    let mut vocabulary: BTreeSet<String> =
        arms.iter().flat_map(|a| a.recipe.vocabulary()).collect();
    vocabulary.extend(eval.iter().map(|share| share.corpus.clone()));
    let place = set_by.find("decision.eval");
    for arm in arms {
        if !proposal.decision.eval.is_empty() {
            arm.places.push(Place::text(place.clone(), "eval.corpora"));
        }
        arm.recipe.eval.corpora = eval.clone();
        arm.recipe.data.vocabulary = vocabulary.iter().cloned().collect();
    }
}

/// What differs between two recipes, as TOML (before, after), by path.
pub fn changes(control: &Recipe, arm: &Recipe) -> BTreeMap<String, (String, String)> {
    flat_changes(control, arm)
}

/// The same for any two tables of plain data.
pub fn flat_changes<T: Serialize>(control: &T, arm: &T) -> BTreeMap<String, (String, String)> {
    let flat = |recipe: &T| {
        let table = toml::Table::try_from(recipe).expect("a recipe is plain data");
        let mut leaves = BTreeMap::new();
        flatten("", &table, &mut leaves);
        leaves
    };
    let (before, after) = (flat(control), flat(arm));
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let text = |leaves: &BTreeMap<String, String>, path: &String| {
        leaves.get(path).cloned().unwrap_or_else(|| "unset".into())
    };
    paths
        .into_iter()
        .map(|path| (path.clone(), (text(&before, path), text(&after, path))))
        .filter(|(_, (before, after))| before != after)
        .collect()
}

fn flatten(prefix: &str, table: &toml::Table, leaves: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let path = match prefix {
            "" => key.clone(),
            _ => format!("{prefix}.{key}"),
        };
        match value {
            toml::Value::Table(inner) => flatten(&path, inner, leaves),
            _ => {
                leaves.insert(path, value.to_string());
            }
        }
    }
}

/// An arm differs from the control where it says, and nowhere else.
fn one_factor(source: &Source, arm: &Arm) -> Result<()> {
    let factor = arm.factor.as_deref().unwrap_or_default();
    let place = source.place_of(&["arms", &arm.name, "factor"]);
    let inside = |path: &str| {
        path == factor
            || path
                .strip_prefix(factor)
                .is_some_and(|rest| rest.starts_with('.'))
    };
    let outside: Vec<&String> = arm.changes.keys().filter(|p| !inside(p)).collect();
    let list = |paths: &[&String]| {
        let words: Vec<&str> = paths.iter().map(|p| p.as_str()).collect();
        words.join(", ")
    };
    match factor {
        STACK if !arm.changes.is_empty() => Ok(()),
        NONE if arm.changes.is_empty() => Ok(()),
        _ if arm.changes.is_empty() => Err(Error::input(
            place,
            format!("arms.{} does not differ from the control", arm.name),
            "change the factor's value, or say factor = \"none\" for an A/A study",
        )),
        _ if outside.is_empty() => Ok(()),
        NONE => Err(Error::input(
            place,
            format!(
                "arms.{} says factor = \"none\" and changes {}",
                arm.name,
                list(&outside)
            ),
            "leave the changes out, or name the factor",
        )),
        _ => Err(Error::input(
            place,
            format!(
                "arms.{} differs from the control in {} besides its factor {factor:?}",
                arm.name,
                list(&outside)
            ),
            "change one thing an arm, or say factor = \"stack\" when several belong together",
        )),
    }
}

/// Arms are asked the same questions after spending the same, as far as the files alone say.
fn comparable((control, matched): (&Recipe, Matched), arm: &Arm) -> Result<()> {
    for key in ["model.block_size", "data.tokenizer"] {
        if let Some((before, after)) = arm.changes.get(key) {
            return Err(Error::input(
                arm.places.find(key),
                format!(
                    "arms.{} sets {key} to {after}, the control has {before}",
                    arm.name
                ),
                "arms must read the same validation windows; make it a study of its own",
            ));
        }
    }
    let (c, a) = (control.planned_tokens(), arm.recipe.planned_tokens());
    if matched == Matched::Tokens && c.is_some() && a.is_some() && c != a {
        return Err(Error::input(
            arm.places
                .find_any(&["budget", "batch.rows", "model.block_size"]),
            format!(
                "arms.{} trains on {} tokens, the control on {}: their budgets differ",
                arm.name,
                a.unwrap_or_default(),
                c.unwrap_or_default()
            ),
            "give budget.tokens once for all arms, or compare at equal compute with decision.match = \"flops\"",
        ));
    }
    Ok(())
}
