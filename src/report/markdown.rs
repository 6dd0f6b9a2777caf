//! A study as a Markdown page that reads top to bottom: verdict, pictures, pairs, corpora, what was
//! really drawn, the frozen contract, cost, environment.

use super::{StudyReport, duration, threads};
use crate::{
    metrics::Outcome,
    study::verdict::{ArmVerdict, Pair, digits},
};
use std::collections::BTreeSet;

/// The whole page.
pub fn page(study: &StudyReport) -> String {
    let terms = &study.contract.terms;
    let mut page = format!("# {}\n\n> {}\n\n", terms.name, terms.hypothesis.claim);
    if !terms.hypothesis.rationale.is_empty() {
        page += &format!("{}\n\n", terms.hypothesis.rationale);
    }
    page += "## Verdict\n\n";
    for arm in &study.verdict.arms {
        page += &format!("- **{}**\n", arm.headline(&study.verdict.rule));
    }
    if let Some(words) = study.prediction() {
        page += &format!("\nForeseen: {words}.\n");
    }
    page += "\n![Paired differences](differences.svg)\n\n![Validation curves](curves.svg)\n\n";
    page += &arms(study);
    page += &corpora(study);
    page += &accuracy(study);
    page += &pairs(study);
    page += &realised(study);
    page += &contract(study);
    page + &cost(study)
}

/// A Markdown table.
fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = vec!["---".to_string(); head.len()];
    let body: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{}{body}\n", line(head), line(&rule))
}

