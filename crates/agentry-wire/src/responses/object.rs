//! The response object, and the items that it is made of.

use agentry_core::chat::{CallKind, FinishReason, Head, ToolCall};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::PACKED;
use crate::reasoning;
use crate::{Asked, chat};

/// What the object repeats of its request. Clients demand most of it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Echo {
    instructions: Value,
    max_output_tokens: Value,
    max_tool_calls: Value,
    parallel_tool_calls: Option<bool>,
    prompt_cache_key: Value,
    prompt_cache_retention: Value,
    reasoning: Value,
    safety_identifier: Value,
    service_tier: Option<Value>,
    temperature: Option<Value>,
    text: Value,
    tool_choice: Option<Value>,
    tools: Option<Vec<Value>>,
    top_logprobs: Option<Value>,
    top_p: Option<Value>,
    truncation: Option<Value>,
    frequency_penalty: Option<Value>,
    presence_penalty: Option<Value>,
    user: Value,
    metadata: Option<Value>,
}

/// A response as far as it has come: [`Object::with`] fills in the rest.
#[derive(Debug)]
pub(super) struct Object {
    fields: Map<String, Value>,
    fallback: Head,
    /// What the ids of the response and of its items have in common.
    pub(super) base: String,
}

impl Object {
    pub(super) fn new(asked: &Asked) -> Self {
        // A body that cannot be read was refused before.
        let echo: Echo = serde_json::from_slice(&asked.body).unwrap_or_default();
        let fallback = asked.fallback.clone();
        let mut object = Self { fields: echo.fields(), fallback, base: String::new() };
        object.name(Head::default());
        object
    }

    /// Takes over what the upstream says of itself.
    pub(super) fn name(&mut self, head: Head) {
        let Head { id, model, created, mut extra } = chat::complete(head, &self.fallback);
        let known = ["chatcmpl-", "resp_", "msg_", "gen-"];
        let base = known.iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(&id);
        self.base = base.to_owned();
        self.set("id", format!("resp_{base}").into());
        self.set("created_at", created.into());
        self.set("model", model.into());
        if let Some(tier @ Value::String(_)) = extra.shift_remove("service_tier") {
            self.set("service_tier", tier);
        }
    }

