//! From the turns of a conversation to Gemini's contents.

use agentry_core::chat::{CallKind, ChatRequest, Content, Message, Part, Role, ToolCall};
use agentry_core::model::ModelError;
use serde_json::{Map, Value, json};

use crate::messages::data_uri;
use crate::reasoning;

/// Gemini's own word for a call that no model of its own has signed.
const UNSIGNED: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

#[derive(Debug, Default)]
pub(super) struct Turns {
    pub(super) system: Vec<Value>,
    pub(super) contents: Vec<Value>,
}

pub(super) fn refused(param: &str, reason: &str) -> ModelError {
    ModelError::Invalid {
        message: reason.to_owned(),
        param: Some(param.to_owned()),
        upstream_code: None,
    }
}

impl Turns {
    pub(super) fn of(request: &ChatRequest) -> Result<Self, ModelError> {
        let mut turns = Self::default();
        // The answers to calls, as long as nothing else is said.
        let mut answers = Vec::new();
        for (at, message) in request.messages.iter().enumerate() {
            let param = format!("messages[{at}]");
            if message.role != Role::Tool && !answers.is_empty() {
                turns.say("user", std::mem::take(&mut answers));
            }
            match message.role {
                Role::System | Role::Developer => turns.system.extend(parts(message, &param)?),
                Role::User => turns.say("user", parts(message, &param)?),
                Role::Assistant => turns.say("model", assistant(message, &param)?),
                Role::Tool => {
                    let earlier = request.messages.get(..at).unwrap_or_default();
                    answers.push(answer(message, earlier, &param)?);
                    // What is no text stands beside the answer.
                    let beside = parts(message, &param)?.into_iter();
                    answers.extend(beside.filter(|part| part.get("text").is_none()));
                }
            }
        }
        if !answers.is_empty() {
            turns.say("user", answers);
        }
        if turns.contents.is_empty() {
            let reason = "this upstream needs at least one message of a user";
            return Err(refused("messages", reason));
        }
        Ok(turns)
    }

    fn say(&mut self, role: &str, parts: Vec<Value>) {
        if !parts.is_empty() {
            self.contents.push(json!({ "role": role, "parts": parts }));
        }
    }
}

/// Its signatures go back to where they came from.
fn assistant(message: &Message, param: &str) -> Result<Vec<Value>, ModelError> {
    let mut parts = parts(message, param)?;
    if let Some(refusal) = message.refusal.as_deref().filter(|text| !text.is_empty()) {
        parts.push(json!({ "text": refusal }));
    }
    let said = parts.len();
    for (at, call) in message.tool_calls.iter().enumerate() {
        parts.push(self::call(call, &format!("{param}.tool_calls[{at}]"))?);
    }
    let details = reasoning::details_of(message, reasoning::GEMINI);
    for detail in details {
        let Some(data) = detail.get("data").and_then(Value::as_str) else { continue };
        let id = detail.get("id").and_then(Value::as_str);
        let at = match id {
            Some(id) => {
                message.tool_calls.iter().position(|call| call.id == id).map(|at| said + at)
            }
            None => said.checked_sub(1),
        };
        if let Some(part) = at.and_then(|at| parts.get_mut(at)) {
            sign(part, data);
        }
    }
    // Of calls that were made at once only the first is signed.
    if let Some(first) = parts.get_mut(said)
        && first.get("thoughtSignature").is_none()
    {
        sign(first, UNSIGNED);
    }
    Ok(parts)
}

fn sign(part: &mut Value, signature: &str) {
    if let Value::Object(fields) = part {
        fields.insert("thoughtSignature".to_owned(), signature.into());
    }
}

fn call(call: &ToolCall, param: &str) -> Result<Value, ModelError> {
    let ToolCall { id, kind, name, arguments, extra: _ } = call;
    if *kind == CallKind::Custom {
        return Err(refused(param, "this upstream has no tools that take free text"));
    }
    let arguments = match arguments.trim() {
        "" => json!({}),
        text => serde_json::from_str(text).ok().filter(Value::is_object).ok_or_else(|| {
            refused(&format!("{param}.function.arguments"), "this is no JSON object")
        })?,
    };
    Ok(json!({ "functionCall": { "id": id, "name": name, "args": arguments } }))
}

