//! Pages of studies and runs that somebody hostile or unlucky would bring.

use super::{run, study};
use crate::{
    metrics::{CorpusEval, Cost, Ending, EvalRecord, Outcome, Record, StepRecord},
    report::TrialRecords,
    run::Run,
    run_dir::Environment,
    study::{
        contract::{Contract, Terms},
        verdict::{ArmOutcomes, Verdict, judge},
    },
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const HOSTILE: &str = "<script>alert('1')</script> & \"q\" </title></main> 漢字 \u{202e}rtl";

const RUN: &str = r#"
seed = 1
steps = 40
vocab_size = 50
[data]
tokenizer = "char"
mixture = [{ corpus = "prose", weight = 1.0 }]
[model]
[batch]
[optimizer]
[schedule]
[eval]
corpora = [{ corpus = "prose", weight = 1.0 }]
[checkpoint]
[log]
"#;

fn run_of(corpus: &str) -> Run {
    let text = RUN.replace("\"prose\"", &json!(corpus).to_string());
    toml::from_str(&text).unwrap()
}

fn environment() -> Environment {
    let device = json!({ "class": "cpu", "dtype": "f32", "threads": 1 });
    Environment::here(&serde_json::from_value(device).unwrap(), 1)
}

/// How one trial of a made-up study goes.
#[derive(Clone, Copy)]
enum Fate {
    Finishes(f64),
    Diverges,
    Runs,
    Waits,
}

struct Study {
    contract: Contract,
    verdict: Option<Verdict>,
    trials: Vec<Vec<TrialRecords>>,
}

/// A study of arms with these names and fates by seed; every trial that began has so many steps.
fn study(arms: &[(&str, Vec<Fate>)], steps: u64) -> Study {
    let run = run_of(HOSTILE);
    let seeds: Vec<u64> = (1..=arms[0].1.len() as u64).collect();
    let id = |arm: usize, seed: &u64| format!("{:016x}", arm as u64 * 1000 + seed);
    let arm_terms: Vec<Value> = arms
        .iter()
        .enumerate()
        .map(|(i, (name, _))| {
            json!({
                "name": name, "factor": if i == 0 { Value::Null } else { json!(HOSTILE) },
                "changes": if i == 0 { json!({}) } else { json!({ HOSTILE: [HOSTILE, "2"] }) },
                "tokens": 4000, "flops": 1e9, "run": run,
                "trials": seeds.iter().map(|seed| id(i, seed)).collect::<Vec<_>>(),
            })
        })
        .collect();
    let terms: Terms = serde_json::from_value(json!({
        "name": "made-up", "proposer": HOSTILE, "written": "w",
        "hypothesis": { "claim": HOSTILE, "rationale": HOSTILE, "references": [HOSTILE],
            "prediction": { "direction": "better", "effect": 0.1, "confidence": 0.8 } },
        "decision": { "margin": 0.05, "seeds": seeds.len() }, "limits": {},
        "device": { "class": "cpu", "dtype": "f32", "threads": 1 },
        "numerics": "n", "windows": "w", "seeds": seeds, "arms": arm_terms,
    }))
    .unwrap();
    let contract = Contract::new(terms);
    let trials: Vec<Vec<TrialRecords>> = arms
        .iter()
        .zip(&contract.terms.arms)
        .map(|((_, fates), arm)| {
            let each = fates.iter().zip(&arm.trials).zip(&seeds);
            each.map(|((fate, id), seed)| TrialRecords {
                id: id.clone(),
                seed: *seed,
                outcome: outcome(*fate, (*seed, id.to_string())),
                records: records(*fate, steps),
            })
            .collect()
        })
        .collect();
    let verdict = verdict(&contract, &trials);
    Study {
        contract,
        verdict,
        trials,
    }
}

fn verdict(contract: &Contract, trials: &[Vec<TrialRecords>]) -> Option<Verdict> {
    let arms = contract.terms.arms.iter().zip(trials).map(|(arm, trials)| {
        let outcomes = trials.iter().map(|trial| trial.outcome.clone());
        Some(ArmOutcomes {
            name: arm.name.clone(),
            outcomes: outcomes.collect::<Option<_>>()?,
        })
    });
    let mut arms = arms.collect::<Option<Vec<_>>>()?;
    let control = arms.remove(0);
    Some(judge(&contract.rule(), &control, &arms))
}

fn eval(step: u64, bpb: f64) -> EvalRecord {
    let val = CorpusEval {
        accuracy: None,
        answers: None,
        answer_loss: None,
        loss: bpb * 0.7,
        bpb,
        tokens: 10,
        bytes: 10,
    };
    EvalRecord {
        step,
        tokens: step * 100,
        loss: bpb * 0.7,
        bpb,
        val: BTreeMap::from([(HOSTILE.to_string(), val)]),
        ema: None,
    }
}

fn outcome(fate: Fate, (seed, trial): (u64, String)) -> Option<Outcome> {
    let ending = match fate {
        Fate::Finishes(bpb) => Ending::Finished {
            eval: eval(40, bpb),
        },
        Fate::Diverges => Ending::Diverged {
            step: 3,
            what: HOSTILE.into(),
        },
        Fate::Runs | Fate::Waits => return None,
    };
    Some(Outcome {
        branched: None,
        schema: Outcome::SCHEMA.into(),
        trial,
        design: String::new(),
        seed,
        ending,
        cost: Cost {
            seconds: 1.0,
            tokens: 4000,
            flops: 1e9,
        },
        realised: Vec::new(),
        windows: "w".into(),
    })
}

fn records(fate: Fate, steps: u64) -> Vec<Record> {
    let (last, steps) = match fate {
        Fate::Finishes(bpb) => (bpb, steps),
        Fate::Diverges => (f64::INFINITY, steps / 4),
        Fate::Runs => (2.0, steps / 2),
        Fate::Waits => return Vec::new(),
    };
    let step = |step: u64| {
        Record::Step(StepRecord {
            targets: None,
            step,
            tokens: step * 100,
            loss: 2.0 + 1.0 / step as f64 + (step % 7) as f64 * 0.01,
            lr: 1e-3,
            grad_norm: if step == 5 { 1e300 } else { 1.0 },
            ms: 2.0,
        })
    };
    let evals = [steps / 2, steps].map(|at| Record::Eval(eval(at, last + 10.0 / (at + 1) as f64)));
    (1..=steps).map(step).chain(evals).collect()
}

fn page(study: &Study) -> String {
    let page = study::Page {
        contract: &study.contract,
        verdict: study.verdict.as_ref(),
        trials: &study.trials,
        environment: Some(&environment()),
        stretches: &[],
        findings: &[],
    };
    page.to_html()
}

/// Panics unless tags are closed in order, no text was taken for markup, and nothing that is drawn
/// is off the charts.
fn assert_sound(page: &str) {
    let (before, rest) = page.split_once("<style>").unwrap();
    let (style, rest) = rest.split_once("</style>").unwrap();
    let (body, script) = rest.rsplit_once("<script>").unwrap();
    assert!(script.ends_with("</script></body></html>"));
    for text in [style, script] {
        for from_elsewhere in ["url(", "@import", "fetch(", "XMLHttp", "innerHTML"] {
            assert!(!text.contains(from_elsewhere), "{from_elsewhere}");
        }
    }
    let markup = format!("{before}{body}").replacen("<!DOCTYPE html>", "", 1);
    assert!(!markup.contains("<script") && !markup.contains(" src=") && !markup.contains(" href="));
    let mut open = Vec::new();
    for part in markup.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.trim_start_matches('/').split(' ').next().unwrap();
        match (tag.starts_with('/'), name) {
            (true, _) => assert_eq!(open.pop(), Some(name), "{tag}"),
            (false, "meta" | "input") => {}
            (false, _) => open.push(name),
        }
        for not_drawn in ["NaN", "inf", "-0%"] {
            let drawn = ["d=\"", "style=\"", "data-y=\""].map(|a| tag.split(a).nth(1));
            let drawn = drawn.map(|rest| rest.and_then(|rest| rest.split('"').next()));
            assert!(
                drawn.iter().flatten().all(|d| !d.contains(not_drawn)),
                "{tag}"
            );
        }
    }
    // What follows the script closes these.
    assert_eq!(open, ["html", "body"]);
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

/// As it stands in a page.
fn escaped(text: &str) -> String {
    maud::html! { (text) }.into_string()
}

fn finished(values: &[f64]) -> Vec<Fate> {
    values.iter().map(|value| Fate::Finishes(*value)).collect()
}

#[test]
fn a_judged_study_says_what_the_terminal_says_and_escapes_what_people_wrote() {
    let study = study(
        &[
            ("control", finished(&[2.0, 2.1, 2.2])),
            (HOSTILE, finished(&[1.8, 1.91, 2.02])),
        ],
        40,
    );
    let page = page(&study);
    assert_sound(&page);
    let verdict = study.verdict.unwrap();
    let headline = verdict.arms[0].headline(&verdict.rule);
    assert!(headline.contains("better"));
    for words in [
        headline.as_str(),
        "better by 0.1 (80% sure): so it came",
        &study.contract.digest,
        &study.contract.id,
        HOSTILE,
        "seed 3: -0.18000",
    ] {
        assert!(page.contains(&escaped(words)), "{words}");
    }
    assert!(!page.contains("thinned"));
}

#[test]
fn what_a_reader_points_at_is_what_was_recorded() {
    let study = study(
        &[("control", finished(&[2.0])), ("arm", finished(&[1.5]))],
        3,
    );
    let page = page(&study);
    assert_sound(&page);
    let losses = study.trials[0][0]
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Step(step) => Some(format!("{:.4}", step.loss)),
            _ => None,
        });
    let losses = losses.collect::<Vec<_>>().join(" ");
    assert!(
        page.contains(&format!("data-x=\"100 200 300\" data-y=\"{losses}\"")),
        "{losses}"
    );
    // One pair has no interval.
    assert!(page.contains("no interval (1 seed)") && page.contains("too few for an interval"));
}

