//! Findings: what a verdict means, in somebody's words and the ledger's numbers.
//!
//! A finding is text in which every number is a key, `{{verdict.effect}}`, that is filled in from the study's
//! ledger entry; a number that stands there by itself is refused ([`numbers`]), as are a citation whose
//! key is not in the library, words that say otherwise than the verdict ([`claims`]), and text that reads
//! otherwise than it is written ([`plain`]). What is kept names the verdicts that it rests on by digest, so
//! that one whose verdict has changed is known ([`crate::study::finding`]).

mod claims;
mod keys;
mod numbers;
mod plain;
mod template;

use super::literature::Library;
use crate::{
    error::{Error, Result},
    report::{self, StudyReport},
    study::{
        finding::{Kept, Said, digest, keep, lock},
        judged::{self, Judged},
        verdict::{ArmVerdict, Call},
    },
};
pub use keys::{Entry, Keys};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};
use template::{Fault, Kind, Part, parts, place};

/// More is an essay.
const LONGEST: usize = 8000;
/// Faults that an error lists.
const MOST_LISTED: usize = 8;

/// Fills in a finding's keys, checks it and writes it down in its study's folder, whose report then
/// shows it. The same text on the same verdict again is the finding that is there. Errors name line and
/// column, what is wrong there, and what would do; then nothing was written.
pub fn record(home: &Path, study: &str, text: &str, library: &Library) -> Result<Kept> {
    let dir = judged::find(home, study)?;
    let said = filled_in(home, study, text, library)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let lock = lock(&dir)?;
    let at = since.map_or(0, |since| since.as_secs());
    let kept = keep(home, &dir, (said, at), &lock)?;
    // The finding is kept, whatever becomes of the page: `windtunnel report` makes it again.
    let _ = StudyReport::read(home, &dir).and_then(|study| report::write(&study, &dir));
    Ok(kept)
}

/// The same without writing anything: a finding's text and what it rests on. Errors as [`record`] does.
pub fn filled_in(home: &Path, study: &str, text: &str, library: &Library) -> Result<Said> {
    let dir = judged::find(home, study)?;
    let mut draft = Draft::of(home, judged_study(home, &dir)?, library);
    let place_of_all = format!("finding on {}", draft.own().contract.id);
    if text.trim().is_empty() || text.len() > LONGEST {
        return Err(Error::input(
            place_of_all,
            format!("the text has {} characters", text.len()),
            format!("write some, and at most {LONGEST}"),
        ));
    }
    let (parts, mut faults) = parts(text);
    let filled = draft.fill(text, &parts, &mut faults);
    faults.extend(draft.faults(&parts));
    faults.sort_by_key(|fault| fault.at);
    if !faults.is_empty() {
        return Err(error(&place_of_all, text, &faults));
    }
    let rests_on = draft
        .studies
        .iter()
        .map(|(study, _)| (study.contract.id.clone(), digest(&study.verdict)));
    Ok(Said {
        template: text.into(),
        text: draft.exploratory() + &filled,
        values: draft.values.clone(),
        citations: draft.citations.iter().cloned().collect(),
        rests_on: rests_on.collect(),
    })
}

/// What a finding on this study can be filled in with. Errors when it has no verdict, or not one that
/// its outcomes say.
pub fn keys(home: &Path, study: &str) -> Result<Keys> {
    Ok(Keys::of(&judged_study(home, &judged::find(home, study)?)?))
}

fn judged_study(home: &Path, dir: &crate::study::contract::StudyDir) -> Result<Judged> {
    if !dir.verdict_path().exists() {
        return Err(Error::input(
            dir.path().display().to_string(),
            "the study has no verdict yet",
            "wait until it is judged, or run it to its verdict",
        ));
    }
    judged::read(home, dir)
}

/// A finding being checked.
struct Draft<'a> {
    home: &'a Path,
    library: &'a Library,
    /// Its own study first, then those that it refers to.
    studies: Vec<(Judged, Keys)>,
    values: BTreeMap<String, String>,
    citations: BTreeSet<String>,
}

impl<'a> Draft<'a> {
    fn of(home: &'a Path, own: Judged, library: &'a Library) -> Self {
        let keys = Keys::of(&own);
        Self {
            home,
            library,
            studies: vec![(own, keys)],
            values: BTreeMap::new(),
            citations: BTreeSet::new(),
        }
    }

    fn own(&self) -> &Judged {
        &self.studies[0].0
    }

