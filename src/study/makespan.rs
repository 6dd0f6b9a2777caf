//! How long trials take together, and what they hold: the runner's queue played through on paper.
//!
//! Trials that do not divide evenly among jobs, arms of different sizes, trunks that some wait for:
//! the sum over the number of jobs would be right for none of them.

use super::queue::{Next, Queue, Queued};
use crate::trunk::Trunk;
use std::{collections::BTreeMap, path::PathBuf};

/// What is still to do of one trial.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its share, where it is trained as one with others, with as many programs beside it as there
    /// are jobs.
    pub seconds: f64,
    /// How many times quicker it is with nothing beside it.
    pub alone: f64,
    /// Its share.
    pub memory_bytes: u64,
    pub queued: Queued,
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
    /// From its start to its end, by item; its share, where it is trained as one with others.
    pub item_seconds: Vec<f64>,
    /// What was trained as one, by item, in the order of its start.
    pub packs: Vec<Vec<usize>>,
}

/// Items that are being trained as one.
struct Running {
    items: Vec<usize>,
    left: f64,
    /// Of those that have still to come to the end of their trunk, by item.
    to_trunk: Vec<(usize, f64)>,
}

impl Running {
    fn new(idxs: Vec<usize>, items: &[Item]) -> Self {
        let left = idxs.iter().map(|idx| items[*idx].seconds).sum();
        let to_trunk = idxs.iter().filter_map(|idx| {
            let (own, to_trunk) = (items[*idx].seconds, items[*idx].trunk_seconds?);
            // As far along the pack's way as along its own.
            Some((*idx, left * to_trunk / own.max(f64::MIN_POSITIVE)))
        });
        Self {
            to_trunk: to_trunk.collect(),
            items: idxs,
            left,
        }
    }

    /// Until something of it ends.
    fn next(&self) -> f64 {
        let trunks = self.to_trunk.iter().map(|(_, left)| *left);
        trunks.fold(self.left, f64::min)
    }
}

/// Shorter is nothing: what is left of a time after it was subtracted from itself.
const NOTHING: f64 = 1e-9;

/// Trains `items` in order, at most `jobs` at a time.
pub fn makespan(items: &[Item], jobs: usize) -> Span {
    let mut queue = Queue::new(items.iter().map(|item| item.queued.clone()).collect());
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
                Next::Start(idxs) => {
                    span.packs.push(idxs.clone());
                    running.push(Running::new(idxs, items));
                }
                Next::Wait | Next::Done => break,
            }
        }
        if running.is_empty() {
            return span;
        }
        let held = running.iter().flat_map(|r| &r.items);
        let held = held.map(|idx| items[*idx].memory_bytes).sum();
        span.memory_bytes = span.memory_bytes.max(held);
        let n = running.len();
        let speed = |r: &Running| speed(&items[r.items[0]], n, jobs);
        let next = |r: &Running| r.next() / speed(r);
        let passed = running.iter().map(next).fold(f64::INFINITY, f64::min);
        span.seconds += passed;
        if n < jobs {
            span.uneven_seconds += passed;
        }
        for r in &mut running {
            let done = passed * speed(&*r);
            for idx in &r.items {
                span.item_seconds[*idx] += passed / r.items.len() as f64;
            }
            r.left -= done;
            r.to_trunk.iter_mut().for_each(|(_, left)| *left -= done);
            for (idx, _) in r.to_trunk.extract_if(.., |(_, left)| *left <= NOTHING) {
                if let Some(trunk) = &items[idx].queued.trunk {
                    let steps = kept.entry(trunk.id().into()).or_default();
                    steps.push(trunk.step());
                }
            }
        }
        for r in running.iter().filter(|r| r.left <= NOTHING) {
            r.items.iter().for_each(|idx| queue.ended(*idx));
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
            queued: Queued {
                trunk: None,
                pack: None,
            },
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
        let trunk = |step| Queued {
            trunk: Some(Trunk::new(dir.path().join("trunk"), step)),
            pack: None,
        };
        let first = Item {
            queued: trunk(6),
            trunk_seconds: Some(6.0),
            ..item(10.0, 1.0, 1)
        };
        let second = Item {
            queued: trunk(6),
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

    #[test]
    fn what_is_trained_as_one_takes_the_sum_of_its_shares_and_holds_the_sum_of_its_memory() {
        let packed = |most| Item {
            queued: Queued {
                trunk: None,
                pack: Some(("kind".into(), most)),
            },
            ..item(10.0, 1.0, 3)
        };
        let span = makespan(&vec![packed(4); 6], 1);
        assert_eq!((span.seconds, span.memory_bytes), (60.0, 12));
        assert_eq!(span.packs, [vec![0, 1, 2, 3], vec![4, 5]]);
        assert_eq!(span.item_seconds, vec![10.0; 6]);
        // Beside each other: one of four, then one of two.
        let span = makespan(&vec![packed(4); 6], 2);
        assert_eq!((span.seconds, span.uneven_seconds), (40.0, 20.0));
        assert_eq!(span.memory_bytes, 18);
    }

    #[test]
    fn a_pack_leaves_its_trunks_where_it_passes_them() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str, seconds, trunk_seconds| Item {
            queued: Queued {
                trunk: Some(Trunk::new(dir.path().join(name), 6)),
                pack: Some(("kind".into(), 2)),
            },
            trunk_seconds,
            ..item(seconds, 1.0, 1)
        };
        // Two that make a trunk each on half of their way, and one that waits for the first's.
        let items = [
            of("a", 10.0, Some(5.0)),
            of("b", 10.0, Some(5.0)),
            of("a", 4.0, None),
        ];
        let span = makespan(&items, 2);
        assert_eq!(span.packs, [vec![0, 1], vec![2]]);
        assert_eq!((span.seconds, span.uneven_seconds), (20.0, 16.0));
    }
}
