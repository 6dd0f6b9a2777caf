//! Records from arXiv, by its Atom API, when somebody asks for them.
//!
//! The API's terms: at most one request in three seconds, whoever in this home asks. Abstracts are
//! kept as what they are, the words of others.

use super::{
    Library,
    added::{self, Added, change},
    bibtex::{self, Record, arxiv_number},
};
use crate::{
    error::{Error, Result},
    files,
};
use quick_xml::{Reader, events::Event};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

/// Where arXiv answers; `WINDTUNNEL_ARXIV_URL` names another place.
pub const URL: &str = "https://export.arxiv.org/api/query";
/// Between two requests.
const PAUSE: Duration = Duration::from_secs(3);
/// A page of answers, and so the most that one request asks for.
pub const MOST_RESULTS: usize = 100;
/// An answer beyond this is not a page of a hundred abstracts.
const MOST_BYTES: u64 = 8 << 20;

/// What is asked.
pub struct Question<'a> {
    pub url: &'a str,
    /// Words, arXiv's own syntax (`ti:muon AND cat:cs.LG`), or numbers such as 2305.10429.
    pub query: &'a str,
    pub most: usize,
}

/// A paper as arXiv describes it.
#[derive(Debug, Default, Clone, PartialEq)]
struct Paper {
    id: String,
    title: String,
    authors: Vec<String>,
    published: String,
    summary: String,
    doi: String,
}

/// Asks arXiv and adds what the library has not to `<home>/library/arxiv.bib`. Keys that are there
/// stay as they are. Errors when there is no answer, or none that can be read; nothing is changed
/// then.
pub fn sync(home: &Path, question: &Question) -> Result<Added> {
    let parameters = parameters(question)?;
    let _change = change(home)?;
    let library = Library::open(home)?;
    wait_for_turn(home)?;
    let papers = parse(&ask(question.url, &parameters)?, question.url)?;
    let path = added::folder(home).join("arxiv.bib");
    let mut text = match path.exists() {
        true => added::read(&path)?,
        false => "% From arXiv's API, by `windtunnel lit sync`. Metadata: CC0.\n".into(),
    };
    let mut keys: BTreeSet<String> = library.records().iter().map(|r| r.key.clone()).collect();
    let (mut new, mut known) = (Vec::new(), Vec::new());
    for paper in papers {
        let Some(number) = arxiv_number(&paper.id) else {
            continue;
        };
        let same = |record: &&Record| record.arxiv.as_deref() == Some(number.as_str());
        if let Some(record) = library.records().iter().find(same) {
            known.push(record.key.clone());
            continue;
        }
        let key = free_key(&paper, &keys);
        text.push('\n');
        text.push_str(&entry(&key, &number, &paper));
        keys.insert(key.clone());
        new.push(key);
    }
    if !new.is_empty() {
        // What is written must be read again; if not, it is better not written.
        bibtex::parse(&path.display().to_string(), &text, false)?;
        files::replace(&path, text.as_bytes())?;
    }
    Ok(Added {
        path,
        added: new,
        known,
    })
}

/// The request's parameters. Words are asked for all together.
fn parameters(question: &Question) -> Result<Vec<(&'static str, String)>> {
    let words: Vec<&str> = question.query.split_whitespace().collect();
    if words.is_empty() {
        return Err(Error::input(
            "QUERY",
            "there is nothing to ask for",
            "give words, arXiv's syntax such as ti:muon, or numbers such as 2305.10429",
        ));
    }
    let numbers: Option<Vec<String>> = words.iter().map(|word| arxiv_number(word)).collect();
    let (name, asked) = match numbers {
        Some(numbers) => ("id_list", numbers.join(",")),
        None if question.query.contains(':') => ("search_query", words.join(" ")),
        None => {
            let all: Vec<String> = words.iter().map(|word| format!("all:{word}")).collect();
            ("search_query", all.join(" AND "))
        }
    };
    Ok(vec![
        (name, asked),
        ("start", "0".into()),
        (
            "max_results",
            question.most.clamp(1, MOST_RESULTS).to_string(),
        ),
    ])
}

