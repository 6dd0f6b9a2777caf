//! Text of others stays text: twenty injections, quoted, in papers, and before the gates.

use serde_json::Value;
use std::{fs, path::Path};
use windtunnel::{
    claude::{
        literature::{Library, added, as_data},
        quoted::{quoted, visible},
    },
    jobs::{Settings, StudyText, check},
};

/// The list, unescaped.
fn injections() -> Vec<String> {
    let unescaped = |line: &str| -> String {
        let mut text = String::new();
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next().unwrap() {
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    't' => text.push('\t'),
                    'u' => {
                        let code: String =
                            chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                        text.push(char::from_u32(u32::from_str_radix(&code, 16).unwrap()).unwrap());
                    }
                    c => text.push(c),
                },
                c => text.push(c),
            }
        }
        text
    };
    let lines = include_str!("../injections.txt").lines();
    let all: Vec<String> = lines
        .filter(|l| !l.starts_with('#'))
        .map(unescaped)
        .collect();
    assert_eq!(all.len(), 20);
    all
}

#[test]
fn no_injection_leaves_the_block_that_quotes_it() {
    for text in injections() {
        let block = quoted("log line", &text);
        let lines: Vec<&str> = block.split('\n').collect();
        let (first, last) = (lines[0], lines[lines.len() - 1]);
        let mark = first
            .split("mark=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert_eq!(last, format!("</data mark=\"{mark}\">"), "{text:?}");
        assert!(!text.contains(mark));
        assert!(
            lines[1..lines.len() - 1]
                .iter()
                .all(|line| line.starts_with("| ")),
            "{block}"
        );
        let unseen = |c: char| c.is_control() && c != '\n' && c != '\t';
        assert!(!block.contains(unseen), "{block:?}");
        let inner: Vec<&str> = lines[1..lines.len() - 1]
            .iter()
            .map(|line| &line[2..])
            .collect();
        assert_eq!(inner.join("\n"), visible(&text), "nothing is lost");
    }
}

#[test]
fn an_injection_in_a_paper_is_quoted_where_a_prompt_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = injections()
        .iter()
        .enumerate()
        .map(|(idx, text)| {
            let text: String = text.chars().filter(|c| !"\\{}$%&#~\"\0".contains(*c)).collect();
            format!("@misc{{inj{idx}, title = {{Injected paper}}, author = {{A B}}, year = {{2024}}, eprint = {{2401.{idx:05}}}, note = {{{text}}}}}\n")
        })
        .collect();
    let file = dir.path().join("papers.bib");
    fs::write(&file, text).unwrap();
    added::add(&dir.path().join("home"), &file).unwrap();
    let library = Library::open(&dir.path().join("home")).unwrap();
    let hits = library.search("injected", 30).unwrap();
    assert_eq!(hits.len(), 20);
    let prompt = as_data(&hits);
    let outside = prompt.lines().filter(|line| !line.starts_with("| "));
    for line in outside {
        let ours = line.starts_with("<data kind=\"paper\"")
            || line.starts_with("</data mark=")
            || line.starts_with("[inj");
        assert!(ours, "{line}");
    }
}

const RECIPE: &str = "[data]\ntokenizer = \"char\"\nmixture = [{ corpus = \"tales\" }]\n[model]\nn_layer = 1\nn_head = 2\nn_embd = 16\nblock_size = 16\n[batch]\nrows = 4\n[budget]\nsteps = 12\n[eval]\nwindows = 8\n";

/// What `check` says of a study with such a claim, corpus of an arm, and name of an arm.
fn checked(
    folder: &Path,
    claim: &str,
    corpus: &str,
    arm: &str,
) -> windtunnel::error::Result<Value> {
    // A JSON string is one of TOML's, on one line.
    let word = |text: &str| serde_json::to_string(text).unwrap();
    let study = format!(
        "name = \"study\"\nbase = \"recipe.toml\"\n[hypothesis]\nclaim = {}\n[decision]\nmargin = 0.1\nseeds = 2\neval = [{{ corpus = \"tales\" }}]\n[arms.plain]\ncontrol = true\n[arms.{}]\nfactor = \"data.mixture\"\nset = {{ \"data.mixture\" = [{{ corpus = \"tales\" }}, {{ corpus = {} }}] }}\n",
        word(claim),
        word(arm),
        word(corpus),
    );
    let settings = Settings {
        program: env!("CARGO_BIN_EXE_windtunnel").into(),
        home: folder.join("home"),
        root: folder.into(),
        device: "cpu".into(),
        dtype: "f32".into(),
        threads: Some(1),
    };
    let checked = check(&settings, &StudyText::new(study, folder.into()))?;
    Ok(serde_json::to_value(checked).unwrap())
}

#[test]
fn no_injection_changes_what_a_gate_says() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().canonicalize().unwrap();
    fs::write(folder.join("recipe.toml"), RECIPE).unwrap();
    let without_claim = |mut value: Value| {
        value["claim"].take();
        // The claim is part of what is written, and so of its digest.
        value["written"].take();
        value
    };
    let plain = without_claim(checked(&folder, "It matters.", "sums", "more").unwrap());
    let unknown = checked(&folder, "It matters.", "nowhere", "more").unwrap_err();
    let bad_name = checked(&folder, "It matters.", "sums", "no name").unwrap_err();
    for text in injections() {
        let claimed = checked(&folder, &text, "sums", "more").unwrap();
        assert_eq!(claimed["claim"], text.as_str());
        assert_eq!(without_claim(claimed), plain, "{text:?}");
        let corpus = checked(&folder, "It matters.", &text, "more").unwrap_err();
        assert_eq!(corpus.kind, unknown.kind, "{text:?}: {corpus}");
        let arm = checked(&folder, "It matters.", "sums", &text).unwrap_err();
        assert_eq!(
            (arm.kind, &arm.remedy),
            (bad_name.kind, &bad_name.remedy),
            "{text:?}"
        );
    }
}
