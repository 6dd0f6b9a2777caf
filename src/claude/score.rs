//! Predictions scored against verdicts.
