//! Rules that a document has to keep to, each with one number; none holds unless it is asked for.

use crate::error::{Error, Result, nearest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// What is asked of a document, in the order in which it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    MinBytes,
    MaxBytes,
    MinWords,
    MaxWords,
    MinMeanWord,
    MaxMeanWord,
    MaxSymbolRatio,
    MaxRepeatedLines,
}

const RULES: [Rule; 8] = [
    Rule::MinBytes,
    Rule::MaxBytes,
    Rule::MinWords,
    Rule::MaxWords,
    Rule::MinMeanWord,
    Rule::MaxMeanWord,
    Rule::MaxSymbolRatio,
    Rule::MaxRepeatedLines,
];

/// The preset `prose`: running text. It leaves out headings and scraps, tables and markup, lists of
/// one line over and over, and strings without spaces.
const PROSE: [(Rule, f64); 5] = [
    (Rule::MinWords, 20.0),
    (Rule::MinMeanWord, 2.5),
    (Rule::MaxMeanWord, 12.0),
    (Rule::MaxSymbolRatio, 0.2),
    (Rule::MaxRepeatedLines, 0.3),
];

impl Rule {
    pub fn name(self) -> &'static str {
        match self {
            Self::MinBytes => "min_bytes",
            Self::MaxBytes => "max_bytes",
            Self::MinWords => "min_words",
            Self::MaxWords => "max_words",
            Self::MinMeanWord => "min_mean_word",
            Self::MaxMeanWord => "max_mean_word",
            Self::MaxSymbolRatio => "max_symbol_ratio",
            Self::MaxRepeatedLines => "max_repeated_lines",
        }
    }

    /// The rule whose limit lies on the other side of the same measure, if there is one.
    fn opposite(self) -> Option<Self> {
        match self {
            Self::MinBytes => Some(Self::MaxBytes),
            Self::MinWords => Some(Self::MaxWords),
            Self::MinMeanWord => Some(Self::MaxMeanWord),
            _ => None,
        }
    }

    /// Errors when this can't be the rule's limit.
    fn check(self, limit: f64) -> Result<()> {
        let (fits, what) = match self {
            Self::MinBytes | Self::MaxBytes | Self::MinWords | Self::MaxWords => (
                limit >= 0.0 && limit.fract() == 0.0,
                "a whole number, 0 or more",
            ),
            Self::MinMeanWord | Self::MaxMeanWord => (limit > 0.0, "a number above 0"),
            Self::MaxSymbolRatio | Self::MaxRepeatedLines => {
                ((0.0..=1.0).contains(&limit), "a fraction from 0 to 1")
            }
        };
        match fits && limit.is_finite() {
            true => Ok(()),
            false => Err(Error::input(
                format!("--filter {}", self.name()),
                format!("{limit} can't be its limit"),
                format!("use {what}"),
            )),
        }
    }

    fn is_kept(self, limit: f64, of: &Measures) -> bool {
        let ratio = |part: usize, all: usize| part as f64 / all.max(1) as f64;
        match self {
            Self::MinBytes => of.bytes as f64 >= limit,
            Self::MaxBytes => of.bytes as f64 <= limit,
            Self::MinWords => of.words as f64 >= limit,
            Self::MaxWords => of.words as f64 <= limit,
            Self::MinMeanWord => ratio(of.characters, of.words) >= limit,
            Self::MaxMeanWord => ratio(of.characters, of.words) <= limit,
            Self::MaxSymbolRatio => ratio(of.symbols, of.characters) <= limit,
            Self::MaxRepeatedLines => ratio(of.repeated_lines, of.lines) <= limit,
        }
    }
}

/// Rules with their limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Filters(BTreeMap<Rule, f64>);

impl Filters {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of `rule=limit` and `prose`, whose limits a rule beside it replaces.
    pub fn parse<'a>(written: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let (mut preset, mut rules) = (BTreeMap::new(), BTreeMap::new());
        for item in written.into_iter().map(str::trim) {
            if item == "prose" {
                preset.extend(PROSE);
                continue;
            }
            let (name, limit) = item.split_once('=').unwrap_or((item, ""));
            let rule = named(name.trim())?;
            let limit: f64 = limit.trim().parse().map_err(|_| {
                Error::input(
                    format!("--filter {}", rule.name()),
                    format!("\"{}\" is no number", limit.trim()),
                    format!("write {}=NUMBER", rule.name()),
                )
            })?;
            rule.check(limit)?;
            if rules.insert(rule, limit).is_some() {
                return Err(Error::input(
                    format!("--filter {}", rule.name()),
                    "is there twice",
                    "leave one out",
                ));
            }
        }
        preset.extend(rules);
        let filters = Self(preset);
        filters.check()?;
        Ok(filters)
    }

    fn check(&self) -> Result<()> {
        for (least, limit) in &self.0 {
            let most = least
                .opposite()
                .and_then(|most| Some((most, self.0.get(&most)?)));
            if let Some((most, most_limit)) = most.filter(|(_, most)| limit > *most) {
                return Err(Error::input(
                    "--filter",
                    format!(
                        "no document keeps to {}={limit} and {}={most_limit}",
                        least.name(),
                        most.name()
                    ),
                    "change one of the two",
                ));
            }
        }
        Ok(())
    }

    /// The first rule that a document does not keep to.
    pub fn broken_by(&self, text: &str) -> Option<Rule> {
        if self.is_empty() {
            return None;
        }
        let measures = Measures::of(text, self.0.contains_key(&Rule::MaxRepeatedLines));
        let mut rules = self.0.iter();
        let broken = rules.find(|(rule, limit)| !rule.is_kept(**limit, &measures));
        broken.map(|(rule, _)| *rule)
    }
}

