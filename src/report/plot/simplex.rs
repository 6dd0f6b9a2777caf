//! The best mixture as a picture: of three domains the whole simplex, of more the weights; beside it
//! predicted against measured losses.

use super::svg::{
    Axis, END, Figure, Frame, LINE, MIDDLE, SMALL, WIDTH, colour, range, usable, widest, width,
    wrap,
};
use crate::laws::mixture::{Cell, MixtureFit};

/// Of three domains a map of the predicted loss with the runs; of more a bar for each, with its
/// interval, against the prior. Below, out-of-fold predictions against measurements.
pub fn mixture_svg(fit: &MixtureFit) -> String {
    let mut figure = Figure::default();
    let bottom = match &fit.map {
        Some(cells) => draw_map(&mut figure, fit, cells),
        None => draw_bars(&mut figure, fit),
    };
    let bottom = draw_scatter(&mut figure, fit, bottom + 44.0);
    let goal: Vec<&str> = fit.goal.iter().map(|g| g.target.as_str()).collect();
    figure.finish(bottom, &format!("best mixture for {}", goal.join(", ")))
}

/// "for pile_cc" or "for 13 targets".
fn goal(fit: &MixtureFit) -> String {
    match &fit.goal[..] {
        [only] => format!("for {}", only.target),
        all => format!("for {} targets, weighted", all.len()),
    }
}

const BAR: f64 = 22.0;

fn draw_bars(figure: &mut Figure, fit: &MixtureFit) -> f64 {
    let shares = &fit.best.mixture;
    let names: Vec<Vec<String>> = shares.iter().map(|s| wrap(&s.domain, 190.0)).collect();
    let height = |name: &Vec<String>| (name.len() as f64 * LINE + 4.0).max(BAR);
    let left = 26.0 + widest(names.iter().flatten());
    let (top, right) = (64.0, WIDTH - 150.0);
    let bottom = top + names.iter().map(height).sum::<f64>();
    let ends = shares
        .iter()
        .flat_map(|s| [s.weight.value, s.weight.high, s.prior]);
    let most = ends.fold(0.05, f64::max);
    let x = Axis::new((0.0, 1.04 * most), (left, right), 70.0);
    let frame = Frame {
        left,
        top,
        right,
        bottom,
    };
    let title = format!("Best mixture {}", goal(fit));
    figure.text((left, 22.0), "font-size='14' font-weight='bold'", &title);
    let percent = 100.0 * fit.best.confidence;
    key(
        figure,
        left,
        &format!("{percent:.0}% interval over resampled runs"),
    );
    for value in x.steps() {
        figure.line(
            (x.at(value), top),
            (x.at(value), bottom),
            "stroke='#e8e8e8'",
        );
    }
    let mut row = top;
    for (share, name) in shares.iter().zip(&names) {
        let middle = row + 0.5 * height(name);
        figure.lines((left - 9.0, middle), END, name);
        let bar = Frame {
            left,
            right: x.at(share.weight.value),
            top: middle - 6.5,
            bottom: middle + 6.5,
        };
        figure.rect(bar, &format!("fill='{}' fill-opacity='0.35'", colour(1)));
        let (low, high) = (x.at(share.weight.low), x.at(share.weight.high));
        let style = format!("stroke='{}' stroke-width='2'", colour(1));
        figure.line((low, middle), (high, middle), &style);
        for end in [low, high] {
            figure.line((end, middle - 4.0), (end, middle + 4.0), &style);
        }
        let prior = x.at(share.prior);
        figure.line((prior, middle - 9.0), (prior, middle + 9.0), PRIOR);
        let numbers = format!(
            "{:.3} [{:.3}, {:.3}]",
            share.weight.value, share.weight.low, share.weight.high
        );
        figure.text((right + 10.0, middle + 4.0), "", &numbers);
        row += height(name);
    }
    figure.border(frame);
    figure.x_axis(&x, bottom, |value| x.show(value));
    figure.text(
        (0.5 * (left + right), bottom + 36.0),
        MIDDLE,
        "weight in the mixture",
    );
    bottom + 40.0
}

const PRIOR: &str = "stroke='#000' stroke-width='1.6'";

fn key(figure: &mut Figure, left: f64, interval: &str) {
    let y = 44.0;
    let style = format!("stroke='{}' stroke-width='2'", colour(1));
    figure.line((left, y), (left + 26.0, y), &style);
    figure.text((left + 33.0, y + 4.0), SMALL, interval);
    let next = left + 56.0 + width(interval);
    figure.line((next, y - 8.0), (next, y + 8.0), PRIOR);
    figure.text(
        (next + 8.0, y + 4.0),
        SMALL,
        "prior: the middle of the search",
    );
}

