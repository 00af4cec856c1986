//! From a whole answer to the response object.

use agentry_core::chat::{ChatResponse, Choice, REASONING};
use serde_json::Value;

use super::object::{self, Object};
use super::usage;
use crate::{Asked, reasoning};

/// The body of the response. Of several choices only the first can be told.
#[must_use]
pub fn whole(response: &ChatResponse, asked: &Asked) -> Vec<u8> {
    let ChatResponse { head, choices, usage } = response;
    let mut object = Object::new(asked);
    object.name(head.clone());
    let choice = choices.first();
    let (status, details) = object::status(choice.and_then(|choice| choice.finish_reason.as_ref()));
    let output = choice.map(|choice| output(choice, &object, status)).unwrap_or_default();
    let body = object.with([
        ("status", status.into()),
        ("incomplete_details", details),
        ("output", output.into()),
        ("usage", usage.as_ref().map(usage::write).unwrap_or_default()),
    ]);
    body.to_string().into_bytes()
}

fn output(choice: &Choice, object: &Object, status: &str) -> Vec<Value> {
    let Choice { message, logprobs, .. } = choice;
    let mut output = Vec::new();
    let thought = REASONING.iter().find_map(|name| message.extra.get(*name)?.as_str());
    let details: Vec<Value> = reasoning::details(message).cloned().collect();
    if thought.is_some() || !details.is_empty() {
        let id = object.id("rs", output.len());
        output.push(object::thoughts(&id, thought.unwrap_or_default(), &details, "completed"));
    }
    let text = message.text();
    let mut parts = Vec::new();
    if !text.is_empty() || (message.refusal.is_none() && message.tool_calls.is_empty()) {
        let annotations = message.extra.get("annotations").and_then(Value::as_array);
        let annotations: Vec<Value> =
            annotations.into_iter().flatten().cloned().map(object::annotation).collect();
        let logprobs = logprobs.as_ref().and_then(|all| all.get("content")?.as_array());
        let logprobs = logprobs.map(Vec::as_slice).unwrap_or_default();
        parts.push(object::text_part(&text, &annotations, logprobs));
    }
    parts.extend(message.refusal.as_deref().map(object::refusal_part));
    if !parts.is_empty() {
        let status = if message.tool_calls.is_empty() { status } else { "completed" };
        output.push(object::message(&object.id("msg", output.len()), &parts, status));
    }
    for call in &message.tool_calls {
        let id = object.id(object::call_prefix(call.kind), output.len());
        output.push(object::call(&id, call, status));
    }
    output
}