fn named(name: &str) -> Result<Rule> {
    let found = RULES.into_iter().find(|rule| rule.name() == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = RULES
            .iter()
            .map(|rule| rule.name())
            .chain(["prose"])
            .collect();
        let list = known.join(", ");
        Error::input(
            format!("--filter \"{name}\""),
            "there is no such rule",
            match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"? there are: {list}"),
                None => format!("there are: {list}"),
            },
        )
    })
}

/// What rules ask about, of a text without the white space around it.
#[derive(Debug, Default, PartialEq)]
struct Measures {
    bytes: usize,
    /// What white space separates.
    words: usize,
    /// All but white space.
    characters: usize,
    /// Characters that are neither letters nor digits.
    symbols: usize,
    /// Lines with more than white space.
    lines: usize,
    /// Of them, those that stand in the document before, but for the white space around them.
    repeated_lines: usize,
}

impl Measures {
    fn of(text: &str, with_lines: bool) -> Self {
        let text = text.trim();
        let mut of = Self {
            bytes: text.len(),
            words: text.split_whitespace().count(),
            ..Self::default()
        };
        for c in text.chars().filter(|c| !c.is_whitespace()) {
            of.characters += 1;
            of.symbols += usize::from(!c.is_alphanumeric());
        }
        if with_lines {
            let mut seen = HashSet::new();
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                of.lines += 1;
                of.repeated_lines += usize::from(!seen.insert(line));
            }
        }
        of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(filters: &str, text: &str) -> Option<&'static str> {
        let filters = Filters::parse(filters.split(',')).unwrap();
        filters.broken_by(text).map(Rule::name)
    }

    #[test]
    fn every_rule_holds_up_to_its_limit() {
        for (rule, kept, left) in [
            ("min_bytes=4", "four\n\n", "two\n\n"),
            ("max_bytes=4", "four\n\n", "seven"),
            ("min_words=2", "a b", "ab"),
            ("max_words=2", "a\nb", "a b c"),
            ("min_mean_word=2", "a bcd", "a bc"),
            ("max_mean_word=2", "a bcd", "a bcde"),
            ("max_symbol_ratio=0.5", "a !", "a !?"),
            ("max_repeated_lines=0.5", "x\nx", "x\nx\nx"),
        ] {
            assert_eq!(broken(rule, kept), None, "{rule} of {kept:?}");
            let name = rule.split('=').next();
            assert_eq!(broken(rule, left), name, "{rule} of {left:?}");
        }
    }

    #[test]
    fn line_ends_blank_lines_and_scripts_are_no_matter() {
        let lines = Measures::of("one\r\n\r\ntwo \r\n one\r\n\n", true);
        assert_eq!((lines.lines, lines.repeated_lines, lines.words), (3, 1, 3));
        assert_eq!(Measures::of("naïve 東京 ५\n", true).symbols, 0);
        assert_eq!(Measures::of(" \r\n", true), Measures::default());
        assert_eq!(broken("max_symbol_ratio=0,max_repeated_lines=0", ""), None);
        let huge = "x".repeat(3 << 20);
        assert_eq!(broken("max_mean_word=1000", &huge), Some("max_mean_word"));
        assert_eq!(broken("min_words=1,max_words=1", &huge), None);
    }

    #[test]
    fn a_rule_replaces_the_presets_wherever_it_stands() {
        let text = "Six words, and a short line.";
        assert_eq!(broken("prose", text), Some("min_words"));
        assert_eq!(broken("prose,min_words=5", text), None);
        assert_eq!(broken("min_words=5,prose", text), None);
        assert_eq!(
            broken("prose", &"- | - |\n".repeat(40)),
            Some("min_mean_word")
        );
    }

    #[test]
    fn what_can_not_be_a_filter_is_refused_with_what_would_do() {
        for (written, place, remedy) in [
            ("min_word=5", "min_word", "did you mean \"min_words\""),
            ("max_symbol_ratio=3", "max_symbol_ratio", "from 0 to 1"),
            ("min_words=2.5", "min_words", "whole number"),
            ("min_words=NaN", "min_words", "whole number"),
            ("max_mean_word=inf", "max_mean_word", "above 0"),
            ("min_words", "min_words", "min_words=NUMBER"),
            ("min_words=1,min_words=2", "min_words", "leave one out"),
            ("min_bytes=9,max_bytes=3", "--filter", "change one"),
            ("", "\"\"", "there are: min_bytes"),
        ] {
            let error = Filters::parse(written.split(',')).unwrap_err();
            assert!(error.place.contains(place), "{written}: {error}");
            assert!(error.remedy.contains(remedy), "{written}: {error}");
        }
    }
}
