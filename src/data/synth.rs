//! Built-in corpora: texts that are written, so that a study needs no download.
//!
//! Two are written from grammars, three by code: facts, which must agree over a whole text, programs,
//! which must run, and echoes of random letters. A grammar binds names, things and numbers once per document and uses them again later, so its
//! text has what letter statistics cannot see: who the story is about, what was lost, what a sum
//! comes to. `data/NAME.grammar` holds the words; this module only follows them.

mod echoes;
mod facts;
mod parse;
mod programs;
mod rules;
mod spelling;
mod writer;

use crate::{
    error::{Error, Result},
    rng::Rng,
};
use echoes::Caller;
use facts::Teller;
use programs::Author;
use std::collections::HashSet;
use writer::Writer;

/// A built-in corpus.
#[derive(Debug)]
pub struct Grammar {
    pub name: &'static str,
    pub about: &'static str,
    /// What each of its answers follows, where it has any: see [`super::answers`].
    pub answers: Option<&'static str>,
    writer: Kind,
}

/// What writes a corpus.
#[derive(Debug)]
enum Kind {
    /// The rules of a grammar's text.
    Rules(&'static str),
    Facts,
    Programs,
    Echoes,
}

impl Grammar {
    /// Where its words are.
    pub fn origin(&self) -> String {
        match self.writer {
            Kind::Rules(_) => format!("grammar data/{}.grammar", self.name),
            Kind::Facts | Kind::Programs | Kind::Echoes => {
                format!("generator src/data/synth/{}.rs", self.name)
            }
        }
    }
}

/// All built-in corpora.
pub const GRAMMARS: [Grammar; 5] = [
    Grammar {
        name: "tales",
        about: "short tales for children: things wished for, lost, found and passed on",
        answers: None,
        writer: Kind::Rules(include_str!("../../data/tales.grammar")),
    },
    Grammar {
        name: "sums",
        about: "short worked arithmetic in words and digits, every result right",
        answers: None,
        writer: Kind::Rules(include_str!("../../data/sums.grammar")),
    },
    Grammar {
        name: "facts",
        about: "facts about invented towns, animals and machines, stated and asked about",
        answers: Some("Answer: "),
        writer: Kind::Facts,
    },
    Grammar {
        name: "programs",
        about: "small programs in a part of Python, each with its output",
        answers: Some(programs::OUTPUT),
        writer: Kind::Programs,
    },
    Grammar {
        name: "echoes",
        about: "random letters, each line of them again and again: what induction heads learn",
        answers: Some(echoes::AGAIN),
        writer: Kind::Echoes,
    },
];

/// How much text a corpus has, in bytes, unless someone asks for another amount.
pub const DEFAULT_BYTES: usize = 1_200_000;
/// The seed of that text.
pub const DEFAULT_SEED: u64 = 1;

/// So many repeated documents in a row mean that the grammar has no more.
const PATIENCE: usize = 2000;

/// At least `bytes` bytes of ASCII text: distinct documents, one blank line between two. A pure
/// function of its arguments; a longer text begins with the shorter ones of the same seed. Errors
/// when the grammar has too few distinct documents, or is wrong.
pub fn generate(grammar: &Grammar, bytes: usize, seed: u64) -> Result<String> {
    let rng = Rng::named(seed, grammar.name);
    match grammar.writer {
        Kind::Rules(text) => {
            let rules = parse::parse(&format!("data/{}.grammar", grammar.name), text)?;
            let mut writer = Writer::new(&rules, rng);
            collect(grammar.name, bytes, &mut || writer.document())
        }
        Kind::Facts => {
            let mut teller = Teller::new(rng);
            collect(grammar.name, bytes, &mut || Ok(teller.document()))
        }
        Kind::Programs => {
            let mut author = Author::new(rng);
            collect(grammar.name, bytes, &mut || Ok(author.document()))
        }
        Kind::Echoes => {
            let mut caller = Caller::new(rng);
            collect(grammar.name, bytes, &mut || Ok(caller.document()))
        }
    }
}

/// So many bytes of distinct documents.
fn collect(name: &str, bytes: usize, next: &mut dyn FnMut() -> Result<String>) -> Result<String> {
    let mut text = String::new();
    let mut seen = HashSet::new();
    while text.len() < bytes {
        let document = fresh(next, &seen)?.ok_or_else(|| {
            Error::input(
                format!("grammar \"{name}\""),
                format!(
                    "it has no more than about {} distinct documents, {} bytes of {bytes}",
                    seen.len(),
                    text.len()
                ),
                "ask for less text, or add alternatives to the grammar",
            )
        })?;
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&document);
        text.push('\n');
        seen.insert(document);
    }
    Ok(text)
}

