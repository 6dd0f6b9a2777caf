//! What a baseline expects of its own proposal.

use super::{
    By,
    seen::Seen,
    space::{Point, Space},
};
use crate::{
    claude::score::rules::{COVERAGE, came},
    stats::paired::normal_quantile,
    study::{
        judged::Judged,
        proposal::{Direction, Prediction},
        verdict::Call,
    },
};

/// In the order in which ties are settled: that nothing happens is the least surprising.
const DIRECTIONS: [Direction; 3] = [Direction::Equivalent, Direction::Worse, Direction::Better];

/// How verdicts came out so far, whoever proposed them: (direction, effect in margins).
#[derive(Debug, Clone, Default)]
pub struct Rates(Vec<(Direction, f64)>);

impl Rates {
    pub fn of(judged: &[Judged]) -> Self {
        let tests = judged
            .iter()
            .filter(|s| s.contract.terms.exploratory.is_empty());
        let arms = tests.flat_map(|study| {
            let margin = study.verdict.rule.margin;
            study.arms().filter_map(move |arm| {
                Some((came(arm.call)?, arm.effect.map_or(0.0, |e| e.mean) / margin))
            })
        });
        Self(arms.collect())
    }

    pub fn from(rates: Vec<(Direction, f64)>) -> Self {
        Self(rates)
    }

    /// Of one direction, with one verdict of each kind added (Laplace's rule of succession).
    fn rate(&self, direction: Direction) -> f64 {
        let n = self.0.iter().filter(|(came, _)| *came == direction).count();
        (n as f64 + 1.0) / (self.0.len() as f64 + 3.0)
    }

    /// The median size of effects of one direction, in margins.
    fn size(&self, direction: Direction) -> f64 {
        let sizes = self.0.iter().filter(|(came, _)| *came == direction);
        let sizes: Vec<f64> = sizes.map(|(_, effect)| effect.abs()).collect();
        let unknown = if direction == Direction::Equivalent {
            0.0
        } else {
            1.5
        };
        quantile(sizes, 0.5).unwrap_or(unknown)
    }
}

/// Fewer effects give no quantiles.
const FEWEST: usize = 5;

/// A baseline's prediction for a point. At random: the rates of all verdicts so far. The estimator: changes of
/// the same key, weighted by how near they are, added to these rates as if they were one verdict.
pub fn foresee(
    space: &Space,
    by: By,
    point: &Point,
    (seen, rates): (&[Seen], &Rates),
) -> Prediction {
    let margin = space.decision.margin;
    let near = match by {
        By::Random => Vec::new(),
        By::Tpe => near(space, point, seen),
    };
    let total: f64 = near.iter().map(|(weight, _)| weight).sum();
    let chance = |direction: Direction| {
        let seen = near.iter().filter(|(_, s)| came(s.call) == Some(direction));
        let weight: f64 = seen.map(|(weight, _)| weight).sum();
        let decided = near.iter().filter(|(_, s)| came(s.call).is_some());
        let decided: f64 = decided.map(|(weight, _)| weight).sum();
        (rates.rate(direction) + weight) / (1.0 + decided)
    };
    let mut direction = DIRECTIONS[0];
    for other in &DIRECTIONS[1..] {
        if chance(*other) > chance(direction) {
            direction = *other;
        }
    }
    let (effect, interval) = match total > 0.5 {
        true => local(&near, total),
        false => (rates.size(direction), spread(rates)),
    };
    Prediction {
        direction,
        effect: rounded(margin * effect),
        confidence: rounded(chance(direction)),
        interval: interval.map(|ends| ends.map(|end| rounded(margin * end))),
    }
}

/// Changes of the same key with their weights, those that are near enough to count.
fn near<'a>(space: &Space, point: &Point, seen: &'a [Seen]) -> Vec<(f64, &'a Seen)> {
    let Some(dimension) = space.vary.get(&point.path) else {
        return Vec::new();
    };
    let same_key = seen
        .iter()
        .filter(|s| s.path == point.path && s.call != Call::Invalid);
    let weighted = same_key.map(|s| (dimension.nearness(&s.value, &point.value), s));
    weighted.filter(|(weight, _)| *weight > 0.01).collect()
}

/// The weighted mean's size and an interval about it, in margins: the spread of what is near, and half a
/// margin for each that there is not.
fn local(near: &[(f64, &Seen)], total: f64) -> (f64, Option<[f64; 2]>) {
    let mean = near.iter().map(|(w, s)| w * s.difference).sum::<f64>() / total;
    let squares = near.iter().map(|(w, s)| w * (s.difference - mean).powi(2));
    let variance = squares.sum::<f64>() / total + 0.25 / total;
    let half = normal_quantile(0.5 + COVERAGE / 2.0) * variance.sqrt();
    (mean.abs(), Some([mean - half, mean + half]))
}

/// Where four of five effects lay so far, in margins.
fn spread(rates: &Rates) -> Option<[f64; 2]> {
    let effects: Vec<f64> = rates.0.iter().map(|(_, effect)| *effect).collect();
    let ends = [0.5 - COVERAGE / 2.0, 0.5 + COVERAGE / 2.0];
    let [low, high] = ends.map(|p| quantile(effects.clone(), p));
    let (low, high) = (low?, high?);
    (effects.len() >= FEWEST && low < high).then_some([low, high])
}

fn quantile(mut values: Vec<f64>, p: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let place = p * last as f64;
    let (below, above) = (
        values[place.floor() as usize],
        values[place.ceil() as usize],
    );
    Some(below + place.fract() * (above - below))
}

/// With the three digits that one would write.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}
