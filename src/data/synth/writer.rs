//! Writes documents by the rules.

use super::{
    rules::{Expression, Part, Rules, Sort},
    spelling::{polish, regular_plural, words},
};
use crate::{
    error::{Error, Result},
    rng::Rng,
};
use std::{collections::HashSet, rc::Rc};

/// Rules within rules: deeper than any built-in grammar goes.
const DEEPEST: usize = 60;
/// Draws for a value unlike others before giving up.
const DRAWS: usize = 200;

/// What a variable is bound to.
struct Value {
    text: String,
    /// Rule and alternative that the text came from, innermost first: where its fields are found.
    origin: Vec<(usize, usize)>,
}

/// Writes one document after another from one stream of random numbers.
pub(super) struct Writer<'a> {
    rules: &'a Rules,
    rng: Rng,
    /// By variable.
    bound: Vec<Option<Rc<Value>>>,
    /// Alternatives of `once` rules that this document has.
    spent: HashSet<(usize, usize)>,
    depth: usize,
}

impl<'a> Writer<'a> {
    pub fn new(rules: &'a Rules, rng: Rng) -> Self {
        Self {
            rules,
            rng,
            bound: Vec::new(),
            spent: HashSet::new(),
            depth: 0,
        }
    }

    /// The next document. Errors where the grammar asks for something that does not exist.
    pub fn document(&mut self) -> Result<String> {
        self.bound = vec![None; self.rules.variables.len()];
        self.spent.clear();
        self.depth = 0;
        let mut draft = String::new();
        self.rule(self.rules.start, &mut draft)?;
        let document = polish(&draft);
        match document.is_ascii() && !document.is_empty() && !document.contains("\n\n") {
            true => Ok(document),
            false => Err(self.error(
                self.rules.start,
                format!("{document:?} is no document"),
                "write ASCII, and no blank lines",
            )),
        }
    }

