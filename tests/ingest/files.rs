//! Files that were added are the files that are read, or none.

use crate::{Bench, documents, jsonl, text};
use std::fs;

#[test]
fn a_changed_missing_or_new_file_is_refused_by_name_and_the_old_ones_are_taken_again() {
    let bench = Bench::new();
    let all = documents(200);
    let [a, b] = [&all[..100], &all[100..]].map(jsonl);
    bench.write("s/a.jsonl", &a);
    bench.write("s/b.jsonl", &b);
    bench.add("s", "folder").unwrap();
    bench.add("s/*.jsonl", "pattern").unwrap();
    let refused = |file: &str, problem: &str| {
        for name in ["folder", "pattern"] {
            let error = bench.source(name).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.place.ends_with(file), "{error}");
            assert!(error.problem.contains(problem), "{error}");
        }
    };
    bench.source("folder").unwrap();
    // Of the same length, and other text.
    bench.write("s/b.jsonl", b.replacen("1", "2", 1));
    refused("s/b.jsonl", "digest mismatch");
    bench.write("s/b.jsonl", &b[..b.len() - 1]);
    refused("s/b.jsonl", "digest mismatch");
    fs::remove_file(bench.path("s/b.jsonl")).unwrap();
    refused("s/b.jsonl", "gone");
    bench.write("s/b.jsonl", &b);
    bench.write("s/c.jsonl", &a);
    refused("s/c.jsonl", "new");
    fs::remove_file(bench.path("s/c.jsonl")).unwrap();
    // Written anew with the same bytes: the same corpus.
    assert_eq!(bench.parts("folder"), bench.parts("pattern"));
    fs::remove_dir_all(bench.path("s")).unwrap();
    refused("s/a.jsonl", "gone");
}

#[cfg(unix)]
#[test]
fn a_link_to_a_file_is_that_file_and_a_link_to_a_folder_is_not_followed() {
    use std::os::unix::fs::symlink;
    let bench = Bench::new();
    bench.write("blobs/1", jsonl(&documents(100)));
    fs::create_dir_all(bench.path("s")).unwrap();
    symlink(bench.path("blobs/1"), bench.path("s/a.jsonl")).unwrap();
    // One that leads back: following it would never end.
    symlink(bench.path("s"), bench.path("s/again")).unwrap();
    symlink(bench.path("nowhere"), bench.path("s/dangling.jsonl")).unwrap();
    let added = bench.add("s", "linked").unwrap();
    assert_eq!(added.files.len(), 1);
    assert_eq!(
        added.files[0].path,
        bench.path("s/a.jsonl").canonicalize().map_or_else(
            |_| bench.path("s/a.jsonl"),
            |_| bench.path("s").canonicalize().unwrap().join("a.jsonl"),
        )
    );
    bench.source("linked").unwrap();
    bench.write("blobs/1", jsonl(&documents(101)));
    let error = bench.source("linked").unwrap_err();
    assert!(error.place.ends_with("s/a.jsonl"), "{error}");
}

#[test]
fn a_file_whose_name_has_a_patterns_characters_is_that_file() {
    let bench = Bench::new();
    bench.write("odd[1]*.txt", text(50));
    let added = bench.add("odd[1]*.txt", "odd").unwrap();
    assert!(added.path.ends_with("odd[1]*.txt"));
    assert_eq!(bench.parts("odd").concat(), text(50));
}

#[test]
fn what_is_no_part_of_a_corpus_is_said() {
    let bench = Bench::new();
    bench.write("s/a.jsonl", jsonl(&documents(100)));
    bench.write("s/README.md", "about");
    bench.write("s/more/picture.png", [0u8, 1, 2]);
    let addition = bench
        .addition("s", &crate::to_add(bench.path("s")))
        .unwrap();
    let left: Vec<String> = addition
        .left_out
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into())
        .collect();
    assert_eq!(left, ["README.md", "picture.png"]);
    // They may change: they were never read.
    bench.library.add("s", &addition.added).unwrap();
    bench.write("s/README.md", "about more");
    bench.source("s").unwrap();
}
