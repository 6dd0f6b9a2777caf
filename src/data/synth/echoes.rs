//! Random letters and their repetition: what can be foretold of it takes induction, the attention
//! to what followed the last time (Olsson et al. 2022), and nothing else helps.

use crate::rng::Rng;

/// What stands between the letters and their repetition.
pub(super) const AGAIN: &str = ":";

/// Letters before they come again.
const FEWEST: u64 = 8;
const MOST: u64 = 16;
/// How often they come again.
const TIMES: usize = 2;

/// Writes one line after another.
pub(super) struct Caller {
    rng: Rng,
}

impl Caller {
    pub fn new(rng: Rng) -> Self {
        Self { rng }
    }

    /// Letters, and what comes back.
    pub fn document(&mut self) -> String {
        let n = FEWEST + self.rng.below(MOST - FEWEST + 1);
        let letters: String = (0..n)
            .map(|_| char::from(b'a' + self.rng.below(26) as u8))
            .collect();
        format!("{letters}{AGAIN}{}", letters.repeat(TIMES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_what_was_called_and_letters_are_even() {
        let mut caller = Caller::new(Rng::named(3, "echoes"));
        let mut counts = [0usize; 26];
        for _ in 0..20_000 {
            let line = caller.document();
            let (call, echo) = line.split_once(AGAIN).unwrap();
            assert!((8..=16).contains(&call.len()), "{line}");
            assert_eq!(echo, call.repeat(TIMES));
            call.bytes()
                .for_each(|b| counts[usize::from(b - b'a')] += 1);
        }
        let total: usize = counts.iter().sum();
        let even = total as f64 / 26.0;
        let worst = counts.map(|n| (n as f64 / even - 1.0).abs()).into_iter();
        assert!(worst.fold(0.0, f64::max) < 0.05, "{counts:?}");
    }
}
