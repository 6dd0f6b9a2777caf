//! Variants: ideas that need code, one file each, named by a recipe's `model.variant`.
//!
//! A study is data, never code. An idea that no option of `[model]` can say becomes a file here:
//! parameters of its own (`specs`), and what it makes of a value on its way through the model
//! (`apply`), as a candle expression ([`Tape::composed`]) or from fused ops. Its test holds it to
//! what every part of the model is held to. `windtunnel new variant NAME` writes such a file and
//! puts its name in the list below; a study's arm can then set `"model.variant" = "NAME"`.
//!
//! A variant's source is part of the ids of its own trials and of no others: adding one makes no
//! finished trial run again.

use super::GptConfig;
use crate::{
    digest::sha256,
    error::{Error, Result, nearest},
    params::{Param, Spec},
    real::Real,
    tape::{Tape, Value},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Arc};

/// A place in the model where a variant may change what passes; numbers are the block's.
///
/// These are the places that ideas needed so far. One more is a line here and a line in
/// [`Gpt::hidden_seen`](super::Gpt::hidden_seen).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// The stream after the embeddings, (K, B·T, C).
    Embedded,
    /// Queries, keys and values, before norms and rotation, (K, B·T, C + 2·G·D).
    Qkv(usize),
    /// What the heads bring, before its projection, (K, B·T, C).
    Attended(usize),
    /// What attention adds to the stream, (K, B·T, C).
    AttentionOut(usize),
    /// What is inside the MLP, after its activation, (K, B·T, F).
    Inner(usize),
    /// What the MLP adds to the stream, (K, B·T, C).
    MlpOut(usize),
    /// The last norm's result, (K, B·T, C).
    Final,
}

/// What a variant may look at.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    pub config: &'a GptConfig,
    /// The parameters that its `specs` asked for, in that order.
    pub own: &'a [Param],
    /// K·B·T ids.
    pub tokens: &'a Arc<[u32]>,
    /// T, tokens of a sequence.
    pub t: usize,
}

/// A variant: an index into [`NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Variant(usize);

