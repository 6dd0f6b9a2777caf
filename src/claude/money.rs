//! Tokens into dollars.
