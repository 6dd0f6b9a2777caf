//! A full disk, as a limit on the size of every file: what was saved stays, and the next try ends
//! as an undisturbed one does.

use crate::{Bench, Message, clock::verdict_without_clock, says};
use serde_json::Value;
use std::process::{Command, Output};

const REMEDY: &str = "free disk space";

/// A command under a limit on what it may write to one file. The limit fails writes in the middle,
/// as a full disk does; the signal that goes with it is ignored.
fn limited(bench: &Bench, bytes: usize, args: &[&str]) -> Output {
    let script = format!(
        "trap '' XFSZ; ulimit -f {}; exec \"$@\"",
        bytes.div_ceil(512)
    );
    Command::new("sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_windtunnel")])
        .args(args)
        .args(["--home", "home", "--device", "cpu", "--json"])
        .current_dir(bench.folder.path())
        .output()
        .unwrap()
}

/// A study's verdict without its cost in seconds.
fn verdict(run: &Value) -> Value {
    verdict_without_clock(&run["verdict"])
}

#[test]
fn a_study_on_a_full_disk_says_so_and_goes_on_when_there_is_room() {
    let undisturbed = Bench::new();
    let expected = undisturbed.succeed(&["run", "study.toml"]);
    let bench = Bench::new();
    let mut refused = 0;
    for bytes in [0, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131_072] {
        let output = limited(&bench, bytes, &["run", "study.toml"]);
        if output.status.success() {
            continue;
        }
        refused += 1;
        Message::of(&output).check(&says("home", "", REMEDY));
        assert!(no_leftovers(&bench), "after {bytes} bytes");
    }
    assert!(refused >= 5, "{refused} limits were felt");
    let run = bench.succeed(&["run", "study.toml"]);
    assert_eq!(verdict(&run), verdict(&expected));
    assert_eq!(
        bench.succeed(&["ls", "--rebuild"])["studies"],
        undisturbed.succeed(&["ls"])["studies"]
    );
}

/// No half-written neighbour of any file.
fn no_leftovers(bench: &Bench) -> bool {
    let names = bench.bytes().into_keys();
    let mut endings = names.filter_map(|path| Some(path.extension()?.to_str()?.to_string()));
    !endings.any(|ending| ending == "tmp" || ending == "new")
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let bench = Bench::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
    command
        .args(["train", "recipe.toml", "--device", "cpu", "--json"])
        .args([
            "data.mixture=[{corpus=\"tales\"}]",
            "--home",
            "/proc/windtunnel",
        ])
        .current_dir(bench.folder.path());
    bench.refuse_command(&mut command, says("/proc/windtunnel", "", ""));
}
