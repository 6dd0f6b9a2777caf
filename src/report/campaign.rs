//! Several studies as one page that somebody would forward: the question, what was tried, how it came out,
//! what did not help, what was turned away, what it cost, and what to ask next.
//!
//! Every number is from a verdict, a contract or the store of jobs. What proposers said (claims, findings,
//! next questions) is marked as theirs.

use super::{
    Written, duration, figures, html,
    markdown::{findings, table},
    plot::{self, Differences},
    tables::{Table, changes},
    write_page,
};
use crate::{
    error::{Error, Result},
    files,
    metrics::Cost,
    study::{
        finding::Kept,
        judged::{Judged, LeftOut},
        verdict::{ArmVerdict, Call, digits},
    },
};
use serde::Serialize;
use std::{fs, path::Path};

/// What a report on several studies is made from.
#[derive(Default)]
pub struct Campaign {
    pub name: String,
    /// What a person wants to know, in their words.
    pub question: Option<String>,
    /// In the order in which they are told.
    pub studies: Vec<Judged>,
    /// Studies that are not judged yet.
    pub unjudged: Vec<String>,
    /// Studies whose files can't be trusted.
    pub left_out: Vec<LeftOut>,
    pub turned_away: Vec<TurnedAway>,
    pub findings: Vec<Kept>,
    pub predictions: Vec<Predicted>,
    /// Spent on the API, where that is known.
    pub dollars: Option<f64>,
    pub next: Vec<Next>,
    /// How the studies' errors go together.
    pub rule: Option<String>,
}

/// A proposal that did not run, or not to its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TurnedAway {
    pub proposer: String,
    /// Its name or its claim.
    pub what: String,
    /// "refused", "rejected by a person", "over its budget".
    pub how: String,
    pub why: String,
}

/// A proposer's line among the predictions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Predicted {
    pub proposer: String,
    pub scored: String,
    pub brier: String,
    pub skill: String,
    pub size: String,
    pub standing: String,
}

/// An arm's verdict in a sentence, and what was claimed.
pub struct Headline {
    pub call: Call,
    pub line: String,
    pub claim: String,
}

/// A question for the next study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Next {
    pub by: String,
    pub question: String,
}

/// Writes `report.md`, its picture and `report.html` into a folder, which is made.
pub fn write(campaign: &Campaign, folder: &Path) -> Result<Written> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))?;
    let picture = campaign.picture();
    files::replace(&folder.join("differences.svg"), picture.as_bytes())?;
    let report = folder.join("report.md");
    files::replace(&report, campaign.to_markdown().as_bytes())?;
    Ok(Written {
        report: Some(report),
        page: write_page(folder, &html::campaign::page(campaign))?,
    })
}

impl Campaign {
    pub fn title(&self) -> &str {
        self.question.as_deref().unwrap_or(&self.name)
    }

    /// Every arm with its study, in order.
    pub fn arms(&self) -> impl Iterator<Item = (&Judged, &ArmVerdict)> {
        let each = |study| Judged::arms(study).map(move |arm| (study, arm));
        self.studies.iter().flat_map(each)
    }

    /// Arms that came out in one of these ways.
    pub fn headlines(&self, calls: &[Call]) -> Vec<Headline> {
        let arms = self.arms().filter(|(_, arm)| calls.contains(&arm.call));
        let said = arms.map(|(study, arm)| {
            let terms = &study.contract.terms;
            let line = arm.headline(&study.verdict.rule);
            let only = study.verdict.arms.len() == 1;
            let line = match line.strip_prefix(&arm.arm).filter(|_| only) {
                Some(rest) => format!("{}{rest}", terms.name),
                None => format!("{}, {line}", terms.name),
            };
            Headline {
                call: arm.call,
                line,
                claim: format!(
                    "{} claimed: {}",
                    terms.proposer,
                    one_line(&terms.hypothesis.claim)
                ),
            }
        });
        said.collect()
    }

    /// How it came out, in a sentence.
    pub fn summary(&self) -> String {
        let order = [
            Call::Better,
            Call::Candidate,
            Call::Worse,
            Call::Equivalent,
            Call::Inconclusive,
            Call::Invalid,
        ];
        let counts: Vec<String> = order
            .into_iter()
            .map(|call| {
                (
                    call,
                    self.arms().filter(|(_, arm)| arm.call == call).count(),
                )
            })
            .filter(|(_, n)| *n > 0)
            .map(|(call, n)| format!("{n} {}", call.name()))
            .collect();
        let came = match counts.is_empty() {
            true => "no verdict yet".into(),
            false => counts.join(", "),
        };
        let dollars = self
            .dollars
            .map_or(String::new(), |d| format!(" and ${d:.2} for the API"));
        let away = match self.turned_away.len() {
            0 => String::new(),
            n => format!(" {} turned away.", counted(n, "proposal", "proposals")),
        };
        format!(
            "{} judged: {came}.{away} It took {} on the device{dollars}.",
            counted(self.studies.len(), "study", "studies"),
            duration(60.0 * self.minutes()),
        )
    }

