//! What a study has to pass before it runs.
