//! `limits.toml`: what may be spent without a person's approval.
