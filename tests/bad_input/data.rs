//! Texts that can't be corpora, and texts that are not what they were.

use crate::{Bench, says};
use std::fs;

#[test]
fn a_text_that_is_empty_or_not_utf8_or_too_short_cannot_be_added() {
    let bench = Bench::new();
    bench.write("empty.txt", "");
    bench.write("latin.txt", b"one\ntwo\ncaf\xe9\n");
    bench.write("short.txt", "a");
    for (args, place, problem, remedy) in [
        (["empty.txt", "more"], "empty.txt", "empty", "text in it"),
        (
            ["latin.txt", "more"],
            "latin.txt:3",
            "byte 11 is 0xe9",
            "UTF-8",
        ),
        (["short.txt", "more"], "short.txt", "", ""),
        (
            ["absent.txt", "more"],
            "absent.txt",
            "No such file",
            "check the path",
        ),
        // Sorted, the corpus's record is its only file but the lock: no form that is known.
        (
            ["home", "more"],
            "home",
            "no file in this folder",
            "--format",
        ),
        (["words.txt", "words"], "NAME", "taken", "another name"),
        (["words.txt", "sums"], "NAME", "taken", "another name"),
        (["words.txt", "a b"], "NAME", "a b", "letters"),
        (["words.txt", ".."], "NAME", "..", "letters"),
    ] {
        let args = [&["data", "add"][..], &args].concat();
        bench.refuse(&args, says(place, problem, remedy));
    }
}

#[test]
fn a_corpus_that_there_is_not_is_refused_with_the_nearest() {
    let bench = Bench::new();
    bench.refuse(
        &["data", "fetch", "tinyshakespear"],
        says("tinyshakespear", "no such corpus", "\"tinyshakespeare\""),
    );
    bench.refuse(
        &["data", "stat", "wrods"],
        says("wrods", "no such corpus", "\"words\""),
    );
    bench.refuse(
        &["data", "synth", "tale", "out.txt"],
        says("tale", "no such built-in corpus", "tales"),
    );
}

#[test]
fn a_text_that_was_changed_after_it_was_added_is_refused() {
    let bench = Bench::new();
    let text = fs::read_to_string(bench.path("words.txt")).unwrap();
    bench.write("words.txt", text.replacen("quick", "slow", 1));
    let expected = says("words.txt", "digest mismatch", "put the old file back");
    bench.refuse(&["train", "recipe.toml"], expected);
    bench.refuse(&["run", "study.toml"], expected);
    bench.refuse(&["plan", "study.toml"], expected);
    bench.refuse(&["data", "stat", "words"], expected);
    fs::remove_file(bench.path("words.txt")).unwrap();
    bench.refuse(
        &["train", "recipe.toml"],
        says("words.txt", "No such file", "check the path"),
    );
}

#[test]
fn a_mirror_with_another_text_under_the_name_is_refused() {
    let bench = Bench::new();
    fs::create_dir(bench.path("mirror")).unwrap();
    bench.write("mirror/tinyshakespeare.txt", "To be.\n");
    let change = "data.mixture=[{corpus=\"tinyshakespeare\"}]";
    for args in [
        &["data", "fetch", "tinyshakespeare"][..],
        &["train", "recipe.toml", change],
        &["run", "study.toml", change],
    ] {
        let mut command = bench.command(args);
        command.env("WINDTUNNEL_MIRROR", bench.path("mirror"));
        bench.refuse_command(
            &mut command,
            says("mirror/tinyshakespeare.txt", "digest mismatch", "mirror"),
        );
    }
}

#[test]
fn a_block_longer_than_a_part_of_the_corpus_is_refused_with_what_would_fit() {
    let bench = Bench::new();
    for block in ["3000", "342"] {
        let change = format!("model.block_size={block}");
        bench.refuse(
            &["train", "recipe.toml", &change],
            says(
                &format!("override \"{change}\""),
                "validation part of \"words\", 342 tokens",
                "at most 341",
            ),
        );
    }
    bench.succeed(&["train", "recipe.toml", "model.block_size=341"]);
}
