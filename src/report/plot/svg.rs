//! SVG elements, axes and measured text, for figures with sub-pixel coordinates.

use std::fmt::{Arguments, Write};

pub const WIDTH: f64 = 760.0;
/// Pixels from one line of text to the next.
pub const LINE: f64 = 15.0;
pub const SMALL: &str = "fill='#555' font-size='11'";
pub const MIDDLE: &str = "text-anchor='middle'";
pub const END: &str = "text-anchor='end'";
const EDGE: &str = "stroke='#666' fill='none'";
/// Okabe and Ito's, which the colour-blind tell apart; the palest last.
const PALETTE: [&str; 8] = [
    "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442",
];

pub type At = (f64, f64);

/// The rectangle that data is drawn in, in pixels.
#[derive(Clone, Copy)]
pub struct Frame {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

pub fn colour(i: usize) -> &'static str {
    PALETTE[i % PALETTE.len()]
}

/// The stroke of arm i: dashed from the ninth on, as colours recur.
pub fn stroke(i: usize) -> String {
    let dashes = ["none", "7 3", "2 3"];
    let dash = dashes[(i / PALETTE.len()) % dashes.len()];
    format!("stroke='{}' stroke-dasharray='{dash}'", colour(i))
}

/// A figure in the making.
#[derive(Default)]
pub struct Figure {
    body: String,
}

impl Figure {
    fn add(&mut self, element: Arguments) {
        writeln!(self.body, "{element}").expect("a String takes all text");
    }

    pub fn line(&mut self, (x1, y1): At, (x2, y2): At, style: &str) {
        self.add(format_args!(
            "<path d='M{x1:.2} {y1:.2}L{x2:.2} {y2:.2}' {style}/>"
        ));
    }

    pub fn rect(&mut self, frame: Frame, style: &str) {
        let (x, y, right, bottom) = (frame.left, frame.top, frame.right, frame.bottom);
        self.add(format_args!(
            "<path d='M{x:.2} {y:.2}H{right:.2}V{bottom:.2}H{x:.2}Z' {style}/>"
        ));
    }

    pub fn text(&mut self, (x, y): At, style: &str, text: &str) {
        let text = escape(text);
        self.add(format_args!(
            "<text x='{x:.2}' y='{y:.2}' {style}>{text}</text>"
        ));
    }

    /// Lines of text about a height.
    pub fn lines(&mut self, (x, middle): At, style: &str, lines: &[String]) {
        let first = middle + 4.0 - (lines.len() as f64 - 1.0) / 2.0 * LINE;
        for (i, line) in lines.iter().enumerate() {
            self.text((x, first + i as f64 * LINE), style, line);
        }
    }

    /// A line through the points; round caps make a dot of a single one.
    pub fn curve(&mut self, points: impl Iterator<Item = At>, style: &str, title: &str) {
        let each = points.map(|(x, y)| format!("{x:.2} {y:.2}"));
        let path = each.collect::<Vec<_>>().join("L");
        let path = if path.is_empty() {
            path
        } else {
            format!("M{path}h0")
        };
        let title = escape(title);
        self.add(format_args!(
            "<path d='{path}' {style}><title>{title}</title></path>"
        ));
    }

    /// A closed shape.
    pub fn area(&mut self, points: impl Iterator<Item = At>, style: &str) {
        let each = points.map(|(x, y)| format!("{x:.2} {y:.2}"));
        let path = each.collect::<Vec<_>>().join("L");
        self.add(format_args!("<path d='M{path}Z' {style}/>"));
    }

    pub fn cross(&mut self, (x, y): At, colour: &str) {
        self.add(format_args!(
            "<path d='M{x:.2} {y:.2}m-4 -4l8 8m-8 0l8 -8' class='end' stroke='{colour}' stroke-width='1.8'/>"
        ));
    }

    pub fn dot(&mut self, (x, y): At, colour: &str, title: &str) {
        let title = escape(title);
        self.add(format_args!(
            "<circle cx='{x:.2}' cy='{y:.2}' r='3.2' fill='{colour}' fill-opacity='0.5' stroke='{colour}' stroke-width='0.8'><title>{title}</title></circle>"
        ));
    }

