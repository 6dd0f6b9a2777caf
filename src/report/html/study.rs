//! A study's page, in the order a reader asks: what was claimed and what came, the pairs, the
//! curves, the tables, the contract, the cost, how to do it again.

use super::{
    chart::{At, Chart, Extent, Group, grouped, swatch},
    choices, cost, document, environment, facts,
    forest::forest,
    section,
    series::{Across, by_tag, evaluated, parts, seeds, unit},
    table, thin_all,
};
use crate::{
    metrics::Outcome,
    report::{TrialRecords, figures, prediction, tables},
    run_dir::Environment,
    study::{
        contract::Contract,
        finding::Kept,
        spent::Stretch,
        verdict::{ArmVerdict, Verdict, total_cost},
    },
};
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

/// A trial's curves by tag.
type Tags = BTreeMap<String, Vec<At>>;

/// What a page is made from.
pub struct Page<'a> {
    pub contract: &'a Contract,
    /// `None` while trials are missing.
    pub verdict: Option<&'a Verdict>,
    /// By arm, the control first, then by seed.
    pub trials: &'a [Vec<TrialRecords>],
    pub environment: Option<&'a Environment>,
    /// What each process that trained some of it was to take, and took.
    pub stretches: &'a [Stretch],
    /// What was written down of its verdict.
    pub findings: &'a [Kept],
}

