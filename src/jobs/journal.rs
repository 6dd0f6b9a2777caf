//! Events, in a chain of digests.
