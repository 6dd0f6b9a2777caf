//! Paired differences, a row for each arm: a dot for each seed, the mean and its interval, against
//! zero and the margin.

use super::chart::percent;
use crate::report::plot::{
    Differences,
    differences::{extent, interval, swarm},
    svg::{Axis, usable},
};
use maud::{Markup, html};

/// Units of a strip, across and down; about the pixels of a phone's, so that dots part there too.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 60.0;

/// The figure. Dots are moved up and down only to part them; the unit and the control's name are
/// for the caption.
pub fn forest(arms: &[Differences], margin: f64, (unit, control): (&str, &str)) -> Markup {
    let margin = if usable(margin) { margin.abs() } else { 0.0 };
    let x = Axis::new(extent(arms, margin), (0.0, WIDTH), 52.0);
    html! {
        figure.forest {
            figcaption {
                b { "Paired differences" }
                span.unit { "arm minus " (control) ", " (unit) (x.power_label()) }
            }
            div.rows {
                div.row.ends aria-hidden="true" {
                    div.name {} div.strip { span { "← better" } span { "worse →" } } div.number {}
                }
                @for (i, arm) in arms.iter().enumerate() {
                    div.row {
                        div.name { (arm.arm) }
                        (strip((i, arm), margin, &x))
                        div.number { (numbers(arm, &x)) }
                    }
                }
                div.row.axis aria-hidden="true" {
                    div.name {}
                    div.strip {
                        @for value in x.steps() {
                            span style=(percent("left", x.at(value) / WIDTH)) { (x.show(value)) }
                        }
                    }
                    div.number {}
                }
            }
            p.tip aria-live="polite" {
                "A dot is one seed; the diamond is the mean, the bar its interval, the band the margin. Point at a row, or focus it and use the arrow keys, to read each seed."
            }
        }
    }
}

fn numbers(arm: &Differences, x: &Axis) -> Markup {
    let size = x.high - x.low;
    let show = |value: f64| {
        let sign = if value > 0.0 { "+" } else { "" };
        format!("{sign}{}", x.fixed(value, size / 500.0))
    };
    html! {
        @match interval(arm) {
            Some((low, mean, high)) => {
                b { (show(mean)) } " " span { "[" (show(low)) ", " (show(high)) "]" }
            }
            None => span { "no interval (" (arm.values.len()) @if arm.values.len() == 1 { " seed)" } @else { " seeds)" } },
        }
    }
}

/// Dots above, the interval below.
fn strip((i, arm): (usize, &Differences), margin: f64, x: &Axis) -> Markup {
    let mut values = arm.values.clone();
    values.retain(|value| usable(value.1));
    values.sort_by(|a, b| a.1.total_cmp(&b.1));
    let across: Vec<f64> = values.iter().map(|value| x.at(value.1)).collect();
    let offsets = swarm(&across, 7.0, 14.0);
    let label = format!("{}: {} paired differences", arm.arm, values.len());
    // The control has the first colour.
    let style = format!("c{}", (i + 1) % 7);
    let (left, right) = (x.at(-margin), x.at(margin));
    html! {
        div.strip tabindex="0" role="group" aria-label={ (label) "; arrow keys go from seed to seed" } {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(label) {
                @if margin > 0.0 {
                    path.band d={ "M" (two(left)) " 0H" (two(right)) "V" (HEIGHT) "H" (two(left)) "Z" } {}
                }
                path.zero d={ "M" (two(x.at(0.0))) " 0V" (HEIGHT) } {}
                @for (k, (seed, value)) in values.iter().enumerate() {
                    path class={ "dot " (style) } d={ "M" (two(across[k])) " " (two(22.0 + offsets[k])) "h0" }
                        data-tip={ (arm.arm) ", seed " (seed) ": " (signed(*value)) } {
                        title { (arm.arm) ", seed " (seed) ": " (signed(*value)) }
                    }
                }
                @if let Some((low, _, high)) = interval(arm) {
                    path class={ "whisker " (style) }
                        d={ "M" (two(x.at(low))) " 48H" (two(x.at(high))) "M" (two(x.at(low))) " 43v10M" (two(x.at(high))) " 43v10" } {}
                }
            }
            @if let Some((_, mean, _)) = interval(arm) {
                span class={ "diamond " (style) } style={ (percent("left", x.at(mean) / WIDTH)) (percent("top", 48.0 / HEIGHT)) } {}
            }
        }
    }
}

fn two(value: f64) -> String {
    format!("{value:.2}")
}

fn signed(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || (1e-4..1e6).contains(&size) => format!("{value:+.5}"),
        _ => format!("{value:+.4e}"),
    }
}
