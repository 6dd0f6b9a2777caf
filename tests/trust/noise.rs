//! The noise bank plans: σ from trials of the same kind, chances of each verdict, blindness.

use crate::{SLOW, frequent};

#[test]
fn trials_of_the_same_kind_tell_a_study_that_never_ran_what_it_can_see() {
    let bench = frequent();
    bench.study("first.toml", "margin = 0.1\nseeds = 4", SLOW);
    bench.json(&["run", "first.toml"]);
    let bank = bench.json(&["ls"])["noise"].clone();
    let line = &bank[0];
    assert_eq!(line["trials"], 8);
    assert_eq!(
        (&line["designs"], &line["degrees_of_freedom"]),
        (&2.into(), &6.into())
    );
    let sd = line["sd"].as_f64().unwrap();
    assert!(sd > 0.0);
    // Two arms that nobody has trained, of the same size, length and data.
    bench.study(
        "second.toml",
        "margin = 1.0\nseeds = 4",
        "[arms.more]\nfactor = \"optimizer.weight_decay\"\nset = { \"optimizer.weight_decay\" = 0.3 }",
    );
    let change = "optimizer.betas=[0.9,0.97]";
    let plan = bench.json(&["plan", "second.toml", change]);
    assert_eq!(plan["finished"], 0);
    let sight = &plan["sight"];
    let sigma = sight["sigma"]["value"].as_f64().unwrap();
    assert!((sigma - sd * 2f64.sqrt()).abs() < 1e-12, "{sigma} {sd}");
    assert!(
        sight["sigma"]["from"]
            .as_str()
            .unwrap()
            .contains("noise bank")
    );
    let outlook = &sight["outlook"][0];
    for rule in ["fixed", "anytime"] {
        let chances = &outlook[rule];
        let sum: f64 = ["better", "worse", "equivalent", "inconclusive"]
            .iter()
            .map(|call| chances[call].as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-6, "{rule}: {chances}");
    }
    // Another length is another kind.
    let plan = bench.json(&["plan", "second.toml", change, "budget.steps=200"]);
    assert!(plan["sight"]["sigma"].is_null());
}

#[test]
fn a_blind_study_runs_only_as_exploratory_and_says_so_for_good() {
    let bench = frequent();
    bench.study("study.toml", "margin = 0.1\nseeds = 3", SLOW);
    bench.json(&["run", "study.toml"]);
    let blind = ["decision.margin=1e-6", "decision.seeds=4"];
    let words = bench.refused(&["run", "study.toml", blind[0], blind[1]], 3);
    assert!(
        words.contains("blind") && words.contains("--exploratory"),
        "{words}"
    );
    // Nor by trials that are all there.
    let words = bench.refused(&["run", "study.toml", blind[0]], 3);
    assert!(words.contains("blind"), "{words}");
    let run = bench.json(&["run", "study.toml", blind[0], blind[1], "--exploratory"]);
    assert!(!run["verdict"]["exploratory"].as_array().unwrap().is_empty());
    let id = run["study"].as_str().unwrap();
    let report = std::fs::read_to_string(bench.study_dir(&run).join("report.md")).unwrap();
    assert!(report.contains("Exploratory"), "{report}");
    let listing = bench.json(&["ls"]);
    let studies = listing["studies"].as_array().unwrap();
    let line = studies.iter().find(|study| study["id"] == id).unwrap();
    assert!(line["verdict"].as_str().unwrap().ends_with("(exploratory)"));
    assert_eq!(bench.json(&["ls", "--rebuild"]), listing);
    // The label is in what is digested: the same study without it is another one.
    let page = std::fs::read_to_string(bench.study_dir(&run).join("report.html")).unwrap();
    assert!(page.contains("Exploratory"));
    let show = bench.json(&["show", id]);
    assert!(
        !show["contract"]["terms"]["exploratory"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn an_effect_is_priced_in_steps_of_the_control() {
    let bench = frequent();
    let arm = "[arms.near]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 3.3e-3 }";
    bench.study("study.toml", "margin = 0.5\nseeds = 3", arm);
    let run = bench.json(&["run", "study.toml", "budget.steps=60"]);
    let arm = &run["verdict"]["arms"][0];
    let (worth, mean) = (&arm["worth"], arm["effect"]["mean"].as_f64().unwrap());
    let (slope, steps) = (
        worth["slope"].as_f64().unwrap(),
        worth["steps"].as_f64().unwrap(),
    );
    assert!(
        slope < 0.0 && worth["points"].as_u64().unwrap() >= 5,
        "{worth}"
    );
    assert!(((mean / slope).exp_m1() - steps).abs() < 1e-12);
    let report = std::fs::read_to_string(bench.study_dir(&run).join("report.md")).unwrap();
    assert!(report.contains("steps of the control"), "{report}");
    assert_eq!(run["verdict"]["cost"]["tokens"], 6 * 60 * 64);
}

#[test]
fn seeds_of_weights_and_of_data_can_be_told_apart() {
    let bench = frequent();
    let train = |changes: &[&str]| {
        let outcome = bench.json(&[&["train", "recipe.toml"], changes].concat());
        (
            outcome["trial"].clone(),
            outcome["eval"]["loss"].as_f64().unwrap(),
        )
    };
    let plain = train(&["seed=5"]);
    let same = train(&["seed=5", "init_seed=5", "data_seed=5"]);
    assert_eq!(plain.1, same.1, "the same numbers under another address");
    assert_ne!(plain.0, same.0);
    let init = train(&["seed=5", "init_seed=6"]);
    let data = train(&["seed=5", "data_seed=6"]);
    let losses = [plain.1, init.1, data.1];
    assert!(losses[0] != losses[1] && losses[0] != losses[2] && losses[1] != losses[2]);
}

#[test]
fn crossed_seeds_take_the_variance_apart() {
    let bench = frequent();
    let args = ["noise", "recipe.toml", "--crossed", "3", "--blocks", "4"];
    let found = bench.json(&args);
    assert_eq!((&found["trials"], &found["blocks"]), (&9.into(), &4.into()));
    let split = &found["split"];
    for part in ["initialisation", "order", "interaction", "evaluation"] {
        let part = &split[part];
        let [low, at, high] = ["low", "variance", "high"].map(|key| part[key].as_f64().unwrap());
        assert!(low <= at && at <= high && high > 0.0, "{split}");
    }
    // Again: the trials are there. They are no repetitions of one design, so the bank leaves them out.
    assert_eq!(bench.json(&args), found);
    assert_eq!(bench.json(&["noise"])["bank"], serde_json::json!([]));
    let words = bench.refused(&["noise", "recipe.toml", "--blocks", "40"], 2);
    assert!(words.contains("--blocks 40"), "{words}");
}
