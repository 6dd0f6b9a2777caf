//! Validation curves of all arms and seeds.

use super::svg::{
    At, Axis, Figure, Frame, LINE, MIDDLE, SMALL, WIDTH, colour, range, stroke, usable, widest,
    wrap,
};

/// One trial's curve.
pub struct Curve {
    pub seed: u64,
    /// (tokens, metric) in order of tokens; a point that is not finite is left out.
    pub points: Vec<(f64, f64)>,
}

/// An arm with all its trials.
pub struct ArmCurves<'a> {
    pub name: &'a str,
    pub curves: Vec<Curve>,
}

/// Of the tokens, the first part that the y axis need not show.
const BEGINNING: f64 = 0.15;

/// Validation curves: each seed faint, each arm's mean bold wherever all its seeds have a point.
///
/// The y axis fits the trials that finished, after the beginning: the loss at initialisation would
/// flatten all that matters. Curves are clipped at the frame. A seed that ends before the others
/// is marked with a cross.
pub fn curves_svg(arms: &[ArmCurves], y_label: &str) -> String {
    let end = arms.iter().map(last_tokens).fold(0.0, f64::max);
    let arms: Vec<Arm> = arms.iter().map(|arm| Arm::new(arm, end)).collect();
    let labels = arms.iter().map(Arm::label_height).sum::<f64>();
    let (top, bottom) = (30.0, 30.0 + labels.max(340.0));
    let y = Axis::new(range_of_interest(&arms, end), (bottom, top), 48.0);
    let y_label = format!("{y_label}{}", y.power_label());
    let y_lines = wrap(&y_label, bottom - top);
    let shown: Vec<String> = y.steps().into_iter().map(|value| y.show(value)).collect();
    let left = 20.0 + y_lines.len() as f64 * LINE + widest(&shown);
    let right = WIDTH - 50.0 - widest(arms.iter().flat_map(|arm| &arm.label));
    let frame = Frame {
        left,
        top,
        right,
        bottom,
    };
    // A hundredth more, so that the last points are not cut in half.
    let last = if end > 0.0 { 1.01 * end } else { 1.0 };
    let axes = (&Axis::new((0.0, last), (left, right), 75.0), &y);

    let mut figure = Figure::default();
    figure.text((left, top - 10.0), SMALL, &caption(&arms, y.high));
    figure.y_axis(&y, frame, &y_lines);
    figure.x_axis(axes.0, bottom, tokens);
    figure.text(
        ((left + right) / 2.0, bottom + 38.0),
        MIDDLE,
        "tokens trained",
    );
    figure.border(frame);
    figure.open_frame(frame);
    for draw in [Arm::draw_seeds, Arm::draw_mean] {
        arms.iter()
            .enumerate()
            .for_each(|(i, arm)| draw(arm, &mut figure, i, axes));
    }
    figure.close_frame();
    arms.iter()
        .enumerate()
        .for_each(|(i, arm)| arm.draw_ends(&mut figure, i, axes));
    draw_labels(&mut figure, &arms, axes, frame);
    let names: Vec<&str> = arms.iter().map(|arm| arm.name).collect();
    let title = format!("{y_label} over tokens trained: {}", names.join(", "));
    figure.finish(bottom + 50.0, &title)
}

/// A curve without its unusable points.
struct Trial {
    seed: u64,
    points: Vec<At>,
    finished: bool,
}

struct Arm<'a> {
    name: &'a str,
    trials: Vec<Trial>,
    mean: Vec<At>,
    label: Vec<String>,
}

fn points(curve: &Curve) -> impl Iterator<Item = At> {
    let all = curve.points.iter().copied();
    all.filter(|point| usable(point.0) && usable(point.1))
}

fn last_tokens(arm: &ArmCurves) -> f64 {
    let all = arm.curves.iter().flat_map(points);
    all.map(|point| point.0).fold(0.0, f64::max)
}

