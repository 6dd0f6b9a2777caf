//! What plan foresees and run spends, how trials share the cores, and the bench: through the binary.

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, RECIPE};
use serde_json::Value;
use std::{
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

const STUDY: &str = r#"
name = "study"
base = "recipe.toml"
[hypothesis]
claim = "It matters."
[decision]
margin = 1.0
seeds = 2
[arms.plain]
control = true
[arms.slow]
factor = "optimizer.lr"
set = { "optimizer.lr" = 1e-5 }
"#;

fn bench() -> Bench {
    let recipe = RECIPE.replace("steps = 30", "steps = 40");
    let bench = Bench::with(&recipe.replace("every = 10", "every = 20"));
    bench.write("study.toml", STUDY);
    bench
}

/// The error of a command that must fail with status 2.
fn refused(bench: &Bench, args: &[&str]) -> Value {
    let output = bench.run(&[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn runs(bench: &Bench) -> usize {
    fs::read_dir(bench.home().join("runs")).unwrap().count()
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_second_plan_knows_what_the_first_measured_and_says_the_same() {
    let bench = bench();
    let first = bench.json(&["plan", "study.toml"]);
    let kept = fs::read_to_string(bench.home().join("calibration.json")).unwrap();
    let again = bench.json(&["plan", "study.toml"]);
    assert_eq!(first["minutes"], again["minutes"]);
    assert_eq!(first["arms"], again["arms"]);
    assert_eq!(first["basis"]["runs"], 0);
    assert!(number(&first["basis"]["uncertainty"]) > 0.1);
    // Nothing was timed again.
    assert_eq!(
        fs::read_to_string(bench.home().join("calibration.json")).unwrap(),
        kept
    );
    // A rate makes no difference to the speed, a width does.
    bench.json(&["plan", "study.toml", "optimizer.weight_decay=0.2"]);
    assert_eq!(
        fs::read_to_string(bench.home().join("calibration.json")).unwrap(),
        kept
    );
    // And a run shares the cores as the plan said.
    let run = bench.json(&["run", "study.toml"]);
    assert_eq!(run["study"], again["study"]);
    assert_eq!(run["stretches"][0]["jobs"], again["jobs"]);
    assert_eq!(
        run["stretches"][0]["predicted"]["minutes"],
        again["minutes"]
    );
    bench.json(&["plan", "study.toml", "model.n_embd=32"]);
    assert_ne!(
        fs::read_to_string(bench.home().join("calibration.json")).unwrap(),
        kept
    );
}

#[test]
fn a_damaged_calibration_is_named_and_changes_nothing() {
    let bench = bench();
    fs::create_dir_all(bench.home()).unwrap();
    for text in [
        "{",
        "{\"schema\":\"windtunnel.calibration.v1\",\"entries\":{\"k\":{\"at\":1,\"timing\":{\"start_seconds\":-1.0,\"seconds_per_step\":1.0,\"noise\":0.0,\"eval_seconds\":1.0,\"save_seconds\":1.0,\"memory_bytes\":1}}}}",
    ] {
        fs::write(bench.home().join("calibration.json"), text).unwrap();
        for command in ["plan", "run"] {
            let error = refused(&bench, &[command, "study.toml"]);
            assert!(
                error["place"]
                    .as_str()
                    .unwrap()
                    .contains("calibration.json"),
                "{error}"
            );
            assert!(
                error["remedy"].as_str().unwrap().contains("delete"),
                "{error}"
            );
        }
        assert_eq!(
            fs::read_to_string(bench.home().join("calibration.json")).unwrap(),
            text
        );
        assert_eq!(fs::read_dir(bench.home()).unwrap().count(), 1);
    }
}

#[test]
fn a_run_says_what_was_predicted_and_what_was_spent_and_the_next_plan_learns() {
    let bench = bench();
    // Not left to be measured: on a busy machine another way of sharing the cores may be quicker.
    let study = ["run", "study.toml", "--threads", "1"];
    let run = bench.json(&study);
    let stretches = run["stretches"].as_array().unwrap();
    assert_eq!(stretches.len(), 1);
    let (predicted, spent) = (&stretches[0]["predicted"], &stretches[0]["spent"]);
    assert_eq!(
        (&stretches[0]["trials"], &stretches[0]["interrupted"]),
        (&4.into(), &false.into())
    );
    for amount in [predicted, spent] {
        assert!(number(&amount["minutes"]) > 0.0);
        assert!(number(&amount["trial_minutes"]) > 0.0);
    }
    let ratio = number(&predicted["memory_bytes"]) / number(&spent["memory_bytes"]);
    #[cfg(target_os = "linux")]
    assert!((0.6..1.6).contains(&ratio), "{predicted} {spent}");
    let _ = ratio;
    let folder = bench
        .home()
        .join("studies")
        .join(run["study"].as_str().unwrap());
    for page in ["report.md", "report.html"] {
        let page = fs::read_to_string(folder.join(page)).unwrap();
        assert!(
            page.contains("predicted, ±") && page.contains("spent: 4 trials"),
            "{page}"
        );
    }
    assert_eq!(
        bench.json(&["show", "study"])["stretches"],
        run["stretches"]
    );
    // What ended corrects the estimate of a study of the same shape.
    let other = bench.json(&["plan", "study.toml", "seed=7", "--threads", "1"]);
    assert_eq!(other["basis"]["runs"], 4);
    // Nothing is left: nothing is foreseen, and nothing more is written down.
    let done = bench.json(&["plan", "study.toml", "--threads", "1"]);
    assert_eq!(
        (number(&done["minutes"]), number(&done["tokens"])),
        (0.0, 0.0)
    );
    let again = bench.json(&study);
    assert_eq!(again["stretches"], run["stretches"]);
    // The file is of no account for the verdict.
    fs::remove_file(folder.join("cost.json")).unwrap();
    assert_eq!(bench.json(&study)["verdict"], run["verdict"]);
    fs::write(folder.join("cost.json"), "{").unwrap();
    let error = refused(&bench, &["report", "study"]);
    assert!(
        error["place"].as_str().unwrap().contains("cost.json"),
        "{error}"
    );
}

#[test]
fn a_prediction_after_an_interruption_counts_only_what_is_left() {
    let bench = bench();
    let long = [
        "run",
        "study.toml",
        "budget.steps=4000",
        "checkpoint.every=50",
    ];
    let whole = bench.json(&[
        "plan",
        "study.toml",
        "budget.steps=4000",
        "checkpoint.every=50",
    ]);
    let child = bench
        .command(&long)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let saved = |bench: &Bench| {
        let runs = fs::read_dir(bench.home().join("runs"))
            .into_iter()
            .flatten();
        let checkpoints =
            runs.flat_map(|run| fs::read_dir(run.unwrap().path().join("checkpoints")));
        checkpoints.flatten().count() > 0
    };
    while !saved(&bench) {
        assert!(started.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(5));
    }
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    let left = bench.json(&[
        "plan",
        "study.toml",
        "budget.steps=4000",
        "checkpoint.every=50",
    ]);
    assert!(number(&left["tokens"]) < number(&whole["tokens"]));
    assert!(number(&left["flops"]) < number(&whole["flops"]));
    let run = bench.json(&long);
    let stretches = run["stretches"].as_array().unwrap();
    assert_eq!(stretches.len(), 2);
    assert_eq!(
        (&stretches[0]["interrupted"], &stretches[1]["interrupted"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        stretches[0]["trials"].as_u64().unwrap() + stretches[1]["trials"].as_u64().unwrap(),
        4
    );
}

#[test]
fn a_study_that_was_begun_keeps_its_threads_and_trains_nothing_again() {
    let bench = bench();
    let begun = bench.json(&["run", "study.toml", "--threads", "2", "--jobs", "1"]);
    assert_eq!(runs(&bench), 4);
    for args in [
        &["run", "study.toml"][..],
        &["run", "study.toml", "--jobs", "auto"],
        &["run", "study.toml", "--jobs", "2"],
    ] {
        let again = bench.json(args);
        assert_eq!(
            (&again["study"], &again["verdict"]),
            (&begun["study"], &begun["verdict"])
        );
        assert_eq!(runs(&bench), 4, "{args:?}");
    }
    let plan = bench.json(&["plan", "study.toml"]);
    assert_eq!(
        (&plan["threads"], &plan["sides"]["because"]),
        (&2.into(), &"begun".into())
    );
    assert_eq!(plan["finished"], 4);
    // Whoever asks for other threads gets another study.
    let other = bench.json(&["plan", "study.toml", "--threads", "1"]);
    assert_eq!(
        (&other["sides"]["because"], &other["finished"]),
        (&"asked".into(), &0.into())
    );
    // Another study of the same trials is quickest in the way in which they are trained already.
    let text = STUDY.replace("name = \"study\"", "name = \"other\"");
    fs::write(bench.folder.path().join("other.toml"), text).unwrap();
    if std::thread::available_parallelism().unwrap().get() == 2 {
        let plan = bench.json(&["plan", "other.toml"]);
        assert_eq!(
            (&plan["threads"], &plan["finished"]),
            (&2.into(), &4.into())
        );
    }
}

#[test]
fn jobs_and_threads_fit_the_cores_unless_somebody_asks() {
    let bench = bench();
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    for args in [
        &["plan", "study.toml"][..],
        &["plan", "study.toml", "--jobs", "1"],
    ] {
        let plan = bench.json(args);
        let (jobs, threads) = (
            plan["jobs"].as_u64().unwrap(),
            plan["threads"].as_u64().unwrap(),
        );
        assert!(jobs * threads <= cores, "{jobs} × {threads} on {cores}");
    }
    let plan = bench.json(&["plan", "study.toml", "--jobs", "4", "--threads", "2"]);
    assert_eq!((&plan["jobs"], &plan["threads"]), (&4.into(), &2.into()));
    for wrong in ["0", "many", "-1", "2000"] {
        let error = refused(&bench, &["plan", "study.toml", &format!("--jobs={wrong}")]);
        assert!(
            error["place"].as_str().unwrap().contains("--jobs"),
            "{error}"
        );
        assert!(
            error["problem"].as_str().unwrap().contains("auto"),
            "{error}"
        );
    }
}

#[test]
fn bench_times_a_step_and_its_ops_beside_what_the_processor_can_do() {
    let bench = bench();
    let of_recipe = [
        "bench",
        "recipe.toml",
        "model.n_embd=32",
        "--seconds",
        "0.2",
        "--threads",
        "1",
    ];
    for args in [
        &of_recipe[..],
        &[
            "bench",
            "--config",
            "a",
            "--seconds",
            "0.2",
            "--threads",
            "1",
            "--dtype",
            "bf16",
        ],
        // Two side by side, whose ops need twice as much: of none may more than the peak be told.
        &[
            "bench",
            "--config",
            "a",
            "--seconds",
            "0.2",
            "--threads",
            "1",
            "--pack",
            "2",
        ],
    ] {
        let found = bench.json(args);
        let pack = if args.contains(&"--pack") { 2 } else { 1 };
        assert_eq!(found["pack"], pack);
        if args.contains(&"a") {
            assert_eq!(found["parameters"], 804_096, "nanoGPT's CPU run");
        }
        let per_step = number(&found["tokens_per_second"]) * number(&found["step_ms"]) / 1e3;
        let run_tokens = if args.contains(&"a") {
            12.0 * 64.0
        } else {
            4.0 * 16.0
        };
        assert!(
            (per_step / (f64::from(pack) * run_tokens) - 1.0).abs() < 1e-9,
            "{found}"
        );
        for key in [
            "tokens_per_second",
            "best_tokens_per_second",
            "gflops",
            "memory_mb",
            "peak_gflops",
            "memory_gb_per_second",
        ] {
            assert!(number(&found[key]) > 0.0, "{key}: {found}");
        }
        assert!(
            (0.001..1.0).contains(&number(&found["share_of_peak"])),
            "{found}"
        );
        let ops = found["ops"].as_array().unwrap();
        let total: f64 = ops.iter().map(|op| number(&op["share"])).sum();
        assert!((total - 1.0).abs() < 1e-9);
        for wanted in [
            "linear forward",
            "linear dx",
            "linear dw",
            "attention backward",
            "classifier",
            "optimizer",
            "norm forward",
        ] {
            let op = ops.iter().find(|op| op["op"] == wanted);
            let op = op.unwrap_or_else(|| panic!("{wanted} is not among {ops:?}"));
            assert!(number(&op["ms"]) > 0.0);
            if let Some(share) = op["share_of_peak"].as_f64() {
                assert!(share > 0.0 && share < 1.0, "{op}");
            }
        }
    }
    // Looking made nothing.
    assert!(!bench.home().exists());
}

#[test]
fn bench_refuses_what_it_cannot_time() {
    let bench = bench();
    for (args, place) in [
        (&["bench", "--seconds", "0"][..], "--seconds"),
        (&["bench", "--seconds", "nan"], "--seconds"),
        (&["bench", "--config", "d"], "--config"),
        (&["bench", "--pack", "0"], "--pack"),
        (&["bench", "recipe.toml", "--config", "a"], "--config"),
        (&["bench", "missing.toml"], "missing.toml"),
        (
            &["bench", "recipe.toml", "model.n_embed=8"],
            "model.n_embed",
        ),
    ] {
        let error = refused(&bench, args);
        let said = format!("{} {}", error["place"], error["problem"]);
        assert!(said.contains(place), "{args:?}: {error}");
    }
}
