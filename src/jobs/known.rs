//! What is known of a study's question already.
