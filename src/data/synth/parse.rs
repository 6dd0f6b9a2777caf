//! A grammar file to rules. The head of each file in `data/` explains the format.

mod template;

use super::rules::{Alternative, Field, Guard, Part, Rule, Rules, Sort};
use crate::error::{Error, Result, nearest};
use std::collections::HashMap;

/// The rule that a document comes from.
const START: &str = "document";

/// Reads the grammar `text` of the file called `file`. Errors name line, problem and remedy.
pub(super) fn parse(file: &str, text: &str) -> Result<Rules> {
    let mut parser = Parser {
        file,
        line: 0,
        rules: Vec::new(),
        known: HashMap::new(),
        variables: Vec::new(),
        fields: Vec::new(),
    };
    parser.headers(text)?;
    parser.bodies(text)?;
    parser.finish()
}

/// Where a name was first used, and whether anything gives it a value.
#[derive(Default)]
struct Name {
    name: String,
    used: Option<usize>,
    given: bool,
}

struct Parser<'a> {
    file: &'a str,
    /// The line being read, from 1.
    line: usize,
    rules: Vec<Rule>,
    /// Each rule's index and whether another text refers to it.
    known: HashMap<String, (usize, bool)>,
    variables: Vec<Name>,
    fields: Vec<Name>,
}

