//! Independent pieces of work on a few threads, and order statistics of what they return.

use std::sync::atomic::{AtomicUsize, Ordering};

/// `work(0), …, work(n − 1)` in order, computed side by side. Each piece must depend on its index
/// alone, so that the answer does not depend on the number of threads.
pub fn map<T: Send>(n: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let idx = next.fetch_add(1, Ordering::Relaxed);
            if idx >= n {
                return done;
            }
            done.push((idx, work(idx)));
        }
    };
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..cores.min(n)).map(|_| scope.spawn(take)).collect();
        let mut all = take();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|(idx, _)| *idx);
    all.into_iter().map(|(_, value)| value).collect()
}

/// The quantile of sorted values, with straight lines between them (type 7 of Hyndman & Fan 1996).
/// `None` of nothing.
pub fn quantile_of_sorted(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = p.clamp(0.0, 1.0) * last as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let above = sorted[(below + 1).min(last)];
    Some(sorted[below] + part * (above - sorted[below]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order() {
        let squares = map(100, |i| i * i);
        assert!(squares.iter().enumerate().all(|(i, s)| *s == i * i));
        assert!(map(0, |i| i).is_empty());
    }

    #[test]
    fn quantiles_lie_on_lines_between_values() {
        let sorted = [1.0, 2.0, 4.0];
        assert_eq!(quantile_of_sorted(&sorted, 0.5), Some(2.0));
        assert_eq!(quantile_of_sorted(&sorted, 0.75), Some(3.0));
        assert_eq!(quantile_of_sorted(&sorted, 1.0), Some(4.0));
        assert_eq!(quantile_of_sorted(&[], 0.5), None);
    }
}
