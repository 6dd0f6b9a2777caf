//! What may not run does not run, and says why.

use super::{Bench, QUICK, SLOW};
use std::{
    fs,
    process::{Output, Stdio},
};

#[test]
fn malformed_proposals_are_refused_with_status_2_and_leave_nothing_behind() {
    let bench = Bench::new(QUICK);
    fs::write(
        bench.folder.path().parent().unwrap().join("outside.toml"),
        "",
    )
    .unwrap();
    let base = |base: &str| {
        let text = fs::read_to_string(bench.path("study.toml")).unwrap();
        text.replace("recipe.toml", base)
    };
    let arm = |lines: &str| {
        let text = fs::read_to_string(bench.path("study.toml")).unwrap();
        text.replace(SLOW, lines)
    };
    std::os::unix::fs::symlink("/etc/hostname", bench.path("link.toml")).unwrap();
    let two = "[arms.slow]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 1e-5, \"model.n_layer\" = 2 }";
    let judged = "[arms.slow]\nfactor = \"eval.windows\"\nset = { \"eval.windows\" = 2 }";
    let reseeded = "[arms.slow]\nfactor = \"data_seed\"\nset = { \"data_seed\" = 2 }";
    let tokens =
        "[arms.slow]\nfactor = \"data.tokenizer\"\nset = { \"data.tokenizer\" = \"/etc/passwd\" }";
    for (text, words) in [
        (base("../outside.toml"), "outside the project"),
        (base("/etc/hostname"), "absolute"),
        (base("link.toml"), "outside the project"),
        (base("nowhere.toml"), "nowhere.toml"),
        (arm(two), "besides its factor"),
        (arm(judged), "which all arms share"),
        (arm(reseeded), "which all arms share"),
        (arm(tokens), "outside the project"),
        (base("recipe.toml\"\nmargins = \"0.1"), "unknown key"),
    ] {
        bench.write("bad.toml", &text);
        let error = bench.said(&["submit", "bad.toml", "--key", "bad"], 2);
        let whole = error.to_string();
        assert!(whole.contains(words), "{words}: {whole}");
        assert!(!error["remedy"].as_str().unwrap().is_empty(), "{whole}");
    }
    let jobs = bench.json(&["jobs"]);
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 0);
    assert!(!bench.home().join("runs").exists());
}

#[test]
fn a_model_may_not_choose_what_it_is_judged_by_and_asks_before_it_changes_several_things() {
    let bench = Bench::new(QUICK);
    let edited = "margin = 0.1\nseeds = 2\neval = [{ corpus = \"sums\" }]";
    bench.decided("edited.toml", "edited", (edited, SLOW));
    let args = |file| ["submit", file, "--key", file, "--proposer", "claude"];
    let error = bench.said(&args("edited.toml"), 3);
    let words = error["problem"].as_str().unwrap();
    assert!(words.contains("judged on sums"), "{words}");
    assert_eq!(bench.job("job-1")["state"], "refused");
    // Fewer windows for all arms is an edit, too.
    let text = fs::read_to_string(bench.path("study.toml")).unwrap();
    let fewer = text.replace(
        "[hypothesis]",
        "set = { \"eval.windows\" = 2 }\n[hypothesis]",
    );
    bench.write("fewer.toml", &fewer);
    let error = bench.said(&args("fewer.toml"), 3);
    let words = error["problem"].as_str().unwrap();
    assert!(words.contains("eval.windows to 2"), "{words}");
    let stack = "[arms.both]\nfactor = \"stack\"\nset = { \"optimizer.lr\" = 1e-5, \"optimizer.weight_decay\" = 0.3 }";
    bench.study("stack.toml", "stack", stack);
    let job = bench.json(&args("stack.toml"));
    assert_eq!(job["state"], "waiting");
    let why = job["why"].as_str().unwrap();
    assert!(why.contains("changes 2 paths at once"), "{why}");
    assert!(!bench.home().join("runs").exists());
    bench.audited();
}

#[test]
fn a_key_handed_in_ten_times_at_once_runs_once_and_another_client_does_not_disturb() {
    let bench = Bench::new(QUICK);
    let faster = SLOW.replace("slow", "fast").replace("1e-5", "6e-3");
    bench.study("other.toml", "other", &faster);
    let start = |study: &'static str, key: &'static str| {
        let args = ["submit", study, "--key", key, "--json"];
        let mut command = bench.command(&args);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut children: Vec<_> = (0..10).map(|_| start("study.toml", "same")).collect();
    children.push(start("other.toml", "other"));
    let outputs = children.into_iter().map(|child| child.wait_with_output());
    let ids = outputs.map(|output| id(&output.unwrap()));
    let mut ids: Vec<String> = ids.collect();
    let other = ids.pop().unwrap();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_ne!(ids[0], other);
    bench.until(&ids[0], &["done"]);
    bench.until(&other, &["done"]);
    // Three arms with two seeds: the control is trained once for both.
    assert_eq!(bench.outcomes().len(), 6);
    let started = |id: &str| {
        let events = bench.json(&["jobs", id])["events"].clone();
        let events = events.as_array().unwrap().iter();
        events.filter(|event| event["state"] == "running").count()
    };
    assert_eq!((started(&ids[0]), started(&other)), (1, 1));
    let error = bench.said(&["submit", "other.toml", "--key", "same"], 2);
    assert!(error["problem"].as_str().unwrap().contains(&ids[0]));
    bench.audited();
}

fn id(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let job: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    job["id"].as_str().unwrap().into()
}

#[test]
fn what_was_submitted_runs_whatever_happens_to_the_files_after() {
    let bench = Bench::new(QUICK);
    bench.write("limits", "");
    fs::write(
        bench.home().join("limits.toml"),
        "[proposal]\ndevice_minutes = 0.0\n",
    )
    .unwrap();
    bench.write("deep/studies/study.toml", &{
        let text = fs::read_to_string(bench.path("study.toml")).unwrap();
        text.replace("recipe.toml", "../recipes/mine.toml")
    });
    let recipe = fs::read_to_string(bench.path("recipe.toml")).unwrap();
    bench.write("deep/recipes/mine.toml", &recipe);
    let job = bench.submit("deep/studies/study.toml", "k");
    assert_eq!(job["state"], "waiting");
    bench.write("deep/recipes/mine.toml", "no recipe any more");
    fs::remove_file(bench.path("deep/studies/study.toml")).unwrap();
    bench.json(&["approve", "job-1"]);
    let done = bench.until("job-1", &["done", "failed", "refused"]);
    assert_eq!(done["verdict"], "slow: worse", "{done}");
    // The contract is the one that the file would have had.
    bench.write("deep/recipes/mine.toml", &recipe);
    fs::copy(
        bench
            .home()
            .join("jobs/job-1/files/deep/studies/study.toml"),
        bench.path("deep/studies/study.toml"),
    )
    .unwrap();
    let plan = bench.json(&["plan", "deep/studies/study.toml"]);
    assert_eq!(
        (&plan["study"], &plan["finished"]),
        (&done["study"], &4.into())
    );
}
