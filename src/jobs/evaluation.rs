//! What a study is judged by, and whether that is what its recipe and its campaign are judged by: nobody
//! may move the goal by proposing a study.

use crate::{
    data::{Share, mixture::normalised},
    error::Result,
    session::Session,
    study::{arms::flat_changes, campaign::Member, contract::Contract, proposal::Study},
};
use std::{collections::BTreeMap, path::Path};

/// Corpora with their shares, in words.
fn words(shares: &[Share]) -> Result<String> {
    let shares = normalised("decision.eval", shares)?;
    let words = shares
        .iter()
        .map(|share| format!("{} {:.0}%", share.corpus, 100.0 * share.weight));
    Ok(words.collect::<Vec<_>>().join(", "))
}

/// What a study is judged by, in words; and where that is not what its recipe, or the studies of its
/// campaign before it, are judged by.
pub fn of(
    session: &Session,
    study: &Study,
    contract: &Contract,
) -> Result<(String, Option<String>)> {
    let terms = &contract.terms;
    let control = &terms.arms[0].run;
    let judged_by = format!(
        "{} of {}, {} windows a corpus",
        terms.decision.metric.name(),
        words(&control.eval.corpora)?,
        match control.eval.windows {
            0 => "all".into(),
            n => n.to_string(),
        }
    );
    let other = match other_than_campaign(session, contract)? {
        Some(other) => Some(other),
        None => other_than_recipe(study, contract)?,
    };
    Ok((judged_by, other))
}

/// By campaigns, windows, corpora and metric are those of their first study.
fn other_than_campaign(session: &Session, contract: &Contract) -> Result<Option<String>> {
    let terms = &contract.terms;
    let Some(place) = &terms.campaign else {
        return Ok(None);
    };
    let members: Vec<Member> = place.campaign.members(&session.home)?;
    let Some(first) = members.first().filter(|m| m.contract.id != contract.id) else {
        return Ok(None);
    };
    let theirs = &first.contract.terms;
    let mut differs = Vec::new();
    if theirs.decision.metric != terms.decision.metric {
        differs.push(format!("by {}", terms.decision.metric.name()));
    }
    let (before, now) = (&theirs.arms[0].run.eval, &terms.arms[0].run.eval);
    if shares(&before.corpora) != shares(&now.corpora) {
        differs.push(format!("on {}", words(&now.corpora)?));
    } else if theirs.windows != terms.windows {
        differs.push("on other windows".into());
    }
    Ok((!differs.is_empty()).then(|| {
        format!(
            "it would be judged {}; {}, the first study of campaign \"{}\", was not",
            differs.join(" and "),
            first.contract.id,
            place.campaign.name
        )
    }))
}

/// The recipe's own evaluation is every corpus that it, or that any arm, trains on; or what it names.
fn other_than_recipe(study: &Study, contract: &Contract) -> Result<Option<String>> {
    let folder = study.source.path.parent().unwrap_or(Path::new(""));
    let base = folder.join(&study.proposal.base);
    let (recipe, _) = crate::recipe::Recipe::read(&base)?;
    let judged = &contract.terms.arms[0].run.eval;
    let windows = flat_changes(&recipe.eval, &study.control().recipe.eval);
    if let Some((before, after)) = windows.get("windows") {
        return Ok(Some(format!(
            "it sets eval.windows to {after}, its recipe has {before}"
        )));
    }
    let of_arms = || {
        let trained = study.arms.iter().flat_map(|arm| {
            let trained = arm.recipe.data.trained().into_iter();
            trained
                .map(|share| share.corpus.clone())
                .collect::<Vec<_>>()
        });
        let mut names: Vec<String> = trained.collect();
        names.sort();
        names.dedup();
        names
            .iter()
            .map(|name| Share::of(name, 1.0))
            .collect::<Vec<_>>()
    };
    let own = recipe.eval_corpora();
    let mine = shares(&judged.corpora);
    let fits =
        mine == shares(&own) || (recipe.eval.corpora.is_empty() && mine == shares(&of_arms()));
    Ok(match fits {
        true => None,
        false => Some(format!(
            "it would be judged on {}, its recipe on {}",
            words(&judged.corpora)?,
            words(&own)?
        )),
    })
}

/// Shares by corpus, so that two evaluations can be compared.
fn shares(shares: &[Share]) -> BTreeMap<String, String> {
    let total: f64 = shares.iter().map(|share| share.weight).sum();
    let of = |share: &Share| format!("{:.6}", share.weight / total);
    shares
        .iter()
        .map(|share| (share.corpus.clone(), of(share)))
        .collect()
}
