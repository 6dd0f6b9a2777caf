//! Several studies as one page.

use super::{chart::grouped, document, facts, forest::forest, section, study::findings, table};
use crate::report::{
    campaign::{Campaign, HELPED, Headline, NEGATIVE, OPEN, SCORES},
    duration,
};
use maud::{Markup, html};

/// The page.
pub fn page(campaign: &Campaign) -> String {
    let negative = campaign.headlines(&NEGATIVE);
    let open = campaign.headlines(&OPEN);
    let helped = campaign.headlines(&HELPED);
    let undecided =
        !open.is_empty() || !campaign.unjudged.is_empty() || !campaign.left_out.is_empty();
    let body = html! {
        header {
            p.kind { "Campaign " code { (campaign.name) } }
            h1 dir="auto" { (campaign.title()) }
            p { (campaign.summary()) }
        }
        (section("tried", "What was tried", &tried(campaign)))
        @if !helped.is_empty() { (section("helped", "What helped", &headlines(&helped))) }
        @if !negative.is_empty() { (section("negative", "What did not help", &headlines(&negative))) }
        @if undecided { (section("open", "What is not decided", &undecided_of(campaign, &open))) }
        @if !campaign.findings.is_empty() {
            (section("findings", "Findings", &findings(&campaign.findings)))
        }
        @if !campaign.turned_away.is_empty() {
            (section("turned-away", "What was turned away", &table("What was turned away", &campaign.turned_away())))
        }
        @if !campaign.predictions.is_empty() {
            (section("predictions", "Predictions", &html! {
                (table("Predictions", &campaign.predicted()))
                p.note { (SCORES) }
            }))
        }
        (section("cost", "Cost", &cost(campaign)))
        @if !campaign.next.is_empty() || !campaign.open().is_empty() {
            (section("next", "Next questions", &next(campaign)))
        }
        (section("how", "How it was judged", &html! { p { (campaign.how()) } }))
    };
    document(&format!("{}: {}", campaign.name, campaign.title()), &body)
}

fn tried(campaign: &Campaign) -> Markup {
    if campaign.studies.is_empty() {
        return html! { p.empty { "Nothing has a verdict yet." } };
    }
    let names = campaign.rows();
    let (mut rows, margin, label) = campaign.forest();
    for (row, name) in rows.iter_mut().zip(&names) {
        row.arm = name;
    }
    html! {
        (forest(&rows, margin, (&label, "its control")))
        (table("What was tried", &campaign.tried()))
    }
}

fn headlines(lines: &[Headline]) -> Markup {
    html! {
        ul.verdicts {
            @for Headline { call, line, claim } in lines {
                li {
                    span class={ "call " (call.name()) } { (call.name()) } " " (line)
                    div.claim dir="auto" { (claim) }
                }
            }
        }
    }
}

fn undecided_of(campaign: &Campaign, lines: &[Headline]) -> Markup {
    html! {
        @if !lines.is_empty() { (headlines(lines)) }
        @for id in &campaign.unjudged { p { code { (id) } ": not judged yet." } }
        @for study in &campaign.left_out {
            p.unjudged { code { (study.study) } " is left out: " (study.why) "." }
        }
    }
}

fn cost(campaign: &Campaign) -> Markup {
    let cost = campaign.cost();
    let mut rows = vec![
        ("on the device", duration(60.0 * campaign.minutes())),
        ("of trials", duration(cost.seconds)),
        ("tokens", grouped(cost.tokens as f64)),
        ("FLOPs", format!("{:.3e}", cost.flops)),
    ];
    if let Some(dollars) = campaign.dollars {
        rows.push(("for the API", format!("${dollars:.4}")));
    }
    html! {
        (facts(&rows))
        p.note { "A trial that studies share is counted in each." }
    }
}

fn next(campaign: &Campaign) -> Markup {
    let open = campaign.open();
    html! {
        @if !open.is_empty() {
            h3 { "What the verdicts leave open" }
            ul { @for line in &open { li { (line) } } }
        }
        @if !campaign.next.is_empty() {
            h3 { "What proposers would ask" }
            ul { @for next in &campaign.next { li dir="auto" { (next.question.trim()) " " span.unit { "(" (next.by) ")" } } } }
            p.note { "In their words; nothing has tested them." }
        }
    }
}
