//! What callers send and are sent, whichever dialect they speak.

use agentry_core::chat::{ChatRequest, Invalid};
use agentry_core::relay::Dialect;
use serde_json::Value;

/// Reads a body whole, and names the parameter that is wrong.
pub fn request(dialect: Dialect, body: &[u8]) -> Result<ChatRequest, Invalid> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Invalid { param: String::new(), reason: error.to_string() })?;
    match dialect {
        Dialect::ChatCompletions => ChatRequest::from_value(value),
        Dialect::Responses | Dialect::Messages => Err(Invalid {
            param: String::new(),
            reason: format!("{dialect} is only passed on as it is"),
        }),
    }
}
