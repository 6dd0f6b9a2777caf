//! What stays where it was: documents in their parts, sources as they are.

use crate::{Bench, both, speeches};
use std::collections::BTreeMap;
use windtunnel::data::{
    clean::{Cleaning, Filters},
    ingest::Settings,
};

/// Speeches of which some come again, in one text that is split by place.
fn repeated() -> Vec<String> {
    let mut documents = speeches(600);
    for i in 0..60 {
        // Into training, test and validation, of what stands in training.
        documents[9 * i + 59] = documents[3 * i + 1].clone();
    }
    documents
}

#[test]
fn documents_stay_in_their_parts_and_the_copy_for_training_goes() {
    let bench = Bench::new();
    bench.add_file("raw", "raw.txt", &repeated().join("\n\n"));
    let before = bench.parts("raw");
    let record = bench.clean("raw", "clean", &both());
    let after = bench.parts("clean");
    let mut part_of = BTreeMap::new();
    // Held-out parts last: they win.
    for part in [0, 1, 2] {
        before[part]
            .iter()
            .for_each(|text| _ = part_of.insert(text.clone(), part));
    }
    for (part, documents) in after.iter().enumerate() {
        for text in documents {
            assert_eq!(part_of.remove(text), Some(part), "{text}");
        }
    }
    assert!(part_of.is_empty(), "gone altogether: {part_of:?}");
    assert!(record.copies_of_held_out >= 5);
    assert_eq!(
        record.documents.read.sum() - record.documents.kept.sum(),
        60
    );
    // The order within a part is the source's.
    let mut order = before[0].iter();
    assert!(after[0].iter().all(|text| order.any(|other| other == text)));
}

#[test]
fn held_out_parts_can_be_kept_as_they_are() {
    let bench = Bench::new();
    let mut documents = repeated();
    documents[580] = documents[590].clone();
    bench.add_file("raw", "raw.txt", &documents.join("\n\n"));
    let cleaning = Cleaning {
        filters: Filters::parse(["min_words=20"]).unwrap(),
        keep_held_out: true,
        ..both()
    };
    bench.clean("raw", "clean", &cleaning);
    let ([raw, raw_test, raw_validation], [train, test, validation]) =
        (bench.parts("raw"), bench.parts("clean"));
    assert_eq!(
        (test, validation),
        (raw_test.clone(), raw_validation.clone())
    );
    assert!(train.len() < raw.len());
    assert!(
        !train
            .iter()
            .any(|text| raw_validation.contains(text) || raw_test.contains(text))
    );
}

#[test]
fn a_text_without_blank_lines_is_cleaned_by_lines_and_keeps_them() {
    let bench = Bench::new();
    let mut lines: Vec<String> = speeches(300).iter().map(|s| s.replace('\n', " ")).collect();
    lines[40] = lines[20].clone();
    bench.add_file("raw", "raw.txt", &(lines.join("\r\n") + "\r\n"));
    let record = bench.clean("raw", "clean", &both());
    assert_eq!(record.documents.read.sum() - record.documents.kept.sum(), 1);
    let train = std::fs::read_to_string(bench.path("home/clean/clean/train.txt")).unwrap();
    lines.remove(40);
    assert!(lines.join("\r\n").starts_with(train.trim_end()));
    assert_eq!(
        bench.parts("clean")[0].len() as u64,
        record.documents.kept.train
    );
}

#[test]
fn documents_without_words_or_in_one_huge_line_do_no_harm() {
    let bench = Bench::new();
    let mut documents = speeches(200);
    documents[0] = "!!! ??? ---".into();
    documents[1] = "*** ###".into();
    documents[2] = "x".repeat(5 << 20);
    documents[3] = "y ".repeat(2 << 20);
    bench.add_rows("raw", &documents);
    let record = bench.clean("raw", "clean", &both());
    assert!(record.removed.is_empty(), "{:?}", record.removed);
    assert_eq!(bench.documents("clean"), bench.documents("raw"));
}

#[test]
fn a_document_of_white_space_is_left_out_and_one_too_long_for_a_row_is_refused() {
    let bench = Bench::new();
    let mut documents = speeches(600);
    documents[100] = "\"".repeat(30_000);
    bench.add_file(
        "raw",
        "raw.txt",
        &format!("\n \n\n{}", documents.join("\n\n")),
    );
    let record = bench.clean("raw", "clean", &both());
    let removed = record.removed.iter();
    let removed = removed.map(|r| (r.transform.as_str(), r.documents.sum()));
    assert_eq!(removed.collect::<Vec<_>>(), [("empty", 1)]);
    let short = Settings {
        longest_bytes: 40_000,
        ..Settings::default()
    };
    let error = bench.clean_with(("raw", "short"), &both(), &short);
    let error = error.unwrap_err();
    assert!(error.remedy.contains("--filter max_bytes=5000"), "{error}");
    assert!(!bench.path("home/clean/.short.building").exists());
}
