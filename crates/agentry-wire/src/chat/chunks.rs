//! From the events of an answer to the chunks that OpenAI's clients read.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::chat::{CallKind, Event, Head, Usage};
use serde_json::{Map, Value, json};

use super::complete;
use crate::Encode;
use crate::error::Refused;

/// What is true for all chunks of one answer.
#[derive(Debug)]
pub struct Chunks {
    head: Map<String, Value>,
    fallback: Head,
    include_usage: bool,
    /// Choices whose role has been said.
    begun: BTreeSet<u32>,
    calls: BTreeMap<(u32, u32), CallKind>,
    usage: Option<Usage>,
}

impl Encode for Chunks {
    fn encode(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Started(head) => self.head = fields(complete(head, &self.fallback)),
            Event::Text { choice, text } => self.delta(choice, [("content", text.into())], out),
            Event::Reasoning { choice, text } => {
                self.delta(choice, [("reasoning_content", text.into())], out);
            }
            Event::Refusal { choice, text } => self.delta(choice, [("refusal", text.into())], out),
            Event::ToolCall { choice, index, id, kind, name } => {
                self.calls.insert((choice, index), kind);
                let call = match kind {
                    CallKind::Function => json!({
                        "index": index, "id": id, "type": "function",
                        "function": { "name": name, "arguments": "" },
                    }),
                    CallKind::Custom => json!({
                        "index": index, "id": id, "type": "custom",
                        "custom": { "name": name, "input": "" },
                    }),
                };
                self.delta(choice, [("tool_calls", json!([call]))], out);
            }
            Event::ToolArguments { choice, index, fragment } => {
                let call = match self.calls.get(&(choice, index)).copied().unwrap_or_default() {
                    CallKind::Function => {
                        json!({ "index": index, "function": { "arguments": fragment } })
                    }
                    CallKind::Custom => json!({ "index": index, "custom": { "input": fragment } }),
                };
                self.delta(choice, [("tool_calls", json!([call]))], out);
            }
            Event::Logprobs { choice, value } => {
                let choice = json!({ "index": choice, "delta": {}, "logprobs": value, "finish_reason": null });
                self.chunk(json!([choice]), None, out);
            }
            Event::Extra { choice, fields } => self.delta(choice, fields, out),
            Event::Finished { choice, reason } => {
                let choice = json!({ "index": choice, "delta": {}, "logprobs": null, "finish_reason": reason });
                self.chunk(json!([choice]), None, out);
            }
            // Clients expect it last, whenever the upstream tells it.
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done => {
                if let Some(usage) = self.usage.take().filter(|_| self.include_usage) {
                    self.chunk(json!([]), Some(&usage), out);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
        }
    }

    /// No `[DONE]` follows.
    fn fail(&mut self, refused: &Refused<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: error\n");
        frame(b"data: ", &refused.openai(), out);
    }
}

impl Chunks {
    /// `fallback` fills in what the upstream leaves out of its head.
    #[must_use]
    pub fn new(fallback: Head, include_usage: bool) -> Self {
        Self {
            head: Map::new(),
            fallback,
            include_usage,
            begun: BTreeSet::new(),
            calls: BTreeMap::new(),
            usage: None,
        }
    }

    fn delta<K: Into<String>>(
        &mut self,
        choice: u32,
        fields: impl IntoIterator<Item = (K, Value)>,
        out: &mut Vec<u8>,
    ) {
        let mut delta = Map::new();
        if self.begun.insert(choice) {
            delta.insert("role".to_owned(), "assistant".into());
            delta.insert("content".to_owned(), Value::Null);
        }
        delta.extend(fields.into_iter().map(|(key, value)| (key.into(), value)));
        let choice =
            json!({ "index": choice, "delta": delta, "logprobs": null, "finish_reason": null });
        self.chunk(json!([choice]), None, out);
    }

    fn chunk(&mut self, choices: Value, usage: Option<&Usage>, out: &mut Vec<u8>) {
        if self.head.is_empty() {
            self.head = fields(self.fallback.clone());
        }
        let mut chunk = self.head.clone();
        chunk.insert("choices".to_owned(), choices);
        if self.include_usage {
            chunk.insert("usage".to_owned(), usage.map_or(Value::Null, |usage| json!(usage)));
        }
        frame(b"data: ", &Value::Object(chunk).to_string().into_bytes(), out);
    }
}

fn frame(field: &[u8], data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(field);
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

fn fields(head: Head) -> Map<String, Value> {
    let Head { id, model, created, extra } = head;
    let mut map = Map::new();
    map.insert("id".to_owned(), id.into());
    map.insert("object".to_owned(), "chat.completion.chunk".into());
    map.insert("created".to_owned(), created.into());
    map.insert("model".to_owned(), model.into());
    for (key, value) in extra {
        if !matches!(key.as_str(), "object" | "choices" | "usage") {
            map.insert(key, value);
        }
    }
    map
}

#[cfg(test)]
mod tests;
