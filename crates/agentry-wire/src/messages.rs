//! Anthropic's Messages: sent to Anthropic and to whoever is compatible, and taken from callers.
//!
//! **Upstream**, a request of the common vocabulary becomes one of Messages by this rule. What Messages can express is
//! translated. What it cannot and what would change the answer without a word is refused, with the parameter's name:
//! `n` > 1, probabilities, `logit_bias`, spoken answers, `functions`, tools and parts of unknown types. What is a hint is
//! left out: `seed`, penalties, `store`, `prediction`, `verbosity`, names of users, tiers that are not sold. `temperature`
//! above 1 is 1. `reasoning_effort` becomes a budget, or an effort for models that take one, and then sampling parameters
//! are left out, for they do not go together; of models that refuse sampling parameters they are always left out.
//! Of models that follow no schema, `json_schema` becomes a tool that takes the answer, and its call is read as the text;
//! `json_object` is a sentence in the instructions. All instructions go to the top.
//!
//! **From callers**, what chat completions have no word for stays in `extra` under its own name: see [`OWN_FIELDS`].
//! Documents are `file` parts; thoughts are `reasoning_content` and `reasoning_details` (see [`crate::reasoning`]); what
//! happened on the vendor's side is kept whole in `content_blocks`.
//!
//! Thoughts of other vendors reach a caller of Messages as thinking blocks whose signature is [`FOREIGN`], and what only
//! those vendors can read as redacted ones whose data begins with it. They come back with the caller's next request;
//! [`own_thoughts`] removes them where Anthropic gets the caller's own bytes.

mod attachment;
mod decode;
mod encode;
mod error;
mod foreign;
mod generation;
mod reading;
mod request;
mod stream;
mod tap;
mod thinking;
mod turns;
mod write;

pub use decode::{Decoder, response};
pub use encode::body;
pub use error::{error, failed, refusal};
pub use request::{OWN_FIELDS, request};
pub use stream::Stream;
pub use tap::{Reader, own_thoughts, whole_marks};
pub use turns::OWN_BLOCKS;
pub use write::whole;

pub(crate) use attachment::data_uri;
pub(crate) use encode::{
    ANSWER_TOOL, ANSWER_TOOL_IS_FOR, ONLY_JSON, check, has_other_choice, schema, schema_of,
    stop_sequences,
};
pub(crate) use foreign::forget;
pub(crate) use generation::Generation;
pub(crate) use reading::{Delta, Piece, Reading};
pub(crate) use thinking::{none as no_thinking, of as thinking_of};
pub(crate) use turns::{Block, Conversation, Notes, Place, Source, Speaker, Turn, refused};

use agentry_core::chat::{FinishReason, Usage};
use serde_json::{Map, Value};

/// Marks thoughts that are not Anthropic's.
pub const FOREIGN: &str = "agentry-foreign:";

/// What the vendor says about the end of an answer.
pub(crate) fn finish_reason(word: &str) -> FinishReason {
    match word {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// The same the other way. Clients know only these words.
fn stop_reason(reason: Option<&FinishReason>, stopped_at: Option<&Value>) -> &'static str {
    match reason {
        Some(FinishReason::Length) => "max_tokens",
        Some(FinishReason::ToolCalls) => "tool_use",
        Some(FinishReason::ContentFilter) => "refusal",
        Some(FinishReason::Other(word)) if word == "pause_turn" => "pause_turn",
        Some(FinishReason::Stop | FinishReason::Other(_)) | None => {
            if stopped_at.is_some() {
                "stop_sequence"
            } else {
                "end_turn"
            }
        }
    }
}

/// The vendor's account: what came from the cache and what was written to it stand apart from the rest of the input.
fn usage_fields(usage: Option<&Usage>) -> Map<String, Value> {
    let mut fields = Map::new();
    let nothing = Usage::default();
    let Usage { input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, reported } =
        usage.unwrap_or(&nothing);
    let written = reported.get("cache_creation_input_tokens").and_then(Value::as_u64).unwrap_or(0);
    let fresh = input_tokens.saturating_sub(*cached_input_tokens).saturating_sub(written);
    fields.insert("input_tokens".to_owned(), fresh.into());
    fields.insert("cache_creation_input_tokens".to_owned(), written.into());
    fields.insert("cache_read_input_tokens".to_owned(), (*cached_input_tokens).into());
    fields.insert("output_tokens".to_owned(), (*output_tokens).into());
    for name in ["cache_creation", "server_tool_use", "service_tier", "inference_geo", "speed"] {
        if let Some(value) = reported.get(name).filter(|value| !value.is_null()) {
            fields.insert(name.to_owned(), value.clone());
        }
    }
    if *reasoning_tokens > 0 {
        let details = serde_json::json!({ "thinking_tokens": reasoning_tokens });
        fields.insert("output_tokens_details".to_owned(), details);
    }
    fields
}

#[cfg(test)]
mod tests;
