//! Answers as they come: server-sent events, or one JSON object, and what was seen before a cut.

use super::Stop;
use crate::claude::money::Usage;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
};

/// What came of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Received {
    /// Text blocks, joined; thinking is left out.
    pub text: String,
    pub stop: Option<Stop>,
    pub usage: Option<Usage>,
    /// Of text and thinking.
    pub bytes: usize,
    /// Whether the end came as it should.
    pub whole: bool,
    /// What the server said was wrong, in the middle of an answer: (type, message).
    pub error: Option<(String, String)>,
    /// Why it is not whole.
    pub cut: Option<String>,
}

/// More is no answer of ours.
const MOST_BYTES: u64 = 16 << 20;

/// Reads an answer of either form. Never fails: what can't be read is a cut.
pub fn receive(body: impl Read) -> Received {
    let mut reader = BufReader::new(body.take(MOST_BYTES));
    let mut received = Received::default();
    let first = match reader.fill_buf() {
        Ok(bytes) => bytes.iter().copied().find(|b| !b.is_ascii_whitespace()),
        Err(e) => {
            received.cut = Some(format!("reading failed: {e}"));
            return received;
        }
    };
    match first {
        Some(b'{') => receive_object(reader, &mut received),
        _ => receive_events(reader, &mut received),
    }
    if !received.whole && received.error.is_none() && received.cut.is_none() {
        received.cut = Some("the answer ended early".into());
    }
    received
}

fn receive_object(mut reader: impl Read, received: &mut Received) {
    let mut bytes = Vec::new();
    if let Err(e) = reader.read_to_end(&mut bytes) {
        received.cut = Some(format!("reading failed: {e}"));
    }
    received.bytes = bytes.len();
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(message) => take_message(&message, received),
        Err(e) => {
            let why = format!("the answer is not JSON: {e}");
            received.cut.get_or_insert(why);
        }
    }
}

/// A whole message, or an error in its place.
fn take_message(message: &Value, received: &mut Received) {
    if message["type"] == "error" {
        received.error = Some(error_of(message));
        return;
    }
    received.usage = usage_of(&message["usage"], None);
    for block in message["content"].as_array().into_iter().flatten() {
        if let (Some("text"), Some(text)) = (block["type"].as_str(), block["text"].as_str()) {
            received.text += text;
        }
    }
    received.stop = message["stop_reason"].as_str().map(Stop::of);
    received.whole = received.stop.is_some() && message["content"].is_array();
}

/// Events are separated by empty lines; the `data` lines of one make a JSON object.
fn receive_events(reader: impl BufRead, received: &mut Received) {
    let mut blocks: BTreeMap<u64, String> = BTreeMap::new();
    let mut data = String::new();
    let mut lines = reader.split(b'\n');
    loop {
        let line = match lines.next() {
            Some(Ok(line)) => String::from_utf8_lossy(&line).into_owned(),
            Some(Err(e)) => {
                received.cut = Some(format!("reading failed: {e}"));
                break;
            }
            None => break,
        };
        let line = line.trim_end_matches('\r');
        if let Some(more) = line.strip_prefix("data:") {
            data += more.strip_prefix(' ').unwrap_or(more);
        } else if line.is_empty() && !data.is_empty() {
            match serde_json::from_str::<Value>(&data) {
                Ok(event) => take_event(&event, &mut blocks, received),
                Err(e) => {
                    received.cut = Some(format!("an event is not JSON: {e}"));
                    break;
                }
            }
            data.clear();
        }
        if received.whole || received.error.is_some() {
            break;
        }
    }
    received.text = blocks.into_values().collect();
}