    /// What is said before a finding on a study that was exploratory from the start.
    fn exploratory(&self) -> String {
        let why = &self.own().verdict.exploratory;
        match why.is_empty() {
            true => String::new(),
            false => format!(
                "**Exploratory, no test of the claim: {}.**\n\n",
                why.join("; ")
            ),
        }
    }

    /// The text with every key's value in its place, as far as keys and citations are known.
    fn fill(&mut self, text: &str, parts: &[Part], faults: &mut Vec<Fault>) -> String {
        let mut filled = String::new();
        let mut done = 0;
        for part in parts {
            let fault = match part.kind {
                Kind::Words | Kind::Code => None,
                Kind::Key => match self.value(part.text) {
                    Ok(value) => {
                        let opened = text[..part.at].rfind("{{").unwrap_or(part.at);
                        filled += &text[done..opened];
                        filled += &value;
                        let end = part.at + part.text.len();
                        done = text[end..]
                            .find("}}")
                            .map_or(end, |closed| end + closed + 2);
                        self.values.insert(part.text.into(), value);
                        None
                    }
                    Err((problem, remedy)) => Some(Fault::new(part.at, problem, remedy)),
                },
                Kind::Citation => match self.library.get(part.text) {
                    Ok(_) => {
                        self.citations.insert(part.text.into());
                        None
                    }
                    Err(e) => {
                        let problem = format!("@{}: {}", part.text, e.problem);
                        Some(Fault::new(part.at, problem, e.remedy))
                    }
                },
            };
            faults.extend(fault);
        }
        filled + &text[done..]
    }

    /// A key's value: of this study, or as `study:ID.KEY` of another one of the ledger.
    fn value(&mut self, key: &str) -> std::result::Result<String, (String, String)> {
        let Some(other) = key.strip_prefix("study:") else {
            return self.studies[0].1.get(key).map(Into::into);
        };
        let Some((id, key)) = other.split_once('.') else {
            let problem = format!("{{{{study:{other}}}}} names no key");
            return Err((problem, "write study:ID.verdict.effect".into()));
        };
        let words = |e: Error| {
            (
                e.to_string(),
                "give the whole id of a study that is judged".into(),
            )
        };
        let dir = judged::find(self.home, id).map_err(words)?;
        let found = dir.contract().map_err(words)?.id;
        let known = self
            .studies
            .iter()
            .position(|(s, _)| s.contract.id == found);
        let idx = match known {
            Some(idx) => idx,
            None => {
                let study = judged_study(self.home, &dir).map_err(words)?;
                let keys = Keys::of(&study);
                self.studies.push((study, keys));
                self.studies.len() - 1
            }
        };
        self.studies[idx].1.get(key).map(Into::into)
    }

    /// What words and code say by themselves.
    fn faults(&self, parts: &[Part]) -> Vec<Fault> {
        let named = |name: &str| self.is_name(name);
        let mut faults = Vec::new();
        for (i, part) in parts.iter().enumerate() {
            match part.kind {
                Kind::Words => {
                    faults.extend(plain::faults(part.text, part.at, &named));
                    faults.extend(numbers::in_words(part.text, part.at, &named));
                }
                Kind::Code => {
                    let has = |text: &str| {
                        self.is_name(text) || self.studies.iter().any(|(_, keys)| keys.quotes(text))
                    };
                    faults.extend(numbers::in_code(part.text, part.at, &has));
                }
                Kind::Key => {
                    let text = |part: Option<&Part>| match part {
                        Some(part) if part.kind == Kind::Key => "0".to_string(),
                        Some(part) => part.text.to_string(),
                        None => String::new(),
                    };
                    let before = text(i.checked_sub(1).and_then(|i| parts.get(i)));
                    if let Some(what) = numbers::beside(&before, &text(parts.get(i + 1))) {
                        let problem = format!("{{{{{}}}}}: {what}", part.text);
                        let remedy = "put a space between, and leave sign, unit and factor to the ledger; {{verdict.size}} has no sign";
                        faults.push(Fault::new(part.at, problem, remedy));
                    }
                }
                Kind::Citation => {}
            }
        }
        let of_candidates = parts.iter().any(|part| {
            let text = part.text.to_lowercase();
            part.kind == Kind::Words && (text.contains("candidate") || text.contains("confirm"))
        });
        for sentence in self.sentences(parts) {
            faults.extend(claims::faults(&sentence, of_candidates));
        }
        faults
    }

