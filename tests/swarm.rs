//! Swarms: arms that are drawn from a space of mixtures and rates.

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, RECIPE};
use std::{collections::BTreeSet, fs, path::Path};
use windtunnel::study::proposal::Study;

fn bench() -> Bench {
    Bench::with(&RECIPE.replace("every = 10", "every = 0")).one_thread()
}

fn write(folder: &Path, space: &str) -> std::path::PathBuf {
    let path = folder.join("swarm.toml");
    let text = format!(
        "name = \"swarm\"\nbase = \"recipe.toml\"\n[hypothesis]\nclaim = \"Some mix is best.\"\n\
         [decision]\nmargin = 0.05\nseeds = 1\n{space}\n"
    );
    fs::write(&path, text).unwrap();
    path
}

fn load(space: &str) -> windtunnel::error::Result<Study> {
    let bench = bench();
    Study::load(&write(bench.folder.path(), space), &[])
}

const THREE: &str = "[space]\ncorpora = [\"tales\", \"sums\", \"facts\"]\n";

/// The shares of an arm, in the order of some corpora.
fn shares(study: &Study, arm: usize, corpora: &[&str]) -> Vec<f64> {
    let mixture = &study.arms[arm].recipe.data.mixture;
    let total: f64 = mixture.iter().map(|share| share.weight).sum();
    let of = |corpus: &&str| {
        let share = mixture.iter().find(|share| share.corpus == **corpus);
        share.map_or(0.0, |share| share.weight / total)
    };
    corpora.iter().map(of).collect()
}

fn points(study: &Study, kind: &str) -> Vec<usize> {
    let named = |i: &usize| study.arms[*i].name.starts_with(kind);
    (0..study.arms.len()).filter(named).collect()
}

#[test]
fn a_swarm_has_its_points_what_is_held_back_and_the_mixtures_that_are_always_there() {
    let text = format!("{THREE}points = 20\nheld_back = 7\n");
    let study = load(&text).unwrap();
    assert_eq!(study.control().name, "uniform");
    assert_eq!(points(&study, "point_").len(), 20);
    assert_eq!(points(&study, "held_").len(), 7);
    assert_eq!(points(&study, "only_").len(), 3);
    // Even and natural shares beside them.
    assert_eq!(study.arms.len(), 2 + 20 + 7 + 3);
    let natural = &study.arms[points(&study, "natural")[0]].recipe.data;
    assert_eq!(natural.weighting, windtunnel::data::Weighting::Natural);
    let corpora = ["tales", "sums", "facts"];
    assert!(
        shares(&study, 0, &corpora)
            .iter()
            .all(|w| (w - 1.0 / 3.0).abs() < 1e-9)
    );
    let all: BTreeSet<String> = (0..study.arms.len())
        .map(|arm| format!("{:?}", shares(&study, arm, &corpora)))
        .collect();
    // But for natural shares, whose weights are not known yet, no point comes twice.
    assert_eq!(all.len(), study.arms.len() - 1);
    // Every arm is asked the same, whatever it trains on.
    let eval = &study.control().recipe.eval.corpora;
    assert_eq!(eval.len(), 3);
    assert!(
        study
            .arms
            .iter()
            .all(|arm| arm.recipe.eval.corpora == *eval)
    );
    let again = load(&text).unwrap();
    let other = load(&format!("{text}seed = 2\n")).unwrap();
    let drawn = |study: &Study| {
        (0..study.arms.len())
            .map(|i| shares(study, i, &corpora))
            .collect::<Vec<_>>()
    };
    assert_eq!(drawn(&study), drawn(&again));
    assert_ne!(drawn(&study), drawn(&other));
}

