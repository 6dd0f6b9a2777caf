//! One study out of a conversation: an answer is held against the gates, and what a gate says is
//! sent back, until one passes or the patience is at its end.
//!
//! Nothing that an answer says decides anything: the gates see the study alone.

mod review;

pub use review::{ForReview, Question, for_review};

use super::{
    brief::{Brief, SYSTEM},
    draft::Draft,
    exchange::{Folder, Purse},
    messages::{Answer, Client, Request, Stop, Turn, Wait},
    proposed::{Gate, Objection},
    quoted::{self, quoted},
    schema,
    worth::{self, Worth},
};
use crate::{
    error::{Error, Kind, Result},
    jobs::{self, Checked, Settings, StudyText},
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Who is asked, and on what terms.
pub struct Asking<'a> {
    pub settings: &'a Settings,
    pub client: &'a Client,
    /// Where the study's file is to lie, seen from the project's folder.
    pub folder: PathBuf,
    /// What the study is to be called, if that is fixed.
    pub name: Option<&'a str>,
    /// How often an answer that a gate refused may be mended.
    pub mends: usize,
    pub wait: &'a Wait<'a>,
    /// Hears what the gates say.
    pub say: &'a dyn Fn(&str),
}

/// What passed the gates that need no one's leave.
pub enum Passed {
    Planned(Box<Ready>),
    /// An idea that needs code first, so that nothing can be planned.
    Code(Box<Draft>),
}

/// A study that was checked and planned.
pub struct Ready {
    pub draft: Draft,
    pub study: StudyText,
    pub checked: Checked,
    pub plan: Value,
    pub worth: Worth,
    /// Spent on the API for it so far.
    pub dollars: f64,
}

/// How a conversation ended.
pub enum Round<T> {
    /// An answer passed every gate.
    Passed(Box<T>),
    /// The model would not answer.
    Declined,
    /// Every answer was refused; the last objection is the last of the list.
    Refused,
}

/// A gate of the caller's, behind those of every study: an objection, or what it made of the study.
pub type Last<'a, T> = dyn FnMut(Passed) -> Result<std::result::Result<T, Objection>> + 'a;

/// Has one study proposed. `objections` gets what the gates said, in order. Errors when the API
/// can't be reached or paid, and whatever `last` fails with.
pub fn propose<T>(
    asking: &Asking,
    brief: &Brief,
    (folder, purse): (&Folder, &mut Purse),
    objections: &mut Vec<Objection>,
    last: &mut Last<T>,
) -> Result<Round<T>> {
    let parts = brief.parts();
    folder.write("brief.md", &parts.concat())?;
    let before = purse.spent;
    let mut request = Request {
        system: format!("{SYSTEM}\n\n{}", quoted::RULE),
        brief: parts.to_vec(),
        turns: Vec::new(),
        schema: schema::proposal(),
    };
    for _ in 0..=asking.mends {
        let mut exchange = folder.exchange("propose", purse);
        let answer = asking.client.send(&request, &mut exchange, asking.wait)?;
        if answer.stop == Stop::Refusal {
            return Ok(Round::Declined);
        }
        let objection = match held(asking, &answer, folder) {
            Err(objection) => *objection,
            Ok(passed) => match last(passed.at(purse.spent - before))? {
                Ok(passed) => return Ok(Round::Passed(Box::new(passed))),
                Err(objection) => objection,
            },
        };
        (asking.say)(&format!("          {}", objection.in_words()));
        request.turns.push(Turn {
            answer: answer.text,
            reply: reply(&objection),
        });
        objections.push(objection);
    }
    Ok(Round::Refused)
}

impl Passed {
    /// With what was spent on it.
    fn at(self, dollars: f64) -> Self {
        match self {
            Self::Planned(ready) => Self::Planned(Box::new(Ready { dollars, ..*ready })),
            code => code,
        }
    }
}

/// What a gate says, as it is sent back.
fn reply(objection: &Objection) -> String {
    let said = format!(
        "{}\n{}\ntry: {}",
        objection.place, objection.problem, objection.remedy
    );
    format!(
        "The gate \"{}\" refused this:\n{}\nSend one whole study again, mended, or another one.",
        objection.gate.name(),
        quoted("gate", &said)
    )
}

