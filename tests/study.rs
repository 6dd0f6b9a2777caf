//! Studies from file to verdict through the binary: exit statuses, sharing, gates, reports.

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, SLOW};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// A bench with `study.toml`, of these decision lines and arms.
fn with_study(decision: &str, arms: &str) -> Bench {
    let bench = Bench::new();
    bench.study("study.toml", decision, arms);
    bench
}

const AGAIN: &str = "[arms.again]\nfactor = \"none\"";

#[test]
fn a_study_ends_with_a_verdict_and_a_report_that_holds_its_numbers() {
    let bench = with_study("margin = 0.1\nseeds = 3", SLOW);
    let run = bench.json(&["run", "study.toml"]);
    let arm = &run["verdict"]["arms"][0];
    assert_eq!(
        (&arm["arm"], &arm["call"]),
        (&"slow".into(), &"worse".into())
    );
    assert!(arm["effect"]["mean"].as_f64().unwrap() > 0.1);
    assert_eq!(run["cost"]["tokens"], 6 * 30 * 64);

    let report = fs::read_to_string(
        run["report"]
            .as_str()
            .map(|p| bench.folder.path().join(p))
            .unwrap(),
    )
    .unwrap();
    let mean = format!("{:+.4}", arm["effect"]["mean"].as_f64().unwrap());
    for words in [
        mean.as_str(),
        "It matters.",
        "0.00001",
        "slow: worse",
        "![Paired differences](differences.svg)",
    ] {
        assert!(report.contains(words), "{words}");
    }
    let folder = bench
        .home()
        .join("studies")
        .join(run["study"].as_str().unwrap());
    for picture in ["curves.svg", "differences.svg"] {
        assert!(
            fs::read_to_string(folder.join(picture))
                .unwrap()
                .contains("slow")
        );
    }
    // Again: the same verdict, at once, and nothing trained.
    let again = bench.json(&["run", "study.toml"]);
    assert_eq!(again["verdict"], run["verdict"]);
    let show = bench.json(&["show", "study"]);
    assert_eq!(show["verdict"], run["verdict"]);
    assert_eq!(bench.json(&["report", "study"])["study"], run["study"]);
    let listing = bench.json(&["ls"]);
    assert_eq!(listing["studies"][0]["verdict"], "slow: worse");
    assert_eq!(listing["trials"].as_array().unwrap().len(), 6);
    assert_eq!(bench.json(&["ls", "--rebuild"]), listing);
}

