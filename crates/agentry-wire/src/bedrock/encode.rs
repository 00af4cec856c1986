//! From a request to the bytes and the path that Bedrock is sent.

use agentry_core::chat::{ChatRequest, ResponseFormat, ToolChoice, ToolDefinition};
use agentry_core::model::ModelError;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::sigv4::encoded;
use crate::messages::{
    ANSWER_TOOL, ANSWER_TOOL_IS_FOR, Block, Conversation, Generation, Notes, ONLY_JSON, check,
    has_other_choice, no_thinking, refused, schema, schema_of, stop_sequences, thinking_of,
};

mod piece;

use piece::{Piece, Turn};

/// Converse's own parameters, sent on as they are.
const OWN: [&str; 5] = [
    "guardrailConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "additionalModelResponseFieldPaths",
];
/// For thoughts without a bound of their own.
const MAX_TOKENS: u64 = 4_096;

/// Where the request goes: models' names have colons, and some are ARNs with slashes.
#[must_use]
pub fn path(model: &str, stream: bool) -> String {
    let verb = if stream { "converse-stream" } else { "converse" };
    format!("/model/{}/{verb}", encoded(model))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Piece<'a>>,
    inference_config: Inference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    output_config: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    additional_model_request_fields: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<Value>,
    #[serde(flatten)]
    own: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inference<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
}

pub fn body(request: &ChatRequest) -> Result<Bytes, ModelError> {
    check(request)?;
    let Conversation { mut system, turns } = Conversation::of(request)?;
    let mut output_config = Map::new();
    let mut answer = None;
    match &request.response_format {
        Some(ResponseFormat::JsonSchema { json_schema }) if answers_by_tool(&request.model) => {
            answer = Some(schema_of(json_schema)?);
        }
        Some(ResponseFormat::JsonSchema { json_schema }) => {
            output_config.insert("textFormat".to_owned(), format(json_schema)?);
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
    let has_calls = turns.iter().any(|turn| {
        let mut blocks = turn.content.iter();
        blocks.any(|block| matches!(block, Block::ToolUse { .. } | Block::ToolResult { .. }))
    });
    let extras = Extras::of(request);
    output_config.extend(extras.output_config);
    let body = Body {
        messages: turns.into_iter().map(Turn::of).collect::<Result<_, _>>()?,
        system: piece::all(system)?,
        inference_config: Inference {
            max_tokens: extras.max_tokens,
            temperature: request.temperature.filter(|_| extras.samples).map(|warm| warm.min(1.0)),
            top_p: request.top_p.filter(|_| extras.samples),
            stop_sequences: stop_sequences(request),
        },
        tool_config: match answer {
            Some(schema) => Some(answer_config(request, schema)?),
            None => tool_config(request, has_calls)?,
        },
        output_config,
        additional_model_request_fields: extras.fields,
        service_tier: service_tier(request),
        own: OWN
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), request.extra.get(name)?.clone())))
            .collect(),
    };
    serde_json::to_vec(&body)
        .map(Bytes::from)
        .map_err(|error| ModelError::Internal { reason: error.to_string() })
}

/// What only some models take.
struct Extras {
    fields: Map<String, Value>,
    output_config: Map<String, Value>,
    max_tokens: Option<u64>,
    samples: bool,
}

impl Extras {
    fn of(request: &ChatRequest) -> Self {
        let given = request.extra.get("additionalModelRequestFields").and_then(Value::as_object);
        let mut fields = given.cloned().unwrap_or_default();
        let mut output_config = Map::new();
        let mut max_tokens = request.max_completion_tokens.or(request.max_tokens);
        let mut samples = true;
        if request.model.contains("claude") {
            let generation = Generation::of(&request.model);
            let has_schema =
                matches!(request.response_format, Some(ResponseFormat::JsonSchema { .. }));
            let thinking = if has_schema && generation.answers_by_tool() {
                no_thinking(request, MAX_TOKENS)
            } else {
                thinking_of(request, generation, MAX_TOKENS)
            };
            samples = thinking.allows_sampling(generation);
            output_config = thinking.output_config(request);
            if let Some(asked) = thinking.asked {
                max_tokens = Some(thinking.max_tokens);
                fields.entry("thinking").or_insert(asked);
            }
            if let Some(top_k) = request.extra.get("top_k").filter(|_| samples) {
                fields.entry("top_k").or_insert_with(|| top_k.clone());
            }
            if let Some(choice) = one_at_a_time(request) {
                fields.entry("tool_choice").or_insert(choice);
            }
        } else if request.model.contains("gpt-oss")
            && let Some(effort) = request.extra.get("reasoning_effort")
        {
            fields.entry("reasoning_effort").or_insert_with(|| effort.clone());
        }
        Self { fields, output_config, max_tokens, samples }
    }
}

