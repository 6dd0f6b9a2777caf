//! The Model Context Protocol, served on stdin and stdout.
