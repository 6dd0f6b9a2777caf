//! The library: papers by key, searched by words.
//!
//! Built in is what `data/library/*.bib` holds: records that were looked up, each with where, and
//! with a note in our own words on what it found at what size and what that means for an ablation
//! of small models. A home adds files of its own, `<home>/library/*.bib` ([`added`]), by hand or
//! from arXiv ([`arxiv`]). A finding cites by key, and a key that is in none of them is refused.
//!
//! The index is SQLite's FTS5 with bm25, in memory: it is made anew from the files each time, a few
//! milliseconds for hundreds of records, so it can't be stale or damaged.

pub mod added;
pub mod arxiv;
pub mod bibtex;
mod index;

use super::quoted::{quoted, visible_line};
use crate::{
    error::{Error, Result, nearest},
    jobs::Checked,
    study::arms::{NONE, STACK},
};
use bibtex::Record;
use index::Index;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// What comes with the program: a file's name and its text.
const BUILT_IN: [(&str, &str); 7] = [
    (
        "optimizers.bib",
        include_str!("../../data/library/optimizers.bib"),
    ),
    (
        "schedules.bib",
        include_str!("../../data/library/schedules.bib"),
    ),
    ("data.bib", include_str!("../../data/library/data.bib")),
    (
        "scaling.bib",
        include_str!("../../data/library/scaling.bib"),
    ),
    (
        "stability.bib",
        include_str!("../../data/library/stability.bib"),
    ),
    (
        "evaluation.bib",
        include_str!("../../data/library/evaluation.bib"),
    ),
    (
        "architecture.bib",
        include_str!("../../data/library/architecture.bib"),
    ),
];

/// Papers of one factor that an answer lists.
const OF_A_FACTOR: usize = 5;

/// Every record that a home knows, and an index of them.
pub struct Library {
    records: Vec<Record>,
    index: Index,
}

/// A record that was found, with how well it fits: more is better.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    pub key: String,
    pub title: String,
    pub authors: Vec<String>,
    pub year: i64,
    pub identifier: String,
    /// In our own words for what is built in; else as its file has it, or the abstract.
    pub note: String,
    /// The factors that it says something about, as paths of a recipe.
    pub factors: Vec<String>,
    pub built_in: bool,
    pub score: f64,
}

/// What the library says about one factor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfFactor {
    pub factor: String,
    pub hits: Vec<Hit>,
}

impl Library {
    /// What is built in and what `home` added. Errors name file and line of a record that is not
    /// as it must be.
    pub fn open(home: &Path) -> Result<Self> {
        let mut records = built_in()?;
        records.extend(added::records(home)?);
        let mut places: BTreeMap<&str, &Record> = BTreeMap::new();
        for record in &records {
            if let Some(known) = places.insert(&record.key, record) {
                return Err(added::twice(record, known));
            }
        }
        let index = Index::of(&records)?;
        Ok(Self { records, index })
    }

