//! Curves that a page draws at any width: the lines are SVG that stretches, the words HTML that
//! does not. Beneath stands a table of every line's value, at the end until a reader points
//! elsewhere; it is the key as well.

use super::thin::thin;
use crate::report::plot::svg::{Axis, range, usable};
use maud::{Markup, html};

pub type At = (f64, f64);

/// Units of the drawing, across and up.
const SIZE: (f64, f64) = (2000.0, 1000.0);

/// Of what is across, the first part that the y axis need not show.
const BEGINNING: f64 = 0.15;

/// One curve, under the column of this index.
pub struct Line {
    pub points: Vec<At>,
    /// Drawn in bold: what a reader should look at first.
    pub bold: bool,
}

/// Curves of one colour: an arm with its seeds, a corpus.
pub struct Group {
    pub name: String,
    /// One for each column of the chart.
    pub lines: Vec<Line>,
}

/// What the y axis shows.
#[derive(Clone, Copy, PartialEq)]
pub enum Extent {
    All,
    /// What comes after the beginning, of curves that reach the end: the loss at initialisation, or
    /// a divergence, would flatten all that matters.
    AfterBeginning,
}

/// A figure with one pair of axes.
pub struct Chart {
    pub title: String,
    pub unit: String,
    /// "step" or "tokens".
    pub across: &'static str,
    pub columns: Vec<String>,
    pub groups: Vec<Group>,
    pub extent: Extent,
    /// What the reader must know to read it.
    pub note: String,
}

impl Chart {
    fn all(&self) -> impl Iterator<Item = &Line> {
        self.groups.iter().flat_map(|group| &group.lines)
    }

    pub fn lines(&self) -> usize {
        self.all().count()
    }

    fn end(&self) -> f64 {
        let last = self.all().filter_map(|line| Some(line.points.last()?.0));
        last.fold(0.0, f64::max)
    }

    /// Leaves no line more than `most` points; gives whether any lost one.
    pub fn thin(&mut self, most: usize) -> bool {
        let mut thinned = false;
        for line in self.groups.iter_mut().flat_map(|group| &mut group.lines) {
            line.points.retain(|p| usable(p.0) && usable(p.1));
            let fewer = thin(&line.points, most);
            thinned |= fewer.len() < line.points.len();
            line.points = fewer;
        }
        thinned
    }

    /// The figure. A chart without a point says so.
    pub fn markup(&self) -> Markup {
        let end = self.end();
        if self.all().all(|line| line.points.is_empty()) {
            return html! { p.empty { (self.title) ": nothing was recorded." } };
        }
        let x = Axis::new(
            (0.0, if end > 0.0 { end } else { 1.0 }),
            (0.0, SIZE.0),
            0.17 * SIZE.0,
        );
        let y = Axis::new(self.values(end), (SIZE.1, 0.0), 0.11 * SIZE.1);
        let plot = html! {
            div.plot tabindex="0" role="group" data-low=(x.low) data-high=(x.high)
                aria-label={ (self.title) ": arrow keys show the values along it" } {
                (self.drawing((&x, &y), end))
                div.crosshair hidden {}
            }
        };
        html! {
            figure.chart data-across=(self.across) {
                figcaption { b { (self.title) } span.unit { (self.unit) (y.power_label()) } }
                div.frame {
                    div.ys aria-hidden="true" {
                        @for value in y.steps() {
                            span style=(percent("top", y.at(value) / SIZE.1)) { (y.show(value)) }
                        }
                    }
                    (plot)
                    div.xs aria-hidden="true" {
                        @for value in x.steps() {
                            span.edge[x.at(value) > 0.95 * SIZE.0] style=(percent("left", x.at(value) / SIZE.0)) { (short(value)) }
                        }
                    }
                    div.across { (match self.across { "step" => "step", _ => "tokens trained" }) }
                }
                (self.readout(end))
                @if !self.note.is_empty() { p.note { (self.note) } }
            }
        }
    }

    /// The y axis' values: the first of these ranges that has any.
    fn values(&self, end: f64) -> At {
        let of = |complete: bool, from: f64| {
            let lines = self.all().filter(|line| !complete || reaches(line, end));
            let points = lines.flat_map(|line| &line.points).filter(|p| p.0 >= from);
            range(points.map(|point| point.1), 0.05)
        };
        let interesting = match self.extent {
            Extent::All => None,
            Extent::AfterBeginning => {
                of(true, BEGINNING * end).or_else(|| of(false, BEGINNING * end))
            }
        };
        interesting
            .or_else(|| of(false, f64::MIN))
            .unwrap_or((0.0, 1.0))
    }