    fn is_name(&self, word: &str) -> bool {
        let number = word.strip_prefix("arXiv:");
        let paper = |number: &str| {
            let mut records = self.library.records().iter();
            records.any(|record| record.arxiv.as_deref() == Some(number))
        };
        self.studies.iter().any(|(_, keys)| keys.is_name(word)) || number.is_some_and(paper)
    }

    /// The sentences, with how the arms came out that each is about.
    fn sentences(&self, parts: &[Part]) -> Vec<claims::Sentence> {
        let mut sentences = vec![Words::default()];
        for part in parts {
            let Some(last) = sentences.last_mut() else {
                continue;
            };
            match part.kind {
                Kind::Key => last.keys.push(part.text),
                Kind::Code => last.names.push(part.text.trim().into()),
                Kind::Citation => {}
                Kind::Words => split(part, &mut sentences),
            }
        }
        let about = |words: Words| claims::Sentence {
            calls: self.calls(&words),
            words: words.words,
        };
        sentences.into_iter().map(about).collect()
    }

    /// How the arms came out that a sentence names, by word or key; all of them where it names none.
    fn calls(&self, sentence: &Words) -> Vec<Call> {
        let mut named = Vec::new();
        let mut all = Vec::new();
        for (idx, (study, _)) in self.studies.iter().enumerate() {
            let mentioned = sentence.keys.iter().any(|key| {
                let id = key
                    .strip_prefix("study:")
                    .and_then(|rest| rest.split_once('.'));
                id.is_some_and(|(id, _)| study.contract.id.starts_with(id))
            });
            for arm in &study.verdict.arms {
                let by_key = sentence.keys.iter().any(|key| of_arm(key, arm, idx == 0));
                let by_name = idx == 0 && sentence.names.contains(&arm.arm);
                if by_key || by_name || (idx > 0 && mentioned && study.verdict.arms.len() == 1) {
                    named.push(arm.call);
                }
                if idx == 0 {
                    all.push(arm.call);
                }
            }
        }
        if named.is_empty() { all } else { named }
    }
}

/// Whether a key is one of this arm alone.
fn of_arm(key: &str, arm: &ArmVerdict, own: bool) -> bool {
    let rest = match key.strip_prefix("study:") {
        Some(_) if own => return false,
        Some(rest) => rest.split_once('.').map_or("", |(_, rest)| rest),
        None if own => key,
        None => return false,
    };
    let rest = rest.strip_prefix("verdict.").unwrap_or("");
    rest.strip_prefix(&arm.arm)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// A sentence's words and what it names.
#[derive(Default)]
struct Words<'a> {
    words: Vec<(usize, String)>,
    names: Vec<String>,
    keys: Vec<&'a str>,
}

/// Puts words into the last sentence, and begins another where one ends.
fn split(part: &Part, sentences: &mut Vec<Words>) {
    let mut offset = 0;
    for chunk in part.text.split_inclusive(char::is_whitespace) {
        let bare = chunk.trim();
        let outer = |c: char| !c.is_alphanumeric();
        let word = bare.trim_matches(outer).replace('*', "").replace('’', "'");
        if let Some(last) = sentences.last_mut()
            && !word.is_empty()
        {
            last.names.push(word.clone());
            last.words.push((part.at + offset, word.to_lowercase()));
        }
        let closed = bare.trim_end_matches(['"', '\'', ')', ']', '*', '”']);
        let blank = chunk.ends_with('\n') && part.text[offset + chunk.len()..].starts_with('\n');
        if closed.ends_with(['.', '!', '?', ';']) || blank {
            sentences.push(Words::default());
        }
        offset += chunk.len();
    }
}

/// All faults of a text as one error at the first of them.
fn error(name: &str, text: &str, faults: &[Fault]) -> Error {
    let listed = |fault: &Fault| format!("{}: {}", place(text, fault.at), fault.problem);
    let (first, rest) = (&faults[0], &faults[1..]);
    let mut problem = first.problem.clone();
    for fault in rest.iter().take(MOST_LISTED - 1) {
        problem += &format!("; {}", listed(fault));
    }
    if rest.len() >= MOST_LISTED {
        problem += &format!("; and {} more", rest.len() + 1 - MOST_LISTED);
    }
    let mut remedies: Vec<&str> = Vec::new();
    for fault in faults {
        if !remedies.contains(&fault.remedy.as_str()) && remedies.len() < 4 {
            remedies.push(&fault.remedy);
        }
    }
    let place = format!("{name}, {}", place(text, first.at));
    Error::input(place, problem, remedies.join("; "))
}
