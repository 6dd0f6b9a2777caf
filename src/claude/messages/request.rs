//! What is sent: the stable part first, so that the server keeps it, then what changes.

use super::Secret;
use crate::claude::money::ClaudeSettings;
use serde_json::{Value, json};

/// A conversation to be answered in the form of a schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The same in every request of a kind: kept by the server.
    pub system: String,
    /// What the conversation begins with, in at most two parts, what stays the same longest first.
    pub brief: Vec<String>,
    /// What was answered, and what was said of it, in turn.
    pub turns: Vec<Turn>,
    /// What an answer has to fit.
    pub schema: Value,
}

/// An answer, and what was said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub answer: String,
    pub reply: String,
}

impl Request {
    /// The body of the call, without a secret. Keys stand in a fixed order, and the four marks that the
    /// cache knows come after the instructions, each part of the brief, and the last reply.
    pub fn body(&self, settings: &ClaudeSettings, max_tokens: u64, secret: &Secret) -> Value {
        let block = |text: &String| {
            json!({
                "type": "text",
                "text": secret.redacted(text),
                "cache_control": { "type": "ephemeral" },
            })
        };
        let kept = |text: &String| json!([block(text)]);
        let brief: Vec<Value> = self.brief.iter().map(block).collect();
        let mut messages = vec![json!({ "role": "user", "content": brief })];
        for (idx, turn) in self.turns.iter().enumerate() {
            let said = secret.redacted(&turn.answer);
            // An empty block is refused.
            let said = if said.trim().is_empty() {
                "(nothing)"
            } else {
                &said
            };
            messages.push(json!({ "role": "assistant", "content": said }));
            let reply = match idx + 1 == self.turns.len() {
                true => kept(&turn.reply),
                false => json!(secret.redacted(&turn.reply)),
            };
            messages.push(json!({ "role": "user", "content": reply }));
        }
        let mut output = json!({});
        if let Some(effort) = settings.effort {
            output["effort"] = json!(effort);
        }
        output["format"] = json!({ "type": "json_schema", "schema": self.schema });
        json!({
            "model": settings.model,
            "max_tokens": max_tokens,
            "stream": true,
            "system": kept(&self.system),
            "messages": messages,
            "output_config": output,
        })
    }
}