impl<'a> Arm<'a> {
    /// A trial has finished if it goes as far as its arm does, and its arm as far as the study but
    /// for a last incomplete batch.
    fn new(arm: &ArmCurves<'a>, end: f64) -> Self {
        let goal = last_tokens(arm).max(0.98 * end);
        let trial = |curve: &Curve| {
            let points: Vec<At> = points(curve).collect();
            let finished = points.last().is_some_and(|last| last.0 >= goal);
            Trial {
                seed: curve.seed,
                points,
                finished,
            }
        };
        let trials: Vec<Trial> = arm.curves.iter().map(trial).collect();
        let mut mean = Vec::new();
        for (tokens, _) in trials.iter().take(1).flat_map(|trial| &trial.points) {
            let at = |t: &Trial| t.points.iter().find(|p| p.0 == *tokens).map(|p| p.1);
            let values: Vec<f64> = trials.iter().filter_map(at).collect();
            if values.len() == trials.len() {
                mean.push((*tokens, values.iter().sum::<f64>() / values.len() as f64));
            }
        }
        let mut label = wrap(arm.name, 160.0);
        let short = trials.iter().filter(|trial| !trial.finished).count();
        if short > 0 {
            label.push(format!("({short} of {} ended early)", trials.len()));
        }
        Self {
            name: arm.name,
            trials,
            mean,
            label,
        }
    }

    /// Mean of the last values of the trials that finished, or of all if none did.
    fn last(&self) -> f64 {
        let some = self.trials.iter().any(|trial| trial.finished);
        let chosen = self.trials.iter().filter(|trial| trial.finished || !some);
        let last: Vec<f64> = chosen.filter_map(|t| Some(t.points.last()?.1)).collect();
        last.iter().sum::<f64>() / last.len().max(1) as f64
    }

    fn label_height(&self) -> f64 {
        self.label.len() as f64 * LINE + 6.0
    }

    fn draw_seeds(&self, figure: &mut Figure, i: usize, (x, y): (&Axis, &Axis)) {
        let style = format!("{} stroke-opacity='0.3'", stroke(i));
        for trial in &self.trials {
            let points = trial.points.iter().map(|p| (x.at(p.0), y.at(p.1)));
            figure.curve(
                points,
                &style,
                &format!("{}, seed {}", self.name, trial.seed),
            );
        }
    }

    /// The control's line is wider, to be seen under an arm that changes nothing.
    fn draw_mean(&self, figure: &mut Figure, i: usize, (x, y): (&Axis, &Axis)) {
        let style = format!(
            "{} stroke-width='{}'",
            stroke(i),
            if i == 0 { 3.2 } else { 2.0 }
        );
        let points = self.mean.iter().map(|p| (x.at(p.0), y.at(p.1)));
        figure.curve(points, &style, &format!("{}, mean", self.name));
    }

    fn draw_ends(&self, figure: &mut Figure, i: usize, (x, y): (&Axis, &Axis)) {
        let short = self.trials.iter().filter(|trial| !trial.finished);
        for end in short.filter_map(|trial| trial.points.last()) {
            figure.cross((x.inside(end.0), y.inside(end.1)), colour(i));
        }
    }
}

/// Names at the right of the frame, each led to from its curve's end.
fn draw_labels(figure: &mut Figure, arms: &[Arm], (x, y): (&Axis, &Axis), frame: Frame) {
    let anchors: Vec<f64> = arms.iter().map(|arm| y.inside(arm.last())).collect();
    let heights: Vec<f64> = arms.iter().map(Arm::label_height).collect();
    let places = spread(&anchors, &heights, (frame.top, frame.bottom));
    let (left, right) = (frame.right + 16.0, frame.right + 36.0);
    for (i, arm) in arms.iter().enumerate() {
        let finished = arm.trials.iter().find(|trial| trial.finished);
        if let Some(end) = finished.and_then(|trial| trial.points.last()) {
            let style = format!("stroke='{}' stroke-width='0.8'", colour(i));
            figure.line((x.at(end.0) + 3.0, anchors[i]), (left, places[i]), &style);
        }
        let style = format!("{} stroke-width='3'", stroke(i));
        figure.line((left, places[i]), (right, places[i]), &style);
        figure.lines((right + 6.0, places[i]), "", &arm.label);
    }
}

