//! From the events of an answer to the stream that a caller of Messages reads.

use agentry_core::chat::{Event, FinishReason, Head, Usage};
use serde_json::{Map, Value, json};

use super::turns::OWN_BLOCKS;
use super::{FOREIGN, error, stop_reason, usage_fields, write};
use crate::error::Refused;
use crate::{Asked, Encode, chat, reasoning};

/// What of a streamed answer was written.
#[derive(Debug, Default)]
pub struct Stream {
    fallback: Head,
    started: bool,
    /// The block that is being written.
    open: Option<Open>,
    /// How many blocks have begun.
    blocks: u32,
    /// The blocks of tool calls, by the calls' numbers.
    calls: Vec<(u32, u32)>,
    finish: Option<FinishReason>,
    refused: bool,
    /// What goes with the reason to stop.
    ending: Map<String, Value>,
    usage: Option<Usage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    Other,
}

impl Encode for Stream {
    /// There is one choice in this dialect.
    fn encode(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Started(head) => self.start(head, out),
            Event::Text { choice: 0, text } => self.text(&text, out),
            Event::Refusal { choice: 0, text } => {
                self.refused = true;
                self.text(&text, out);
            }
            Event::Reasoning { choice: 0, text } => {
                let block = r#"{"type":"thinking","thinking":"","signature":""}"#;
                self.open(Open::Thinking, block, out);
                delta(self.blocks, Delta::Thinking, &text, out);
            }
            Event::ToolCall { choice: 0, index, id, name, .. } => {
                self.close(out);
                let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                self.open(Open::Other, &block.to_string(), out);
                self.calls.push((index, self.blocks));
            }
            Event::ToolArguments { choice: 0, index, fragment } => {
                if let Some((_, block)) = self.calls.iter().find(|(call, _)| *call == index) {
                    delta(*block, Delta::Arguments, &fragment, out);
                }
            }
            Event::Extra { choice: 0, fields } => {
                for (name, value) in fields {
                    self.extra(&name, value, out);
                }
            }
            Event::Finished { choice: 0, reason } => self.finish = Some(reason),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done => self.done(out),
            Event::Text { .. }
            | Event::Refusal { .. }
            | Event::Reasoning { .. }
            | Event::ToolCall { .. }
            | Event::ToolArguments { .. }
            | Event::Logprobs { .. }
            | Event::Extra { .. }
            | Event::Finished { .. } => {}
        }
    }

    /// No `message_stop` follows.
    fn fail(&mut self, refused: &Refused<'_>, out: &mut Vec<u8>) {
        let event = json!({ "type": "error", "error": error::told(refused) });
        frame("error", &event.to_string(), out);
    }
}

impl Stream {
    #[must_use]
    pub fn new(asked: &Asked) -> Self {
        Self { fallback: asked.fallback.clone(), ..Self::default() }
    }