#[test]
fn diverged_trials_are_marked_and_counted() {
    let fates = vec![Fate::Diverges, Fate::Finishes(2.0), Fate::Diverges];
    let page = page(&study(
        &[("control", finished(&[2.0; 3])), ("arm", fates)],
        40,
    ));
    assert_sound(&page);
    for words in [
        "2 of 3 trials diverged",
        "diverged at step 3",
        "no interval (1 seed)",
        "arm: ended early",
        "<td>ended</td>",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn an_interrupted_study_says_how_far_it_is() {
    let begun = vec![Fate::Finishes(2.0), Fate::Runs, Fate::Waits];
    let page = page(&study(
        &[("control", begun), ("arm", vec![Fate::Waits; 3])],
        40,
    ));
    assert_sound(&page);
    for words in ["1 of 6 trials have ended", "at step 20", "not started"] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("Foreseen"));
}

#[test]
fn a_study_that_recorded_nothing_has_a_page() {
    let page = page(&study(
        &[("control", vec![Fate::Waits]), ("arm", vec![Fate::Waits])],
        0,
    ));
    assert_sound(&page);
    assert!(page.contains("Training loss: nothing was recorded."));
}

#[test]
fn the_control_alone_has_a_page() {
    assert_sound(&page(&study(&[("control", finished(&[2.0, 2.1]))], 40)));
}

#[test]
fn twenty_arms_of_twelve_seeds_stay_under_a_megabyte() {
    let names: Vec<String> = (0..20)
        .map(|i| format!("arm {i} {}", "x".repeat(100)))
        .collect();
    let seeds: Vec<f64> = (0..12).map(|seed| 2.0 + f64::from(seed) * 0.01).collect();
    let arms: Vec<(&str, Vec<Fate>)> = names
        .iter()
        .map(|name| (name.as_str(), finished(&seeds)))
        .collect();
    let page = page(&study(&arms, 600));
    assert_sound(&page);
    assert!(page.contains("are thinned"));
    assert!(names.iter().all(|name| page.contains(name)));
}

#[test]
fn a_run_has_a_page_at_every_stage() {
    for (fate, words) in [
        (Fate::Waits, "Not finished: recorded up to step 0 of 40"),
        (Fate::Runs, "Not finished: recorded up to step 20 of 40"),
        (Fate::Diverges, "Diverged at step 3"),
        (
            Fate::Finishes(1.25),
            "1.2500 bits per byte, 0.8750 nats per token",
        ),
    ] {
        let page = run::Page {
            name: HOSTILE.into(),
            run: run_of(HOSTILE),
            outcome: outcome(fate, (1, "trial".into())),
            records: records(fate, 40),
            events: Vec::new(),
            environment: environment(),
        };
        let page = page.to_html();
        assert_sound(&page);
        assert!(page.contains(words), "{words}");
    }
}
