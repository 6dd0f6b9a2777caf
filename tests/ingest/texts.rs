//! Texts: compressed ones, several, and how they are joined and split.

use crate::{Bench, documents, gz, on_disk, parts, text, to_add, zst};
use windtunnel::data::{
    Corpus, Tokenizer,
    ingest::{Format, silent},
    source::SplitRule,
};

#[test]
fn a_compressed_text_is_the_text() {
    let plain = text(300);
    let half = plain.floor_char_boundary(plain.len() / 2);
    let (a, b) = plain.as_bytes().split_at(half);
    let bench = Bench::new();
    bench.write("plain.txt", &plain);
    bench.add("plain.txt", "plain").unwrap();
    let expected = bench.parts("plain");
    assert_eq!(expected.concat(), plain);
    let files = [
        ("one.txt.gz", gz(plain.as_bytes())),
        // Members and frames one after the other, as parallel compressors write them.
        ("members.txt.gz", [gz(a), gz(b""), gz(b)].concat()),
        ("one.txt.zst", zst(plain.as_bytes())),
        ("frames.txt.zst", [zst(a), zst(b)].concat()),
    ];
    for (i, (file, bytes)) in files.iter().enumerate() {
        bench.write(file, bytes);
        let name = format!("c{i}");
        bench.add(file, &name).unwrap();
        assert!(bench.parts(&name) == expected, "{file}");
        let source = bench.source(&name).unwrap();
        let disk = Corpus::open_with(
            &bench.path("disk"),
            &source,
            &Tokenizer::Byte,
            &on_disk(),
            &mut silent,
        );
        assert!(parts(&disk.unwrap()) == expected, "{file}");
    }
}

#[test]
fn texts_of_a_folder_follow_each_other_with_a_blank_line_between() {
    let bench = Bench::new();
    bench.write("docs/b.txt", text(40));
    bench.write("docs/a.txt", format!("{}\n", text(30)));
    bench.write("docs/c/nested.txt", format!("{}\n\n\n", text(20)));
    bench.write("docs/empty.txt", "");
    bench.write("docs/z.txt", "the end, with no line's end");
    bench.write("docs/.hidden.txt", "not this");
    bench.write("docs/.git/config.txt", "nor this");
    bench.add("docs", "docs").unwrap();
    let joined = format!(
        "{}\n\n{}\n\n{}\n\n\nthe end, with no line's end",
        text(30),
        text(40),
        text(20)
    );
    assert_eq!(bench.parts("docs").concat(), joined);
}

#[test]
fn texts_that_are_named_for_their_parts_stay_in_them() {
    let bench = Bench::new();
    let all = documents(300);
    let texts: Vec<String> = all.chunks(100).map(|part| part.join("\n\n")).collect();
    bench.write("set/train.txt", &texts[0]);
    bench.write("set/valid.txt", &texts[1]);
    let added = bench.add("set", "two").unwrap();
    assert_eq!(added.split, SplitRule::Named { test: 0.05 });
    let [train, test, validation] = bench.parts("two");
    assert_eq!(format!("{train}{test}"), format!("{}\n\n", texts[0]));
    assert_eq!(validation, texts[1]);
    let share = test.len() as f64 / (train.len() + test.len()) as f64;
    assert!((0.03..0.05).contains(&share), "{share}");

    bench.write("set/x-test.txt", &texts[2]);
    let error = bench.source("two").unwrap_err();
    assert!(error.place.ends_with("x-test.txt"), "{error}");
    bench.add("set", "three").unwrap();
    let [train, test, validation] = bench.parts("three");
    assert_eq!(train, format!("{}\n\n", texts[0]));
    assert_eq!(validation, format!("{}\n\n", texts[1]));
    assert_eq!(test, texts[2]);
}

#[test]
fn the_fractions_are_those_that_were_asked_for() {
    let bench = Bench::new();
    bench.write("a.txt", text(1000));
    let mut small = to_add(bench.path("a.txt"));
    (small.validation, small.test) = (Some(0.02), Some(0.01));
    let added = bench.addition("a", &small).unwrap().added;
    bench.library.add("a", &added).unwrap();
    let [train, test, validation] = bench.parts("a").map(|part| part.len() as f64);
    let all = train + test + validation;
    assert!((validation / all - 0.02).abs() < 0.005 && (test / all - 0.01).abs() < 0.005);
    for (validation, test) in [(0.0, 0.1), (0.1, -0.1), (0.6, 0.5), (f64::NAN, 0.1)] {
        let mut wrong = to_add(bench.path("a.txt"));
        (wrong.validation, wrong.test) = (Some(validation), Some(test));
        let error = bench.addition("b", &wrong).unwrap_err();
        assert!(error.place.contains("--validation"), "{error}");
    }
}

#[test]
fn a_folder_of_other_endings_is_text_when_it_is_said_so() {
    let bench = Bench::new();
    bench.write("docs/a.md", text(30));
    bench.write("docs/b.rst", text(30));
    let error = bench.add("docs", "docs").unwrap_err();
    assert!(error.remedy.contains("--format text"), "{error}");
    let mut said = to_add(bench.path("docs"));
    said.format = Some(Format::Text);
    assert_eq!(bench.addition("docs", &said).unwrap().added.files.len(), 2);
    // A pattern names its files: what else could they be?
    assert_eq!(
        bench.add("docs/*.m?", "pattern").unwrap().path,
        bench.path("docs/a.md")
    );
}
