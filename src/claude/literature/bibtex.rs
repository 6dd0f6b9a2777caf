//! Records from BibTeX, checked: a key that a finding can cite, a title, authors, a year, and an
//! identifier under which anybody finds the paper.

use super::super::quoted::{visible, visible_line};
use crate::error::{Error, Result};
use biblatex::{Bibliography, ChunksExt, Entry, ParseError, ParseErrorKind, RawBibliography};
use serde::Serialize;
use std::ops::Range;

/// A paper.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    pub key: String,
    pub title: String,
    /// Given name first.
    pub authors: Vec<String>,
    pub year: i64,
    /// arXiv's number, without a version.
    pub arxiv: Option<String>,
    pub doi: Option<String>,
    pub url: Option<String>,
    pub note: Option<String>,
    /// Its abstract, in its authors' words.
    #[serde(rename = "abstract")]
    pub summary: Option<String>,
    /// Paths of a recipe that it says something about.
    pub factors: Vec<String>,
    /// Other words that it is found by.
    pub keywords: Vec<String>,
    /// Where its record was looked up.
    pub source: Option<String>,
    pub built_in: bool,
    /// "file:line".
    pub place: String,
    /// As its file has it.
    #[serde(skip)]
    pub text: String,
}

impl Record {
    /// How to find the paper: arXiv before DOI before URL.
    pub fn identifier(&self) -> String {
        match (&self.arxiv, &self.doi, &self.url) {
            (Some(arxiv), _, _) => format!("arXiv:{arxiv}"),
            (_, Some(doi), _) => format!("doi:{doi}"),
            (_, _, Some(url)) => url.clone(),
            _ => String::new(),
        }
    }

    /// Whether both are the same paper under whatever keys.
    pub fn same_paper(&self, other: &Self) -> bool {
        let same = |a: &Option<String>, b: &Option<String>| matches!((a, b), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b));
        same(&self.arxiv, &other.arxiv) || same(&self.doi, &other.doi)
    }
}

/// Keys are cited in texts and shown in tables: no spaces, nothing that closes or escapes.
const KEY_CHARACTERS: &str =
    "letters, digits and any of - _ : . + /, at most 80, a letter or digit first";
const MOST_IN_KEY: usize = 80;

/// Every record of a file. Errors name `place` with the line.
pub fn parse(place: &str, text: &str, built_in: bool) -> Result<Vec<Record>> {
    let raw = RawBibliography::parse(text).map_err(|e| not_bibtex((place, text), &e))?;
    let spans: Vec<Range<usize>> = raw.entries.iter().map(|e| e.span.clone()).collect();
    let parsed = Bibliography::from_raw(raw).map_err(|e| not_bibtex((place, text), &e))?;
    let entries = parsed.iter().zip(spans);
    let record = |(entry, span): (&Entry, Range<usize>)| {
        let place = format!("{place}:{}", line_at(text, span.start));
        let mut record = record(&place, entry)?;
        record.text = whole(text, span);
        record.built_in = built_in;
        Ok(record)
    };
    entries.map(record).collect()
}

fn record(place: &str, entry: &Entry) -> Result<Record> {
    let missing = |what: &str, remedy: &str| {
        Error::input(place, format!("{}: has no {what}", entry.key), remedy)
    };
    check_key(place, &entry.key)?;
    let title = words(entry, "title").ok_or_else(|| missing("title", "write title = {…}"))?;
    let authors = authors(entry);
    if authors.is_empty() {
        return Err(missing(
            "author",
            "write author = {Family, Given and Family, Given}",
        ));
    }
    let year = year(entry).ok_or_else(|| missing("year of four digits", "write year = {2024}"))?;
    let url = address(place, entry)?;
    let arxiv = arxiv(place, entry, url.as_deref())?;
    let record = Record {
        key: entry.key.clone(),
        title,
        authors,
        year,
        arxiv,
        doi: doi(entry),
        url,
        note: words(entry, "note"),
        summary: words(entry, "abstract"),
        factors: keywords(entry).filter(|word| is_factor(word)).collect(),
        keywords: keywords(entry).filter(|word| !is_factor(word)).collect(),
        source: words(entry, "source"),
        built_in: false,
        place: place.into(),
        text: String::new(),
    };
    match record.identifier().is_empty() {
        false => Ok(record),
        true => Err(missing(
            "identifier",
            "write eprint = {2305.10429} for arXiv, or doi = {10.…}, or url = {https://…}",
        )),
    }
}

/// A record's text; the parser's span ends before its last brace.
fn whole(text: &str, span: Range<usize>) -> String {
    let body = text.get(span.clone()).unwrap_or_default().trim();
    let rest = text.get(span.end..).unwrap_or_default();
    match rest.trim_start().starts_with('}') {
        true => format!("{body}\n}}"),
        false => body.into(),
    }
}

fn check_key(place: &str, key: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_:.+/".contains(c);
    let first = key
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    match first && key.len() <= MOST_IN_KEY && key.chars().all(plain) {
        true => Ok(()),
        false => Err(Error::input(
            place,
            format!("{:?} can't be a key", visible(key)),
            format!("use {KEY_CHARACTERS}"),
        )),
    }
}

/// A field on one line, without what can't be seen; `None` when it is empty.
fn words(entry: &Entry, field: &str) -> Option<String> {
    let text = visible_line(&entry.get(field)?.format_verbatim());
    (!text.is_empty()).then_some(text)
}

