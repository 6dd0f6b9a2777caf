//! Laws on published runs, where this machine has them: RegMix's proxies and Chinchilla's points.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use windtunnel::laws::{
    Fitted, Joined, Law, Runs, Scores,
    scaling::{
        self, Intervals,
        report::{Asked, fit_scaling},
    },
    table::Table,
};

/// A file of the data beside the checkout, or `None` where it is not at hand.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data")
        .join(name);
    if !path.is_file() {
        println!("skipped: no {}", path.display());
        return None;
    }
    Some(path)
}

fn table(name: &str) -> Option<Table> {
    let path = shared(name)?;
    let text = fs::read_to_string(&path).unwrap();
    Some(Table::parse(&path.display().to_string(), &text).unwrap())
}

/// RegMix's training runs at 1M, and its test runs at 1M and 60M.
fn regmix() -> Option<(Runs, [Runs; 2])> {
    let pair = |part: &str, size: &str| {
        let mixtures = table(&format!("regmix/{part}_mixture_{size}.csv"))?;
        Some((
            mixtures,
            table(&format!("regmix/{part}_pile_loss_{size}.csv"))?,
        ))
    };
    let (mixtures, losses) = pair("train", "1m")?;
    let train = Joined::of(&mixtures, &losses).unwrap();
    let mut tests = Vec::new();
    for size in ["1m", "60m"] {
        let (mixtures, losses) = pair("test", size)?;
        tests.push(Joined::more(&train, &mixtures, &losses).unwrap().runs);
    }
    Some((train.runs, tests.try_into().unwrap()))
}

fn ranks(runs: &Runs, tests: &[Runs; 2], law: Law) -> [f64; 2] {
    let target = runs.find_target("Pile-CC").unwrap();
    let fitted = Fitted::of(&runs.mixtures, &runs.target(target), law, 1).unwrap();
    tests.each_ref().map(|test| {
        let predicted = fitted.predict_all(&test.mixtures);
        Scores::of(&predicted, &test.target(target))
            .spearman
            .unwrap()
    })
}

#[test]
fn regmix_proxies_rank_their_tests_as_published() {
    let Some((runs, tests)) = regmix() else {
        return;
    };
    assert_eq!(
        (runs.len(), runs.domains.len(), runs.targets.len()),
        (512, 17, 13)
    );
    for (law, at_1m, at_60m) in [(Law::Linear, 0.90, 0.89), (Law::LogLinear, 0.96, 0.96)] {
        let [small, large] = ranks(&runs, &tests, law);
        assert!((small - at_1m).abs() <= 0.01, "{law} at 1M: {small}");
        assert!((large - at_60m).abs() <= 0.01, "{law} at 60M: {large}");
    }
    let [small, large] = ranks(&runs, &tests, Law::Trees);
    assert!(small >= 0.985 && large >= 0.98, "trees: {small} {large}");
}

#[test]
fn sixty_four_proxies_come_near_to_all_of_them() {
    let Some((runs, tests)) = regmix() else {
        return;
    };
    let [_, large] = ranks(&runs.first(64), &tests, Law::LogLinear);
    // Measured .939: the aim of .95 is not reached, and this only guards against worse. Forms that
    // came to it here were found by looking at these very test runs, or by a cap that bends planted
    // laws.
    assert!(large >= 0.92, "{large}");
}

#[test]
fn chinchillas_points_give_the_replications_law_and_intervals() {
    let Some(table) = table("chinchilla/svg_extracted_data.csv") else {
        return;
    };
    let mut points = scaling::points(&table).unwrap();
    let dropped = scaling::drop_lowest_ratio(&mut points, 5);
    let asked = Asked {
        dropped: &dropped,
        budgets: &[],
        replicates: 1000,
        seed: 1,
    };
    let found = fit_scaling(&points, &asked).unwrap();
    let law = found.fit.law;
    assert!((law.e - 1.817).abs() <= 0.002, "{law:?}");
    assert!((law.alpha - 0.348).abs() <= 0.003, "{law:?}");
    assert!((law.beta - 0.366).abs() <= 0.003, "{law:?}");
    assert!(
        found.fit.objective_sum <= 1.02e-3,
        "{}",
        found.fit.objective_sum
    );
    agree_with_besiroglu(&found.intervals);
}

