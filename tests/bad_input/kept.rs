//! What a home keeps, damaged; and a home that another process writes to.

use crate::{Bench, cut, says};
use std::{fs, path::Path, process::Stdio, thread::sleep, time::Duration};
use windtunnel::home::Home;

/// A home with one run that stopped at its last checkpoint.
fn interrupted() -> Bench {
    let bench = Bench::new();
    bench.succeed(&["train", "recipe.toml"]);
    fs::remove_file(bench.run_dir().join("outcome.json")).unwrap();
    bench
}

fn newest_checkpoint(run: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(run.join("checkpoints")).unwrap();
    files.map(|file| file.unwrap().path()).max().unwrap()
}

#[test]
fn a_checkpoint_cut_short_or_changed_is_refused_and_removing_it_helps() {
    for damage in [
        |len: usize| len / 2,
        |len: usize| len - 1,
        |_: usize| 7,
        |_: usize| 0,
    ] {
        let bench = interrupted();
        let checkpoint = newest_checkpoint(&bench.run_dir());
        cut(&checkpoint, damage);
        let name = checkpoint.file_name().unwrap().to_str().unwrap();
        let id = bench.run_dir();
        let id = id.file_name().unwrap().to_str().unwrap();
        for args in [
            &["train", "recipe.toml"][..],
            &["eval", id],
            &["sample", id],
        ] {
            bench.refuse(args, says(name, "", "delete"));
        }
        fs::remove_file(checkpoint).unwrap();
        bench.succeed(&["train", "recipe.toml"]);
    }
    let bench = interrupted();
    let checkpoint = newest_checkpoint(&bench.run_dir());
    let mut bytes = fs::read(&checkpoint).unwrap();
    let middle = bytes.len() - 100;
    bytes[middle] ^= 1;
    fs::write(&checkpoint, bytes).unwrap();
    let name = checkpoint.file_name().unwrap().to_str().unwrap();
    bench.refuse(&["train", "recipe.toml"], says(name, "digest", "delete"));
}

#[test]
fn a_ledger_cut_short_is_refused_and_made_again_from_the_folders() {
    let bench = Bench::new();
    bench.succeed(&["run", "study.toml"]);
    let listing = bench.succeed(&["ls"]);
    let ledger = bench.path("home/ledger.sqlite");
    let whole = fs::read(&ledger).unwrap();
    for keep in [0, 7, 100, whole.len() / 2, whole.len() - 4096] {
        fs::write(&ledger, &whole[..keep]).unwrap();
        for args in [
            &["ls"][..],
            &["run", "study.toml"],
            &["plan", "study.toml"],
            &["train", "recipe.toml"],
        ] {
            bench.refuse(args, says("ledger.sqlite", "ledger", "ls --rebuild"));
        }
        assert_eq!(bench.succeed(&["ls", "--rebuild"]), listing);
    }
    fs::write(
        &ledger,
        "not a database, but long enough to be looked at\n".repeat(100),
    )
    .unwrap();
    bench.refuse(&["ls"], says("ledger.sqlite", "ledger", "ls --rebuild"));
}

#[test]
fn an_outcome_that_was_edited_or_cut_is_refused() {
    let bench = Bench::new();
    bench.succeed(&["run", "study.toml"]);
    let runs = fs::read_dir(bench.path("home/runs")).unwrap();
    let run = runs.map(|run| run.unwrap().path()).min().unwrap();
    let outcome = run.join("outcome.json");
    let text = fs::read_to_string(&outcome).unwrap();
    let edited = text.replacen("\"bpb\": ", "\"bpb\": 1", 1);
    assert_ne!(edited, text);
    for damaged in [edited.as_str(), &text[..text.len() / 2], ""] {
        fs::write(&outcome, damaged).unwrap();
        bench.refuse(&["run", "study.toml"], says("outcome.json", "", "delete"));
        bench.refuse(&["ls", "--rebuild"], says("outcome.json", "", "delete"));
    }
    fs::remove_file(&outcome).unwrap();
    bench.succeed(&["run", "study.toml"]);
    assert!(outcome.exists());
}

#[test]
fn a_contract_that_was_edited_or_cut_is_refused() {
    let bench = Bench::new();
    bench.succeed(&["run", "study.toml"]);
    let studies = fs::read_dir(bench.path("home/studies")).unwrap();
    let contract = studies.map(|s| s.unwrap().path()).next().unwrap();
    let contract = contract.join("contract.json");
    let text = fs::read_to_string(&contract).unwrap();
    let edited = text.replacen("0.1", "0.2", 1);
    assert_ne!(edited, text);
    for damaged in [edited.as_str(), &text[..text.len() / 2], ""] {
        fs::write(&contract, damaged).unwrap();
        for args in [
            &["run", "study.toml"][..],
            &["report", "study"],
            &["show", "study"],
        ] {
            bench.refuse(args, says("contract.json", "", ""));
        }
    }
}

#[test]
fn a_corpus_file_cut_short_is_refused_and_removing_its_folder_helps() {
    let bench = Bench::new();
    bench.succeed(&["train", "recipe.toml"]);
    fs::remove_dir_all(bench.path("home/runs")).unwrap();
    fs::remove_file(bench.path("home/ledger.sqlite")).unwrap();
    let corpora = fs::read_dir(bench.path("home/corpora")).unwrap();
    let folder = corpora.map(|c| c.unwrap().path()).next().unwrap();
    for name in ["tokens.bin", "documents.bin", "manifest.json"] {
        let whole = fs::read(folder.join(name)).unwrap();
        for keep in [0, whole.len() / 2, whole.len() - 1] {
            if name == "manifest.json" && keep == whole.len() - 1 {
                continue; // The last byte is a line's end.
            }
            fs::write(folder.join(name), &whole[..keep]).unwrap();
            bench.refuse(
                &["train", "recipe.toml"],
                says(name, "", "delete the folder"),
            );
        }
        fs::write(folder.join(name), &whole).unwrap();
    }
    fs::remove_dir_all(&folder).unwrap();
    bench.succeed(&["train", "recipe.toml"]);
}

#[test]
fn a_home_in_use_by_another_process_is_refused_with_its_number() {
    let bench = Bench::new();
    let lock = Home::lock(&bench.path("home")).unwrap();
    let me = format!("in use by process {}", std::process::id());
    for args in [
        &["run", "study.toml"][..],
        &["train", "recipe.toml"],
        &["data", "add", "words.txt", "more"],
        &["ls", "--rebuild"],
    ] {
        bench.refuse(args, says("home", &me, "choose another --home"));
    }
    // Reading needs no lock.
    bench.succeed(&["ls"]);
    drop(lock);
    bench.succeed(&["train", "recipe.toml"]);
}

#[test]
fn a_home_held_by_a_run_of_the_program_itself_is_refused_until_it_is_gone() {
    let bench = Bench::new();
    let long = [
        "train",
        "recipe.toml",
        "budget.steps=1000000",
        "eval.every=0",
    ];
    let mut running = bench.command(&long);
    let mut running = running
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !bench.path("home/runs").exists() {
        assert!(running.try_wait().unwrap().is_none(), "the run ended");
        sleep(Duration::from_millis(5));
    }
    // Its own files grow meanwhile, so only the message is looked at here.
    let output = bench.command(&["run", "study.toml"]).output().unwrap();
    let me = format!("in use by process {}", running.id());
    crate::Message::of(&output).check(&says("home", &me, "wait"));
    assert!(!bench.path("home/studies").exists());
    running.kill().unwrap();
    running.wait().unwrap();
    bench.succeed(&["run", "study.toml"]);
}
