//! A brief out of what a home and a project hold.

use super::{ArmDigest, Brief, StudyDigest};
use crate::{
    claude::{
        baselines::{self, By, Space},
        exchange::dollars_left_today,
        literature::{Library, as_data},
        proposed, schema,
    },
    data,
    error::Result,
    jobs::{Store, limits::Limits},
    metrics::Metric,
    recipe::Recipe,
    report::duration,
    study::{
        contract::{StudyDir, studies},
        finding,
        judged::{self, Judged},
        ledger::Ledger,
        verdict::{ArmVerdict, Percent, digits},
    },
    toml_file::Source,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Papers on the question.
const MOST_HITS: usize = 6;

/// What a home and the project at `root` say on a question; what is left to spend is for the caller
/// to add. Errors when the ledger or the library can't be read; damaged studies are left out.
pub fn gather(
    home: &Path,
    root: &Path,
    about: Option<&str>,
    space: Option<&Space>,
) -> Result<Brief> {
    let ledger = Ledger::read(home)?;
    let mut noises = Vec::new();
    for metric in [Metric::Bpb, Metric::Loss] {
        noises.extend(ledger.bank(metric)?.iter().map(|noise| noise.in_words()));
    }
    let corpora = data::Library::new(home).list()?;
    let corpora = corpora.into_iter().map(|c| (c.name, c.state, c.about));
    Ok(Brief {
        about: about.map(str::to_string),
        recipes: recipes(root),
        corpora: corpora.collect(),
        keys: keys(),
        library: library(home, about)?,
        noises,
        studies: digests(home),
        baselines: space.map_or(Vec::new(), |space| baseline(home, space)),
        turned_away: proposed::turned_away(home),
        asked: asked(home),
        left: Vec::new(),
    })
}

/// Recipes of a project, by path as seen from its folder.
fn recipes(root: &Path) -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for folder in ["configs/recipes", "."] {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
        let found = entries.flatten().map(|entry| entry.path());
        let mut found: Vec<PathBuf> = found
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .collect();
        found.sort();
        paths.extend(found);
    }
    let read = |path: PathBuf| {
        let source = Source::read(&path).ok()?;
        source.parse::<Recipe>().ok()?;
        let seen = path.strip_prefix(root).unwrap_or(&path);
        let seen = seen.strip_prefix(".").unwrap_or(seen);
        Some((seen.display().to_string(), source.text))
    };
    paths.into_iter().filter_map(read).collect()
}

/// Every dotted key of a recipe, by its schema.
fn keys() -> Vec<String> {
    let schema = schema::recipe();
    let mut keys = Vec::new();
    collect(&schema, &schema, String::new(), &mut keys);
    keys
}

/// Deeper tables are values of their own: a list of shares, a phase.
const DEEPEST: usize = 3;

fn collect(whole: &Value, at: &Value, path: String, keys: &mut Vec<String>) {
    let reference = |at: &Value| {
        let name = at["$ref"].as_str()?.strip_prefix("#/$defs/")?;
        whole["$defs"].get(name)
    };
    let either = at["anyOf"].as_array().and_then(|options| options.first());
    let at = reference(at).or(either.and_then(reference)).unwrap_or(at);
    let depth = path.split('.').filter(|part| !part.is_empty()).count();
    let properties = at["properties"].as_object().filter(|_| depth < DEEPEST);
    let Some(properties) = properties else {
        keys.push(path);
        return;
    };
    for (name, inner) in properties {
        let inner_path = match path.is_empty() {
            true => name.clone(),
            false => format!("{path}.{name}"),
        };
        collect(whole, inner, inner_path, keys);
    }
}

fn library(home: &Path, about: Option<&str>) -> Result<String> {
    let Some(about) = about else {
        return Ok(String::new());
    };
    Ok(as_data(&Library::open(home)?.search(about, MOST_HITS)?))
}

/// Finished studies, the oldest first.
fn digests(home: &Path) -> Vec<StudyDigest> {
    let (mut judged, _) = judged::all(home);
    let finished = |study: &Judged| {
        let dir = StudyDir::new(studies(home).join(&study.contract.id));
        let modified = fs::metadata(dir.verdict_path()).and_then(|m| m.modified());
        modified.unwrap_or(SystemTime::UNIX_EPOCH)
    };
    judged.sort_by_key(|study| (finished(study), study.contract.id.clone()));
    judged.iter().map(|study| digest(home, study)).collect()
}

