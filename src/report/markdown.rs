//! A study as a Markdown page that reads top to bottom: verdict, pictures, pairs, corpora, what was
//! really drawn, the frozen contract, cost, environment.

use super::{
    StudyReport, cost_each, duration,
    tables::{self, Table},
};
use crate::study::finding::Kept;

/// The whole page.
pub fn page(study: &StudyReport) -> String {
    let terms = &study.contract.terms;
    let mut page = format!("# {}\n\n> {}\n\n", terms.name, terms.hypothesis.claim);
    if !terms.hypothesis.rationale.is_empty() {
        page += &format!("{}\n\n", terms.hypothesis.rationale);
    }
    page += "## Verdict\n\n";
    for why in &study.verdict.exploratory {
        page += &format!("**Exploratory: no test of the claim: {why}.**\n\n");
    }
    for arm in study.judged() {
        page += &format!("- **{}**\n", arm.headline(&study.verdict.rule));
        for line in arm.details(&study.verdict.rule) {
            page += &format!("  - {line}\n");
        }
    }
    if let Some(words) = study.prediction() {
        page += &format!("\nForeseen: {words}.\n");
    }
    page += &findings(&study.findings);
    if let Some(ranking) = tables::ranking(&study.contract, &study.outcomes) {
        page += &format!("\n## The points, best first\n\n{}", table(&ranking));
    }
    page += "\n![Paired differences](differences.svg)\n\n![Validation curves](curves.svg)\n\n";
    page += &effects(study);
    page += &format!(
        "## Every pair, {}\n\n{}",
        study.verdict.rule.metric.unit(),
        table(&tables::pairs(&study.verdict))
    );
    page += &format!(
        "## What was drawn\n\nOf the first seed's trial.\n\n{}",
        table(&tables::realised(study.first_outcomes()))
    );
    page += &format!(
        "## The contract, frozen before the first trial\n\n{}The control's recipe, resolved:\n\n```toml\n{}```\n\n",
        table(&tables::terms(&study.contract)),
        terms.arms[0].run.to_toml()
    );
    page + &cost(study)
}

/// Findings under their heading; nothing where there are none.
pub(super) fn findings(findings: &[Kept]) -> String {
    let mut text = String::new();
    for kept in findings {
        if text.is_empty() {
            text = "\n## Findings\n".into();
        }
        if let Some(why) = &kept.stale {
            text += &format!("\n**Stale: {why}.**\n");
        }
        text += &format!("\n{}\n", kept.finding.text.trim());
    }
    text
}

pub(super) fn table(table: &Table) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = vec!["---".to_string(); table.head.len()];
    let body: String = table.rows.iter().map(|row| line(row)).collect();
    format!("{}{}{body}\n", line(&table.head), line(&rule))
}

fn effects(study: &StudyReport) -> String {
    let rule = &study.verdict.rule;
    let mut text = format!(
        "Differences are arm minus {}, in {}; below zero is better. The margin is ±{}.\n\n{}",
        study.verdict.control,
        rule.metric.unit(),
        rule.margin,
        table(&tables::effects(&study.contract, &study.verdict))
    );
    if let Some(corpora) = tables::corpora(&study.verdict, &study.outcomes) {
        text += &format!(
            "## By corpus\n\nMean paired difference in bits per byte and its interval; not judged, shown to be understood.\n\n{}",
            table(&corpora)
        );
    }
    if let Some(accuracy) = tables::accuracy(&study.contract, &study.outcomes) {
        text += &format!(
            "## Answers right\n\nMean share of answers that each arm gets right; not judged.\n\n{}",
            table(&accuracy)
        );
    }
    text
}

fn cost(study: &StudyReport) -> String {
    let cost = study.cost();
    let env = &study.environment;
    let trials: std::collections::BTreeSet<&String> = study
        .outcomes
        .iter()
        .flatten()
        .map(|outcome| &outcome.trial)
        .collect();
    let mut text = format!(
        "## Cost\n\n{} trials, {} tokens, {:.3e} FLOPs, {} of trials on {} ({} cores), windtunnel {} (revision {}).\n",
        trials.len(),
        cost.tokens,
        cost.flops,
        duration(cost.seconds),
        env.machine.cpu,
        env.machine.cores,
        env.version,
        env.revision,
    );
    text += &format!(
        "\nEach of {} verdicts, {}.\n",
        study.verdict.arms.len(),
        cost_each(&study.verdict)
    );
    if !study.stretches.is_empty() {
        text += &format!("\n{}", table(&tables::stretches(&study.stretches)));
    }
    text
}
