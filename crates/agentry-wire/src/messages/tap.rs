//! Messages that pass as they are.

use agentry_core::Pieces;
use agentry_core::chat::Usage;
use agentry_core::model::ModelError;
use agentry_core::relay::{Marks, RawWhole};
use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::from_error;
use super::reading::usage;
use super::{FOREIGN, finish_reason};
use crate::tap::{Pass, Read, worse};

/// Reads the marks off a streamed answer. Most events only carry text: they are not parsed.
#[derive(Debug, Default)]
pub struct Reader {
    model: String,
    started: bool,
    /// The reason to stop was told.
    finished: bool,
    /// Cumulative.
    usage: Map<String, Value>,
}

impl Reader {
    /// `model` is the one that was asked: for errors that come as the first event.
    #[must_use]
    pub fn new(model: &str) -> Self {
        Self { model: model.to_owned(), ..Self::default() }
    }

    /// The last account is the bill, and also that of an answer that breaks off.
    fn account(&mut self, reported: Option<Map<String, Value>>, marks: &mut Marks) {
        for (name, value) in reported.unwrap_or_default() {
            if !value.is_null() {
                self.usage.insert(name, value);
            }
        }
        if !self.usage.is_empty() {
            marks.usage = Some(Box::new(usage(self.usage.clone())));
        }
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: Option<Answer>,
    #[serde(default)]
    delta: Option<Ending>,
    #[serde(default)]
    usage: Option<Map<String, Value>>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Ending {
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    content: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<Map<String, Value>>,
    #[serde(default)]
    error: Option<Value>,
}

impl Read for Reader {
    fn read(&mut self, event: &[u8], data: &[u8], marks: &mut Marks) -> Result<Pass, ModelError> {
        match event {
            b"content_block_delta" | b"content_block_stop" => return Ok(Pass::On),
            b"content_block_start" | b"ping" => return Ok(Pass::Preface),
            _ => {}
        }
        if data == b"[DONE]" {
            return Ok(Pass::On);
        }
        let read: Event = serde_json::from_slice(data)
            .map_err(|error| ModelError::Malformed { reason: format!("an event: {error}") })?;
        match read.kind.as_str() {
            "message_start" => {
                self.started = true;
                self.account(read.message.and_then(|message| message.usage), marks);
                return Ok(Pass::Preface);
            }
            "message_delta" => {
                self.account(read.usage, marks);
                if let Some(reason) = read.delta.and_then(|delta| delta.stop_reason) {
                    self.finished = true;
                    marks.finish = worse(marks.finish.take(), Some(finish_reason(&reason)));
                }
            }
            "message_stop" => marks.done = true,
            kind if kind == "error" || event == b"error" => {
                let error = from_error(read.error.as_ref().unwrap_or(&Value::Null), &self.model);
                return Err(if self.started { broke_off(error) } else { error });
            }
            _ => {}
        }
        Ok(Pass::On)
    }

    fn is_complete(&self) -> bool {
        self.finished
    }

    fn closing(&self) -> &'static [u8] {
        b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    }
}

/// The upstream's report, once something was said.
fn broke_off(error: ModelError) -> ModelError {
    match error {
        ModelError::Invalid { message, .. }
        | ModelError::UnknownModel { message, .. }
        | ModelError::Unauthorized { message }
        | ModelError::RateLimited { message, .. }
        | ModelError::QuotaExhausted { message }
        | ModelError::Unavailable { message, .. } => ModelError::BrokeOff { message },
        other => other,
    }
}

/// Reads the marks off a whole answer that passes as it is.
pub fn whole_marks(body: Bytes, model: &str) -> Result<RawWhole, ModelError> {
    let malformed = |reason: String| ModelError::Malformed { reason };
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))?;
    if let Some(error) = answer.error.filter(|error| !error.is_null()) {
        return Err(from_error(&error, model));
    }
    if answer.content.is_none() {
        return Err(malformed("it has no content".to_owned()));
    }
    let usage: Option<Usage> = answer.usage.map(usage);
    let finish = answer.stop_reason.map(|reason| finish_reason(&reason));
    Ok(RawWhole { body, usage, finish })
}

/// The same request without the thoughts of other vendors, which Anthropic would refuse. Most requests have none: they
/// cost one search.
#[must_use]
pub fn own_thoughts(body: Pieces) -> Pieces {
    if !body.any(|piece| memmem::find(piece, FOREIGN.as_bytes()).is_some()) {
        return body;
    }
    let body = body.into_bytes();
    let Ok(mut request) = serde_json::from_slice::<Value>(&body) else { return body.into() };
    let turns = request.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten();
    for turn in turns {
        if let Some(Value::Array(blocks)) = turn.get_mut("content") {
            blocks.retain(|block| !is_foreign(block));
        }
    }
    request.to_string().into()
}

fn is_foreign(block: &Value) -> bool {
    let marked = |name: &str| {
        block.get(name).and_then(Value::as_str).is_some_and(|text| text.starts_with(FOREIGN))
    };
    match block.get("type").and_then(Value::as_str) {
        Some("thinking") => marked("signature"),
        Some("redacted_thinking") => marked("data"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