fn words(cells: &[&str]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

fn arms(study: &StudyReport) -> String {
    let rule = &study.verdict.rule;
    let places = digits(rule.margin);
    let head = words(&[
        "arm",
        "change",
        "verdict",
        "difference",
        "interval",
        "p",
        "diverged",
    ]);
    let of_arm = |arm: &ArmVerdict| {
        let terms = study.contract.terms.arms.iter().find(|a| a.name == arm.arm);
        let changes = terms.map(|terms| {
            let changes = terms.changes.iter();
            let changes =
                changes.map(|(path, (before, after))| format!("{path}: {before} → {after}"));
            changes.collect::<Vec<_>>().join("; ")
        });
        let (difference, interval, p) = match (&arm.effect, arm.sign_p) {
            (Some(e), _) => (
                format!("{:+.places$}", e.mean),
                format!("{:+.places$} to {:+.places$}", e.low, e.high),
                format!("{:.2e}", e.p),
            ),
            (None, Some(p)) => ("—".into(), "—".into(), format!("{p:.3} (sign test)")),
            (None, None) => ("—".into(), "—".into(), "—".into()),
        };
        vec![
            arm.arm.clone(),
            changes.unwrap_or_default(),
            arm.call.name().into(),
            difference,
            interval,
            p,
            format!("{} (control {})", arm.diverged.1, arm.diverged.0),
        ]
    };
    let rows: Vec<Vec<String>> = study.verdict.arms.iter().map(of_arm).collect();
    format!(
        "Differences are arm minus {}, in {}; below zero is better. The margin is ±{}.\n\n{}",
        study.verdict.control,
        rule.metric.unit(),
        rule.margin,
        table(&head, &rows)
    )
}

fn corpora(study: &StudyReport) -> String {
    let Some(first) = study
        .verdict
        .arms
        .first()
        .filter(|arm| !arm.by_corpus.is_empty())
    else {
        return String::new();
    };
    let mut head = words(&["arm"]);
    head.extend(first.by_corpus.keys().cloned());
    let rows: Vec<Vec<String>> = study
        .verdict
        .arms
        .iter()
        .map(|arm| {
            let mut row = vec![arm.arm.clone()];
            row.extend(arm.by_corpus.values().map(|d| format!("{d:+.4}")));
            row
        })
        .collect();
    format!(
        "## By corpus\n\nMean paired difference in bits per byte; not judged, shown to be understood.\n\n{}",
        table(&head, &rows)
    )
}

/// Of every arm and corpus with answers, the mean over the seeds that finished.
fn accuracy(study: &StudyReport) -> String {
    let outcomes = study.outcomes.iter().flatten().filter_map(Outcome::eval);
    let with_answers = outcomes.flat_map(|eval| &eval.val);
    let with_answers = with_answers.filter(|(_, val)| val.accuracy.is_some());
    let corpora: BTreeSet<&String> = with_answers.map(|(corpus, _)| corpus).collect();
    if corpora.is_empty() {
        return String::new();
    }
    let mut head = words(&["arm"]);
    head.extend(corpora.iter().map(ToString::to_string));
    let mut rows = Vec::new();
    for (arm, outcomes) in study.contract.terms.arms.iter().zip(&study.outcomes) {
        let mut row = vec![arm.name.clone()];
        for corpus in &corpora {
            let evals = outcomes.iter().filter_map(Outcome::eval);
            let seen = evals.filter_map(|eval| eval.val.get(*corpus)?.accuracy);
            let seen: Vec<f64> = seen.collect();
            row.push(match seen.len() {
                0 => "—".into(),
                n => format!("{:.2}%", 100.0 * seen.iter().sum::<f64>() / n as f64),
            });
        }
        rows.push(row);
    }
    format!(
        "## Answers right\n\nMean share of answers that each arm gets right; not judged.\n\n{}",
        table(&head, &rows)
    )
}

fn pairs(study: &StudyReport) -> String {
    let metric = study.verdict.rule.metric;
    let mut head = vec!["seed".to_string(), study.verdict.control.clone()];
    for arm in &study.verdict.arms {
        head.extend([arm.arm.clone(), "difference".into()]);
    }
    let number = |x: Option<f64>| x.map_or("diverged".into(), |x| format!("{x:.5}"));
    let of_seed = |idx: usize, pair: &Pair| {
        let mut row = vec![pair.seed.to_string(), number(pair.control)];
        for arm in &study.verdict.arms {
            let pair = &arm.pairs[idx];
            let difference = pair.difference();
            row.push(number(pair.arm));
            row.push(difference.map_or("—".into(), |d| format!("{d:+.5}")));
        }
        row
    };
    let first = study.verdict.arms.first();
    let pairs = first.map_or(&[][..], |arm| &arm.pairs);
    let rows: Vec<Vec<String>> = pairs
        .iter()
        .enumerate()
        .map(|(i, p)| of_seed(i, p))
        .collect();
    format!(
        "## Every pair, {}\n\n{}",
        metric.unit(),
        table(&head, &rows)
    )
}

fn realised(study: &StudyReport) -> String {
    let head = words(&["arm", "corpus", "tokens", "share", "epochs"]);
    let mut rows = Vec::new();
    for (arm, outcomes) in study.contract.terms.arms.iter().zip(&study.outcomes) {
        // Every seed draws the same number of rows from each corpus, give or take one.
        for part in outcomes
            .first()
            .map_or(&[][..], |outcome| &outcome.realised)
        {
            rows.push(vec![
                arm.name.clone(),
                part.corpus.clone(),
                part.tokens.to_string(),
                format!("{:.1}%", 100.0 * part.share),
                format!("{:.2}", part.epochs),
            ]);
        }
    }
    format!(
        "## What was drawn\n\nOf the first seed's trial.\n\n{}",
        table(&head, &rows)
    )
}

fn contract(study: &StudyReport) -> String {
    let terms = &study.contract.terms;
    let eval: Vec<String> = terms.arms[0]
        .run
        .eval
        .corpora
        .iter()
        .map(|share| format!("{} (weight {:.3})", share.corpus, share.weight))
        .collect();
    let seeds: Vec<String> = terms.seeds.iter().map(ToString::to_string).collect();
    let d = &terms.decision;
    let rows = [
        ("proposer", terms.proposer.clone()),
        ("metric", d.metric.unit().to_string()),
        ("evaluated on", eval.join(", ")),
        ("margin", format!("±{}", d.margin)),
        ("alpha", d.alpha.to_string()),
        ("rule", "fixed: all seeds, then one look".to_string()),
        ("seeds", seeds.join(" ")),
        ("tokens per trial", terms.arms[0].tokens.to_string()),
        (
            "device",
            format!(
                "{}, {}, {} per trial",
                terms.device.class,
                terms.device.dtype,
                threads(terms.device.threads)
            ),
        ),
        ("numerics", terms.numerics.clone()),
        ("validation windows", terms.windows.clone()),
        ("digest", study.contract.digest.clone()),
    ];
    let rows: Vec<Vec<String>> = rows.map(|(name, value)| vec![name.into(), value]).into();
    format!(
        "## The contract, frozen before the first trial\n\n{}The control's recipe, resolved:\n\n```toml\n{}```\n\n",
        table(&words(&["", ""]), &rows),
        terms.arms[0].run.to_toml()
    )
}

fn cost(study: &StudyReport) -> String {
    let cost = study.cost();
    let env = &study.environment;
    let trials: BTreeSet<&String> = study
        .outcomes
        .iter()
        .flatten()
        .map(|outcome| &outcome.trial)
        .collect();
    format!(
        "## Cost\n\n{} trials, {} tokens, {:.3e} FLOPs, {} of trials on {} ({} cores), windtunnel {} (revision {}).\n",
        trials.len(),
        cost.tokens,
        cost.flops,
        duration(cost.seconds),
        env.machine.cpu,
        env.machine.cores,
        env.version,
        env.revision,
    )
}
