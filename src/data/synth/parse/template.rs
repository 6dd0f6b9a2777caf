//! One text of a grammar to its parts: references, choices, expressions.

use super::{
    super::rules::{Expression, Part},
    Parser, note,
};
use crate::error::Result;

impl Parser<'_> {
    /// A text to its parts.
    pub(super) fn text(&mut self, text: &str) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '[']) {
            if at > 0 {
                parts.push(Part::Text(rest[..at].replace("\\n", "\n")));
            }
            let end = self.closing(rest, at)?;
            let inside = &rest[at + 1..end];
            if rest.as_bytes()[at] == b'{' {
                parts.push(self.reference(inside)?);
            } else {
                let mut choices = Vec::new();
                for choice in self.split(inside, '|')? {
                    let (weight, text) = self.weight(choice)?;
                    choices.push((weight, self.text(text)?));
                }
                parts.push(Part::Choice(choices));
            }
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.replace("\\n", "\n")));
        }
        Ok(parts)
    }

    /// What stands between braces.
    fn reference(&mut self, inside: &str) -> Result<Part> {
        if let Some(value) = inside.strip_prefix('=') {
            return Ok(Part::Number(self.expression(value)?));
        }
        if let Some(number) = inside.strip_prefix("words ") {
            return Ok(Part::Words(self.expression(number)?));
        }
        if let Some((name, value)) = inside.split_once(":=") {
            let value = self.expression(value)?;
            let variable = self.binding(name)?;
            return Ok(Part::Compute { variable, value });
        }
        if let Some((name, value)) = inside.split_once('=') {
            return self.bind(name, value);
        }
        if let Some((name, number)) = inside.split_once('#') {
            return Ok(Part::Plural {
                variable: self.variable(name)?,
                number: self.expression(number)?,
            });
        }
        if let Some((name, field)) = inside.split_once('.') {
            self.name(field)?;
            return Ok(Part::Field {
                variable: self.variable(name)?,
                field: note(&mut self.fields, field, Some(self.line)),
            });
        }
        match self.known.contains_key(inside) {
            true => Ok(Part::Rule(self.rule(inside)?)),
            false => Ok(Part::Show(self.variable(inside)?)),
        }
    }

    /// What a variable is drawn from: numbers, or a rule's texts.
    fn bind(&mut self, name: &str, value: &str) -> Result<Part> {
        if let Some((low, high)) = value.split_once("..") {
            let (low, high) = (self.expression(low)?, self.expression(high)?);
            let variable = self.binding(name)?;
            return Ok(Part::Draw {
                variable,
                low,
                high,
            });
        }
        let mut names = value.split('!');
        let rule = self.rule(names.next().unwrap_or_default())?;
        let unlike = names
            .map(|name| self.variable(name))
            .collect::<Result<_>>()?;
        let variable = self.binding(name)?;
        Ok(Part::Bind {
            variable,
            rule,
            unlike,
        })
    }

    /// Sums of products of numbers, variables and brackets; operators of one rank from the left.
    pub(super) fn expression(&mut self, text: &str) -> Result<Expression> {
        let text = text.trim();
        for rank in ["+-", "*/%"] {
            let mut depth = 0;
            for (at, c) in text.char_indices().rev() {
                match c {
                    ')' => depth += 1,
                    '(' => depth -= 1,
                    _ if depth == 0 && rank.contains(c) => {
                        let left = self.expression(&text[..at])?;
                        let right = self.expression(&text[at + 1..])?;
                        return Ok(Expression::Operation(c, Box::new([left, right])));
                    }
                    _ => {}
                }
            }
        }
        if let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
            return self.expression(inner);
        }
        match text.parse() {
            Ok(number) => Ok(Expression::Number(number)),
            Err(_) => Ok(Expression::Variable(self.variable(text)?)),
        }
    }

    /// Pieces of `text` between those `mark`s that stand outside all brackets.
    pub(super) fn split<'t>(&self, text: &'t str, mark: char) -> Result<Vec<&'t str>> {
        let mut pieces = Vec::new();
        let (mut start, mut at) = (0, 0);
        while let Some(found) = text[at..].find(['{', '[', '}', ']', mark]) {
            at += found;
            match text[at..].chars().next() {
                Some(c) if c == mark => {
                    pieces.push(&text[start..at]);
                    start = at + 1;
                }
                Some('{' | '[') => at = self.closing(text, at)?,
                _ => {
                    return Err(self.error(
                        format!("a closing {:?} that nothing opened", &text[at..=at]),
                        "remove it, or open it on the same line",
                    ));
                }
            }
            at += 1;
        }
        pieces.push(&text[start..]);
        Ok(pieces)
    }

    /// Where the bracket at `open` closes.
    fn closing(&self, text: &str, open: usize) -> Result<usize> {
        let mut expected = Vec::new();
        for (at, c) in text[open..].char_indices() {
            match c {
                '{' => expected.push('}'),
                '[' => expected.push(']'),
                '}' | ']' if expected.pop() != Some(c) => break,
                _ => {}
            }
            if expected.is_empty() {
                return Ok(open + at);
            }
        }
        Err(self.error(
            format!("{:?} does not close", &text[open..=open]),
            "close it on the same line",
        ))
    }
}