#[test]
fn studies_and_runs_have_pages_that_stand_alone() {
    let bench = with_study("margin = 0.1\nseeds = 3", SLOW);
    let read = |reported: &Value| {
        let path = bench.folder.path().join(reported["page"].as_str().unwrap());
        fs::read_to_string(path).unwrap()
    };
    let run = bench.json(&["run", "study.toml"]);
    let page = read(&run);
    let mean = run["verdict"]["arms"][0]["effect"]["mean"]
        .as_f64()
        .unwrap();
    for words in ["It matters.", "slow: worse", &format!("{mean:+.4}")] {
        assert!(page.contains(words), "{words}");
    }
    let trials = bench.home().join("runs");
    let trial = fs::read_dir(&trials).unwrap().next().unwrap().unwrap();
    let events = || {
        let names = fs::read_dir(trial.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let events = names.filter(|path| path.to_string_lossy().contains("tfevents"));
        events.collect::<Vec<_>>()
    };
    fs::remove_file(&events()[0]).unwrap();
    let id = trial.file_name().into_string().unwrap();
    assert!(read(&bench.json(&["report", &id])).contains("after 30 steps"));
    assert_eq!(events().len(), 1, "it was made again");

    // The same study without its verdict and one of its outcomes.
    fs::remove_file(trial.path().join("outcome.json")).unwrap();
    let study = bench
        .home()
        .join("studies")
        .join(run["study"].as_str().unwrap());
    fs::remove_file(study.join("verdict.json")).unwrap();
    let report = bench.json(&["report", "study"]);
    assert!(report["report"].is_null());
    assert!(read(&report).contains("5 of 6 trials have ended"));
}

#[test]
fn an_arm_that_is_the_control_again_differs_by_exactly_nothing() {
    let bench = with_study("margin = 0.1\nseeds = 3", AGAIN);
    let run = bench.json(&["run", "study.toml"]);
    let arm = &run["verdict"]["arms"][0];
    assert_eq!(arm["call"], "equivalent");
    assert_eq!(arm["effect"]["mean"], 0.0);
    assert_eq!(arm["effect"]["sd"], 0.0);
    // Content-addressed: the two arms are three trials, not six.
    assert_eq!(run["cost"]["tokens"], 3 * 30 * 64);
}

#[test]
fn expectations_decide_between_status_0_and_1() {
    let bench = with_study("margin = 0.1\nseeds = 3", SLOW);
    for (expect, status) in [("better", 1), ("not-worse", 1), ("equivalent", 1)] {
        let output = bench.run(&["run", "study.toml", "--expect", expect]);
        assert_eq!(output.status.code(), Some(status), "{expect}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains("slow: worse"), "{stderr}");
    }
    let bench = with_study("margin = 0.1\nseeds = 3", AGAIN);
    for (expect, status) in [("better", 1), ("not-worse", 0), ("equivalent", 0)] {
        let output = bench.run(&["run", "study.toml", "--expect", expect]);
        assert_eq!(output.status.code(), Some(status), "{expect}");
    }
}

#[test]
fn studies_that_share_a_baseline_train_it_once() {
    let bench = with_study("margin = 0.1\nseeds = 3", SLOW);
    bench.json(&["run", "study.toml"]);
    let fast = "[arms.fast]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 6e-3 }";
    bench.study("second.toml", "margin = 0.1\nseeds = 3", fast);
    let plan = bench.json(&["plan", "second.toml"]);
    assert_eq!((&plan["trials"], &plan["finished"]), (&6.into(), &3.into()));
    assert_eq!(plan["tokens"], 3 * 30 * 64);
    bench.json(&["run", "second.toml"]);
    let listing = bench.json(&["ls"]);
    assert_eq!(listing["trials"].as_array().unwrap().len(), 9);
    // More seeds keep the pairs that are there.
    let plan = bench.json(&["plan", "second.toml", "decision.seeds=4"]);
    assert_eq!((&plan["trials"], &plan["finished"]), (&8.into(), &6.into()));
}

#[test]
fn a_plan_says_what_a_study_will_do_and_changes_nothing_that_a_run_would() {
    let bench = with_study("margin = 0.1\nseeds = 3", SLOW);
    let plan = bench.json(&["plan", "study.toml"]);
    assert_eq!(plan["tokens"], 6 * 30 * 64);
    assert_eq!(plan["trials"], 6);
    assert!(plan["minutes"].as_f64().unwrap() > 0.0);
    assert!(plan["memory_bytes"].as_u64().unwrap() > 10_000);
    // Three pairs at 95%: 3.27 standard deviations, and no σ before anything ran.
    assert!((plan["sight"]["smallest_sd"].as_f64().unwrap() - 3.27).abs() < 0.02);
    assert!(plan["sight"]["sigma"].is_null());
    assert!(!bench.home().join("runs").exists() && !bench.home().join("studies").exists());
    let run = bench.json(&["run", "study.toml"]);
    assert_eq!(run["study"], plan["study"]);
    assert_eq!(run["cost"]["flops"], plan["flops"]);
    let known = bench.json(&["plan", "study.toml"]);
    assert_eq!(known["sight"]["sigma"]["n"], 3);
}

#[test]
fn limits_refuse_with_status_3_before_anything_is_frozen() {
    let bench = with_study("margin = 0.1\nseeds = 3", SLOW);
    for limit in [
        "limits.tokens=11519",
        "limits.flops=1e6",
        "limits.device_minutes=1e-6",
    ] {
        for command in ["plan", "run"] {
            let output = bench.run(&[command, "study.toml", limit]);
            assert_eq!(output.status.code(), Some(3), "{command} {limit}");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            let key = limit.split('=').next().unwrap();
            assert!(stderr.contains(key), "{stderr}");
        }
    }
    assert!(!bench.home().join("runs").exists() && !bench.home().join("studies").exists());
    let output = bench.run(&["plan", "study.toml", "limits.tokens=11520"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_design_that_is_known_to_be_blind_is_refused_with_the_seeds_it_would_need() {
    let bench = with_study("margin = 0.1\nseeds = 3", SLOW);
    bench.json(&["run", "study.toml"]);
    let output = bench.run(&[
        "run",
        "study.toml",
        "decision.margin=1e-5",
        "decision.seeds=4",
    ]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.contains("blind") && stderr.contains("decision.margin"),
        "{stderr}"
    );
}

#[test]
fn arms_that_diverge_are_outcomes_and_the_study_still_has_its_verdict() {
    let arms = "[arms.wild]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 1e38 }";
    let bench = with_study("margin = 0.1\nseeds = 6", arms);
    let run = bench.json(&["run", "study.toml"]);
    let arm = &run["verdict"]["arms"][0];
    assert_eq!(arm["diverged"], serde_json::json!([0, 6]));
    assert_eq!(arm["call"], "worse");
    assert_eq!(arm["sign_p"], 0.03125);
    assert!(arm["effect"].is_null());
}

#[test]
fn a_budget_in_seconds_becomes_the_same_steps_for_every_arm_and_every_resume() {
    let bench = with_study("margin = 0.1\nseeds = 2", SLOW);
    let seconds = ["run", "study.toml", "budget.seconds=0.2"];
    let first = bench.json(&seconds);
    let again = bench.json(&seconds);
    assert_eq!(first["study"], again["study"]);
    assert_eq!(first["cost"]["tokens"], again["cost"]["tokens"]);
    let show = bench.json(&["show", "study"]);
    let arms = show["contract"]["terms"]["arms"].as_array().unwrap();
    assert_eq!(arms[0]["tokens"], arms[1]["tokens"]);
}

#[test]
fn ctrl_c_keeps_everything_and_the_study_goes_on() {
    let bench = with_study("margin = 0.1\nseeds = 2", SLOW);
    let long = ["run", "study.toml", "budget.steps=3000", "--jobs", "2"];
    let child = bench
        .command(&long)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let in_training = |home: &Path| {
        let runs = fs::read_dir(home.join("runs"));
        runs.is_ok_and(|mut runs| {
            runs.any(|run| run.unwrap().path().join("metrics.jsonl").exists())
        })
    };
    while !in_training(&bench.home()) {
        assert!(started.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(5));
    }
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let output = child.wait_with_output();
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("run the same command again"), "{stderr}");
    assert!(stderr.matches("interrupted").count() == 1, "{stderr}");
    let unfinished = bench.json(&["ls"])["unfinished"].clone();
    let saved = unfinished
        .as_array()
        .unwrap()
        .iter()
        .filter(|run| run["step"] != 0);
    assert!(saved.count() > 0, "{unfinished}");
    let run = bench.json(&long);
    assert_eq!(run["verdict"]["arms"][0]["call"], "worse");
}

#[test]
fn two_runs_are_compared_with_a_warning_that_one_pair_proves_nothing() {
    let bench = with_study("margin = 0.1\nseeds = 2", SLOW);
    let train = |change: &str| bench.json(&["train", "recipe.toml", change])["trial"].clone();
    let (first, second) = (train("seed=1"), train("optimizer.lr=1e-4"));
    let (first, second) = (first.as_str().unwrap(), second.as_str().unwrap());
    let comparison = bench.json(&["compare", first, second]);
    assert!(comparison["differences"]["optimizer.lr"].is_array());
    assert_eq!(comparison["evals"].as_array().unwrap().len(), 3);
    assert!(
        comparison["warning"]
            .as_str()
            .unwrap()
            .contains("no interval")
    );
    let eval = bench.json(&["eval", first]);
    let shown = bench.json(&["show", first]);
    assert_eq!(eval["bpb"], shown["outcome"]["eval"]["bpb"]);
    let sample = bench.json(&["sample", first, "--tokens", "20", "--prompt", "Once"]);
    assert_eq!(sample["text"].as_str().unwrap().chars().count(), 20);
}

#[test]
fn the_average_of_the_weights_is_evaluated_and_sampled_where_it_was_kept() {
    let bench = with_study("margin = 0.1\nseeds = 2", SLOW);
    let outcome = bench.json(&["train", "recipe.toml", "eval.ema=0.9"]);
    let run = outcome["trial"].as_str().unwrap();
    let (raw, averaged) = (
        bench.json(&["eval", run]),
        bench.json(&["eval", run, "--ema"]),
    );
    assert_eq!(averaged["bpb"], outcome["eval"]["ema"]["bpb"]);
    assert_eq!(raw["bpb"], outcome["eval"]["bpb"]);
    assert_ne!(raw["bpb"], averaged["bpb"]);
    bench.json(&["sample", run, "--ema", "--tokens", "5"]);
    let plain = bench.json(&["train", "recipe.toml"]);
    let plain = plain["trial"].as_str().unwrap();
    let refused = bench.run(&["eval", plain, "--ema"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn templates_are_studies_and_recipes_that_can_be_planned() {
    let bench = with_study("margin = 0.1\nseeds = 2", SLOW);
    bench.json(&["new", "recipe", "mine"]);
    bench.json(&["new", "study", "idea"]);
    let recipe = bench.folder.path().join("configs/recipes");
    // The template builds on the quickstart's recipe, which a clone of the repository has.
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/recipes/quickstart.toml");
    fs::copy(quickstart, recipe.join("quickstart.toml")).unwrap();
    let plan = bench.json(&[
        "plan",
        "configs/studies/idea.toml",
        // However busy the machine.
        "limits.device_minutes=1e6",
    ]);
    assert_eq!(plan["arms"][1]["factor"], "optimizer.lr");
    bench.json(&[
        "train",
        "configs/recipes/mine.toml",
        "budget.steps=2",
        "eval.windows=2",
    ]);
}

#[test]
fn every_study_and_recipe_of_the_repository_is_well_formed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let toml = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|e| e == "toml"))
    };
    for path in toml("recipes") {
        windtunnel::recipe::Recipe::load(&path, &[]).unwrap();
    }
    for path in toml("studies") {
        windtunnel::study::proposal::Study::load(&path, &[]).unwrap();
    }
}
