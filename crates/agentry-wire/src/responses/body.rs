//! From a request to the bytes that an upstream is sent which answers Responses alone.

use agentry_core::chat::{
    CallKind, ChatRequest, Content, Message, Part, ResponseFormat, Role, ToolCall, ToolChoice,
    ToolDefinition,
};
use agentry_core::model::ModelError;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::request::object;
use crate::messages::OWN_FIELDS;
use crate::reasoning;

/// What would change the answer and cannot be asked for.
const REFUSED: [(&str, &str); 4] = [
    ("logit_bias", "this upstream takes no biases"),
    ("audio", "this upstream does not speak"),
    ("functions", "use `tools`, which took the place of `functions`"),
    ("function_call", "use `tool_choice`, which took the place of `function_call`"),
];

/// What has another name or place here, or none.
const MOVED: [&str; 8] = [
    "include",
    "logprobs",
    "modalities",
    "prediction",
    "reasoning",
    "reasoning_effort",
    "verbosity",
    "web_search_options",
];

/// Nothing is kept at the upstream unless the caller says so: the conversation is sent whole, with its encrypted thoughts.
pub fn body(request: &ChatRequest) -> Result<Bytes, ModelError> {
    check(request)?;
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        body.extend(value.filter(|value| !value.is_null()).map(|value| (name.to_owned(), value)));
    };
    set("model", Some(request.model.as_str().into()));
    set("input", Some(input(request)?.into()));
    let search = request.extra.get("web_search_options").and_then(Value::as_object);
    let search = search.map(|options| {
        let mut tool = object(json!({ "type": "web_search" }));
        tool.extend(options.clone());
        Value::Object(tool)
    });
    let tools: Vec<Value> = request.tools.iter().map(tool).chain(search).collect();
    set("tools", (!tools.is_empty()).then(|| tools.into()));
    set("tool_choice", request.tool_choice.as_ref().map(tool_choice));
    set("parallel_tool_calls", request.parallel_tool_calls.map(Value::from));
    let most = request.max_completion_tokens.or(request.max_tokens);
    set("max_output_tokens", most.map(Value::from));
    set("temperature", request.temperature.map(Value::from));
    set("top_p", request.top_p.map(Value::from));
    set("frequency_penalty", request.frequency_penalty.map(Value::from));
    set("presence_penalty", request.presence_penalty.map(Value::from));
    set("text", text(request));
    set("reasoning", thinking(request).map(Value::Object));
    let include = include(request);
    set("include", (!include.is_empty()).then(|| include.into()));
    set("store", Some(false.into()));
    set("stream", request.stream.then(|| true.into()));
    for (name, value) in &request.extra {
        if !MOVED.contains(&name.as_str()) && !OWN_FIELDS.contains(&name.as_str()) {
            set(name, Some(value.clone()));
        }
    }
    serde_json::to_vec(&body)
        .map(Bytes::from)
        .map_err(|error| ModelError::Internal { reason: error.to_string() })
}

fn check(request: &ChatRequest) -> Result<(), ModelError> {
    if request.n.is_some_and(|n| n > 1) {
        return Err(refused("n", "this upstream gives one choice per request"));
    }
    if request.stop.is_some() {
        return Err(refused("stop", "this upstream takes no stop sequences"));
    }
    for (param, reason) in REFUSED {
        if request.extra.get(param).is_some_and(|value| !value.is_null()) {
            return Err(refused(param, reason));
        }
    }
    Ok(())
}

fn thinking(request: &ChatRequest) -> Option<Map<String, Value>> {
    let own = request.extra.get("reasoning").and_then(Value::as_object).cloned();
    let effort = request.extra.get("reasoning_effort").filter(|effort| !effort.is_null());
    if own.is_none() && effort.is_none() {
        return None;
    }
    let mut reasoning = own.unwrap_or_default();
    reasoning.extend(effort.map(|effort| ("effort".to_owned(), effort.clone())));
    Some(reasoning)
}

