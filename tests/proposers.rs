//! Predictions against verdicts, baselines that propose, and reports on several studies.

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, SLOW};
use serde_json::Value;
use std::{collections::BTreeMap, fs};
use windtunnel::{
    claude::{
        baselines::{By, Seen, Space, choose, propose},
        score::{self, Standing},
    },
    rng::Rng,
    stats::paired::paired,
    study::{judged, proposal::Direction, verdict::Call},
};

const DECISION: &str = "margin = 0.1\nseeds = 3";
const AGAIN: &str = "[arms.again]\nfactor = \"none\"";

/// Writes a study with a proposer and a prediction, and runs it.
fn judged_study(bench: &Bench, file: &str, by: (&str, &str), arms: &str) -> Value {
    decided_by(bench, file, by, (DECISION, arms))
}

fn decided_by(
    bench: &Bench,
    file: &str,
    (proposer, prediction): (&str, &str),
    (decision, arms): (&str, &str),
) -> Value {
    bench.study(file, decision, arms);
    let text = fs::read_to_string(bench.path(file)).unwrap();
    let text = text
        .replace(
            "[hypothesis]",
            &format!("proposer = \"{proposer}\"\n[hypothesis]"),
        )
        .replace(
            "[decision]",
            &format!("prediction = {prediction}\n[decision]"),
        );
    bench.write(file, &text);
    bench.json(&["run", file])
}

fn of<'a>(scores: &'a Value, proposer: &str) -> &'a Value {
    let all = scores["proposers"].as_array().unwrap().iter();
    let mut found = all.filter(|p| p["proposer"] == proposer);
    found.next().unwrap()
}

