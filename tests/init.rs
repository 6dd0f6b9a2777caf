//! What `windtunnel init` writes, what it leaves alone, and that its texts name only what exists.

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};
use tempfile::TempDir;
use windtunnel::digest::sha256;

fn windtunnel(folder: &Path, args: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
    command.current_dir(folder).env_remove("WINDTUNNEL_HOME");
    let output = command.arg("--json").args(args).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let value = serde_json::from_str(stdout.trim()).unwrap_or(Value::Null);
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), value, stderr)
}

/// Runs `init` there and says what became of each file.
fn init(folder: &Path, args: &[&str]) -> BTreeMap<String, String> {
    let (code, value, stderr) = windtunnel(folder, &[&["init"], args].concat());
    assert_eq!(code, 0, "{stderr}");
    let files = value["files"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    files
        .map(|file| (text(&file["path"]), text(&file["what"])))
        .collect()
}

/// Every file below a folder with its bytes.
fn all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    files.insert(path.display().to_string(), fs::read(&path).unwrap());
                }
            }
        }
    }
    files
}

fn project() -> TempDir {
    tempfile::tempdir().unwrap()
}

const SKILL: &str = ".claude/skills/read-curves/SKILL.md";

#[test]
fn twice_gives_the_same_as_once() {
    let dir = project();
    let first = init(dir.path(), &["--claude"]);
    assert!(first.values().all(|what| what == "written"), "{first:?}");
    assert_eq!(first.len(), 10);
    let written = all(dir.path());
    for args in [&["--claude"][..], &["--claude", "--force"], &[]] {
        let again = init(dir.path(), args);
        assert!(again.values().all(|what| what == "unchanged"), "{again:?}");
        assert_eq!(all(dir.path()), written);
    }
}

