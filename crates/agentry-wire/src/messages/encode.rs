//! From a request to the bytes that Anthropic is sent.

use agentry_core::chat::{ChatRequest, ResponseFormat, Stop, ToolChoice, ToolDefinition};
use agentry_core::model::ModelError;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::generation::Generation;
use super::thinking;
use super::turns::{Block, Conversation, Notes, Turn, refused};

/// The vendor's own parameters, sent on as they are.
const OWN: [&str; 9] = [
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "inference_geo",
    "mcp_servers",
    "speed",
    "top_k",
    "user_profile_id",
];

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    output_config: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(flatten)]
    own: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Tool<'a> {
    Function {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: Value,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        strict: bool,
        #[serde(flatten)]
        notes: Notes<'a>,
    },
    Own(&'a Map<String, Value>),
}

/// The vendor demands a bound; `max_tokens` is the one for callers who give none.
pub fn body(request: &ChatRequest, max_tokens: u64) -> Result<Bytes, ModelError> {
    check(request)?;
    let Conversation { mut system, turns } = Conversation::of(request)?;
    let generation = Generation::of(&request.model);
    let mut tools = tools(request)?;
    let mut tool_choice = tool_choice(request, !tools.is_empty())?;
    let mut thinking = thinking::of(request, generation, max_tokens);
    let mut output_config = thinking.output_config(request);
    match &request.response_format {
        Some(ResponseFormat::JsonSchema { json_schema }) if generation.answers_by_tool() => {
            tools.push(Tool::answer(schema_of(json_schema)?));
            tool_choice = Some(answer_choice(request));
            thinking = thinking::none(request, max_tokens);
        }
        Some(ResponseFormat::JsonSchema { json_schema }) => {
            let format = json!({ "type": "json_schema", "schema": schema_of(json_schema)? });
            output_config.insert("format".to_owned(), format);
        }
        Some(ResponseFormat::JsonObject) => {
            system.push(Block::Text { text: ONLY_JSON.into(), notes: Notes::default() });
        }
        Some(ResponseFormat::Text) | None => {}
        Some(ResponseFormat::Other(_)) => {
            return Err(refused(
                "response_format",
                "this upstream knows only text and json_schema",
            ));
        }
    }
    let samples = thinking.allows_sampling(generation);
    let body = Body {
        model: &request.model,
        max_tokens: thinking.max_tokens,
        system,
        messages: turns,
        tools,
        tool_choice,
        temperature: request.temperature.filter(|_| samples).map(|warm| warm.min(1.0)),
        top_p: request.top_p.filter(|_| samples),
        stop_sequences: stop_sequences(request),
        metadata: user(request).map(|user| json!({ "user_id": user })),
        service_tier: service_tier(request),
        stream: request.stream,
        own: own(request, samples),
        output_config,
        thinking: thinking.asked,
    };
    serde_json::to_vec(&body)
        .map(Bytes::from)
        .map_err(|error| ModelError::Internal { reason: error.to_string() })
}

/// There is no mode for it; the model is told.
pub(crate) const ONLY_JSON: &str = "Answer with one JSON object and nothing else.";

/// What would change the answer and cannot be asked for.
pub(crate) fn check(request: &ChatRequest) -> Result<(), ModelError> {
    if request.n.is_some_and(|n| n > 1) {
        return Err(refused("n", "this upstream gives one choice per request"));
    }
    let asked = |name: &str| request.extra.get(name).filter(|value| !is_nothing(value));
    for (param, reason) in [
        ("logprobs", "this upstream does not tell probabilities"),
        ("top_logprobs", "this upstream does not tell probabilities"),
        ("logit_bias", "this upstream takes no biases"),
        ("audio", "this upstream does not speak"),
        ("functions", "use `tools`, which took the place of `functions`"),
        ("function_call", "use `tool_choice`, which took the place of `function_call`"),
        ("web_search_options", "this upstream searches with a tool of its own"),
    ] {
        if asked(param).is_some() {
            return Err(refused(param, reason));
        }
    }
    let modalities = asked("modalities").and_then(Value::as_array);
    if modalities.is_some_and(|kinds| kinds.iter().any(|kind| kind != "text")) {
        return Err(refused("modalities", "this upstream answers with text only"));
    }
    Ok(())
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::String(_) => false,
    }
}

pub(crate) fn stop_sequences(request: &ChatRequest) -> Vec<&str> {
    match &request.stop {
        None => Vec::new(),
        Some(Stop::One(word)) => vec![word],
        Some(Stop::Many(words)) => words.iter().map(String::as_str).collect(),
    }
}

/// For whom the call is: the vendor takes an opaque name.
fn user(request: &ChatRequest) -> Option<&str> {
    let metadata = request.extra.get("metadata").and_then(|fields| fields.get("user_id"));
    let named = ["user", "safety_identifier"].into_iter().find_map(|name| request.extra.get(name));
    metadata.or(named).and_then(Value::as_str).filter(|user| !user.is_empty())
}

fn service_tier(request: &ChatRequest) -> Option<&str> {
    match request.extra.get("service_tier").and_then(Value::as_str)? {
        "auto" => Some("auto"),
        "default" | "standard_only" => Some("standard_only"),
        // A wish that this vendor does not sell.
        _ => None,
    }
}

