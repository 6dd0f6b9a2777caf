//! A finding asked for: what a verdict means, in a model's words and the ledger's numbers.

use super::{
    exchange::{Folder, Purse},
    finding,
    literature::{Library, as_data},
    messages::{Answer, Client, Request, Stop, Turn, Wait},
    quoted::{self, quoted, quoted_at_most, visible_line},
};
use crate::{
    error::{Error, Result},
    study::judged::{self, Judged},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// Who is asked for findings, and of which home.
pub struct Telling<'a> {
    pub home: &'a Path,
    pub client: &'a Client,
    pub wait: &'a Wait<'a>,
}

/// What was told.
pub struct Told {
    /// As it was recorded, or why there is none.
    pub finding: std::result::Result<String, String>,
    /// In the model's own words; no number in them is the ledger's.
    pub next_questions: Vec<String>,
}

const SYSTEM: &str = "\
You write findings for windtunnel: two to five sentences that say what a study's verdict means to \
somebody who trains larger models, and what it leaves open.

Every number is a key in double braces that is filled in from the ledger, such as {{verdict.effect}}: \
a number that stands there by itself is refused, in digits or in words, and so are words that say \
otherwise than the verdict. Values of settings may be quoted in backticks exactly as the keys show \
them. Papers are cited as [@key], by keys of the library below and no others. A verdict of \
inconclusive says that these seeds do not tell, not that there is no effect. Say what the size, the \
corpora and the length of training leave open. Then name one to three next questions, each a \
sentence.";

/// A finding that was refused is sent back so often.
const MENDS: usize = 1;
/// Characters of a study's list of keys.
const MOST_KEYS: usize = 12_000;
const MOST_QUESTIONS: usize = 3;
const MOST_QUESTION: usize = 300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    text: String,
    next_questions: Vec<String>,
}

/// Asks for a finding on a finished study and records it. Errors when the API can't be reached or
/// paid; a finding that is refused, or not given, is told in words.
pub fn tell(
    telling: &Telling,
    study: &str,
    (folder, purse): (&Folder, &mut Purse),
) -> Result<Told> {
    let library = Library::open(telling.home)?;
    let mut request = Request {
        system: format!("{SYSTEM}\n\n{}", quoted::RULE),
        brief: vec![brief(telling.home, study, &library)?],
        turns: Vec::new(),
        schema: schema(),
    };
    let mut next_questions = Vec::new();
    let mut why = String::new();
    for _ in 0..=MENDS {
        let mut exchange = folder.exchange("finding", purse);
        let answer = telling.client.send(&request, &mut exchange, telling.wait)?;
        if answer.stop == Stop::Refusal {
            why = "the model declined to write one".into();
            break;
        }
        let recorded = answered(&answer).and_then(|answered| {
            next_questions = questions(&answered);
            finding::record(telling.home, study, &answered.text, &library)
        });
        match recorded {
            Ok(kept) => {
                return Ok(Told {
                    finding: Ok(kept.finding.text),
                    next_questions,
                });
            }
            Err(error) => {
                why = error.to_string();
                let reply = format!(
                    "This was refused:\n{}\nSend the whole finding again, mended.",
                    quoted("gate", &why)
                );
                let answer = answer.text;
                request.turns.push(Turn { answer, reply });
            }
        }
    }
    Ok(Told {
        finding: Err(why),
        next_questions,
    })
}

fn answered(answer: &Answer) -> Result<Answered> {
    let wrong = |problem: String| {
        let remedy = "answer with one JSON object: text, and next_questions as a list";
        Error::input("the answer", problem, remedy)
    };
    match answer.stop {
        Stop::MaxTokens => Err(wrong("was cut before its end".into())),
        _ => serde_json::from_str(answer.text.trim())
            .map_err(|e| wrong(format!("does not fit the schema: {e}"))),
    }
}

fn questions(answered: &Answered) -> Vec<String> {
    let asked = answered.next_questions.iter().map(|q| visible_line(q));
    let asked = asked.filter(|question| !question.is_empty());
    let cut = asked.map(|question| question.chars().take(MOST_QUESTION).collect());
    cut.take(MOST_QUESTIONS).collect()
}

fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["text", "next_questions"],
        "properties": {
            "text": { "type": "string", "description": "The finding, with keys for its numbers." },
            "next_questions": {
                "type": "array",
                "items": { "type": "string" },
                "description": "What to ask next, one to three sentences.",
            },
        },
    })
}

/// A study for whoever says what it means: what was claimed, what came of it, and the keys.
fn brief(home: &Path, study: &str, library: &Library) -> Result<String> {
    let judged = judged::read(home, &judged::find(home, study)?)?;
    let terms = &judged.contract.terms;
    let said = format!("{}\n{}", terms.hypothesis.claim, terms.hypothesis.rationale);
    let mut text = format!(
        "# The study {}\n{}\n\n# Its verdict\n{}\n\n# Keys\n",
        judged.contract.id,
        quoted("claim and rationale", &said),
        judged.verdict.summary(),
    );
    let keys = finding::keys(home, study)?;
    let keys = keys.entries().iter();
    let keys = keys.map(|entry| format!("{{{{{}}}}} = {}\n", entry.key, entry.value));
    // Values hold names that others gave.
    text += &quoted_at_most("keys", &keys.collect::<String>(), MOST_KEYS);
    text += "\n";
    let papers = papers(&judged, library)?;
    if !papers.is_empty() {
        text += &format!("\n# What the library says of its factors\n{papers}\n");
    }
    Ok(text + "\nWrite the finding.")
}

fn papers(judged: &Judged, library: &Library) -> Result<String> {
    let arms = &judged.contract.terms.arms;
    let factors: Vec<&str> = arms
        .iter()
        .filter_map(|arm| arm.factor.as_deref())
        .collect();
    let said = library.for_factors(&factors)?;
    let hits = said.into_iter().flat_map(|of| of.hits);
    let mut hits: Vec<_> = hits.collect();
    hits.dedup_by(|a, b| a.key == b.key);
    hits.truncate(4);
    Ok(as_data(&hits))
}
