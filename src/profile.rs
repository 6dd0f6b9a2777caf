//! Where a step's time goes: one stopwatch, whose laps are booked on the op that ends them.
//!
//! The laps of a step add up to it, whatever the ops: what happens between two of them (a batch
//! copied, a buffer taken) is part of the one that needed it.

use std::{collections::BTreeMap, fmt, time::Instant};

/// Which part of an op a lap was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Half {
    Forward,
    /// The gradient of the inputs, where it is told apart.
    Inputs,
    /// The gradient of the inputs and parameters, or of the parameters where the inputs' is told apart.
    Backward,
}

/// The laps of one op.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Laps {
    pub n: u64,
    pub seconds: f64,
}

/// Laps by op and half.
pub struct Profile {
    last: Instant,
    laps: BTreeMap<(&'static str, Half), Laps>,
    /// Until what was asked for is done.
    wait: Option<Box<dyn Fn()>>,
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Profile").field("laps", &self.laps).finish()
    }
}

impl Profile {
    /// The stopwatch runs from now on.
    pub fn start() -> Self {
        Self {
            last: Instant::now(),
            laps: BTreeMap::new(),
            wait: None,
        }
    }

    /// The same, whose laps end when `wait` returns: on a device an op is done later than it is asked
    /// for.
    pub fn waiting(self, wait: impl Fn() + 'static) -> Self {
        Self {
            wait: Some(Box::new(wait)),
            ..self
        }
    }

    /// Books the time since the last lap.
    pub fn lap(&mut self, op: &'static str, half: Half) {
        if let Some(wait) = &self.wait {
            wait();
        }
        let now = Instant::now();
        let laps = self.laps.entry((op, half)).or_default();
        laps.n += 1;
        laps.seconds += (now - self.last).as_secs_f64();
        self.last = now;
    }

    pub fn laps(&self) -> &BTreeMap<(&'static str, Half), Laps> {
        &self.laps
    }
}

/// The module that a type stands in: the name of an op whose type this is.
pub fn module_of<T: ?Sized>() -> &'static str {
    let path = std::any::type_name::<T>();
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").nth(1).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Generic<A>(std::marker::PhantomData<A>);

    #[test]
    fn an_op_is_called_after_its_module() {
        assert_eq!(module_of::<Profile>(), "profile");
        assert_eq!(module_of::<Generic<Vec<f32>>>(), "tests");
    }

    #[test]
    fn a_lap_ends_when_what_was_asked_for_is_done() {
        let wait = || std::thread::sleep(std::time::Duration::from_millis(2));
        let mut profile = Profile::start().waiting(wait);
        profile.lap("late", Half::Forward);
        assert!(profile.laps()[&("late", Half::Forward)].seconds >= 0.002);
    }

    #[test]
    fn laps_add_up_to_the_time_that_passed() {
        let started = Instant::now();
        let mut profile = Profile::start();
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(2));
            profile.lap("slow", Half::Forward);
            profile.lap("quick", Half::Backward);
        }
        let passed = started.elapsed().as_secs_f64();
        let laps = profile.laps();
        assert_eq!(laps[&("slow", Half::Forward)].n, 3);
        assert!(laps[&("slow", Half::Forward)].seconds >= 0.006);
        let sum: f64 = laps.values().map(|laps| laps.seconds).sum();
        assert!(sum <= passed && sum > 0.9 * passed, "{sum} of {passed}");
    }
}
