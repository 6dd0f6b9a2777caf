//! The same result whatever the threads, and nothing half-made after a kill or on a full disk.

use crate::{Bench, both, built_in, edited, everything, speeches};
use std::{
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use windtunnel::{data::ingest::Settings, rng::Rng};

/// Rows of which a third come again with some words changed.
fn rows() -> Vec<String> {
    let mut documents = built_in("tales", 200_000);
    let vocabulary = speeches(10);
    let mut rng = Rng::named(2, "rows");
    for i in 0..documents.len() / 2 {
        let percent = 3 + i % 60;
        documents.push(edited(&documents[i], percent, &vocabulary, &mut rng));
    }
    documents
}

#[test]
fn threads_and_chunks_change_nothing() {
    let bench = Bench::new();
    bench.add_rows("raw", &rows());
    let mut records = Vec::new();
    for (threads, chunk_bytes) in [(1, 4 << 20), (2, 4 << 20), (5, 1000), (3, 50_000)] {
        let settings = Settings {
            threads,
            chunk_bytes,
            ..Settings::default()
        };
        let name = format!("t{threads}");
        let mut record = bench
            .clean_with(("raw", &name), &both(), &settings)
            .unwrap();
        record.corpus = String::new();
        records.push(record);
    }
    assert!(records[0].documents.kept.sum() < records[0].documents.read.sum());
    for record in &records {
        assert_eq!(record, &records[0]);
    }
}

#[test]
fn a_kill_in_the_middle_leaves_no_corpus_and_the_next_try_is_undisturbed() {
    let bench = Bench::new();
    let rows = rows();
    let many: Vec<String> = (0..12)
        .flat_map(|i| rows.iter().map(move |text| format!("{i} {text} {}", i * i)))
        .collect();
    bench.add_rows("raw", &many);
    let args = ["data", "clean", "raw", "clean", "--dedup", "exact,near"];
    let building = bench.path("home/clean/.clean.building");
    let mut killed = 0;
    for wait in 0..6 {
        let mut child = bench.command(&args).stdout(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while !building.exists() && started.elapsed() < Duration::from_secs(20) {
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_millis(15 * wait));
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        if ended.success() {
            break;
        }
        killed += 1;
        let listed = bench.succeed(&["data", "list"]);
        let has = |name: &str| {
            let listed = listed["corpora"].as_array().unwrap();
            listed.iter().any(|corpus| corpus["name"] == name)
        };
        assert!(has("raw"));
        if has("clean") {
            break;
        }
    }
    assert!(killed > 0, "it was too quick");
    let record = match bench.path("home/sources/clean.toml").exists() {
        true => bench.succeed(&["data", "clean", "raw", "clean2", "--dedup", "exact,near"]),
        false => bench.succeed(&args),
    };
    assert!(!building.exists(), "what was left is gone");
    let fresh = Bench::new();
    fresh.add_rows("raw", &many);
    assert_eq!(record["sha256"], fresh.succeed(&args)["sha256"]);
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let bench = Bench::new();
    bench.add_rows("raw", &rows());
    let before = everything(&bench.path("home"));
    let mut refused = 0;
    // In blocks of 512 bytes.
    for blocks in [1, 8, 64, 256] {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_windtunnel")])
            .args([
                "data", "clean", "raw", "clean", "--dedup", "near", "--home", "home",
            ])
            .current_dir(bench.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("free disk space"), "{said}");
        let mut after = everything(&bench.path("home"));
        after.retain(|(path, _)| !path.ends_with("lock"));
        assert_eq!(after, before);
        refused += 1;
    }
    assert_eq!(refused, 4);
}
