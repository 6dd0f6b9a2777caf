//! Which trial starts next: in order, but trials that share a trunk one behind the other, so that
//! no two of them train the same steps at the same time.

use crate::trunk::Trunk;

/// The trials of a study, by index, with the trunks that they may share.
#[derive(Debug)]
pub struct Queue {
    items: Vec<(Option<Trunk>, State)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ended,
}

/// What a worker that is free should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Run this trial.
    Start(usize),
    /// Ask again soon: what is left shares a trunk that is being trained.
    Wait,
    /// Nothing is left to start.
    Done,
}

impl Queue {
    pub fn new(trunks: Vec<Option<Trunk>>) -> Self {
        let items = trunks.into_iter().map(|trunk| (trunk, State::Waiting));
        Self {
            items: items.collect(),
        }
    }

    /// The trial to start, if one can be; `is_whole` says whether a trunk is kept up to its step.
    pub fn next(&mut self, is_whole: impl Fn(&Trunk) -> bool) -> Next {
        let waiting = |(_, state): &(Option<Trunk>, State)| *state == State::Waiting;
        if !self.items.iter().any(waiting) {
            return Next::Done;
        }
        let ready = (0..self.items.len())
            .filter(|idx| waiting(&self.items[*idx]))
            .map(|idx| self.first_of_its_trunk(idx))
            .find(|idx| match &self.items[*idx].0 {
                None => true,
                Some(trunk) => is_whole(trunk) || !self.is_being_trained(trunk, &is_whole),
            });
        match ready {
            None => Next::Wait,
            Some(idx) => {
                self.items[idx].1 = State::Running;
                Next::Start(idx)
            }
        }
    }

    /// A trial ended, one way or another.
    pub fn ended(&mut self, idx: usize) {
        self.items[idx].1 = State::Ended;
    }

    /// Of the waiting trials that share a trunk with this one, that which leaves it first: the
    /// others can go on from where it does.
    fn first_of_its_trunk(&self, idx: usize) -> usize {
        let Some(own) = &self.items[idx].0 else {
            return idx;
        };
        let siblings = self.items.iter().enumerate().filter_map(|(i, item)| {
            let trunk = item.0.as_ref()?;
            (item.1 == State::Waiting && trunk.id() == own.id()).then_some((trunk.step(), i))
        });
        siblings.min().map_or(idx, |(_, i)| i)
    }

    /// Whether a trial is on the way to a state of this trunk that is not kept yet.
    fn is_being_trained(&self, trunk: &Trunk, is_whole: impl Fn(&Trunk) -> bool) -> bool {
        self.items.iter().any(|(other, state)| {
            let other = other.as_ref().filter(|other| other.id() == trunk.id());
            *state == State::Running && other.is_some_and(|other| !is_whole(other))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trunk called `name` that is left at `step`.
    fn trunk(name: &str, step: u64) -> Option<Trunk> {
        Some(Trunk::new(name.into(), step))
    }

    #[test]
    fn trials_without_trunks_start_in_order_and_none_waits() {
        let mut queue = Queue::new(vec![None, None]);
        let nothing = |_: &Trunk| false;
        assert_eq!(queue.next(nothing), Next::Start(0));
        assert_eq!(queue.next(nothing), Next::Start(1));
        assert_eq!(queue.next(nothing), Next::Done);
    }

    #[test]
    fn the_first_to_leave_a_trunk_goes_first_and_the_others_wait_for_it() {
        let mut queue = Queue::new(vec![trunk("a", 80), trunk("a", 60), None, trunk("b", 10)]);
        let nothing = |_: &Trunk| false;
        assert_eq!(queue.next(nothing), Next::Start(1));
        // The other trial of "a" would train the same steps: what shares nothing goes before it.
        assert_eq!(queue.next(nothing), Next::Start(2));
        assert_eq!(queue.next(nothing), Next::Start(3));
        assert_eq!(queue.next(nothing), Next::Wait);
        // Once step 60 is kept, the rest of the way to 80 is its own.
        let kept = |trunk: &Trunk| trunk.step() <= 60;
        assert_eq!(queue.next(kept), Next::Start(0));
        assert_eq!(queue.next(kept), Next::Done);
    }

    #[test]
    fn a_trial_that_ended_without_leaving_a_trunk_holds_nobody_up() {
        let mut queue = Queue::new(vec![trunk("a", 5), trunk("a", 5)]);
        let nothing = |_: &Trunk| false;
        assert_eq!(queue.next(nothing), Next::Start(0));
        assert_eq!(queue.next(nothing), Next::Wait);
        queue.ended(0);
        assert_eq!(queue.next(nothing), Next::Start(1));
    }
}