/// An answer held against every gate that needs no one's leave.
fn held(
    asking: &Asking,
    answer: &Answer,
    folder: &Folder,
) -> std::result::Result<Passed, Box<Objection>> {
    let value =
        parsed(asking, answer).map_err(|e| Box::new(Objection::new(Gate::Answer, None, &e)))?;
    let claim = value["claim"].as_str();
    let root = &asking.settings.root;
    let at = |gate: Gate| {
        move |error: Error| Box::new(Objection::new(gate, claim, &seen_from(root, error)))
    };
    let mut draft = Draft::parse(&value).map_err(at(Gate::Form))?;
    if let Some(name) = asking.name {
        draft.name = name.into();
    }
    if draft.variant.is_some() {
        return Ok(Passed::Code(Box::new(draft)));
    }
    let study = study(asking, &without_recipe(&draft)).map_err(at(Gate::Form))?;
    // For whoever wants to see what was refused.
    let _ = folder.write("study.toml", &study.text);
    let checked = jobs::check(asking.settings, &study).map_err(at(Gate::Study))?;
    is_open_question(&checked, &study).map_err(|(gate, error)| at(gate)(error))?;
    let plan = jobs::plan(asking.settings, &study).map_err(at(Gate::Plan))?;
    let worth = worth::of(&plan, &draft.prediction);
    Ok(Passed::Planned(Box::new(Ready {
        draft,
        study,
        checked,
        plan,
        worth,
        dollars: 0.0,
    })))
}

/// An error whose paths are those of the project, not of the machine.
fn seen_from(root: &Path, error: Error) -> Error {
    let root = format!("{}/", root.display());
    let seen = |text: String| text.replace(&root, "");
    Error {
        place: seen(error.place),
        problem: seen(error.problem),
        remedy: seen(error.remedy),
        ..error
    }
}

/// Errors when a study would be judged by something else than its recipe, or was answered before.
fn is_open_question(
    checked: &Checked,
    study: &StudyText,
) -> std::result::Result<(), (Gate, Error)> {
    let refused = |problem: String, remedy: &str| {
        Error::new(Kind::Refused, study.file.clone(), problem, remedy)
    };
    if let Some(other) = &checked.other_evaluation {
        let remedy = "leave eval empty, and out of every set: who proposes does not choose what it is judged by";
        return Err((Gate::Evaluation, refused(other.clone(), remedy)));
    }
    if let Some(repeat) = &checked.repeat {
        let problem = format!(
            "this was asked before, in study {}: {}",
            repeat.study,
            repeat.headlines.join("; ")
        );
        let remedy = "that verdict is the answer; ask something that it leaves open";
        return Err((Gate::Repeat, refused(problem, remedy)));
    }
    Ok(())
}

/// The object of an answer. Errors when it was cut, or is none.
fn parsed(asking: &Asking, answer: &Answer) -> Result<Value> {
    let wrong = |problem: String, remedy: &str| Err(Error::input("the answer", problem, remedy));
    match &answer.stop {
        Stop::MaxTokens => wrong(
            format!(
                "was cut at {} tokens, before its end",
                asking.client.settings.max_tokens
            ),
            "answer in fewer words: a claim in one sentence, a rationale in three",
        ),
        Stop::Other(reason) => wrong(
            format!("ended for another reason: {reason}"),
            "answer with one JSON object in the form of the schema",
        ),
        Stop::EndTurn | Stop::Refusal => match serde_json::from_str(answer.text.trim()) {
            Ok(Value::Object(map)) => Ok(Value::Object(map)),
            Ok(_) => wrong(
                "is JSON, and no object".into(),
                "answer with one JSON object in the form of the schema",
            ),
            Err(e) => wrong(
                format!("is not JSON: {e}"),
                "answer with one JSON object in the form of the schema, and nothing around it",
            ),
        },
    }
}

/// The same study where a recipe of its own is not written yet: its changes are shared by every arm.
fn without_recipe(draft: &Draft) -> Draft {
    let mut same = draft.clone();
    if let Some(recipe) = same.recipe.take() {
        let again = |key: &str| draft.set.iter().any(|change| change.key == key);
        let own = recipe.set.into_iter().filter(|change| !again(&change.key));
        same.set = own.chain(same.set).collect();
    }
    same
}

/// A draft as a study's text in its place.
fn study(asking: &Asking, draft: &Draft) -> Result<StudyText> {
    let text = draft.study_text(&asking.client.settings.model, &asking.folder)?;
    let folder = asking.settings.root.join(&asking.folder);
    Ok(StudyText {
        text,
        folder: plain(&folder),
        file: format!("{}.toml", draft.name),
    })
}

/// A path without "." in it.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}