#[test]
fn predictions_are_scored_by_proposer_once_the_verdict_is_in() {
    let bench = Bench::new();
    let none = bench.json(&["proposers"]);
    assert_eq!(none["proposers"].as_array().unwrap().len(), 0);

    let right = "{ direction = \"worse\", effect = 0.5, confidence = 0.8, interval = [0.1, 9.0] }";
    let wrong = "{ direction = \"better\", effect = 0.5, confidence = 0.9 }";
    judged_study(&bench, "a.toml", ("ann", right), SLOW);
    let run = judged_study(&bench, "b.toml", ("bob", wrong), SLOW);
    judged_study(&bench, "c.toml", ("ann", wrong), AGAIN);
    bench.study("d.toml", DECISION, AGAIN);
    bench.json(&["run", "d.toml"]);

    let scores = bench.json(&["proposers"]);
    let (ann, bob) = (of(&scores, "ann"), of(&scores, "bob"));
    // Worse at 80% that came: 0.2² + 2·0.1². Better at 90% that came worse or equivalent: 0.9² + 0.95² + 0.05².
    let brier_right = 0.04 + 2.0 * 0.01;
    let brier_wrong = 0.81 + 0.95f64.powi(2) + 0.05f64.powi(2);
    let near = |value: &Value, want: f64| (value.as_f64().unwrap() - want).abs() < 1e-12;
    assert!(near(&bob["brier"], brier_wrong), "{bob}");
    assert!(
        near(&ann["brier"], (brier_right + brier_wrong) / 2.0),
        "{ann}"
    );
    assert!(near(&bob["skill"], 1.0 - brier_wrong * 1.5));
    assert_eq!(
        (&ann["studies"], &ann["scored"], &ann["unscored"]),
        (&2.into(), &2.into(), &0.into())
    );
    assert_eq!(of(&scores, "human")["unscored"], 1);
    assert_eq!(of(&scores, "human")["standing"], "nothing_scored");
    // Two verdicts tell nobody from a guess.
    assert_eq!(ann["standing"], "too_few_to_tell");
    // The interval that was stated: its width, where the effect is inside.
    let effect = run["verdict"]["arms"][0]["effect"]["mean"]
        .as_f64()
        .unwrap();
    assert!((0.1..9.0).contains(&effect));
    let each = scores["predictions"].as_array().unwrap();
    let first = each
        .iter()
        .find(|p| p["study"].as_str().unwrap().starts_with("a-"))
        .unwrap();
    assert!(
        near(&first["interval_score"], 89.0) && first["inside"] == true,
        "{first}"
    );
    // Both predicted the same comparison, and one comparison decides nothing.
    let duel = &scores["duels"][0];
    assert_eq!(duel["proposers"], serde_json::json!(["ann", "bob"]));
    assert_eq!(duel["questions"], 1);
    assert!(near(&duel["difference"], brier_right - brier_wrong) && duel["better"].is_null());

    let output = bench.run(&["proposers", "--each"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "too few to tell",
        "ann against bob",
        "worse by 0.5, 80% sure",
        "not scored (no prediction)",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // A verdict that somebody wrote over is left out, and named.
    let edited = bench
        .home()
        .join("studies")
        .join(run["study"].as_str().unwrap())
        .join("verdict.json");
    let text = fs::read_to_string(&edited).unwrap();
    fs::write(&edited, text.replace("\"worse\"", "\"better\"")).unwrap();
    let scores = bench.json(&["proposers"]);
    assert_eq!(scores["left_out"][0]["study"], run["study"]);
    assert_eq!(scores["proposers"].as_array().unwrap().len(), 2);
}

#[test]
fn skill_is_told_once_there_is_enough_of_it_and_calibration_beats_confidence() {
    let bench = Bench::new();
    let prediction = "{ direction = \"worse\", effect = 0.5, confidence = 0.7 }";
    judged_study(&bench, "a.toml", ("calibrated", prediction), SLOW);
    let (real, _) = judged::all(&bench.home());
    let real = &real[0];
    // 120 studies, of which 7 in 10 come as predicted; one proposer says so, the other is sure.
    let mut studies = Vec::new();
    for i in 0..120 {
        for (name, confidence) in [("calibrated", 0.7), ("overconfident", 0.99)] {
            let mut study = real.clone();
            study.at = i;
            study.contract.id = format!("s{i}-{name}");
            study.contract.terms.proposer = name.into();
            study.contract.terms.arms[0].trials.truncate(1);
            study.verdict.rule.margin = 0.1 + i as f64;
            let prediction = study.contract.terms.hypothesis.prediction.as_mut().unwrap();
            prediction.confidence = confidence;
            let calls = [Call::Worse, Call::Better, Call::Equivalent];
            study.verdict.arms[0].call = calls[[0, 0, 1, 0, 0, 2, 0, 0, 1, 0][i as usize % 10]];
            studies.push(study);
        }
    }
    let scores = score::of(&studies, &BTreeMap::from([("calibrated".to_string(), 2.5)]));
    let find = |name: &str| {
        scores
            .proposers
            .iter()
            .find(|p| p.proposer == name)
            .unwrap()
    };
    let (calibrated, sure) = (find("calibrated"), find("overconfident"));
    assert!(calibrated.brier.unwrap() < sure.brier.unwrap());
    assert_eq!(calibrated.standing, Standing::BetterThanGuessing);
    assert_eq!(calibrated.dollars, 2.5);
    assert_eq!(scores.duels[0].questions, 120);
    assert!(scores.duels[0].difference < 0.0);
    // Of the same studies the first five tell nothing yet.
    let few = score::of(&studies[..10], &BTreeMap::new());
    assert!(
        few.proposers
            .iter()
            .all(|p| p.standing == Standing::TooFewToTell)
    );
}

const SPACE: &str = r#"
name = "knobs"
base = "recipe.toml"
[decision]
margin = 0.1
seeds = 2
[limits]
device_minutes = 5
[vary]
"optimizer.lr" = { low = 1e-4, high = 1e-1 }
"optimizer.weight_decay" = { low = 0.0, high = 0.5, scale = "linear" }
"model.n_head" = [1, 2, 4]
"#;

#[test]
fn the_estimator_finds_better_points_of_a_noisy_function_than_chance_does() {
    let bench = Bench::new();
    bench.write("space.toml", SPACE);
    let space = Space::read(&bench.path("space.toml")).unwrap();
    // In margins; the rate has a valley at about 0.02, the others matter little.
    let truth = |path: &str, value: &toml::Value| match path {
        "optimizer.lr" => {
            let off = value.as_float().unwrap().log10() + 1.7;
            (4.0 * off * off - 3.0).min(6.0)
        }
        "optimizer.weight_decay" => 1.0 - 2.0 * value.as_float().unwrap(),
        _ => 0.5,
    };
    let best = |by: By, seed: u64| {
        let mut noise = Rng::named(seed, "test.noise");
        let mut seen: Vec<Seen> = Vec::new();
        let mut found = Vec::new();
        for step in 0..24 {
            let point = choose(&space, by, &seen, 1000 * seed + step).unwrap();
            let difference = truth(&point.path, &point.value);
            found.push(difference);
            seen.push(Seen {
                path: point.path,
                value: point.value,
                difference: difference + 0.5 * noise.normal(),
                call: Call::Inconclusive,
            });
        }
        // What the second half of the proposals was worth, on average.
        found[12..].iter().sum::<f64>() / 12.0
    };
    let differences: Vec<f64> = (0..40)
        .map(|seed| best(By::Tpe, seed) - best(By::Random, seed))
        .collect();
    let gain = paired(&differences, 0.99).unwrap();
    assert!(gain.high < 0.0, "{gain:?}");
}

#[test]
fn baselines_write_studies_that_run_learn_from_the_ledger_and_repeat_by_seed() {
    let bench = Bench::new();
    bench.write("space.toml", SPACE);
    let space = Space::read(&bench.path("space.toml")).unwrap();
    let home = bench.home();
    let first = propose(&home, &space, By::Random, 1).unwrap();
    assert_eq!(
        first.text,
        propose(&home, &space, By::Random, 1).unwrap().text
    );
    assert_ne!(
        first.text,
        propose(&home, &space, By::Random, 2).unwrap().text
    );
    assert_eq!(first.learned_from, 0);
    // Without a verdict every direction is as likely.
    assert!((first.prediction.confidence - 0.333).abs() < 1e-9);
    assert_eq!(first.prediction.direction, Direction::Equivalent);
    // As many as a study takes: whatever is drawn is well formed.
    for seed in 1..=6 {
        let by = if seed % 2 == 0 { By::Tpe } else { By::Random };
        let suggestion = propose(&home, &space, by, seed).unwrap();
        bench.write("proposed.toml", &suggestion.text);
        let plan = bench.json(&["plan", "proposed.toml"]);
        assert_eq!(
            plan["arms"].as_array().unwrap().len(),
            2,
            "{}",
            suggestion.text
        );
    }
    // Somebody else's studies of the same recipe teach it; of another recipe they do not.
    bench.study("slow.toml", DECISION, SLOW);
    bench.write("space2.toml", &SPACE.replace("1e-4", "1e-6"));
    bench.json(&["run", "slow.toml"]);
    let space = Space::read(&bench.path("space2.toml")).unwrap();
    let near = propose(&home, &space, By::Tpe, 1).unwrap();
    assert_eq!(near.learned_from, 1);
    bench.write(
        "space3.toml",
        &SPACE
            .replace("1e-4", "1e-6")
            .replace("[decision]", "[set]\n\"model.n_embd\" = 32\n[decision]"),
    );
    let other = Space::read(&bench.path("space3.toml")).unwrap();
    assert_eq!(propose(&home, &other, By::Tpe, 1).unwrap().learned_from, 0);
    // And the base rates are those of the ledger: worse, once.
    let rates = propose(&home, &space, By::Random, 1).unwrap().prediction;
    assert_eq!((rates.direction, rates.confidence), (Direction::Worse, 0.5));
}

#[test]
fn a_space_that_is_wrong_is_refused_with_its_line() {
    let bench = Bench::new();
    for (wrong, line, words) in [
        (
            SPACE.replace("low = 1e-4, high = 1e-1", "low = 1.0, high = 0.1"),
            10,
            "no range",
        ),
        (
            SPACE.replace("high = 0.5, scale = \"linear\"", "high = 0.5"),
            11,
            "linear",
        ),
        (SPACE.replace("[1, 2, 4]", "[]"), 12, "no values"),
        (SPACE.replace("[vary]", "[vari]"), 9, "unknown key"),
        (
            SPACE.replace("scale = \"linear\"", "scale = \"liner\""),
            11,
            "",
        ),
    ] {
        bench.write("space.toml", &wrong);
        let error = Space::read(&bench.path("space.toml")).unwrap_err();
        assert!(
            error.place.ends_with(&format!("space.toml:{line}")),
            "{error}"
        );
        assert!(error.to_string().contains(words), "{error}");
    }
    // All that there is was tried.
    let one =
        SPACE.split("[vary]").next().unwrap().to_string() + "[vary]\n\"model.n_head\" = [2]\n";
    bench.write("space.toml", &one);
    let space = Space::read(&bench.path("space.toml")).unwrap();
    let error = propose(&bench.home(), &space, By::Random, 1).unwrap_err();
    assert!(error.problem.contains("has been tried"), "{error}");
}

#[test]
fn a_campaigns_report_tells_what_was_tried_and_what_did_not_help() {
    let bench = Bench::new();
    bench.write(
        "campaign.toml",
        "name = \"rates of the tales\"\nstudies = 2\n",
    );
    // The error budget is shared, so that a study needs more seeds.
    let decision = "margin = 0.2\nseeds = 6";
    let prediction = "{ direction = \"better\", effect = 0.5, confidence = 0.6 }";
    let slow = decided_by(&bench, "slow.toml", ("ann", prediction), (decision, SLOW));
    decided_by(&bench, "again.toml", ("bob", prediction), (decision, AGAIN));
    let id = slow["study"].as_str().unwrap();
    bench.json(&[
        "finding",
        id,
        "--text",
        "A small rate raises the loss by {{verdict.size}}.",
    ]);

    let status = bench.json(&["campaign", ".", "--report"]);
    let read = |key: &str| fs::read_to_string(bench.path(status[key].as_str().unwrap())).unwrap();
    let (report, page) = (read("report"), read("page"));
    let headline = &slow["verdict"]["arms"][0]["effect"]["mean"]
        .as_f64()
        .unwrap();
    for text in [&report, &page] {
        for words in [
            "rates of the tales",
            "What did not help",
            id,
            "again",
            "raises the loss by",
            "optimizer.lr",
            "ann claimed: It matters.",
            "Predictions",
            "e-LOND",
            &format!("{headline:+.4}"),
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
    assert!(report.contains("2 studies judged") && !report.contains("What helped"));
    let picture = bench
        .path(status["report"].as_str().unwrap())
        .with_file_name("differences.svg");
    assert!(fs::read_to_string(picture).unwrap().contains("slow"));
}