/// Models that do not think refuse to be asked for their encrypted thoughts.
fn include(request: &ChatRequest) -> Vec<Value> {
    let mut include = Vec::new();
    let thought =
        |message: &Message| reasoning::details_of(message, reasoning::OPENAI).next().is_some();
    if thinking(request).is_some() || request.messages.iter().any(thought) {
        include.push("reasoning.encrypted_content".into());
    }
    if request.extra.get("logprobs") == Some(&Value::Bool(true)) {
        include.push("message.output_text.logprobs".into());
    }
    include
}

fn text(request: &ChatRequest) -> Option<Value> {
    let mut text = Map::new();
    let verbosity = request.extra.get("verbosity").filter(|value| !value.is_null());
    text.extend(verbosity.map(|value| ("verbosity".to_owned(), value.clone())));
    let format = match &request.response_format {
        None => None,
        Some(ResponseFormat::Text) => Some(json!({ "type": "text" })),
        Some(ResponseFormat::JsonObject) => Some(json!({ "type": "json_object" })),
        Some(ResponseFormat::JsonSchema { json_schema }) => {
            let mut format = object(json!({ "type": "json_schema", "name": "answer" }));
            format.extend(json_schema.as_object().cloned().unwrap_or_default());
            Some(Value::Object(format))
        }
        Some(ResponseFormat::Other(fields)) => Some(Value::Object(fields.clone())),
    };
    text.extend(format.map(|format| ("format".to_owned(), format)));
    (!text.is_empty()).then_some(Value::Object(text))
}

fn tool(tool: &ToolDefinition) -> Value {
    match tool {
        ToolDefinition::Function(tool) => {
            let function = &tool.function;
            let mut flat = object(json!({
                "type": "function", "name": function.name, "parameters": function.parameters,
                // Its own default is the stricter one.
                "strict": false,
            }));
            flat.extend(
                function.description.as_deref().map(|text| ("description".to_owned(), text.into())),
            );
            flat.extend(function.extra.clone());
            Value::Object(flat)
        }
        ToolDefinition::Other(fields) => {
            let mut flat = flatten(fields);
            if let Some(Value::Object(format)) = flat.get_mut("format")
                && let Some(Value::Object(grammar)) = format.shift_remove("grammar")
            {
                format.extend(grammar);
            }
            Value::Object(flat)
        }
    }
}

/// What chat completions put one level deeper, under the name of the type.
fn flatten(fields: &Map<String, Value>) -> Map<String, Value> {
    let mut flat = fields.clone();
    if let Some(kind) = fields.get("type").and_then(Value::as_str)
        && let Some(Value::Object(inner)) = flat.shift_remove(kind)
    {
        flat.extend(inner);
    }
    flat
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({ "type": "function", "name": name }),
        ToolChoice::Other(fields) => {
            let mut flat = flatten(fields);
            if let Some(Value::Array(tools)) = flat.get_mut("tools") {
                for tool in tools {
                    if let Value::Object(fields) = tool {
                        *fields = flatten(fields);
                    }
                }
            }
            Value::Object(flat)
        }
    }
}

fn input(request: &ChatRequest) -> Result<Vec<Value>, ModelError> {
    let mut items = Vec::with_capacity(request.messages.len());
    for (at, message) in request.messages.iter().enumerate() {
        let param = format!("messages[{at}]");
        let role = match message.role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User => "user",
            Role::Assistant => {
                said(message, &param, &mut items)?;
                continue;
            }
            Role::Tool => {
                let earlier = request.messages.get(..at).unwrap_or_default();
                items.push(answer(message, earlier, &param)?);
                continue;
            }
        };
        items
            .push(json!({ "type": "message", "role": role, "content": content(message, &param)? }));
    }
    Ok(items)
}

