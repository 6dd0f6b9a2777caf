//! Paired differences of all arms, as a forest plot.

use super::svg::{
    Axis, END, Figure, Frame, LINE, MIDDLE, SMALL, WIDTH, colour, range, usable, widest, width,
    wrap,
};

/// One arm's paired differences, in the metric's unit.
pub struct Differences<'a> {
    pub arm: &'a str,
    /// (seed, arm minus control).
    pub values: Vec<(u64, f64)>,
    /// (low, mean, high); `None` when there is no interval, as after a divergence.
    pub interval: Option<(f64, f64, f64)>,
}

/// Paired differences, a row for each arm: a dot for each seed, below it the mean and its interval,
/// against the zero line and the band of ± margin. Arm i has the colour of arm i + 1 in
/// [`curves_svg`], where the control comes first. Dots are moved up and down only to part them.
pub fn differences_svg(arms: &[Differences], margin: f64, x_label: &str) -> String {
    let margin = if usable(margin) { margin.abs() } else { 0.0 };
    let mut x = Axis::new(extent(arms, margin), (0.0, 1.0), 75.0);
    let header = format!("mean [interval]{}", x.power_label());
    let names: Vec<Vec<String>> = arms.iter().map(|arm| wrap(arm.arm, 180.0)).collect();
    let numbers: Vec<Vec<String>> = arms.iter().map(|arm| numbers(arm, &x)).collect();
    let left = 30.0 + widest(names.iter().flatten());
    let right = WIDTH - 22.0 - widest(numbers.iter().flatten().chain([&header]));
    (x.from, x.to) = (left, right);
    let height = |name: &Vec<String>| (name.len() as f64 * LINE + 16.0).max(58.0);
    let (top, bottom) = (54.0, 54.0 + names.iter().map(height).sum::<f64>());
    let frame = Frame {
        left,
        top,
        right,
        bottom,
    };

    let mut figure = Figure::default();
    draw_back(&mut figure, &x, frame, margin);
    figure.text((right + 12.0, top - 7.0), SMALL, &header);
    let mut row = top;
    for (i, arm) in arms.iter().enumerate() {
        let middle = row + height(&names[i]) / 2.0;
        figure.line((left, row), (right, row), "stroke='#ccc'");
        figure.lines((left - 12.0, middle), END, &names[i]);
        draw_row(&mut figure, arm, colour(i + 1), (&x, middle));
        figure.lines((right + 12.0, middle), "", &numbers[i]);
        row += height(&names[i]);
    }
    figure.border(frame);
    figure.x_axis(&x, bottom, |value| x.show(value));
    let x_label = format!("{x_label}{}", x.power_label());
    // Under the frame's middle, unless it would then leave the figure.
    let most = (WIDTH - 8.0 - width(&x_label) / 2.0).max(WIDTH / 2.0);
    let middle = ((left + right) / 2.0).clamp(WIDTH - most, most);
    figure.text((middle, bottom + 38.0), MIDDLE, &x_label);
    let names: Vec<&str> = arms.iter().map(|arm| arm.arm).collect();
    figure.finish(bottom + 50.0, &format!("{x_label}: {}", names.join(", ")))
}

const BAND: &str = "fill='#e9e9e9' stroke='#999' stroke-dasharray='3 3'";

fn draw_back(figure: &mut Figure, x: &Axis, frame: Frame, margin: f64) {
    draw_key(figure, frame.left, margin);
    figure.text((frame.left, frame.top - 7.0), "", "← better");
    figure.text((frame.right, frame.top - 7.0), END, "worse →");
    if margin > 0.0 {
        let (left, right) = (x.at(-margin), x.at(margin));
        figure.rect(
            Frame {
                left,
                right,
                ..frame
            },
            BAND,
        );
    }
    let zero = x.at(0.0);
    figure.line((zero, frame.top), (zero, frame.bottom), "stroke='#333'");
}

