//! What a proposer is told: what can be varied, what was found, what is open, and what is left to
//! spend.
//!
//! [`Brief::parts`] is a pure function of a few lists, in a fixed order and of a bounded length: what
//! stays the same comes first, so that the server can keep it, and what changes with every study
//! last. Whatever others wrote (recipes' comments, names, claims, papers) is marked as data.

mod gather;

pub use gather::{gather, limits_left};

use super::quoted::{quoted_at_most, visible_line};

/// What does not change from one proposal to the next.
pub const SYSTEM: &str = "\
You design ablations for windtunnel, a testbed that trains small GPTs and judges them by paired seeds. \
You answer with one study in the form of the schema, and nothing else.

A study is a claim, a control, arms that each differ from the control in one factor, paired seeds, a \
margin, a budget and a prediction. Gates check it before anything is trained: it is refused when a key \
is unknown, when an arm changes more than its one declared factor, when a path leaves the project, when \
arms are not evaluated alike, when the design can't see an effect as large as its margin, when it costs \
more than is left, and when it was answered before. When a gate refuses it you are told the place, the \
problem and a remedy: send the whole study again, mended, or another one.

What makes a good proposal:
- The question is open: it is not among the dead ends, and no finished study answers it.
- One factor, changed by an amount whose effect can be larger than the noise between seeds.
- A margin that would matter to somebody who trains larger models, and seeds enough to see it.
- A prediction that you believe: direction, size in the metric's unit, and the probability that you \
give the direction. Predictions are scored (Brier), so an honest 0.4 is worth more than a bold 0.9.
- References only by keys of the library below; leave the list empty where none fits.
- Cheap: what you learn is counted per minute of the device.

Arms must train on the same number of tokens. A lower loss, in nats or bits per byte, is better. You \
can't change how a study is judged, run anything yourself, or raise a limit; a person can.";

/// What a proposer is told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Brief {
    /// What a person wants to know, in their words.
    pub about: Option<String>,
    /// (path, text) of the recipes that arms can start from.
    pub recipes: Vec<(String, String)>,
    /// (name, state, what it is) of the corpora.
    pub corpora: Vec<(String, String, String)>,
    /// Dotted keys that an arm may set.
    pub keys: Vec<String>,
    /// The library on the question, marked as data already; empty where it has nothing.
    pub library: String,
    /// How much trials differ by their seeds.
    pub noises: Vec<String>,
    /// Finished studies, the oldest first.
    pub studies: Vec<StudyDigest>,
    /// What a baseline that proposes in the same space found best.
    pub baselines: Vec<String>,
    /// Proposals that did not run, the oldest first: (claim, why).
    pub turned_away: Vec<(String, String)>,
    /// What earlier proposers would ask next, in their words, the oldest first.
    pub asked: Vec<String>,
    /// What is left to spend, a line each.
    pub left: Vec<String>,
}

/// A finished study, for whoever proposes the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StudyDigest {
    pub id: String,
    pub claim: String,
    pub arms: Vec<ArmDigest>,
    /// "0.4 minutes, 120000 tokens".
    pub cost: String,
    /// Why it may not be quoted as a test of its claim.
    pub exploratory: bool,
    /// The newest finding on it.
    pub finding: Option<String>,
}

/// An arm's verdict in words.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ArmDigest {
    /// The keys in which it differs, each with its two values.
    pub change: String,
    /// The factor, for grouping.
    pub factor: String,
    pub call: String,
    /// "-0.0470 bpb [-0.0630, -0.0310], margin 0.03, 12 pairs".
    pub effect: String,
    /// What would decide it.
    pub needed: Option<String>,
}

const LAST: &str = "Propose the one study that teaches most for what it costs.";

/// Limits of length, so that a brief stays one whatever a home holds.
const MOST_RECIPES: usize = 12;
const MOST_RECIPE_CHARACTERS: usize = 1_200;
const MOST_STUDIES: usize = 40;
const MOST_LINES: usize = 60;
const MOST_KEYS: usize = 240;
const MOST_LIST: usize = 60_000;
const MOST_WORDS: usize = 400;
const MOST_ABOUT: usize = 4_000;
const MOST_LIBRARY: usize = 12_000;

impl Brief {
    /// The brief as a proposer reads it: what stays the same in every brief on a question, then what
    /// changes with every study.
    pub fn parts(&self) -> [String; 2] {
        let keys = &self.keys[..self.keys.len().min(MOST_KEYS)];
        let stays = [
            ("Recipes that arms can start from (`base`)", self.recipes()),
            ("Corpora", self.corpora()),
            ("Keys that an arm may set", keys.join(", ")),
            ("What is to be found out", self.asked_for()),
            (
                "What the library says of it",
                cut(&self.library, MOST_LIBRARY),
            ),
        ];
        let changes = [
            (
                "Finished studies, the newest last",
                data("studies", &self.studies()),
            ),
            ("Noise between seeds", data("noise", &lines(&self.noises))),
            (
                "Dead ends: do not ask these again",
                data("dead ends", &self.dead_ends()),
            ),
            ("Open questions", data("open questions", &self.open())),
            (
                "What an optimiser of the space knows",
                data("points", &lines(&self.baselines)),
            ),
            ("Proposals that did not run", self.turned_away()),
            ("What earlier proposers would ask next", self.asked()),
            ("Left to spend", lines(&self.left)),
        ];
        let [stays, changes] = [&stays[..], &changes[..]].map(|sections| {
            let said = sections.iter().filter(|(_, body)| !body.trim().is_empty());
            let said = said.map(|(title, body)| format!("# {title}\n{}\n\n", body.trim_end()));
            said.collect::<String>()
        });
        [stays, changes + LAST]
    }

