//! Minimising a smooth function of a few dozen numbers: limited-memory BFGS (Nocedal 1980) with the
//! weak-Wolfe bisection of Lewis & Overton (2013, "Nonsmooth optimization via quasi-Newton
//! methods"), which keeps its footing on Huber losses whose residuals are mostly in the linear part.

/// Pairs of steps and gradient changes that are kept.
const MEMORY: usize = 20;
/// Armijo's share of the predicted decrease, and Wolfe's share of the slope that may be left.
const DECREASE: f64 = 1e-4;
const SLOPE: f64 = 0.9;
/// Steps in a row that gain less than this share of the value end the search.
const GAIN: f64 = 1e-13;
const IDLE_STEPS: usize = 5;

/// Where a search ended.
#[derive(Debug, Clone)]
pub struct Minimum {
    pub at: Vec<f64>,
    pub value: f64,
}

/// A function's value at a point; its gradient is written into the second argument.
pub type Objective<'a> = dyn Fn(&[f64], &mut [f64]) -> f64 + 'a;

/// The lowest point found from `start` in at most `limit` steps. Never worse than the start.
pub fn minimise(start: &[f64], limit: usize, objective: &Objective) -> Minimum {
    let mut gradient = vec![0.0; start.len()];
    let value = objective(start, &mut gradient);
    let mut here = Point {
        at: start.to_vec(),
        value,
        gradient,
    };
    let mut memory = Memory::default();
    let (mut steps, mut idle) = (0, 0);
    while steps < limit && idle < IDLE_STEPS && here.value.is_finite() {
        let mut direction = memory.direction(&here.gradient);
        if dot(&direction, &here.gradient) >= 0.0 {
            memory = Memory::default();
            direction = memory.direction(&here.gradient);
        }
        let Some(next) = step(&here, &direction, objective) else {
            if memory.pairs.is_empty() {
                break;
            }
            // The curvature that is remembered may be what misleads: once more without it.
            memory = Memory::default();
            continue;
        };
        steps += 1;
        idle = match here.value - next.value > GAIN * here.value.abs() {
            true => 0,
            false => idle + 1,
        };
        memory.learn(&here, &next);
        here = next;
    }
    Minimum {
        at: here.at,
        value: here.value,
    }
}

struct Point {
    at: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

#[derive(Default)]
struct Memory {
    /// (step, change of the gradient, 1 / their product), the newest last.
    pairs: Vec<(Vec<f64>, Vec<f64>, f64)>,
}

impl Memory {
    fn learn(&mut self, from: &Point, to: &Point) {
        let step = difference(&to.at, &from.at);
        let change = difference(&to.gradient, &from.gradient);
        let product = dot(&step, &change);
        if product > 1e-300 && product.is_finite() {
            if self.pairs.len() == MEMORY {
                self.pairs.remove(0);
            }
            self.pairs.push((step, change, 1.0 / product));
        }
    }

    /// Minus the inverse Hessian times the gradient: the two-loop recursion.
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let Some((step, change, _)) = self.pairs.last() else {
            // A first step of length one, whatever the scale of the function.
            let length = dot(&q, &q).sqrt().max(1e-300);
            q.iter_mut().for_each(|x| *x /= length.max(1.0));
            return q;
        };
        let scale = dot(step, change) / dot(change, change);
        let mut taken = Vec::with_capacity(self.pairs.len());
        for (step, change, inverse) in self.pairs.iter().rev() {
            let share = inverse * dot(step, &q);
            add(&mut q, -share, change);
            taken.push(share);
        }
        q.iter_mut().for_each(|x| *x *= scale);
        for ((step, change, inverse), share) in self.pairs.iter().zip(taken.iter().rev()) {
            let back = inverse * dot(change, &q);
            add(&mut q, share - back, step);
        }
        q
    }
}

/// The point that a line search along `direction` accepts; `None` when nothing lower is found.
fn step(from: &Point, direction: &[f64], objective: &Objective) -> Option<Point> {
    let slope = dot(direction, &from.gradient);
    if slope >= 0.0 || !slope.is_finite() {
        return None;
    }
    let (mut low, mut high, mut length) = (0.0, f64::INFINITY, 1.0);
    let mut lowest: Option<Point> = None;
    for _ in 0..40 {
        let mut at = from.at.clone();
        add(&mut at, length, direction);
        let mut gradient = vec![0.0; at.len()];
        let value = objective(&at, &mut gradient);
        // Not a number counts as too far, too.
        let lower = value <= from.value + DECREASE * length * slope;
        if !lower {
            high = length;
        } else {
            let steep = dot(&gradient, direction) < SLOPE * slope;
            let better = lowest.as_ref().is_none_or(|p| value < p.value);
            if better {
                lowest = Some(Point {
                    at,
                    value,
                    gradient,
                });
            }
            if !steep {
                break;
            }
            low = length;
        }
        length = match high.is_finite() {
            true => 0.5 * (low + high),
            false => 2.0 * low,
        };
    }
    lowest.filter(|point| point.value < from.value)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(x, y)| x - y).collect()
}

fn add(to: &mut [f64], times: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(x, y)| *x += times * y);
}

/// Huber's loss of a residual and its derivative: half a square within `delta`, linear beyond.
pub fn huber(residual: f64, delta: f64) -> (f64, f64) {
    match residual.abs() <= delta {
        true => (0.5 * residual * residual, residual),
        false => (
            delta * (residual.abs() - 0.5 * delta),
            delta * residual.signum(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rosenbrocks_valley_is_followed_to_its_end() {
        let valley = |x: &[f64], g: &mut [f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            g[0] = -2.0 * a - 400.0 * x[0] * b;
            g[1] = 200.0 * b;
            a * a + 100.0 * b * b
        };
        let found = minimise(&[-1.2, 1.0], 500, &valley);
        assert!(found.value < 1e-18, "{found:?}");
        assert!((found.at[0] - 1.0).abs() < 1e-8 && (found.at[1] - 1.0).abs() < 1e-8);
    }

    #[test]
    fn a_median_comes_out_of_a_narrow_huber_loss() {
        let values = [1.0, 2.0, 3.0, 10.0, 400.0];
        let loss = |x: &[f64], g: &mut [f64]| {
            let terms = values.iter().map(|v| huber(x[0] - v, 1e-3));
            let (value, slope) = terms.fold((0.0, 0.0), |s, t| (s.0 + t.0, s.1 + t.1));
            g[0] = slope;
            value
        };
        let found = minimise(&[80.0], 500, &loss);
        assert!((found.at[0] - 3.0).abs() < 2e-3, "{found:?}");
    }

    #[test]
    fn a_function_that_is_nowhere_finite_returns_the_start() {
        let found = minimise(&[1.0, 2.0], 50, &|_, g| {
            g.fill(f64::NAN);
            f64::NAN
        });
        assert_eq!(found.at, [1.0, 2.0]);
    }
}
