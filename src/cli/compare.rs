//! `windtunnel compare RUN RUN`: two runs side by side, for looking; a study is for judging.

use super::{Global, output::Output};
use crate::{
    error::{Error, Result},
    home::Home,
    metrics::{EvalRecord, Record},
    run::Run,
    run_dir::RunDir,
    session::{Session, restore},
};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(clap::Args)]
pub struct Args {
    /// A run: its id or the start of it, or its folder
    first: String,
    /// Another run
    second: String,
    /// Evaluate both on these corpora, with commas between them, instead of looking at what they logged
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    corpus: Vec<String>,
}

#[derive(Serialize)]
struct Comparison {
    runs: [String; 2],
    /// (first, second) by recipe path, where they differ.
    differences: BTreeMap<String, (String, String)>,
    /// Evaluations that both have, by step.
    evals: Vec<Pair>,
    warning: &'static str,
}

#[derive(Serialize)]
struct Pair {
    step: u64,
    first_bpb: f64,
    second_bpb: f64,
    /// Second minus first.
    difference: f64,
}

/// The newest checkpoints of two runs on the same corpora, each with its own tokenizer.
#[derive(Serialize)]
struct OnCorpora {
    runs: [String; 2],
    steps: [u64; 2],
    differences: BTreeMap<String, (String, String)>,
    /// Bits per byte by corpus.
    bpb: BTreeMap<String, [f64; 2]>,
    warning: &'static str,
}

const WARNING: &str = "one pair of runs has no interval: seeds alone move losses this way and that; a study pairs several";

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let dirs = [&args.first, &args.second].map(|name| Home::find_run(&global.home, name));
    let [first, second] = dirs;
    let (first, second) = (first?, second?);
    if !args.corpus.is_empty() {
        let compared = on_corpora(global, [&first, &second], &args.corpus, output)?;
        let text = on_corpora_text(&compared);
        output.result("windtunnel.compare_corpora.v1", &compared, &text);
        return Ok(());
    }
    let evals = [evals(&first)?, evals(&second)?];
    let comparison = Comparison {
        runs: [&first, &second].map(|dir| dir.path().display().to_string()),
        differences: differences(&Run::load(&first.recipe())?, &Run::load(&second.recipe())?),
        evals: pairs(&evals),
        warning: WARNING,
    };
    if comparison.evals.is_empty() {
        return Err(Error::input(
            format!("{} {}", args.first, args.second),
            "the runs have no evaluation at the same step",
            "train both further, or with the same eval.every; or say --corpus A,B to evaluate both on these",
        ));
    }
    output.result("windtunnel.compare.v1", &comparison, &text(&comparison));
    Ok(())
}

fn on_corpora(
    global: &Global,
    dirs: [&RunDir; 2],
    corpora: &[String],
    output: Output,
) -> Result<OnCorpora> {
    let session =
        Session::new(&global.home, global.compute(output)?).watched(super::ingest::bar(output));
    let evaluate = |dir: &RunDir| restore(&session, dir)?.evaluate_on(&session, corpora, 0);
    let [first, second] = dirs.map(evaluate);
    let (first, second) = (first?, second?);
    let both = first.val.iter().zip(second.val.values());
    Ok(OnCorpora {
        runs: dirs.map(|dir| dir.path().display().to_string()),
        steps: [first.step, second.step],
        differences: differences(
            &Run::load(&dirs[0].recipe())?,
            &Run::load(&dirs[1].recipe())?,
        ),
        bpb: both
            .map(|((name, a), b)| (name.clone(), [a.bpb, b.bpb]))
            .collect(),
        warning: WARNING,
    })
}

fn on_corpora_text(c: &OnCorpora) -> String {
    let mut text = String::new();
    for ((word, run), step) in ["first ", "second"].iter().zip(&c.runs).zip(c.steps) {
        text += &format!("{word}    {run} at step {step}\n");
    }
    text += &in_words(&c.differences);
    text += "\ncorpus                 first bpb  second bpb  second - first\n";
    for (corpus, [first, second]) in &c.bpb {
        text += &format!(
            "{corpus:<20} {first:>11.4} {second:>11.4} {:>+15.4}\n",
            second - first
        );
    }
    text + "\n" + c.warning + "\n"
}

fn evals(dir: &RunDir) -> Result<Vec<EvalRecord>> {
    let records = dir.records()?.into_iter();
    let evals = records.filter_map(|record| match record {
        Record::Eval(eval) => Some(eval),
        Record::Step(_) | Record::Data(_) => None,
    });
    Ok(evals.collect())
}

fn pairs([first, second]: &[Vec<EvalRecord>; 2]) -> Vec<Pair> {
    let of_second = |step: u64| second.iter().find(|eval| eval.step == step);
    let both = first.iter().filter_map(|a| Some((a, of_second(a.step)?)));
    both.map(|(a, b)| Pair {
        step: a.step,
        first_bpb: a.bpb,
        second_bpb: b.bpb,
        difference: b.bpb - a.bpb,
    })
    .collect()
}

fn differences(first: &Run, second: &Run) -> BTreeMap<String, (String, String)> {
    let leaves = |run: &Run| {
        let mut leaves = BTreeMap::new();
        let value = serde_json::to_value(run).expect("a run is plain data");
        flatten("", &value, &mut leaves);
        leaves
    };
    let (a, b) = (leaves(first), leaves(second));
    let unset = || "unset".to_string();
    a.keys()
        .chain(b.keys())
        .map(|path| {
            let before = a.get(path).cloned().unwrap_or_else(unset);
            let after = b.get(path).cloned().unwrap_or_else(unset);
            (path.clone(), (before, after))
        })
        .filter(|(_, (before, after))| before != after)
        .collect()
}

fn flatten(prefix: &str, value: &serde_json::Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                let path = match prefix {
                    "" => key.clone(),
                    _ => format!("{prefix}.{key}"),
                };
                flatten(&path, value, leaves);
            }
        }
        other => {
            leaves.insert(prefix.into(), other.to_string());
        }
    }
}

fn text(c: &Comparison) -> String {
    let mut text = format!("first     {}\nsecond    {}\n", c.runs[0], c.runs[1]);
    text += &in_words(&c.differences);
    text += "\n   step   first bpb  second bpb  second - first\n";
    for pair in &c.evals {
        text += &format!(
            "{:>7} {:>11.4} {:>11.4} {:>+15.4}\n",
            pair.step, pair.first_bpb, pair.second_bpb, pair.difference
        );
    }
    text + "\n" + c.warning + "\n"
}

fn in_words(differences: &BTreeMap<String, (String, String)>) -> String {
    if differences.is_empty() {
        return "the recipes are the same\n".into();
    }
    let line = |(path, (first, second)): (&String, &(String, String))| {
        format!("differs   {path}: {first} → {second}\n")
    };
    differences.iter().map(line).collect()
}
