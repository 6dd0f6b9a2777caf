//! What a proposer is told before it proposes.