fn digest(home: &Path, study: &Judged) -> StudyDigest {
    let terms = &study.contract.terms;
    let arm = |verdict: &ArmVerdict| {
        let of_arm = terms.arms.iter().find(|arm| arm.name == verdict.arm);
        let changes = of_arm.iter().flat_map(|arm| &arm.changes);
        let changes = changes.map(|(key, (before, after))| format!("{key} {before} → {after}"));
        let change = changes.collect::<Vec<_>>().join(", ");
        let factor = of_arm.and_then(|arm| arm.factor.clone());
        ArmDigest {
            change: match change.is_empty() {
                true => "the control again".into(),
                false => change,
            },
            factor: factor.unwrap_or_default(),
            call: verdict.call.name().into(),
            effect: effect(study, verdict),
            needed: verdict.needed.as_ref().map(|needed| needed.in_words()),
        }
    };
    StudyDigest {
        id: study.contract.id.clone(),
        claim: terms.hypothesis.claim.clone(),
        arms: study.verdict.arms.iter().map(arm).collect(),
        cost: format!(
            "{}, {} tokens",
            duration(60.0 * study.minutes),
            study.verdict.cost.tokens
        ),
        exploratory: !study.verdict.exploratory.is_empty(),
        finding: newest_finding(home, &study.contract.id),
    }
}

/// The newest finding on a study that still stands.
fn newest_finding(home: &Path, study: &str) -> Option<String> {
    let dir = StudyDir::new(studies(home).join(study));
    let kept = finding::of_study(home, &dir).ok()?;
    let kept = kept.into_iter().rfind(|kept| kept.stale.is_none());
    kept.map(|kept| kept.finding.text)
}

/// Points of the space that came out best.
const MOST_POINTS: usize = 5;

/// What an optimiser of a space knows: its best points, and what it would try next.
fn baseline(home: &Path, space: &Space) -> Vec<String> {
    let (judged, _) = judged::all(home);
    let mut seen = baselines::seen(&judged, space);
    let next = baselines::choose(space, By::Tpe, &seen, judged.len() as u64);
    seen.sort_by(|a, b| a.difference.total_cmp(&b.difference));
    let best = seen.iter().take(MOST_POINTS).map(|point| {
        format!(
            "{} = {}: {} ({:+.2} margins against its base)",
            point.path,
            point.value,
            point.call.name(),
            point.difference
        )
    });
    let next = next.map(|point| format!("a TPE would try {} = {} next", point.path, point.value));
    best.chain(next).collect()
}

/// What proposers would ask next.
fn asked(home: &Path) -> Vec<String> {
    let all = proposed::all(home).into_iter();
    all.flat_map(|proposed| proposed.next_questions).collect()
}

/// What the home's limits leave, in lines.
pub fn limits_left(home: &Path) -> Result<Vec<String>> {
    let limits = Limits::read(home)?;
    let spent = Store::existing(home)?
        .map(|store| store.day(None))
        .transpose()?;
    let spent = spent.unwrap_or_default();
    let day = (limits.day.device_minutes - spent.device_minutes).max(0.0);
    Ok(vec![
        format!(
            "{:.1} device-minutes for one study; more has to wait for a person",
            limits.proposal.device_minutes.min(day)
        ),
        format!("{day:.1} device-minutes today"),
        format!("${:.4} today", dollars_left_today(home)?),
    ])
}

fn effect(study: &Judged, verdict: &ArmVerdict) -> String {
    let rule = &study.verdict.rule;
    let n = digits(rule.margin);
    match &verdict.effect {
        Some(e) => format!(
            "{:+.n$} {} ({}% interval {:+.n$} to {:+.n$}), margin {}, {} pairs",
            e.mean,
            rule.metric.unit(),
            Percent(e.confidence),
            e.low,
            e.high,
            rule.margin,
            e.n
        ),
        None => match &verdict.invalid {
            Some(why) => format!("invalid: {why}"),
            None => format!(
                "{} of its trials diverged, {} of the control's",
                verdict.diverged.1, verdict.diverged.0
            ),
        },
    }
}
