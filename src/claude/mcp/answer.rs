//! What a tool answers: JSON as text, or words with a picture; and never more than a model reads
//! with profit.

use crate::error::Error;
use rmcp::model::{CallToolResult, ContentBlock, MetaObject};
use serde_json::{Value, json};

/// Bytes of a result at most: below 10,000 tokens, even of numbers.
pub const MOST_BYTES: usize = 24_000;

/// What a tool answers.
pub enum Answer {
    Json(Value),
    /// A person has to decide before it goes on.
    ForAPerson(Value),
    Picture {
        words: String,
        png: Vec<u8>,
    },
}

impl Answer {
    /// As the protocol has it. `structuredContent` would hide the text from some clients: there is
    /// none.
    pub fn into_result(self) -> CallToolResult {
        match self {
            Self::Json(value) => CallToolResult::success(vec![text(value)]),
            Self::ForAPerson(value) => {
                let mut meta = MetaObject::new();
                meta.insert("anthropic/requiresUserInteraction".into(), true.into());
                let mut result = CallToolResult::success(vec![text(value)]);
                result.meta = Some(meta);
                result
            }
            Self::Picture { words, png } => CallToolResult::success(vec![
                ContentBlock::text(cut(&words, MOST_BYTES)),
                ContentBlock::image(base64(&png), "image/png"),
            ]),
        }
    }
}

/// An error as an agent can act on it: what is wrong, what would do, and what to call next.
pub fn refusal(error: &Error, next: &str) -> CallToolResult {
    CallToolResult::error(vec![text(json!({
        "place": error.place,
        "problem": error.problem,
        "remedy": error.remedy,
        "next": next,
    }))])
}

fn text(value: Value) -> ContentBlock {
    ContentBlock::text(fitted(value, MOST_BYTES).to_string())
}

/// The value with its longest list or text halved until it is no longer than `most` bytes; what was
/// left out is told under `left_out`, so that nobody takes the rest for the whole.
pub fn fitted(mut value: Value, most: usize) -> Value {
    // Room for the words about what was left out.
    let most = most.saturating_sub(1_000);
    let mut left_out: Vec<String> = Vec::new();
    while value.to_string().len() > most {
        let mut longest = (0, String::new());
        find_longest(&value, "", &mut longest);
        let (_, pointer) = longest;
        let Some(halved) = value.pointer_mut(&pointer).and_then(halve) else {
            break;
        };
        let place = pointer.trim_start_matches('/').replace('/', ".");
        left_out.retain(|line| !line.starts_with(&format!("{place}: ")));
        left_out.push(format!("{place}: {halved}"));
    }
    if let (false, Some(map)) = (left_out.is_empty(), value.as_object_mut()) {
        let why = "too long for one answer; ask for fewer arms, points or lines, or for one part";
        map.insert("left_out".into(), json!({ "what": left_out, "why": why }));
    }
    value
}

/// The list or text that takes the most bytes, not counting what is in lists within.
fn find_longest(value: &Value, pointer: &str, longest: &mut (usize, String)) {
    let own = match value {
        Value::Array(items) if items.len() > 1 => value.to_string().len(),
        Value::String(text) if text.len() > 200 => text.len(),
        _ => 0,
    };
    // A list within a list is no better than the list unless it is most of it.
    if own > longest.0 + longest.0 / 2 || (longest.0 == 0 && own > 0) {
        *longest = (own, pointer.to_string());
    }
    match value {
        Value::Array(items) => {
            for (idx, item) in items.iter().enumerate() {
                find_longest(item, &format!("{pointer}/{idx}"), longest);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                find_longest(item, &format!("{pointer}/{key}"), longest);
            }
        }
        _ => {}
    }
}

/// Halves a list or a text; says what is left.
fn halve(value: &mut Value) -> Option<String> {
    match value {
        Value::Array(items) => {
            items.truncate(items.len() / 2);
            Some(format!("the first {} are shown", items.len()))
        }
        Value::String(text) => {
            *text = cut(text, text.len() / 2);
            Some("cut short".into())
        }
        _ => None,
    }
}

/// Text of at most so many bytes, and a sign where it was cut.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.into();
    }
    let end = text.floor_char_boundary(most.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}

/// A number as short as it can be said: six significant digits.
pub fn short(x: f64) -> Value {
    let rounded: f64 = format!("{x:.5e}").parse().unwrap_or(x);
    json!(rounded)
}

/// Standard base64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place)) & 63;
            let letter = char::from(LETTERS[six as usize]);
            text.push(if place <= group.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standard_one() {
        // RFC 4648, section 10.
        let known = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in known {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_long_answer_is_cut_where_it_is_long_and_says_so() {
        let arms: Vec<Value> = (0..2_000)
            .map(|i| json!({"arm": i, "call": "worse"}))
            .collect();
        let value = json!({"study": "s", "arms": arms, "log": "x".repeat(100_000), "end": 1});
        let fitted = fitted(value, MOST_BYTES);
        assert!(fitted.to_string().len() <= MOST_BYTES);
        assert_eq!((&fitted["study"], &fitted["end"]), (&json!("s"), &json!(1)));
        assert_eq!(fitted["arms"][0]["arm"], 0);
        let said = fitted["left_out"]["what"].to_string();
        let shown = format!(
            "arms: the first {} are shown",
            fitted["arms"].as_array().unwrap().len()
        );
        assert!(
            said.contains(&shown) && said.contains("log: cut short"),
            "{said}"
        );
    }

    #[test]
    fn a_short_answer_is_left_alone() {
        let value = json!({"arms": [1, 2, 3], "words": "y".repeat(900)});
        assert_eq!(fitted(value.clone(), MOST_BYTES), value);
    }

    #[test]
    fn a_cut_falls_between_characters() {
        assert_eq!(cut("ééé", 5), "é…");
        assert_eq!(cut("abc", 3), "abc");
    }
}