    fn drawing(&self, (x, y): (&Axis, &Axis), end: f64) -> Markup {
        let names: Vec<&str> = self
            .groups
            .iter()
            .map(|group| group.name.as_str())
            .collect();
        let describe = format!("{} over {}: {}", self.unit, self.across, names.join(", "));
        let lines = |bold: bool| {
            let groups = self.groups.iter().enumerate();
            let all = groups.flat_map(|(g, group)| {
                let lines = group.lines.iter().enumerate();
                lines.map(move |(column, line)| (g, column, line))
            });
            all.filter(move |(_, _, line)| line.bold == bold && !line.points.is_empty())
        };
        html! {
            svg viewBox={ "0 0 " (SIZE.0) " " (SIZE.1) } preserveAspectRatio="none" role="img" aria-label=(describe) {
                title { (self.title) }
                desc { (describe) }
                path.grid d=(grid(y)) {}
                @for bold in [false, true] {
                    @for (g, column, line) in lines(bold) {
                        path class={ (style(g)) @if bold { " bold" } @else { " faint" } } data-row=(g) data-column=(column)
                            d=(path(&line.points, x, y)) data-x=(xs(&line.points)) data-y=(self.ys(&line.points)) {}
                    }
                }
            }
            @for (g, _, line) in lines(false).chain(lines(true)).filter(|(_, _, line)| !reaches(line, end)) {
                @if let Some(last) = line.points.last() {
                    span class={ "cross " (style(g)) } title={ (self.groups[g].name) ": ended early" }
                        style={ (percent("left", x.inside(last.0) / SIZE.0)) (percent("top", y.inside(last.1) / SIZE.1)) } { "×" }
                }
            }
        }
    }

    fn digits(&self) -> usize {
        let values = self.all().flat_map(|line| &line.points).map(|p| p.1.abs());
        let most = values.fold(0.0, f64::max);
        let digits = if most > 0.0 {
            4.0 - most.log10().floor()
        } else {
            0.0
        };
        digits.clamp(0.0, 12.0) as usize
    }

    fn ys(&self, points: &[At]) -> String {
        let digits = self.digits();
        let all: Vec<String> = points.iter().map(|p| format!("{:.digits$}", p.1)).collect();
        all.join(" ")
    }

    /// Every line's last value, and the key of the colours.
    fn readout(&self, end: f64) -> Markup {
        let digits = self.digits();
        let last = |line: &Line| match line.points.last() {
            Some(last) if reaches(line, end) => format!("{:.digits$}", last.1),
            Some(_) => "ended".into(),
            None => "—".into(),
        };
        html! {
            div.scroll tabindex="0" role="region" aria-label={ "Values of " (self.title) } {
                table.readout {
                    thead { tr {
                        th.at scope="col" { "at " span { (grouped(end)) } " " (plural(self.across)) }
                        @for column in &self.columns { th scope="col" { (column) } }
                    } }
                    tbody {
                        @for (g, group) in self.groups.iter().enumerate() {
                            tr data-row=(g) {
                                th.long[group.name.chars().count() > 16] scope="row" { (swatch(g)) (group.name) }
                                @for line in &group.lines { td { (last(line)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn plural(across: &str) -> &str {
    match across {
        "step" => "steps",
        other => other,
    }
}

/// Whether a curve goes to the end, but for a last incomplete batch.
fn reaches(line: &Line, end: f64) -> bool {
    line.points.last().is_some_and(|last| last.0 >= 0.98 * end)
}

/// Colour and dash of group i: together they recur after 28.
pub fn style(i: usize) -> String {
    format!("c{} d{}", i % 7, i % 4)
}

pub fn swatch(i: usize) -> Markup {
    html! {
        svg.swatch viewBox="0 0 28 10" aria-hidden="true" { path class={ (style(i)) " bold" } d="M1 5H27" {} }
    }
}

/// `NAME:12.34%;`, for a style attribute.
pub fn percent(name: &str, part: f64) -> String {
    format!("{name}:{:.2}%;", 100.0 * part)
}

fn grid(y: &Axis) -> String {
    let lines = y.steps().into_iter();
    let lines = lines.map(|value| format!("M0 {:.0}H{}", y.at(value), SIZE.0));
    lines.collect()
}

/// A path through the points; a single one becomes a dot, by the lines' round caps.
fn path(points: &[At], x: &Axis, y: &Axis) -> String {
    let each = points
        .iter()
        .map(|p| format!("{:.0} {:.0}", x.at(p.0), y.at(p.1)));
    format!("M{}h0", each.collect::<Vec<_>>().join("L"))
}

fn xs(points: &[At]) -> String {
    let all: Vec<String> = points.iter().map(|p| format!("{:.0}", p.0)).collect();
    all.join(" ")
}

/// 0, 500, 100k, 1.2M, 3B.
pub fn short(value: f64) -> String {
    crate::report::plot::tokens(value)
}

/// 1234567 as "1,234,567".
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(c);
    }
    text
}