/// The first of these that has any points: trials that finished, after the beginning; all trials,
/// after the beginning; all points.
fn range_of_interest(arms: &[Arm], end: f64) -> (f64, f64) {
    let of = |all: bool, from: f64| {
        let trials = arms
            .iter()
            .flat_map(|arm| &arm.trials)
            .filter(|t| all || t.finished);
        let points = trials
            .flat_map(|trial| &trial.points)
            .filter(|p| p.0 >= from);
        range(points.map(|point| point.1), 0.04)
    };
    let beginning = BEGINNING * end;
    let found = of(false, beginning)
        .or_else(|| of(true, beginning))
        .or_else(|| of(true, f64::MIN));
    found.unwrap_or((0.0, 1.0))
}

/// What the strokes mean, and what the frame cuts off.
fn caption(arms: &[Arm], high: f64) -> String {
    let mut parts = Vec::new();
    if arms.iter().any(|arm| arm.trials.len() > 1) {
        parts.push("thin: one seed; bold: mean of an arm's seeds");
    }
    let mut trials = arms.iter().flat_map(|arm| &arm.trials);
    if trials.clone().any(|trial| !trial.finished) {
        parts.push("×: ended early");
    }
    if trials.any(|trial| trial.points.iter().any(|point| point.1 > high)) {
        parts.push("values above the frame are cut off");
    }
    parts.join("; ")
}

/// 0, 500, 100k, 1.2M, 3B.
pub fn tokens(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")];
    let unit = units
        .into_iter()
        .find(|unit| value >= unit.0 * (1.0 - 1e-9));
    let (size, name) = unit.unwrap_or((1.0, ""));
    format!("{}{name}", (value / size * 1e4).round() / 1e4)
}

/// Middles for labels of these heights, near their anchors and in their order, none on another.
fn spread(anchors: &[f64], heights: &[f64], (top, bottom): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..anchors.len()).collect();
    order.sort_by(|a, b| anchors[*a].total_cmp(&anchors[*b]));
    let mut middles = anchors.to_vec();
    let mut free = top;
    for &i in &order {
        middles[i] = middles[i].max(free + heights[i] / 2.0);
        free = middles[i] + heights[i] / 2.0;
    }
    free = bottom;
    for &i in order.iter().rev() {
        middles[i] = middles[i].min(free - heights[i] / 2.0);
        free = middles[i] - heights[i] / 2.0;
    }
    middles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_shown_as_people_write_them() {
        let shown = [0.0, 500.0, 1e5, 1.2e6, 3e9, 1.5e12].map(tokens);
        assert_eq!(shown, ["0", "500", "100k", "1.2M", "3B", "1.5T"]);
    }

    #[test]
    fn neither_initialisation_nor_divergence_sets_the_range() {
        let curve = |values: [f64; 4]| Curve {
            seed: 1,
            points: values
                .iter()
                .enumerate()
                .map(|(i, v)| (i as f64, *v))
                .collect(),
        };
        let curves = vec![
            curve([9.0, 3.0, 2.0, 1.0]),
            curve([9.0, 4.0, 50.0, f64::NAN]),
        ];
        let arm = Arm::new(
            &ArmCurves {
                name: "arm",
                curves,
            },
            3.0,
        );
        let (low, high) = range_of_interest(&[arm], 3.0);
        assert!(
            (low - 0.92).abs() < 1e-9 && (high - 3.08).abs() < 1e-9,
            "{low} {high}"
        );
    }

    #[test]
    fn labels_keep_their_order_and_lie_on_none() {
        let places = spread(&[98.0, 99.0, 10.0, 97.0], &[20.0; 4], (0.0, 100.0));
        assert_eq!(places, [70.0, 90.0, 10.0, 50.0]);
    }
}
