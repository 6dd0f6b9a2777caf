//! The decision, on outcomes made up to order: what it calls them, and how often it is wrong.

use std::collections::BTreeMap;
use windtunnel::{
    metrics::{CorpusEval, Cost, Ending, EvalRecord, Metric, Outcome},
    rng::Rng,
    study::{
        proposal::Matched,
        verdict::{ArmOutcomes, Call, Expectation, Looks, Rule, Verdict, judge},
    },
};

const RULE: Rule = Rule {
    metric: Metric::Bpb,
    margin: 0.02,
    alpha: 0.05,
    matched: Matched::Tokens,
    looks: Looks::Once,
};

/// A finished trial with this final value, or a diverged one.
fn outcome(seed: u64, bpb: Option<f64>) -> Outcome {
    let ending = match bpb {
        None => Ending::Diverged {
            step: 3,
            what: "the loss is NaN".into(),
        },
        Some(bpb) => {
            let val = CorpusEval {
                loss: bpb * 0.7,
                bpb,
                tokens: 10,
                bytes: 10,
                ..Default::default()
            };
            Ending::Finished {
                eval: EvalRecord {
                    step: 100,
                    tokens: 1000,
                    loss: bpb * 0.7,
                    bpb,
                    val: BTreeMap::from([("prose".to_string(), val)]),
                    ema: None,
                },
            }
        }
    };
    Outcome {
        branched: None,
        schema: Outcome::SCHEMA.into(),
        trial: format!("{seed}"),
        design: String::new(),
        seed,
        ending,
        cost: Cost {
            seconds: 1.0,
            tokens: 1000,
            flops: 1e6,
        },
        realised: Vec::new(),
        windows: "w".into(),
    }
}

fn arm(name: &str, values: &[Option<f64>]) -> ArmOutcomes {
    ArmOutcomes {
        name: name.into(),
        outcomes: values
            .iter()
            .enumerate()
            .map(|(i, value)| outcome(i as u64, *value))
            .collect(),
    }
}

fn some(values: &[f64]) -> Vec<Option<f64>> {
    values.iter().map(|v| Some(*v)).collect()
}

/// The verdict on one arm whose differences from a level control are these.
fn judged(differences: &[Option<f64>]) -> Verdict {
    let control = vec![Some(2.0); differences.len()];
    let values: Vec<Option<f64>> = differences.iter().map(|d| d.map(|d| 2.0 + d)).collect();
    judge(&RULE, &arm("control", &control), &[arm("new", &values)])
}

#[test]
fn each_call_is_made_where_its_interval_lies() {
    for (differences, call) in [
        (&[-0.10, -0.11, -0.09, -0.10], Call::Better),
        (&[0.10, 0.11, 0.09, 0.10], Call::Worse),
        (&[0.001, -0.002, 0.000, 0.001], Call::Equivalent),
        // Off zero and inside the margin: too small to act on, so equivalent comes first.
        (&[0.005, 0.006, 0.005, 0.006], Call::Equivalent),
        (&[-0.10, 0.11, 0.09, -0.10], Call::Inconclusive),
        (&[0.03, 0.05, -0.01, 0.02], Call::Inconclusive),
    ] {
        let verdict = judged(&some(differences));
        assert_eq!(verdict.arms[0].call, call, "{differences:?}");
    }
}

#[test]
fn differences_of_zero_are_an_effect_of_exactly_zero() {
    let verdict = judged(&some(&[0.0; 5]));
    let effect = verdict.arms[0].effect.unwrap();
    assert_eq!((effect.low, effect.mean, effect.high), (0.0, 0.0, 0.0));
    assert_eq!(verdict.arms[0].call, Call::Equivalent);
}

#[test]
fn a_diverged_trial_counts_last_and_is_never_dropped() {
    // The arm wins every finished pair by far; a mean over those would call it better.
    let mut differences = some(&[-0.5; 8]);
    differences[0] = None;
    differences[1] = None;
    let arm = &judged(&differences).arms[0];
    assert_eq!(arm.diverged, (0, 2));
    assert!(arm.effect.is_none());
    // 6 wins, 2 losses: p = 2·(1 + 8 + 28)/256.
    assert!((arm.sign_p.unwrap() - 74.0 / 256.0).abs() < 1e-12);
    assert_eq!(arm.call, Call::Inconclusive);

    let all_lost = judged(&[None; 8]);
    assert_eq!(all_lost.arms[0].call, Call::Worse);
    // Five pairs can't reach 5% two-sided, however they fall.
    assert_eq!(judged(&[None; 5]).arms[0].call, Call::Inconclusive);
}

#[test]
fn a_control_that_always_diverges_makes_the_arm_better() {
    let control = arm("control", &[None; 8]);
    let verdict = judge(&RULE, &control, &[arm("new", &some(&[2.0; 8]))]);
    assert_eq!(verdict.arms[0].call, Call::Better);
    // Diverged on both sides: ties, which say nothing.
    let verdict = judge(&RULE, &control, &[arm("new", &[None; 8])]);
    assert_eq!(verdict.arms[0].call, Call::Inconclusive);
}

