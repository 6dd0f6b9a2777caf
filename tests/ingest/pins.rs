//! Fetched files whose digest nobody published, several of them, and packed ones.

use crate::{Bench, text};
use flate2::{Compression, Crc, write::DeflateEncoder};
use std::{fs, io::Write, path::Path};
use windtunnel::{
    data::{
        fetch::{FetchRecipe, RemoteFile, fetch_from, recipes},
        ingest::{Format, SourceFile},
        source::SplitRule,
    },
    digest::sha256,
    error::Result,
};

fn recipe(files: &[&str]) -> FetchRecipe {
    FetchRecipe {
        name: "plays".into(),
        about: "a test".into(),
        licence: "none".into(),
        format: Format::Text,
        field: String::new(),
        split: SplitRule::Named { test: 0.1 },
        files: files
            .iter()
            .map(|file| RemoteFile {
                url: format!("http://127.0.0.1:9/{file}"),
                file: file.to_string(),
                bytes: None,
                sha256: None,
            })
            .collect(),
    }
}

fn fetch(recipe: &FetchRecipe, bench: &Bench) -> Result<Vec<SourceFile>> {
    fetch_from(
        recipe,
        &bench.home(),
        Some(&bench.path("mirror")),
        &mut |_, _| {},
    )
}

#[test]
fn a_file_without_a_published_digest_is_pinned_to_what_came_first() {
    let bench = Bench::new();
    let recipe = recipe(&["plays-train.txt", "plays-val.txt"]);
    bench.write("mirror/plays-train.txt", text(100));
    bench.write("mirror/deep/plays-val.txt", text(50));
    let files = fetch(&recipe, &bench).unwrap();
    let digests: Vec<&str> = files.iter().map(|file| file.sha256.as_str()).collect();
    assert_eq!(
        digests,
        [sha256(text(100).as_bytes()), sha256(text(50).as_bytes())]
    );
    assert!(files.iter().all(|file| file.path.starts_with(bench.home())));
    // Again, and with nothing but the home.
    assert_eq!(fetch(&recipe, &bench).unwrap(), files);
    fs::remove_dir_all(bench.path("mirror")).unwrap();
    assert_eq!(fetch(&recipe, &bench).unwrap(), files);
    // Another file in its place, here or from elsewhere, is refused from now on.
    let here = &files[0].path;
    fs::write(here, "other").unwrap();
    let error = fetch(&recipe, &bench).unwrap_err();
    assert!(
        error.problem.contains("as what was fetched first"),
        "{error}"
    );
    fs::remove_file(here).unwrap();
    bench.write("mirror/plays-train.txt", "other");
    let error = fetch(&recipe, &bench).unwrap_err();
    assert!(
        error.place.contains("mirror") && error.problem.contains("digest mismatch"),
        "{error}"
    );
    bench.write("mirror/plays-train.txt", text(100));
    assert_eq!(fetch(&recipe, &bench).unwrap()[0].sha256, files[0].sha256);
}

#[test]
fn a_length_that_is_published_is_checked_before_anything_is_pinned() {
    let bench = Bench::new();
    let mut recipe = recipe(&["plays.txt"]);
    recipe.files[0].bytes = Some(text(100).len() as u64);
    bench.write("mirror/plays.txt", text(99));
    let error = fetch(&recipe, &bench).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(!bench.path("home/downloads/plays.txt.pin").exists());
    bench.write("mirror/plays.txt", text(100));
    fetch(&recipe, &bench).unwrap();
}

#[test]
fn every_recipe_says_where_from_and_its_digests_are_digests() {
    let recipes = recipes().unwrap();
    let names: Vec<&str> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "tinyshakespeare",
            "tinystories",
            "enwik8",
            "wikitext103",
            "fineweb_edu"
        ]
    );
    for recipe in &recipes {
        assert!(!recipe.files.is_empty() && !recipe.licence.is_empty());
        for file in &recipe.files {
            assert!(file.url.starts_with("http") && !file.file.contains('/'));
            let is_hex = |digest: &String| {
                digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())
            };
            assert!(file.sha256.as_ref().is_none_or(is_hex), "{}", file.file);
        }
    }
    let bench = Bench::new();
    let listed = bench.library.list().unwrap();
    let about = |name: &str| &listed.iter().find(|l| l.name == name).unwrap().about;
    assert!(about("enwik8").contains("pins on first use"));
    assert!(!about("tinystories").contains("pins"));
}

/// A zip archive of these files, deflated.
fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        let packed = encoder.finish().unwrap();
        let mut crc = Crc::new();
        crc.update(bytes);
        let mut entry = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0];
        entry.extend(crc.sum().to_le_bytes());
        entry.extend((packed.len() as u32).to_le_bytes());
        entry.extend((bytes.len() as u32).to_le_bytes());
        entry.extend((name.len() as u16).to_le_bytes());
        entry.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&entry);
        directory.extend([0; 10]);
        directory.extend((archive.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        archive.extend(b"PK\x03\x04");
        archive.extend(&entry);
        archive.extend(name.as_bytes());
        archive.extend(packed);
    }
    let start = archive.len() as u32;
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend((files.len() as u16).to_le_bytes());
    archive.extend((files.len() as u16).to_le_bytes());
    archive.extend((directory.len() as u32).to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

#[test]
fn an_archive_of_one_file_is_that_file() {
    let bench = Bench::new();
    bench.write("a.zip", zipped(&[("enwik", text(200).as_bytes())]));
    bench.add("a.zip", "a").unwrap();
    assert_eq!(bench.parts("a").concat(), text(200));
    bench.write("b.zip", zipped(&[("one", b"1"), ("two", b"2")]));
    let error = bench.add("b.zip", "b").unwrap_err();
    assert!(error.problem.contains("2 files"), "{error}");
    bench.write("c.zip", &zipped(&[("enwik", text(200).as_bytes())])[..2000]);
    let error = bench.add("c.zip", "c").unwrap_err();
    assert!(Path::new(&error.place).ends_with("c.zip"), "{error}");
}