/// The 95% limits over 4,000 resamplings in data_analysis.ipynb of
/// epoch-research/analyzing-chinchilla, which goes with arXiv 2404.10102. Ours may be off by a
/// quarter of their width: both are simulated, and theirs start elsewhere.
fn agree_with_besiroglu(found: &Intervals) {
    for (name, estimate, low, high) in [
        ("A", found.a, 285.214, 743.626),
        ("B", found.b, 1042.357, 5810.344),
        ("E", found.e, 1.769, 1.871),
        ("alpha", found.alpha, 0.317, 0.373),
        ("beta", found.beta, 0.331, 0.415),
    ] {
        let interval = estimate.interval;
        let apart = (interval.low - low).abs().max((interval.high - high).abs());
        assert!(apart < 0.25 * (high - low), "{name}: {interval:?}");
    }
}

fn windtunnel(folder: &Path, arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
    let output = command
        .current_dir(folder)
        .args(arguments)
        .arg("--json")
        .output()
        .unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), json)
}

/// Runs of a planted law over three domains, as two files.
fn planted(folder: &Path) {
    let (mut mixtures, mut losses) = ("index,a,b,c\n".to_string(), "index,x,y\n".to_string());
    let mut idx = 0;
    for i in 0..=6 {
        for j in 0..=6 - i {
            let [a, b, c] = [i, j, 6 - i - j].map(|k| f64::from(k) / 6.0);
            mixtures += &format!("{idx},{a},{b},{c}\n");
            losses += &format!(
                "{idx},{},{}\n",
                2.0 + (0.5 - 3.0 * a).exp(),
                2.0 + (0.5 - 3.0 * b).exp()
            );
            idx += 1;
        }
    }
    fs::write(folder.join("m.csv"), mixtures).unwrap();
    fs::write(folder.join("l.csv"), losses).unwrap();
}

#[test]
fn the_command_fits_draws_and_keeps_to_bounds() {
    let folder = tempfile::tempdir().unwrap();
    planted(folder.path());
    let (status, found) = windtunnel(
        folder.path(),
        &[
            "fit",
            "mixture",
            "m.csv",
            "l.csv",
            "--max",
            "a=0.4",
            "--bootstrap",
            "10",
            "--plot",
            "p.svg",
        ],
    );
    assert_eq!(status, Some(0), "{found}");
    assert_eq!(found["schema"], "windtunnel.fit_mixture.v1");
    assert_eq!(found["fits"].as_array().unwrap().len(), 2);
    let shares = found["best"]["mixture"].as_array().unwrap();
    assert!(shares[0]["value"].as_f64().unwrap() <= 0.4 + 1e-9);
    let picture = fs::read_to_string(folder.path().join("p.svg")).unwrap();
    let value = shares[0]["value"].as_f64().unwrap();
    assert!(
        picture.contains(&format!("a {value:.2} [")),
        "the picture has the JSON's numbers"
    );
    assert!(!picture.contains("NaN"));
}

#[test]
fn bad_input_ends_with_two_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    planted(folder.path());
    let base = ["fit", "mixture", "m.csv", "l.csv", "--plot", "p.svg"];
    for extra in [
        ["--target", "zzz"],
        ["--law", "loglinear"],
        ["--min", "0.5"],
        ["--max", "a=x"],
        ["--n", "1000"],
        ["--sizes", "a=1"],
        ["--weights", "x=-1"],
    ] {
        let (status, error) = windtunnel(folder.path(), &[&base[..], &extra[..]].concat());
        assert_eq!(status, Some(2), "{extra:?}: {error}");
        assert!(!error["remedy"].as_str().unwrap().is_empty());
    }
    assert!(!folder.path().join("p.svg").exists());
}
