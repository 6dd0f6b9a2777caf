//! The loop: brief, proposals, gates, runs, verdicts, findings, until a budget ends.
