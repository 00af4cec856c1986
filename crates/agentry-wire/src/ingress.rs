//! What callers send and are sent, whichever dialect they speak.

use agentry_core::chat::{Assembly, ChatRequest, ChatResponse, Invalid};
use agentry_core::model::ModelError;
use agentry_core::relay::Dialect;
use memchr::memmem;
use serde_json::Value;

use crate::chat::complete;
use crate::error::Refused;
use crate::{Asked, Decode, Encode, chat, messages, responses};

/// Reads a body whole, and names the parameter that is wrong.
pub fn request(dialect: Dialect, body: &[u8]) -> Result<ChatRequest, Invalid> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Invalid { param: String::new(), reason: error.to_string() })?;
    match dialect {
        Dialect::ChatCompletions => ChatRequest::from_value(value),
        Dialect::Responses => responses::request(value),
        Dialect::Messages => messages::request(value),
    }
}

/// A whole answer, as a caller of `dialect` reads it.
#[must_use]
pub fn whole(dialect: Dialect, response: ChatResponse, asked: &Asked) -> Vec<u8> {
    match dialect {
        Dialect::ChatCompletions => {
            let head = complete(response.head, &asked.fallback);
            // What was read as JSON, or built of strings and numbers, can be written.
            serde_json::to_vec(&ChatResponse { head, ..response }).unwrap_or_default()
        }
        Dialect::Responses => responses::whole(&response, asked),
        Dialect::Messages => messages::whole(&response, asked),
    }
}

/// Writes a streamed answer for a caller of `dialect`.
#[must_use]
pub fn encoder(dialect: Dialect, asked: &Asked) -> Box<dyn Encode> {
    match dialect {
        Dialect::ChatCompletions => {
            Box::new(chat::Chunks::new(asked.fallback.clone(), asked.wants_usage))
        }
        Dialect::Responses => Box::new(responses::Events::new(asked)),
        Dialect::Messages => Box::new(messages::Stream::new(asked)),
    }
}

/// An error, as a caller of `dialect` reads it.
#[must_use]
pub fn error(dialect: Dialect, refused: &Refused<'_>, request_id: &str) -> Vec<u8> {
    match dialect {
        Dialect::ChatCompletions | Dialect::Responses => refused.openai(),
        Dialect::Messages => messages::error(refused, request_id),
    }
}

/// Whether an answer of `dialect` can be read back from what a caller was sent.
#[must_use]
pub fn is_readable(dialect: Dialect) -> bool {
    match dialect {
        Dialect::ChatCompletions | Dialect::Responses | Dialect::Messages => true,
    }
}

/// A whole answer that a caller was sent.
pub fn read_whole(dialect: Dialect, body: &[u8]) -> Result<ChatResponse, ModelError> {
    match dialect {
        Dialect::ChatCompletions => chat::response(body, ""),
        Dialect::Messages => messages::response(body, ""),
        Dialect::Responses => responses::response(body, ""),
    }
}

/// A streamed answer that a caller was sent.
pub fn read_frames(dialect: Dialect, frames: &[u8]) -> Result<ChatResponse, ModelError> {
    match dialect {
        Dialect::ChatCompletions => gather(chat::Decoder::new(), frames),
        Dialect::Messages => gather(messages::Decoder::new(""), frames),
        Dialect::Responses => gather(responses::Decoder::new(), frames),
    }
}

/// Whether the frames of an answer end with its bill.
#[must_use]
pub fn tells_usage(dialect: Dialect, frames: &[u8]) -> bool {
    match dialect {
        Dialect::ChatCompletions => memmem::rfind(frames, b"\"prompt_tokens\"").is_some(),
        Dialect::Responses | Dialect::Messages => true,
    }
}

fn gather(mut decoder: impl Decode, frames: &[u8]) -> Result<ChatResponse, ModelError> {
    let mut assembly = Assembly::default();
    for step in decoder.push(frames).into_iter().chain(decoder.end(None)) {
        assembly.push(step?);
    }
    if assembly.is_done() { Ok(assembly.into_response()) } else { Err(ModelError::Truncated) }
}

#[cfg(test)]
mod tests;
