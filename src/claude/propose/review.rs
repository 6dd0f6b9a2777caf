//! A proposal written down for a person to review: nothing is handed in, and nothing runs.

use super::{Asking, Passed, Ready, Round, propose};
use crate::{
    claude::{
        baselines::Space,
        brief,
        draft::STUDIES,
        exchange::{self, Folder, Purse},
        messages::{Client, Wait},
        proposed::{Fate, Gate, Objection, Proposed},
        scaffold::{self, Written},
    },
    error::{Error, Kind, Result},
    files,
    jobs::Settings,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A question, and where its study is to be written.
pub struct Question<'a> {
    pub settings: &'a Settings,
    pub client: &'a Client,
    pub about: &'a str,
    /// What an optimiser would choose from; its best points are told.
    pub space: Option<&'a Space>,
    /// The study's name, if it is fixed.
    pub name: Option<&'a str>,
    /// The study's file, seen from the project's folder; its name in configs/studies otherwise.
    pub out: Option<&'a Path>,
    pub mends: usize,
    /// Dollars for the API, at most; as the home's limits say otherwise.
    pub dollars: Option<f64>,
    pub wait: &'a Wait<'a>,
    /// Hears what the gates say.
    pub say: &'a dyn Fn(&str),
}

/// What was written, and what the gates said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForReview {
    pub written: Written,
    pub proposed: Proposed,
    /// What the study costs and can see; none for an idea that needs code first.
    pub plan: Option<serde_json::Value>,
    pub expected: Option<String>,
    /// Verdicts of other studies on the same factors, in words.
    pub earlier: Vec<String>,
    pub cautions: Vec<String>,
    pub spent: Purse,
    /// Where the exchanges are kept.
    pub exchanges: PathBuf,
}

/// Has a study proposed on a question and writes it, with the recipe or the variant that it needs.
/// Errors, and the project is as it was, when no answer passed the gates, or the API can't be reached.
pub fn for_review(question: &Question) -> Result<ForReview> {
    let home = &question.settings.home;
    let root = &question.settings.root;
    exchange::settle(home)?;
    let about = question.client.redacted(question.about);
    let mut brief = brief::gather(home, root, Some(&about), question.space)?;
    brief.left = brief::limits_left(home)?;
    let asking = Asking {
        settings: question.settings,
        client: question.client,
        folder: place(question)?,
        name: question.name,
        mends: question.mends,
        wait: question.wait,
        say: question.say,
    };
    let folder = Folder::new(home)?;
    let mut purse = Purse::new(question.dollars, question.client.settings.prices());
    let mut objections = Vec::new();
    let mut last = |passed| write(question, passed);
    let round = propose(
        &asking,
        &brief,
        (&folder, &mut purse),
        &mut objections,
        &mut last,
    );
    let mut proposed = begun(question, &folder, objections);
    proposed.dollars = purse.spent;
    let error = match round {
        Ok(Round::Passed(passed)) => {
            let (written, ready) = *passed;
            proposed.fate = Fate::Written;
            return review(question, (proposed, purse), (&folder, written, ready));
        }
        Ok(Round::Declined) => {
            proposed.fate = Fate::Declined;
            declined()
        }
        Ok(Round::Refused) => none_passed(&proposed, &folder),
        Err(error) => error,
    };
    proposed.keep(folder.path())?;
    Err(error)
}

fn declined() -> Error {
    Error::new(
        Kind::Refused,
        "the Messages API",
        "the model declined to answer",
        "ask in other words",
    )
}

fn begun(question: &Question, folder: &Folder, objections: Vec<Objection>) -> Proposed {
    Proposed {
        schema: Proposed::SCHEMA.into(),
        proposal: folder.name.clone(),
        proposer: question.client.settings.model.clone(),
        about: Some(question.client.redacted(question.about)),
        fate: Fate::Refused,
        claim: objections.last().and_then(|o| o.claim.clone()),
        objections,
        ..Proposed::default()
    }
}

fn none_passed(proposed: &Proposed, folder: &Folder) -> Error {
    let last = proposed.objections.last();
    Error::new(
        Kind::Refused,
        last.map_or("the answer".into(), |o| o.place.clone()),
        format!(
            "no answer passed the gates in {} tries; the last one: {}",
            proposed.objections.len(),
            last.map_or(String::new(), Objection::in_words)
        ),
        format!(
            "ask for something smaller, or in other words; the exchanges are in {}",
            folder.path().display()
        ),
    )
}

