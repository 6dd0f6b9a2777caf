//! Faults put into logs of real runs are found at their place, and the logs as they are have none.

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, RECIPE};
use std::sync::OnceLock;
use windtunnel::{
    anomalies::{Anomaly, Flag, Log, flags},
    home::Home,
    rng::Rng,
};

const STEPS: usize = 400;
const SEEDS: u64 = 20;

/// The logs of a run and of its baseline: another rate, the same batches.
fn logs() -> &'static (Log, Log) {
    static LOGS: OnceLock<(Log, Log)> = OnceLock::new();
    LOGS.get_or_init(|| {
        let recipe = RECIPE.replace("steps = 30", &format!("steps = {STEPS}"));
        let bench = Bench::with(&recipe.replace("every = 10", "every = 50")).one_thread();
        let log = |change: &str| {
            let trained = bench.json(&["train", "recipe.toml", change]);
            let id = trained["trial"].as_str().unwrap();
            Log::read(&Home::find_run(&bench.home(), id).unwrap()).unwrap()
        };
        (log("optimizer.lr=4e-3"), log("optimizer.lr=3e-3"))
    })
}

/// Everything but throughput, which is the machine's.
fn told(log: &Log, baseline: Option<&Log>) -> Vec<Flag> {
    let mut found = flags(log, baseline);
    found.retain(|flag| flag.anomaly != Anomaly::Slow);
    found
}

/// Of logs with this fault at a random step, how many have their flag within twenty steps, and how
/// many flags lie elsewhere.
fn found(
    anomaly: Anomaly,
    is_beside: bool,
    spoil: &dyn Fn(&mut Log, usize, &mut Rng),
) -> (usize, usize) {
    let (log, baseline) = logs();
    let (mut hits, mut elsewhere) = (0, 0);
    for seed in 0..SEEDS {
        let mut rng = Rng::named(seed, "fault");
        let at = 120 + (rng.uniform() * 200.0) as usize;
        let mut spoilt = log.clone();
        spoil(&mut spoilt, at, &mut rng);
        let all = told(&spoilt, is_beside.then_some(baseline));
        let near = |flag: &&Flag| flag.step.abs_diff(at as u64 + 1) <= 20;
        hits += usize::from(all.iter().filter(near).any(|f| f.anomaly == anomaly));
        elsewhere += all.iter().filter(|f| !near(f)).count();
    }
    (hits, elsewhere)
}

#[test]
fn logs_as_they_are_have_no_flag() {
    let (log, baseline) = logs();
    for beside in [None, Some(baseline)] {
        assert_eq!(told(log, beside), []);
        assert_eq!(told(baseline, None), []);
    }
}

#[test]
fn spikes_are_found_small_ones_beside_a_baseline_and_large_ones_alone() {
    for (nats, is_beside) in [(0.3, true), (1.0, true), (3.0, true), (3.0, false)] {
        let (hits, elsewhere) = found(Anomaly::Spike, is_beside, &|log, at, _| {
            log.steps[at].loss += nats;
        });
        assert_eq!((hits, elsewhere), (SEEDS as usize, 0), "{nats} {is_beside}");
    }
    // What is less than anyone cares about is not told.
    let (hits, elsewhere) = found(Anomaly::Spike, true, &|log, at, _| {
        log.steps[at].loss += 0.04;
    });
    assert_eq!((hits, elsewhere), (0, 0));
}

#[test]
fn a_loss_that_goes_up_for_good_is_divergence() {
    let (log, baseline) = logs();
    for rise in [0.6, 1.0, 3.0] {
        for at in [130, 200, 280] {
            let mut spoilt = log.clone();
            spoilt.steps[at..].iter_mut().for_each(|s| s.loss += rise);
            for beside in [None, Some(baseline)] {
                let all = told(&spoilt, beside);
                let flag = all.iter().find(|f| f.anomaly == Anomaly::Divergence);
                let flag = flag.unwrap_or_else(|| panic!("{rise} at {at}: {all:?}"));
                let delay = flag.step - at as u64;
                assert!((40..=100).contains(&delay), "{rise} at {at}: after {delay}");
            }
        }
    }
}

#[test]
fn a_rate_off_its_schedule_is_found_at_its_first_step() {
    let (log, _) = logs();
    for (at, factor) in [(0, 1.01), (150, 0.5), (399, 1.0 + 1e-6)] {
        let mut spoilt = log.clone();
        spoilt.steps[at].lr *= factor;
        let all = told(&spoilt, None);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(
            (all[0].anomaly, all[0].step),
            (Anomaly::Rate, at as u64 + 1)
        );
    }
}

#[test]
fn a_first_loss_that_knows_something_already_is_told() {
    let (log, _) = logs();
    for shift in [-2.0, -0.5, 0.5] {
        let mut spoilt = log.clone();
        spoilt.steps[0].loss += shift;
        assert_eq!(told(&spoilt, None)[0].anomaly, Anomaly::Start);
    }
}

#[test]
fn validation_that_rises_while_training_falls_is_overfitting() {
    let (log, _) = logs();
    let mut spoilt = log.clone();
    let n = spoilt.evals.len();
    assert!(n >= 8);
    for (idx, eval) in spoilt.evals[n - 4..].iter_mut().enumerate() {
        eval.loss += 0.2 * idx as f64;
    }
    let all = told(&spoilt, None);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].anomaly, Anomaly::Overfitting);
}

#[test]
fn steps_that_slow_down_for_good_are_told_and_a_hiccup_is_not() {
    let (log, _) = logs();
    let slow = |log: &Log| flags(log, None).iter().any(|f| f.anomaly == Anomaly::Slow);
    let mut even = log.clone();
    even.steps.iter_mut().for_each(|s| s.ms = 10.0);
    assert!(!slow(&even));
    let mut hiccup = even.clone();
    hiccup.steps[200..230].iter_mut().for_each(|s| s.ms = 30.0);
    assert!(!slow(&hiccup));
    let mut slower = even.clone();
    slower.steps[200..].iter_mut().for_each(|s| s.ms = 13.0);
    let all = flags(&slower, None);
    assert_eq!((all[0].anomaly, all[0].step), (Anomaly::Slow, 201));
}

#[test]
fn another_order_of_the_data_is_told() {
    let (log, baseline) = logs();
    let mut spoilt = log.clone();
    let losses: Vec<f64> = log.steps.iter().map(|s| s.loss).collect();
    for (idx, step) in spoilt.steps.iter_mut().enumerate() {
        step.loss = losses[(idx + 7) % losses.len()];
    }
    let all = told(&spoilt, Some(baseline));
    assert!(all.iter().any(|f| f.anomaly == Anomaly::Order), "{all:?}");
}

#[test]
fn the_command_finds_the_control_by_itself_and_scans_a_home() {
    let bench = Bench::new().one_thread();
    let fast = "[arms.fast]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 1e38 }";
    bench.study("study.toml", "margin = 0.1\nseeds = 2", fast);
    bench.json(&["run", "study.toml"]);
    let scan = bench.json(&["anomalies"]);
    assert_eq!((&scan["runs"], &scan["flags"]), (&4.into(), &2.into()));
    let flagged = &scan["flagged"][0];
    assert_eq!(flagged["flags"][0]["anomaly"], "not_a_number");
    let control = flagged["baseline"].as_str().unwrap();
    let one = bench.json(&["anomalies", flagged["run"].as_str().unwrap()]);
    assert_eq!(one["flags"], flagged["flags"]);
    let text = bench.run(&["anomalies", control]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("nothing looks wrong"), "{text}");
    bench.refused(&["anomalies", "zzz"], 2);
}
