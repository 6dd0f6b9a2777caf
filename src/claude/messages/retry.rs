//! When to try again, and after how long: the server's word first, else twice as long each time.

use crate::{error::Result, rng::Rng};
use std::time::Duration;

/// How patient a client is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// Of one request, the first included.
    pub tries: u32,
    pub first_wait: Duration,
    /// Longer waits are cut to this where we choose, and given up where the server does.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 8,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(300),
        }
    }
}

/// Waits, or errors when it was interrupted: a clock that tests can replace.
pub type Wait<'a> = dyn Fn(Duration) -> Result<()> + 'a;

/// Statuses after which the same request may succeed.
pub fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 529)
}

/// The same for the type of an error in the middle of an answer.
pub fn is_passing_type(kind: &str) -> bool {
    matches!(
        kind,
        "overloaded_error" | "api_error" | "rate_limit_error" | "timeout_error"
    )
}

impl Patience {
    /// How long to wait after the `failed`-th try failed; `None` when there is no use in waiting.
    /// `asked` is what the server's `retry-after` says.
    pub fn wait(&self, failed: u32, asked: Option<Duration>) -> Option<Duration> {
        if failed >= self.tries {
            return None;
        }
        if let Some(asked) = asked {
            return (asked <= self.longest_wait).then_some(asked);
        }
        let doubled = self.first_wait.saturating_mul(1 << (failed - 1).min(16));
        // Apart from each other, so that clients turned away together do not come back together.
        let apart = Rng::named(
            u64::from(std::process::id()),
            &format!("claude.wait.{failed}"),
        );
        let spread = 0.75 + 0.25 * { apart }.uniform();
        Some(doubled.min(self.longest_wait).mul_f64(spread))
    }
}

/// A `retry-after` in seconds; a date says nothing to a client without the server's clock.
pub fn seconds(header: &str) -> Option<Duration> {
    let seconds: f64 = header.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_cap_and_the_servers_word_goes_before() {
        let patience = Patience {
            tries: 12,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
        };
        let waits: Vec<f64> = (1..12)
            .map(|failed| patience.wait(failed, None).unwrap().as_secs_f64())
            .collect();
        for (i, wait) in waits.iter().enumerate() {
            let full = 2f64.powi(i as i32).min(60.0);
            assert!((0.75 * full..=full).contains(wait), "{i}: {wait}");
        }
        assert_eq!(patience.wait(12, None), None);
        assert_eq!(
            patience.wait(3, seconds("17")),
            Some(Duration::from_secs(17))
        );
        assert_eq!(
            patience.wait(3, seconds("61")),
            None,
            "an hour is not waited for"
        );
        for odd in ["", "-3", "soon", "NaN", "inf", "1e300"] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
    }
}
