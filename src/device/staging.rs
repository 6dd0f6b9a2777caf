//! Where in a ring of pinned memory the next upload goes, and what must be over before it may.
//!
//! An upload is copied into the ring and returns; the device reads it from there when its turn comes,
//! and an event says that it has.

use std::collections::VecDeque;

/// A part of the ring that the device may still read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    start: usize,
    end: usize,
    event: usize,
}

#[derive(Debug)]
pub struct Ring {
    bytes: usize,
    n_events: usize,
    head: usize,
    next_event: usize,
    /// From the oldest to the newest.
    in_flight: VecDeque<Part>,
}

/// A place for some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub start: usize,
    /// To be recorded when the copy from here has been asked for.
    pub event: usize,
    /// To be waited for first; the device works in order, so earlier ones are over then too.
    pub wait_for: Option<usize>,
}

/// Of parts, so that copies of few numbers start where copies of many may.
const ALIGNMENT: usize = 256;

impl Ring {
    pub fn new(bytes: usize, n_events: usize) -> Self {
        Self {
            bytes,
            n_events,
            head: 0,
            next_event: 0,
            in_flight: VecDeque::new(),
        }
    }

    /// The most that one upload may take: with a quarter of the ring, a large one in pieces fills the
    /// next piece while the device reads the last.
    pub fn piece(&self) -> usize {
        self.bytes / 4
    }

    /// A place for `bytes`, which are at most a [`piece`](Self::piece).
    pub fn place(&mut self, bytes: usize) -> Place {
        debug_assert!(bytes <= self.piece());
        let start = match self.head + bytes > self.bytes {
            true => 0,
            false => self.head,
        };
        let end = start + bytes;
        let taken = |part: &Part| part.start < end && start < part.end;
        let mut wait_for = None;
        while self.in_flight.len() == self.n_events || self.in_flight.iter().any(taken) {
            wait_for = self.in_flight.pop_front().map(|part| part.event);
        }
        let event = self.next_event;
        self.in_flight.push_back(Part { start, end, event });
        self.next_event = (event + 1) % self.n_events;
        self.head = end.next_multiple_of(ALIGNMENT);
        Place {
            start,
            event,
            wait_for,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn no_part_is_written_that_the_device_may_still_read() {
        let (bytes, n_events) = (1 << 16, 5);
        let mut ring = Ring::new(bytes, n_events);
        let mut rng = Rng::named(3, "uploads");
        // What was placed and has not been waited for: (start, end, event), oldest first.
        let mut in_flight: Vec<(usize, usize, usize)> = Vec::new();
        let mut waits = 0;
        for _ in 0..2000 {
            let len = 1 + rng.below(ring.piece() as u64) as usize;
            let place = ring.place(len);
            if let Some(event) = place.wait_for {
                let at = in_flight.iter().position(|part| part.2 == event).unwrap();
                in_flight.drain(..=at);
                waits += 1;
            }
            let end = place.start + len;
            assert!(end <= bytes);
            for &(other_start, other_end, event) in &in_flight {
                assert!(end <= other_start || other_end <= place.start);
                assert_ne!(event, place.event);
            }
            in_flight.push((place.start, end, place.event));
        }
        assert!(waits > 0);
    }

    #[test]
    fn small_uploads_do_not_wait_until_events_run_out() {
        let mut ring = Ring::new(1 << 20, 8);
        let waits: Vec<_> = (0..9).map(|_| ring.place(100).wait_for).collect();
        assert_eq!(waits[..8], [None; 8]);
        assert_eq!(waits[8], Some(0));
    }
}