#[test]
fn mixtures_are_drawn_around_the_prior_and_within_the_limits() {
    let text = format!(
        "{THREE}points = 1500\nprior = {{ tales = 6, sums = 3, facts = 1 }}\nstrength = [2.0, 8.0]\n"
    );
    let corpora = ["tales", "sums", "facts"];
    let study = load(&text).unwrap();
    let drawn = points(&study, "point_");
    for (i, prior) in [0.6, 0.3, 0.1].into_iter().enumerate() {
        let all: Vec<f64> = drawn
            .iter()
            .map(|p| shares(&study, *p, &corpora)[i])
            .collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        // A share varies by √(p(1 − p)/(strength + 1)) at most.
        let se = (prior * (1.0 - prior) / 3.0 / all.len() as f64).sqrt();
        assert!(
            (mean - prior).abs() < 4.0 * se,
            "{}: {mean} for {prior}",
            corpora[i]
        );
    }
    let limits = "min_weight = 0.1\nmax_weight = { tales = 0.5, sums = 0.6 }\n";
    let study = load(&format!("{THREE}points = 300\n{limits}")).unwrap();
    for point in points(&study, "point_") {
        let shares = shares(&study, point, &corpora);
        assert!(shares.iter().all(|w| *w > 0.0999), "{shares:?}");
        assert!(shares[0] < 0.5001 && shares[1] < 0.6001, "{shares:?}");
    }
}

#[test]
fn a_latin_hypercube_has_a_value_in_every_stratum_and_a_grid_has_all_its_points() {
    let text = format!(
        "{THREE}sample = \"latin\"\npoints = 16\nheld_back = 4\n[space.vary]\n\"optimizer.lr\" = {{ low = 1e-4, high = 1e-2 }}\n"
    );
    let study = load(&text).unwrap();
    let points = [points(&study, "point_"), points(&study, "held_")].concat();
    let mut strata: Vec<usize> = points
        .iter()
        .map(|p| {
            let lr = study.arms[*p].recipe.optimizer.lr;
            ((lr / 1e-4).ln() / 100f64.ln() * 20.0) as usize
        })
        .collect();
    strata.sort_unstable();
    assert_eq!(strata, (0..20).collect::<Vec<_>>());
    assert_eq!(study.arms[points[0]].factor.as_deref(), Some("stack"));

    let grid = load(&format!("{THREE}sample = \"grid\"\nsteps = 4\n")).unwrap();
    // 15 ways to share four quarters; three of them are one corpus alone, which is an arm anyway.
    let found: BTreeSet<String> = (0..grid.arms.len())
        .map(|arm| format!("{:?}", shares(&grid, arm, &["tales", "sums", "facts"])))
        .collect();
    assert_eq!(found.len(), 16);
    let rates = "[space]\nsample = \"grid\"\n[space.vary]\n\"optimizer.lr\" = [1e-3, 2e-3]\n\"optimizer.weight_decay\" = [0.0, 0.1, 0.2]\n";
    let rates = load(rates).unwrap();
    assert_eq!(
        (rates.arms.len(), rates.control().name.as_str()),
        (7, "base")
    );
}

#[test]
fn a_space_that_contradicts_itself_is_refused_where_it_stands() {
    for (space, words) in [
        ("[space]\n", "nothing that varies"),
        ("[space]\ncorpora = [\"tales\"]\n", "two corpora or more"),
        ("[space]\ncorpora = [\"tales\", \"tales\"]\n", "each once"),
        (
            "[space]\ncorpora = [\"tales\", \"sums\"]\nprior = { facts = 1 }\n",
            "\"facts\"",
        ),
        (
            "[space]\ncorpora = [\"tales\", \"sums\"]\nprior = { tales = 1 }\n",
            "1 of 2",
        ),
        (
            "[space]\ncorpora = [\"tales\", \"sums\"]\nmax_weight = { tales = -1 }\n",
            "-1",
        ),
        (
            "[space]\ncorpora = [\"tales\", \"sums\"]\nmin_weight = 0.6\n",
            "0.6",
        ),
        (
            "[space]\ncorpora = [\"tales\", \"sums\"]\nstrength = [5.0, 1.0]\n",
            "5 to 1",
        ),
        (
            "[space]\ncorpora = [\"tales\", \"sums\"]\npoints = 1\n",
            "make 1 arms",
        ),
        (
            "[space]\ncorpora = [\"tales\", \"sums\"]\nsteps = 0\n",
            "space.steps is 0",
        ),
        (
            "[space]\ncorpora = [\"tales\", \"sums\"]\nmax_weight = { tales = 0.1, sums = 0.1 }\n",
            "limits",
        ),
        (
            "[space]\ncorpora = [\"tales\", \"sums\"]\nsample = \"grid\"\nsteps = 3\nmax_weight = { tales = 0.1, sums = 0.1 }\n",
            "3ths",
        ),
        (
            "[space]\ncorpora = [\"tales\", \"sums\"]\nsampel = \"grid\"\n",
            "sample",
        ),
        ("[space]\n[space.vary]\n\"optimizer.lr\" = []\n", "is empty"),
        (
            "[space]\n[space.vary]\n\"optimizer.lr\" = { low = 1.0, high = 0.1 }\n",
            "1 to 0.1",
        ),
        (
            "[space]\npoints = 2\n[space.vary]\n\"optimizer.lrr\" = [1.0, 2.0]\n",
            "optimizer.lr",
        ),
        (
            "[space]\ncorpora = [\"tales\", \"sums\"]\n[arms.a]\ncontrol = true\n",
            "[arms]",
        ),
    ] {
        let error = load(space).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        let text = error.to_string();
        assert!(
            text.contains(words) || error.remedy.contains(words),
            "{space}: {text}"
        );
        assert!(
            error.place.contains("swarm.toml"),
            "{space}: {}",
            error.place
        );
    }
}

