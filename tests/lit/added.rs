//! Files of records that somebody adds.

use std::fs;
use tempfile::TempDir;
use windtunnel::claude::literature::{Library, added};

/// Adds `text` as NAME to a new home; the home keeps what it was told to.
fn add(text: &str) -> (TempDir, windtunnel::error::Result<added::Added>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.bib");
    fs::write(&file, text).unwrap();
    let added = added::add(&dir.path().join("home"), &file);
    (dir, added)
}

const GOOD: &str = r#"@string{icml = "A Conference"}
@comment{Nothing.}
@inproceedings{liu-etal-2025-made,
  title = "Made {Up} by {\"O}nder",
  author = "Liu, Ann and {\c C}elik, Bo and de la Cruz, Cy",
  month = jul, year = "2025", booktitle = icml,
  doi = {https://doi.org/10.1234/x_y},
  keywords = {optimizer.lr, chickens}
}
@article{scholar2024style,
  title={Exported By Somebody},
  author={Doe, Jane and others},
  journal={arXiv preprint arXiv:2499.00001},
  year={2024}
}
@misc{by/url:2023, title = {With an Address}, author = {Roe, R.}, date = {2023-04-01},
  url = {https://arxiv.org/pdf/2398.12345v2.pdf}, abstract = {Feathers matter.}}
"#;

#[test]
fn a_file_is_added_whole_found_and_added_once() {
    let (dir, added) = add(GOOD);
    let home = dir.path().join("home");
    assert_eq!(
        added.unwrap().added,
        ["liu-etal-2025-made", "scholar2024style", "by/url:2023"]
    );
    let again = added::add(&home, &dir.path().join("mine.bib")).unwrap();
    assert!(again.added.is_empty() && again.known.len() == 3);
    let library = Library::open(&home).unwrap();
    let record = library.get("liu-etal-2025-made").unwrap();
    assert_eq!(record.title, "Made Up by Önder");
    assert_eq!(record.authors, ["Ann Liu", "Bo Çelik", "Cy de la Cruz"]);
    assert_eq!(record.identifier(), "doi:10.1234/x_y");
    assert_eq!(
        library.get("scholar2024style").unwrap().identifier(),
        "arXiv:2499.00001"
    );
    let by_url = library.get("by/url:2023").unwrap();
    assert_eq!(
        (by_url.identifier().as_str(), by_url.year),
        ("arXiv:2398.12345", 2023)
    );
    assert!(
        by_url.text.ends_with("}}\n}") || by_url.text.ends_with('}'),
        "{}",
        by_url.text
    );
    assert_eq!(library.search("feathers", 1).unwrap()[0].key, "by/url:2023");
    assert_eq!(
        library.search("chickens", 1).unwrap()[0].key,
        "liu-etal-2025-made"
    );
    let about = library.about_factor("optimizer.lr").unwrap();
    assert!(
        about
            .iter()
            .any(|hit| hit.key == "liu-etal-2025-made" && !hit.built_in),
        "{about:?}"
    );
}

/// A file, its place, and what is wrong with it.
const BAD: &[(&str, &str, &str)] = &[
    (
        "@misc{a1, title = {T}, author = {A B}, year = {2024}, eprint = {2401.00001}}\n\n@misc{b2,\n title = {T}, year = {2024}, eprint = {2401.00002}}",
        ":3",
        "no author",
    ),
    (
        "\n@misc{a1, author = {A B}, year = {2024}, eprint = {2401.00001}}",
        ":2",
        "no title",
    ),
    (
        "@misc{a1, title = {T}, author = {A B}, eprint = {2401.00001}}",
        ":1",
        "year",
    ),
    (
        "@misc{a1, title = {T}, author = {A B}, year = {soon}, eprint = {2401.00001}}",
        ":1",
        "year",
    ),
    (
        "@misc{a1, title = {T}, author = {A B}, year = {2024}}",
        ":1",
        "identifier",
    ),
    (
        "@misc{a1, title = {T}, author = {A B}, year = {2024}, eprint = {12}}",
        ":1",
        "arXiv",
    ),
    (
        "@misc{a1, title = {T}, author = {A B}, year = {2024}, url = {javascript:x}}",
        ":1",
        "address",
    ),
    (
        "@misc{ä, title = {T}, author = {A B}, year = {2024}, eprint = {2401.00001}}",
        ":1",
        "key",
    ),
    (
        "@misc{a1, title = {T}, author = {A B}, year = {2024}, eprint = {2401.00001}}\n@misc{a1, title = {U}, author = {A B}, year = {2024}, eprint = {2401.00002}}",
        ":2",
        "a1",
    ),
    (
        "@misc{a1, title = {T}, author = {A B}, year = {2024}, eprint = {2401.00001}}\n@misc{b2, title = {U}, author = {A B}, year = {2024}, eprint = {2401.00001v2}}",
        ":2",
        "a1",
    ),
    (
        "\n\n@misc{xie2023doremi, title = {T}, author = {A B}, year = {2024}, eprint = {2401.00001}}",
        ":3",
        "taken",
    ),
    (
        "@misc{other, title = {T}, author = {A B}, year = {2023}, eprint = {2305.10429}}",
        ":1",
        "xie2023doremi",
    ),
    ("@misc{a1, title = {T", "mine.bib:1", "BibTeX"),
    ("@misc{a1, title = soon, author = {A B}}", ":1", "soon"),
    ("% nothing\n", "mine.bib", "no records"),
];

#[test]
fn a_bad_file_names_its_line_and_changes_nothing() {
    for &(text, line, problem) in BAD {
        let (dir, added) = add(text);
        let error = added.unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.place.contains(line), "{line}: {error}");
        assert!(error.problem.contains(problem), "{problem}: {error}");
        let kept = fs::read_dir(dir.path().join("home/library"));
        let kept = kept.map_or(0, |all| {
            all.filter(|entry| entry.as_ref().unwrap().path().extension().is_some())
                .count()
        });
        assert_eq!(kept, 0, "{text}");
    }
}

#[test]
fn names_and_bytes_of_a_file_are_checked_and_another_file_is_not_overwritten() {
    let (dir, added) = add(GOOD);
    added.unwrap();
    let home = dir.path().join("home");
    let kept = fs::read(home.join("library/mine.bib")).unwrap();
    let file = dir.path().join("mine.bib");
    fs::write(
        &file,
        "@misc{c3, title = {T}, author = {A B}, year = {2024}, eprint = {2401.00003}}",
    )
    .unwrap();
    let error = added::add(&home, &file).unwrap_err();
    assert!(error.problem.contains("already"), "{error}");
    assert_eq!(fs::read(home.join("library/mine.bib")).unwrap(), kept);
    for name in ["no ending", "x.txt", "sp ace.bib", "..bib"] {
        let file = dir.path().join(name);
        fs::write(&file, GOOD).unwrap();
        assert!(added::add(&home, &file).is_err(), "{name}");
    }
    let bytes = dir.path().join("latin.bib");
    fs::write(&bytes, b"@misc{a,\n title = {\xe9}}").unwrap();
    assert!(added::add(&home, &bytes).unwrap_err().place.ends_with(":2"));
    assert_eq!(
        fs::read_dir(home.join("library")).unwrap().count(),
        2,
        "the file and the lock"
    );
}
