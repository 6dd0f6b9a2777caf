//! Rows: what they give, how they are split, and which are refused.

use crate::{Bench, documents, gz, jsonl, on_disk, parts, to_add, zst};
use std::collections::BTreeSet;
use windtunnel::data::{
    Corpus, Tokenizer,
    ingest::{Format, silent},
    source::SplitRule,
};

/// The documents of a text whose blank lines are at their ends.
fn set(text: &str) -> BTreeSet<String> {
    text.split_inclusive("\n\n").map(String::from).collect()
}

#[test]
fn rows_are_documents_and_each_ends_with_a_blank_line() {
    let bench = Bench::new();
    let documents = documents(400);
    let (a, b) = documents.split_at(150);
    let whole = jsonl(&documents);
    bench.write("plain.jsonl", &whole);
    bench.write("x/1.jsonl.gz", gz(jsonl(a).as_bytes()));
    bench.write("x/2.json.gz", gz(jsonl(b).as_bytes()));
    bench.write("x/README", "what this is");
    bench.write("y.jsonl.zst", zst(whole.as_bytes()));
    bench.write("crlf.jsonl", whole.replace("}\n", "}\r\n").trim_end());
    bench.write("bom.ndjson", format!("\u{feff}{whole}\n  \n"));
    bench.add("plain.jsonl", "plain").unwrap();
    let expected = bench.parts("plain");
    let all: Vec<String> = documents.iter().map(|d| format!("{d}\n\n")).collect();
    let sets = expected.each_ref().map(|part| set(part));
    assert_eq!(sets.iter().map(BTreeSet::len).sum::<usize>(), 400);
    assert_eq!(
        sets.into_iter().flatten().collect::<BTreeSet<_>>(),
        all.iter().cloned().collect()
    );
    let bytes: usize = expected.iter().map(String::len).sum();
    assert_eq!(bytes, all.iter().map(String::len).sum::<usize>());
    let corpus = bench.bytes_of("plain");
    assert_eq!(corpus.manifest().bytes_per_token, 1.0);
    assert_eq!(corpus.manifest().train.bytes, expected[0].len() as u64);
    for (i, path) in ["x", "y.jsonl.zst", "crlf.jsonl", "bom.ndjson"]
        .iter()
        .enumerate()
    {
        let name = format!("n{i}");
        bench.add(path, &name).unwrap();
        assert!(bench.parts(&name) == expected, "{path}");
        let source = bench.source(&name).unwrap();
        let disk = bench.path("disk");
        let disk = Corpus::open_with(&disk, &source, &Tokenizer::Byte, &on_disk(), &mut silent);
        assert!(parts(&disk.unwrap()) == expected, "{path}");
    }
}

#[test]
fn copies_of_a_row_are_in_one_part_and_empty_rows_are_left_out() {
    let bench = Bench::new();
    let mut documents = documents(200);
    documents.extend(documents.clone());
    // A copy with other blank space around it is still a copy.
    documents.push(format!("\n{}\n\n\n", documents[3]));
    for empty in ["", "   ", "\n\n"] {
        documents.insert(50, empty.into());
    }
    bench.write("a.jsonl", jsonl(&documents));
    let addition = bench.addition("a", &to_add(bench.path("a.jsonl"))).unwrap();
    let scan = addition.scan.unwrap();
    assert_eq!((scan.empty_rows, scan.documents.iter().sum()), (3, 401));
    bench.library.add("a", &addition.added).unwrap();
    let [train, test, validation] = bench.parts("a").map(|part| {
        let documents = part.split("\n\n").map(|d| d.trim().to_string());
        documents.collect::<BTreeSet<_>>()
    });
    let shared = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
        a.intersection(b).filter(|d| !d.is_empty()).count()
    };
    assert_eq!(
        shared(&train, &test) + shared(&train, &validation) + shared(&test, &validation),
        0
    );
}

#[test]
fn the_field_is_the_one_that_was_named_and_unicode_comes_back() {
    let bench = Bench::new();
    let row = |i: usize| {
        format!("{{\"text\": null, \"content\": \"{i} \\ud83d\\ude42 \\u00e9 \\\"\\\\\\n東\"}}\n")
    };
    bench.write("a.jsonl", (0..100).map(row).collect::<String>());
    let mut wanted = to_add(bench.path("a.jsonl"));
    wanted.field = Some("content".into());
    let addition = bench.addition("a", &wanted).unwrap();
    bench.library.add("a", &addition.added).unwrap();
    let all = bench.parts("a").concat();
    assert!(all.contains("7 🙂 é \"\\\n東\n\n"), "{all}");
    assert_eq!(addition.scan.unwrap().characters, "\n \"0123456789\\é東🙂");
}

#[test]
fn a_huge_row_is_one_document_and_one_that_is_too_huge_is_named() {
    let bench = Bench::new();
    let mut documents = documents(60);
    documents[30] = "many words ".repeat(500_000).trim_end().to_string();
    bench.write("a.jsonl", jsonl(&documents));
    bench.add("a.jsonl", "a").unwrap();
    let corpus = bench.bytes_of("a");
    let m = corpus.manifest();
    assert_eq!(
        m.train.documents + m.test.documents + m.validation.documents,
        60
    );
    let source = bench.source("a").unwrap();
    let disk = bench.path("disk");
    let error =
        Corpus::open_with(&disk, &source, &Tokenizer::Byte, &on_disk(), &mut silent).unwrap_err();
    assert!(error.place.ends_with("a.jsonl:31"), "{error}");
    assert!(error.problem.contains("more than 1048576 bytes"), "{error}");
}