#[test]
fn a_swarm_feeds_laws_which_propose_a_mixture_and_the_study_that_tests_it() {
    let bench = bench();
    let space = "[space]\ncorpora = [\"tales\", \"sums\", \"facts\"]\npoints = 10\nheld_back = 5\n";
    write(bench.folder.path(), space);
    let run = bench.json(&["run", "swarm.toml"]);
    let why = run["verdict"]["exploratory"][0].as_str().unwrap();
    assert!(why.contains("swarm"), "{why}");
    let report =
        fs::read_to_string(bench.folder.path().join(run["report"].as_str().unwrap())).unwrap();
    // 10 points, 5 held back, three corpora alone, natural and even shares.
    let ranked = report.split("## The points, best first").nth(1).unwrap();
    let rows: Vec<&str> = ranked
        .lines()
        .filter(|line| line.starts_with("| "))
        .take(22)
        .collect();
    let value = |row: &str| row.split(" | ").nth(2).unwrap().parse::<f64>().unwrap();
    let values: Vec<f64> = rows[2..].iter().map(|row| value(row)).collect();
    assert_eq!(values.len(), 20);
    assert!(values.is_sorted(), "{values:?}");

    let fit = bench.json(&[
        "fit",
        "mixture",
        "--study",
        "swarm",
        "--plot",
        "simplex.svg",
    ]);
    assert_eq!(
        (&fit["runs"], &fit["fits"][0]["tests"][0]["n"]),
        (&15.into(), &5.into())
    );
    let goal: Vec<f64> = fit["goal"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["weight"].as_f64().unwrap())
        .collect();
    assert!(
        goal.iter().all(|w| (w - 1.0 / 3.0).abs() < 1e-9),
        "{goal:?}"
    );
    assert_eq!(fit["goal_tests"][0]["n"], 5);
    let weights: Vec<f64> = fit["best"]["mixture"]
        .as_array()
        .unwrap()
        .iter()
        .map(|share| share["value"].as_f64().unwrap())
        .collect();
    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let svg = fs::read_to_string(bench.folder.path().join("simplex.svg")).unwrap();
    assert!(svg.starts_with("<svg"));
    // Every run's mixture and loss is the one that the trial had.
    let mixtures = fit["measured_mixtures"].as_array().unwrap();
    assert_eq!(mixtures.len(), 15);

    let next = bench.json(&["next-mixture", "swarm", "--n", "2"]);
    assert_eq!(next["next"].as_array().unwrap().len(), 2);
    let new = bench.json(&["new", "study", "better_mix", "--best-mix", "swarm"]);
    let path = new["path"].as_str().unwrap();
    let plan = bench.json(&["plan", path]);
    assert_eq!(plan["arms"].as_array().unwrap().len(), 2);
    let text = fs::read_to_string(bench.folder.path().join(path)).unwrap();
    let study: toml::Table = toml::from_str(&text).unwrap();
    let shares = study["arms"]["foretold"]["set"]["data.mixture"]
        .as_array()
        .unwrap();
    let domains = fit["domains"].as_array().unwrap().iter().zip(&weights);
    for (domain, weight) in domains.filter(|(_, weight)| **weight > 5e-5) {
        let share = shares
            .iter()
            .find(|share| share["corpus"].as_str() == domain.as_str());
        let written = share.unwrap()["weight"].as_float().unwrap();
        assert!(
            (written - weight).abs() < 1e-3,
            "{domain}: {written} {weight}"
        );
    }
    let recipe = new["recipe"].as_str().unwrap();
    let recipe: toml::Table =
        toml::from_str(&fs::read_to_string(bench.folder.path().join(recipe)).unwrap()).unwrap();
    // Seed 1 was the swarm's.
    assert_eq!(recipe["seed"].as_integer(), Some(2));
}

