//! From a request to the bytes that Ollama is sent.

use agentry_core::chat::{
    CallKind, ChatRequest, Content, Message, Part, REASONING, ResponseFormat, Role, Stop, ToolCall,
    ToolChoice, ToolDefinition,
};
use agentry_core::model::ModelError;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::messages::data_uri;

/// What would change the answer and cannot be asked for.
const REFUSED: [(&str, &str); 5] = [
    ("logit_bias", "this upstream takes no biases"),
    ("audio", "this upstream does not speak"),
    ("web_search_options", "this upstream searches nothing"),
    ("functions", "use `tools`, which took the place of `functions`"),
    ("function_call", "use `tool_choice`, which took the place of `function_call`"),
];

/// The body of `/api/chat`.
pub fn body(request: &ChatRequest) -> Result<Bytes, ModelError> {
    check(request)?;
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        body.extend(value.map(|value| (name.to_owned(), value)));
    };
    set("model", Some(request.model.as_str().into()));
    let mut messages = Vec::with_capacity(request.messages.len());
    for (at, message) in request.messages.iter().enumerate() {
        let earlier = request.messages.get(..at).unwrap_or_default();
        messages.push(self::message(message, earlier, &format!("messages[{at}]"))?);
    }
    set("messages", Some(messages.into()));
    if !request.tools.is_empty() && request.tool_choice != Some(ToolChoice::None) {
        set("tools", Some(tools(request)?.into()));
    }
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => set("format", Some("json".into())),
        Some(ResponseFormat::JsonSchema { json_schema }) => {
            let Some(schema) = json_schema.get("schema") else {
                return Err(refused("response_format.json_schema.schema", "the schema is missing"));
            };
            set("format", Some(schema.clone()));
        }
        Some(ResponseFormat::Other(_)) => {
            return Err(refused(
                "response_format",
                "this upstream knows text, JSON and JSON Schema",
            ));
        }
    }
    let options = options(request);
    set("options", (!options.is_empty()).then_some(Value::Object(options)));
    set("think", think(request));
    for name in ["keep_alive", "logprobs", "top_logprobs"] {
        set(name, request.extra.get(name).cloned());
    }
    set("stream", Some(request.stream.into()));
    serde_json::to_vec(&body)
        .map(Bytes::from)
        .map_err(|error| ModelError::Internal { reason: error.to_string() })
}

fn check(request: &ChatRequest) -> Result<(), ModelError> {
    if request.n.is_some_and(|n| n > 1) {
        return Err(refused("n", "this upstream gives one choice per request"));
    }
    for (param, reason) in REFUSED {
        if request.extra.get(param).is_some_and(|value| !value.is_null()) {
            return Err(refused(param, reason));
        }
    }
    match &request.tool_choice {
        None | Some(ToolChoice::Auto | ToolChoice::None) => Ok(()),
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Other(_)) => {
            Err(refused("tool_choice", "this upstream cannot be made to call a tool; use `auto`"))
        }
    }
}

fn tools(request: &ChatRequest) -> Result<Vec<Value>, ModelError> {
    let tools = request.tools.iter().enumerate().map(|(at, tool)| match tool {
        ToolDefinition::Function(tool) => {
            let function = &tool.function;
            let parameters = function.parameters.clone();
            Ok(json!({ "type": "function", "function": {
                "name": function.name,
                "description": function.description.as_deref().unwrap_or_default(),
                "parameters": parameters.unwrap_or_else(|| json!({ "type": "object", "properties": {} })),
            } }))
        }
        ToolDefinition::Other(_) => {
            Err(refused(&format!("tools[{at}]"), "this upstream takes functions alone"))
        }
    });
    tools.collect()
}

/// What the caller writes there itself counts more.
fn options(request: &ChatRequest) -> Map<String, Value> {
    let mut options = Map::new();
    let most = request.max_completion_tokens.or(request.max_tokens);
    let stop = request.stop.as_ref().map(|stop| match stop {
        Stop::One(text) => json!([text]),
        Stop::Many(texts) => json!(texts),
    });
    for (name, value) in [
        ("temperature", request.temperature.map(Value::from)),
        ("top_p", request.top_p.map(Value::from)),
        ("top_k", request.extra.get("top_k").cloned()),
        ("min_p", request.extra.get("min_p").cloned()),
        ("num_predict", most.map(Value::from)),
        ("seed", request.seed.map(Value::from)),
        ("stop", stop),
        ("presence_penalty", request.presence_penalty.map(Value::from)),
        ("frequency_penalty", request.frequency_penalty.map(Value::from)),
    ] {
        options.extend(value.map(|value| (name.to_owned(), value)));
    }
    if let Some(Value::Object(own)) = request.extra.get("options") {
        options.extend(own.clone());
    }
    options
}

/// Only some models know how much they may think; the others think or do not.
fn think(request: &ChatRequest) -> Option<Value> {
    if let Some(own) = request.extra.get("think") {
        return Some(own.clone());
    }
    let reasoning = request.extra.get("reasoning");
    let effort = request.extra.get("reasoning_effort");
    let effort = effort.or_else(|| reasoning?.get("effort"))?.as_str()?;
    Some(match effort {
        "none" => false.into(),
        _ if !request.model.contains("gpt-oss") => true.into(),
        "minimal" | "low" => "low".into(),
        "medium" => "medium".into(),
        _ => "high".into(),
    })
}

fn message(message: &Message, earlier: &[Message], param: &str) -> Result<Value, ModelError> {
    let mut fields = Map::new();
    let role = match message.role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    fields.insert("role".to_owned(), role.into());
    fields.insert("content".to_owned(), message.text().into());
    let images = images(message, param)?;
    if !images.is_empty() {
        fields.insert("images".to_owned(), images.into());
    }
    if message.role == Role::Assistant
        && let Some(thought) = REASONING.iter().find_map(|name| message.extra.get(*name)?.as_str())
    {
        fields.insert("thinking".to_owned(), thought.into());
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().enumerate();
        let calls: Vec<Value> = calls
            .map(|(at, call)| self::call(call, &format!("{param}.tool_calls[{at}]")))
            .collect::<Result<_, _>>()?;
        fields.insert("tool_calls".to_owned(), calls.into());
    }
    if let Some(id) = &message.tool_call_id {
        fields.insert("tool_call_id".to_owned(), id.as_str().into());
        let mut calls = earlier.iter().rev().flat_map(|message| &message.tool_calls);
        let name = calls.find(|call| call.id == *id).map(|call| call.name.as_str());
        let name = name.or(message.name.as_deref());
        fields.extend(name.map(|name| ("tool_name".to_owned(), name.into())));
    }
    Ok(Value::Object(fields))
}

fn images(message: &Message, param: &str) -> Result<Vec<Value>, ModelError> {
    let Some(Content::Parts(parts)) = &message.content else { return Ok(Vec::new()) };
    let mut images = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let param = format!("{param}.content[{at}]");
        match part {
            Part::Text { .. } => {}
            Part::ImageUrl { image_url, .. } => {
                let url = image_url.get("url").unwrap_or(image_url).as_str().unwrap_or_default();
                let Some((_, data)) = data_uri(url) else {
                    let reason = "this upstream fetches nothing: send the image as a data URI";
                    return Err(refused(&param, reason));
                };
                images.push(data.into());
            }
            Part::Other(_) => return Err(refused(&param, "this upstream takes text and images")),
        }
    }
    Ok(images)
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
    Ok(json!({ "id": id, "function": { "name": name, "arguments": arguments } }))
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
