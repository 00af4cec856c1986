//! From the body of a request to the words that all dialects share.

use agentry_core::chat::{
    ChatRequest, Function, Invalid, Message, ResponseFormat, ToolChoice, ToolDefinition,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::items;

/// What needs a response that somebody has kept.
const STATE: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

/// What chat completions have no word for.
const DROPPED: [&str; 9] = [
    "background",
    "context_management",
    "include",
    "max_tool_calls",
    "metadata",
    "moderation",
    "store",
    "stream_options",
    "truncation",
];

/// Reads a request body that is already JSON, and names the parameter that is wrong.
pub fn request(body: Value) -> Result<ChatRequest, Invalid> {
    let Value::Object(mut fields) = body else {
        return Err(invalid("", "the body must be a JSON object"));
    };
    refuse_state(&mut fields)?;
    let model: String = take(&mut fields, "model")?.unwrap_or_default();
    if model.is_empty() {
        return Err(invalid("model", "name a model; GET /v1/models lists them"));
    }
    let mut extra = Map::new();
    logprobs(&mut fields, &mut extra)?;
    let mut request = ChatRequest {
        model,
        messages: messages(&mut fields)?,
        tools: tools(&mut fields)?,
        tool_choice: fields.shift_remove("tool_choice").map(tool_choice).transpose()?.flatten(),
        parallel_tool_calls: take(&mut fields, "parallel_tool_calls")?,
        response_format: response_format(&mut fields, &mut extra)?,
        temperature: take(&mut fields, "temperature")?,
        top_p: take(&mut fields, "top_p")?,
        frequency_penalty: take(&mut fields, "frequency_penalty")?,
        presence_penalty: take(&mut fields, "presence_penalty")?,
        max_completion_tokens: take(&mut fields, "max_output_tokens")?,
        seed: take(&mut fields, "seed")?,
        stop: take(&mut fields, "stop")?,
        stream: take(&mut fields, "stream")?.unwrap_or_default(),
        ..ChatRequest::default()
    };
    if let Some(mut reasoning) = take::<Map<String, Value>>(&mut fields, "reasoning")? {
        move_to(&mut extra, "reasoning_effort", reasoning.shift_remove("effort"));
    }
    fields.retain(|name, value| !value.is_null() && !DROPPED.contains(&name.as_str()));
    extra.extend(fields);
    request.extra = extra;
    Ok(request)
}

fn refuse_state(fields: &mut Map<String, Value>) -> Result<(), Invalid> {
    for param in STATE {
        if fields.get(param).is_some_and(|value| !value.is_null()) {
            let reason = "responses are not kept here: send the whole conversation in `input`";
            return Err(invalid(param, reason));
        }
    }
    if take(fields, "background")? == Some(true) {
        let reason = "an answer in the background would have to be kept; leave it out, or stream";
        return Err(invalid("background", reason));
    }
    Ok(())
}

fn messages(fields: &mut Map<String, Value>) -> Result<Vec<Message>, Invalid> {
    let instructions = take::<String>(fields, "instructions")?.filter(|text| !text.is_empty());
    let mut messages: Vec<Message> = instructions.map(Message::system).into_iter().collect();
    match fields.shift_remove("input") {
        Some(Value::String(text)) => messages.push(Message::user(text)),
        Some(Value::Array(items)) => items::read(items, &mut messages)?,
        Some(Value::Null) | None => {}
        Some(_) => return Err(invalid("input", "input is a string or an array of items")),
    }
    if messages.is_empty() {
        return Err(invalid("input", "at least one item is needed"));
    }
    Ok(messages)
}

fn logprobs(
    fields: &mut Map<String, Value>,
    extra: &mut Map<String, Value>,
) -> Result<(), Invalid> {
    let asked = match fields.get("include") {
        Some(Value::Array(names)) => names.contains(&"message.output_text.logprobs".into()),
        Some(Value::Null) | None => false,
        Some(_) => return Err(invalid("include", "this must be an array")),
    };
    let top = take::<u32>(fields, "top_logprobs")?.filter(|top| *top > 0);
    if asked || top.is_some() {
        extra.insert("logprobs".to_owned(), true.into());
    }
    move_to(extra, "top_logprobs", top.map(Value::from));
    Ok(())
}

/// `text` holds the format of the answer and how verbose it shall be.
fn response_format(
    fields: &mut Map<String, Value>,
    extra: &mut Map<String, Value>,
) -> Result<Option<ResponseFormat>, Invalid> {
    let Some(mut text) = take::<Map<String, Value>>(fields, "text")? else { return Ok(None) };
    move_to(extra, "verbosity", text.shift_remove("verbosity"));
    let Some(format) = text.shift_remove("format").filter(|format| !format.is_null()) else {
        return Ok(None);
    };
    let Value::Object(mut format) = format else {
        return Err(invalid("text.format", "this must be an object"));
    };
    format.retain(|_, value| !value.is_null());
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(ResponseFormat::JsonObject)),
        Some("json_schema") => {
            format.shift_remove("type");
            if !format.contains_key("schema") {
                return Err(invalid("text.format.schema", "a json_schema needs its schema"));
            }
            Ok(Some(ResponseFormat::JsonSchema { json_schema: Value::Object(format) }))
        }
        _ => {
            let reason = "the type is `text`, `json_object` or `json_schema`";
            Err(invalid("text.format.type", reason))
        }
    }
}