    pub fn minutes(&self) -> f64 {
        self.studies.iter().map(|study| study.minutes).sum()
    }

    /// Of the trials that verdicts rest on; one that studies share is counted in each.
    pub fn cost(&self) -> Cost {
        let costs = self.studies.iter().map(|study| study.verdict.cost);
        costs.fold(Cost::default(), |sum, cost| Cost {
            seconds: sum.seconds + cost.seconds,
            tokens: sum.tokens + cost.tokens,
            flops: sum.flops + cost.flops,
        })
    }

    /// What was tried, a row for each arm.
    pub fn tried(&self) -> Table {
        let none = || "—".to_string();
        let row = |(study, arm): (&Judged, &ArmVerdict)| {
            let terms = &study.contract.terms;
            let places = digits(study.verdict.rule.margin);
            let unit = study.verdict.rule.metric.name();
            let of_arm = terms.arms.iter().find(|terms| terms.name == arm.arm);
            let changed = of_arm.map_or_else(Vec::new, changes);
            let e = arm.effect.as_ref();
            let exploratory = if study.verdict.exploratory.is_empty() {
                ""
            } else {
                " (exploratory)"
            };
            vec![
                study.contract.id.clone(),
                match changed.is_empty() {
                    true => "nothing".into(),
                    false => changed.join("; "),
                },
                format!("{}{exploratory}", arm.call.name()),
                e.map_or_else(none, |e| format!("{:+.places$}", e.mean)),
                e.map_or_else(none, |e| {
                    format!("{:+.places$} to {:+.places$} {unit}", e.low, e.high)
                }),
                format!("±{}", study.verdict.rule.margin),
                e.map_or(arm.pairs.len(), |e| e.n).to_string(),
                duration(60.0 * study.minutes / study.verdict.arms.len().max(1) as f64),
            ]
        };
        let head = [
            "study", "change", "verdict", "effect", "interval", "margin", "pairs", "time",
        ];
        Table {
            head: head.map(String::from).to_vec(),
            rows: self.arms().map(row).collect(),
        }
    }

    pub fn turned_away(&self) -> Table {
        let row = |away: &TurnedAway| {
            let cells = [&away.what, &away.how, &away.why, &away.proposer];
            cells.map(|cell| one_line(cell)).to_vec()
        };
        Table {
            head: ["proposal", "what happened", "why", "proposer"]
                .map(String::from)
                .to_vec(),
            rows: self.turned_away.iter().map(row).collect(),
        }
    }

    pub fn predicted(&self) -> Table {
        let row = |p: &Predicted| {
            let cells = [
                &p.proposer,
                &p.scored,
                &p.brier,
                &p.skill,
                &p.size,
                &p.standing,
            ];
            cells.map(Clone::clone).to_vec()
        };
        let head = [
            "proposer",
            "scored",
            "Brier",
            "skill (95%)",
            "size",
            "so far",
        ];
        Table {
            head: head.map(String::from).to_vec(),
            rows: self.predictions.iter().map(row).collect(),
        }
    }

    /// What the verdicts themselves leave to be done: candidates to confirm, and pairs that would decide.
    pub fn open(&self) -> Vec<String> {
        let open = self.arms().filter_map(|(study, arm)| {
            let name = format!("{} of {}", arm.arm, study.contract.terms.name);
            match (arm.call, &arm.needed) {
                (Call::Candidate, _) => Some(format!(
                    "{name} is a candidate: confirm it by a study of its own on other seeds"
                )),
                (Call::Inconclusive, Some(needed)) => {
                    Some(format!("{name} is inconclusive: {}", needed.in_words()))
                }
                _ => None,
            }
        });
        open.collect()
    }

    /// Every arm's paired differences for a figure, and what they are drawn in: the metric where all studies
    /// share it and their margin, else margins.
    pub fn forest(&self) -> (Vec<Differences<'_>>, f64, String) {
        let rule = |study: &Judged| (study.verdict.rule.margin, study.verdict.rule.metric);
        let first = self.studies.first().map(rule);
        let alike = self.studies.iter().all(|study| Some(rule(study)) == first);
        let (margin, label) = match first {
            Some((margin, metric)) if alike => (margin, metric.unit().to_string()),
            _ => (1.0, "margins of each study".to_string()),
        };
        let told = |study: &&Judged| study.arms().next().is_some();
        let rows = self.studies.iter().filter(told).flat_map(|study| {
            let scale = margin / study.verdict.rule.margin;
            figures::paired(&study.verdict)
                .into_iter()
                .map(move |row| Differences {
                    arm: row.arm,
                    values: row
                        .values
                        .into_iter()
                        .map(|(seed, x)| (seed, scale * x))
                        .collect(),
                    interval: row
                        .interval
                        .map(|(l, m, h)| (scale * l, scale * m, scale * h)),
                })
        });
        (rows.collect(), margin, label)
    }

