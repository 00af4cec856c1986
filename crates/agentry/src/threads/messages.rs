//! Messages in LangChain's shape, and as models are asked.

use agentry_core::chat::{
    CallKind, ChatResponse, Content, FinishReason, Message, Part, Role, ToolCall,
};
use serde_json::{Map, Value, json};

/// As they stand in a thread: each an object with a type and an id. `id` names the ones that have none.
pub(super) fn normal(messages: Value, id: impl Fn(usize) -> String) -> Value {
    let all = match messages {
        Value::Array(all) => all,
        one => vec![one],
    };
    let one = |(number, message): (usize, Value)| match message {
        Value::String(text) => {
            json!({ "type": "human", "content": text, "id": id(number) })
        }
        Value::Object(mut message) => {
            if let Some(role) = message.shift_remove("role") {
                let kind = kind_of(role.as_str().unwrap_or_default());
                message.entry("type").or_insert_with(|| kind.into());
            }
            if message.get("id").is_none_or(Value::is_null) {
                message.insert("id".to_owned(), id(number).into());
            }
            Value::Object(message)
        }
        other => other,
    };
    all.into_iter().enumerate().map(one).collect()
}

fn kind_of(role: &str) -> &'static str {
    match role {
        "assistant" | "ai" => "ai",
        "system" | "developer" => "system",
        "tool" => "tool",
        _ => "human",
    }
}

/// As a model is asked. What is no message says which one, and why.
pub(super) fn asked(messages: &Value) -> Result<Vec<Message>, String> {
    let all = messages.as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |(number, message): (usize, &Value)| {
        read(message).map_err(|problem| format!("messages[{number}]: {problem}"))
    };
    all.iter().enumerate().map(one).collect()
}

fn read(message: &Value) -> Result<Message, String> {
    let kind = message.get("type").and_then(Value::as_str).unwrap_or_default();
    let role = match kind.trim_end_matches("MessageChunk").to_ascii_lowercase().as_str() {
        "human" | "user" => Role::User,
        "ai" | "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        "tool" => Role::Tool,
        _ => return Err(format!("`{kind}` is no type: there are human, ai, system and tool")),
    };
    let content = content(message.get("content").unwrap_or(&Value::Null))?;
    let calls = message.get("tool_calls").and_then(Value::as_array);
    let text = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
    let read = Message {
        content,
        name: text("name"),
        tool_calls: calls.into_iter().flatten().map(call).collect(),
        tool_call_id: text("tool_call_id").filter(|_| role == Role::Tool),
        ..Message::empty(role)
    };
    match (role, &read.content, &read.tool_call_id) {
        (Role::Tool, _, None) => Err("a tool's message says which call it answers".to_owned()),
        (Role::Assistant, _, _) | (_, Some(_), _) => Ok(read),
        (_, None, _) => Err("content is missing".to_owned()),
    }
}

fn content(content: &Value) -> Result<Option<Content>, String> {
    match content {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(Content::Text(text.clone()))),
        Value::Array(parts) => {
            let parts = parts.iter().map(part).collect::<Result<_, _>>()?;
            Ok(Some(Content::Parts(parts)))
        }
        _ => Err("content is a text or a list of parts".to_owned()),
    }
}

fn part(part: &Value) -> Result<Part, String> {
    match part {
        Value::String(text) => Ok(Part::Text { text: text.clone(), extra: Map::new() }),
        part => serde_json::from_value(part.clone()).map_err(|problem| problem.to_string()),
    }
}

fn call(call: &Value) -> ToolCall {
    let text = |name: &str| call.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    ToolCall {
        id: text("id"),
        kind: CallKind::Function,
        name: text("name"),
        arguments: call.get("args").map_or_else(|| "{}".to_owned(), Value::to_string),
        extra: Map::new(),
    }
}

/// A piece of what a model says.
pub(super) fn chunk(id: &str, text: &str) -> Value {
    json!({
        "type": "AIMessageChunk",
        "id": id,
        "content": text,
        "additional_kwargs": {},
        "response_metadata": {},
        "tool_calls": [],
        "invalid_tool_calls": [],
        "tool_call_chunks": [],
    })
}

/// All that a model said.
pub(super) fn answer(id: &str, response: &ChatResponse) -> Value {
    let said = response.choices.first();
    let finish = said.and_then(|said| said.finish_reason.as_ref()).map(FinishReason::as_str);
    let (mut calls, mut broken) = (Vec::new(), Vec::new());
    for call in said.iter().flat_map(|said| &said.message.tool_calls) {
        match serde_json::from_str::<Map<String, Value>>(&call.arguments) {
            Ok(args) => calls.push(json!({
                "name": call.name, "args": args, "id": call.id, "type": "tool_call",
            })),
            Err(problem) => broken.push(json!({
                "name": call.name, "args": call.arguments, "id": call.id,
                "error": problem.to_string(), "type": "invalid_tool_call",
            })),
        }
    }
    let usage = response.usage.as_ref().map(|usage| {
        json!({
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.total_tokens(),
        })
    });
    json!({
        "type": "ai",
        "id": id,
        "name": null,
        "content": response.text(),
        "additional_kwargs": {},
        "response_metadata": { "model_name": response.head.model, "finish_reason": finish },
        "tool_calls": calls,
        "invalid_tool_calls": broken,
        "usage_metadata": usage,
    })
}

#[cfg(test)]
mod tests;
