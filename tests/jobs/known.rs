//! A question is asked once; what is known of its factor comes with the next.

use super::{Bench, QUICK, SLOW};
use std::fs;

#[test]
fn a_repeat_returns_its_verdict_and_a_negative_result_is_shown_to_the_next() {
    let bench = Bench::new(QUICK);
    bench.json(&["run", "study.toml"]);
    let trained = bench.outcomes().len();
    // Under other names, with another claim: the same question.
    bench.study(
        "again.toml",
        "again",
        &SLOW.replace("arms.slow", "arms.tenth"),
    );
    let text = fs::read_to_string(bench.path("again.toml")).unwrap();
    bench.write(
        "again.toml",
        &text.replace("It matters.", "It is of no importance."),
    );
    let checked = bench.json(&["validate", "again.toml"]);
    assert_eq!(checked["repeat"]["verdict"], "slow: worse");
    let job = bench.submit("again.toml", "again");
    assert_eq!(
        (&job["state"], &job["verdict"]),
        (&"done".into(), &"slow: worse".into())
    );
    assert!(job["why"].as_str().unwrap().contains("a repeat of slow-"));
    assert_eq!(bench.outcomes().len(), trained);
    // Another value of the same factor: not a repeat, but warned.
    bench.study("next.toml", "next", &SLOW.replace("1e-5", "2e-5"));
    let checked = bench.json(&["validate", "next.toml"]);
    assert!(checked["repeat"].is_null());
    let earlier = &checked["earlier"][0];
    assert_eq!(
        (&earlier["call"], &earlier["factor"]),
        (&"worse".into(), &"optimizer.lr".into())
    );
    assert!(earlier["effect"].as_f64().unwrap() > 0.1);
    // Other seeds, written down: a replication.
    let text = fs::read_to_string(bench.path("study.toml")).unwrap();
    bench.write(
        "seeds.toml",
        &text.replace("[hypothesis]", "set = { seed = 100 }\n[hypothesis]"),
    );
    let checked = bench.json(&["validate", "seeds.toml"]);
    assert!(checked["repeat"].is_null());
    assert_eq!(checked["replicates"]["verdict"], "slow: worse");
    // More seeds of the same: more than the finished study can say.
    bench.decided("more.toml", "slow", ("margin = 0.1\nseeds = 3", SLOW));
    assert!(bench.json(&["validate", "more.toml"])["repeat"].is_null());
    // A stricter margin is another question.
    bench.decided("margin.toml", "slow", ("margin = 0.01\nseeds = 2", SLOW));
    assert!(bench.json(&["validate", "margin.toml"])["repeat"].is_null());
    bench.audited();
}

#[test]
fn in_a_campaign_fresh_seeds_do_not_make_a_question_new() {
    let bench = Bench::new(QUICK);
    bench.write("campaign.toml", "name = \"rates\"\n");
    bench.json(&["run", "study.toml"]);
    bench.study("again.toml", "again", SLOW);
    let checked = bench.json(&["validate", "again.toml"]);
    assert!(
        checked["repeat"]["study"]
            .as_str()
            .unwrap()
            .starts_with("slow-"),
        "{checked}"
    );
    // What the campaign is judged by is settled by its first study.
    let loss = "margin = 0.1\nseeds = 2\nmetric = \"loss\"";
    bench.decided("loss.toml", "loss", (loss, SLOW));
    let args = ["submit", "loss.toml", "--key", "k", "--proposer", "claude"];
    let error = bench.said(&args, 3);
    assert!(
        error["problem"]
            .as_str()
            .unwrap()
            .contains("judged by loss"),
        "{error}"
    );
}
