//! Files that are not what they seem: cut off, of other forms, of several forms, or none.

use crate::{Bench, documents, gz, jsonl, text, zst};
use std::fs;

#[test]
fn a_cut_off_file_is_named_with_the_line_and_nothing_is_kept() {
    let rows = jsonl(&documents(3000));
    let plain = text(3000);
    for (file, whole) in [
        ("a.jsonl.gz", gz(rows.as_bytes())),
        ("a.jsonl.zst", zst(rows.as_bytes())),
        ("a.txt.gz", gz(plain.as_bytes())),
        ("a.txt.zst", zst(plain.as_bytes())),
    ] {
        for keep in [whole.len() / 2, whole.len() - 3, 20] {
            let bench = Bench::new();
            bench.write(file, &whole[..keep]);
            let error = bench.add(file, "a").unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
            let (_, line) = error.place.rsplit_once(':').unwrap();
            let line: usize = line.parse().unwrap();
            assert!(keep < 100 || line > 1, "{error}");
            assert!(error.place.contains(file), "{error}");
            assert!(error.problem.contains("cut off"), "{error}");
            assert!(!bench.home().exists());
        }
        let bench = Bench::new();
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 40].fill(0xA5);
        bench.write(file, damaged);
        let error = bench.add(file, "a").unwrap_err();
        assert!(error.place.contains(file), "{error}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_named_by_line_in_a_compressed_text() {
    let bench = Bench::new();
    let bytes = [
        text(50).as_bytes(),
        b"\n\nline one\nbad \xff\n\n",
        text(50).as_bytes(),
    ]
    .concat();
    let line = bytes
        .iter()
        .take_while(|b| **b != 0xff)
        .filter(|b| **b == b'\n')
        .count()
        + 1;
    bench.write("a.txt.gz", gz(&bytes));
    let error = bench.add("a.txt.gz", "a").unwrap_err();
    assert!(
        error.place.ends_with(&format!("a.txt.gz:{line}")),
        "{error}"
    );
    assert!(error.problem.contains("0xff"), "{error}");
}

#[test]
fn a_name_and_the_first_bytes_have_to_agree() {
    let rows = jsonl(&documents(50));
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("a.txt", gz(b"text"), "do not agree"),
        ("a.jsonl", zst(rows.as_bytes()), "do not agree"),
        ("a.jsonl.gz", zst(rows.as_bytes()), "do not agree"),
        ("a.txt.zst", b"plain text".to_vec(), "do not agree"),
        ("a.txt", b"PAR1 and more".to_vec(), "Parquet"),
        ("a.parquet", b"no parquet".to_vec(), "Parquet"),
        ("a.bin.gz", gz(b"1234"), "is compressed"),
        ("a.npy", b"\x93NUMPY...".to_vec(), "NumPy"),
    ];
    for (file, bytes, problem) in cases {
        let bench = Bench::new();
        bench.write(file, bytes);
        let mut wanted = crate::to_add(bench.path(file));
        wanted.tokenizer = file
            .contains(".bin")
            .then(|| ("byte".into(), windtunnel::data::Tokenizer::Byte));
        let error = bench.addition("a", &wanted).unwrap_err();
        assert!(error.place.ends_with(file), "{error}");
        assert!(error.problem.contains(problem), "{file}: {error}");
    }
}

#[test]
fn folders_and_patterns_without_files_or_with_several_forms_are_refused() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("empty/in/it")).unwrap();
    bench.write("hidden/.a.txt", text(30));
    bench.write("mixed/a.txt", text(30));
    bench.write("mixed/b.jsonl", jsonl(&documents(50)));
    for (path, problem) in [
        ("empty", "no file in this folder"),
        ("hidden", "no file in this folder"),
        ("mixed", "several forms: text, jsonl"),
        ("mixed/*", "several forms: text, jsonl"),
        ("mixed/*.zst", "no file matches"),
        ("mixed/[a", "is no pattern"),
        ("absent/*.txt", "no file matches"),
    ] {
        let error = bench.add(path, "x").unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.problem.contains(problem), "{path}: {error}");
    }
    assert!(!bench.home().exists());
    let mut chosen = crate::to_add(bench.path("mixed"));
    chosen.format = windtunnel::data::ingest::Format::named("jsonl");
    let addition = bench.addition("x", &chosen).unwrap();
    assert_eq!(addition.added.files.len(), 1);
}

#[cfg(not(feature = "parquet"))]
#[test]
fn without_the_feature_parquet_the_message_says_how_to_get_it() {
    let bench = Bench::new();
    bench.write("a.parquet", b"PAR1 something PAR1");
    let error = bench.add("a.parquet", "a").unwrap_err();
    assert!(error.remedy.contains("--features parquet"), "{error}");
}