    fn asked_for(&self) -> String {
        let quoted = |about: &String| quoted_at_most("question", about, MOST_ABOUT);
        self.about.as_ref().map_or(String::new(), quoted)
    }

    fn recipes(&self) -> String {
        let shown = self.recipes.iter().take(MOST_RECIPES);
        let shown = shown.map(|(path, text)| {
            let said = format!("# {}\n{text}", visible_line(path));
            quoted_at_most("recipe", &said, MOST_RECIPE_CHARACTERS)
        });
        shown.collect::<Vec<_>>().join("\n")
    }

    fn corpora(&self) -> String {
        let listed = self.corpora.iter().take(MOST_LINES);
        let listed = listed.map(|(name, state, about)| format!("{name} ({state}): {about}"));
        data("corpora", &listed.collect::<Vec<_>>().join("\n"))
    }

    fn studies(&self) -> String {
        let older = self.studies.len().saturating_sub(MOST_STUDIES);
        let mut text = match older {
            0 => String::new(),
            n => format!("({n} older ones are left out here; their dead ends are below.)\n"),
        };
        for study in &self.studies[older..] {
            text += &study.text();
        }
        text
    }

    /// Negative results, by factor: every one, however old.
    fn dead_ends(&self) -> String {
        let negative = |arm: &&ArmDigest| matches!(arm.call.as_str(), "worse" | "equivalent");
        let mut found: Vec<(&str, String)> = Vec::new();
        for study in &self.studies {
            for arm in study.arms.iter().filter(negative) {
                let words = format!("{}: {}: {}", short(&arm.change), arm.call, arm.effect);
                found.push((&arm.factor, words));
            }
        }
        found.sort();
        found.dedup();
        bullets(found.into_iter().map(|(_, words)| words))
    }

    /// What finished without deciding.
    fn open(&self) -> String {
        let mut open = Vec::new();
        for study in &self.studies {
            for arm in study.arms.iter().filter(|arm| arm.call == "inconclusive") {
                let needed = arm.needed.iter().map(|needed| format!("; {needed}"));
                let needed: String = needed.collect();
                let effect = &arm.effect;
                open.push(format!(
                    "{} ({}): inconclusive: {effect}{needed}",
                    short(&arm.change),
                    study.id
                ));
            }
            for arm in study.arms.iter().filter(|arm| arm.call == "candidate") {
                let change = short(&arm.change);
                open.push(format!(
                    "{change} ({}): a candidate, to be confirmed on other seeds",
                    study.id
                ));
            }
        }
        bullets(open)
    }

    fn asked(&self) -> String {
        let newest = self.asked.len().saturating_sub(MOST_LINES / 4);
        let lines: Vec<String> = self.asked[newest..].iter().map(|q| short(q)).collect();
        data("questions", &lines.join("\n"))
    }

    fn turned_away(&self) -> String {
        let newest = self.turned_away.len().saturating_sub(MOST_LINES / 4);
        let lines = self.turned_away[newest..].iter();
        let lines = lines.map(|(claim, why)| format!("{}: {}", short(claim), short(why)));
        data("proposals", &lines.collect::<Vec<_>>().join("\n"))
    }
}

impl StudyDigest {
    /// A line for the study, and lines for what was claimed and found.
    fn text(&self) -> String {
        let mut text = format!("{}: ", self.id);
        if self.exploratory {
            text += "(exploratory: no test of its claim) ";
        }
        for arm in &self.arms {
            text += &format!("{}: {}: {}; ", short(&arm.change), arm.call, arm.effect);
        }
        text += &format!("{}\n    claim: {}\n", self.cost, short(&self.claim));
        if let Some(finding) = &self.finding {
            text += &format!("    finding: {}\n", short(finding));
        }
        text
    }
}

/// A list in which words of others stand, marked; nothing where it is empty.
fn data(kind: &str, list: &str) -> String {
    match list.trim().is_empty() {
        true => String::new(),
        false => quoted_at_most(kind, list.trim_end(), MOST_LIST),
    }
}

fn lines(all: &[String]) -> String {
    bullets(all.iter().cloned())
}

fn bullets(all: impl IntoIterator<Item = String>) -> String {
    let all = all.into_iter().take(MOST_LINES);
    all.map(|line| format!("- {line}\n")).collect()
}

/// On one line, with nothing invisible, and not too long.
fn short(words: &str) -> String {
    cut(&visible_line(words), MOST_WORDS)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.into(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

#[cfg(test)]
mod tests;