    /// At most `n` records that have the words of `query`, best first. Any text is a query: what
    /// is not a word is left out, and one without words finds nothing.
    pub fn search(&self, query: &str, n: usize) -> Result<Vec<Hit>> {
        let found = self.index.search(query, n)?;
        let hit = |(idx, score): &(usize, f64)| hit(&self.records[*idx], *score);
        Ok(found.iter().map(hit).collect())
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    pub fn has(&self, key: &str) -> bool {
        self.records.iter().any(|record| record.key == key)
    }

    /// The record that a citation means. Errors with the nearest key there is.
    pub fn get(&self, key: &str) -> Result<&Record> {
        let found = self.records.iter().find(|record| record.key == key);
        found.ok_or_else(|| {
            let place = format!("citation {:?}", visible_line(key));
            let remedy = match self.near(key) {
                Some(near) => format!("did you mean \"{near}\"? `windtunnel lit search WORDS` finds records, and `windtunnel lit add FILE.bib` adds them"),
                None => "find one with `windtunnel lit search WORDS`, or add its record with `windtunnel lit add FILE.bib`".into(),
            };
            Error::input(place, "no record in the library has this key", remedy)
        })
    }

    /// The key that was meant: spelt nearly so, or of a record with the same author.
    fn near(&self, key: &str) -> Option<String> {
        let keys = self.records.iter().map(|record| record.key.as_str());
        if let Some(near) = nearest(key, keys) {
            return Some(near.into());
        }
        let letter = |c: char| c.is_ascii_alphabetic();
        let author: String = key.chars().take_while(|c| letter(*c)).collect();
        let same = |record: &&Record| {
            let own: String = record.key.chars().take_while(|c| letter(*c)).collect();
            author.len() > 2 && own == author
        };
        let found = self.records.iter().find(same);
        found.map(|record| record.key.clone())
    }

    /// What is known about a factor, such as `optimizer.lr`: records that name it, then those that
    /// name what it is part of or what is part of it, then those that have its words.
    pub fn about_factor(&self, path: &str) -> Result<Vec<Hit>> {
        self.about_change(path, "")
    }

    /// The same where `value` is what the factor becomes: of records that are as near, those that
    /// have its words come first.
    pub fn about_change(&self, path: &str, value: &str) -> Result<Vec<Hit>> {
        let words = self.index.search(value, self.records.len())?;
        let words: BTreeMap<usize, f64> = words.into_iter().collect();
        let worth = |idx: usize, place: usize| {
            // A record lists first what it is mostly about.
            words.get(&idx).copied().unwrap_or_default() + 2.0 / (1.0 + place as f64)
        };
        let near = self.records.iter().enumerate();
        let mut near: Vec<(usize, f64, usize)> = near
            .filter_map(|(idx, record)| {
                let (distance, place) = nearness(record, path)?;
                Some((distance, worth(idx, place), idx))
            })
            .collect();
        if near.is_empty() {
            return self.search(&words_of(path), OF_A_FACTOR);
        }
        near.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
        let near = near.into_iter().take(OF_A_FACTOR);
        Ok(near
            .map(|(_, worth, idx)| hit(&self.records[idx], worth))
            .collect())
    }

    /// What is known about each factor, once each and in order; `stack` and `none` are no factors.
    pub fn for_factors(&self, factors: &[&str]) -> Result<Vec<OfFactor>> {
        let changes: Vec<(&str, &str)> = factors.iter().map(|factor| (*factor, "")).collect();
        self.for_changes(&changes)
    }

    /// What is known about what a checked study changes: the factor that each arm names, or every
    /// path of an arm that changes several.
    pub fn for_checked(&self, checked: &Checked) -> Result<Vec<OfFactor>> {
        let mut changes = Vec::new();
        for arm in &checked.arms {
            let named = arm.factor.as_deref().filter(|factor| *factor != STACK);
            for (path, (_, after)) in &arm.changes {
                changes.push((named.unwrap_or(path), after.as_str()));
            }
        }
        self.for_changes(&changes)
    }

    fn for_changes(&self, changes: &[(&str, &str)]) -> Result<Vec<OfFactor>> {
        let mut said = Vec::new();
        let mut seen = BTreeSet::new();
        for (factor, _) in changes {
            if [STACK, NONE].contains(factor) || !seen.insert(*factor) {
                continue;
            }
            let values = changes.iter().filter(|(other, _)| other == factor);
            let values: Vec<&str> = values.map(|(_, value)| *value).collect();
            let hits = self.about_change(factor, &values.join(" "))?;
            said.push(OfFactor {
                factor: (*factor).into(),
                hits,
            });
        }
        Ok(said)
    }
}

impl OfFactor {
    /// The first few, a line each, for people.
    pub fn lines(&self) -> Vec<String> {
        let line = |hit: &Hit| format!("{}: {} {} ({})", self.factor, hit.key, hit.title, hit.year);
        self.hits.iter().take(3).map(line).collect()
    }
}

/// Hits as a prompt has them: keys plain, all that others wrote marked as data.
pub fn as_data(hits: &[Hit]) -> String {
    let of = |hit: &Hit| {
        let words = format!(
            "{}\n{} ({})\n{}\n{}",
            hit.title,
            hit.authors.join(", "),
            hit.year,
            hit.identifier,
            hit.note
        );
        format!("[{}]\n{}", hit.key, quoted("paper", &words))
    };
    hits.iter().map(of).collect::<Vec<_>>().join("\n")
}

fn built_in() -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for (name, text) in BUILT_IN {
        let place = format!("built-in {name}");
        records.extend(bibtex::parse(&place, text, true)?);
    }
    Ok(records)
}

/// How far what a record is about is from a factor (0 the same, 1 a part of it or the whole), and
/// the place among the record's factors of the nearest one.
fn nearness(record: &Record, path: &str) -> Option<(usize, usize)> {
    let part = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('.'));
    let of = |(place, factor): (usize, &String)| match factor == path {
        true => Some((0, place)),
        false => (part(factor, path) || part(path, factor)).then_some((1, place)),
    };
    record.factors.iter().enumerate().filter_map(of).min()
}

/// A path's words without its table's, which says little: "rope base" of `model.rope_base`.
fn words_of(path: &str) -> String {
    let last = path.rsplit_once('.').map_or(path, |(_, last)| last);
    last.replace('_', " ")
}

fn hit(record: &Record, score: f64) -> Hit {
    Hit {
        key: record.key.clone(),
        title: record.title.clone(),
        authors: record.authors.clone(),
        year: record.year,
        identifier: record.identifier(),
        note: record
            .note
            .clone()
            .or(record.summary.clone())
            .unwrap_or_default(),
        factors: record.factors.clone(),
        built_in: record.built_in,
        score,
    }
}