    fn set(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    pub(super) fn in_progress(&self) -> Value {
        self.with([("status", "in_progress".into())])
    }

    pub(super) fn with<const N: usize>(&self, fields: [(&str, Value); N]) -> Value {
        let mut object = self.fields.clone();
        object.extend(fields.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(object)
    }

    pub(super) fn id(&self, prefix: &str, at: usize) -> String {
        format!("{prefix}_{}_{at}", self.base)
    }
}

impl Echo {
    fn fields(self) -> Map<String, Value> {
        let mut text = super::request::object(self.text);
        let format = text.entry("format").or_insert_with(|| json!({ "type": "text" }));
        if let Value::Object(fields) = format
            && fields.get("type").and_then(Value::as_str) == Some("json_schema")
        {
            fields.entry("description").or_insert(Value::Null);
            fields.entry("strict").or_insert(Value::Bool(false));
        }
        let mut reasoning = super::request::object(self.reasoning);
        for name in ["effort", "summary"] {
            reasoning.entry(name).or_insert(Value::Null);
        }
        let or = |value: Option<Value>, default: Value| value.unwrap_or(default);
        super::request::object(json!({
            "id": "",
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "completed_at": null,
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "max_tool_calls": self.max_tool_calls,
            "model": "",
            "output": [],
            "parallel_tool_calls": self.parallel_tool_calls.unwrap_or(true),
            "previous_response_id": null,
            "prompt_cache_key": self.prompt_cache_key,
            "prompt_cache_retention": self.prompt_cache_retention,
            "reasoning": reasoning,
            "safety_identifier": self.safety_identifier,
            "service_tier": or(self.service_tier, "default".into()),
            "store": false,
            "temperature": or(self.temperature, 1.0.into()),
            "text": text,
            "tool_choice": or(self.tool_choice, "auto".into()),
            "tools": self.tools.unwrap_or_default().into_iter().map(tool).collect::<Value>(),
            "top_logprobs": or(self.top_logprobs, 0.into()),
            "top_p": or(self.top_p, 1.0.into()),
            "truncation": or(self.truncation, "disabled".into()),
            "frequency_penalty": or(self.frequency_penalty, 0.0.into()),
            "presence_penalty": or(self.presence_penalty, 0.0.into()),
            "usage": null,
            "user": self.user,
            "metadata": or(self.metadata, json!({})),
        }))
    }
}

/// Clients demand that a function has all of these.
fn tool(mut tool: Value) -> Value {
    if let Value::Object(fields) = &mut tool
        && fields.get("type").and_then(Value::as_str) == Some("function")
    {
        for name in ["description", "parameters"] {
            fields.entry(name).or_insert(Value::Null);
        }
        fields.entry("strict").or_insert(Value::Bool(false));
    }
    tool
}

/// The status of a response that ended for `reason`, and why it is incomplete if it is.
pub(super) fn status(reason: Option<&FinishReason>) -> (&'static str, Value) {
    match reason {
        Some(FinishReason::Length) => ("incomplete", json!({ "reason": "max_output_tokens" })),
        Some(FinishReason::ContentFilter) => ("incomplete", json!({ "reason": "content_filter" })),
        Some(FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Other(_)) | None => {
            ("completed", Value::Null)
        }
    }
}

pub(super) fn message(id: &str, content: &[Value], status: &str) -> Value {
    json!({
        "id": id, "type": "message", "status": status, "role": "assistant", "content": content,
    })
}

pub(super) fn call(id: &str, call: &ToolCall, status: &str) -> Value {
    let ToolCall { id: call_id, kind, name, arguments, extra: _ } = call;
    match kind {
        CallKind::Function => json!({
            "id": id, "type": "function_call", "status": status,
            "call_id": call_id, "name": name, "arguments": arguments,
        }),
        CallKind::Custom => json!({
            "id": id, "type": "custom_tool_call", "status": status,
            "call_id": call_id, "name": name, "input": arguments,
        }),
    }
}

pub(super) fn call_prefix(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Function => "fc",
        CallKind::Custom => "ctc",
    }
}

pub(super) fn summary_part(text: &str) -> Value {
    json!({ "type": "summary_text", "text": text })
}

/// `details` are what some upstream wants back unchanged.
pub(super) fn thoughts(id: &str, text: &str, details: &[Value], status: &str) -> Value {
    let summary: Vec<Value> = (!text.is_empty()).then(|| summary_part(text)).into_iter().collect();
    let mut item = super::request::object(json!({
        "id": id, "type": "reasoning", "status": status, "summary": summary,
    }));
    if let [detail] = details
        && detail.get("format").and_then(Value::as_str) == Some(reasoning::OPENAI)
        && let Some(data) = detail.get("data")
    {
        item.insert("encrypted_content".to_owned(), data.clone());
        item.extend(
            detail.get("id").filter(|id| id.is_string()).map(|id| ("id".to_owned(), id.clone())),
        );
    } else if !details.is_empty() {
        let packed = format!("{PACKED}{}", Value::from(details));
        item.insert("encrypted_content".to_owned(), packed.into());
    }
    Value::Object(item)
}

pub(super) fn text_part(text: &str, annotations: &[Value], logprobs: &[Value]) -> Value {
    json!({
        "type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs,
    })
}

pub(super) fn refusal_part(text: &str) -> Value {
    json!({ "type": "refusal", "refusal": text })
}

/// Chat completions put what an annotation says one level deeper.
pub(super) fn annotation(annotation: Value) -> Value {
    let Value::Object(mut fields) = annotation else { return annotation };
    if let Some(kind) = fields.get("type").and_then(Value::as_str).map(str::to_owned)
        && let Some(Value::Object(inner)) = fields.shift_remove(&kind)
    {
        fields.extend(inner);
    }
    Value::Object(fields)
}
