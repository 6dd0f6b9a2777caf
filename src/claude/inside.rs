//! Paths that stay inside the project.
