//! How long trials take together, and what they hold: the runner's queue played through on paper.
//!
//! Trials that do not divide evenly among jobs, arms of different sizes, trunks that some wait for:
//! the sum over the number of jobs would be right for none of them.

use super::queue::{Next, Queue};
use crate::trunk::Trunk;
use std::{collections::BTreeMap, path::PathBuf};

/// What is still to do of one trial.
#[derive(Debug, Clone)]
pub struct Item {
    /// With as many others beside it as there are jobs.
    pub seconds: f64,
    /// How many times quicker it is with nothing beside it.
    pub alone: f64,
    pub memory_bytes: u64,
    pub trunk: Option<Trunk>,
    /// Of `seconds`, what passes until the trunk is there for others; `None` where it is there.
    pub trunk_seconds: Option<f64>,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Span {
    pub seconds: f64,
    /// The most that is held at any moment.
    pub memory_bytes: u64,
    /// Seconds in which fewer than all jobs had something to do.
    pub uneven_seconds: f64,
    /// From its start to its end, by item.
    pub item_seconds: Vec<f64>,
}

/// An item that is being trained.
struct Running {
    idx: usize,
    left: f64,
    to_trunk: Option<f64>,
}

/// Shorter is nothing: what is left of a time after it was subtracted from itself.
const NOTHING: f64 = 1e-9;

/// Trains `items` in order, at most `jobs` at a time.
pub fn makespan(items: &[Item], jobs: usize) -> Span {
    let mut queue = Queue::new(items.iter().map(|item| item.trunk.clone()).collect());
    // Of each trunk, how far it is kept by now.
    let mut kept: BTreeMap<PathBuf, Vec<u64>> = BTreeMap::new();
    let mut running: Vec<Running> = Vec::new();
    let mut span = Span {
        item_seconds: vec![0.0; items.len()],
        ..Span::default()
    };
    loop {
        while running.len() < jobs {
            let whole = |trunk: &Trunk| {
                let known = kept.get(trunk.id());
                trunk.is_whole() || known.is_some_and(|steps| steps.contains(&trunk.step()))
            };
            match queue.next(whole) {
                Next::Start(idx) => running.push(Running {
                    idx,
                    left: items[idx].seconds,
                    to_trunk: items[idx].trunk_seconds,
                }),
                Next::Wait | Next::Done => break,
            }
        }
        if running.is_empty() {
            return span;
        }
        let held = running.iter().map(|r| items[r.idx].memory_bytes).sum();
        span.memory_bytes = span.memory_bytes.max(held);
        let n = running.len();
        let speed = |r: &Running| speed(&items[r.idx], n, jobs);
        let next = |r: &Running| r.to_trunk.unwrap_or(r.left) / speed(r);
        let passed = running.iter().map(next).fold(f64::INFINITY, f64::min);
        span.seconds += passed;
        if n < jobs {
            span.uneven_seconds += passed;
        }
        for r in &mut running {
            let done = passed * speed(&*r);
            span.item_seconds[r.idx] += passed;
            r.left -= done;
            r.to_trunk = r.to_trunk.map(|left| left - done);
            if let Some(trunk) = &items[r.idx].trunk
                && r.to_trunk.is_some_and(|left| left <= NOTHING)
            {
                r.to_trunk = None;
                let steps = kept.entry(trunk.id().into()).or_default();
                steps.push(trunk.step());
            }
        }
        for r in running.iter().filter(|r| r.left <= NOTHING) {
            queue.ended(r.idx);
        }
        running.retain(|r| r.left > NOTHING);
    }
}

/// Seconds of an item's work that pass in a second while `n` run of the `jobs` that could.
fn speed(item: &Item, n: usize, jobs: usize) -> f64 {
    match jobs {
        1 => 1.0,
        jobs => 1.0 + (item.alone - 1.0) * (jobs - n) as f64 / (jobs - 1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(seconds: f64, alone: f64, memory_bytes: u64) -> Item {
        Item {
            seconds,
            alone,
            memory_bytes,
            trunk: None,
            trunk_seconds: None,
        }
    }

    #[test]
    fn trials_that_divide_evenly_take_their_sum_over_the_jobs() {
        let span = makespan(&vec![item(10.0, 1.5, 3); 6], 2);
        assert_eq!(span.seconds, 30.0);
        assert_eq!((span.memory_bytes, span.uneven_seconds), (6, 0.0));
        assert_eq!(span.item_seconds, vec![10.0; 6]);
        assert_eq!(makespan(&vec![item(10.0, 1.5, 3); 6], 1).seconds, 60.0);
    }

    #[test]
    fn one_that_is_left_over_runs_alone_and_quicker() {
        let span = makespan(&vec![item(12.0, 1.5, 3); 3], 2);
        // Not 18: the third starts after twelve seconds, and takes eight.
        assert_eq!(span.seconds, 20.0);
        assert_eq!(span.uneven_seconds, 8.0);
        assert_eq!(span.item_seconds, [12.0, 12.0, 8.0]);
    }

    #[test]
    fn the_peak_is_what_runs_at_once() {
        let sizes = [item(10.0, 1.0, 5), item(30.0, 1.0, 1), item(10.0, 1.0, 7)];
        let span = makespan(&sizes, 2);
        assert_eq!((span.seconds, span.memory_bytes), (30.0, 8));
        assert_eq!(makespan(&sizes, 1).memory_bytes, 7);
    }

    #[test]
    fn nothing_takes_no_time() {
        assert_eq!(makespan(&[], 2), Span::default());
        let done = makespan(&vec![item(0.0, 1.0, 0); 3], 2);
        assert_eq!(done.seconds, 0.0);
    }

    #[test]
    fn who_shares_a_trunk_waits_until_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let trunk = |step| Some(Trunk::new(dir.path().join("trunk"), step));
        let first = Item {
            trunk: trunk(6),
            trunk_seconds: Some(6.0),
            ..item(10.0, 1.0, 1)
        };
        let second = Item {
            trunk: trunk(6),
            ..item(4.0, 1.0, 1)
        };
        // It starts after six seconds, not at once.
        let span = makespan(&[first.clone(), second.clone()], 2);
        assert_eq!(span.seconds, 10.0);
        assert_eq!(span.uneven_seconds, 6.0);
        // Another trial does not wait for it.
        let other = item(6.0, 1.0, 1);
        let span = makespan(&[first, second, other], 2);
        assert_eq!((span.seconds, span.uneven_seconds), (10.0, 0.0));
    }
}