/// A document that was not seen, if there still is one.
fn fresh(
    next: &mut dyn FnMut() -> Result<String>,
    seen: &HashSet<String>,
) -> Result<Option<String>> {
    for _ in 0..PATIENCE {
        let document = next()?;
        if !seen.contains(&document) {
            return Ok(Some(document));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grammar(name: &str) -> &'static Grammar {
        static ALL: [Grammar; 5] = GRAMMARS;
        ALL.iter().find(|grammar| grammar.name == name).unwrap()
    }

    #[test]
    fn documents_are_distinct_ascii_and_parted_by_one_blank_line() {
        for built_in in &GRAMMARS {
            let text = generate(built_in, DEFAULT_BYTES, DEFAULT_SEED).unwrap();
            assert!(text.len() >= DEFAULT_BYTES && text.is_ascii());
            assert!(!text.contains("\n\n\n") && !text.contains(" \n"));
            // What is resolved must not be left over; programs have brackets and indents.
            assert!(!text.contains(['{', '}', '^', '|', '\\']));
            let program = matches!(built_in.writer, Kind::Programs);
            assert!(program || !text.contains(['[', ']']) && !text.contains("  "));
            let documents: Vec<&str> = text.trim_end().split("\n\n").collect();
            let distinct: HashSet<&str> = documents.iter().copied().collect();
            assert_eq!(distinct.len(), documents.len(), "{}", built_in.name);
        }
    }

    #[test]
    fn a_text_is_a_function_of_its_seed_and_a_longer_one_begins_with_it() {
        for built_in in &GRAMMARS {
            let short = generate(built_in, 5_000, 7).unwrap();
            assert!(generate(built_in, 50_000, 7).unwrap().starts_with(&short));
            assert_ne!(generate(built_in, 5_000, 8).unwrap(), short);
        }
    }

    #[test]
    fn a_tale_has_the_length_of_a_tale() {
        let text = generate(grammar("tales"), 300_000, 3).unwrap();
        let mut lengths: Vec<usize> = text.trim_end().split("\n\n").map(str::len).collect();
        lengths.sort_unstable();
        assert!(lengths[lengths.len() / 50] >= 300, "{lengths:?}");
        assert!(lengths[lengths.len() * 9 / 10] <= 900, "{lengths:?}");
    }

    #[test]
    fn a_tale_speaks_of_its_hero_again_in_its_last_line_or_quotes_its_beginning() {
        let text = generate(grammar("tales"), 300_000, 3).unwrap();
        let documents: Vec<&str> = text.trim_end().split("\n\n").collect();
        let back = |document: &&&str| {
            let (start, last) = document.rsplit_once('\n').unwrap();
            let mut words = start.split(|c: char| !c.is_ascii_alphabetic());
            let names = words.by_ref().filter(|w| w.starts_with(char::is_uppercase));
            names
                .filter(|name| name.len() > 2)
                .any(|name| last.contains(name))
        };
        let share = documents.iter().filter(back).count() as f64 / documents.len() as f64;
        assert!(share > 0.9, "{share}");
    }

    #[test]
    fn a_grammar_without_enough_documents_is_named() {
        let small = Grammar {
            name: "small",
            about: "",
            answers: None,
            writer: Kind::Rules("document: {n=1..9}Number {n}."),
        };
        assert_eq!(
            generate(&small, 80, 1).unwrap().matches("Number").count(),
            8
        );
        let error = generate(&small, 200, 1).unwrap_err();
        assert!(error.place.contains("\"small\"") && error.problem.contains("about 9 distinct"));
    }

    /// A sum of products, from the left; `None` where it isn't one.
    fn value(terms: &[&str]) -> Option<i64> {
        let (mut sum, mut product, mut sign) = (0, terms.first()?.parse::<i64>().ok()?, 1);
        for pair in terms[1..].chunks(2) {
            let number: i64 = pair.get(1)?.parse().ok()?;
            match pair[0] {
                "*" => product *= number,
                "/" if product % number == 0 => product /= number,
                "+" | "-" => {
                    sum += sign * product;
                    (product, sign) = (number, if pair[0] == "+" { 1 } else { -1 });
                }
                _ => return None,
            }
        }
        Some(sum + sign * product)
    }

    /// Runs of numbers and operators in a line, each with its relation: "3 + 4 = 7", "9 > 2".
    fn equations(line: &str) -> Vec<Vec<&str>> {
        let mut runs = vec![Vec::new()];
        for word in line.split(' ') {
            let bare = word.trim_end_matches(['.', ',', ':', '?']);
            let number = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit());
            let part = number || ["+", "-", "*", "/", "=", "<", ">"].contains(&bare);
            let last = runs.len() - 1;
            if part {
                runs[last].push(bare);
            }
            if !part || bare != word {
                runs.push(Vec::new());
            }
        }
        runs.retain(|run| run.iter().any(|part| ["=", "<", ">"].contains(part)));
        runs
    }

    #[test]
    fn every_equation_of_the_sums_is_right() {
        let text = generate(grammar("sums"), 200_000, DEFAULT_SEED).unwrap();
        let mut seen = 0;
        for equation in text.lines().flat_map(equations) {
            let at = equation
                .iter()
                .position(|part| "=<>".contains(part))
                .unwrap();
            let (left, right) = (&equation[..at], &equation[at + 1..]);
            if right.is_empty() {
                // A question: "3 + 4 = ?".
                continue;
            }
            let sides = (value(left), value(right));
            let (Some(a), Some(b)) = sides else {
                panic!("{equation:?} can't be read");
            };
            let right = match equation[at] {
                "=" => a == b,
                "<" => a < b,
                _ => a > b,
            };
            assert!(right, "{equation:?}");
            seen += 1;
        }
        assert!(seen > 4_000, "only {seen} equations");
    }
}