    /// An interval with caps and a diamond at the mean; (low, mean, high) in pixels.
    pub fn whisker(&mut self, (low, mean, high): (f64, f64, f64), y: f64, colour: &str) {
        self.add(format_args!(
            "<path d='M{low:.2} {y:.2}m0 -5v10m0 -5H{high:.2}m0 -5v10' fill='none' stroke='{colour}' stroke-width='2'/>\
             <path d='M{mean:.2} {y:.2}m-5 0l5 -5l5 5l-5 5Z' fill='{colour}'/>"
        ));
    }

    pub fn x_axis(&mut self, x: &Axis, bottom: f64, show: impl Fn(f64) -> String) {
        for value in x.steps() {
            let at = x.at(value);
            self.line((at, bottom), (at, bottom + 5.0), EDGE);
            self.text((at, bottom + 18.0), MIDDLE, &show(value));
        }
    }

    /// Grid lines and their values, and the label at the far left, turned.
    pub fn y_axis(&mut self, y: &Axis, frame: Frame, label: &[String]) {
        for value in y.steps() {
            let at = y.at(value);
            self.line((frame.left, at), (frame.right, at), "stroke='#e8e8e8'");
            self.text((frame.left - 7.0, at + 4.0), END, &y.show(value));
        }
        let middle = (frame.top + frame.bottom) / 2.0;
        for (i, line) in label.iter().enumerate() {
            let x = 14.0 + i as f64 * LINE;
            let style = format!("{MIDDLE} transform='rotate(-90 {x:.1} {middle:.1})'");
            self.text((x, middle), &style, line);
        }
    }

    /// Clips what follows. A nested svg does so without an id, which would clash where figures
    /// share a page.
    pub fn open_frame(&mut self, frame: Frame) {
        let (x, y) = (frame.left, frame.top);
        let (width, height) = (frame.right - x, frame.bottom - y);
        self.add(format_args!(
            "<svg x='{x:.2}' y='{y:.2}' width='{width:.2}' height='{height:.2}' viewBox='{x:.2} {y:.2} {width:.2} {height:.2}' overflow='hidden' fill='none' stroke-linecap='round' stroke-linejoin='round'>"
        ));
    }

    pub fn close_frame(&mut self) {
        self.add(format_args!("</svg>"));
    }

    pub fn border(&mut self, frame: Frame) {
        self.rect(frame, EDGE);
    }

    pub fn finish(self, height: f64, title: &str) -> String {
        let (title, body) = (escape(title), self.body);
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height:.0}' viewBox='0 0 {WIDTH} {height:.0}' role='img' font-family='sans-serif' font-size='12' fill='#222'>\n\
             <title>{title}</title>\n<rect width='100%' height='100%' fill='#fff'/>\n{body}</svg>\n"
        )
    }
}

/// A linear map from values to pixels.
pub struct Axis {
    pub low: f64,
    pub high: f64,
    pub from: f64,
    pub to: f64,
    /// Values are shown in units of ten to this power: 0 unless they are very small or large.
    power: i32,
    /// Pixels that a tick needs.
    spacing: f64,
}

impl Axis {
    pub fn new((low, high): (f64, f64), (from, to): (f64, f64), spacing: f64) -> Self {
        let power = low.abs().max(high.abs()).log10().floor() as i32;
        let power = if (-3..5).contains(&power) { 0 } else { power };
        Self {
            low,
            high,
            from,
            to,
            power,
            spacing,
        }
    }

    /// The pixel of a value; what lies far outside is brought nearer, still outside.
    pub fn at(&self, value: f64) -> f64 {
        let part = (value - self.low) / (self.high - self.low);
        self.from + part.clamp(-50.0, 50.0) * (self.to - self.from)
    }

    /// The pixel of a value, moved to the edge if it lies outside.
    pub fn inside(&self, value: f64) -> f64 {
        self.at(value.clamp(self.low, self.high))
    }

    /// 1, 2 or 5 times a power of ten.
    fn step(&self) -> f64 {
        let least = (self.high - self.low) * self.spacing / (self.to - self.from).abs();
        let unit = 10f64.powf(least.log10().floor());
        let steps = [1.0, 2.0, 5.0].map(|factor| factor * unit);
        steps
            .into_iter()
            .find(|step| *step >= least)
            .unwrap_or(10.0 * unit)
    }

    pub fn steps(&self) -> Vec<f64> {
        let step = self.step();
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }

    pub fn show(&self, value: f64) -> String {
        self.fixed(value, self.step())
    }