impl Page<'_> {
    pub fn to_html(&self) -> String {
        let terms = &self.contract.terms;
        let all = self.by_tag();
        let (mut validation, mut training) = (self.validation(&all), self.training(&all));
        let charts = validation.iter_mut().map(|(_, chart)| chart);
        let thinned = thin_all(charts.chain([&mut training]));
        let outcomes: Vec<&Outcome> = self.outcomes().collect();
        let body = html! {
            (self.head())
            @if let Some(verdict) = self.verdict {
                (section("pairs", "Paired differences", &self.pairs(verdict)))
            }
            @if !self.findings.is_empty() {
                (section("findings", "Findings", &findings(self.findings)))
            }
            (section("curves", "Curves", &html! {
                (choices("validation", &validation))
                (training.markup())
                @if let Some(words) = thinned { p.note { (words) } }
            }))
            @if let Some(verdict) = self.verdict {
                (section("effects", "Effects", &self.effects(verdict)))
            }
            (section("trials", "Trials", &table("Trials", &tables::trials(self.contract, self.trials))))
            (section("drawn", "What was drawn", &html! {
                p.note { "Of the first seed's trial." }
                (table("What was drawn", &tables::realised(self.first_outcomes())))
            }))
            (section("contract", "The contract, frozen before the first trial", &self.terms()))
            (section("cost", "Cost", &self.cost(&outcomes)))
            @if let Some(env) = self.environment {
                (section("environment", "Environment", &environment(env)))
            }
            (section("again", "To do it again", &self.again()))
        };
        document(
            &format!("{}: {}", terms.name, terms.hypothesis.claim),
            &body,
        )
    }

    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.trials
            .iter()
            .flatten()
            .filter_map(|trial| trial.outcome.as_ref())
    }

    fn first_outcomes(&self) -> impl Iterator<Item = (&str, Option<&Outcome>)> {
        let arms = self.contract.terms.arms.iter().zip(self.trials);
        arms.map(|(arm, trials)| {
            let first = trials.first().and_then(|trial| trial.outcome.as_ref());
            (arm.name.as_str(), first)
        })
    }

    fn head(&self) -> Markup {
        let hypothesis = &self.contract.terms.hypothesis;
        html! {
            header {
                p.kind { "Study " code { (self.contract.id) } }
                h1 dir="auto" { (hypothesis.claim) }
                @if !hypothesis.rationale.is_empty() { p.rationale dir="auto" { (hypothesis.rationale) } }
                @for why in &self.contract.terms.exploratory {
                    p.unjudged { b { "Exploratory" } ": no test of the claim: " (why) "." }
                }
                @match self.verdict {
                    Some(verdict) => (verdicts(verdict)),
                    None => p.unjudged role="status" { (self.how_far()) },
                }
                @if let Some(words) = self.verdict.and_then(|v| prediction(self.contract, v)) {
                    p.foreseen { b { "Foreseen: " } (words) "." }
                }
                @if !hypothesis.references.is_empty() {
                    p.note { "References: " (hypothesis.references.join("; ")) }
                }
            }
        }
    }

    fn how_far(&self) -> String {
        let trials: BTreeMap<String, bool> = self
            .trials
            .iter()
            .flatten()
            .map(|trial| (trial.id.to_string(), trial.outcome.is_some()))
            .collect();
        let ended = trials.values().filter(|ended| **ended).count();
        format!(
            "Not judged yet: {ended} of {} trials have ended. Run the study again to go on; what follows is what there is.",
            trials.len()
        )
    }

    fn pairs(&self, verdict: &Verdict) -> Markup {
        let metric = verdict.rule.metric;
        html! {
            (forest(&figures::paired(verdict), verdict.rule.margin, (metric.unit(), &verdict.control)))
            details open {
                summary { "Every pair, " (metric.unit()) }
                (table("Every pair", &tables::pairs(verdict)))
            }
        }
    }

    fn effects(&self, verdict: &Verdict) -> Markup {
        let rule = &verdict.rule;
        let whole = self.trials.iter().map(|trials| {
            let outcomes = trials.iter().map(|trial| trial.outcome.clone());
            outcomes.collect::<Option<Vec<Outcome>>>()
        });
        let outcomes: Option<Vec<Vec<Outcome>>> = whole.collect();
        let outcomes = outcomes.as_deref();
        let corpora = outcomes.and_then(|outcomes| tables::corpora(verdict, outcomes));
        let accuracy = outcomes.and_then(|outcomes| tables::accuracy(self.contract, outcomes));
        let ranking = outcomes.and_then(|outcomes| tables::ranking(self.contract, outcomes));
        html! {
            @if let Some(ranking) = ranking {
                h3 { "The points, best first" }
                (table("The points, best first", &ranking))
            }
            p { "Arm minus " (verdict.control) ", in " (rule.metric.unit()) "; below zero is better. The margin is ±" (rule.margin) "." }
            (table("Effects", &tables::effects(self.contract, verdict)))
            @if let Some(corpora) = corpora {
                h3 { "By corpus" }
                p { "Mean paired difference in bits per byte and its interval, at the study's confidence for each alone. Not judged, shown to be understood: among many corpora some stand out by chance." }
                (table("By corpus", &corpora))
            }
            @if let Some(accuracy) = accuracy {
                h3 { "Answers right" }
                p { "Mean share of answers that each arm gets right. Not judged." }
                (table("Answers right", &accuracy))
            }
        }
    }

    /// A chart for each thing that was evaluated.
    fn validation(&self, all: &[Vec<Tags>]) -> Vec<(String, Chart)> {
        let metric = self.contract.terms.decision.metric;
        let tags = evaluated(all.iter().flatten(), metric);
        let charts = tags.iter().map(|tag| {
            let (of, field) = parts(tag);
            let label = format!("{of}, {}", unit(field));
            let chart = self.chart(all, tag, 1);
            (
                label,
                Chart {
                    title: format!("Validation: {of}"),
                    unit: unit(field),
                    ..chart
                },
            )
        });
        charts.collect()
    }

    fn training(&self, all: &[Vec<Tags>]) -> Chart {
        const WINDOWS: usize = 100;
        let tag = "train/loss";
        let counts = all
            .iter()
            .flatten()
            .filter_map(|tags| Some(tags.get(tag)?.len()));
        let window = counts.max().unwrap_or(0).div_ceil(WINDOWS).max(1);
        let mut chart = self.chart(all, tag, window);
        if window > 1 {
            chart.note = format!(
                "Bold: the mean over {window} records and the arm's seeds. Thin: every seed's batches, as recorded."
            );
        }
        Chart {
            title: "Training loss".into(),
            unit: unit("loss"),
            ..chart
        }
    }

    fn by_tag(&self) -> Vec<Vec<Tags>> {
        let of_arm = |trials: &Vec<TrialRecords>| {
            let trials = trials.iter();
            trials
                .map(|trial| by_tag(&trial.records, Across::Tokens))
                .collect()
        };
        self.trials.iter().map(of_arm).collect()
    }

    fn chart(&self, all: &[Vec<Tags>], tag: &str, window: usize) -> Chart {
        let groups = self
            .contract
            .terms
            .arms
            .iter()
            .zip(all)
            .map(|(arm, trials)| {
                let curves = trials
                    .iter()
                    .map(|tags| tags.get(tag).map_or(&[][..], Vec::as_slice));
                Group {
                    name: arm.name.clone(),
                    lines: seeds(&curves.collect::<Vec<_>>(), window),
                }
            });
        let columns = self
            .contract
            .terms
            .seeds
            .iter()
            .take(self.trials.first().map_or(0, Vec::len))
            .map(|seed| format!("seed {seed}"));
        Chart {
            title: String::new(),
            unit: String::new(),
            across: Across::Tokens.name(),
            columns: std::iter::once("mean".to_string()).chain(columns).collect(),
            groups: groups.collect(),
            extent: Extent::AfterBeginning,
            note: "Bold: the mean of an arm's seeds. Thin: one seed.".into(),
        }
    }

    fn terms(&self) -> Markup {
        let terms = &self.contract.terms;
        let table = tables::terms(self.contract);
        let rows: Vec<(&str, String)> = table
            .rows
            .iter()
            .map(|row| (row[0].as_str(), row[1].clone()))
            .collect();
        html! {
            (facts(&rows))
            h3 { "Arms" }
            ul.arms {
                @for (i, arm) in terms.arms.iter().enumerate() {
                    li {
                        (swatch(i)) b { (arm.name) } ": "
                        @match &arm.factor {
                            None => "the control",
                            Some(factor) => { "changes " code { (factor) } },
                        }
                        "; " (grouped(arm.tokens as f64)) " tokens and " (format!("{:.3e}", arm.flops)) " FLOPs a trial"
                        @for change in tables::changes(arm) { div.change { code { (change) } } }
                    }
                }
            }
            details {
                summary { "The control's recipe, resolved" }
                pre tabindex="0" { (terms.arms[0].run.to_toml()) }
            }
        }
    }

    fn cost(&self, outcomes: &[&Outcome]) -> Markup {
        let total = total_cost(outcomes.iter().copied());
        let distinct: BTreeSet<&String> = outcomes.iter().map(|outcome| &outcome.trial).collect();
        html! {
            (facts(&[("trials that ended", distinct.len().to_string())]))
            (facts(&cost(&total)))
            @if !self.stretches.is_empty() {
                (table("Predicted and spent", &tables::stretches(self.stretches)))
            }
            p.note { "Time is summed over trials; several ran side by side where there were cores. A trial that studies share is counted in each." }
        }
    }

    fn again(&self) -> Markup {
        let id = &self.contract.id;
        html! {
            pre tabindex="0" {
                "windtunnel run STUDY.toml     # the study's file: the same contract, trials that are missing\n"
                "windtunnel report " (id) "\n"
                "windtunnel show " (id) " --json"
            }
            p.note { "The digest of study and recipe as they were written is " code { (self.contract.terms.written) } ". The verdict above is judged again from the outcomes whenever this page is made." }
        }
    }
}

fn verdicts(verdict: &Verdict) -> Markup {
    let item = |(i, arm): (usize, &ArmVerdict)| {
        html! {
            li { (swatch(i + 1)) span class={ "call " (arm.call.name()) } { (arm.call.name()) } " " (arm.headline(&verdict.rule)) }
        }
    };
    html! { ul.verdicts { @for arm in verdict.arms.iter().enumerate() { (item(arm)) } } }
}

/// Findings, each with what no longer holds it.
pub fn findings(findings: &[Kept]) -> Markup {
    html! {
        @for kept in findings {
            div.finding {
                @if let Some(why) = &kept.stale { p.unjudged { b { "Stale" } ": " (why) "." } }
                @for paragraph in kept.finding.text.trim().split("\n\n") { p dir="auto" { (paragraph) } }
            }
        }
        p.note { "In somebody's words; every number was filled in from the ledger." }
    }
}
