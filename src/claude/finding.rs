//! Findings: words from a proposer, numbers from the ledger.