    /// A value in this axis' power of ten, with the decimals that a step of this size needs.
    pub fn fixed(&self, value: f64, step: f64) -> String {
        let unit = 10f64.powi(self.power);
        let digits = (-(step / unit).log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize;
        let text = format!("{:.digits$}", value / unit);
        let zero = text.chars().all(|c| "-0.".contains(c));
        text.replace('-', if zero { "" } else { "−" })
    }

    /// " (×10⁻⁵)", to follow the unit; empty when the power is 0.
    pub fn power_label(&self) -> String {
        if self.power == 0 {
            return String::new();
        }
        let digits = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
        let raise = |c: char| c.to_digit(10).map_or('⁻', |digit| digits[digit as usize]);
        let raised: String = self.power.to_string().chars().map(raise).collect();
        format!(" (×10{raised})")
    }
}

/// What can be drawn: finite, and far from where sums overflow.
pub fn usable(value: f64) -> bool {
    value.abs() < 1e100
}

/// Lowest and highest, and a part of their distance more at either end; never so narrow that ticks
/// would coincide.
pub fn range(values: impl Iterator<Item = f64>, part: f64) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |r, v| (r.0.min(v), r.1.max(v)));
    let size = low.abs().max(high.abs());
    let pad = match high - low {
        distance if distance > (1e-6 * size).max(1e-90) => part * distance,
        _ if size > 1e-90 => 0.1 * size,
        _ => 1.0,
    };
    (low <= high).then_some((low - pad, high + pad))
}

/// Pixels that text of 12 px takes in a wide sans-serif, rather too many than too few.
pub fn width(text: &str) -> f64 {
    let of = |c: char| match c {
        'i' | 'j' | 'l' | '|' | '\'' | '.' | ',' | ':' | ';' | ' ' => 4.4,
        'f' | 'r' | 't' | '(' | ')' | '[' | ']' | '-' | 'I' => 5.5,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 12.0,
        'A'..='Z' | '−' | '+' | '×' | '=' | '<' | '>' | '&' | '#' | '~' => 10.1,
        '\u{1100}'..'\u{2000}' | '\u{2e80}'.. => 13.0,
        _ => 7.7,
    };
    text.chars().map(of).sum()
}

pub fn widest<'a>(lines: impl IntoIterator<Item = &'a String>) -> f64 {
    lines
        .into_iter()
        .map(|line| width(line))
        .fold(0.0, f64::max)
}

/// Lines no wider than `most`, broken after a space or sign where there is one; nothing is cut.
pub fn wrap(text: &str, most: f64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for c in text.chars() {
        if !line.is_empty() && width(&line) + width(c.encode_utf8(&mut [0; 4])) > most {
            let sign = line
                .rfind([' ', '-', '_', '+', ',', '/', '='])
                .map_or(0, |at| at + 1);
            let rest = line.split_off(if sign > line.len() / 3 {
                sign
            } else {
                line.len()
            });
            lines.push(std::mem::replace(&mut line, rest));
        }
        line.push(c);
    }
    lines.push(line);
    lines
}

/// Text for XML: escaped, and without the characters that XML has no way to hold.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c if c.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_inside_the_axis() {
        let shown = |range, spacing| {
            let axis = Axis::new(range, (0.0, 100.0), spacing);
            let steps = axis.steps().into_iter();
            let shown: Vec<String> = steps.map(|value| axis.show(value)).collect();
            (shown.join(" "), axis.power_label())
        };
        assert_eq!(
            shown((-0.011, 0.011), 40.0),
            ("−0.01 0.00 0.01".into(), "".into())
        );
        assert_eq!(shown((1.47, 2.1), 30.0), ("1.6 1.8 2.0".into(), "".into()));
        assert_eq!(
            shown((-1e-5, 2e-5), 30.0),
            ("−1 0 1 2".into(), " (×10⁻⁵)".into())
        );
        assert_eq!(
            shown((0.0, 3e12), 30.0),
            ("0 1 2 3".into(), " (×10¹²)".into())
        );
    }

    #[test]
    fn a_long_name_is_broken_but_not_cut() {
        for name in [
            "weight_decay_0.1 and, much later, more",
            "WWWWWWWWWWWWWWWWWWWWWW",
            "",
            "é—漢",
        ] {
            let lines = wrap(name, 100.0);
            assert_eq!(lines.concat(), name);
            assert!(widest(&lines) <= 100.0, "{lines:?}");
        }
        assert_eq!(wrap("learning rate × 2", 100.0), ["learning rate ", "× 2"]);
    }
}