/// The corners of the triangle: first domain at the top, then left, then right.
const TOP: (f64, f64) = (280.0, 78.0);
const EDGE: f64 = 400.0;

fn place(mixture: &[f64]) -> (f64, f64) {
    let height = EDGE * 0.75f64.sqrt();
    let x = TOP.0 + 0.5 * EDGE * (mixture[2] - mixture[1]);
    (x, TOP.1 + height * (1.0 - mixture[0]))
}

fn draw_map(figure: &mut Figure, fit: &MixtureFit, cells: &[Cell]) -> f64 {
    let title = format!("Predicted loss {}", goal(fit));
    figure.text((26.0, 22.0), "font-size='14' font-weight='bold'", &title);
    let values = cells.iter().map(|c| c.predicted).filter(|v| usable(*v));
    let (low, high) = values.fold((f64::MAX, f64::MIN), |r, v| (r.0.min(v), r.1.max(v)));
    let part = |value: f64| match high > low {
        true => ((value - low) / (high - low)).clamp(0.0, 1.0),
        false => 0.0,
    };
    triangles(figure, cells, part);
    let corners = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(|c| place(&c));
    for i in 0..3 {
        figure.line(corners[i], corners[(i + 1) % 3], "stroke='#333'");
    }
    let names = &fit.domains;
    figure.text(
        (corners[0].0, corners[0].1 - 10.0),
        MIDDLE,
        &format!("all {}", names[0]),
    );
    figure.text(
        (corners[1].0 - 24.0, corners[1].1 + 20.0),
        "",
        &format!("all {}", names[1]),
    );
    figure.text(
        (corners[2].0 + 24.0, corners[2].1 + 20.0),
        END,
        &format!("all {}", names[2]),
    );
    for (run, loss) in fit
        .measured_mixtures
        .iter()
        .flatten()
        .zip(&fit.scatter.measured)
    {
        figure.dot(
            place(run),
            "#000",
            &format!("a run: {run:.3?}, measured {loss:.4}"),
        );
    }
    draw_best(figure, fit);
    scale(figure, (low, high));
    TOP.1 + EDGE * 0.75f64.sqrt() + 26.0
}

/// Small triangles between grid points, in the colour of their mean.
fn triangles(figure: &mut Figure, cells: &[Cell], part: impl Fn(f64) -> f64) {
    // Cells come by rows of the first domain's weight, each row by the second's.
    let mut rows: Vec<&[Cell]> = Vec::new();
    let mut rest = cells;
    while !rest.is_empty() {
        let first = rest[0].mixture[0];
        let same = rest
            .iter()
            .take_while(|c| (c.mixture[0] - first).abs() < 1e-9);
        let (row, more) = rest.split_at(same.count().max(1));
        rows.push(row);
        rest = more;
    }
    for pair in rows.windows(2) {
        let (below, above) = (pair[0], pair[1]);
        for j in 0..above.len() {
            let mut corners = vec![[&below[j], &below[j + 1], &above[j]]];
            if j + 1 < above.len() {
                corners.push([&below[j + 1], &above[j], &above[j + 1]]);
            }
            for three in corners {
                let mean = three.iter().map(|c| c.predicted).sum::<f64>() / 3.0;
                let paint = shade(part(mean));
                let points = three.iter().map(|c| place(&c.mixture));
                let style = format!("fill='{paint}' stroke='{paint}' stroke-width='0.7'");
                figure.area(points, &style);
            }
        }
    }
}

/// From dark blue (low) over teal to pale yellow: readable in grey, and by the colour-blind.
fn shade(part: f64) -> String {
    const STOPS: [[f64; 3]; 4] = [
        [38.0, 55.0, 120.0],
        [33.0, 120.0, 140.0],
        [120.0, 190.0, 140.0],
        [250.0, 245.0, 205.0],
    ];
    let at = part.clamp(0.0, 1.0) * 3.0;
    let (i, within) = ((at.floor() as usize).min(2), at - at.floor().min(2.0));
    let mix = |k: usize| (STOPS[i][k] + within * (STOPS[i + 1][k] - STOPS[i][k])).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
}

