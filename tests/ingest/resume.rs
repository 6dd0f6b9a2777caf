//! An ingestion that is killed goes on where it stopped, and ends with the same bits.

use crate::{Bench, documents, everything, gz, jsonl, on_disk, text, zst};
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use windtunnel::{
    data::{
        Corpus, Library, Tokenizer,
        ingest::{Progress, Settings, silent},
    },
    error::{Error, Result},
    rng::Rng,
};

/// The files of the only corpus of a home, by name.
fn made(home: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = everything(&home.join("corpora")).into_iter();
    let name = |path: PathBuf| path.strip_prefix(home).unwrap().to_path_buf();
    files.map(|(path, bytes)| (name(path), bytes)).collect()
}

fn open(
    from: &Path,
    into: &Path,
    name: &str,
    settings: &Settings,
    watch: &mut windtunnel::data::ingest::Watch,
) -> Result<()> {
    let source = Library::new(from).source(name, &mut |_, _| {})?;
    Corpus::open_with(into, &source, &Tokenizer::Byte, settings, watch).map(|_| ())
}

/// A bench with corpora of every form that is read in another way.
fn bench() -> (Bench, [&'static str; 5]) {
    let bench = Bench::new();
    let all = documents(500);
    bench.write("rows/a.jsonl", jsonl(&all[..100]));
    bench.write("rows/b.jsonl.gz", gz(jsonl(&all[100..300]).as_bytes()));
    bench.write("rows/c.jsonl.zst", zst(jsonl(&all[300..]).as_bytes()));
    bench.write("texts/a.txt", text(200));
    bench.write("texts/b.txt.gz", gz(text(300).as_bytes()));
    bench.write(
        "lines/a.txt.gz",
        gz(text(300).replace("\n\n", "\n").as_bytes()),
    );
    bench.write("runs.txt.gz", gz(text(300).replace('\n', " ").as_bytes()));
    bench.add("rows", "rows").unwrap();
    bench.add("texts", "texts").unwrap();
    bench.add("lines/*", "lines").unwrap();
    bench.add("runs.txt.gz", "runs").unwrap();
    bench.write("ids.bin", text(400).replace(|c: char| !c.is_ascii(), "?"));
    let mut ids = crate::to_add(bench.path("ids.bin"));
    // Two bytes an id, of which the higher must be 0 for the tokenizer of bytes.
    let low: Vec<u8> = fs::read(bench.path("ids.bin")).unwrap();
    bench.write(
        "ids.bin",
        low.iter().flat_map(|b| [*b, 0]).collect::<Vec<u8>>(),
    );
    ids.tokenizer = Some(("byte".into(), Tokenizer::Byte));
    let added = bench.addition("ids", &ids).unwrap().added;
    bench.library.add("ids", &added).unwrap();
    (bench, ["rows", "texts", "lines", "runs", "ids"])
}

#[test]
fn an_ingestion_that_stops_anywhere_goes_on_and_ends_with_the_same_bits() {
    let (bench, names) = bench();
    for name in names {
        let (whole, stopped) = (
            bench.path(&format!("w-{name}")),
            bench.path(&format!("s-{name}")),
        );
        open(&bench.home(), &whole, name, &on_disk(), &mut silent).unwrap();
        let mut rng = Rng::named(3, name);
        let (mut stops, mut begun) = (0, Vec::new());
        loop {
            // A few chunks a life, of other sizes and on other threads each time.
            let mut left = 1 + rng.below(9);
            let mut first = None;
            let settings = Settings {
                chunk_bytes: 200 + rng.below(2000) as usize,
                save_bytes: 1 + rng.below(4000),
                threads: 1 + rng.below(4) as usize,
                ..on_disk()
            };
            let mut watch = |progress: &Progress| -> Result<()> {
                if progress.doing != "tokenise" {
                    return Ok(());
                }
                first.get_or_insert(progress.done);
                left -= 1;
                match left {
                    0 => Err(Error::failed("the test", "stop", "go on")),
                    _ => Ok(()),
                }
            };
            let result = open(&bench.home(), &stopped, name, &settings, &mut watch);
            begun.extend(first);
            match result {
                Ok(()) => break,
                Err(error) => assert_eq!(error.problem, "stop", "{error}"),
            }
            stops += 1;
            assert!(stops < 2000, "{name} never ends");
        }
        assert!(stops > 3, "{name}: {stops}");
        assert!(begun.is_sorted(), "{name} went back: {begun:?}");
        assert!(made(&stopped) == made(&whole), "{name}");
        assert!(
            made(&whole)
                .keys()
                .all(|path| !path.to_string_lossy().contains("building"))
        );
    }
}

const INTO: &str = "WINDTUNNEL_TEST_INGEST_INTO";
const FROM: &str = "WINDTUNNEL_TEST_INGEST_FROM";

/// What a child of the next test does: ingests slowly.
#[test]
fn child_of_the_test_that_kills() {
    let (Some(from), Some(into)) = (env::var_os(FROM), env::var_os(INTO)) else {
        return;
    };
    let mut slowly = |_: &Progress| -> Result<()> {
        sleep(Duration::from_micros(500));
        Ok(())
    };
    open(
        from.as_ref(),
        into.as_ref(),
        "rows",
        &on_disk(),
        &mut slowly,
    )
    .unwrap();
}

#[test]
fn an_ingestion_killed_again_and_again_ends_with_the_same_bits() {
    let (bench, _) = bench();
    let (whole, killed) = (bench.path("whole"), bench.path("killed"));
    open(&bench.home(), &whole, "rows", &on_disk(), &mut silent).unwrap();
    let child = || {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["ingest::resume::child_of_the_test_that_kills", "--exact"])
            .env(FROM, bench.home())
            .env(INTO, &killed)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let building = || {
        let folders = fs::read_dir(killed.join("corpora")).into_iter().flatten();
        folders
            .filter_map(|entry| Some(entry.ok()?.path().join("state.json")))
            .find(|p| p.exists())
    };
    let mut rng = Rng::named(std::process::id().into(), "moments");
    let mut kills = 0;
    for _ in 0..60 {
        let mut child = child();
        let begun = Instant::now();
        // Once it is at it, a few milliseconds more.
        while building().is_none() && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            sleep(Duration::from_micros(300));
        }
        sleep(Duration::from_millis(rng.below(30)));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    println!("{kills} kills");
    assert!(kills >= 3, "{kills} kills");
    open(&bench.home(), &killed, "rows", &on_disk(), &mut silent).unwrap();
    assert!(made(&killed) == made(&whole), "after {kills} kills");
}

#[test]
fn a_bad_row_far_in_leaves_no_corpus_and_a_changed_text_begins_anew() {
    let (bench, _) = bench();
    let into = bench.path("into");
    let source = bench.source("rows").unwrap();
    // Behind our back, of the same length: only reading shows it.
    let good = fs::read(bench.path("rows/a.jsonl")).unwrap();
    Corpus::open_with(
        &bench.path("scan"),
        &source,
        &Tokenizer::Byte,
        &on_disk(),
        &mut silent,
    )
    .unwrap();
    let mut bad = good.clone();
    let at = bad.len() - 20;
    bad[at..at + 2].copy_from_slice(b"\"\"");
    fs::create_dir_all(into.join("corpora")).unwrap();
    let scans = bench.path("scan/corpora/scans");
    fs::create_dir_all(into.join("corpora/scans")).unwrap();
    for entry in fs::read_dir(scans).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(
            &path,
            into.join("corpora/scans").join(path.file_name().unwrap()),
        )
        .unwrap();
    }
    fs::write(bench.path("rows/a.jsonl"), bad).unwrap();
    let error =
        Corpus::open_with(&into, &source, &Tokenizer::Byte, &on_disk(), &mut silent).unwrap_err();
    assert!(error.place.ends_with("a.jsonl:100"), "{error}");
    let made = everything(&into.join("corpora"));
    assert!(!made.iter().any(|(path, _)| path.ends_with("manifest.json")));
    fs::write(bench.path("rows/a.jsonl"), good).unwrap();
    Corpus::open_with(&into, &source, &Tokenizer::Byte, &on_disk(), &mut silent).unwrap();
}

#[test]
fn two_processes_do_not_make_one_corpus_at_once() {
    let (bench, _) = bench();
    let into = bench.path("into");
    let source = bench.source("rows").unwrap();
    let mut seen = None;
    let mut watch = |progress: &Progress| -> Result<()> {
        if progress.doing == "tokenise" && seen.is_none() {
            let again =
                Corpus::open_with(&into, &source, &Tokenizer::Byte, &on_disk(), &mut silent);
            seen = Some(again.unwrap_err());
        }
        Ok(())
    };
    Corpus::open_with(&into, &source, &Tokenizer::Byte, &on_disk(), &mut watch).unwrap();
    let error = seen.unwrap();
    assert!(error.problem.contains("another process"), "{error}");
}
