//! One turn of a caller's conversation: blocks that become messages.

use agentry_core::chat::{CallKind, Content, Invalid, Message, Part, Role, ToolCall};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Map, Value, json};

use super::invalid;
use crate::messages::FOREIGN;
use crate::messages::turns::{OWN_BLOCKS, is_own};
use crate::reasoning;

pub(super) fn read(value: Value, param: &str, messages: &mut Vec<Message>) -> Result<(), Invalid> {
    let Value::Object(mut turn) = value else {
        return Err(invalid(param, "a message is an object with `role` and `content`"));
    };
    let content = turn.shift_remove("content").unwrap_or_default();
    let at = format!("{param}.content");
    match turn.get("role").and_then(Value::as_str) {
        Some("user") => user(content, &at, messages),
        Some("assistant") => {
            messages.push(assistant(content, &at)?);
            Ok(())
        }
        Some("system") => {
            messages.extend(system(content, &at)?);
            Ok(())
        }
        _ => Err(invalid(&format!("{param}.role"), "it is `user` or `assistant`")),
    }
}

pub(super) fn system(content: Value, param: &str) -> Result<Option<Message>, Invalid> {
    let mut parts = Vec::new();
    for (at, block) in blocks(content, param)?.into_iter().enumerate() {
        parts.push(part(block, &format!("{param}[{at}]"))?);
    }
    let message = Message { content: Some(content_of(parts)), ..Message::empty(Role::System) };
    Ok(Some(message).filter(|message| !message.text().is_empty()))
}

/// Results of tools are messages of their own, before what the user says.
fn user(content: Value, param: &str, messages: &mut Vec<Message>) -> Result<(), Invalid> {
    let mut parts = Vec::new();
    let mut results = 0;
    for (at, block) in blocks(content, param)?.into_iter().enumerate() {
        let param = format!("{param}[{at}]");
        if kind(&block) == "tool_result" {
            results += 1;
            messages.push(result(block, &param)?);
        } else {
            parts.push(part(block, &param)?);
        }
    }
    if !parts.is_empty() || results == 0 {
        messages.push(Message { content: Some(content_of(parts)), ..Message::empty(Role::User) });
    }
    Ok(())
}

/// The blocks of a content, which may be a mere text.
fn blocks(content: Value, param: &str) -> Result<Vec<Map<String, Value>>, Invalid> {
    match content {
        Value::String(text) => {
            let mut block = Map::new();
            block.insert("type".to_owned(), "text".into());
            block.insert("text".to_owned(), text.into());
            Ok(vec![block])
        }
        Value::Array(values) => values
            .into_iter()
            .enumerate()
            .map(|(at, value)| match value {
                Value::Object(block) => Ok(block),
                _ => Err(invalid(&format!("{param}[{at}]"), "a block is an object")),
            })
            .collect(),
        _ => Err(invalid(param, "it is a string or an array of blocks")),
    }
}

fn kind(block: &Map<String, Value>) -> &str {
    block.get("type").and_then(Value::as_str).unwrap_or("")
}

/// A lone text needs no parts.
fn content_of(mut parts: Vec<Part>) -> Content {
    match parts.as_mut_slice() {
        [Part::Text { text, extra }] if extra.is_empty() => Content::Text(std::mem::take(text)),
        _ => Content::Parts(parts),
    }
}

/// Those of `names` that say something.
fn kept(block: &mut Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let taken = names.iter().filter_map(|name| {
        let value = block.shift_remove(*name).filter(|value| !value.is_null())?;
        Some(((*name).to_owned(), value))
    });
    taken.collect()
}

fn part(mut block: Map<String, Value>, param: &str) -> Result<Part, Invalid> {
    match kind(&block) {
        "text" => {
            let Some(Value::String(text)) = block.shift_remove("text") else {
                return Err(invalid(&format!("{param}.text"), "a text block has a string `text`"));
            };
            Ok(Part::Text { text, extra: kept(&mut block, &["cache_control", "citations"]) })
        }
        "image" => image(block, param),
        "document" => document(block, param),
        kind if is_own(kind) => Ok(Part::Other(block)),
        kind => Err(invalid(param, &format!("there is no block of type `{kind}` here"))),
    }
}

fn source<'a>(block: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    block.get("source")?.get(name)?.as_str()
}

fn image(mut block: Map<String, Value>, param: &str) -> Result<Part, Invalid> {
    let url = match source(&block, "type") {
        Some("base64") => {
            let media_type = source(&block, "media_type").unwrap_or("image/png");
            source(&block, "data").map(|data| format!("data:{media_type};base64,{data}"))
        }
        Some("url") => source(&block, "url").map(ToOwned::to_owned),
        Some("file") => return Ok(Part::Other(block)),
        _ => None,
    };
    let Some(url) = url else {
        let reason = "an image is `{type: \"base64\", media_type, data}` or `{type: \"url\", url}`";
        return Err(invalid(&format!("{param}.source"), reason));
    };
    let extra = kept(&mut block, &["cache_control"]);
    Ok(Part::ImageUrl { image_url: json!({ "url": url }), extra })
}

