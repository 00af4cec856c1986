//! Requests of callers of Messages, for servers of chat completions that refuse every word they do not know.

use std::borrow::Cow;

use agentry_core::chat::{ChatRequest, Content, Message, Part, Role, ToolDefinition};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::request::OWN_FIELDS;
use super::turns::OWN_BLOCKS;

/// What stands beside messages, parts and tools and means nothing to other vendors.
const NOTES: [&str; 5] = ["cache_control", "citations", "context", "is_error", OWN_BLOCKS];

/// Callers of Messages name their users at length; others refuse that.
const USER_BYTES_MAX: usize = 64;

fn is_long(user: &str) -> bool {
    user.len() > USER_BYTES_MAX
}

/// Leaves out what other vendors have no word for, and takes the images out of the results of tools, where they accept
/// only text: they follow as the user's.
pub(crate) fn forget(request: &mut Cow<'_, ChatRequest>) {
    if !has_own(request) {
        return;
    }
    let request = request.to_mut();
    request.extra.retain(|name, _| !OWN_FIELDS.contains(&name.as_str()));
    if let Some(Value::String(user)) = request.extra.get_mut("user")
        && is_long(user)
    {
        *user = digest(user);
    }
    for tool in &mut request.tools {
        if let ToolDefinition::Function(tool) = tool {
            forget_notes(&mut tool.extra);
            forget_notes(&mut tool.function.extra);
        }
    }
    for message in &mut request.messages {
        forget_notes(&mut message.extra);
        for call in &mut message.tool_calls {
            forget_notes(&mut call.extra);
        }
        if let Some(Content::Parts(parts)) = &mut message.content {
            for part in parts {
                forget_notes(beside(part));
            }
        }
    }
    request.messages = lifted(std::mem::take(&mut request.messages));
}

fn has_own(request: &ChatRequest) -> bool {
    let noted = |fields: &Map<String, Value>| NOTES.iter().any(|name| fields.contains_key(*name));
    let parts = |message: &Message| match &message.content {
        Some(Content::Parts(parts)) => parts.iter().any(|part| match part {
            Part::Text { extra, .. } => noted(extra),
            Part::ImageUrl { extra, .. } => message.role == Role::Tool || noted(extra),
            Part::Other(fields) => message.role == Role::Tool || noted(fields),
        }),
        Some(Content::Text(_)) | None => false,
    };
    OWN_FIELDS.iter().any(|name| request.extra.contains_key(*name))
        || request.extra.get("user").and_then(Value::as_str).is_some_and(is_long)
        || request.messages.iter().any(|message| {
            noted(&message.extra)
                || parts(message)
                || message.tool_calls.iter().any(|call| noted(&call.extra))
        })
        || request.tools.iter().any(|tool| match tool {
            ToolDefinition::Function(tool) => noted(&tool.extra) || noted(&tool.function.extra),
            ToolDefinition::Other(_) => false,
        })
}

/// The same for the same name, and just as long as is allowed.
fn digest(user: &str) -> String {
    Sha256::digest(user.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn forget_notes(fields: &mut Map<String, Value>) {
    fields.retain(|name, _| !NOTES.contains(&name.as_str()));
}

fn beside(part: &mut Part) -> &mut Map<String, Value> {
    match part {
        Part::Text { extra, .. } | Part::ImageUrl { extra, .. } => extra,
        Part::Other(fields) => fields,
    }
}

/// All results of one turn must follow one another: what was taken out of them comes after the last.
fn lifted(messages: Vec<Message>) -> Vec<Message> {
    let mut out = Vec::with_capacity(messages.len());
    let mut waiting = Vec::new();
    for mut message in messages {
        if message.role != Role::Tool {
            out.extend(shown(std::mem::take(&mut waiting)));
        } else if let Some(Content::Parts(parts)) = &mut message.content {
            let is_text = |part: &Part| matches!(part, Part::Text { .. });
            let (texts, rest): (Vec<Part>, Vec<Part>) =
                std::mem::take(parts).into_iter().partition(is_text);
            *parts = texts;
            if !rest.is_empty() {
                let text = "(shown in the next message)".to_owned();
                parts.push(Part::Text { text, extra: Map::new() });
            }
            waiting.extend(rest);
        }
        out.push(message);
    }
    out.extend(shown(waiting));
    out
}

fn shown(parts: Vec<Part>) -> Option<Message> {
    (!parts.is_empty())
        .then(|| Message { content: Some(Content::Parts(parts)), ..Message::empty(Role::User) })
}

#[cfg(test)]
mod tests;