fn authors(entry: &Entry) -> Vec<String> {
    let name = |person: &biblatex::Person| {
        let parts = [
            &person.given_name,
            &person.prefix,
            &person.name,
            &person.suffix,
        ];
        visible_line(&parts.map(String::as_str).join(" "))
    };
    let persons = entry.author().unwrap_or_default();
    persons
        .iter()
        .map(name)
        .filter(|name| !name.is_empty())
        .collect()
}

/// The year of `year` or `date`: its first four digits.
fn year(entry: &Entry) -> Option<i64> {
    let text = words(entry, "year").or_else(|| words(entry, "date"))?;
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let year: i64 = digits.parse().ok()?;
    (1600..=2200).contains(&year).then_some(year)
}

/// A web address, which nothing else may hide in.
fn address(place: &str, entry: &Entry) -> Result<Option<String>> {
    let Some(url) = words(entry, "url") else {
        return Ok(None);
    };
    let web = url.starts_with("https://") || url.starts_with("http://");
    match web && !url.contains([' ', '<', '>', '"', '\\', '`']) {
        true => Ok(Some(url)),
        false => Err(Error::input(
            place,
            format!("{}: url {url:?} is not a web address", entry.key),
            "write url = {https://…}, without spaces, quotes and angle brackets",
        )),
    }
}

fn doi(entry: &Entry) -> Option<String> {
    let doi = words(entry, "doi")?;
    let bare = [
        "https://doi.org/",
        "http://doi.org/",
        "https://dx.doi.org/",
        "http://dx.doi.org/",
        "doi:",
    ]
    .iter()
    .find_map(|prefix| doi.strip_prefix(prefix));
    let bare = bare.unwrap_or(&doi).to_string();
    (bare.starts_with("10.") && !bare.contains(' ')).then_some(bare)
}

/// arXiv's number: of `eprint`, of a URL there, or of "arXiv preprint arXiv:…", which is how a
/// common exporter writes it.
fn arxiv(place: &str, entry: &Entry, url: Option<&str>) -> Result<Option<String>> {
    let elsewhere = words(entry, "eprinttype").or_else(|| words(entry, "archiveprefix"));
    let elsewhere = elsewhere.is_some_and(|kind| !kind.eq_ignore_ascii_case("arxiv"));
    if let Some(eprint) = words(entry, "eprint").filter(|_| !elsewhere) {
        return match arxiv_number(&eprint) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::input(
                place,
                format!(
                    "{}: eprint {eprint:?} is not a number of arXiv's",
                    entry.key
                ),
                "write eprint = {2305.10429}, or eprinttype = {…} when it is another archive's",
            )),
        };
    }
    let of_url = url.and_then(|url| url.split_once("arxiv.org/").map(|(_, path)| path));
    let of_url = of_url.and_then(|path| path.split_once('/').map(|(_, number)| number));
    let journal = words(entry, "journal").or_else(|| words(entry, "journaltitle"));
    let of_journal = journal
        .as_deref()
        .and_then(|j| j.split_once("arXiv:").map(|(_, rest)| rest));
    let candidates = [of_url, of_journal].into_iter().flatten();
    Ok(candidates.filter_map(arxiv_number).next())
}

/// "2305.10429" or "cs/0102030", without a version or a file's ending.
pub fn arxiv_number(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches(".pdf");
    let text = match text.get(..6) {
        Some(prefix) if prefix.eq_ignore_ascii_case("arxiv:") => &text[6..],
        _ => text,
    };
    let number = text.split([' ', '?', '#', ',']).next()?;
    let number = match number.rsplit_once('v') {
        Some((bare, version))
            if !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) =>
        {
            bare
        }
        _ => number,
    };
    let digits = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    };
    let new = number
        .split_once('.')
        .is_some_and(|(month, rest)| digits(month, &[4]) && digits(rest, &[4, 5]));
    let old = number.split_once('/').is_some_and(|(archive, rest)| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_uppercase() || ".-".contains(c);
        !archive.is_empty() && archive.chars().all(plain) && digits(rest, &[7])
    });
    (new || old).then(|| number.to_string())
}

fn keywords(entry: &Entry) -> impl Iterator<Item = String> {
    let text = words(entry, "keywords").unwrap_or_default();
    let words: Vec<String> = text
        .split([',', ';'])
        .map(|word| word.trim().to_string())
        .filter(|word| !word.is_empty())
        .collect();
    words.into_iter()
}

/// Whether a keyword is a path of a recipe, such as `optimizer.lr`.
fn is_factor(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let table = word.split('.').next().unwrap_or_default();
    crate::recipe::Recipe::KEYS.contains(&table)
        && word
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(plain))
        && word.contains('.')
}

fn not_bibtex((place, text): (&str, &str), error: &ParseError) -> Error {
    let (problem, remedy) = match &error.kind {
        ParseErrorKind::DuplicateKey(key) => (
            format!("{:?} is the key of an earlier record, too", visible(key)),
            "give one of them another key, or leave one out".to_string(),
        ),
        ParseErrorKind::UnknownAbbreviation(word) => (
            format!("{:?} stands without braces and is no abbreviation", visible(word)),
            "write words in braces: title = {…}".into(),
        ),
        kind => (
            format!("not BibTeX: {kind}"),
            "write @article{key, title = {…}, author = {…}, year = {2024}, eprint = {…}}, every brace closed".into(),
        ),
    };
    let line = line_at(text, error.span.start);
    Error::input(format!("{place}:{line}"), problem, remedy)
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}