fn document(mut block: Map<String, Value>, param: &str) -> Result<Part, Invalid> {
    let (name, data) = match source(&block, "type") {
        Some("base64") => {
            let media_type = source(&block, "media_type").unwrap_or("application/pdf");
            let data = source(&block, "data");
            ("file_data", data.map(|data| format!("data:{media_type};base64,{data}")))
        }
        Some("text") => {
            let data = source(&block, "data").map(|text| BASE64_STANDARD.encode(text));
            ("file_data", data.map(|data| format!("data:text/plain;base64,{data}")))
        }
        Some("url") => ("file_data", source(&block, "url").map(ToOwned::to_owned)),
        Some("file") => ("file_id", source(&block, "file_id").map(ToOwned::to_owned)),
        Some("content") => return Ok(Part::Other(block)),
        _ => ("file_data", None),
    };
    let Some(data) = data else {
        let reason = "a document comes from `base64`, `text`, `url`, `file` or `content`";
        return Err(invalid(&format!("{param}.source"), reason));
    };
    let mut file = Map::new();
    if let Some(title @ Value::String(_)) = block.shift_remove("title") {
        file.insert("filename".to_owned(), title);
    }
    file.insert(name.to_owned(), data.into());
    let mut part = Map::new();
    part.insert("type".to_owned(), "file".into());
    part.insert("file".to_owned(), Value::Object(file));
    part.extend(kept(&mut block, &["context", "citations", "cache_control"]));
    Ok(Part::Other(part))
}

fn result(mut block: Map<String, Value>, param: &str) -> Result<Message, Invalid> {
    let Some(Value::String(id)) = block.shift_remove("tool_use_id") else {
        let reason = "a result says which call it is of";
        return Err(invalid(&format!("{param}.tool_use_id"), reason));
    };
    let mut parts = Vec::new();
    let param = format!("{param}.content");
    let content = block.shift_remove("content").filter(|content| !content.is_null());
    for (at, inner) in blocks(content.unwrap_or_else(|| "".into()), &param)?.into_iter().enumerate()
    {
        parts.push(part(inner, &format!("{param}[{at}]"))?);
    }
    let mut extra = kept(&mut block, &["is_error", "cache_control"]);
    extra.retain(|_, value| *value != Value::Bool(false));
    Ok(Message {
        content: Some(content_of(parts)),
        tool_call_id: Some(id),
        extra,
        ..Message::empty(Role::Tool)
    })
}

fn assistant(content: Value, param: &str) -> Result<Message, Invalid> {
    let mut message = Message::empty(Role::Assistant);
    let (mut parts, mut thoughts, mut details, mut own) =
        (Vec::new(), String::new(), Vec::new(), Vec::new());
    for (at, mut block) in blocks(content, param)?.into_iter().enumerate() {
        let param = format!("{param}[{at}]");
        match kind(&block) {
            "thinking" | "redacted_thinking" => {
                details.extend(thought(&block, details.len(), &mut thoughts));
            }
            "tool_use" => message.tool_calls.push(call(&mut block, &param)?),
            "text" => parts.push(part(block, &param)?),
            kind if is_own(kind) => own.push(Value::Object(block)),
            kind => {
                return Err(invalid(&param, &format!("there is no block of type `{kind}` here")));
            }
        }
    }
    if !parts.is_empty() {
        message.content = Some(content_of(parts));
    }
    for (name, value) in [
        (reasoning::CONTENT, Value::String(thoughts)),
        (reasoning::DETAILS, Value::Array(details)),
        (OWN_BLOCKS, Value::Array(own)),
    ] {
        if value != json!("") && value != json!([]) {
            message.extra.insert(name.to_owned(), value);
        }
    }
    Ok(message)
}

/// What proves a thought, if anything does. Ours are those that we marked when we handed them out.
fn thought(block: &Map<String, Value>, known: usize, thoughts: &mut String) -> Option<Value> {
    let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or("");
    let index = u32::try_from(known).unwrap_or(u32::MAX);
    thoughts.push_str(text("thinking"));
    if kind(block) == "redacted_thinking" {
        return match text("data").strip_prefix(FOREIGN) {
            Some(detail) => serde_json::from_str(detail).ok(),
            None => Some(reasoning::encrypted(text("data"), reasoning::ANTHROPIC, index)),
        };
    }
    match text("signature") {
        "" | FOREIGN => None,
        signature => {
            Some(reasoning::signed(text("thinking"), signature, reasoning::ANTHROPIC, index))
        }
    }
}

fn call(block: &mut Map<String, Value>, param: &str) -> Result<ToolCall, Invalid> {
    let mut text = |name: &str| match block.shift_remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(invalid(&format!("{param}.{name}"), "a call has an id and the name of a tool")),
    };
    let (id, name) = (text("id")?, text("name")?);
    let arguments = match block.shift_remove("input") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(input) => input.to_string(),
    };
    let extra = kept(block, &["cache_control"]);
    Ok(ToolCall { id, kind: CallKind::Function, name, arguments, extra })
}
