//! Gemini's own API, as an upstream: `generateContent`, `streamGenerateContent?alt=sse`, `batchEmbedContents`.
//!
//! Everything that it can express is translated. Where the order of instructions is lost (they are one field here, wherever
//! they stood), the model still sees them all. `parallel_tool_calls`, `user`, `service_tier` and `strict` are hints and
//! are left out; what would change the answer (`logit_bias`, audio, free-text tools, tools of other vendors) is refused by its
//! name. Schemas keep the keywords that Gemini knows; the rest only narrows what it would write.
//!
//! A thought signature comes back as a detail of [`crate::reasoning`]: with the id of the call that it belongs to, or with
//! none when it belongs to the text.

mod decode;
mod embed;
mod error;
mod request;
mod schema;
mod turns;

pub use decode::{Decoder, response};
pub use embed::{embed_body, embed_response};
pub use error::error;
pub use request::body;

/// The path below the base URL at which a model answers.
#[must_use]
pub fn path(model: &str, method: &str) -> String {
    let kind = if model.contains('/') { "" } else { "models/" };
    format!("/{kind}{}:{method}", in_path(model))
}

/// Whatever a path may not hold as it is, is written as its bytes.
fn in_path(model: &str) -> String {
    let mut path = String::with_capacity(model.len());
    for byte in model.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'@' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_its_path() {
        for (model, expected) in [
            ("gemini-2.5-pro", "/models/gemini-2.5-pro:m"),
            ("models/x", "/models/x:m"),
            ("tunedModels/my x?", "/tunedModels/my%20x%3F:m"),
        ] {
            assert_eq!(path(model, "m"), expected);
        }
    }
}