    /// Writes an alternative of a rule; returns where the text came from.
    fn rule(&mut self, rule: usize, out: &mut String) -> Result<Vec<(usize, usize)>> {
        let rules = self.rules;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error(
                rule,
                format!("rules within rules, {DEEPEST} deep"),
                "give it an alternative that ends",
            ));
        }
        let chosen = self.choose(rule)?;
        let text = &rules.rules[rule].alternatives[chosen].text;
        let kept = (rules.rules[rule].sort == Sort::Scene).then(|| self.bound.clone());
        // An alternative that is only a reference passes on the fields of what it refers to.
        let mut origin = match text.as_slice() {
            [Part::Rule(inner)] => self.rule(*inner, out)?,
            [Part::Show(variable)] => {
                let value = self.value(*variable)?;
                out.push_str(&value.text);
                value.origin.clone()
            }
            _ => {
                self.parts(text, out).map_err(|e| self.placed(rule, e))?;
                Vec::new()
            }
        };
        origin.push((rule, chosen));
        if let Some(kept) = kept {
            self.bound = kept;
        }
        self.depth -= 1;
        Ok(origin)
    }

    fn choose(&mut self, rule: usize) -> Result<usize> {
        let rules = self.rules;
        let alternatives = &rules.rules[rule].alternatives;
        let mut weights = Vec::with_capacity(alternatives.len());
        for alternative in alternatives {
            let mut weight = alternative.weight;
            for guard in &alternative.guards {
                let holds = guard.holds(&|variable| self.number(variable));
                if !holds.map_err(|e| self.placed(rule, e))? {
                    weight = 0.0;
                }
            }
            weights.push(weight);
        }
        if rules.rules[rule].sort == Sort::Once {
            let left = |idx: usize| !self.spent.contains(&(rule, idx));
            if (0..weights.len()).any(|idx| weights[idx] > 0.0 && left(idx)) {
                for (idx, weight) in weights.iter_mut().enumerate() {
                    *weight *= f64::from(u8::from(left(idx)));
                }
            }
        }
        if weights.iter().all(|weight| *weight == 0.0) {
            return Err(self.error(
                rule,
                "no alternative's condition holds",
                "add an alternative without a condition",
            ));
        }
        let chosen = self.rng.pick(&weights);
        if rules.rules[rule].sort == Sort::Once {
            self.spent.insert((rule, chosen));
        }
        Ok(chosen)
    }

    fn parts(&mut self, parts: &'a [Part], out: &mut String) -> Result<()> {
        parts.iter().try_for_each(|part| self.part(part, out))
    }

    fn part(&mut self, part: &'a Part, out: &mut String) -> Result<()> {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Choice(choices) => {
                let weights: Vec<f64> = choices.iter().map(|(weight, _)| *weight).collect();
                let chosen = self.rng.pick(&weights);
                self.parts(&choices[chosen].1, out)?;
            }
            Part::Rule(rule) => {
                self.rule(*rule, out)?;
            }
            Part::Show(variable) => out.push_str(&self.value(*variable)?.text),
            Part::Field { variable, field } => {
                let text = self.field(*variable, *field)?;
                self.parts(text.ok_or_else(|| self.lacks(*variable, *field))?, out)?;
            }
            Part::Plural { variable, number } => self.plural(*variable, number, out)?,
            Part::Number(value) => out.push_str(&self.evaluate(value)?.to_string()),
            Part::Words(value) => {
                let value = self.evaluate(value)?;
                out.push_str(&words(value).ok_or_else(|| {
                    missing(format!("there are words for 0 to 999 only, not {value}"))
                })?);
            }
            Part::Bind {
                variable,
                rule,
                unlike,
            } => self.bind(*variable, *rule, unlike)?,
            Part::Draw {
                variable,
                low,
                high,
            } => {
                let drawn = self.draw(low, high)?;
                self.bind_number(*variable, drawn);
            }
            Part::Compute { variable, value } => {
                let value = self.evaluate(value)?;
                self.bind_number(*variable, value);
            }
        }
        Ok(())
    }

    fn draw(&mut self, low: &Expression, high: &Expression) -> Result<i64> {
        let (low, high) = (self.evaluate(low)?, self.evaluate(high)?);
        match high.checked_sub(low).and_then(|span| span.checked_add(1)) {
            Some(count) if count > 0 => Ok(low + self.rng.below(count as u64) as i64),
            _ => Err(missing(format!("no number is in {low}..{high}"))),
        }
    }

    fn lacks(&self, variable: usize, field: usize) -> Error {
        let (name, field) = (&self.rules.variables[variable], &self.rules.fields[field]);
        missing(format!("the value of \"{name}\" has no field \"{field}\""))
    }

    fn bind(&mut self, variable: usize, rule: usize, unlike: &[usize]) -> Result<()> {
        for _ in 0..DRAWS {
            let mut text = String::new();
            let origin = self.rule(rule, &mut text)?;
            let others = unlike
                .iter()
                .filter_map(|other| self.bound[*other].as_ref());
            if others.into_iter().all(|other| other.text != text) {
                self.bound[variable] = Some(Rc::new(Value { text, origin }));
                return Ok(());
            }
        }
        Err(missing(format!(
            "the rule \"{}\" gives nothing unlike the others",
            self.rules.rules[rule].name
        )))
    }

    fn bind_number(&mut self, variable: usize, number: i64) {
        self.bound[variable] = Some(Rc::new(Value {
            text: number.to_string(),
            origin: Vec::new(),
        }));
    }

    fn value(&self, variable: usize) -> Result<Rc<Value>> {
        self.bound[variable].clone().ok_or_else(|| {
            let name = &self.rules.variables[variable];
            missing(format!("\"{name}\" has no value yet"))
        })
    }

    fn number(&self, variable: usize) -> Result<i64> {
        let value = self.value(variable)?;
        value
            .text
            .parse()
            .map_err(|_| missing(format!("{:?} is no number", value.text)))
    }

    fn evaluate(&self, expression: &Expression) -> Result<i64> {
        expression.value(&|variable| self.number(variable))
    }

    fn field(&self, variable: usize, field: usize) -> Result<Option<&'a [Part]>> {
        let rules = self.rules;
        let value = self.value(variable)?;
        let mut found = value.origin.iter().flat_map(|(rule, alternative)| {
            let rule = &rules.rules[*rule];
            rule.alternatives[*alternative]
                .fields
                .iter()
                .chain(&rule.fields)
        });
        Ok(found
            .find(|found| found.name == field)
            .map(|found| found.text.as_slice()))
    }

    fn plural(&mut self, variable: usize, number: &Expression, out: &mut String) -> Result<()> {
        let value = self.value(variable)?;
        if self.evaluate(number)? == 1 {
            out.push_str(&value.text);
            return Ok(());
        }
        let many = self.rules.fields.iter().position(|name| name == "many");
        match many.map(|many| self.field(variable, many)).transpose()? {
            Some(Some(text)) => self.parts(text, out)?,
            _ => out.push_str(&regular_plural(&value.text)),
        }
        Ok(())
    }

    fn error(&self, rule: usize, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        let rule = &self.rules.rules[rule];
        let place = format!("{}:{}: rule \"{}\"", self.rules.file, rule.line, rule.name);
        Error::input(place, problem, remedy)
    }

    /// The error, at this rule unless an inner one had it.
    fn placed(&self, rule: usize, error: Error) -> Error {
        match error.place.starts_with(&self.rules.file) {
            true => error,
            false => self.error(rule, error.problem, error.remedy),
        }
    }
}

