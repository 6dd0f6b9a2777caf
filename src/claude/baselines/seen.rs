//! What the ledger knows of a space: how each change of its recipe came out.

use super::space::{Space, same};
use crate::{
    run::Run,
    study::{
        arms::flat_changes,
        judged::Judged,
        verdict::{ArmVerdict, Call},
    },
    toml_file::parse_value,
};
use std::collections::BTreeSet;

/// A change that has a verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub path: String,
    pub value: toml::Value,
    /// Arm minus control, in the space's margins; below zero is better.
    pub difference: f64,
    pub call: Call,
}

/// What a change that diverged counts for, in margins: far off, but a number.
const DIVERGED: f64 = 10.0;

/// Every change of one key of the space, from the same recipe and by the same metric, whoever proposed it.
pub fn seen(judged: &[Judged], space: &Space) -> Vec<Seen> {
    let comparable = judged.iter().filter(|study| {
        let control = study.contract.terms.arms.first();
        study.verdict.rule.metric == space.decision.metric
            && control.is_some_and(|arm| same_recipe(space, &arm.run, arm.tokens))
    });
    let arms = comparable.flat_map(|study| {
        let arms = study.verdict.arms.iter();
        arms.filter_map(|arm| change(study, arm, space))
    });
    arms.collect()
}

fn change(study: &Judged, arm: &ArmVerdict, space: &Space) -> Option<Seen> {
    let terms = study
        .contract
        .terms
        .arms
        .iter()
        .find(|terms| terms.name == arm.arm)?;
    let mut changes = terms.changes.iter();
    let (path, (_, after)) = changes.next()?;
    let alone = changes.next().is_none();
    let value = parse_value(after);
    let known = space.vary.get(path)?.place(&value).is_some();
    let difference = match (arm.effect, arm.call) {
        (_, Call::Invalid) => return None,
        (Some(effect), _) => (effect.mean / space.decision.margin).min(DIVERGED),
        (None, _) => DIVERGED,
    };
    (alone && known).then(|| Seen {
        path: path.clone(),
        value,
        difference,
        call: arm.call,
    })
}

/// Whether a study's control was trained as the space's recipe says: model, optimizer, schedule, rows, tokens
/// and corpora.
fn same_recipe(space: &Space, control: &Run, tokens: u64) -> bool {
    let leaves = |table: toml::Table| flat_changes(&toml::Table::new(), &table);
    let written = toml::Table::try_from(&space.recipe).expect("a recipe is plain data");
    let resolved = leaves(toml::Table::try_from(control).expect("a run is plain data"));
    let decides = |path: &str| {
        ["model.", "optimizer.", "schedule.", "batch.rows"]
            .iter()
            .any(|head| path.starts_with(head))
    };
    let alike = leaves(written).into_iter().all(|(path, (_, value))| {
        let there = resolved.get(&path).map(|(_, there)| there);
        !decides(&path)
            || there.is_some_and(|there| same(&parse_value(there), &parse_value(&value)))
    });
    let names = |shares: &[crate::data::Share]| -> BTreeSet<String> {
        shares.iter().map(|share| share.corpus.clone()).collect()
    };
    alike
        && space
            .recipe
            .planned_tokens()
            .is_none_or(|planned| planned == tokens)
        && names(&space.recipe.data.mixture) == names(&control.data.mixture)
}