/// Anthropic's own words, for Converse has none.
fn one_at_a_time(request: &ChatRequest) -> Option<Value> {
    if request.parallel_tool_calls != Some(false) || request.tools.is_empty() {
        return None;
    }
    let mut choice = match &request.tool_choice {
        None | Some(ToolChoice::Auto) => json!({ "type": "auto" }),
        Some(ToolChoice::Required) => json!({ "type": "any" }),
        Some(ToolChoice::Named(name)) => json!({ "type": "tool", "name": name }),
        Some(ToolChoice::None | ToolChoice::Other(_)) => return None,
    };
    if let Value::Object(fields) = &mut choice {
        fields.insert("disable_parallel_tool_use".to_owned(), true.into());
    }
    Some(choice)
}

/// Models that follow no schema but that of a tool.
fn answers_by_tool(model: &str) -> bool {
    model.contains("amazon.nova") || Generation::of(model).answers_by_tool()
}

/// The tools, and the one that takes the answer.
fn answer_config(request: &ChatRequest, schema: &Value) -> Result<Value, ModelError> {
    let mut tools = Vec::new();
    for (at, tool) in request.tools.iter().enumerate() {
        tool_spec(tool, &format!("tools[{at}]"), &mut tools)?;
    }
    tools.push(json!({ "toolSpec": {
        "name": ANSWER_TOOL, "description": ANSWER_TOOL_IS_FOR, "inputSchema": { "json": schema },
    } }));
    let choice = match &request.tool_choice {
        Some(ToolChoice::Named(name)) => json!({ "tool": { "name": name } }),
        _ if has_other_choice(request) => json!({ "any": {} }),
        _ => json!({ "tool": { "name": ANSWER_TOOL } }),
    };
    Ok(json!({ "tools": tools, "toolChoice": choice }))
}

/// The schema goes as a text.
fn format(json_schema: &Value) -> Result<Value, ModelError> {
    let schema = schema_of(json_schema)?;
    let mut definition = Map::new();
    definition.insert("schema".to_owned(), schema.to_string().into());
    for name in ["name", "description"] {
        if let Some(text) = json_schema.get(name).filter(|text| text.is_string()) {
            definition.insert(name.to_owned(), text.clone());
        }
    }
    Ok(json!({ "type": "json_schema", "structure": { "jsonSchema": definition } }))
}

fn service_tier(request: &ChatRequest) -> Option<Value> {
    match request.extra.get("service_tier").and_then(Value::as_str)? {
        tier @ ("default" | "priority" | "flex" | "reserved") => Some(json!({ "type": tier })),
        _ => None,
    }
}

fn tool_config(request: &ChatRequest, has_calls: bool) -> Result<Option<Value>, ModelError> {
    if request.tools.is_empty() {
        return Ok(None);
    }
    let choice = match &request.tool_choice {
        // Said in Anthropic's own words instead.
        _ if request.model.contains("claude") && one_at_a_time(request).is_some() => None,
        None | Some(ToolChoice::Auto) => None,
        Some(ToolChoice::None) if has_calls => {
            let message = "this upstream cannot be kept from calling tools once one was called";
            return Err(refused("tool_choice", message));
        }
        // Without tools, none is called.
        Some(ToolChoice::None) => return Ok(None),
        Some(ToolChoice::Required) => Some(json!({ "any": {} })),
        Some(ToolChoice::Named(name)) => Some(json!({ "tool": { "name": name } })),
        Some(ToolChoice::Other(_)) => {
            return Err(refused("tool_choice", "this upstream has no such choice"));
        }
    };
    let mut tools = Vec::with_capacity(request.tools.len());
    for (at, tool) in request.tools.iter().enumerate() {
        tool_spec(tool, &format!("tools[{at}]"), &mut tools)?;
    }
    let mut config = Map::new();
    config.insert("tools".to_owned(), Value::Array(tools));
    config.extend(choice.map(|choice| ("toolChoice".to_owned(), choice)));
    Ok(Some(Value::Object(config)))
}

fn tool_spec(tool: &ToolDefinition, param: &str, tools: &mut Vec<Value>) -> Result<(), ModelError> {
    let tool = match tool {
        ToolDefinition::Function(tool) => tool,
        ToolDefinition::Other(_) => {
            return Err(refused(param, "this upstream takes only functions"));
        }
    };
    let function = &tool.function;
    let mut spec = json!({
        "name": function.name,
        "inputSchema": { "json": schema(function.parameters.as_ref()) },
    });
    if let Value::Object(fields) = &mut spec {
        if let Some(description) = function.description.as_ref().filter(|text| !text.is_empty()) {
            fields.insert("description".to_owned(), description.as_str().into());
        }
        if function.extra.get("strict") == Some(&Value::Bool(true)) {
            fields.insert("strict".to_owned(), true.into());
        }
    }
    tools.push(json!({ "toolSpec": spec }));
    let marker = function.extra.get("cache_control").or_else(|| tool.extra.get("cache_control"));
    if let Some(marker) = marker {
        tools.push(json!({ "cachePoint": piece::cache_point(marker) }));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
