//! `kill -9` at random moments of a study, twenty times: nothing is lost and nothing runs twice.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/events.rs"]
mod events;
mod support;

use clock::verdict_without_clock;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use support::records_without_clock;
use tempfile::TempDir;
use windtunnel::{home::Home, metrics::Outcome, rng::Rng, run_dir::RunDir, study::ledger::Ledger};

const KILLS: usize = 20;

const RECIPE: &str = r#"
seed = 1
[data]
tokenizer = "char"
mixture = [{ corpus = "tales" }, { corpus = "sums" }]
[model]
n_layer = 2
n_head = 4
n_embd = 64
block_size = 64
dropout = 0.1
[batch]
rows = 8
[budget]
steps = 150
[eval]
every = 40
windows = 60
[checkpoint]
every = 10
"#;

const STUDY: &str = r#"
name = "killed"
base = "recipe.toml"
[hypothesis]
claim = "A tenth of the rate is worse."
[decision]
margin = 0.05
seeds = 3
[arms.plain]
control = true
[arms.slow]
factor = "optimizer.lr"
set = { "optimizer.lr" = 1e-4 }
"#;

fn start(folder: &Path, home: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .args([
            "run",
            "study.toml",
            "--json",
            "--jobs",
            "2",
            "--threads",
            "1",
        ])
        .args(["--device", "cpu", "--home"])
        .arg(home)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn run_dirs(home: &Path) -> Vec<RunDir> {
    let ids = Home::runs(home).into_iter();
    ids.map(|id| RunDir::new(home.join("runs").join(id)))
        .collect()
}

fn verdict(home: &Path) -> PathBuf {
    let study = fs::read_dir(home.join("studies")).unwrap().next().unwrap();
    study.unwrap().path().join("verdict.json")
}

fn timeless(path: &Path) -> serde_json::Value {
    let text = fs::read_to_string(path).unwrap();
    verdict_without_clock(&serde_json::from_str(&text).unwrap())
}

/// Every scalar of every trial's event file, but for speeds, which the clock decides.
fn scalars(home: &Path) -> BTreeMap<PathBuf, Vec<(u64, String, f32)>> {
    let of_run = |dir: &RunDir| {
        let events = events::read(dir.path()).into_iter();
        let scalars = events.map(|(_, step, tag, value)| (step, tag, value));
        let timeless = scalars.filter(|(_, tag, _)| !tag.ends_with("tokens_per_second"));
        let id = dir.path().file_name().unwrap().into();
        (id, timeless.collect())
    };
    run_dirs(home).iter().map(of_run).collect()
}

/// Every record of every trial without its wall-clock, and how it ended.
fn numbers(home: &Path) -> BTreeMap<PathBuf, (Vec<String>, String)> {
    let of_run = |dir: &RunDir| {
        let outcome: Outcome = dir.outcome().unwrap().unwrap();
        let ending = serde_json::to_string(&outcome.ending).unwrap();
        let id = dir.path().file_name().unwrap().into();
        (id, (records_without_clock(dir), ending))
    };
    run_dirs(home).iter().map(of_run).collect()
}

#[test]
fn a_study_killed_twenty_times_ends_with_the_same_verdict_and_the_same_bits() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
    fs::write(folder.path().join("study.toml"), STUDY).unwrap();

    let undisturbed = folder.path().join("undisturbed");
    let begun = Instant::now();
    let mut child = start(folder.path(), &undisturbed);
    while run_dirs(&undisturbed).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no trial began");
        sleep(Duration::from_millis(5));
    }
    let startup = begun.elapsed();
    assert!(child.wait().unwrap().success());

    // Moments from the first instruction to a little after the first steps, so that there is work
    // left for twenty lives.
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    println!("seed of the moments: {seed}");
    let mut rng = Rng::named(seed, "test.kill");
    let killed = folder.path().join("killed");
    let (mut kills, mut in_training) = (0, 0);
    // Outcomes as they were first seen; they hold seconds, so that a second run would show.
    let mut finished: BTreeMap<PathBuf, String> = BTreeMap::new();
    while kills < KILLS {
        let mut child = start(folder.path(), &killed);
        let span = startup + Duration::from_millis(150);
        sleep(span.mul_f64(0.2 + 0.8 * rng.uniform()));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let unfinished = |dir: &RunDir| !dir.path().join("outcome.json").exists();
        in_training += usize::from(run_dirs(&killed).iter().any(unfinished));
        for dir in run_dirs(&killed) {
            let path = dir.path().join("outcome.json");
            if let Ok(text) = fs::read_to_string(&path) {
                finished.entry(path).or_insert(text);
            }
        }
    }
    assert_eq!(kills, KILLS, "the study ended before the last kill");
    assert!(in_training > 0, "no kill met a trial in training");
    assert!(start(folder.path(), &killed).wait().unwrap().success());

    assert!(numbers(&undisturbed) == numbers(&killed), "seed {seed}");
    let [expected, seen] = [&undisturbed, &killed].map(|home| scalars(home));
    assert!(expected.values().all(|events| events.len() > 150 * 3));
    assert!(expected == seen, "event files, seed {seed}");
    let verdicts = [&undisturbed, &killed].map(|home| timeless(&verdict(home)));
    assert_eq!(verdicts[0], verdicts[1], "seed {seed}");
    println!(
        "{} trials were finished before the last kill",
        finished.len()
    );
    for (path, text) in finished {
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            text,
            "{}",
            path.display()
        );
    }
    for dir in run_dirs(&killed) {
        let kinds: Vec<String> = dir.events().into_iter().map(|event| event.kind).collect();
        let finishes = kinds.iter().filter(|kind| *kind == "finish").count();
        // A kill between the outcome and its event leaves none; never two, and nothing after it.
        assert!(finishes <= 1, "{}: {kinds:?}", dir.path().display());
        if finishes == 1 {
            assert_eq!(kinds.last().unwrap(), "finish", "{}", dir.path().display());
        }
    }
    // The ledger says what the folders say, and says it again when made from them alone.
    let kept = Ledger::read(&killed).unwrap();
    let (studies, trials) = (kept.studies().unwrap(), kept.trials().unwrap());
    assert_eq!((studies.len(), trials.len()), (1, 6));
    fs::remove_file(killed.join("ledger.sqlite")).unwrap();
    let rebuilt = Ledger::rebuild(&killed).unwrap();
    assert_eq!(rebuilt.studies().unwrap(), studies);
    assert_eq!(rebuilt.trials().unwrap(), trials);
}
