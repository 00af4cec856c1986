//! How Responses count tokens.

use agentry_core::chat::Usage;
use serde_json::{Map, Value, json};

const CACHED: &str = "/input_tokens_details/cached_tokens";
const REASONING: &str = "/output_tokens_details/reasoning_tokens";
const CACHE_WRITES: &str = "/input_tokens_details/cache_write_tokens";

pub(super) fn write(usage: &Usage) -> Value {
    let Usage { input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, reported } =
        usage;
    // Upstreams report under either name how much they have written to their caches.
    let written = reported
        .get("cache_creation_input_tokens")
        .or_else(|| reported.get("prompt_tokens_details")?.get("cache_write_tokens"));
    json!({
        "input_tokens": input_tokens,
        "input_tokens_details": {
            "cached_tokens": cached_input_tokens,
            "cache_write_tokens": written.and_then(Value::as_u64).unwrap_or(0),
        },
        "output_tokens": output_tokens,
        "output_tokens_details": { "reasoning_tokens": reasoning_tokens },
        "total_tokens": usage.total_tokens(),
    })
}

/// Counts that are missing are zero: no answer is lost over its bill.
pub(super) fn read(usage: &Value) -> Usage {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let mut reported = Map::new();
    let written = count(CACHE_WRITES);
    if written > 0 {
        reported
            .insert("prompt_tokens_details".to_owned(), json!({ "cache_write_tokens": written }));
    }
    Usage {
        input_tokens: count("/input_tokens"),
        cached_input_tokens: count(CACHED),
        output_tokens: count("/output_tokens"),
        reasoning_tokens: count(REASONING),
        reported,
    }
}