/// An error that the rule around it gets to place.
fn missing(problem: String) -> Error {
    Error::input(
        "a text",
        problem,
        "mend the rule so that every text it refers to exists by then",
    )
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    fn written(grammar: &str, seed: u64) -> Result<String> {
        let rules = parse("test.grammar", grammar).unwrap();
        Writer::new(&rules, Rng::named(seed, "test")).document()
    }

    #[test]
    fn variables_keep_their_text_and_their_fields() {
        let grammar = "document: {who=people}{other=people!who}{who}, {who.they}, {other}, {other.they}\n\
            people: {girls} | {boys}\n\
            girls: Ann | Eve\n  ;; they=she\n\
            boys: Max ; they=he | Bo ; they=it\n";
        for seed in 0..50 {
            let text = written(grammar, seed).unwrap();
            let words: Vec<&str> = text.split(", ").collect();
            assert_ne!(words[0], words[2]);
            for pair in words.chunks(2) {
                let pronoun = match pair[0] {
                    "Max" => "he",
                    "Bo" => "it",
                    _ => "she",
                };
                assert_eq!(pair[1], pronoun, "{text}");
            }
        }
    }

    #[test]
    fn numbers_are_computed_and_conditions_hold() {
        let grammar = "document: {a=1..9}{b:=a*(a+1)/2-1}{odd} {=b+1}\n\
            odd: if a % 2 = 1: odd {a} | if a % 2 = 0 and a > 0: even {a}\n";
        for seed in 0..50 {
            let text = written(grammar, seed).unwrap();
            let words: Vec<&str> = text.split(' ').collect();
            let a: i64 = words[1].parse().unwrap();
            assert_eq!(words[0], if a % 2 == 1 { "odd" } else { "even" });
            assert_eq!(words[2], (1..=a).sum::<i64>().to_string());
        }
    }

    #[test]
    fn once_spends_every_alternative_before_one_comes_again() {
        let grammar = "document: {r}{r}{r}{r}\nonce r: a | b | c | d\n";
        for seed in 0..20 {
            let mut letters: Vec<char> = written(grammar, seed).unwrap().chars().collect();
            letters.sort_unstable();
            assert_eq!(letters, ['a', 'b', 'c', 'd']);
        }
    }

    #[test]
    fn a_scene_forgets_what_it_bound() {
        let grammar = "document: {x=1..1}{s}{x}\nscene s: {x=2..2}{x}\n";
        assert_eq!(written(grammar, 1).unwrap(), "21");
    }

    #[test]
    fn articles_plurals_and_capitals_agree() {
        let grammar = "document: {x=xs}{y=ys}^a(n) {x}, a(n) {=8}, a(n) {=12}, a(n) {=18}, 2 {x#2}, 1 {x#1}, {y#3}\n\
            xs: old box\nys: fly ; many=flies away\n";
        assert_eq!(
            written(grammar, 1).unwrap(),
            "An old box, an 8, a 12, an 18, 2 old boxes, 1 old box, flies away"
        );
    }

    #[test]
    fn what_cannot_be_written_names_the_rule() {
        for (grammar, problem) in [
            ("document: {x}{x=1..2}", "no value yet"),
            ("document: {x=1..2}{=x/0}", "has no value"),
            ("document: {x=5..2}{x}", "no number is in 5..2"),
            ("document: {x=xs}{y=xs!x}{y}\nxs: a", "nothing unlike"),
            ("document: {r}\nr: x{r}", "deep"),
            ("document: {x=1..1}{r}\nr: if x > 1: a", "no alternative"),
            ("document: {x=xs}{=x+1}\nxs: two", "is no number"),
            (
                "document: {x=xs}{x.f}\nxs: a\n  | b ; f=c",
                "no field \"f\"",
            ),
        ] {
            let error = (0..20)
                .find_map(|seed| written(grammar, seed).err())
                .unwrap();
            assert!(error.problem.contains(problem), "{grammar}: {error}");
            assert!(error.place.starts_with("test.grammar:"), "{error}");
        }
    }
}
