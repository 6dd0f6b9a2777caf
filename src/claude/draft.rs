//! A study as a model writes it: the structured-output form, and the files that it becomes.