fn own(request: &ChatRequest, samples: bool) -> Map<String, Value> {
    let given = OWN.into_iter().filter(|name| samples || *name != "top_k");
    given
        .filter_map(|name| Some((name.to_owned(), request.extra.get(name)?.clone())))
        .filter(|(_, value)| !value.is_null())
        .collect()
}

/// The schema out of chat completions' wrapping.
pub(crate) fn schema_of(json_schema: &Value) -> Result<&Value, ModelError> {
    let schema = json_schema.get("schema").filter(|schema| schema.is_object());
    schema.ok_or_else(|| refused("response_format", "`json_schema.schema` must be an object"))
}

/// Older models follow no schema but that of a tool: this one takes the answer, and what it is called with is the text.
pub(crate) const ANSWER_TOOL: &str = "agentry_answer";
pub(crate) const ANSWER_TOOL_IS_FOR: &str = "Call this with your answer to the user.";

/// Whether other tools may be called instead of giving the answer.
pub(crate) fn has_other_choice(request: &ChatRequest) -> bool {
    !request.tools.is_empty() && request.tool_choice != Some(ToolChoice::None)
}

fn answer_choice(request: &ChatRequest) -> Value {
    match &request.tool_choice {
        Some(ToolChoice::Named(name)) => json!({ "type": "tool", "name": name }),
        _ if has_other_choice(request) => json!({ "type": "any" }),
        _ => json!({ "type": "tool", "name": ANSWER_TOOL }),
    }
}

impl<'a> Tool<'a> {
    fn answer(schema: &Value) -> Self {
        Self::Function {
            name: ANSWER_TOOL,
            description: Some(ANSWER_TOOL_IS_FOR),
            input_schema: schema.clone(),
            strict: false,
            notes: Notes::default(),
        }
    }
}

fn tools(request: &ChatRequest) -> Result<Vec<Tool<'_>>, ModelError> {
    let mut tools = Vec::with_capacity(request.tools.len());
    for (at, tool) in request.tools.iter().enumerate() {
        tools.push(match tool {
            ToolDefinition::Function(tool) => {
                let function = &tool.function;
                let notes = Notes::new(&function.extra);
                let outer = Notes::new(&tool.extra);
                Tool::Function {
                    name: &function.name,
                    description: function.description.as_deref(),
                    input_schema: schema(function.parameters.as_ref()),
                    strict: function.extra.get("strict").and_then(Value::as_bool).unwrap_or(false),
                    notes: Notes {
                        cache_control: notes.cache_control.or(outer.cache_control),
                        ..Notes::default()
                    },
                }
            }
            // The vendor's own have their name beside their type.
            ToolDefinition::Other(fields) if fields.contains_key("name") => Tool::Own(fields),
            ToolDefinition::Other(fields) if is_toolset(fields) => Tool::Own(fields),
            ToolDefinition::Other(fields) => {
                let kind = fields.get("type").and_then(Value::as_str).unwrap_or("unknown");
                let message = format!("this upstream has no tools of type `{kind}`");
                return Err(refused(&format!("tools[{at}]"), message));
            }
        });
    }
    Ok(tools)
}

fn is_toolset(fields: &Map<String, Value>) -> bool {
    fields.get("type").and_then(Value::as_str).is_some_and(|kind| kind.contains("toolset"))
}

/// The vendor demands an object's schema, also of functions that take nothing.
pub(crate) fn schema(parameters: Option<&Value>) -> Value {
    match parameters {
        Some(Value::Object(fields)) if fields.contains_key("type") => Value::Object(fields.clone()),
        Some(Value::Object(fields)) if !fields.is_empty() => {
            let mut fields = fields.clone();
            fields.insert("type".to_owned(), "object".into());
            Value::Object(fields)
        }
        _ => json!({ "type": "object", "properties": {} }),
    }
}

fn tool_choice(request: &ChatRequest, has_tools: bool) -> Result<Option<Value>, ModelError> {
    let one_at_a_time = request.parallel_tool_calls == Some(false);
    let mut choice = match &request.tool_choice {
        None if !one_at_a_time => return Ok(None),
        None | Some(ToolChoice::Auto) => json!({ "type": "auto" }),
        Some(ToolChoice::None) => json!({ "type": "none" }),
        Some(ToolChoice::Required) => json!({ "type": "any" }),
        Some(ToolChoice::Named(name)) => json!({ "type": "tool", "name": name }),
        Some(ToolChoice::Other(fields)) => {
            let kind = fields.get("type").and_then(Value::as_str).unwrap_or("unknown");
            let message = format!("this upstream has no choice of type `{kind}`");
            return Err(refused("tool_choice", message));
        }
    };
    if !has_tools {
        // Where there is nothing to choose from, the vendor refuses a choice that demands nothing.
        let demands =
            !matches!(request.tool_choice, None | Some(ToolChoice::Auto | ToolChoice::None));
        return Ok(demands.then_some(choice));
    }
    if one_at_a_time
        && request.tool_choice != Some(ToolChoice::None)
        && let Value::Object(fields) = &mut choice
    {
        fields.insert("disable_parallel_tool_use".to_owned(), true.into());
    }
    Ok(Some(choice))
}

#[cfg(test)]
mod tests;