fn tools(fields: &mut Map<String, Value>) -> Result<Vec<ToolDefinition>, Invalid> {
    let tools: Vec<Map<String, Value>> = take(fields, "tools")?.unwrap_or_default();
    tools.into_iter().enumerate().map(|(at, tool)| self::tool(tool, at)).collect()
}

fn tool(mut tool: Map<String, Value>, at: usize) -> Result<ToolDefinition, Invalid> {
    tool.retain(|_, value| !value.is_null());
    match tool.get("type").and_then(Value::as_str) {
        Some("function") => {
            let function = Function {
                name: name(&mut tool, at)?,
                description: text(tool.shift_remove("description")),
                parameters: tool.shift_remove("parameters"),
                extra: tool
                    .shift_remove("strict")
                    .map(|on| ("strict".to_owned(), on))
                    .into_iter()
                    .collect(),
            };
            let mut definition = ToolDefinition::function("", "", Value::Null);
            if let ToolDefinition::Function(tool) = &mut definition {
                tool.function = function;
            }
            Ok(definition)
        }
        Some("custom") => {
            let mut custom = Map::new();
            custom.insert("name".to_owned(), name(&mut tool, at)?.into());
            move_to(&mut custom, "description", tool.shift_remove("description"));
            move_to(&mut custom, "format", tool.shift_remove("format").map(grammar));
            Ok(ToolDefinition::Other(object(json!({ "type": "custom", "custom": custom }))))
        }
        Some(_) => Ok(ToolDefinition::Other(tool)),
        None => Err(invalid(&format!("tools[{at}].type"), "a tool says of what type it is")),
    }
}

/// Chat completions put what describes a grammar one level deeper.
fn grammar(format: Value) -> Value {
    if format.get("type").and_then(Value::as_str) != Some("grammar") {
        return format;
    }
    json!({
        "type": "grammar",
        "grammar": { "definition": format.get("definition"), "syntax": format.get("syntax") },
    })
}

fn tool_choice(choice: Value) -> Result<Option<ToolChoice>, Invalid> {
    let Value::Object(fields) = choice else {
        return match choice.as_str() {
            _ if choice.is_null() => Ok(None),
            Some("auto") => Ok(Some(ToolChoice::Auto)),
            Some("none") => Ok(Some(ToolChoice::None)),
            Some("required") => Ok(Some(ToolChoice::Required)),
            _ => {
                let reason = "tool_choice is `auto`, `none`, `required` or an object";
                Err(invalid("tool_choice", reason))
            }
        };
    };
    let name = fields.get("name").and_then(Value::as_str);
    Ok(Some(match (fields.get("type").and_then(Value::as_str), name) {
        (Some("function"), Some(name)) => ToolChoice::Named(name.to_owned()),
        (Some("custom"), Some(name)) => {
            ToolChoice::Other(object(json!({ "type": "custom", "custom": { "name": name } })))
        }
        (Some("allowed_tools"), _) => {
            let tools: Vec<Value> = fields
                .get("tools")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(allowed)
                .collect();
            let mode = fields.get("mode");
            ToolChoice::Other(object(json!({
                "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": tools },
            })))
        }
        _ => ToolChoice::Other(fields),
    }))
}

fn allowed(tool: &Value) -> Value {
    match (tool.get("type").and_then(Value::as_str), tool.get("name")) {
        (Some(kind @ ("function" | "custom")), Some(name)) => {
            let mut nested = Map::new();
            nested.insert("type".to_owned(), kind.into());
            nested.insert(kind.to_owned(), json!({ "name": name }));
            Value::Object(nested)
        }
        _ => tool.clone(),
    }
}

fn name(tool: &mut Map<String, Value>, at: usize) -> Result<String, Invalid> {
    text(tool.shift_remove("name"))
        .filter(|name| !name.is_empty())
        .ok_or_else(|| invalid(&format!("tools[{at}].name"), "a tool needs a name"))
}

pub(super) fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

fn move_to(to: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    to.extend(value.filter(|value| !value.is_null()).map(|value| (name.to_owned(), value)));
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

pub(super) fn invalid(param: &str, reason: &str) -> Invalid {
    Invalid { param: param.to_owned(), reason: reason.to_owned() }
}

fn take<T: DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, Invalid> {
    match fields.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|error| invalid(name, &error.to_string())),
    }
}

#[cfg(test)]
mod tests;