fn take_event(event: &Value, blocks: &mut BTreeMap<u64, String>, received: &mut Received) {
    let index = event["index"].as_u64().unwrap_or(0);
    match event["type"].as_str().unwrap_or_default() {
        "message_start" => received.usage = usage_of(&event["message"]["usage"], None),
        "content_block_start" => {
            let block = &event["content_block"];
            if block["type"] == "text" {
                let text = block["text"].as_str().unwrap_or_default();
                blocks.entry(index).or_default().push_str(text);
                received.bytes += text.len();
            }
        }
        "content_block_delta" => {
            let delta = &event["delta"];
            for key in ["text", "thinking", "partial_json"] {
                received.bytes += delta[key].as_str().map_or(0, str::len);
            }
            if let (Some("text_delta"), Some(text)) =
                (delta["type"].as_str(), delta["text"].as_str())
            {
                blocks.entry(index).or_default().push_str(text);
            }
        }
        "message_delta" => {
            received.usage = usage_of(&event["usage"], received.usage);
            if let Some(reason) = event["delta"]["stop_reason"].as_str() {
                received.stop = Some(Stop::of(reason));
            }
        }
        "message_stop" => received.whole = received.stop.is_some(),
        "error" => received.error = Some(error_of(event)),
        // Pings, ends of blocks, and what may come to be.
        _ => {}
    }
}

/// Counts in an event are totals so far; one that it leaves out stays as it was.
fn usage_of(counts: &Value, before: Option<Usage>) -> Option<Usage> {
    if !counts.is_object() {
        return before;
    }
    let before_ = before.unwrap_or_default();
    let count = |key: &str, so_far: u64| counts[key].as_u64().unwrap_or(so_far);
    Some(Usage {
        input: count("input_tokens", before_.input),
        output: count("output_tokens", before_.output),
        cache_write: count("cache_creation_input_tokens", before_.cache_write),
        cache_read: count("cache_read_input_tokens", before_.cache_read),
    })
}

/// (type, message) of an error object.
pub fn error_of(object: &Value) -> (String, String) {
    let error = &object["error"];
    let words = |key: &str, otherwise: &str| {
        let found = error[key].as_str().filter(|words| !words.is_empty());
        found.unwrap_or(otherwise).to_string()
    };
    (words("type", "error"), words("message", "no message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":7,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\r\n\r\n\
        : a comment\n\
        event: ping\ndata: {\"type\":\"ping\"}\n\n\
        data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}}\n\n\
        data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n\
        data:{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
        data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"{\\\"a\\\"\"}}\n\n\
        data: {\"type\":\"content_block_delta\",\"index\":1,\n\
        data: \"delta\":{\"type\":\"text_delta\",\"text\":\":1}\"}}\n\n\
        data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n\
        data: {\"type\":\"message_stop\"}\n\n";

    #[test]
    fn events_add_up_to_text_counts_and_a_reason() {
        let received = receive(EVENTS.as_bytes());
        assert!(received.whole, "{received:?}");
        assert_eq!(received.text, "{\"a\":1}");
        assert_eq!(received.stop, Some(Stop::EndTurn));
        let usage = received.usage.unwrap();
        assert_eq!((usage.input, usage.cache_read, usage.output), (7, 5, 9));
    }

    #[test]
    fn cut_anywhere_an_answer_is_not_whole_and_never_panics() {
        for at in 0..EVENTS.len() - 2 {
            let received = receive(&EVENTS.as_bytes()[..at]);
            assert!(!received.whole && received.cut.is_some(), "{at}");
            if at > 200 {
                assert_eq!(received.usage.unwrap().input, 7, "{at}");
            }
        }
        let object = br#"{"type":"message","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":1}}"#;
        assert!(receive(&object[..]).whole);
        for at in 0..object.len() {
            assert!(!receive(&object[..at]).whole, "{at}");
        }
    }

    #[test]
    fn an_error_in_the_stream_or_in_place_of_it_is_told() {
        for text in [
            "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n",
            "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}",
        ] {
            let received = receive(text.as_bytes());
            assert_eq!(
                received.error,
                Some(("overloaded_error".into(), "busy".into()))
            );
        }
    }
}
