//! One run's page: how far it is, its curves, its evaluations, what it cost, its recipe.

use super::{
    chart::{At, Chart, Extent, Group, Line},
    choices, cost, document, environment, section,
    series::{Across, by_tag, evaluated, parts, unit, windowed},
    table, thin_all,
};
use crate::{
    metrics::{Ending, EvalRecord, Metric, Outcome, Record},
    report::tables::{self, Table},
    run::Run,
    run_dir::{Environment, Event},
};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// What a page is made from.
pub struct Page {
    /// The run's id.
    pub name: String,
    pub run: Run,
    /// `None` until it ended.
    pub outcome: Option<Outcome>,
    pub records: Vec<Record>,
    pub events: Vec<Event>,
    pub environment: Environment,
}

/// Windows of a noisy curve's bold line.
const WINDOWS: usize = 100;

impl Page {
    pub fn to_html(&self) -> String {
        let tags = by_tag(&self.records, Across::Steps);
        let (mut validation, mut training) = (validation(&tags), training(&tags));
        let charts = validation.iter_mut().chain(&mut training);
        let thinned = thin_all(charts.map(|(_, chart)| chart));
        let outcome = self.outcome.as_ref();
        let body = html! {
            header {
                p.kind { "Run " code { (self.name) } ", seed " (self.run.seed) }
                h1 { (self.state()) }
            }
            (section("curves", "Curves", &html! {
                (choices("training", &training))
                (choices("validation", &validation))
                @if let Some(words) = thinned { p.note { (words) } }
            }))
            (section("evaluations", "Evaluations", &table("Evaluations", &self.evaluations())))
            @if outcome.is_some() {
                (section("drawn", "What was drawn", &self.drawn()))
            }
            @if let Some(outcome) = outcome {
                (section("cost", "Cost", &super::facts(&cost(&outcome.cost))))
            }
            (section("environment", "Environment", &environment(&self.environment)))
            (section("events", "What happened", &self.happened()))
            (section("recipe", "The recipe, resolved", &html! { pre tabindex="0" { (self.run.to_toml()) } }))
            (section("again", "To look further", &html! {
                pre tabindex="0" {
                    "windtunnel show " (self.name) "\n"
                    "windtunnel eval " (self.name) "\n"
                    "tensorboard --logdir HOME/runs"
                }
            }))
        };
        document(&format!("windtunnel run {}", self.name), &body)
    }

    fn state(&self) -> String {
        let steps = self.run.steps;
        match self.outcome.as_ref().map(|outcome| &outcome.ending) {
            Some(Ending::Finished { eval }) => format!(
                "{:.4} bits per byte, {:.4} nats per token after {} steps",
                eval.bpb, eval.loss, eval.step
            ),
            Some(Ending::Diverged { step, what }) => format!("Diverged at step {step}: {what}"),
            None => {
                let step = self.records.last().map_or(0, Record::step);
                format!("Not finished: recorded up to step {step} of {steps}")
            }
        }
    }

    fn evals(&self) -> impl Iterator<Item = &EvalRecord> {
        self.records.iter().filter_map(|record| match record {
            Record::Eval(eval) => Some(eval),
            Record::Step(_) | Record::Data(_) => None,
        })
    }

    /// A row for each evaluation, the newest first.
    fn evaluations(&self) -> Table {
        let corpora: Vec<&String> = self
            .evals()
            .next()
            .map_or(Vec::new(), |e| e.val.keys().collect());
        let mut head: Vec<String> = ["step", "tokens", "loss", "bpb"].map(String::from).into();
        head.extend(
            corpora
                .iter()
                .flat_map(|c| [format!("{c} loss"), format!("{c} bpb")]),
        );
        let number = |x: Option<f64>| x.map_or("—".into(), |x| format!("{x:.5}"));
        let row = |eval: &EvalRecord| {
            let mut row = vec![eval.step.to_string(), eval.tokens.to_string()];
            row.extend([eval.loss, eval.bpb].map(|x| number(Some(x))));
            for corpus in &corpora {
                let val = eval.val.get(*corpus);
                row.extend([val.map(|v| v.loss), val.map(|v| v.bpb)].map(number));
            }
            row
        };
        let mut rows: Vec<Vec<String>> = self.evals().map(row).collect();
        rows.reverse();
        Table { head, rows }
    }

