//! A whole answer, for a caller of Messages.

use agentry_core::chat::{ChatResponse, Choice, Head, Message};
use serde_json::{Map, Value, json};

use super::turns::OWN_BLOCKS;
use super::{FOREIGN, stop_reason, usage_fields};
use crate::{Asked, chat, reasoning};

#[must_use]
pub fn whole(response: &ChatResponse, asked: &Asked) -> Vec<u8> {
    let Head { id, model, .. } = chat::complete(response.head.clone(), &asked.fallback);
    let choice = response.choices.first();
    let stopped_at = choice.and_then(|choice| choice.message.extra.get("stop_sequence"));
    let refused = choice.is_some_and(|choice| choice.message.refusal.is_some());
    let finish = choice.and_then(|choice| choice.finish_reason.as_ref());
    let mut answer = json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": choice.map(content).unwrap_or_default(),
        "stop_reason": if refused { "refusal" } else { stop_reason(finish, stopped_at) },
        "stop_sequence": stopped_at,
        "usage": usage_fields(response.usage.as_ref()),
    });
    if let (Some(choice), Value::Object(fields)) = (choice, &mut answer) {
        for name in ["stop_details", "container"] {
            if let Some(value) = choice.message.extra.get(name) {
                fields.insert(name.to_owned(), value.clone());
            }
        }
    }
    answer.to_string().into_bytes()
}

fn content(choice: &Choice) -> Vec<Value> {
    let Choice { message, .. } = choice;
    let mut blocks = thoughts(message);
    let own = message.extra.get(OWN_BLOCKS).and_then(Value::as_array);
    blocks.extend(own.into_iter().flatten().cloned());
    let text = message.text();
    if !text.is_empty() {
        let mut block = json!({ "type": "text", "text": text });
        if let (Some(citations), Value::Object(fields)) =
            (message.extra.get("citations"), &mut block)
        {
            fields.insert("citations".to_owned(), citations.clone());
        }
        blocks.push(block);
    }
    blocks.extend(message.refusal.iter().map(|text| json!({ "type": "text", "text": text })));
    for call in &message.tool_calls {
        let input = input(&call.arguments);
        blocks
            .push(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input }));
    }
    blocks
}

/// Clients demand an object. What a model wrote that is none is kept under a name.
fn input(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(fields)) => Value::Object(fields),
        _ if arguments.trim().is_empty() => Value::Object(Map::new()),
        _ => json!({ "input": arguments }),
    }
}

fn thoughts(message: &Message) -> Vec<Value> {
    let mut blocks: Vec<Value> = reasoning::details(message).filter_map(thought).collect();
    let is_told = blocks.iter().any(|block| block.get("type") == Some(&json!("thinking")));
    let text = agentry_core::chat::REASONING.into_iter().find_map(|name| message.extra.get(name));
    if let Some(text) = text.and_then(Value::as_str).filter(|text| !text.is_empty() && !is_told) {
        blocks.insert(0, unsigned(text));
    }
    blocks
}

/// A thought that no signature vouches for.
fn unsigned(text: &str) -> Value {
    json!({ "type": "thinking", "thinking": text, "signature": FOREIGN })
}

/// One detail as a block; nothing when it says no more than the text of the thoughts does.
pub(super) fn thought(detail: &Value) -> Option<Value> {
    let text = |name: &str| detail.get(name).and_then(Value::as_str);
    let ours = text("format") == Some(reasoning::ANTHROPIC);
    match (text("type")?, ours) {
        ("reasoning.text", true) => Some(json!({
            "type": "thinking", "thinking": text("text").unwrap_or(""), "signature": text("signature")?,
        })),
        ("reasoning.encrypted", true) => {
            Some(json!({ "type": "redacted_thinking", "data": text("data")? }))
        }
        // Goes with the caller to its next request, and is read there.
        ("reasoning.encrypted", false) => {
            Some(json!({ "type": "redacted_thinking", "data": format!("{FOREIGN}{detail}") }))
        }
        ("reasoning.text", false) if text("signature").is_some() => {
            Some(json!({ "type": "redacted_thinking", "data": format!("{FOREIGN}{detail}") }))
        }
        _ => None,
    }
}
