//! Messages in LangChain's shape, as far as these faces must know it.

use serde_json::{Map, Value, json};

/// Whether it is a piece of a message that is being written.
pub(crate) fn is_chunk(message: &Value) -> bool {
    kind(message).ends_with("Chunk")
}

fn kind(message: &Value) -> &str {
    message.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// The message that `chunk` is the first piece of, still without its text.
pub(crate) fn begun(chunk: &Value) -> Value {
    let mut message = chunk.clone();
    if let Some(members) = message.as_object_mut() {
        // `AIMessageChunk` is a piece of an `ai`.
        let whole = kind(chunk).trim_end_matches("MessageChunk").to_ascii_lowercase();
        members.insert("type".to_owned(), whole.into());
        members.insert("content".to_owned(), "".into());
        members.shift_remove("tool_call_chunks");
    }
    message
}

/// Adds a piece to what there is so far: text is joined, the rest is replaced by what is newer.
pub(crate) fn add(so_far: &mut Value, chunk: &Value) {
    let (Some(so_far), Some(chunk)) = (so_far.as_object_mut(), chunk.as_object()) else { return };
    let says_something = |(name, value): &(&String, &Value)| {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        !empty && !matches!(name.as_str(), "type" | "id" | "tool_call_chunks")
    };
    for (name, value) in chunk.iter().filter(says_something) {
        match (name.as_str(), so_far.get_mut(name), value) {
            ("content", Some(Value::String(text)), Value::String(more)) => text.push_str(more),
            ("content", Some(Value::Array(parts)), Value::Array(more)) => {
                parts.extend(more.iter().cloned());
            }
            (_, _, value) => {
                so_far.insert(name.clone(), value.clone());
            }
        }
    }
}

/// A message with a `role`, as the Agent Protocol writes them, in LangChain's shape.
pub(crate) fn of_role(mut message: Map<String, Value>) -> Value {
    if message.contains_key("type") {
        return Value::Object(message);
    }
    let kind = match message.shift_remove("role").as_ref().and_then(Value::as_str) {
        Some("assistant" | "ai") => "ai",
        Some("system" | "developer") => "system",
        Some("tool") => "tool",
        Some(_) | None => "human",
    };
    message.insert("type".to_owned(), kind.into());
    Value::Object(message)
}

/// The other way round.
pub(crate) fn with_role(message: &Value) -> Value {
    let role = match kind(message) {
        "ai" => "assistant",
        "human" => "user",
        other => other,
    };
    let mut shown = json!({ "role": role, "content": message.get("content") });
    if let (Some(shown), Some(members)) = (shown.as_object_mut(), message.as_object()) {
        let rest = members.iter().filter(|(name, value)| {
            !matches!(name.as_str(), "type" | "content") && !value.is_null()
        });
        shown.extend(rest.map(|(name, value)| (name.clone(), value.clone())));
    }
    shown
}
