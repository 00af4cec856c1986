//! From the bytes of an answer in Messages to its events. Any split of the same bytes gives the same events.

use agentry_core::chat::{Assembly, ChatResponse};
use agentry_core::model::ModelError;
use serde_json::Value;

use super::error::from_error;
use super::reading::{Piece, Reading};
use crate::{Decode, Step, sse};

/// One event holds a delta, or at most a whole block.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// A streamed answer as far as it has come.
#[derive(Debug)]
pub struct Decoder {
    frames: sse::Decoder,
    reading: Reading,
    model: String,
}

impl Decode for Decoder {
    fn is_over(&self) -> bool {
        self.reading.over
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut frames = Vec::new();
        let pushed = if self.is_over() { Ok(()) } else { self.frames.push(bytes, &mut frames) };
        self.read(&frames, &mut steps);
        if let Err(error) = pushed
            && !self.is_over()
        {
            self.reading.fail(ModelError::Malformed { reason: error.to_string() }, &mut steps);
        }
        steps
    }

    /// An answer that has said why it ended lacks nothing.
    fn end(&mut self, error: Option<ModelError>) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.is_over() {
            return steps;
        }
        let mut frames = Vec::new();
        self.frames.finish(&mut frames);
        // A frame that was cut in the middle is not an unreadable one: the cut is what is wrong.
        frames.retain(|frame| serde_json::from_slice::<Value>(&frame.data).is_ok());
        self.read(&frames, &mut steps);
        if !self.is_over() {
            if self.reading.finished {
                self.reading.stop(&mut steps);
            } else {
                self.reading.fail(error.unwrap_or(ModelError::Truncated), &mut steps);
            }
        }
        steps
    }
}

impl Decoder {
    /// `model` is the one that was asked: for errors that come as the first event.
    #[must_use]
    pub fn new(model: &str) -> Self {
        Self {
            frames: sse::Decoder::new(EVENT_BYTES_MAX),
            reading: Reading::default(),
            model: model.to_owned(),
        }
    }

    fn read(&mut self, frames: &[sse::Frame], steps: &mut Vec<Step>) {
        for frame in frames {
            if self.is_over() {
                return;
            }
            if let Err(error) = self.frame(frame, steps) {
                self.reading.fail(error, steps);
            }
        }
    }

    fn frame(&mut self, frame: &sse::Frame, steps: &mut Vec<Step>) -> Result<(), ModelError> {
        let data = frame.data.trim_ascii();
        // Some compatible servers end like OpenAI does.
        if data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let piece: Piece<'_> = serde_json::from_slice(data)
            .map_err(|error| ModelError::Malformed { reason: format!("an event: {error}") })?;
        if piece.kind == "error" || frame.event == b"error" {
            let error = from_error(piece.error.as_ref().unwrap_or(&Value::Null), &self.model);
            return Err(self.reading.broke_off(error));
        }
        self.reading.take(piece, steps)
    }
}

/// A whole answer. Some servers report an error under a good status.
pub fn response(body: &[u8], model: &str) -> Result<ChatResponse, ModelError> {
    let malformed = |reason: String| ModelError::Malformed { reason };
    let value: Value =
        serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    let Value::Object(mut message) = value else {
        return Err(malformed("it is no object".to_owned()));
    };
    if let Some(error) = message.get("error").filter(|error| !error.is_null()) {
        return Err(from_error(error, model));
    }
    let Some(Value::Array(blocks)) = message.shift_remove("content") else {
        return Err(malformed("it has no content".to_owned()));
    };
    let mut steps = Vec::new();
    Reading::default().whole(message, blocks, &mut steps)?;
    let mut assembly = Assembly::default();
    for step in steps {
        assembly.push(step?);
    }
    Ok(assembly.into_response())
}

#[cfg(test)]
mod tests;
