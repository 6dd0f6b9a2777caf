//! `windtunnel compare RUN RUN`: two runs side by side, for looking; a study is for judging.

use super::{Global, output::Output};
use crate::{
    error::Result,
    home::Home,
    report::compared::{Changes, Comparison, WARNING, differences},
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

/// The newest checkpoints of two runs on the same corpora, each with its own tokenizer.
#[derive(Serialize)]
struct OnCorpora {
    runs: [String; 2],
    steps: [u64; 2],
    differences: Changes,
    /// Bits per byte by corpus.
    bpb: BTreeMap<String, [f64; 2]>,
    warning: &'static str,
}

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
    let comparison = Comparison::of([&first, &second])?;
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
        differences: differences(dirs)?,
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

fn in_words(differences: &Changes) -> String {
    if differences.is_empty() {
        return "the recipes are the same\n".into();
    }
    let line = |(path, (first, second)): (&String, &(String, String))| {
        format!("differs   {path}: {first} → {second}\n")
    };
    differences.iter().map(line).collect()
}
