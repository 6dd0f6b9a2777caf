//! Records turned into the lines of charts.

use super::chart::{At, Line};
use crate::{
    metrics::{Metric, Record},
    tensorboard::scalars,
};
use std::collections::BTreeMap;

/// What a chart has across.
#[derive(Clone, Copy, PartialEq)]
pub enum Across {
    Steps,
    Tokens,
}

impl Across {
    pub fn name(self) -> &'static str {
        match self {
            Self::Steps => "step",
            Self::Tokens => "tokens",
        }
    }

    fn of(self, record: &Record) -> f64 {
        let at = match (self, record) {
            (Self::Tokens, Record::Step(r)) => r.tokens,
            (Self::Tokens, Record::Eval(r)) => r.tokens,
            _ => record.step(),
        };
        at as f64
    }
}

/// A run's recorded numbers by tag, in order.
pub fn by_tag(records: &[Record], across: Across) -> BTreeMap<String, Vec<At>> {
    let mut tags: BTreeMap<String, Vec<At>> = BTreeMap::new();
    for record in records {
        for (tag, value) in scalars(record) {
            tags.entry(tag)
                .or_default()
                .push((across.of(record), value));
        }
    }
    tags
}

/// Every tag of an evaluation in these, the metric's own first, then the rest of the means.
pub fn evaluated<'a>(
    all: impl Iterator<Item = &'a BTreeMap<String, Vec<At>>>,
    metric: Metric,
) -> Vec<String> {
    let tags = all.flat_map(BTreeMap::keys);
    let evaluated = tags.filter(|tag| tag.starts_with("val/") || tag.starts_with("ema/"));
    let mut tags: Vec<String> = evaluated.cloned().collect();
    tags.sort_by_key(|tag| {
        let (of, field) = parts(tag);
        (
            of != MEAN,
            of == AVERAGED,
            of.to_string(),
            field != metric.name(),
            field.to_string(),
        )
    });
    tags.dedup();
    tags
}

const MEAN: &str = "mean";
const AVERAGED: &str = "averaged weights";

/// What an evaluation's tag is of ("mean", a corpus, "averaged weights"), and its field.
pub fn parts(tag: &str) -> (&str, &str) {
    let (group, rest) = tag.split_once('/').unwrap_or(("", tag));
    match (group, rest.rsplit_once('/')) {
        ("ema", _) => (AVERAGED, rest),
        (_, None) => (MEAN, rest),
        (_, Some((corpus, field))) => (corpus, field),
    }
}

/// A field's unit in words.
pub fn unit(field: &str) -> String {
    [Metric::Bpb, Metric::Loss]
        .into_iter()
        .find(|metric| metric.name() == field)
        .map_or_else(|| field.replace('_', " "), |metric| metric.unit().into())
}

/// The mean of curves, wherever all of them have a point.
pub fn mean(curves: &[&[At]]) -> Vec<At> {
    let Some((first, rest)) = curves.split_first() else {
        return Vec::new();
    };
    let mut places = vec![0; rest.len()];
    let mut mean = Vec::new();
    for (x, y) in first.iter() {
        let mut sum = *y;
        let mut known = 1;
        for (curve, place) in rest.iter().zip(&mut places) {
            while curve.get(*place).is_some_and(|point| point.0 < *x) {
                *place += 1;
            }
            if let Some(point) = curve.get(*place).filter(|point| point.0 == *x) {
                sum += point.1;
                known += 1;
            }
        }
        if known == curves.len() {
            mean.push((*x, sum / known as f64));
        }
    }
    mean
}

/// Means over windows of `window` points, each at its last one; what is left over makes one more.
pub fn windowed(points: &[At], window: usize) -> Vec<At> {
    let windows = points.chunks(window.max(1));
    let means = windows.filter_map(|window| {
        let sum: f64 = window.iter().map(|point| point.1).sum();
        Some((window.last()?.0, sum / window.len() as f64))
    });
    means.collect()
}

/// An arm's lines: the mean in bold, then a line for each seed; a single seed is its own mean.
pub fn seeds(curves: &[&[At]], window: usize) -> Vec<Line> {
    let faint = curves.iter().map(|curve| Line {
        points: curve.to_vec(),
        bold: false,
    });
    let bold = Line {
        points: windowed(&mean(curves), window),
        bold: true,
    };
    std::iter::once(bold).chain(faint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_where_all_have_a_point() {
        let a = [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (5.0, 9.0)];
        let b = [(2.0, 4.0), (3.0, 5.0), (4.0, 7.0)];
        assert_eq!(mean(&[&a, &b]), [(2.0, 3.0), (3.0, 4.0)]);
        assert_eq!(mean(&[&a]), a);
        assert_eq!(mean(&[&a, &[]]), []);
        assert_eq!(mean(&[]), []);
    }

    #[test]
    fn windows_hold_all_points() {
        let points = [(1.0, 1.0), (2.0, 3.0), (3.0, 8.0)];
        assert_eq!(windowed(&points, 2), [(2.0, 2.0), (3.0, 8.0)]);
        assert_eq!(windowed(&points, 0), points);
        assert_eq!(windowed(&[], 3), []);
    }

    #[test]
    fn a_tag_says_what_it_is_of_whatever_the_corpus_is_called() {
        assert_eq!(parts("val/bpb"), ("mean", "bpb"));
        assert_eq!(parts("val/a/b c/loss"), ("a/b c", "loss"));
        assert_eq!(parts("ema/loss"), ("averaged weights", "loss"));
        assert_eq!(unit("answer_loss"), "answer loss");
    }
}
