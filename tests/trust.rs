//! What makes verdicts worth trusting, through the binary: studies that stop by themselves, checks
//! before and after, the noise bank, campaigns, known answers.

#[path = "support/bench.rs"]
mod bench;
#[path = "trust/campaigns.rs"]
mod campaigns;
#[path = "trust/known_answers.rs"]
mod known_answers;
#[path = "trust/noise.rs"]
mod noise;
#[path = "trust/sequential.rs"]
mod sequential;
#[path = "trust/validity.rs"]
mod validity;

use bench::{Bench, RECIPE, SLOW};

/// With an evaluation more often than usual.
fn frequent() -> Bench {
    Bench::with(&RECIPE.replace("every = 10", "every = 5")).one_thread()
}