#[test]
fn rows_of_files_with_the_parts_names_stay_in_their_part() {
    let bench = Bench::new();
    let all = documents(300);
    bench.write("s/train-1.jsonl", jsonl(&all[..100]));
    bench.write("s/train-2.jsonl", jsonl(&all[100..200]));
    bench.write("s/validation.jsonl", jsonl(&all[200..]));
    let mut wanted = to_add(bench.path("s"));
    wanted.test = Some(0.2);
    let added = bench.addition("s", &wanted).unwrap().added;
    assert_eq!(added.split, SplitRule::Named { test: 0.2 });
    bench.library.add("s", &added).unwrap();
    let [train, test, validation] = bench.parts("s");
    let joined = |documents: &[String]| {
        documents
            .iter()
            .map(|d| format!("{d}\n\n"))
            .collect::<String>()
    };
    assert_eq!(validation, joined(&all[200..]));
    assert_eq!(train.len() + test.len(), joined(&all[..200]).len());
    let n = set(&test).len();
    assert!((20..60).contains(&n), "{n}");
}

/// What is wrong with a row, and the words of the message.
#[test]
fn a_bad_row_is_named_by_file_and_line_and_nothing_is_kept() {
    let good = jsonl(&documents(40));
    let cases: [(&[u8], &str, &str); 9] = [
        (b"not json", "not a JSON object", "repair"),
        (b"{\"text\": \"cut", "not a JSON object", "repair"),
        (b"{\"text\": \"a\"} more", "not a JSON object", "repair"),
        (
            b"{\"texts\": \"a\", \"id\": 2}",
            "no field \"text\"",
            "--field; there are texts, id",
        ),
        (b"{}", "no field \"text\"", "take out"),
        (b"{\"text\": null}", "null", "take out"),
        (b"{\"text\": [\"a\"]}", "a list", "take out"),
        (b"[\"text\", \"a\"]", "not a JSON object", "repair"),
        (
            b"{\"text\": \"caf\xe9\"}",
            "0xe9, which is not UTF-8",
            "UTF-8",
        ),
    ];
    for (row, problem, remedy) in cases {
        for compressed in [false, true] {
            let bench = Bench::new();
            let bytes = [good.as_bytes(), b"\n", row, b"\n", good.as_bytes()].concat();
            let (file, bytes) = match compressed {
                false => ("s/b.jsonl", bytes),
                true => ("s/b.jsonl.gz", gz(&bytes)),
            };
            bench.write("s/a.jsonl", &good);
            bench.write(file, bytes);
            let error = bench.add("s", "s").unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.place.ends_with(&format!("{file}:42")), "{error}");
            assert!(error.problem.contains(problem), "{error}");
            assert!(error.remedy.contains(remedy), "{error}");
            assert!(!bench.home().exists());
        }
    }
}

#[test]
fn a_json_array_and_an_unknown_field_say_what_would_do() {
    let bench = Bench::new();
    bench.write("a.json", "[\n{\"text\": \"a\"}\n]\n");
    let error = bench.add("a.json", "a").unwrap_err();
    assert!(
        error.problem.contains("JSON array") && error.remedy.contains("jq"),
        "{error}"
    );
    bench.write("b.jsonl", "\n\n");
    let error = bench.add("b.jsonl", "b").unwrap_err();
    assert!(error.problem.contains("no rows with text"), "{error}");
    let few = jsonl(&documents(2));
    bench.write("c.jsonl", few);
    let error = bench.add("c.jsonl", "c").unwrap_err();
    assert!(
        error.problem.contains("2 rows with text are too few"),
        "{error}"
    );
    let mut text = to_add(bench.path("c.jsonl"));
    text.format = Some(Format::Text);
    text.field = Some("text".into());
    let error = bench.addition("d", &text).unwrap_err();
    assert_eq!(error.place, "--field");
}

#[test]
fn a_row_that_the_tokenizer_does_not_know_is_named_by_file_and_line() {
    let bench = Bench::new();
    let mut all: Vec<String> = (0..50).map(|i| format!("plain {i}")).collect();
    all[20] += " Ω";
    bench.write("a.jsonl", jsonl(&all));
    bench.add("a.jsonl", "a").unwrap();
    let source = bench.source("a").unwrap();
    let tokenizer = Tokenizer::Char {
        characters: "\n 0123456789ailnp".into(),
    };
    for settings in [on_disk(), Default::default()] {
        let disk = bench.path("disk");
        let error =
            Corpus::open_with(&disk, &source, &tokenizer, &settings, &mut silent).unwrap_err();
        assert!(
            error.place.contains("a.jsonl:21, byte 9 of the document"),
            "{error}"
        );
        assert!(error.problem.contains('Ω'), "{error}");
    }
}
