//! From the bytes of an answer of Converse to its events. Any split of the same bytes gives the same events.

use agentry_core::chat::{Assembly, ChatResponse};
use agentry_core::model::ModelError;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::exception;
use super::eventstream;
use super::eventstream::{Frame, Kind};
use crate::messages::{Delta, Piece, Reading};
use crate::{Decode, Step};

/// One frame holds a delta, or at most a whole block.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// A streamed answer as far as it has come.
#[derive(Debug)]
pub struct Decoder {
    frames: eventstream::Decoder,
    reading: Reading,
    model: String,
}

/// What the events of a stream may hold.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    content_block_index: u64,
    start: Map<String, Value>,
    delta: Change,
    stop_reason: Option<String>,
    usage: Option<Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Change {
    text: Option<String>,
    tool_use: Option<Input>,
    reasoning_content: Option<Thought>,
    citation: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Input {
    input: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Thought {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
}

impl Decode for Decoder {
    fn is_over(&self) -> bool {
        self.reading.over
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut frames = Vec::new();
        let pushed = if self.is_over() { Ok(()) } else { self.frames.push(bytes, &mut frames) };
        for frame in &frames {
            if self.is_over() {
                return steps;
            }
            if let Err(error) = self.frame(frame, &mut steps) {
                self.reading.fail(error, &mut steps);
            }
        }
        if let Err(broken) = pushed
            && !self.is_over()
        {
            self.reading.fail(ModelError::Malformed { reason: broken.to_string() }, &mut steps);
        }
        steps
    }

    /// An answer that has said why it ended lacks nothing but its bill.
    fn end(&mut self, error: Option<ModelError>) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.is_over() {
            return steps;
        }
        if self.reading.finished && !self.frames.is_midway() {
            self.reading.stop(&mut steps);
        } else {
            self.reading.fail(error.unwrap_or(ModelError::Truncated), &mut steps);
        }
        steps
    }
}

impl Decoder {
    /// `model` is the one that was asked: for errors.
    #[must_use]
    pub fn new(model: &str) -> Self {
        Self {
            frames: eventstream::Decoder::new(FRAME_BYTES_MAX),
            reading: Reading::default(),
            model: model.to_owned(),
        }
    }

    fn frame(&mut self, frame: &Frame, steps: &mut Vec<Step>) -> Result<(), ModelError> {
        let Frame { kind, name, message, payload } = frame;
        if *kind != Kind::Event {
            return Err(self.reading.broke_off(exception(name, message, payload, &self.model)));
        }
        let event: Event = serde_json::from_slice(payload)
            .map_err(|error| ModelError::Malformed { reason: format!("an event: {error}") })?;
        let index = event.content_block_index;
        match name.as_str() {
            "messageStart" => {
                let piece = Piece { message: Some(head(&self.model)), ..Piece::default() };
                self.tell("message_start", index, piece, steps)
            }
            "contentBlockStart" => self.begin(index, started(event.start), steps),
            "contentBlockDelta" => self.change(index, event.delta, steps),
            "contentBlockStop" => self.tell("content_block_stop", index, Piece::default(), steps),
            "messageStop" => {
                let reason = stop_reason(event.stop_reason.unwrap_or_default());
                let delta = Delta { stop_reason: Some(reason.into()), ..Delta::default() };
                let piece = Piece { delta: Some(delta), ..Piece::default() };
                self.tell("message_delta", index, piece, steps)
            }
            "metadata" => {
                let usage = event.usage.map(usage);
                let piece = Piece { usage, ..Piece::default() };
                self.tell("message_delta", index, piece, steps)?;
                if self.reading.finished {
                    self.reading.stop(steps);
                }
                Ok(())
            }
            // What is not invented yet.
            _ => Ok(()),
        }
    }

    /// The same step of an answer in Messages.
    fn tell(
        &mut self,
        kind: &'static str,
        index: u64,
        piece: Piece<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<(), ModelError> {
        self.reading.take(Piece { kind: kind.into(), index, ..piece }, steps)
    }

    fn begin(&mut self, index: u64, block: Value, steps: &mut Vec<Step>) -> Result<(), ModelError> {
        let Value::Object(block) = block else { return Ok(()) };
        let piece = Piece { content_block: Some(block), ..Piece::default() };
        self.tell("content_block_start", index, piece, steps)
    }

    /// Blocks of text and of thoughts begin with their first delta.
    fn change(
        &mut self,
        index: u64,
        change: Change,
        steps: &mut Vec<Step>,
    ) -> Result<(), ModelError> {
        let Change { text, tool_use, reasoning_content, citation } = change;
        let Thought { text: thinking, signature, redacted_content } =
            reasoning_content.unwrap_or_default();
        if let Some(data) = redacted_content {
            return self.begin(index, json!({ "type": "redacted_thinking", "data": data }), steps);
        }
        if (thinking.is_some() || signature.is_some()) && !self.reading.is_open(index) {
            self.begin(index, json!({ "type": "thinking" }), steps)?;
        }
        let delta = Delta {
            text,
            thinking,
            signature: signature.map(Into::into),
            partial_json: tool_use.map(|tool| tool.input),
            citation,
            ..Delta::default()
        };
        let piece = Piece { delta: Some(delta), ..Piece::default() };
        self.tell("content_block_delta", index, piece, steps)
    }
}

/// Answers do not name their model: it is the one that was asked.
fn head(model: &str) -> Map<String, Value> {
    let mut head = Map::new();
    head.insert("model".to_owned(), model.into());
    head
}

fn started(mut start: Map<String, Value>) -> Value {
    match start.shift_remove("toolUse") {
        Some(Value::Object(mut call)) => {
            let mut take = |name: &str| call.shift_remove(name).unwrap_or_default();
            json!({ "type": "tool_use", "id": take("toolUseId"), "name": take("name") })
        }
        _ if start.is_empty() => Value::Null,
        _ => {
            start.insert("type".to_owned(), "content".into());
            Value::Object(start)
        }
    }
}

/// In the words of Messages.
fn stop_reason(reason: String) -> String {
    match reason.as_str() {
        "guardrail_intervened" | "content_filtered" => "refusal".to_owned(),
        _ => reason,
    }
}

/// In the words of Messages, which counts in the same way.
fn usage(mut usage: Map<String, Value>) -> Map<String, Value> {
    usage.shift_remove("totalTokens");
    usage
        .into_iter()
        .map(|(name, value)| {
            let name = match name.as_str() {
                "inputTokens" => "input_tokens",
                "outputTokens" => "output_tokens",
                "cacheReadInputTokens" => "cache_read_input_tokens",
                "cacheWriteInputTokens" => "cache_creation_input_tokens",
                other => other,
            };
            (name.to_owned(), value)
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    output: Option<Output>,
    #[serde(default)]
    stop_reason: String,
    #[serde(default)]
    usage: Option<Map<String, Value>>,
    #[serde(default)]
    message: Option<Value>,
}

#[derive(Deserialize)]
struct Output {
    message: Written,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    content: Vec<Map<String, Value>>,
}

/// A whole answer.
pub fn response(body: &[u8], model: &str) -> Result<ChatResponse, ModelError> {
    let malformed = |reason: String| ModelError::Malformed { reason };
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    let Answer { output, stop_reason: reason, usage: bill, message } = answer;
    let Some(Output { message: Written { content } }) = output else {
        return Err(match message {
            Some(_) => exception("", "", body, model),
            None => malformed("it has no output".to_owned()),
        });
    };
    let mut message = head(model);
    message.insert("stop_reason".to_owned(), stop_reason(reason).into());
    message.extend(bill.map(|bill| ("usage".to_owned(), Value::Object(usage(bill)))));
    let mut steps = Vec::new();
    let blocks = content.into_iter().map(block).collect();
    Reading::default().whole(message, blocks, &mut steps)?;
    let mut assembly = Assembly::default();
    for step in steps {
        assembly.push(step?);
    }
    Ok(assembly.into_response())
}

/// A block in the words of Messages.
fn block(mut block: Map<String, Value>) -> Value {
    if let Some(text) = block.get("text") {
        return json!({ "type": "text", "text": text });
    }
    if let Some(call) = block.get("toolUse") {
        let field = |name: &str| call.get(name).cloned().unwrap_or_default();
        return json!({
            "type": "tool_use", "id": field("toolUseId"), "name": field("name"), "input": field("input"),
        });
    }
    if let Some(thought) = block.get("reasoningContent") {
        if let Some(data) = thought.get("redactedContent") {
            return json!({ "type": "redacted_thinking", "data": data });
        }
        let field = |name: &str| thought.get("reasoningText").and_then(|text| text.get(name));
        return json!({
            "type": "thinking", "thinking": field("text"), "signature": field("signature"),
        });
    }
    if let Some(cited) = block.get("citationsContent") {
        let pieces = cited.get("content").and_then(Value::as_array).into_iter().flatten();
        let text: String = pieces.filter_map(|piece| piece.get("text")?.as_str()).collect();
        let citations = cited.get("citations").cloned().unwrap_or_default();
        return json!({ "type": "text", "text": text, "citations": citations });
    }
    block.insert("type".to_owned(), "content".into());
    Value::Object(block)
}

#[cfg(test)]
mod tests;
