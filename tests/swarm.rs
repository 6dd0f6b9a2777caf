//! Swarms: arms that are drawn from a space of mixtures and rates.

use std::{collections::BTreeSet, fs, path::Path};
use tempfile::TempDir;
use windtunnel::study::proposal::Study;

const RECIPE: &str = r#"
seed = 1
[data]
tokenizer = "char"
mixture = [{ corpus = "tales" }]
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
[batch]
rows = 4
[budget]
steps = 30
[optimizer]
lr = 3e-3
[eval]
every = 0
windows = 20
"#;

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
    folder
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
    let folder = folder();
    Study::load(&write(folder.path(), space), &[])
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
    assert_eq!(study.arms.len(), 1 + 20 + 7 + 3);
    let corpora = ["tales", "sums", "facts"];
    assert!(
        shares(&study, 0, &corpora)
            .iter()
            .all(|w| (w - 1.0 / 3.0).abs() < 1e-9)
    );
    let all: BTreeSet<String> = (0..study.arms.len())
        .map(|arm| format!("{:?}", shares(&study, arm, &corpora)))
        .collect();
    assert_eq!(all.len(), study.arms.len(), "no point comes twice");
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
