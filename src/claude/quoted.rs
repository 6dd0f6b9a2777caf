//! Text of others, marked as data.
