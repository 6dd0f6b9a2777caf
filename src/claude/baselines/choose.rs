//! Which change to try next: drawn evenly, or by a tree-structured Parzen estimator.
//!
//! The estimator calls the best quarter of what was seen good, and looks where the good are dense and the
//! others are not. Its densities have a prior of one even observation, and kernels that end where a range
//! ends: without the first it runs off to whatever is furthest from what failed, without the second it piles
//! up at the ends of ranges.

use super::{
    By,
    seen::Seen,
    space::{Dimension, Point, Space, same},
};
use crate::{rng::Rng, stats::paired::normal_probability};

/// Draws before a space counts as tried out.
const PATIENCE: u64 = 200;
/// The share of what was seen that is called good.
const GOOD: f64 = 0.25;
/// Draws from the density of the good, of which the most promising is taken.
const CANDIDATES: usize = 24;
/// Fewer changes of a key say nothing of where to look; it is then drawn evenly.
const FEWEST: usize = 4;

/// The change that a baseline would try; `None` where `PATIENCE` draws gave nothing new.
pub fn choose(space: &Space, by: By, seen: &[Seen], seed: u64) -> Option<Point> {
    (0..PATIENCE).find_map(|draw| {
        let mut rng = Rng::named(seed, &format!("baselines.{}.{draw}", by.name()));
        let key = match by {
            By::Random => rng.below(space.vary.len().max(1) as u64) as usize,
            By::Tpe => promising_key(space, seen, &mut rng),
        };
        let (path, dimension) = space.vary.iter().nth(key)?;
        let value = match by {
            By::Random => dimension.at(rng.uniform()),
            By::Tpe => promising_value(space, (path, dimension), seen, &mut rng)?,
        };
        let point = Point {
            path: path.clone(),
            value,
        };
        let tried = |s: &Seen| s.path == point.path && same(&s.value, &point.value);
        (!space.is_base(&point) && !seen.iter().any(tried)).then_some(point)
    })
}

/// The number of a key, the likelier the more of its changes are among the good.
fn promising_key(space: &Space, seen: &[Seen], rng: &mut Rng) -> usize {
    let number = |s: &Seen| space.vary.keys().position(|path| *path == s.path);
    let tried: Vec<(f64, f64)> = seen
        .iter()
        .filter_map(|s| Some((number(s)? as f64, s.difference)))
        .collect();
    let n_keys = space.vary.len();
    match tried.len() < FEWEST * n_keys {
        true => rng.below(n_keys.max(1) as u64) as usize,
        false => promising_choice(n_keys, &tried, rng),
    }
}

/// A value of a key by what its other values came to; the base itself counts as no worse than the base.
fn promising_value(
    space: &Space,
    (path, dimension): (&String, &Dimension),
    seen: &[Seen],
    rng: &mut Rng,
) -> Option<toml::Value> {
    let of_key = seen.iter().filter(|s| s.path == *path);
    let mut tried: Vec<(f64, f64)> = of_key
        .filter_map(|s| Some((dimension.place(&s.value)?, s.difference)))
        .collect();
    let base = space.base_values.get(path);
    tried.extend(base.and_then(|value| Some((dimension.place(value)?, 0.0))));
    if tried.len() < FEWEST {
        return Some(dimension.at(rng.uniform()));
    }
    match dimension {
        Dimension::Range { .. } => Some(dimension.at(promising_place(&tried, rng))),
        Dimension::Choice(values) => {
            let idx = promising_choice(values.len(), &tried, rng);
            values.get(idx).cloned()
        }
    }
}

/// Places of the good and of the others.
fn split(tried: &[(f64, f64)]) -> (Vec<f64>, Vec<f64>) {
    let mut order = tried.to_vec();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let n_good = (GOOD * order.len() as f64).ceil() as usize;
    let mut places: Vec<f64> = order.into_iter().map(|(place, _)| place).collect();
    let others = places.split_off(n_good.min(places.len()));
    (places, others)
}

/// One of `n`, in proportion to how much commoner it is among the good, each counted once more than seen.
fn promising_choice(n: usize, tried: &[(f64, f64)], rng: &mut Rng) -> usize {
    let (good, others) = split(tried);
    let share = |of: &[f64], choice: usize| {
        let count = of.iter().filter(|place| **place as usize == choice).count();
        (count as f64 + 1.0) / (of.len() + n) as f64
    };
    let weights: Vec<f64> = (0..n)
        .map(|choice| share(&good, choice) / share(&others, choice))
        .collect();
    rng.pick(&weights)
}

/// A place in [0, 1]: of some draws from the good ones' density, the one where it is highest against the
/// others'.
fn promising_place(tried: &[(f64, f64)], rng: &mut Rng) -> f64 {
    let (good, others) = split(tried);
    let (good, others) = (Density::of(good), Density::of(others));
    let draws: Vec<f64> = (0..CANDIDATES).map(|_| good.draw(rng)).collect();
    let promise = |place: &f64| good.at(*place) / others.at(*place);
    let best = draws
        .into_iter()
        .max_by(|a, b| promise(a).total_cmp(&promise(b)));
    best.unwrap_or(0.5)
}

/// A density on [0, 1]: a normal kernel about each place, cut off at the ends, and one even observation.
struct Density {
    places: Vec<f64>,
    width: f64,
}

impl Density {
    fn of(places: Vec<f64>) -> Self {
        // By Scott's rule, of places that are as spread as they may be.
        let width = 0.3 * (places.len() as f64 + 1.0).powf(-0.2);
        Self { places, width }
    }

    fn at(&self, x: f64) -> f64 {
        let below = |end: f64, place: f64| normal_probability((end - place) / self.width);
        let kernel = |place: &f64| {
            let inside = below(1.0, *place) - below(0.0, *place);
            let z = (x - place) / self.width;
            (-0.5 * z * z).exp() / (std::f64::consts::TAU.sqrt() * self.width * inside)
        };
        let kernels: f64 = self.places.iter().map(kernel).sum();
        (1.0 + kernels) / (self.places.len() as f64 + 1.0)
    }

    fn draw(&self, rng: &mut Rng) -> f64 {
        let idx = rng.below(self.places.len() as u64 + 1) as usize;
        let Some(place) = self.places.get(idx) else {
            return rng.uniform();
        };
        // A kernel about a place inside has half of its weight inside, or more.
        loop {
            let x = place + self.width * rng.normal();
            if (0.0..=1.0).contains(&x) {
                return x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_density_has_an_area_of_one_and_draws_that_follow_it() {
        for places in [vec![], vec![0.0], vec![0.1, 0.15, 0.9], vec![1.0; 9]] {
            let density = Density::of(places);
            let n = 2000;
            let grid = |i: i32| (f64::from(i) + 0.5) / f64::from(n);
            let area = |to: f64| -> f64 {
                let below = (0..n).map(grid).filter(|x| *x < to);
                below.map(|x| density.at(x) / f64::from(n)).sum()
            };
            assert!((area(1.0) - 1.0).abs() < 1e-4);
            let mut rng = Rng::named(1, "density");
            let draws: Vec<f64> = (0..4000).map(|_| density.draw(&mut rng)).collect();
            for to in [0.2, 0.5, 0.8] {
                let share = draws.iter().filter(|x| **x < to).count() as f64 / 4000.0;
                assert!((share - area(to)).abs() < 0.03, "{to}");
            }
        }
    }
}