/// An answer says of which function it is: the call that it answers knows.
fn answer(message: &Message, earlier: &[Message], param: &str) -> Result<Value, ModelError> {
    let id = message.tool_call_id.as_deref().unwrap_or_default();
    let mut calls = earlier.iter().rev().flat_map(|message| &message.tool_calls);
    let name = calls.find(|call| call.id == id).map(|call| call.name.as_str());
    let Some(name) = name.or(message.name.as_deref()) else {
        let reason = format!("no earlier message has a call `{id}` that this could answer");
        return Err(refused(&format!("{param}.tool_call_id"), &reason));
    };
    let text = message.text();
    let response = match serde_json::from_str(&text) {
        Ok(Value::Object(fields)) => Value::Object(fields),
        Ok(_) | Err(_) => json!({ "result": text }),
    };
    Ok(json!({ "functionResponse": { "id": id, "name": name, "response": response } }))
}

fn parts(message: &Message, param: &str) -> Result<Vec<Value>, ModelError> {
    match &message.content {
        None => Ok(Vec::new()),
        Some(Content::Text(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Content::Text(text)) => Ok(vec![json!({ "text": text })]),
        Some(Content::Parts(parts)) => parts
            .iter()
            .enumerate()
            .map(|(at, part)| self::part(part, &format!("{param}.content[{at}]")))
            .collect(),
    }
}

fn part(part: &Part, param: &str) -> Result<Value, ModelError> {
    match part {
        Part::Text { text, .. } => Ok(json!({ "text": text })),
        Part::ImageUrl { image_url, .. } => {
            let url = image_url.get("url").unwrap_or(image_url).as_str();
            blob(url.unwrap_or_default(), None, param)
        }
        Part::Other(fields) => other(fields, param),
    }
}

fn other(fields: &Map<String, Value>, param: &str) -> Result<Value, ModelError> {
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let inner = fields.get(kind).unwrap_or(&Value::Null);
    let text = |name: &str| inner.get(name).and_then(Value::as_str);
    match kind {
        "file" => {
            let uri = text("file_data").or_else(|| text("file_url")).or_else(|| text("file_id"));
            blob(uri.unwrap_or_default(), text("filename"), param)
        }
        "video_url" => blob(text("url").unwrap_or_default(), None, param),
        "input_audio" => match (text("data"), text("format")) {
            (Some(data), Some(format)) => Ok(json!({
                "inlineData": { "mimeType": format!("audio/{format}"), "data": data },
            })),
            _ => Err(refused(param, "audio needs `data` and `format`")),
        },
        "refusal" => Ok(json!({ "text": fields.get("refusal") })),
        _ => Err(refused(param, &format!("this upstream takes no part of type `{kind}`"))),
    }
}

/// Data as it is, or where it can be fetched from.
fn blob(uri: &str, name: Option<&str>, param: &str) -> Result<Value, ModelError> {
    if let Some((media_type, data)) = data_uri(uri) {
        return Ok(json!({ "inlineData": { "mimeType": media_type, "data": data } }));
    }
    if !uri.starts_with("https://") && !uri.starts_with("gs://") && !uri.starts_with("files/") {
        let reason = "write a data URI like data:image/png;base64,…, or an https URL";
        return Err(refused(param, reason));
    }
    let mut file = Map::new();
    file.insert("fileUri".to_owned(), uri.into());
    let path = uri.split(['?', '#']).next().unwrap_or(uri);
    if let Some(media_type) = media_type(name.unwrap_or(path)) {
        file.insert("mimeType".to_owned(), media_type.into());
    }
    Ok(json!({ "fileData": file }))
}

fn media_type(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain",
        "csv" => "text/csv",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        _ => return None,
    })
}
