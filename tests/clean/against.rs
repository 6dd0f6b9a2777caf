//! Validation text in another corpus, and benchmarks in files.

use crate::{Bench, built_in, speeches};
use std::collections::BTreeSet;
use windtunnel::{data::words, rng::Rng};

#[test]
fn planted_validation_text_is_removed_and_nothing_else() {
    let bench = Bench::new();
    bench.add_rows("bench", &built_in("facts", 150_000));
    let [train, test, validation] = bench.parts("bench");
    let long = |text: &&String| words::words(text).count() >= words::RUN;
    let held_out: Vec<&String> = validation.iter().chain(&test).filter(long).collect();
    let mut host = speeches(700);
    let mut rng = Rng::named(8, "plant");
    let mut planted = BTreeSet::new();
    for i in 0..40 {
        let text = held_out[rng.below(held_out.len() as u64) as usize];
        // In the middle of a document, set otherwise.
        let document = &mut host[17 * i];
        *document = format!(
            "{document} {} and so on",
            text.to_uppercase().replace(' ', "\n")
        );
        planted.insert(document.clone());
    }
    // What was for training may stay, and so may twelve words of what was not.
    let facts: Vec<&String> = train.iter().filter(long).take(20).collect();
    for (i, text) in facts.iter().enumerate() {
        host[17 * i + 1] += &format!(" {text}");
    }
    let twelve: Vec<&str> = words::words(held_out[0]).take(12).collect();
    host[3] += &format!(" {}", twelve.join(" "));
    bench.add_rows("host", &host);
    let args = ["data", "clean", "host", "clean", "--against", "bench"];
    let record = bench.succeed(&args);
    let kept = bench.documents("clean");
    let removed: BTreeSet<String> = host
        .iter()
        .filter(|text| !kept.contains(*text))
        .cloned()
        .collect();
    let natural = |text: &String| planted.contains(text);
    let others: Vec<&String> = removed.iter().filter(|text| !natural(text)).collect();
    assert!(planted.is_subset(&removed), "some stay");
    assert!(others.is_empty(), "these go too: {others:?}");
    assert_eq!(record["removed"][0]["transform"], "against");
    assert_eq!(record["removed"][0]["by"], "bench");
}

#[test]
fn a_corpus_is_cleaned_against_its_own_held_out_parts_in_training_alone() {
    let bench = Bench::new();
    let documents = speeches(400);
    bench.add_rows("plain", &documents);
    let [_, _, validation] = bench.parts("plain");
    let long = |text: &&String| words::words(text).count() >= words::RUN;
    let quoted = validation.iter().filter(long).take(5);
    let quoting: Vec<String> = quoted
        .map(|text| format!("They said: {text} Indeed."))
        .collect();
    bench.add_rows("raw", &[documents, quoting.clone()].concat());
    let [train, test, validation] = bench.parts("raw");
    bench.succeed(&["data", "clean", "raw", "clean", "--against", "raw"]);
    let cleaned = bench.parts("clean");
    assert_eq!([&cleaned[1], &cleaned[2]], [&test, &validation]);
    let expected: Vec<&String> = train
        .iter()
        .filter(|text| !quoting.contains(text))
        .collect();
    assert!(expected.len() < train.len());
    assert_eq!(cleaned[0].iter().collect::<Vec<_>>(), expected);
}

#[test]
fn benchmarks_are_files_of_text_or_rows() {
    let bench = Bench::new();
    let documents = speeches(300);
    bench.add_rows("raw", &documents);
    bench.write(
        "bench.txt",
        format!("{}\n\n{}\n", documents[5], documents[6]),
    );
    let row = serde_json::json!({ "question": documents[9], "answer": "x" });
    bench.write("bench.jsonl", format!("{row}\n"));
    let record = bench.succeed(&[
        "data",
        "clean",
        "raw",
        "clean",
        "--against-field",
        "question",
        "--against",
        "bench.txt",
        "bench.jsonl",
    ]);
    let removed = |i: usize| {
        let documents = &record["removed"][i]["documents"];
        let n = ["train", "test", "validation"].map(|part| documents[part].as_u64().unwrap());
        (
            record["removed"][i]["by"].as_str().unwrap(),
            n.iter().sum::<u64>(),
        )
    };
    assert_eq!(removed(0), ("bench.txt", 2));
    assert_eq!(removed(1), ("bench.jsonl", 1));
    for (file, bytes, says) in [
        ("bad.txt", &b"good\n\nbad \xff"[..], ["bad.txt:3", "UTF-8"]),
        ("empty.txt", b"", ["empty.txt", "no word"]),
        (
            "other.jsonl",
            b"{\"body\": \"x\"}",
            ["other.jsonl:1", "body"],
        ),
        ("ids.bin", b"\x01\x00", ["ids.bin", "tokens"]),
    ] {
        bench.write(file, bytes);
        let error = bench.refuse(&["data", "clean", "raw", "other", "--against", file]);
        assert!(
            says.iter().all(|says| error.contains(says)),
            "{file}: {error}"
        );
    }
    let error = bench.refuse(&["data", "clean", "raw", "other", "--against", "rwa"]);
    assert!(error.contains("did you mean \"raw\""), "{error}");
    assert!(
        bench
            .refuse(&["data", "clean", "raw", "other", "--against", "no/file"])
            .contains("no/file")
    );
}
