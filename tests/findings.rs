//! Findings through the binary: numbers come from the ledger, and nothing else gets in.

#[path = "support/bench.rs"]
mod bench;

use bench::SLOW;
use serde_json::Value;
use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
};

/// A home with a study of one arm that came out worse, and one of two arms, of which one is the control
/// again.
struct Bench(bench::Bench);

impl Deref for Bench {
    type Target = bench::Bench;

    fn deref(&self) -> &bench::Bench {
        &self.0
    }
}

impl Bench {
    fn new() -> Self {
        let bench = bench::Bench::new();
        bench.study("one.toml", "margin = 0.1\nseeds = 3", SLOW);
        let again = "[arms.again]\nfactor = \"none\"\n";
        bench.study(
            "two.toml",
            "margin = 0.1\nseeds = 3",
            &format!("{SLOW}\n{again}"),
        );
        for study in ["one.toml", "two.toml"] {
            bench.json(&["run", study]);
        }
        Self(bench)
    }

    /// The error that refuses a finding, which must leave nothing behind.
    fn refused(&self, study: &str, text: &str) -> Value {
        let before = self.findings(study);
        let output = self.run(&["finding", study, "--text", text, "--json"]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert_eq!(self.findings(study), before, "{text}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn findings(&self, study: &str) -> Value {
        self.json(&["finding", study])["findings"].clone()
    }

    fn study(&self, start: &str) -> PathBuf {
        let studies = self.folder.path().join("home/studies");
        let found = fs::read_dir(studies).unwrap().map(|e| e.unwrap().path());
        let starts = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with(start)
        };
        found.into_iter().find(starts).unwrap()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_finding_holds_the_ledgers_numbers_and_is_kept_with_what_it_rests_on() {
    let bench = Bench::new();
    let verdict: Value =
        serde_json::from_str(&read(&bench.study("one").join("verdict.json"))).unwrap();
    let effect = &verdict["arms"][0]["effect"];
    let mean = effect["mean"].as_f64().unwrap();

    let template = "At `optimizer.lr = 0.00001` the arm slow is worse by {{verdict.size}}\n\
        ({{verdict.confidence}} interval {{verdict.interval}}, {{verdict.n}} paired seeds), as GPT-2 in bf16 \
        would be, against {{contract.control.optimizer.lr}} of plain; {{study:two.verdict.slow.effect}} in \
        another study.";
    let kept = bench.json(&["finding", "one", "--text", template]);
    let text = kept["text"].as_str().unwrap();
    assert!(
        text.contains(&format!("worse by {mean:.4} bits per byte")),
        "{text}"
    );
    let (low, high) = (
        effect["low"].as_f64().unwrap(),
        effect["high"].as_f64().unwrap(),
    );
    assert!(
        text.contains(&format!(
            "95% interval {low:+.4} to {high:+.4} bits per byte, 3 paired"
        )),
        "{text}"
    );
    assert!(text.contains("against 0.003 of plain"), "{text}");
    assert!(!text.contains("{{"), "{text}");
    assert_eq!(kept["template"], template);
    assert_eq!(kept["rests_on"].as_object().unwrap().len(), 2);

    // Again: the same finding, not another. Another text: another number.
    assert_eq!(bench.json(&["finding", "one", "--text", template]), kept);
    fs::write(
        bench.folder.path().join("f.md"),
        "The call is {{verdict.call}}.",
    )
    .unwrap();
    let second = bench.json(&["finding", "one", "--file", "f.md"]);
    assert_eq!(
        (&second["number"], &second["text"]),
        (&2.into(), &"The call is worse.".into())
    );
    assert!(read(&bench.study("one").join("findings/2.md")).contains("The call is worse."));

    // The study's report and page show them.
    for page in ["report.md", "report.html"] {
        let page = read(&bench.study("one").join(page));
        assert!(page.contains("The call is worse.") && page.contains(&format!("{mean:.4}")));
    }

    // Every listed key fills in as it is listed.
    let keys = bench.json(&["finding", "one", "--keys"]);
    for entry in keys["keys"].as_array().unwrap() {
        let (key, value) = (
            entry["key"].as_str().unwrap(),
            entry["value"].as_str().unwrap(),
        );
        let check = bench.json(&[
            "finding",
            "one",
            "--check",
            "--text",
            &format!("So: {{{{{key}}}}}"),
        ]);
        assert_eq!(check["text"], format!("So: {value}"));
    }
    assert_eq!(
        bench.findings("one").as_array().unwrap().len(),
        2,
        "checks write nothing"
    );

    // A verdict that changed makes what rests on it stale.
    assert!(bench.findings("one")[0]["stale"].is_null());
    let path = bench.study("two").join("verdict.json");
    fs::write(
        &path,
        read(&path).replacen("\"seeds\": 3", "\"seeds\": 2", 1),
    )
    .unwrap();
    let findings = bench.findings("one");
    assert!(
        findings[0]["stale"]
            .as_str()
            .unwrap()
            .contains("has changed")
    );
    assert!(findings[1]["stale"].is_null());
    // And a verdict that is not what its outcomes say fills in nothing.
    let error = bench.refused("two", "The call is {{verdict.slow.call}}.");
    assert!(
        error["problem"]
            .as_str()
            .unwrap()
            .contains("not what the outcomes say")
    );
}

#[test]
fn what_is_not_from_the_ledger_the_library_or_the_verdict_is_refused_with_its_place() {
    let bench = Bench::new();
    for (text, place, token) in [
        ("It is worse by 0.25.", "1:16", "0.25"),
        ("It is worse,\nby 5%.", "2:4", "5%"),
        ("Twice as bad.", "1:1", "Twice"),
        ("Worse by {{verdict.effct}}.", "1:12", "verdict.effect"),
        ("Worse by {{verdict.size}}%.", "1:12", "after the key"),
        ("Worse by -{{verdict.effect}}.", "1:13", "before the key"),
        ("Worse, as [@nobody2099] says.", "1:13", "nobody2099"),
        ("It improves the loss.", "1:4", "improves"),
        ("There is no difference.", "1:13", "no difference"),
        ("Set `optimizer.lr = 0.5`.", "1:21", "0.5"),
        ("As https://example.org says.", "1:4", "example.org"),
        ("An {{study:nope.verdict.effect}}.", "1:6", "nope"),
        ("A tw\u{200b}ice.", "1:5", "U+200B"),
        ("Not {{closed.", "1:5", "not closed"),
        ("  \n", "", "characters"),
    ] {
        let error = bench.refused("one", text);
        let (at, problem) = (
            error["place"].as_str().unwrap(),
            error["problem"].as_str().unwrap(),
        );
        let remedy = error["remedy"].as_str().unwrap();
        assert!(at.ends_with(place), "{text}: {at}");
        assert!(
            problem.contains(token) || remedy.contains(token),
            "{text}: {problem} {remedy}"
        );
        assert!(remedy.len() > 10, "{text}");
    }
    // All faults at once.
    let problem = bench.refused("one", "By 1.5 and 2.5, twice.")["problem"].to_string();
    for token in ["1.5", "2.5", "twice"] {
        assert!(problem.contains(token), "{problem}");
    }
    // Of several arms a key names one, and a sentence is about those that it names.
    let error = bench.refused("two", "Worse by {{verdict.effect}}.");
    assert!(
        error["problem"]
            .as_str()
            .unwrap()
            .contains("verdict.ARM.effect"),
        "{error}"
    );
    bench.refused("two", "The arm again is worse.");
    bench.json(&[
        "finding",
        "two",
        "--text",
        "slow is worse by {{verdict.slow.size}}. again is equivalent.",
    ]);
    // A study that nobody ran, a folder that somebody brings, and a citation that is there.
    for study in ["three", "", "../home/studies", "home/studies"] {
        let output = bench.run(&["finding", study, "--text", "Hello."]);
        assert_eq!(output.status.code(), Some(2), "{study}");
    }
    let library = bench.json(&["lit", "list"]);
    let key = library["records"][0]["key"].as_str().unwrap();
    let kept = bench.json(&[
        "finding",
        "one",
        "--text",
        &format!("As expected [@{key}]."),
    ]);
    assert_eq!(kept["citations"], serde_json::json!([key]));
}

#[test]
fn findings_written_at_the_same_time_are_all_kept() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for name in ["alpha", "beta", "gamma", "delta"] {
            let bench = &bench;
            scope.spawn(move || {
                bench.json(&[
                    "finding",
                    "one",
                    "--text",
                    &format!("{name} says {{{{verdict.call}}}}."),
                ]);
            });
        }
    });
    let findings = bench.findings("one");
    let numbers: Vec<u64> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|kept| kept["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}
