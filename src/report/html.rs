//! Reports as one HTML file each: nothing is loaded from anywhere, and without JavaScript the
//! curves and all numbers are still there.
//!
//! Text is escaped by construction: everything a user wrote goes through [`maud`], and the page's
//! policy lets it load nothing. Curves hold their numbers, so that what a reader points at is what
//! was recorded.

pub mod campaign;
mod chart;
mod forest;
pub mod run;
mod series;
pub mod study;
mod thin;

pub use thin::thin;

use super::{duration, tables::Table};
use crate::{metrics::Cost, run_dir::Environment};
use chart::{Chart, grouped};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Points of all curves of a page together: about half a megabyte.
const POINTS: usize = 30_000;

/// A page with a title. Its body is in sections.
fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(include_str!("html/page.css"))) }
            }
            body {
                main { (body) }
                script { (PreEscaped(include_str!("html/page.js"))) }
            }
        }
    };
    page.into_string()
}

fn section(id: &str, title: &str, body: &Markup) -> Markup {
    html! { section id=(id) aria-labelledby={ (id) "-title" } { h2 id={ (id) "-title" } { (title) } (body) } }
}

/// A table in a box of its own that scrolls; columns of numbers stand to the right.
fn table(label: &str, table: &Table) -> Markup {
    let numbers: Vec<bool> = (0..table.head.len())
        .map(|i| of_numbers(table, i))
        .collect();
    let long = |cell: &str, most: usize| cell.chars().count() > most;
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr {
                    @for (cell, number) in table.head.iter().zip(&numbers) {
                        th.number[*number].long[long(cell, 16)] scope="col" { (cell) }
                    }
                } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (i, (cell, number)) in row.iter().zip(&numbers).enumerate() {
                                @if i == 0 { th.long[long(cell, 16)] scope="row" { (cell) } }
                                @else { td.number[*number].long[long(cell, 32)] { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Whether a column, other than the first, holds numbers but for a word here and there.
fn of_numbers(table: &Table, column: usize) -> bool {
    let number = |row: &&Vec<String>| {
        let cell = row[column].as_str();
        let sign = |c: char| c.is_ascii_digit() || "+-−.,%e".contains(c);
        cell.contains(|c: char| c.is_ascii_digit()) && cell.chars().all(sign)
    };
    column > 0 && 2 * table.rows.iter().filter(number).count() > table.rows.len()
}

/// Names and values, one under the other.
fn facts(rows: &[(&str, String)]) -> Markup {
    html! { dl { @for (name, value) in rows { div { dt { (name) } dd { (value) } } } } }
}

/// Charts of which one is seen at a time, chosen without JavaScript.
fn choices(name: &str, charts: &[(String, Chart)]) -> Markup {
    html! {
        div.choices role="radiogroup" aria-label=(name) {
            @for (i, (label, chart)) in charts.iter().enumerate() {
                @let id = format!("{name}-{i}");
                input type="radio" name=(name) id=(id) checked[i == 0];
                label for=(id) { (label) }
                div.panel { (chart.markup()) }
            }
        }
    }
}

fn cost(cost: &Cost) -> [(&'static str, String); 4] {
    let speed = cost.tokens as f64 / cost.seconds.max(1e-9);
    [
        ("tokens", grouped(cost.tokens as f64)),
        ("FLOPs", format!("{:.3e}", cost.flops)),
        ("time on the device", duration(cost.seconds)),
        ("tokens a second", grouped(speed)),
    ]
}

fn environment(env: &Environment) -> Markup {
    let machine = &env.machine;
    let memory = machine.memory_bytes as f64 / f64::from(1 << 30);
    facts(&[
        ("processor", machine.cpu.clone()),
        ("cores", machine.cores.to_string()),
        ("instruction set", machine.instruction_set.clone()),
        ("memory", format!("{memory:.1} GiB")),
        ("system", machine.os.clone()),
        (
            "device",
            format!(
                "{}, {}, {}",
                env.device.class,
                env.device.dtype,
                super::threads(env.device.threads)
            ),
        ),
        (
            "windtunnel",
            format!("{} (revision {})", env.version, env.revision),
        ),
        ("numerics", env.numerics.clone()),
        (
            "trained",
            match env.pack {
                1 => "alone".into(),
                n => format!("as one of {n} in one program"),
            },
        ),
    ])
}

/// Thins the charts of a page together; gives what to say of it.
fn thin_all<'a>(charts: impl Iterator<Item = &'a mut Chart>) -> Option<String> {
    let mut charts: Vec<&mut Chart> = charts.collect();
    let lines: usize = charts.iter().map(|chart| chart.lines()).sum();
    let most = (POINTS / lines.max(1)).clamp(8, 1000);
    let thinned = charts
        .iter_mut()
        .fold(false, |any, chart| chart.thin(most) | any);
    thinned.then(|| {
        format!("Curves of more than {most} points are thinned: of each stretch the lowest and the highest point are kept, so that no peak is lost.")
    })
}

#[cfg(test)]
mod tests;