/// Declares each variant's module, and what finds it by name.
macro_rules! variants {
    ($($(#[$when:meta])? $name:ident,)*) => {
        $($(#[$when])? pub mod $name;)*

        /// Every variant, in the order of the list.
        pub const NAMES: &[&str] = &[$($(#[$when])? stringify!($name)),*];

        impl Variant {
            /// The parameters that it adds to the model's own.
            pub fn specs(self, config: &GptConfig, vocab_size: usize) -> Vec<Spec> {
                match NAMES[self.0] {
                    $($(#[$when])? stringify!($name) => $name::specs(config, vocab_size),)*
                    _ => unreachable!("every name in the list has its arm"),
                }
            }

            /// What becomes of `x` at `site`.
            pub(super) fn apply<R: Real>(
                self,
                tape: &mut Tape<R>,
                site: Site,
                x: Value,
                pass: &Pass,
            ) -> Result<Value> {
                match NAMES[self.0] {
                    $($(#[$when])? stringify!($name) => $name::apply(tape, site, x, pass),)*
                    _ => unreachable!("every name in the list has its arm"),
                }
            }

            /// SHA-256 of its file.
            pub fn source_digest(self) -> String {
                let source = match NAMES[self.0] {
                    $($(#[$when])? stringify!($name) => {
                        include_str!(concat!("variants/", stringify!($name), ".rs"))
                    })*
                    _ => unreachable!("every name in the list has its arm"),
                };
                sha256(source.as_bytes())
            }
        }
    };
}

variants! {
    value_embeddings,
    #[cfg(test)]
    skeleton,
}

impl TryFrom<String> for Variant {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        if let Some(idx) = NAMES.iter().position(|known| *known == name) {
            return Ok(Self(idx));
        }
        Err(match nearest(&name, NAMES.iter().copied()) {
            Some(near) => format!("there is no variant \"{name}\"; did you mean \"{near}\"?"),
            None => format!(
                "there is no variant \"{name}\"; there is {}",
                NAMES.join(", ")
            ),
        })
    }
}

impl From<Variant> for String {
    fn from(variant: Variant) -> Self {
        NAMES[variant.0].into()
    }
}

impl JsonSchema for Variant {
    fn schema_name() -> Cow<'static, str> {
        "Variant".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": NAMES })
    }
}

#[cfg(test)]
mod testing;

/// Errors when a new variant can't have this name.
pub fn check_new_name(name: &str) -> Result<()> {
    let refused = |remedy: &str| {
        let problem = format!("{name:?} can't be a file's name here");
        Err(Error::input("NAME", problem, remedy))
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(plain) {
        return refused("use small letters, digits and _, a letter first: it names a Rust module");
    }
    let taken = ["skeleton", "testing"].contains(&name) || KEYWORDS.contains(&name);
    match taken || NAMES.contains(&name) {
        false => Ok(()),
        true => refused("it is taken, by a variant or by Rust: choose another"),
    }
}

/// Words that can't name a module.
const KEYWORDS: [&str; 49] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "while",
];

/// The file of a new variant: one that works, and is tested as such here. `idea` stands at its top,
/// where there is one, as a comment whatever is in it.
pub fn skeleton_for(name: &str, idea: Option<&str>) -> String {
    let text = include_str!("variants/skeleton.rs").replace("skeleton", name);
    let Some(idea) = idea else {
        return text;
    };
    let (_, rest) = text.split_once('\n').unwrap_or(("", &text));
    format!("{}{rest}", comment(&format!("{name}: {idea}")))
}

/// Words as lines of a module's comment.
fn comment(words: &str) -> String {
    const WIDTH: usize = 100;
    let seen = |c: char| if c.is_control() || is_mark(c) { ' ' } else { c };
    let words: String = words.chars().map(seen).collect();
    let mut text = String::from("//!");
    let mut used = 3;
    for word in words.split_whitespace() {
        let n = word.chars().count() + 1;
        if used + n > WIDTH && used > 3 {
            text.push_str("\n//!");
            used = 3;
        }
        text.push(' ');
        text.push_str(word);
        used += n;
    }
    text + "\n"
}

/// Marks that turn the direction of what follows, which the compiler refuses in a source.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// This file with `name` in its list; `None` where the list is not found.
pub fn with_listed(source: &str, name: &str) -> Option<String> {
    let start = source.find("\nvariants! {\n")?;
    let end = start + source[start..].find("\n}\n")?;
    Some(format!("{}\n    {name},{}", &source[..end], &source[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_joins_the_list_and_the_rest_of_the_file_stays() {
        let source = include_str!("variants.rs");
        let listed = with_listed(source, "my_idea").unwrap();
        assert_eq!(listed.replacen("    my_idea,\n", "", 1), source);
        assert!(listed.contains("    skeleton,\n    my_idea,\n}\n"));
        assert_eq!(with_listed("fn main() {}", "my_idea"), None);
    }

    #[test]
    fn an_idea_is_a_comment_whatever_is_in_it() {
        let idea = "gain\n*/ }\r\nfn main() {}\u{202e} a skeleton \\u{7d}";
        let text = skeleton_for("my_gain", Some(idea));
        let head = "//! my_gain: gain */ } fn main() {} a skeleton \\u{7d}\n//!\n//! As written:";
        assert!(text.starts_with(head), "{text}");
        let plain = skeleton_for("my_gain", None);
        let rest = |text: &str| text.split_once('\n').unwrap().1.to_string();
        assert_eq!(rest(&text), rest(&plain));
        let long = skeleton_for("my_gain", Some(&"word ".repeat(100)));
        assert!(long.lines().all(|line| line.chars().count() <= 100));
    }

    #[test]
    fn a_name_that_is_not_listed_is_refused_with_the_nearest() {
        let error = Variant::try_from("value_embedings".to_string()).unwrap_err();
        assert!(error.contains("\"value_embeddings\"?"), "{error}");
        let error = Variant::try_from(String::new()).unwrap_err();
        assert!(error.contains("there is value_embeddings"), "{error}");
    }

    #[test]
    fn sources_differ_and_so_do_their_digests() {
        let digest = |name: &str| Variant::try_from(name.to_string()).unwrap().source_digest();
        assert_ne!(digest("value_embeddings"), digest("skeleton"));
    }
}
