//! From a request to the bytes that Gemini is sent.

use agentry_core::chat::{ChatRequest, ResponseFormat, Stop, ToolChoice, ToolDefinition};
use agentry_core::model::ModelError;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::schema;
use super::turns::{Turns, refused};

/// What would change the answer and cannot be asked for.
const REFUSED: [(&str, &str); 4] = [
    ("logit_bias", "this upstream takes no biases"),
    ("audio", "this upstream does not speak"),
    ("functions", "use `tools`, which took the place of `functions`"),
    ("function_call", "use `tool_choice`, which took the place of `function_call`"),
];

/// The model is not in the body: it is in the path.
pub fn body(request: &ChatRequest) -> Result<Bytes, ModelError> {
    for (param, reason) in REFUSED {
        if asked(request, param).is_some() {
            return Err(refused(param, reason));
        }
    }
    let Turns { system, contents } = Turns::of(request)?;
    let mut body = Map::new();
    if !system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({ "parts": system }));
    }
    body.insert("contents".to_owned(), contents.into());
    let tools = tools(request)?;
    if !tools.is_empty() {
        body.insert("tools".to_owned(), tools.into());
    }
    if let Some(config) = tool_config(request)? {
        body.insert("toolConfig".to_owned(), config);
    }
    let generation = generation(request)?;
    if !generation.is_empty() {
        body.insert("generationConfig".to_owned(), Value::Object(generation));
    }
    for (ours, theirs) in
        [("safety_settings", "safetySettings"), ("cached_content", "cachedContent")]
    {
        let own = request.extra.get(ours).or_else(|| request.extra.get(theirs));
        body.extend(own.map(|own| (theirs.to_owned(), own.clone())));
    }
    serde_json::to_vec(&body)
        .map(Bytes::from)
        .map_err(|error| ModelError::Internal { reason: error.to_string() })
}

fn asked<'a>(request: &'a ChatRequest, name: &str) -> Option<&'a Value> {
    request.extra.get(name).filter(|value| !value.is_null())
}

fn tools(request: &ChatRequest) -> Result<Vec<Value>, ModelError> {
    let mut declared = Vec::new();
    let mut own = Vec::new();
    for (at, tool) in request.tools.iter().enumerate() {
        match tool {
            ToolDefinition::Function(tool) => {
                let mut declaration = Map::new();
                declaration.insert("name".to_owned(), tool.function.name.as_str().into());
                if let Some(description) = &tool.function.description {
                    declaration.insert("description".to_owned(), description.as_str().into());
                }
                if let Some(parameters) = &tool.function.parameters {
                    let parameters = schema::clean(parameters);
                    declaration.insert("parametersJsonSchema".to_owned(), parameters);
                }
                declared.push(Value::Object(declaration));
            }
            // Its own tools are objects with one name: `{"googleSearch": {}}`.
            ToolDefinition::Other(fields) if !fields.contains_key("type") => {
                own.push(Value::Object(fields.clone()));
            }
            // Searching goes by one name or another everywhere.
            ToolDefinition::Other(fields) if searches(fields) => {
                own.push(json!({ "googleSearch": {} }));
            }
            ToolDefinition::Other(_) => {
                let reason =
                    "this upstream takes functions, and its own like {\"googleSearch\": {}}";
                return Err(refused(&format!("tools[{at}]"), reason));
            }
        }
    }
    if asked(request, "web_search_options").is_some() {
        own.push(json!({ "googleSearch": {} }));
    }
    if !declared.is_empty() {
        own.insert(0, json!({ "functionDeclarations": declared }));
    }
    Ok(own)
}

fn searches(tool: &Map<String, Value>) -> bool {
    let kind = tool.get("type").and_then(Value::as_str).unwrap_or_default();
    kind.starts_with("web_search") || kind == "google_search"
}

