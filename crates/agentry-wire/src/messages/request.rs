//! From the body of a caller of Messages to the common request.

use agentry_core::chat::{
    ChatRequest, Invalid, Message, ResponseFormat, Stop, ToolChoice, ToolDefinition,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::thinking;

mod turn;

/// What chat completions have no word for: it stays in `extra` under these names, and means nothing to other vendors.
pub const OWN_FIELDS: [&str; 11] = [
    "thinking",
    "output_config",
    "top_k",
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "inference_geo",
    "mcp_servers",
    "speed",
    "user_profile_id",
];

/// Reads a request, and names the parameter that is wrong.
pub fn request(body: Value) -> Result<ChatRequest, Invalid> {
    let Value::Object(mut fields) = body else {
        return Err(invalid("", "the body must be a JSON object"));
    };
    let model: String = required(&mut fields, "model")?;
    if model.is_empty() {
        return Err(invalid("model", "name a model; GET /v1/models lists them"));
    }
    let messages = messages(&mut fields)?;
    let (tool_choice, parallel_tool_calls) = tool_choice(&mut fields)?;
    let (response_format, effort) = output(&mut fields)?;
    let effort = thinking::effort(fields.get("thinking"), effort.as_deref());
    let mut request = ChatRequest {
        model,
        messages,
        tools: tools(&mut fields)?,
        tool_choice,
        parallel_tool_calls,
        response_format,
        temperature: optional(&mut fields, "temperature")?,
        top_p: optional(&mut fields, "top_p")?,
        max_tokens: Some(required(&mut fields, "max_tokens")?),
        stop: optional::<Vec<String>>(&mut fields, "stop_sequences")?
            .filter(|words| !words.is_empty())
            .map(Stop::Many),
        stream: optional(&mut fields, "stream")?.unwrap_or_default(),
        ..ChatRequest::default()
    };
    if let Some(Value::Object(metadata)) = fields.shift_remove("metadata")
        && let Some(user) = metadata.get("user_id").filter(|user| user.is_string())
    {
        fields.insert("user".to_owned(), user.clone());
    }
    if fields.get("service_tier").and_then(Value::as_str) == Some("standard_only") {
        fields.insert("service_tier".to_owned(), "default".into());
    }
    if let Some(effort) = effort {
        fields.insert("reasoning_effort".to_owned(), effort.into());
    }
    fields.retain(|_, value| !value.is_null());
    request.extra = fields;
    Ok(request)
}

fn messages(fields: &mut Map<String, Value>) -> Result<Vec<Message>, Invalid> {
    let mut messages = Vec::new();
    if let Some(system) = fields.shift_remove("system").filter(|system| !system.is_null()) {
        messages.extend(turn::system(system, "system")?);
    }
    let instructions = messages.len();
    let turns: Vec<Value> = required(fields, "messages")?;
    for (at, value) in turns.into_iter().enumerate() {
        turn::read(value, &format!("messages[{at}]"), &mut messages)?;
    }
    if messages.len() == instructions {
        return Err(invalid("messages", "at least one message is needed"));
    }
    Ok(messages)
}

fn tools(fields: &mut Map<String, Value>) -> Result<Vec<ToolDefinition>, Invalid> {
    let tools: Vec<Value> = optional(fields, "tools")?.unwrap_or_default();
    let read = |(at, tool): (usize, Value)| match tool {
        Value::Object(tool) => tool_definition(tool, &format!("tools[{at}]")),
        _ => Err(invalid(&format!("tools[{at}]"), "a tool is an object")),
    };
    tools.into_iter().enumerate().map(read).collect()
}

fn tool_definition(mut tool: Map<String, Value>, param: &str) -> Result<ToolDefinition, Invalid> {
    if !matches!(tool.get("type").and_then(Value::as_str), None | Some("custom")) {
        // The vendor's own, such as `web_search_20250305`.
        return Ok(ToolDefinition::Other(tool));
    }
    let Some(Value::String(name)) = tool.shift_remove("name") else {
        return Err(invalid(&format!("{param}.name"), "a tool has a name"));
    };
    let Some(schema) = tool.shift_remove("input_schema").filter(Value::is_object) else {
        let reason = "a tool says with a JSON Schema what it takes";
        return Err(invalid(&format!("{param}.input_schema"), reason));
    };
    let mut definition = ToolDefinition::function(&name, "", schema);
    if let ToolDefinition::Function(function) = &mut definition {
        function.function.description = match tool.shift_remove("description") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        for name in ["strict", "cache_control"] {
            if let Some(value) = tool.shift_remove(name).filter(|value| !value.is_null()) {
                function.function.extra.insert(name.to_owned(), value);
            }
        }
    }
    Ok(definition)
}

fn tool_choice(
    fields: &mut Map<String, Value>,
) -> Result<(Option<ToolChoice>, Option<bool>), Invalid> {
    let Some(choice) = optional::<Map<String, Value>>(fields, "tool_choice")? else {
        return Ok((None, None));
    };
    let text = |name: &str| choice.get(name).and_then(Value::as_str);
    let choose = match (text("type"), text("name")) {
        (Some("auto"), _) => ToolChoice::Auto,
        (Some("any"), _) => ToolChoice::Required,
        (Some("none"), _) => ToolChoice::None,
        (Some("tool"), Some(name)) => ToolChoice::Named(name.to_owned()),
        (Some("tool"), None) => {
            return Err(invalid("tool_choice.name", "name the tool that must be called"));
        }
        _ => return Err(invalid("tool_choice.type", "it is `auto`, `any`, `tool` or `none`")),
    };
    let one = choice.get("disable_parallel_tool_use").and_then(Value::as_bool).unwrap_or(false);
    Ok((Some(choose), one.then_some(false)))
}

/// The format of the answer and the effort that it is worth. What else is asked of the output stays.
fn output(
    fields: &mut Map<String, Value>,
) -> Result<(Option<ResponseFormat>, Option<String>), Invalid> {
    let mut config: Map<String, Value> = optional(fields, "output_config")?.unwrap_or_default();
    // The older name.
    let format = config.shift_remove("format").or_else(|| fields.shift_remove("output_format"));
    let effort = config.get("effort").and_then(Value::as_str).map(ToOwned::to_owned);
    config.retain(|_, value| !value.is_null());
    if !config.is_empty() {
        fields.insert("output_config".to_owned(), Value::Object(config));
    }
    let format = match format.filter(|format| !format.is_null()) {
        None => None,
        Some(format) => {
            let kind = format.get("type").and_then(Value::as_str);
            let schema = format.get("schema").filter(|schema| schema.is_object());
            let (Some("json_schema"), Some(schema)) = (kind, schema) else {
                let reason = "it is of type `json_schema` and has an object `schema`";
                return Err(invalid("output_config.format", reason));
            };
            let strict = is_closed(schema);
            let json_schema = json!({ "name": "answer", "schema": schema, "strict": strict });
            Some(ResponseFormat::JsonSchema { json_schema })
        }
    };
    Ok((format, effort))
}

/// Whether every object has all of its fields and no others: elsewhere only such schemas can be followed to the letter.
fn is_closed(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            let properties = fields.get("properties").and_then(Value::as_object);
            let is_object = properties.is_some() || fields.get("type") == Some(&json!("object"));
            let required = fields.get("required").and_then(Value::as_array);
            let demanded = |name: &String| {
                required.is_some_and(|names| names.iter().any(|known| known == name))
            };
            let all = properties.is_none_or(|properties| properties.keys().all(demanded));
            let closed = fields.get("additionalProperties") == Some(&Value::Bool(false));
            (!is_object || (all && closed)) && fields.values().all(is_closed)
        }
        Value::Array(items) => items.iter().all(is_closed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn invalid(param: &str, reason: &str) -> Invalid {
    Invalid { param: param.to_owned(), reason: reason.to_owned() }
}

fn required<T: DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<T, Invalid> {
    optional(fields, name)?.ok_or_else(|| invalid(name, "this parameter is required"))
}

fn optional<T: DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, Invalid> {
    match fields.shift_remove(name).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => {
            serde_json::from_value(value).map_err(|error| invalid(name, &error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests;
