//! The key: from the environment alone, shown to the server alone.

use std::fmt;

/// The environment variable with the key.
pub const VARIABLE: &str = "ANTHROPIC_API_KEY";
/// What stands where a secret stood.
pub const HIDDEN: &str = "[secret]";
/// How keys of this service begin, whoever's they are.
const PREFIX: &str = "sk-ant-";

/// A key that no format shows. Whatever goes out, comes in or is written down passes
/// [`Secret::redacted`], for a server, a proxy or a person's own words may repeat it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        (!key.is_empty()).then(|| Self(key.into()))
    }

    /// The key of this process, if it has one.
    pub fn from_environment() -> Option<Self> {
        Self::new(&std::env::var(VARIABLE).ok()?)
    }

    /// For the one header that carries it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// The text without this key, and without anything that looks like one.
    pub fn redacted(&self, text: &str) -> String {
        keys_hidden(&text.replace(&self.0, HIDDEN))
    }
}

/// The text without anything that looks like a key.
fn keys_hidden(text: &str) -> String {
    let mut pieces = text.split(PREFIX);
    let mut clean = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        let of_key = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        clean += HIDDEN;
        clean += piece.trim_start_matches(of_key);
    }
    clean
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_in_no_format_and_is_taken_out_of_every_text() {
        let secret = Secret::new(" local-test-key\n").unwrap();
        for shown in [
            format!("{secret}"),
            format!("{secret:?}"),
            format!("{:#?}", Some(&secret)),
        ] {
            assert!(
                shown.contains(HIDDEN) && !shown.contains("local-test"),
                "{shown}"
            );
        }
        let text = "a local-test-key b sk-ant-api03-Ab_9-x, c sk-ant- d";
        let clean = secret.redacted(text);
        assert_eq!(clean, "a [secret] b [secret], c [secret] d");
        assert!(Secret::new("  ").is_none());
    }
}
