//! What a project needs to begin, written so that nobody's edits are lost.
//!
//! Texts of ours carry a short digest of themselves. Where it still fits, nobody has edited them and
//! a newer version may replace them; where it does not, they stay as they are unless the person says
//! otherwise, and then the old text is kept beside the new one. Twice gives the same as once.

use crate::{
    digest::sha256,
    error::{Error, Result},
    files,
    jobs::limits,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is wanted.
pub struct Wanted<'a> {
    /// The project's folder.
    pub root: &'a Path,
    pub home: &'a Path,
    pub scope: Scope,
    pub edits: Edits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Limits, and configs where there are none.
    Project,
    /// The same, and what Claude Code reads: its server, skills and a section of CLAUDE.md.
    Claude,
}

/// What becomes of texts of ours that somebody changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edits {
    Keep,
    /// Replaced, with the old text beside it.
    Replace,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Done {
    pub path: PathBuf,
    pub what: What,
    /// Where the text is that was replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Was not there.
    Written,
    /// Our part of it is new; the rest is as it was.
    Added,
    /// Was ours, unedited, and older.
    Updated,
    /// Was edited, and is ours again.
    Replaced,
    /// Is as it would be written.
    Unchanged,
    /// Is somebody's own, and stays.
    Kept,
}

/// A file as it shall be; without a text it stays.
struct Planned {
    path: PathBuf,
    what: What,
    text: Option<String>,
}

const SKILLS: [(&str, &str); 5] = [
    (
        "design-an-ablation",
        include_str!("init/design-an-ablation.md"),
    ),
    ("watch-a-study", include_str!("init/watch-a-study.md")),
    ("read-curves", include_str!("init/read-curves.md")),
    ("write-a-finding", include_str!("init/write-a-finding.md")),
    (
        "survey-the-literature",
        include_str!("init/survey-the-literature.md"),
    ),
];
const SECTION: &str = include_str!("init/claude_md.md");
const RECIPE: &str = include_str!("../../configs/recipes/quickstart.toml");
const STUDY: &str = include_str!("../../configs/studies/quickstart.toml");

/// Writes what is missing. Errors before anything is written when a file that would be merged can't
/// be read as what it should be.
pub fn init(wanted: &Wanted) -> Result<Vec<Done>> {
    let mut planned = configs(wanted)?;
    planned.push(limits(wanted));
    if wanted.scope == Scope::Claude {
        planned.push(server(wanted)?);
        for (name, text) in SKILLS {
            planned.push(skill(wanted, name, text)?);
        }
        planned.push(section(wanted)?);
    }
    planned.into_iter().map(write).collect()
}

fn write(planned: Planned) -> Result<Done> {
    let Planned { path, what, text } = planned;
    let mut before = None;
    if let Some(text) = text {
        // What a link leads to is what is meant: CLAUDE.md is often one to AGENTS.md.
        let place = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))?;
        }
        if what == What::Replaced {
            let beside = free_beside(&place);
            fs::copy(&place, &beside).map_err(|e| Error::io(&beside, "write", &e))?;
            before = Some(beside);
        }
        files::replace(&place, text.as_bytes())?;
    }
    Ok(Done { path, what, before })
}

/// FILE.before, or with a number where that is taken.
fn free_beside(path: &Path) -> PathBuf {
    let beside = |suffix: String| {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(suffix);
        path.with_file_name(name)
    };
    let numbered = (2..).map(|n| beside(format!(".before{n}")));
    let mut names = std::iter::once(beside(".before".into())).chain(numbered);
    let free = names.find(|path| !path.exists());
    free.expect("numbers do not end")
}

/// A recipe and a study to start from, where a project has none.
fn configs(wanted: &Wanted) -> Result<Vec<Planned>> {
    let folders = ["recipes", "studies"].map(|kind| wanted.root.join("configs").join(kind));
    let mut any = false;
    for folder in &folders {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io(folder, "list", &e)),
        };
        let mut names = entries.filter_map(|entry| Some(entry.ok()?.path()));
        any |= names.any(|path| path.extension().is_some_and(|e| e == "toml"));
    }
    if any {
        return Ok(Vec::new());
    }
    let texts = folders.iter().zip([RECIPE, STUDY]);
    let planned = |(folder, text): (&PathBuf, &str)| Planned {
        path: folder.join("quickstart.toml"),
        what: What::Written,
        text: Some(text.into()),
    };
    Ok(texts.map(planned).collect())
}

/// Limits are a person's: never touched once they are there, whatever else is replaced.
fn limits(wanted: &Wanted) -> Planned {
    let path = wanted.home.join("limits.toml");
    let there = fs::read_to_string(&path).ok();
    let (what, text) = match (path.exists(), there.as_deref() == Some(limits::TEMPLATE)) {
        (false, _) => (What::Written, Some(limits::TEMPLATE.into())),
        (true, true) => (What::Unchanged, None),
        (true, false) => (What::Kept, None),
    };
    Planned { path, what, text }
}