/// Waits until three seconds have passed since this home's last request, and notes the next one.
fn wait_for_turn(home: &Path) -> Result<()> {
    let stamp = added::folder(home).join("arxiv.last");
    let last = fs::metadata(&stamp).and_then(|meta| meta.modified());
    let since = last
        .ok()
        .and_then(|last| SystemTime::now().duration_since(last).ok());
    if let Some(rest) = since.and_then(|since| PAUSE.checked_sub(since)) {
        std::thread::sleep(rest);
    }
    files::replace(&stamp, b"")
}

fn ask(url: &str, parameters: &[(&'static str, String)]) -> Result<String> {
    let failed = |problem: String| {
        Error::failed(
            url,
            problem,
            "check the network and try again in a minute; what is in the library stays, and `windtunnel lit add FILE.bib` needs no network",
        )
    };
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(60)))
        .user_agent(concat!("windtunnel/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent();
    let query = parameters
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    let response = agent.get(url).query_pairs(query).call();
    let mut response = response.map_err(|e| failed(format!("arXiv does not answer: {e}")))?;
    let body = response
        .body_mut()
        .with_config()
        .limit(MOST_BYTES)
        .read_to_string();
    body.map_err(|e| failed(format!("the answer can't be read: {e}")))
}

/// The papers of an Atom feed.
fn parse(atom: &str, url: &str) -> Result<Vec<Paper>> {
    let damaged =
        |problem: String| Error::failed(url, problem, "try again in a minute; nothing was changed");
    let mut reader = Reader::from_str(atom);
    let mut path: Vec<String> = Vec::new();
    let mut papers: Vec<Paper> = Vec::new();
    let mut text = String::new();
    let mut is_feed = false;
    loop {
        let event = reader
            .read_event()
            .map_err(|e| damaged(format!("not XML: {e}")))?;
        match event {
            Event::Start(start) => {
                let name = start.local_name().as_ref().to_string();
                if path.is_empty() {
                    is_feed = name == "feed";
                }
                if path == ["feed"] && name == "entry" {
                    papers.push(Paper::default());
                }
                path.push(name);
                text.clear();
            }
            Event::Text(piece) => text.push_str(&piece),
            Event::CData(piece) => text.push_str(&piece),
            Event::GeneralRef(reference) => text.push_str(&meant(&reference)),
            Event::End(_) => {
                if let Some(paper) = papers.last_mut() {
                    take(paper, &path, &text);
                }
                path.pop();
                text.clear();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match (is_feed && path.is_empty(), papers.first()) {
        (false, _) => Err(damaged("the answer is not a whole Atom feed".into())),
        (true, Some(paper)) if paper.id.contains("/api/errors") => Err(Error::input(
            "QUERY",
            format!("arXiv says: {}", paper.summary),
            "write the query as arXiv's API has it, such as all:muon AND cat:cs.LG",
        )),
        (true, _) => Ok(papers),
    }
}

/// Puts an element's text where it belongs.
fn take(paper: &mut Paper, path: &[String], text: &str) {
    let one_line = || text.split_whitespace().collect::<Vec<_>>().join(" ");
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        // An address, https://arxiv.org/abs/NUMBER.
        ["feed", "entry", "id"] => {
            let id = one_line();
            paper.id = match id.split_once("/abs/") {
                Some((_, number)) => number.into(),
                None => id,
            };
        }
        ["feed", "entry", "title"] => paper.title = one_line(),
        ["feed", "entry", "summary"] => paper.summary = one_line(),
        ["feed", "entry", "published"] => paper.published = one_line(),
        ["feed", "entry", "doi"] => paper.doi = one_line(),
        ["feed", "entry", "author", "name"] => paper.authors.push(one_line()),
        _ => {}
    }
}

/// What `&name;` or `&#…;` stands for.
fn meant(name: &str) -> String {
    let number = match name.strip_prefix('#') {
        Some(rest) => match rest.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => rest.parse().ok(),
        },
        None => None,
    };
    match (name, number.and_then(char::from_u32)) {
        (_, Some(c)) => c.into(),
        ("amp", _) => "&".into(),
        ("lt", _) => "<".into(),
        ("gt", _) => ">".into(),
        ("quot", _) => "\"".into(),
        ("apos", _) => "'".into(),
        _ => format!("&{name};"),
    }
}

/// Words that open a title and say nothing.
const LITTLE: [&str; 18] = [
    "a", "an", "and", "are", "at", "do", "does", "for", "from", "how", "in", "is", "of", "on",
    "the", "to", "what", "why",
];

/// family name, year, first word: as long as the paper's title is, so is its key.
fn free_key(paper: &Paper, taken: &BTreeSet<String>) -> String {
    let family = paper
        .authors
        .first()
        .and_then(|name| name.split_whitespace().last());
    let family = ascii_letters(family.unwrap_or_default());
    let year: String = paper.published.chars().take(4).collect();
    let words = paper
        .title
        .split(|c: char| !c.is_alphanumeric())
        .map(ascii_letters);
    let mut words = words.filter(|word| word.len() > 1 && !LITTLE.contains(&word.as_str()));
    let key = format!(
        "{}{year}{}",
        if family.is_empty() {
            "anonymous"
        } else {
            &family
        },
        words.next().unwrap_or_default()
    );
    if !taken.contains(&key) {
        return key;
    }
    let numbered = (2..).map(|n| format!("{key}{n}"));
    let free = numbered.into_iter().find(|key| !taken.contains(key));
    free.expect("numbers do not end")
}

/// Small ASCII letters and digits; of an accented letter, what is under its accent.
fn ascii_letters(word: &str) -> String {
    const FOLDED: [(&str, &str); 15] = [
        ("àáâãäåāăą", "a"),
        ("çćč", "c"),
        ("ďđ", "d"),
        ("èéêëēęě", "e"),
        ("ğ", "g"),
        ("ìíîïīıİ", "i"),
        ("łľ", "l"),
        ("ñńň", "n"),
        ("òóôõöøōő", "o"),
        ("řŕ", "r"),
        ("śşšș", "s"),
        ("ťțţ", "t"),
        ("ùúûüūůű", "u"),
        ("ýÿ", "y"),
        ("žźż", "z"),
    ];
    let mut letters = String::new();
    for c in word.chars().flat_map(char::to_lowercase) {
        match FOLDED.iter().find(|(from, _)| from.contains(c)) {
            Some((_, to)) => letters.push_str(to),
            None if c.is_ascii_alphanumeric() => letters.push(c),
            None if c == 'ß' => letters.push_str("ss"),
            None => {}
        }
    }
    letters
}

/// A paper as BibTeX.
fn entry(key: &str, number: &str, paper: &Paper) -> String {
    let mut fields = vec![
        ("title", escaped(&paper.title)),
        ("author", authors(&paper.authors)),
        ("year", paper.published.chars().take(4).collect()),
        ("eprint", number.into()),
        ("eprinttype", "arxiv".into()),
        ("abstract", escaped(&paper.summary)),
        ("source", format!("https://arxiv.org/abs/{number}")),
    ];
    // BibTeX takes a DOI as it stands, so signs can't be escaped in it.
    let plain = |c: char| c.is_ascii_graphic() && !"{}\\%\"".contains(c);
    if !paper.doi.is_empty() && paper.doi.chars().all(plain) {
        fields.insert(5, ("doi", paper.doi.clone()));
    }
    let lines: Vec<String> = fields
        .into_iter()
        .map(|(name, value)| format!("  {name} = {{{value}}},\n"))
        .collect();
    format!("@misc{{{key},\n{}}}\n", lines.concat())
}

/// Names that "and" and commas can't tear apart.
fn authors(names: &[String]) -> String {
    let name = |name: &String| match name.contains(',') || name.contains(" and ") {
        true => format!("{{{}}}", escaped(name)),
        false => escaped(name),
    };
    names.iter().map(name).collect::<Vec<_>>().join(" and ")
}

/// Text as it is, whatever BibTeX would make of its signs.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\textbackslash{}"),
            '{' | '}' | '$' | '%' | '&' | '#' | '_' => escaped.extend(['\\', c]),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '"' => escaped.push_str("{\"}"),
            c => escaped.push(c),
        }
    }
    escaped
}
