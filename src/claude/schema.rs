//! JSON Schemas from the types of files.