    /// What the rows of the figure are called.
    pub fn rows(&self) -> Vec<String> {
        let name = |(study, arm): (&Judged, &ArmVerdict)| {
            let terms = &study.contract.terms;
            match study.verdict.arms.len() {
                1 => terms.name.clone(),
                _ => format!("{}: {}", terms.name, arm.arm),
            }
        };
        self.arms().map(name).collect()
    }

    fn picture(&self) -> String {
        let names = self.rows();
        let (mut rows, margin, label) = self.forest();
        for (row, name) in rows.iter_mut().zip(&names) {
            row.arm = name;
        }
        plot::differences_svg(&rows, margin, &format!("arm minus its control, {label}"))
    }

    fn to_markdown(&self) -> String {
        let mut page = format!("# {}\n\n{}\n\n", one_line(self.title()), self.summary());
        let tried = match self.studies.is_empty() {
            true => "Nothing has a verdict yet.".into(),
            false => format!(
                "{}\n![Paired differences](differences.svg)",
                table(&self.tried())
            ),
        };
        let open = said(&self.headlines(&OPEN)) + &self.unread();
        page += &part("What was tried", &tried);
        page += &part("What helped", &said(&self.headlines(&HELPED)));
        page += &part("What did not help", &said(&self.headlines(&NEGATIVE)));
        page += &part("What is not decided", &open);
        if !self.findings.is_empty() {
            page += findings(&self.findings).trim_start();
            page += "\nIn their proposers' words; every number was filled in from the ledger.\n\n";
        }
        if !self.turned_away.is_empty() {
            page += &part("What was turned away", &table(&self.turned_away()));
        }
        if !self.predictions.is_empty() {
            page += &part(
                "Predictions",
                &format!("{}\n{SCORES}", table(&self.predicted())),
            );
        }
        page += &part("Cost", &self.cost_words());
        page += &part("Next questions", &self.next_words());
        page + &part("How it was judged", &self.how())
    }

    /// Studies that say nothing, and why.
    fn unread(&self) -> String {
        let waiting = self
            .unjudged
            .iter()
            .map(|id| format!("- {id}: not judged yet\n"));
        let damaged = self
            .left_out
            .iter()
            .map(|s| format!("- {}: left out: {}\n", s.study, s.why));
        waiting.chain(damaged).collect()
    }

    pub fn cost_words(&self) -> String {
        let cost = self.cost();
        let dollars = match self.dollars {
            Some(dollars) => format!(", ${dollars:.4} for the API"),
            None => String::new(),
        };
        format!(
            "{} on the device by the clock, {} of trials, {} tokens, {:.3e} FLOPs{dollars}. A trial that studies share is counted in each.",
            duration(60.0 * self.minutes()),
            duration(cost.seconds),
            cost.tokens,
            cost.flops
        )
    }

    fn next_words(&self) -> String {
        let open = self.open().into_iter().map(|line| format!("- {line}\n"));
        let asked = self
            .next
            .iter()
            .map(|next| format!("- {}, says: {}\n", next.by, one_line(&next.question)));
        open.chain(asked).collect()
    }

    /// The rules that all of it was judged by.
    pub fn how(&self) -> String {
        let own = "Differences are arm minus control on the same seeds; below zero is better. Each verdict is one interval against the margin that its contract froze before the first trial, and was judged again from the outcomes for this report.";
        match &self.rule {
            Some(rule) => format!("{own} {rule}"),
            None => format!(
                "{own} Each study has an error budget of its own: among many, some alarms are false."
            ),
        }
    }
}

pub const HELPED: [Call; 2] = [Call::Better, Call::Candidate];
pub const NEGATIVE: [Call; 2] = [Call::Worse, Call::Equivalent];
pub const OPEN: [Call; 2] = [Call::Inconclusive, Call::Invalid];

/// What the columns of the predictions mean.
pub const SCORES: &str = "Brier: 0 is certain and right, 2/3 a guess, 2 certain and wrong. Skill is 1 − Brier/guess; its interval may be looked at after every study. Size is the mean interval score, in margins, less is better.";

/// A part of the page; nothing where there is nothing to say.
fn part(title: &str, text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        text => format!("## {title}\n\n{text}\n\n"),
    }
}

/// Somebody's words on one line: they begin no heading, row or list of this page.
fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn said(lines: &[Headline]) -> String {
    let each = lines
        .iter()
        .map(|said| format!("- **{}**\n  {}\n", said.line, said.claim));
    each.collect()
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
