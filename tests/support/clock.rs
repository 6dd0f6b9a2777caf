//! What two runs of one study have in common.

/// A verdict without what the clock decides: seconds spent, and minutes that more would take.
pub fn verdict_without_clock(verdict: &serde_json::Value) -> serde_json::Value {
    let mut verdict = verdict.clone();
    verdict["cost"]["seconds"].take();
    for arm in verdict["arms"].as_array_mut().expect("a list of arms") {
        if let Some(needed) = arm.get_mut("needed") {
            needed["minutes"].take();
        }
    }
    verdict
}
