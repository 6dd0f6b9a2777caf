//! Weightings, caps and phases that can't be meant or kept.

use crate::{Bench, RECIPE, at, replaced, says};

/// A mixture's keys in the place of `mixture = […]`, what the refusal says, and its line.
const CASES: [(&str, &str, &str); 25] = [
    ("weighting = \"natrual\"", "data.weighting", "\"natural\""),
    (
        "weighting = { temprature = 2.0 }",
        "temprature",
        "\"temperature\"",
    ),
    (
        "weighting = { temperature = 0.0 }",
        "temperature is 0",
        "above 0",
    ),
    (
        "weighting = { temperature = -1 }",
        "temperature is -1",
        "above 0",
    ),
    (
        "weighting = { temperature = inf }",
        "temperature is inf",
        "above 0",
    ),
    (
        "weighting = { unimax_epochs = 0 }",
        "unimax_epochs is 0",
        "above 0",
    ),
    (
        "weighting = \"temperature\"",
        "data.weighting",
        "{ temperature = 2.0 }",
    ),
    (
        "weighting = { temperature = 2.0, unimax_epochs = 2.0 }",
        "data.weighting",
        "one",
    ),
    ("wieghting = \"natural\"", "data.wieghting", "\"weighting\""),
    (
        "mixture = [{ corpus = \"words\", max_epochs = -1.0 }]",
        "max_epochs of \"words\" is -1",
        "above 0",
    ),
    (
        "mixture = [{ corpus = \"words\", max_epochs = nan }]",
        "max_epochs of \"words\" is NaN",
        "above 0",
    ),
    (
        "mixture = [{ corpus = \"words\", max_tokens = -5 }]",
        "data.mixture.max_tokens",
        "0 or more",
    ),
    (
        "mixture = [{ corpus = \"words\", max_tokens = 0 }]",
        "max_tokens of \"words\" is 0",
        "above 0",
    ),
    (
        "mixture = [{ corpus = \"words\", max_epoch = 1 }]",
        "max_epoch",
        "\"max_epochs\"",
    ),
    (
        "phases = [{ mixture = [{ corpus = \"words\" }] }]",
        "phase 1: sets neither of at and at_step",
        "exactly one",
    ),
    (
        "phases = [{ at = 0.5, at_step = 3, mixture = [{ corpus = \"words\" }] }]",
        "phase 1: sets both of at and at_step",
        "exactly one",
    ),
    (
        "phases = [{ at = 1.5, mixture = [{ corpus = \"words\" }] }]",
        "at is 1.5: out of range",
        "0 to 1",
    ),
    (
        "phases = [{ at = 0.5, over = -0.1, mixture = [{ corpus = \"words\" }] }]",
        "over is -0.1: out of range",
        "over_steps",
    ),
    (
        "phases = [{ at_step = 12, mixture = [{ corpus = \"words\" }] }]",
        "beyond the run, whose 12 steps are 0 to 11",
        "earlier",
    ),
    (
        "phases = [{ at = 0.5, over = 0.75, mixture = [{ corpus = \"words\" }] }]",
        "goes from step 6 to 15, beyond",
        "earlier",
    ),
    (
        "phases = [{ at = 0.0, mixture = [{ corpus = \"words\" }] }]",
        "nothing is drawn by data.mixture",
        "later",
    ),
    (
        "phases = [{ at = 0.5, over = 0.25, mixture = [{ corpus = \"words\" }] }, { at_step = 8, mixture = [{ corpus = \"words\" }] }]",
        "phase 2: begins at step 8",
        "in the order",
    ),
    (
        "phases = [{ at = 0.5, mixture = [{ corpus = \"words\", weight = 0 }] }]",
        "phase 1: every weight is 0",
        "positive",
    ),
    (
        "phases = [{ at = 0.5, mixture = [{ corpus = \"word\" }] }]",
        "no such corpus",
        "\"words\"",
    ),
    (
        "phases = [{ att = 0.5, mixture = [{ corpus = \"words\" }] }]",
        "data.phases.att",
        "\"at\"",
    ),
];

#[test]
fn mixtures_that_cannot_be_meant_are_refused_at_their_line() {
    let bench = Bench::new();
    let mixture = "mixture = [{ corpus = \"words\", weight = 1.0 }]";
    for (keys, problem, remedy) in CASES {
        let lines = match keys.starts_with("mixture") {
            true => keys.to_string(),
            false => format!("{mixture}\n{keys}"),
        };
        let text = replaced(RECIPE, mixture, &lines);
        bench.write("recipe.toml", &text);
        let place = at("recipe.toml", &text, keys);
        for args in [["train", "recipe.toml"], ["plan", "study.toml"]] {
            bench.refuse(&args, says(&place, problem, remedy));
        }
    }
}

#[test]
fn caps_that_cannot_be_kept_are_refused_before_the_run_with_the_tokens_that_are_missing() {
    let bench = Bench::new();
    // 12 steps of 4 × 16 tokens, of which 320 are whole rows within 330.
    let capped = "data.mixture=[{corpus=\"words\",max_tokens=330}]";
    for file in [["train", "recipe.toml"], ["run", "study.toml"]] {
        let args = [&file[..], &[capped]].concat();
        let place = "override \"data.mixture";
        let problem = "448 of the run's 768 tokens";
        bench.refuse(
            &args,
            says(place, problem, "lower the budget to 320 tokens"),
        );
    }
    let eval = "eval.corpora=[{corpus=\"words\",max_epochs=1.0}]";
    bench.refuse(
        &["train", "recipe.toml", eval],
        says("eval.corpora", "a cap", "leave it out"),
    );
    let twice = "data.phases=[{at=0.5,mixture=[{corpus=\"words\",max_epochs=3.0}]}]";
    bench.refuse(
        &["train", "recipe.toml", twice],
        says("data.phases", "where it is first named", "once"),
    );
}