impl Parser<'_> {
    /// First pass: all rules' names, so that a text can refer to a later one.
    fn headers(&mut self, text: &str) -> Result<()> {
        for (idx, line) in text.lines().enumerate() {
            self.line = idx + 1;
            if is_comment(line) || line.starts_with(' ') {
                continue;
            }
            let Some((head, _)) = line.split_once(':') else {
                return Err(self.error(
                    format!("{line:?} begins no rule"),
                    "write `name: text`, or indent it to continue the rule above",
                ));
            };
            let (sort, name) = match head.split_once(' ') {
                Some(("once", name)) => (Sort::Once, name),
                Some(("scene", name)) => (Sort::Scene, name),
                _ => (Sort::Plain, head),
            };
            self.name(name)?;
            if let Some((first, _)) = self.known.get(name) {
                let first = self.rules[*first].line;
                return Err(self.error(
                    format!("the rule \"{name}\" is there already, on line {first}"),
                    "rename one of them, or join their alternatives",
                ));
            }
            self.known
                .insert(name.into(), (self.rules.len(), name == START));
            self.rules.push(Rule {
                name: name.into(),
                line: self.line,
                sort,
                alternatives: Vec::new(),
                fields: Vec::new(),
            });
        }
        Ok(())
    }

    /// Second pass: alternatives and fields.
    fn bodies(&mut self, text: &str) -> Result<()> {
        let mut rule = 0;
        for (idx, line) in text.lines().enumerate() {
            self.line = idx + 1;
            if is_comment(line) {
                continue;
            }
            let body = match line.strip_prefix(' ') {
                Some(_) if self.rules.is_empty() || self.rules[0].line > self.line => {
                    return Err(self.error(
                        "an indented line before the first rule",
                        "begin a rule above it with `name:`",
                    ));
                }
                Some(body) => body,
                None => {
                    // A header may be reached only in the order of the first pass.
                    rule = self.rules.partition_point(|r| r.line <= self.line) - 1;
                    line.split_once(':').map_or("", |(_, body)| body)
                }
            };
            self.body(rule, body.trim())?;
        }
        Ok(())
    }

    fn body(&mut self, rule: usize, body: &str) -> Result<()> {
        if let Some(field) = body.strip_prefix(";;") {
            let field = self.field(field)?;
            self.rules[rule].fields.push(field);
            return Ok(());
        }
        if body.starts_with(';') && self.rules[rule].alternatives.is_empty() {
            return Err(self.error(
                "a field before the first alternative",
                "write the alternative first, or ;; for a field of them all",
            ));
        }
        for (at, piece) in self.split(body, '|')?.into_iter().enumerate() {
            let piece = piece.trim();
            if piece.is_empty() && at == 0 {
                continue;
            }
            let pieces = self.split(piece, ';')?;
            let starts = at > 0 || self.rules[rule].alternatives.is_empty();
            let (weight, guards, text) = match starts {
                true => self.prefix(pieces[0].trim())?,
                false => (1.0, Vec::new(), pieces[0].trim()),
            };
            let text = self.text(text)?;
            let mut fields = Vec::new();
            for field in &pieces[1..] {
                fields.push(self.field(field)?);
            }
            let alternatives = &mut self.rules[rule].alternatives;
            match alternatives.last_mut().filter(|_| !starts) {
                Some(last) => go_on(last, text, fields),
                None => alternatives.push(Alternative {
                    weight,
                    guards,
                    text,
                    fields,
                }),
            }
        }
        Ok(())
    }

    /// A weight and conditions off the front of an alternative.
    fn prefix<'t>(&mut self, text: &'t str) -> Result<(f64, Vec<Guard>, &'t str)> {
        let (weight, mut rest) = self.weight(text)?;
        let mut guards = Vec::new();
        if let Some(after) = rest.strip_prefix("if ") {
            let Some((conditions, text)) = after.split_once(':') else {
                return Err(self.error(
                    "a condition without an end",
                    "write `if a < b and c = 0: text`",
                ));
            };
            for condition in conditions.split(" and ") {
                guards.push(self.guard(condition)?);
            }
            rest = text.trim_start();
        }
        Ok((weight, guards, rest))
    }

    fn weight<'t>(&self, text: &'t str) -> Result<(f64, &'t str)> {
        let digits = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let Some(rest) = digits.strip_prefix('*').filter(|_| digits != text) else {
            return Ok((1.0, text));
        };
        let number = &text[..text.len() - digits.len()];
        match number.parse() {
            Ok(weight) if weight > 0.0 => Ok((weight, rest.trim_start())),
            _ => Err(self.error(
                format!("{number:?} is no weight"),
                "write a number above zero before the *",
            )),
        }
    }

    fn guard(&mut self, text: &str) -> Result<Guard> {
        for relation in ["<=", ">=", "!=", "<", ">", "="] {
            if let Some((left, right)) = text.split_once(relation) {
                return Ok(Guard {
                    left: self.expression(left)?,
                    relation,
                    right: self.expression(right)?,
                });
            }
        }
        Err(self.error(
            format!("{text:?} is no condition"),
            "compare two expressions with < > = <= >= or !=",
        ))
    }

    fn field(&mut self, text: &str) -> Result<Field> {
        let Some((name, text)) = text.split_once('=') else {
            return Err(self.error(format!("{text:?} is no field"), "write `; name=text`"));
        };
        self.name(name.trim())?;
        Ok(Field {
            name: note(&mut self.fields, name.trim(), None),
            text: self.text(text.trim())?,
        })
    }

    fn rule(&mut self, name: &str) -> Result<usize> {
        if let Some((index, used)) = self.known.get_mut(name) {
            *used = true;
            return Ok(*index);
        }
        let remedy = match nearest(name, self.known.keys().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add a rule `{name}: ...`"),
        };
        Err(self.error(format!("there is no rule \"{name}\""), remedy))
    }

    fn variable(&mut self, name: &str) -> Result<usize> {
        self.name(name)?;
        if self.known.contains_key(name) {
            return Err(self.error(
                format!("\"{name}\" is a rule, not a variable"),
                format!("bind it first: `{{x={name}}}`, then use x"),
            ));
        }
        Ok(note(&mut self.variables, name, Some(self.line)))
    }

    fn binding(&mut self, name: &str) -> Result<usize> {
        let variable = self.variable(name)?;
        self.variables[variable].given = true;
        Ok(variable)
    }

    fn name(&self, name: &str) -> Result<()> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        match name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain) {
            true => Ok(()),
            false => Err(self.error(
                format!("{name:?} can't be a name"),
                "use lower-case letters, digits and _, a letter first",
            )),
        }
    }

    /// Last pass: everything that is used exists, and the other way round.
    fn finish(mut self) -> Result<Rules> {
        for rule in &self.rules {
            self.line = rule.line;
            let name = &rule.name;
            if rule.alternatives.is_empty() {
                return Err(self.error(
                    format!("the rule \"{name}\" has no text"),
                    "write an alternative",
                ));
            }
            if !self.known[name].1 {
                return Err(self.error(
                    format!("nothing uses the rule \"{name}\""),
                    "refer to it or remove it",
                ));
            }
        }
        self.given()?;
        let Some((start, _)) = self.known.get(START).copied() else {
            self.line = 1;
            return Err(self.error(
                format!("there is no rule \"{START}\""),
                format!("add `{START}: ...`; every text comes from it"),
            ));
        };
        let names = |names: Vec<Name>| names.into_iter().map(|name| name.name).collect();
        Ok(Rules {
            file: self.file.into(),
            rules: self.rules,
            variables: names(self.variables),
            fields: names(self.fields),
            start,
        })
    }

    /// Errors when a variable or a field that a text uses never gets a value.
    fn given(&mut self) -> Result<()> {
        for (names, what) in [(&self.variables, "variable"), (&self.fields, "field")] {
            if let Some(name) = names.iter().find(|name| !name.given) {
                self.line = name.used.unwrap_or_default();
                let known = names.iter().filter(|n| n.given).map(|n| n.name.as_str());
                let known = known.chain(self.rules.iter().map(|rule| rule.name.as_str()));
                let remedy = match nearest(&name.name, known) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => "give it a value, or write a rule of that name".into(),
                };
                return Err(self.error(
                    format!("nothing gives the {what} \"{}\" a value", name.name),
                    remedy,
                ));
            }
        }
        Ok(())
    }

    fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::input(format!("{}:{}", self.file, self.line), problem, remedy)
    }
}

