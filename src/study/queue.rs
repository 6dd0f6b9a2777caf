//! Which trials start next: in order, but trials that share a trunk one behind the other, so that
//! no two of them train the same steps at the same time; and together those that may be trained as
//! one.

use crate::{train::pack::PackKey, trunk::Trunk};

/// A trial of a study, as its place in the order sees it.
#[derive(Debug, Clone)]
pub struct Queued {
    /// What it may share with others.
    pub trunk: Option<Trunk>,
    /// Whom it may be trained with as one, and how many of them at most, itself included.
    pub pack: Option<(PackKey, usize)>,
}

impl Queued {
    fn most(&self) -> usize {
        self.pack.as_ref().map_or(1, |(_, most)| *most)
    }

    fn may_join(&self, other: &Self) -> bool {
        let both = self.pack.as_ref().zip(other.pack.as_ref());
        both.is_some_and(|((own, _), (other, _))| own == other)
    }
}

/// The trials of a study, by index.
#[derive(Debug)]
pub struct Queue {
    items: Vec<(Queued, State)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ended,
}

/// What a worker that is free should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Run these trials as one.
    Start(Vec<usize>),
    /// Ask again soon: what is left shares a trunk that is being trained.
    Wait,
    /// Nothing is left to start.
    Done,
}

impl Queue {
    pub fn new(trials: Vec<Queued>) -> Self {
        let items = trials.into_iter().map(|trial| (trial, State::Waiting));
        Self {
            items: items.collect(),
        }
    }

    /// The trials to start, if one can be; `is_whole` says whether a trunk is kept up to its step.
    pub fn next(&mut self, is_whole: impl Fn(&Trunk) -> bool) -> Next {
        if !self.items.iter().any(|(_, state)| *state == State::Waiting) {
            return Next::Done;
        }
        let mut pack: Vec<usize> = Vec::new();
        // Each runs from here on: who shares its trunk does not come beside it.
        while let Some(idx) = self.ready(pack.first().copied(), &is_whole) {
            self.items[idx].1 = State::Running;
            pack.push(idx);
            if pack.len() >= self.items[pack[0]].0.most() {
                break;
            }
        }
        match pack.is_empty() {
            true => Next::Wait,
            false => Next::Start(pack),
        }
    }

    /// The first trial that can start now, of those that may be trained with `first`, if there is one.
    fn ready(&self, first: Option<usize>, is_whole: impl Fn(&Trunk) -> bool) -> Option<usize> {
        let joins =
            |idx: usize| first.is_none_or(|first| self.items[idx].0.may_join(&self.items[first].0));
        (0..self.items.len())
            .filter(|idx| self.items[*idx].1 == State::Waiting)
            .map(|idx| self.first_of_its_trunk(idx))
            .filter(|idx| joins(*idx))
            .find(|idx| match &self.items[*idx].0.trunk {
                None => true,
                Some(trunk) => is_whole(trunk) || !self.is_being_trained(trunk, &is_whole),
            })
    }

    /// A trial ended, one way or another.
    pub fn ended(&mut self, idx: usize) {
        self.items[idx].1 = State::Ended;
    }

    /// Of the waiting trials that share a trunk with this one, that which leaves it first: the
    /// others can go on from where it does.
    fn first_of_its_trunk(&self, idx: usize) -> usize {
        let Some(own) = &self.items[idx].0.trunk else {
            return idx;
        };
        let siblings = self
            .items
            .iter()
            .enumerate()
            .filter_map(|(i, (item, state))| {
                let trunk = item.trunk.as_ref()?;
                (*state == State::Waiting && trunk.id() == own.id()).then_some((trunk.step(), i))
            });
        siblings.min().map_or(idx, |(_, i)| i)
    }