    fn drawn(&self) -> Markup {
        let mut drawn = tables::realised([("", self.outcome.as_ref())].into_iter());
        drawn.head.remove(0);
        drawn.rows.iter_mut().for_each(|row| drop(row.remove(0)));
        table("What was drawn", &drawn)
    }

    fn happened(&self) -> Markup {
        let row = |event: &Event| vec![event.kind.clone(), event.step.to_string(), utc(event.at)];
        let events = Table {
            head: ["what", "step", "when (UTC)"].map(String::from).into(),
            rows: self.events.iter().map(row).collect(),
        };
        table("What happened", &events)
    }
}

/// A chart for each field that was evaluated, with a line for each corpus.
fn validation(tags: &BTreeMap<String, Vec<At>>) -> Vec<(String, Chart)> {
    let mut charts: Vec<(String, Chart)> = Vec::new();
    for tag in evaluated([tags].into_iter(), Metric::default()) {
        let (of, field) = parts(&tag);
        let group = Group {
            name: of.into(),
            lines: vec![Line {
                points: tags[&tag].clone(),
                bold: true,
            }],
        };
        let label = unit(field);
        match charts.iter_mut().find(|(known, _)| *known == label) {
            Some((_, chart)) => chart.groups.push(group),
            None => charts.push((
                label.clone(),
                Chart {
                    title: "Validation".into(),
                    columns: vec![label],
                    groups: vec![group],
                    ..chart(unit(field), Extent::AfterBeginning)
                },
            )),
        }
    }
    charts
}

/// A chart for each thing that a step records.
fn training(tags: &BTreeMap<String, Vec<At>>) -> Vec<(String, Chart)> {
    let known = [
        (
            "loss",
            "training loss",
            "nats per token",
            Extent::AfterBeginning,
        ),
        ("lr", "learning rate", "", Extent::All),
        (
            "grad_norm",
            "gradient norm",
            "before clipping",
            Extent::AfterBeginning,
        ),
        ("tokens_per_second", "speed", "tokens a second", Extent::All),
    ];
    let charts = known.map(|(field, name, unit, extent)| {
        let points = tags.get(&format!("train/{field}")).cloned();
        let window = match field {
            // A rate has no noise.
            "lr" => 1,
            _ => points.as_ref().map_or(1, |p| p.len().div_ceil(WINDOWS)),
        };
        let chart = Chart {
            title: sentence(name),
            ..recorded(points.unwrap_or_default(), name, window)
        };
        let (unit, name) = (unit.into(), name.to_string());
        (
            name,
            Chart {
                unit,
                extent,
                ..chart
            },
        )
    });
    charts.into()
}

/// Points as recorded and, of more than one in a window, their mean in bold.
fn recorded(points: Vec<At>, name: &str, window: usize) -> Chart {
    let mut chart = chart(String::new(), Extent::All);
    let mut lines = vec![Line {
        points: windowed(&points, window),
        bold: true,
    }];
    if window > 1 {
        lines.push(Line {
            points,
            bold: false,
        });
        chart.columns.push("mean of records".into());
        chart.note = format!("Bold: the mean over {window} records. Thin: as recorded.");
    }
    chart.columns.push("as recorded".into());
    chart.groups.push(Group {
        name: name.into(),
        lines,
    });
    chart
}

fn chart(unit: String, extent: Extent) -> Chart {
    Chart {
        title: String::new(),
        unit,
        across: Across::Steps.name(),
        columns: Vec::new(),
        groups: Vec::new(),
        extent,
        note: String::new(),
    }
}

/// With a capital at the start.
fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

/// Seconds since 1970 as "2026-01-31 12:34:56" (Hinnant's civil_from_days).
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::utc;

    /// By `date -u -d @N`.
    #[test]
    fn seconds_since_1970_are_shown_as_a_date() {
        for (seconds, shown) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (4_107_542_399, "2100-02-28 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (1_795_482_443, "2026-11-24 01:07:23"),
        ] {
            assert_eq!(utc(seconds), shown);
        }
    }
}
