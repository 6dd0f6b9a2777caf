//! `windtunnel data fetch`: the mirror first, then the address of the recipe, and what it says when
//! neither has the file.

use crate::{
    fetch::kept,
    server::{Answer, Server},
};
use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use windtunnel::{
    data::{
        Library,
        fetch::{MIRROR, recipes},
    },
    digest::sha256,
};

/// `windtunnel data fetch tinyshakespeare`, with a proxy that makes the internet be this machine.
fn data_fetch(home: &Path, mirror: Option<&Path>, proxy: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
    command
        .env_clear()
        .env("ALL_PROXY", format!("http://{proxy}"));
    if let Some(mirror) = mirror {
        command.env(MIRROR, mirror);
    }
    command.args(["data", "fetch", "tinyshakespeare", "--json", "--home"]);
    command.arg(home).output().unwrap()
}

/// An address of this machine where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The real file, where this machine has it.
fn tinyshakespeare() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let mirrors = env::var_os(MIRROR)
        .map(PathBuf::from)
        .into_iter()
        .chain([beside]);
    let folders = mirrors.flat_map(|mirror| [mirror.clone(), mirror.join("text")]);
    let found = folders
        .map(|folder| folder.join("tinyshakespeare.txt"))
        .find(|p| p.is_file());
    if found.is_none() {
        println!("note: no tinyshakespeare.txt here; set {MIRROR} to test the real file");
    }
    found
}

#[test]
fn without_mirror_and_network_the_message_says_what_would_do() {
    let home = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let missing = empty.path().join("not-there");
    for mirror in [
        None,
        Some(empty.path()),
        Some(missing.as_path()),
        Some(Path::new("")),
    ] {
        let output = data_fetch(home.path(), mirror, &nobody());
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("cannot fetch tinyshakespeare"), "{text}");
        assert!(
            text.contains(MIRROR) && text.contains("tinyshakespeare.txt"),
            "{text}"
        );
        if let Some(mirror) = mirror {
            assert!(text.contains(mirror.to_str().unwrap()), "{text}");
        }
        assert!(kept(home.path()).is_empty());
    }
}

#[test]
fn the_command_asks_the_address_of_the_recipe_when_the_mirror_has_nothing() {
    let home = tempfile::tempdir().unwrap();
    let proxy = Server::start(vec![Answer::status(502)]);
    let output = data_fetch(home.path(), None, &proxy.address);
    assert_eq!(output.status.code(), Some(2));
    let asked = proxy.requests();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].starts_with("CONNECT raw.githubusercontent.com:443"),
        "{}",
        asked[0]
    );
}

#[test]
fn the_command_reads_the_mirror_before_the_network() {
    let home = tempfile::tempdir().unwrap();
    let mirror = tempfile::tempdir().unwrap();
    let text = mirror.path().join("text");
    fs::create_dir(&text).unwrap();
    let file = text.join("tinyshakespeare.txt");
    fs::write(&file, "not Shakespeare").unwrap();
    let proxy = Server::start(vec![Answer::status(502); 3]);
    let output = data_fetch(home.path(), Some(mirror.path()), &proxy.address);
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8(output.stderr).unwrap();
    let real_file = recipes().unwrap().remove(0).files.remove(0);
    let expected = real_file.sha256.unwrap();
    assert!(
        words.contains(&expected) && words.contains(&sha256(b"not Shakespeare")),
        "{words}"
    );

    if let Some(real) = tinyshakespeare() {
        fs::copy(real, &file).unwrap();
        for mirror in [text.as_path(), mirror.path()] {
            let home = tempfile::tempdir().unwrap();
            let output = data_fetch(home.path(), Some(mirror), &proxy.address);
            assert!(output.status.success(), "{output:?}");
            let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(json["sha256"], expected.as_str());
            // Nothing is read but the home now.
            let library = Library::new(home.path());
            let source = library.source("tinyshakespeare", &mut |_, _| {}).unwrap();
            let text = source.text.whole().unwrap();
            assert_eq!(sha256(text.as_bytes()), expected);
            assert_eq!(Some(text.len() as u64), real_file.bytes);
        }
    }
    assert!(proxy.requests().is_empty());
}