/// A continued line adds to the text that was open: the alternative's, or that of its last field.
fn go_on(alternative: &mut Alternative, text: Vec<Part>, fields: Vec<Field>) {
    let open = match alternative.fields.last_mut() {
        Some(field) => &mut field.text,
        None => &mut alternative.text,
    };
    if !text.is_empty() {
        open.push(Part::Text(" ".into()));
        open.extend(text);
    }
    alternative.fields.extend(fields);
}

fn is_comment(line: &str) -> bool {
    line.starts_with('#') || line.trim().is_empty()
}

/// The index of `name`, added where it is new. Used on a line, or else given.
fn note(names: &mut Vec<Name>, name: &str, used: Option<usize>) -> usize {
    let index = names.iter().position(|n| n.name == name);
    let index = index.unwrap_or_else(|| {
        names.push(Name {
            name: name.into(),
            ..Name::default()
        });
        names.len() - 1
    });
    let entry = &mut names[index];
    entry.given |= used.is_none();
    entry.used = entry.used.or(used);
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each grammar has one mistake: the line, the problem and the remedy that its error names.
    fn check(cases: &[(&str, usize, &str, &str)]) {
        for (text, line, problem, remedy) in cases {
            let error = parse("x.grammar", text).unwrap_err();
            assert_eq!(error.place, format!("x.grammar:{line}"), "{error}");
            assert!(error.problem.contains(problem), "{error}");
            assert!(error.remedy.contains(remedy), "{error}");
        }
    }

    #[test]
    fn a_mistake_in_the_lines_names_line_problem_and_remedy() {
        let d = "document: a\n";
        check(&[
            (
                &format!("{d}plain words"),
                2,
                "begins no rule",
                "name: text",
            ),
            (&format!("{d}Dog: b"), 2, "can't be a name", "lower-case"),
            (&format!("{d}\ndocument: b"), 3, "on line 1", "rename"),
            (
                "  a\ndocument: b",
                1,
                "before the first rule",
                "begin a rule",
            ),
            ("document: 0* a", 1, "is no weight", "above zero"),
            ("document: a ; b", 1, "is no field", "; name=text"),
            ("document:\n  ; a=b", 2, "first alternative", ";;"),
            ("document:\n", 1, "has no text", "alternative"),
            ("# nothing", 1, "no rule \"document\"", "add"),
            (&format!("{d}  | if x: b"), 2, "is no condition", "compare"),
            (
                &format!("{d}  | if x > 1 b"),
                2,
                "without an end",
                "if a < b",
            ),
        ]);
    }

    #[test]
    fn a_mistake_in_a_text_names_line_problem_and_remedy() {
        check(&[
            ("document: {dog\n  }", 1, "does not close", "same line"),
            ("document: [a}]", 1, "does not close", "same line"),
            ("document: a]", 1, "nothing opened", "remove it"),
            ("document: {=2 ^ 3}", 1, "can't be a name", "letter first"),
            (
                "document: {d=dog}\ndogs: Rex",
                1,
                "no rule \"dog\"",
                "\"dogs\"",
            ),
            (
                "document: {x=1..2}\ndogs: Rex",
                2,
                "nothing uses",
                "remove it",
            ),
            (
                "document: {xs=1..2}\n  {xt}",
                2,
                "variable \"xt\"",
                "mean \"xs\"",
            ),
            (
                "document: {x=r}{x.nmae}\nr: a ; name=b",
                1,
                "\"nmae\"",
                "\"name\"",
            ),
            ("document: {r#2}\nr: a", 1, "is a rule", "bind it"),
        ]);
    }

    #[test]
    fn lines_go_on_and_bars_begin_alternatives() {
        let text = "document: a {b} | 2* c\n  d ; f=[x|y]\n  ; g=z\n  | e\nb: 1 | 2\n";
        let rules = parse("x.grammar", text).unwrap();
        let document = &rules.rules[rules.start];
        let weights: Vec<f64> = document.alternatives.iter().map(|a| a.weight).collect();
        assert_eq!(weights, [1.0, 2.0, 1.0]);
        assert_eq!(document.alternatives[1].fields.len(), 2);
        assert_eq!(rules.rules[1].alternatives.len(), 2);
    }
}