fn draw_key(figure: &mut Figure, left: f64, margin: f64) {
    let y = 16.0;
    figure.dot((left + 5.0, y), "#555", "one seed");
    figure.text((left + 14.0, y + 4.0), SMALL, "one seed, minus control");
    figure.whisker((left + 165.0, left + 180.0, left + 195.0), y, "#555");
    figure.text((left + 203.0, y + 4.0), SMALL, "mean and interval");
    if margin > 0.0 {
        let (left, right) = (left + 320.0, left + 344.0);
        figure.rect(
            Frame {
                left,
                right,
                top: y - 6.0,
                bottom: y + 6.0,
            },
            BAND,
        );
        let rounded: f64 = format!("{margin:.5e}").parse().unwrap_or(margin);
        let plain = (1e-4..1e6).contains(&rounded);
        let shown = if plain {
            rounded.to_string()
        } else {
            format!("{rounded:e}")
        };
        figure.text((right + 7.0, y + 4.0), SMALL, &format!("margin ±{shown}"));
    }
}

/// Dots above the row's middle, the interval below it.
fn draw_row(figure: &mut Figure, arm: &Differences, colour: &str, (x, middle): (&Axis, f64)) {
    let mut values = arm.values.clone();
    values.retain(|value| usable(value.1));
    values.sort_by(|a, b| a.1.total_cmp(&b.1));
    let pixels: Vec<f64> = values.iter().map(|value| x.at(value.1)).collect();
    for (i, offset) in swarm(&pixels, 7.0, 14.0).into_iter().enumerate() {
        let title = format!("{}, seed {}: {:+}", arm.arm, values[i].0, values[i].1);
        figure.dot((pixels[i], middle - 8.0 + offset), colour, &title);
    }
    if let Some((low, mean, high)) = interval(arm) {
        let pixels = (x.at(low), x.at(mean), x.at(high));
        figure.whisker(pixels, middle + 18.0, colour);
    }
}

/// Offsets that keep dots this far apart, all brought nearer if one would be further off than
/// `most`.
pub fn swarm(pixels: &[f64], apart: f64, most: f64) -> Vec<f64> {
    let mut offsets: Vec<f64> = Vec::new();
    for (i, x) in pixels.iter().enumerate() {
        let free = |y: &f64| (0..i).all(|k| (pixels[k] - x).hypot(offsets[k] - y) >= apart);
        let sides = (0..=i).flat_map(|level| [1.0, -1.0].map(|side| side * level as f64 * apart));
        let offset = sides.into_iter().find(free).unwrap_or(0.0);
        offsets.push(offset);
    }
    let furthest = offsets.iter().fold(most, |far, y| far.max(y.abs()));
    offsets.iter().map(|y| y * most / furthest).collect()
}

/// The extent of all that is drawn; zero is always in it.
pub fn extent(arms: &[Differences], margin: f64) -> (f64, f64) {
    let mut all = vec![0.0, margin, -margin];
    for arm in arms {
        all.extend(
            arm.values
                .iter()
                .map(|value| value.1)
                .filter(|value| usable(*value)),
        );
        all.extend(
            interval(arm)
                .into_iter()
                .flat_map(|(low, mean, high)| [low, mean, high]),
        );
    }
    range(all.into_iter(), 0.06).unwrap_or((-1.0, 1.0))
}

pub fn interval(arm: &Differences) -> Option<(f64, f64, f64)> {
    arm.interval
        .filter(|(low, mean, high)| usable(*low) && usable(*mean) && usable(*high))
}

/// The mean and the interval in figures, to a fiftieth of the interval's width.
fn numbers(arm: &Differences, axis: &Axis) -> Vec<String> {
    let seeds = arm.values.iter().filter(|value| usable(value.1)).count();
    let Some((low, mean, high)) = interval(arm) else {
        let plural = if seeds == 1 { "" } else { "s" };
        return vec!["no interval".into(), format!("({seeds} seed{plural})")];
    };
    let sizes = [high - low, mean.abs(), axis.high - axis.low];
    let size = sizes.into_iter().find(|size| *size > 0.0).unwrap_or(1.0);
    let show = |value| {
        let sign = if value > 0.0 { "+" } else { "" };
        format!("{sign}{}", axis.fixed(value, size / 50.0))
    };
    vec![show(mean), format!("[{}, {}]", show(low), show(high))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_stay_apart_and_within_the_row() {
        let few = swarm(&[5.0; 3], 7.0, 14.0);
        assert_eq!(few, [0.0, 7.0, -7.0]);
        let mut many = swarm(&[5.0; 20], 7.0, 14.0);
        many.sort_by(f64::total_cmp);
        assert!(many.windows(2).all(|pair| pair[1] - pair[0] > 1.0));
        assert_eq!(many[19], 14.0);
        assert_eq!(swarm(&[0.0, 8.0], 7.0, 14.0), [0.0, 0.0]);
    }
}