    /// Whether a trial is on the way to a state of this trunk that is not kept yet.
    fn is_being_trained(&self, trunk: &Trunk, is_whole: impl Fn(&Trunk) -> bool) -> bool {
        self.items.iter().any(|(other, state)| {
            let other = other
                .trunk
                .as_ref()
                .filter(|other| other.id() == trunk.id());
            *state == State::Running && other.is_some_and(|other| !is_whole(other))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trial that is trained alone.
    fn alone(trunk: Option<Trunk>) -> Queued {
        Queued { trunk, pack: None }
    }

    /// A trunk called `name` that is left at `step`.
    fn trunk(name: &str, step: u64) -> Queued {
        alone(Some(Trunk::new(name.into(), step)))
    }

    fn start(idx: usize) -> Next {
        Next::Start(vec![idx])
    }

    #[test]
    fn trials_without_trunks_start_in_order_and_none_waits() {
        let mut queue = Queue::new(vec![alone(None), alone(None)]);
        let nothing = |_: &Trunk| false;
        assert_eq!(queue.next(nothing), start(0));
        assert_eq!(queue.next(nothing), start(1));
        assert_eq!(queue.next(nothing), Next::Done);
    }

    #[test]
    fn the_first_to_leave_a_trunk_goes_first_and_the_others_wait_for_it() {
        let mut queue = Queue::new(vec![
            trunk("a", 80),
            trunk("a", 60),
            alone(None),
            trunk("b", 10),
        ]);
        let nothing = |_: &Trunk| false;
        assert_eq!(queue.next(nothing), start(1));
        // The other trial of "a" would train the same steps: what shares nothing goes before it.
        assert_eq!(queue.next(nothing), start(2));
        assert_eq!(queue.next(nothing), start(3));
        assert_eq!(queue.next(nothing), Next::Wait);
        // Once step 60 is kept, the rest of the way to 80 is its own.
        let kept = |trunk: &Trunk| trunk.step() <= 60;
        assert_eq!(queue.next(kept), start(0));
        assert_eq!(queue.next(kept), Next::Done);
    }

    #[test]
    fn a_trial_that_ended_without_leaving_a_trunk_holds_nobody_up() {
        let mut queue = Queue::new(vec![trunk("a", 5), trunk("a", 5)]);
        let nothing = |_: &Trunk| false;
        assert_eq!(queue.next(nothing), start(0));
        assert_eq!(queue.next(nothing), Next::Wait);
        queue.ended(0);
        assert_eq!(queue.next(nothing), start(1));
    }

    /// A trial of this kind, of which three are trained as one.
    fn packed(kind: &str, trunk: Option<Trunk>) -> Queued {
        Queued {
            trunk,
            pack: Some((kind.into(), 3)),
        }
    }

    #[test]
    fn trials_of_one_kind_start_together_in_the_order_of_their_first() {
        let kinds = ["a", "b", "a", "a", "b", "a"];
        let mut queue = Queue::new(kinds.iter().map(|kind| packed(kind, None)).collect());
        let nothing = |_: &Trunk| false;
        assert_eq!(queue.next(nothing), Next::Start(vec![0, 2, 3]));
        assert_eq!(queue.next(nothing), Next::Start(vec![1, 4]));
        assert_eq!(queue.next(nothing), Next::Start(vec![5]));
        assert_eq!(queue.next(nothing), Next::Done);
    }

    #[test]
    fn no_pack_has_two_that_would_train_one_trunk() {
        let of = |name: &str, step| packed("a", Some(Trunk::new(name.into(), step)));
        let trials = vec![
            of("x", 80),
            of("x", 60),
            of("y", 60),
            of("x", 60),
            of("z", 5),
        ];
        let mut queue = Queue::new(trials);
        let nothing = |_: &Trunk| false;
        // Of x that which leaves it first, and one each of the others.
        assert_eq!(queue.next(nothing), Next::Start(vec![1, 2, 4]));
        assert_eq!(queue.next(nothing), Next::Wait);
        // Two that begin on a trunk that is there may be trained as one, and beside them one that
        // makes the rest of its way itself.
        let kept = |trunk: &Trunk| trunk.step() <= 60;
        assert_eq!(queue.next(kept), Next::Start(vec![3, 0]));
        assert_eq!(queue.next(kept), Next::Done);
    }
}
