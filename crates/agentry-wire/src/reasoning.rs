//! How thoughts are carried between dialects.
//!
//! What a model thinks aloud is text: [`Event::Reasoning`], and `reasoning_content` in a whole message. What must be sent
//! back unchanged in the next turn (signatures, encrypted or redacted thoughts) is data that only its own upstream can
//! read. It travels as `reasoning_details`, an array of objects that clients of chat completions keep and send back:
//!
//! | `type` | fields |
//! |---|---|
//! | `reasoning.text` | `text`, `signature`, `format`, `index` |
//! | `reasoning.encrypted` | `data`, `format`, `index`; `id` when it belongs to a tool call or an item |
//! | `reasoning.summary` | `summary`, `format`, `index` |
//!
//! `format` names the vendor's shape. An encoder restores the details of its own format to their places and drops foreign
//! ones: another vendor can neither read them nor verify them.
//!
//! [`Event::Reasoning`]: agentry_core::chat::Event::Reasoning

use agentry_core::chat::{Event, Message};
use serde_json::{Map, Value, json};

/// The field of a message and of a delta that holds them.
pub const DETAILS: &str = "reasoning_details";
/// The field of a whole message that holds the text.
pub const CONTENT: &str = "reasoning_content";

/// Thinking blocks of Anthropic's models, wherever they run.
pub const ANTHROPIC: &str = "anthropic-claude-v1";
/// Reasoning items of OpenAI's Responses.
pub const OPENAI: &str = "openai-responses-v1";
/// Thought signatures of Gemini.
pub const GEMINI: &str = "google-gemini-v1";

/// A detail with a text and what proves it.
#[must_use]
pub fn signed(text: &str, signature: &str, format: &str, index: u32) -> Value {
    json!({
        "type": "reasoning.text", "text": text, "signature": signature, "format": format, "index": index,
    })
}

/// A detail that only the upstream can read.
#[must_use]
pub fn encrypted(data: &str, format: &str, index: u32) -> Value {
    json!({ "type": "reasoning.encrypted", "data": data, "format": format, "index": index })
}

/// Tells a detail of a streamed answer.
#[must_use]
pub fn told(choice: u32, detail: Value) -> Event {
    let mut fields = Map::new();
    fields.insert(DETAILS.to_owned(), Value::Array(vec![detail]));
    Event::Extra { choice, fields }
}

/// The details that a message brings, of whatever format.
pub fn details(message: &Message) -> impl Iterator<Item = &Value> {
    message.extra.get(DETAILS).and_then(Value::as_array).into_iter().flatten()
}

/// The details of one format.
pub fn details_of<'a>(message: &'a Message, format: &'a str) -> impl Iterator<Item = &'a Value> {
    details(message)
        .filter(move |detail| detail.get("format").and_then(Value::as_str) == Some(format))
}