/// What an assistant thought, said and called, in this order.
fn said(message: &Message, param: &str, items: &mut Vec<Value>) -> Result<(), ModelError> {
    items.extend(thoughts(message));
    let mut parts = Vec::new();
    let text = message.text();
    if let Some(Content::Parts(all)) = &message.content
        && all.iter().any(|part| !matches!(part, Part::Text { .. }))
    {
        return Err(refused(param, "an assistant's content is text"));
    }
    if !text.is_empty() {
        parts.push(json!({ "type": "output_text", "text": text }));
    }
    if let Some(refusal) = message.refusal.as_deref().filter(|text| !text.is_empty()) {
        parts.push(json!({ "type": "refusal", "refusal": refusal }));
    }
    if !parts.is_empty() {
        items.push(json!({ "type": "message", "role": "assistant", "content": parts }));
    }
    for ToolCall { id, kind, name, arguments, extra: _ } in &message.tool_calls {
        items.push(match kind {
            CallKind::Function => json!({
                "type": "function_call", "call_id": id, "name": name, "arguments": arguments,
            }),
            CallKind::Custom => json!({
                "type": "custom_tool_call", "call_id": id, "name": name, "input": arguments,
            }),
        });
    }
    Ok(())
}

/// Details of one item have its id; an item without its encrypted part means nothing to an upstream that keeps none.
fn thoughts(message: &Message) -> Vec<Value> {
    let mut items: Vec<(&Value, Vec<Value>, Option<&Value>)> = Vec::new();
    for detail in reasoning::details_of(message, reasoning::OPENAI) {
        let id = detail.get("id").unwrap_or(&Value::Null);
        let known = items.iter().position(|(known, _, _)| *known == id);
        let item = match known.and_then(|at| items.get_mut(at)) {
            Some(item) => item,
            None => items.push_mut((id, Vec::new(), None)),
        };
        let (_, summary, data) = item;
        if let Some(text) = detail.get("summary") {
            summary.push(json!({ "type": "summary_text", "text": text }));
        }
        *data = detail.get("data").or(*data);
    }
    let whole = items.into_iter().filter(|(_, _, data)| data.is_some());
    whole
        .map(|(id, summary, data)| {
            let mut item = object(json!({
                "type": "reasoning", "summary": summary, "encrypted_content": data,
            }));
            item.extend(id.is_string().then(|| ("id".to_owned(), id.clone())));
            Value::Object(item)
        })
        .collect()
}

fn answer(message: &Message, earlier: &[Message], param: &str) -> Result<Value, ModelError> {
    let id = message.tool_call_id.as_deref().unwrap_or_default();
    let mut calls = earlier.iter().rev().flat_map(|message| &message.tool_calls);
    let kind = match calls.find(|call| call.id == id).map(|call| call.kind) {
        Some(CallKind::Custom) => "custom_tool_call_output",
        Some(CallKind::Function) | None => "function_call_output",
    };
    Ok(json!({ "type": kind, "call_id": id, "output": content(message, param)? }))
}

fn content(message: &Message, param: &str) -> Result<Value, ModelError> {
    match &message.content {
        None => Ok("".into()),
        Some(Content::Text(text)) => Ok(text.as_str().into()),
        Some(Content::Parts(parts)) => parts
            .iter()
            .enumerate()
            .map(|(at, part)| self::part(part, &format!("{param}.content[{at}]")))
            .collect(),
    }
}

fn part(part: &Part, param: &str) -> Result<Value, ModelError> {
    match part {
        Part::Text { text, .. } => Ok(json!({ "type": "input_text", "text": text })),
        Part::ImageUrl { image_url, .. } => {
            let url = image_url.get("url").unwrap_or(image_url);
            let mut image = object(json!({ "type": "input_image", "image_url": url }));
            let detail = image_url.get("detail");
            image.extend(detail.map(|detail| ("detail".to_owned(), detail.clone())));
            Ok(Value::Object(image))
        }
        Part::Other(fields) => match fields.get("type").and_then(Value::as_str) {
            Some("file") => {
                let mut file = flatten(fields);
                file.insert("type".to_owned(), "input_file".into());
                Ok(Value::Object(file))
            }
            Some("input_audio") => Ok(Value::Object(fields.clone())),
            _ => Err(refused(param, "this upstream takes text, images, files and audio")),
        },
    }
}

fn refused(param: &str, reason: &str) -> ModelError {
    ModelError::Invalid {
        message: reason.to_owned(),
        param: Some(param.to_owned()),
        upstream_code: None,
    }
}

#[cfg(test)]
mod tests;