fn tool_config(request: &ChatRequest) -> Result<Option<Value>, ModelError> {
    let config = match &request.tool_choice {
        None => return Ok(None),
        Some(_) if request.tools.is_empty() => return Ok(None),
        Some(ToolChoice::Auto) => json!({ "mode": "AUTO" }),
        Some(ToolChoice::None) => json!({ "mode": "NONE" }),
        Some(ToolChoice::Required) => json!({ "mode": "ANY" }),
        Some(ToolChoice::Named(name)) => json!({ "mode": "ANY", "allowedFunctionNames": [name] }),
        Some(ToolChoice::Other(fields)) => {
            let Some(allowed) = fields.get("allowed_tools") else {
                return Err(refused("tool_choice", "this upstream cannot be told to do this"));
            };
            let tools = allowed.get("tools").and_then(Value::as_array).into_iter().flatten();
            let names: Vec<&Value> =
                tools.filter_map(|tool| tool.get("function")?.get("name")).collect();
            let required = allowed.get("mode").and_then(Value::as_str) == Some("required");
            let mode = if required { "ANY" } else { "VALIDATED" };
            json!({ "mode": mode, "allowedFunctionNames": names })
        }
    };
    Ok(Some(json!({ "functionCallingConfig": config })))
}

fn generation(request: &ChatRequest) -> Result<Map<String, Value>, ModelError> {
    let mut config = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        config.extend(value.filter(|value| !value.is_null()).map(|value| (name.to_owned(), value)));
    };
    let extra = |name: &str| request.extra.get(name).cloned();
    set("temperature", request.temperature.map(Value::from));
    set("topP", request.top_p.map(Value::from));
    set("topK", extra("top_k"));
    let most = request.max_completion_tokens.or(request.max_tokens);
    set("maxOutputTokens", most.map(Value::from));
    set("candidateCount", request.n.filter(|n| *n > 1).map(Value::from));
    set("seed", request.seed.map(Value::from));
    set("presencePenalty", request.presence_penalty.map(Value::from));
    set("frequencyPenalty", request.frequency_penalty.map(Value::from));
    set(
        "stopSequences",
        request.stop.as_ref().map(|stop| match stop {
            Stop::One(text) => json!([text]),
            Stop::Many(texts) => json!(texts),
        }),
    );
    set("responseModalities", modalities(request));
    set("responseLogprobs", extra("logprobs").filter(|wanted| *wanted == Value::Bool(true)));
    set("logprobs", extra("top_logprobs"));
    set("thinkingConfig", extra("thinking_config").or_else(|| thinking(request)));
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => {
            set("responseMimeType", Some("application/json".into()));
        }
        Some(ResponseFormat::JsonSchema { json_schema }) => {
            let Some(schema) = json_schema.get("schema") else {
                return Err(refused("response_format.json_schema.schema", "the schema is missing"));
            };
            set("responseMimeType", Some("application/json".into()));
            set("responseJsonSchema", Some(schema::clean(schema)));
        }
        Some(ResponseFormat::Other(_)) => {
            return Err(refused(
                "response_format",
                "this upstream knows text, JSON and JSON Schema",
            ));
        }
    }
    Ok(config)
}

/// Text is what it writes anyway.
fn modalities(request: &ChatRequest) -> Option<Value> {
    let asked = asked(request, "modalities")?.as_array()?;
    let words: Vec<String> =
        asked.iter().filter_map(Value::as_str).map(str::to_ascii_uppercase).collect();
    words.iter().any(|word| word != "TEXT").then(|| words.into())
}

/// Newer models take a level, older ones a number of tokens.
fn thinking(request: &ChatRequest) -> Option<Value> {
    let reasoning = request.extra.get("reasoning");
    let inner = |name: &str| reasoning.and_then(|fields| fields.get(name));
    if let Some(budget) = inner("max_tokens").and_then(Value::as_u64) {
        return Some(json!({ "thinkingBudget": budget, "includeThoughts": true }));
    }
    let effort = request.extra.get("reasoning_effort").or_else(|| inner("effort"))?.as_str()?;
    let name = request.model.rsplit('/').next().unwrap_or_default();
    let older = ["gemini-1", "gemini-2"].iter().any(|prefix| name.starts_with(prefix));
    Some(match (effort, older) {
        ("none", true) => json!({ "thinkingBudget": 0 }),
        ("none", false) => json!({ "thinkingLevel": "minimal" }),
        ("minimal" | "low", true) => json!({ "thinkingBudget": 1_024, "includeThoughts": true }),
        ("medium", true) => json!({ "thinkingBudget": 8_192, "includeThoughts": true }),
        (_, true) => json!({ "thinkingBudget": 24_576, "includeThoughts": true }),
        ("minimal" | "low" | "medium", false) => {
            json!({ "thinkingLevel": effort, "includeThoughts": true })
        }
        (_, false) => json!({ "thinkingLevel": "high", "includeThoughts": true }),
    })
}

#[cfg(test)]
mod tests;
