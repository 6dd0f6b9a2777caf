//! The library: papers by key, searched by words.