#[test]
fn without_claude_there_are_limits_and_a_study_that_can_be_planned() {
    let dir = project();
    let done = init(dir.path(), &[]);
    let names: Vec<&str> = done.keys().map(String::as_str).collect();
    let wanted = [
        ".windtunnel/limits.toml",
        "configs/recipes/quickstart.toml",
        "configs/studies/quickstart.toml",
    ];
    assert_eq!(names, wanted);
    let (code, checked, stderr) =
        windtunnel(dir.path(), &["validate", "configs/studies/quickstart.toml"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(checked["literature"][0]["factor"], "data.mixture");
    assert!(
        !checked["literature"][0]["hits"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_project_with_configs_of_its_own_gets_no_others() {
    let dir = project();
    fs::create_dir_all(dir.path().join("configs/recipes")).unwrap();
    fs::write(dir.path().join("configs/recipes/mine.toml"), "seed = 1\n").unwrap();
    assert_eq!(init(dir.path(), &[]).len(), 1);
    assert!(!dir.path().join("configs/studies").exists());
}

#[test]
fn limits_stay_whatever_is_asked() {
    let dir = project();
    let path = dir.path().join(".windtunnel/limits.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "[day]\ndevice_minutes = 5.0\ndollars = 0.0\n").unwrap();
    let done = init(dir.path(), &["--claude", "--force"]);
    assert_eq!(done[".windtunnel/limits.toml"], "kept");
    assert!(fs::read_to_string(&path).unwrap().contains("= 5.0"));
}

#[test]
fn other_servers_stay_in_their_order() {
    let dir = project();
    let path = dir.path().join(".mcp.json");
    let others = r#"{"z": 1, "mcpServers": {"zeta": {"command": "z"}, "alpha": {"command": "a", "args": []}}, "a": [1.50, null]}"#;
    fs::write(&path, others).unwrap();
    assert_eq!(init(dir.path(), &["--claude"])[".mcp.json"], "added");
    let text = fs::read_to_string(&path).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    let servers = value["mcpServers"].as_object().unwrap();
    assert_eq!(
        servers.keys().collect::<Vec<_>>(),
        ["zeta", "alpha", "windtunnel"]
    );
    assert_eq!(
        servers["windtunnel"],
        json!({ "command": "windtunnel", "args": ["mcp"] })
    );
    value["mcpServers"]
        .as_object_mut()
        .unwrap()
        .shift_remove("windtunnel");
    assert_eq!(value, serde_json::from_str::<Value>(others).unwrap());

    let own = json!({ "mcpServers": { "windtunnel": { "command": "/opt/windtunnel", "args": ["mcp"] } } });
    fs::write(&path, own.to_string()).unwrap();
    assert_eq!(init(dir.path(), &["--claude"])[".mcp.json"], "kept");
    assert_eq!(fs::read_to_string(&path).unwrap(), own.to_string());
    assert_eq!(
        init(dir.path(), &["--claude", "--force"])[".mcp.json"],
        "replaced"
    );
    assert_eq!(
        fs::read_to_string(dir.path().join(".mcp.json.before")).unwrap(),
        own.to_string()
    );
}

#[test]
fn another_home_is_told_to_the_server() {
    let dir = project();
    let (code, ..) = windtunnel(dir.path(), &["--home", "runs of mine", "init", "--claude"]);
    assert_eq!(code, 0);
    let text = fs::read_to_string(dir.path().join(".mcp.json")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value["mcpServers"]["windtunnel"]["args"],
        json!(["mcp", "--home", "runs of mine"])
    );
    assert!(dir.path().join("runs of mine/limits.toml").is_file());
}

#[test]
fn what_can_t_be_merged_is_said_and_nothing_is_written() {
    let begin = "<!-- windtunnel:begin 0 -->";
    let rows = [
        (".mcp.json", "{\n \"mcpServers\": {,}\n}", ".mcp.json:2"),
        (".mcp.json", "[]", ".mcp.json:1"),
        (".mcp.json", "{\"mcpServers\": 3}", "mcpServers"),
        (
            "CLAUDE.md",
            &format!("# Mine\n\n{begin}\ncut off"),
            "CLAUDE.md:3",
        ),
        (
            "CLAUDE.md",
            &format!("<!-- windtunnel:end -->\n{begin}\n"),
            "CLAUDE.md:2",
        ),
    ];
    for (name, text, words) in rows {
        let dir = project();
        fs::write(dir.path().join(name), text).unwrap();
        let before = all(dir.path());
        let (code, error, stderr) = windtunnel(dir.path(), &["init", "--claude"]);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains(words), "{words}: {stderr}");
        assert!(
            error["remedy"]
                .as_str()
                .unwrap()
                .contains("nothing was written")
        );
        assert_eq!(all(dir.path()), before);
    }
}

/// As an earlier version would have written it.
fn older(body: &str) -> String {
    format!(
        "{body}\n<!-- windtunnel init {} -->\n",
        &sha256(body.trim().as_bytes())[..12]
    )
}

#[test]
fn an_older_skill_is_updated_and_an_edited_one_is_kept_until_it_is_forced() {
    let dir = project();
    init(dir.path(), &["--claude"]);
    let path = dir.path().join(SKILL);
    let ours = fs::read_to_string(&path).unwrap();

    fs::write(
        &path,
        older("---\nname: read-curves\ndescription: Old.\n---\n\nOld.\n"),
    )
    .unwrap();
    assert_eq!(init(dir.path(), &["--claude"])[SKILL], "updated");
    assert_eq!(fs::read_to_string(&path).unwrap(), ours);

    let edited = ours.replace("# Read curves", "# Read curves, our way");
    assert_ne!(edited, ours);
    fs::write(&path, &edited).unwrap();
    assert_eq!(init(dir.path(), &["--claude"])[SKILL], "kept");
    assert_eq!(fs::read_to_string(&path).unwrap(), edited);

    assert_eq!(
        init(dir.path(), &["--claude", "--force"])[SKILL],
        "replaced"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), ours);
    let beside = path.with_file_name("SKILL.md.before");
    assert_eq!(fs::read_to_string(&beside).unwrap(), edited);

    fs::write(&path, "mine alone").unwrap();
    init(dir.path(), &["--claude", "--force"]);
    assert_eq!(
        fs::read_to_string(&beside).unwrap(),
        edited,
        "the first one is still there"
    );
    assert_eq!(
        fs::read_to_string(path.with_file_name("SKILL.md.before2")).unwrap(),
        "mine alone"
    );
}

#[test]
fn the_rest_of_claude_md_stays_to_the_byte() {
    let dir = project();
    let path = dir.path().join("CLAUDE.md");
    fs::write(&path, "# Mine\n\nBe kind.\n").unwrap();
    assert_eq!(init(dir.path(), &["--claude"])["CLAUDE.md"], "added");
    let once = fs::read_to_string(&path).unwrap();
    assert!(
        once.starts_with("# Mine\n\nBe kind.\n\n<!-- windtunnel:begin "),
        "{once}"
    );

    let (above, section) = once.split_once("<!-- windtunnel:begin ").unwrap();
    let after = "\r\n\r\nMore of mine, no line's end";
    let body = "\nAn older text.\n";
    let old = format!(
        "{above}<!-- windtunnel:begin {} -->{body}<!-- windtunnel:end -->{after}",
        &sha256(body.trim().as_bytes())[..12]
    );
    fs::write(&path, &old).unwrap();
    assert_eq!(init(dir.path(), &["--claude"])["CLAUDE.md"], "updated");
    let updated = fs::read_to_string(&path).unwrap();
    assert_eq!(
        updated,
        format!("{above}<!-- windtunnel:begin {}{after}", section.trim_end())
    );

    let edited = updated.replace("One arm, one factor", "Two arms, two factors");
    assert_ne!(edited, updated);
    fs::write(&path, &edited).unwrap();
    assert_eq!(init(dir.path(), &["--claude"])["CLAUDE.md"], "kept");
    assert_eq!(
        init(dir.path(), &["--claude", "--force"])["CLAUDE.md"],
        "replaced"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), updated);
    assert_eq!(
        fs::read_to_string(dir.path().join("CLAUDE.md.before")).unwrap(),
        edited
    );
}

#[cfg(unix)]
#[test]
fn a_link_stays_one() {
    let dir = project();
    fs::write(dir.path().join("AGENTS.md"), "# Ours\n").unwrap();
    std::os::unix::fs::symlink("AGENTS.md", dir.path().join("CLAUDE.md")).unwrap();
    init(dir.path(), &["--claude"]);
    assert!(dir.path().join("CLAUDE.md").is_symlink());
    assert!(
        fs::read_to_string(dir.path().join("AGENTS.md"))
            .unwrap()
            .contains("windtunnel:begin")
    );
}

/// The texts for Claude Code, by file.
fn texts() -> BTreeMap<String, String> {
    let dir = project();
    init(dir.path(), &["--claude"]);
    let files = all(dir.path())
        .into_iter()
        .filter(|(path, _)| path.ends_with(".md"));
    files
        .map(|(path, bytes)| (path, String::from_utf8(bytes).unwrap()))
        .collect()
}

#[test]
fn skills_begin_as_claude_code_reads_them_and_are_short() {
    let skills: Vec<(String, String)> = texts()
        .into_iter()
        .filter(|(path, _)| path.ends_with("SKILL.md"))
        .collect();
    assert_eq!(skills.len(), 5);
    for (path, text) in skills {
        let mut lines = text.lines();
        let folder = Path::new(&path)
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        assert_eq!(lines.next(), Some("---"), "{path}");
        assert_eq!(
            lines.next(),
            Some(format!("name: {folder}").as_str()),
            "{path}"
        );
        let description = lines.next().unwrap().strip_prefix("description: ").unwrap();
        assert!(
            description.len() < 1024 && description.contains("Use "),
            "{path}"
        );
        // YAML takes ": " and " #" for its own.
        assert!(
            !description.contains(": ") && !description.contains(" #"),
            "{path}"
        );
        assert_eq!(lines.next(), Some("---"), "{path}");
        assert!(text.lines().count() < 80, "{path}");
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    let pieces = text.split('`').skip(1).step_by(2);
    pieces
        .map(|piece| piece.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// The words of a command that are its own, and the flags that follow.
fn parts(command: &str) -> (Vec<&str>, Vec<&str>) {
    let own = |word: &&str| {
        word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
    };
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let names = words.iter().copied().take_while(own).collect();
    let flags = words
        .iter()
        .copied()
        .filter(|word| word.starts_with("--"))
        .collect();
    (names, flags)
}

#[test]
fn every_command_that_a_text_names_exists() {
    let dir = project();
    let mut seen = BTreeSet::new();
    for (path, text) in texts() {
        for command in quoted(&text)
            .iter()
            .filter(|quoted| quoted.starts_with("windtunnel "))
        {
            if !seen.insert(command.clone()) {
                continue;
            }
            let (names, flags) = parts(command);
            assert!(!names.is_empty(), "{path}: `{command}`");
            let help = Command::new(env!("CARGO_BIN_EXE_windtunnel"))
                .args(&names)
                .arg("--help")
                .current_dir(dir.path())
                .output()
                .unwrap();
            let help = String::from_utf8(help.stdout).unwrap();
            // The last word may be one of the values that an argument takes: `schema study`.
            let is_usage =
                |n: usize| help.contains(&format!("Usage: windtunnel {}", names[..n].join(" ")));
            let n = (1..=names.len()).rev().find(|n| is_usage(*n));
            let values = n.map(|n| &names[n..]);
            let takes = |value: &&str| help.contains(&format!("- {value}:"));
            assert!(
                values.is_some_and(|values| values.iter().all(takes)),
                "{path}: `{command}`: {help}"
            );
            for flag in flags {
                assert!(help.contains(flag), "{path}: `{command}`: no {flag}");
            }
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
}

#[test]
fn every_tool_that_a_text_names_exists() {
    let snapshot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/tools.json");
    let tools: Value = serde_json::from_str(&fs::read_to_string(snapshot).unwrap()).unwrap();
    let tools = tools
        .as_array()
        .or_else(|| tools["tools"].as_array())
        .unwrap();
    let names: BTreeSet<&str> = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    let prefixes = ["study_", "run_", "finding_", "literature_"];
    let mut named = BTreeSet::new();
    for (path, text) in texts() {
        for word in quoted(&text) {
            let is_tool = prefixes.iter().any(|prefix| word.starts_with(prefix))
                || ["capabilities", "plot"].contains(&word.as_str());
            if is_tool {
                assert!(names.contains(word.as_str()), "{path}: `{word}`");
                named.insert(word);
            }
        }
    }
    assert!(named.len() >= 6, "{named:?}");
}
