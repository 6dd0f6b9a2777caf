//! Proposers that know nothing of language: at random, and by a tree-structured Parzen estimator.
