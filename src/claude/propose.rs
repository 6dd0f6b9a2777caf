//! One study, from an idea.