    fn start(&mut self, head: Head, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let Head { id, model, .. } = chat::complete(head, &self.fallback);
        let event = json!({
            "type": "message_start",
            "message": {
                "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
                "stop_reason": null, "stop_sequence": null, "usage": usage_fields(None),
            },
        });
        frame("message_start", &event.to_string(), out);
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        self.open(Open::Text, r#"{"type":"text","text":""}"#, out);
        delta(self.blocks, Delta::Text, text, out);
    }

    /// Begins a block, unless one of its kind is open that can go on.
    fn open(&mut self, kind: Open, block: &str, out: &mut Vec<u8>) {
        if self.open == Some(kind) && kind != Open::Other {
            return;
        }
        self.start(Head::default(), out);
        self.close(out);
        self.open = Some(kind);
        let index = self.blocks;
        let data =
            format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#);
        frame("content_block_start", &data, out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        match self.open {
            None => return,
            // Clients demand a signature; nobody gave one.
            Some(Open::Thinking) => {
                delta(self.blocks, Delta::Signature, FOREIGN, out);
            }
            Some(Open::Text | Open::Other) => {}
        }
        self.stop(out);
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        self.open = None;
        let data = format!(r#"{{"type":"content_block_stop","index":{}}}"#, self.blocks);
        frame("content_block_stop", &data, out);
        self.blocks = self.blocks.saturating_add(1);
    }

    fn extra(&mut self, name: &str, value: Value, out: &mut Vec<u8>) {
        match (name, value) {
            (reasoning::DETAILS, Value::Array(details)) => {
                for detail in &details {
                    self.detail(detail, out);
                }
            }
            (OWN_BLOCKS, Value::Array(blocks)) => {
                for block in blocks {
                    self.block(&block, out);
                }
            }
            ("citations", Value::Array(citations)) => {
                self.open(Open::Text, r#"{"type":"text","text":""}"#, out);
                for citation in citations {
                    let event = json!({
                        "type": "content_block_delta", "index": self.blocks,
                        "delta": { "type": "citations_delta", "citation": citation },
                    });
                    frame("content_block_delta", &event.to_string(), out);
                }
            }
            ("stop_sequence" | "stop_details" | "container", value) => {
                self.ending.insert(name.to_owned(), value);
            }
            _ => {}
        }
    }

    /// A signature ends the thoughts that it is for. Other details are blocks of their own.
    fn detail(&mut self, detail: &Value, out: &mut Vec<u8>) {
        let text = |name: &str| detail.get(name).and_then(Value::as_str);
        let signature = text("signature").filter(|_| text("format") == Some(reasoning::ANTHROPIC));
        match signature {
            Some(signature) if self.open == Some(Open::Thinking) => {
                delta(self.blocks, Delta::Signature, signature, out);
                self.stop(out);
            }
            _ => {
                if let Some(block) = write::thought(detail) {
                    self.block(&block, out);
                }
            }
        }
    }

    /// A block that is there at once.
    fn block(&mut self, block: &Value, out: &mut Vec<u8>) {
        self.close(out);
        self.open(Open::Other, &block.to_string(), out);
        self.close(out);
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        self.start(Head::default(), out);
        self.close(out);
        let stopped_at = self.ending.get("stop_sequence");
        let reason =
            if self.refused { "refusal" } else { stop_reason(self.finish.as_ref(), stopped_at) };
        let mut delta = Map::new();
        delta.insert("stop_reason".to_owned(), reason.into());
        delta.insert("stop_sequence".to_owned(), Value::Null);
        delta.extend(std::mem::take(&mut self.ending));
        let usage = usage_fields(self.usage.as_ref());
        let event = json!({ "type": "message_delta", "delta": delta, "usage": usage });
        frame("message_delta", &event.to_string(), out);
        frame("message_stop", r#"{"type":"message_stop"}"#, out);
    }
}

/// What a delta adds to.
#[derive(Debug, Clone, Copy)]
enum Delta {
    Text,
    Thinking,
    Signature,
    Arguments,
}

/// Most events of an answer are these: written without a tree.
fn delta(index: u32, delta: Delta, text: &str, out: &mut Vec<u8>) {
    let opening: &[u8] = match delta {
        Delta::Text => br#","delta":{"type":"text_delta","text":"#,
        Delta::Thinking => br#","delta":{"type":"thinking_delta","thinking":"#,
        Delta::Signature => br#","delta":{"type":"signature_delta","signature":"#,
        Delta::Arguments => br#","delta":{"type":"input_json_delta","partial_json":"#,
    };
    out.extend_from_slice(b"event: content_block_delta\ndata: ");
    out.extend_from_slice(br#"{"type":"content_block_delta","index":"#);
    // Writing a number or a string to memory cannot fail.
    let _ = serde_json::to_writer(&mut *out, &index);
    out.extend_from_slice(opening);
    let _ = serde_json::to_writer(&mut *out, text);
    out.extend_from_slice(b"}}\n\n");
}

fn frame(name: &str, data: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(data.as_bytes());
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests;
