//! Losses at equal compute against size: runs, the law's curves, and the law's best sizes.

use super::svg::{Axis, Figure, Frame, MIDDLE, SMALL, WIDTH, range};
use crate::laws::scaling::report::{Curve, ScalingFit};

/// A curve for each compute that has enough runs, with its runs as dots, the bottom of its parabola
/// as a ring and the law's optimum as a bar; without such computes, the words say so.
pub fn iso_flop_svg(fit: &ScalingFit) -> String {
    let mut figure = Figure::default();
    let frame = Frame {
        left: 76.0,
        top: 66.0,
        right: WIDTH - 150.0,
        bottom: 470.0,
    };
    figure.text(
        (frame.left, 22.0),
        "font-size='14' font-weight='bold'",
        &title(fit),
    );
    let curves = &fit.iso_flops;
    let runs = curves.iter().flat_map(|c| &c.group.runs);
    let sizes = range(runs.clone().map(|p| p.parameters.log10()), 0.04);
    let losses = runs
        .map(|p| p.loss)
        .chain(curves.iter().flat_map(|c| c.law.iter().map(|p| p.1)));
    let (Some(sizes), Some(losses)) = (sizes, range(losses, 0.04)) else {
        let words = "no group of six runs or more at nearly one compute";
        figure.text((frame.left, 50.0), SMALL, words);
        return figure.finish(80.0, words);
    };
    let x = Axis::new(sizes, (frame.left, frame.right), 60.0);
    let y = Axis::new(losses, (frame.bottom, frame.top), 44.0);
    key(&mut figure, frame.left);
    figure.y_axis(&y, frame, &["loss".to_string()]);
    figure.border(frame);
    ticks(&mut figure, &x, frame);
    figure.text(
        (0.5 * (frame.left + frame.right), frame.bottom + 38.0),
        MIDDLE,
        "parameters",
    );
    figure.open_frame(frame);
    let hues = Hues(curves.len());
    for (i, curve) in curves.iter().enumerate() {
        draw(&mut figure, curve, &hues.of(i), (&x, &y));
    }
    figure.close_frame();
    labels(&mut figure, curves, &hues, frame);
    figure.finish(frame.bottom + 52.0, &title(fit))
}

fn title(fit: &ScalingFit) -> String {
    let law = &fit.fit.law;
    format!(
        "L = {:.3} + {:.0}/N^{:.3} + {:.0}/D^{:.3}, {} runs",
        law.e, law.a, law.alpha, law.b, law.beta, fit.fit.runs
    )
}

/// From dark blue (little compute) to orange.
struct Hues(usize);

impl Hues {
    fn of(&self, i: usize) -> String {
        let part = i as f64 / (self.0.max(2) - 1) as f64;
        let mix = |low: f64, high: f64| (low + part * (high - low)).round() as u8;
        format!(
            "#{:02x}{:02x}{:02x}",
            mix(20.0, 225.0),
            mix(70.0, 120.0),
            mix(160.0, 20.0)
        )
    }
}

fn key(figure: &mut Figure, left: f64) {
    let y = 46.0;
    figure.dot((left + 5.0, y), "#555", "a run");
    figure.text((left + 14.0, y + 4.0), SMALL, "a run");
    figure.line(
        (left + 60.0, y),
        (left + 84.0, y),
        "stroke='#555' stroke-width='1.6'",
    );
    figure.text((left + 90.0, y + 4.0), SMALL, "the law at its compute");
    figure.line(
        (left + 222.0, y - 7.0),
        (left + 222.0, y + 7.0),
        "stroke='#555' stroke-width='2.4'",
    );
    figure.text((left + 230.0, y + 4.0), SMALL, "the law's best size");
    figure.cross((left + 350.0, y), "#555");
    figure.text((left + 360.0, y + 4.0), SMALL, "the bottom of a parabola");
}

/// Whole and half powers of ten, in words such as 30M.
fn ticks(figure: &mut Figure, x: &Axis, frame: Frame) {
    let first = x.low.floor() as i32;
    let last = x.high.ceil() as i32;
    for power in first..=last {
        for lead in [1.0, 3.0] {
            let value = lead * 10f64.powi(power);
            let at = value.log10();
            if (x.low..=x.high).contains(&at) {
                let pixel = x.at(at);
                figure.line(
                    (pixel, frame.bottom),
                    (pixel, frame.bottom + 5.0),
                    "stroke='#666'",
                );
                figure.text((pixel, frame.bottom + 18.0), MIDDLE, &count(value));
            }
        }
    }
}

/// 30000000 as 30M.
fn count(value: f64) -> String {
    let (unit, letter) = match value {
        v if v >= 0.9995e12 => (1e12, "T"),
        v if v >= 0.9995e9 => (1e9, "B"),
        v if v >= 0.9995e6 => (1e6, "M"),
        v if v >= 0.9995e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    // Three digits.
    let decimals = match value / unit {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let mut number = format!("{:.decimals$}", value / unit);
    if decimals > 0 {
        number.truncate(number.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{number}{letter}")
}

fn draw(figure: &mut Figure, curve: &Curve, hue: &str, (x, y): (&Axis, &Axis)) {
    let name = format!("{:.2e} FLOPs", curve.group.flops);
    let points = curve
        .law
        .iter()
        .map(|(n, loss)| (x.at(n.log10()), y.at(*loss)));
    figure.curve(points, &format!("stroke='{hue}' stroke-width='1.6'"), &name);
    for run in &curve.group.runs {
        let words = format!(
            "{name}: {} parameters, loss {:.4}",
            count(run.parameters),
            run.loss
        );
        figure.dot((x.at(run.parameters.log10()), y.at(run.loss)), hue, &words);
    }
    let (n, d) = curve.law_optimum;
    let near = curve
        .law
        .iter()
        .min_by(|a, b| (a.0 - n).abs().total_cmp(&(b.0 - n).abs()));
    if let Some((_, loss)) = near.filter(|_| d > 0.0) {
        let at = (x.at(n.log10()), y.at(*loss));
        figure.line(
            (at.0, at.1 - 8.0),
            (at.0, at.1 + 8.0),
            &format!("stroke='{hue}' stroke-width='2.4'"),
        );
    }
    if let Some((n, _, loss)) = curve.group.optimum {
        figure.cross((x.at(n.log10()), y.at(loss)), hue);
    }
}

fn labels(figure: &mut Figure, curves: &[Curve], hues: &Hues, frame: Frame) {
    figure.text(
        (frame.right + 14.0, frame.top + 6.0),
        SMALL,
        "FLOPs: best size",
    );
    for (i, curve) in curves.iter().enumerate() {
        let y = frame.top + 28.0 + i as f64 * 19.0;
        let style = format!("stroke='{}' stroke-width='3'", hues.of(i));
        figure.line(
            (frame.right + 14.0, y - 4.0),
            (frame.right + 28.0, y - 4.0),
            &style,
        );
        let words = format!("{:.1e}: {}", curve.group.flops, count(curve.law_optimum.0));
        figure.text((frame.right + 34.0, y), "", &words);
    }
}