fn draw_best(figure: &mut Figure, fit: &MixtureFit) {
    let at = place(&fit.best.weights());
    figure.line((at.0 - 8.0, at.1), (at.0 + 8.0, at.1), BEST);
    figure.line((at.0, at.1 - 8.0), (at.0, at.1 + 8.0), BEST);
    let prior = place(&fit.prior);
    let frame = Frame {
        left: prior.0 - 5.0,
        right: prior.0 + 5.0,
        top: prior.1 - 5.0,
        bottom: prior.1 + 5.0,
    };
    figure.rect(frame, "fill='none' stroke='#000' stroke-width='1.6'");
    let x = 530.0;
    let mut y = 100.0;
    figure.line((x, y - 4.0), (x + 16.0, y - 4.0), BEST);
    figure.line((x + 8.0, y - 12.0), (x + 8.0, y + 4.0), BEST);
    figure.text((x + 24.0, y), "", "the best mixture");
    for share in &fit.best.mixture {
        y += LINE + 2.0;
        let w = share.weight;
        let line = format!(
            "{} {:.2} [{:.2}, {:.2}]",
            share.domain, w.value, w.low, w.high
        );
        for line in wrap(&line, 195.0) {
            figure.text((x + 24.0, y), SMALL, &line);
            y += LINE;
        }
        y -= LINE;
    }
    y += 28.0;
    let frame = Frame {
        left: x + 3.0,
        right: x + 13.0,
        top: y - 9.0,
        bottom: y + 1.0,
    };
    figure.rect(frame, "fill='none' stroke='#000' stroke-width='1.6'");
    figure.text((x + 24.0, y), "", "the middle of the search");
    y += 24.0;
    figure.dot((x + 8.0, y - 4.0), "#000", "a run");
    figure.text((x + 24.0, y), "", "a run");
}

const BEST: &str = "stroke='#D55E00' stroke-width='3'";

/// The colours' key, at the right of the triangle.
fn scale(figure: &mut Figure, (low, high): (f64, f64)) {
    let (left, top, bottom) = (530.0, 300.0, 420.0);
    let steps = 24;
    let step = (bottom - top) / f64::from(steps);
    for i in 0..steps {
        let paint = shade((f64::from(i) + 0.5) / f64::from(steps));
        let frame = Frame {
            left,
            right: left + 18.0,
            top: bottom - f64::from(i + 1) * step,
            bottom: bottom - f64::from(i) * step,
        };
        figure.rect(
            frame,
            &format!("fill='{paint}' stroke='{paint}' stroke-width='0.7'"),
        );
    }
    figure.text((left + 26.0, top + 8.0), "", &format!("{high:.3}"));
    figure.text((left + 26.0, bottom), "", &format!("{low:.3}"));
}

fn draw_scatter(figure: &mut Figure, fit: &MixtureFit, top: f64) -> f64 {
    let s = &fit.scatter;
    let both = s.predicted.iter().chain(&s.measured).copied();
    let extent = range(both.filter(|v| usable(*v)), 0.05).unwrap_or((0.0, 1.0));
    let frame = Frame {
        left: 90.0,
        top: top + 24.0,
        right: 470.0,
        bottom: top + 324.0,
    };
    let x = Axis::new(extent, (frame.left, frame.right), 60.0);
    let y = Axis::new(extent, (frame.bottom, frame.top), 40.0);
    let rank = s
        .scores
        .spearman
        .map_or(String::new(), |r| format!(", rank correlation {r:.3}"));
    let title = format!("Runs that the law had not seen (5 folds){rank}");
    figure.text(
        (frame.left, top + 10.0),
        "font-size='13' font-weight='bold'",
        &title,
    );
    figure.y_axis(&y, frame, &["measured".to_string()]);
    figure.x_axis(&x, frame.bottom, |value| x.show(value));
    figure.text((280.0, frame.bottom + 36.0), MIDDLE, "predicted");
    figure.border(frame);
    figure.line(
        (x.at(extent.0), y.at(extent.0)),
        (x.at(extent.1), y.at(extent.1)),
        "stroke='#999'",
    );
    figure.open_frame(frame);
    for (predicted, measured) in s.predicted.iter().zip(&s.measured) {
        if usable(*predicted) && usable(*measured) {
            let title = format!("predicted {predicted:.4}, measured {measured:.4}");
            figure.dot((x.at(*predicted), y.at(*measured)), colour(1), &title);
        }
    }
    figure.close_frame();
    beside(figure, fit, frame.top);
    frame.bottom + 50.0
}

/// What other mixtures are predicted to lose, in words.
fn beside(figure: &mut Figure, fit: &MixtureFit, top: f64) {
    let (x, mut y) = (490.0, top + 12.0);
    let p = fit.best.predicted;
    figure.text((x, y), "font-weight='bold'", "predicted loss");
    y += 20.0;
    let best = format!("best {:.4} [{:.4}, {:.4}]", p.value, p.low, p.high);
    figure.text((x, y), "", &best);
    for other in &fit.best.beside {
        y += 22.0;
        figure.text(
            (x, y),
            "",
            &format!("{} {:.4}", other.name, other.predicted.value),
        );
        y += LINE;
        let above = other.above_best;
        let line = format!(
            "{:+.4} [{:+.4}, {:+.4}]",
            above.value, above.low, above.high
        );
        figure.text((x + 12.0, y), SMALL, &line);
    }
}