#[test]
fn trials_that_are_not_comparable_make_it_invalid() {
    let control = arm("control", &some(&[2.0, 2.1, 2.2]));
    let good = arm("new", &some(&[1.0, 1.1, 1.2]));
    let invalid = |change: fn(&mut Outcome)| {
        let mut arm = good.clone();
        change(&mut arm.outcomes[1]);
        judge(&RULE, &control, &[arm]).arms[0].clone()
    };
    for (verdict, words) in [
        (invalid(|o| o.cost.tokens += 1), "tokens"),
        (invalid(|o| o.windows = "others".into()), "windows"),
        (invalid(|o| o.seed = 9), "seed 9"),
    ] {
        assert_eq!(verdict.call, Call::Invalid);
        assert!(
            verdict.headline(&RULE).contains(words),
            "{}",
            verdict.headline(&RULE)
        );
    }
    // A trial that diverged early trained on fewer tokens: an outcome, not a mistake.
    let mut diverged = good.clone();
    diverged.outcomes[1] = outcome(1, None);
    diverged.outcomes[1].cost.tokens = 30;
    let verdict = judge(&RULE, &control, &[diverged]);
    assert_ne!(verdict.arms[0].call, Call::Invalid);
}

#[test]
fn more_arms_mean_wider_intervals() {
    let control = arm("control", &some(&[2.0, 2.0, 2.0, 2.0]));
    let new = arm("new", &some(&[2.1, 2.12, 2.11, 2.15]));
    let alone = judge(&RULE, &control, std::slice::from_ref(&new)).arms[0]
        .effect
        .unwrap();
    let of_three = judge(&RULE, &control, &[new.clone(), new.clone(), new]);
    let of_three = of_three.arms[0].effect.unwrap();
    assert!((of_three.confidence - (1.0 - 0.05 / 3.0)).abs() < 1e-12);
    assert!(of_three.high - of_three.low > alone.high - alone.low);
}

#[test]
fn expectations_are_met_as_they_read() {
    let better = judged(&some(&[-0.10, -0.11, -0.09, -0.10]));
    let equivalent = judged(&some(&[0.001, -0.002, 0.000, 0.001]));
    let worse = judged(&some(&[0.10, 0.11, 0.09, 0.10]));
    // Its interval straddles zero and stays below the margin: it can't be worse by much.
    let at_least_no_worse = judged(&some(&[-0.06, -0.01, 0.00, -0.02]));
    assert_eq!(at_least_no_worse.arms[0].call, Call::Inconclusive);
    use Expectation as E;
    for (verdict, met) in [
        (&better, [true, true, false]),
        (&equivalent, [false, true, true]),
        (&worse, [false, false, false]),
        (&at_least_no_worse, [false, true, false]),
    ] {
        let got = [E::Better, E::NotWorse, E::Equivalent].map(|e| verdict.meets(e));
        assert_eq!(got, met, "{:?}", verdict.arms[0].call);
    }
}

/// Simulated studies of each kind.
const STUDIES: usize = 3000;

/// How often each call is made on simulated studies of `n` seeds whose true effect is `effect`
/// with differences that spread by `sd`.
fn calls(n: usize, effect: f64, sd: f64, k: usize) -> BTreeMap<&'static str, f64> {
    let mut rng = Rng::named(11, "test.verdicts");
    let mut counts = BTreeMap::new();
    for _ in 0..STUDIES {
        let control: Vec<f64> = (0..n).map(|_| 2.0 + 0.05 * rng.normal()).collect();
        let arms: Vec<ArmOutcomes> = (0..k)
            .map(|_| {
                let values: Vec<f64> = control
                    .iter()
                    .map(|c| c + effect + sd * rng.normal())
                    .collect();
                arm("new", &some(&values))
            })
            .collect();
        let verdict = judge(&RULE, &arm("control", &some(&control)), &arms);
        // A study with several arms counts once for each call that any of them got.
        let mut names: Vec<&str> = verdict.arms.iter().map(|arm| arm.call.name()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            *counts.entry(name).or_insert(0.0) += 1.0 / STUDIES as f64;
        }
    }
    counts
}

/// Three standard errors of a rate over the simulated studies.
fn noise(rate: f64) -> f64 {
    3.0 * (rate * (1.0 - rate) / STUDIES as f64).sqrt()
}

#[test]
fn when_nothing_differs_a_study_cries_wolf_at_most_as_often_as_alpha_says() {
    for (n, k) in [(3, 1), (8, 1), (8, 4)] {
        let calls = calls(n, 0.0, 0.05, k);
        let alarms = ["better", "candidate", "worse"].map(|c| calls.get(c).copied().unwrap_or(0.0));
        let alarms: f64 = alarms.iter().sum();
        assert!(alarms < 0.05 + noise(0.05), "{n} seeds, {k} arms: {alarms}");
        // Not because it never speaks: Bonferroni costs little at these k.
        assert!(alarms > 0.025, "{n} seeds, {k} arms: {alarms}");
    }
}

#[test]
fn an_effect_as_large_as_the_plan_says_is_seen_with_the_chance_that_it_says() {
    use windtunnel::stats::power::smallest_effect;
    let sd = 0.05;
    let calls = calls(8, sd * smallest_effect(8, 0.05, 0.8), sd, 1);
    let seen = calls["worse"];
    assert!((seen - 0.8).abs() < noise(0.8), "{seen}");
}

#[test]
fn an_effect_at_the_margin_is_rarely_called_equivalent() {
    let calls = calls(8, RULE.margin, 0.005, 1);
    let wrong = calls.get("equivalent").copied().unwrap_or(0.0);
    assert!(wrong < 0.025 + noise(0.025), "{wrong}");
}