/// Our server among those of `.mcp.json`.
fn server(wanted: &Wanted) -> Result<Planned> {
    let path = wanted.root.join(".mcp.json");
    let mut args = vec!["mcp".to_string()];
    if wanted.home != Path::new(".windtunnel") {
        args.extend(["--home".into(), wanted.home.display().to_string()]);
    }
    let ours = json!({ "command": "windtunnel", "args": args });
    let old = read(&path)?;
    let wrong = |line: usize, problem: String| {
        Error::input(
            format!("{}:{line}", path.display()),
            problem,
            "repair the file, or move it away; nothing was written",
        )
    };
    let mut whole: Value = match &old {
        None => json!({}),
        Some(text) if text.trim().is_empty() => json!({}),
        Some(text) => {
            serde_json::from_str(text).map_err(|e| wrong(e.line(), format!("is not JSON: {e}")))?
        }
    };
    let servers = whole
        .as_object_mut()
        .ok_or_else(|| wrong(1, "is not an object, { … }".into()))?
        .entry("mcpServers")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .ok_or_else(|| wrong(1, "mcpServers is not an object, { … }".into()))?;
    let what = match (servers.get("windtunnel"), &old, wanted.edits) {
        (Some(theirs), ..) if *theirs == ours => What::Unchanged,
        (Some(_), _, Edits::Keep) => What::Kept,
        (Some(_), _, Edits::Replace) => What::Replaced,
        (None, Some(_), _) => What::Added,
        (None, None, _) => What::Written,
    };
    servers.insert("windtunnel".into(), ours);
    let text = serde_json::to_string_pretty(&whole).expect("JSON has a text") + "\n";
    let text = (!matches!(what, What::Unchanged | What::Kept)).then_some(text);
    Ok(Planned { path, what, text })
}

fn skill(wanted: &Wanted, name: &str, text: &str) -> Result<Planned> {
    let path = wanted
        .root
        .join(".claude/skills")
        .join(name)
        .join("SKILL.md");
    let new = format!("{text}\n<!-- {SIGNED}{} -->\n", mark(text));
    let old = read(&path)?;
    let what = match &old {
        None => What::Written,
        Some(old) if *old == new => What::Unchanged,
        Some(old) if unedited(old) => What::Updated,
        Some(_) if wanted.edits == Edits::Replace => What::Replaced,
        Some(_) => What::Kept,
    };
    let text = (!matches!(what, What::Unchanged | What::Kept)).then_some(new);
    Ok(Planned { path, what, text })
}

const SIGNED: &str = "windtunnel init ";

/// Twelve digits that change with the text.
fn mark(text: &str) -> String {
    let text = text.trim().replace("\r\n", "\n");
    sha256(text.as_bytes()).chars().take(12).collect()
}

/// Whether a skill is as some version of ours wrote it.
fn unedited(text: &str) -> bool {
    let Some((body, signed)) = text.rsplit_once(&format!("\n<!-- {SIGNED}")) else {
        return false;
    };
    signed.trim_end().strip_suffix(" -->") == Some(&mark(body))
}

const BEGIN: &str = "<!-- windtunnel:begin ";
const END: &str = "<!-- windtunnel:end -->";

/// Our section of CLAUDE.md, between two marks; the rest of the file is not ours.
fn section(wanted: &Wanted) -> Result<Planned> {
    let path = wanted.root.join("CLAUDE.md");
    let ours = format!("{BEGIN}{} -->\n{SECTION}{END}", mark(SECTION));
    let Some(old) = read(&path)? else {
        let text = Some(ours + "\n");
        return Ok(Planned {
            path,
            what: What::Written,
            text,
        });
    };
    let (start, end) = match (old.find(BEGIN), old.find(END)) {
        (None, None) => {
            let gap = match old.trim().is_empty() {
                true => "",
                false => "\n\n",
            };
            let text = Some(format!("{}{gap}{ours}\n", old.trim_end()));
            return Ok(Planned {
                path,
                what: What::Added,
                text,
            });
        }
        (Some(start), Some(end)) if start < end => (start, end + END.len()),
        (start, end) => return Err(one_mark(&path, &old, start.or(end).unwrap_or_default())),
    };
    let theirs = &old[start..end];
    let what = match (theirs == ours, wanted.edits) {
        (true, _) => What::Unchanged,
        _ if section_unedited(theirs) => What::Updated,
        (_, Edits::Replace) => What::Replaced,
        (_, Edits::Keep) => What::Kept,
    };
    let text = format!("{}{ours}{}", &old[..start], &old[end..]);
    let text = (!matches!(what, What::Unchanged | What::Kept)).then_some(text);
    Ok(Planned { path, what, text })
}

/// Whether a section is as some version of ours wrote it.
fn section_unedited(section: &str) -> bool {
    let inside = section
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(END));
    let parts = inside.and_then(|inside| inside.split_once(" -->"));
    parts.is_some_and(|(signed, body)| signed == mark(body))
}

fn one_mark(path: &Path, text: &str, at: usize) -> Error {
    let line = text[..at].matches('\n').count() + 1;
    Error::input(
        format!("{}:{line}", path.display()),
        "one of the two marks of windtunnel's section is missing, or they are in the wrong order",
        format!(
            "put back \"{BEGIN}… -->\" before it and \"{END}\" after it, or take both away; nothing was written"
        ),
    )
}

/// A file's text; `None` when there is none.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => files::utf8(path, bytes).map(Some),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, "read", &e)),
    }
}