/// The folder that the study is checked in, seen from the project's.
fn place(question: &Question) -> Result<PathBuf> {
    let folder = match question.out {
        None => PathBuf::from(STUDIES),
        Some(out) => out.parent().unwrap_or(Path::new("")).to_path_buf(),
    };
    let there = question.settings.root.join(&folder).is_dir();
    match (there, question.out) {
        (true, _) => Ok(folder),
        (false, None) => Ok(PathBuf::from(".")),
        (false, Some(out)) => Err(Error::input(
            format!("--out {}", out.display()),
            "its folder is not there",
            "make the folder, or choose another place",
        )),
    }
}

type WrittenDown = (Written, Option<Box<Ready>>);

/// Writes what passed; what can't be written is told to the proposer.
fn write(
    question: &Question,
    passed: Passed,
) -> Result<std::result::Result<WrittenDown, Objection>> {
    let (draft, ready) = match passed {
        Passed::Planned(ready) => (ready.draft.clone(), Some(ready)),
        Passed::Code(draft) => (*draft, None),
    };
    let proposer = &question.client.settings.model;
    let root = &question.settings.root;
    let plain = draft.recipe.is_none() && draft.variant.is_none();
    let written = match (question.out, &ready) {
        (Some(out), Some(ready)) if plain => to_file(root, out, &ready.study.text),
        (Some(out), _) => Err(Error::input(
            format!("--out {}", out.display()),
            "the study needs a recipe or a variant of its own, which have their places in the project",
            "set recipe and variant to null",
        )),
        (None, _) => scaffold::write(root, &draft, proposer),
    };
    Ok(match written {
        Ok(written) => Ok((written, ready)),
        Err(e) => Err(Objection::new(Gate::Study, Some(&draft.claim), &e)),
    })
}

fn to_file(root: &Path, out: &Path, text: &str) -> Result<Written> {
    let path = root.join(out);
    if path.exists() {
        return Err(Error::input(
            out.display().to_string(),
            "is there already",
            "choose another file",
        ));
    }
    files::replace(&path, text.as_bytes())?;
    Ok(Written {
        study: out.into(),
        recipe: None,
        variant: None,
        next: format!("windtunnel plan {}", out.display()),
    })
}

fn review(
    question: &Question,
    (mut proposed, spent): (Proposed, Purse),
    (folder, written, ready): (&Folder, Written, Option<Box<Ready>>),
) -> Result<ForReview> {
    let text = std::fs::read_to_string(question.settings.root.join(&written.study));
    if let Ok(text) = text {
        proposed.claim = ready.as_ref().map(|ready| ready.draft.claim.clone());
        folder.write("study.toml", &text)?;
    }
    if let Some(ready) = &ready {
        proposed.expected_bits = Some(ready.worth.bits());
        proposed.predicted_minutes = Some(ready.worth.minutes);
    }
    proposed.keep(folder.path())?;
    let checked = ready.as_ref().map(|ready| &ready.checked);
    Ok(ForReview {
        written,
        expected: ready.as_ref().map(|ready| ready.worth.in_words()),
        earlier: checked.map_or(Vec::new(), |c| {
            c.earlier.iter().map(|e| e.in_words()).collect()
        }),
        cautions: checked.map_or(Vec::new(), |c| c.cautions.clone()),
        plan: ready.as_ref().map(|ready| ready.plan.clone()),
        proposed,
        spent,
        exchanges: folder.path().into(),
    })
}

impl ForReview {
    /// For a terminal.
    pub fn summary(&self) -> String {
        let written = &self.written;
        let mut text = format!("study     {}\n", written.study.display());
        for (name, path) in [("recipe", &written.recipe), ("variant", &written.variant)] {
            if let Some(path) = path {
                text += &format!("{name:<9} {}\n", path.display());
            }
        }
        if let Some(claim) = &self.proposed.claim {
            text += &format!("claim     {claim}\n");
        }
        for objection in &self.proposed.objections {
            text += &format!("mended    {}\n", objection.in_words());
        }
        if let Some(words) = &self.expected {
            text += &format!("expected  {words}\n");
        }
        for words in &self.earlier {
            text += &format!("earlier   {words}\n");
        }
        for words in &self.cautions {
            text += &format!("note      {words}\n");
        }
        text += &format!(
            "cost      {}\nkept      {}\nnext      {}\n",
            self.spent.in_words(),
            self.exchanges.display(),
            written.next
        );
        text
    }
}
