//! Every exchange with the API, kept beside its study.