#[test]
fn a_ladder_is_a_study_at_each_size_on_its_own_seeds_and_says_how_much_may_be_claimed() {
    let bench = bench();
    let path = bench.folder.path().join("ladder.toml");
    let text = |ladder: &str| {
        format!(
            "name = \"slow\"\nbase = \"recipe.toml\"\n[hypothesis]\nclaim = \"Slow is worse.\"\n[decision]\nmargin = 0.05\nseeds = 3\n\
             [ladder]\n{ladder}\n[arms.plain]\ncontrol = true\n[arms.slow]\nfactor = \"optimizer.lr\"\nset = {{ \"optimizer.lr\" = 1e-5 }}\n"
        )
    };
    fs::write(&path, text("n_embd = [8, 16, 32]\ntarget = 1e5")).unwrap();
    let plan = bench.json(&["plan", "ladder.toml"]);
    assert_eq!(plan["rungs"].as_array().unwrap().len(), 3);
    let minutes = plan["rungs"].as_array().unwrap().iter();
    let sum: f64 = minutes.map(|rung| rung["minutes"].as_f64().unwrap()).sum();
    assert!((plan["minutes"].as_f64().unwrap() - sum).abs() < 1e-9 && sum > 0.0);
    let run = bench.json(&["run", "ladder.toml"]);
    let rungs = run["ladder"]["rungs"].as_array().unwrap();
    assert_eq!(rungs.len(), 3);
    let sizes: Vec<u64> = rungs
        .iter()
        .map(|rung| rung["parameters"].as_u64().unwrap())
        .collect();
    assert!(sizes.is_sorted_by(|a, b| a < b), "{sizes:?}");
    let seeds: Vec<u64> = rungs
        .iter()
        .flat_map(|rung| rung["seeds"].as_array().unwrap())
        .map(|s| s.as_u64().unwrap())
        .collect();
    assert_eq!(seeds, (1..=9).collect::<Vec<_>>());
    let arm = &run["ladder"]["arms"][0];
    assert_eq!(
        (&arm["arm"], &arm["level"]),
        (&"slow".into(), &"stable".into()),
        "{arm}"
    );
    let at = &arm["by_rate"][0]["transfer"]["at_target"];
    assert!(at["low"].as_f64().unwrap() > 0.0, "{at}");
    // Every rung is a study of its own, with its report.
    assert_eq!(bench.json(&["ls"])["studies"].as_array().unwrap().len(), 3);
    assert!(
        bench
            .folder
            .path()
            .join(run["picture"].as_str().unwrap())
            .is_file()
    );
    // Nothing is trained again.
    let again = bench.json(&["run", "ladder.toml"]);
    assert_eq!(again["ladder"], run["ladder"]);

    for (ladder, words) in [
        ("n_embd = [8]", "1 rungs"),
        ("n_embd = 8", "a list"),
        ("n_embd = [8, 16]\nn_head = [1]", "1 values"),
        ("n_embdd = [8, 16]", "n_embd"),
        ("n_embd = [8, 16]\ntarget = 0", "target"),
        ("rates = []", "a list"),
    ] {
        fs::write(&path, text(ladder)).unwrap();
        let loaded = Study::rungs(&path).and_then(|_| Study::load_rung(&path, &[], Some(0)));
        let error = loaded.unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let said = format!("{error} {}", error.remedy);
        assert!(said.contains(words), "{ladder}: {said}");
        assert!(error.place.contains("ladder.toml"), "{}", error.place);
    }
}
