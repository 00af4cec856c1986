//! What a caller asks of a model.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::{Message, Role};

/// A request to a model. A field that is `None` or empty is not sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ChatRequest {
    /// An alias at the gateway, the upstream's own name behind it.
    pub model: String,
    pub messages: Vec<Message>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolDefinition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// The older word for `max_completion_tokens`; each is passed on as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<u64>,
    /// How many choices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Whether the caller wants the answer as it is written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Everything else, forwarded as it came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "stop is a string or an array of strings")]
pub enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamOptions {
    #[serde(default)]
    pub include_usage: bool,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    /// This function and no other.
    Named(String),
    Other(Map<String, Value>),
}

impl Serialize for ToolChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => "auto".serialize(serializer),
            Self::None => "none".serialize(serializer),
            Self::Required => "required".serialize(serializer),
            Self::Named(name) => {
                json!({ "type": "function", "function": { "name": name } }).serialize(serializer)
            }
            Self::Other(map) => map.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        match Value::deserialize(deserializer)? {
            Value::String(word) => match word.as_str() {
                "auto" => Ok(Self::Auto),
                "none" => Ok(Self::None),
                "required" => Ok(Self::Required),
                _ => Err(D::Error::custom(format!(
                    "tool_choice is `auto`, `none`, `required` or an object, not `{word}`"
                ))),
            },
            Value::Object(map) => {
                let name = map.get("function").and_then(|function| function.get("name"));
                match (map.get("type").and_then(Value::as_str), name.and_then(Value::as_str)) {
                    (Some("function"), Some(name)) => Ok(Self::Named(name.to_owned())),
                    _ => Ok(Self::Other(map)),
                }
            }
            _ => Err(D::Error::custom("tool_choice is `auto`, `none`, `required` or an object")),
        }
    }
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a tool is an object with `type` and, for a function, `function.name`"
)]
pub enum ToolDefinition {
    Function(FunctionTool),
    /// Tools of the vendor's own, kept as they came.
    Other(Map<String, Value>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionTool {
    #[serde(rename = "type")]
    kind: FunctionTag,
    pub function: Function,
    /// What stands beside the function, such as `cache_control`.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FunctionTag {
    Function,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON Schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ToolDefinition {
    #[must_use]
    pub fn function(name: &str, description: &str, parameters: Value) -> Self {
        Self::Function(FunctionTool {
            kind: FunctionTag::Function,
            function: Function {
                name: name.to_owned(),
                description: Some(description.to_owned()),
                parameters: Some(parameters),
                extra: Map::new(),
            },
            extra: Map::new(),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    Text,
    JsonObject,
    /// `name`, `schema`, `strict`, as they came.
    JsonSchema {
        json_schema: Value,
    },
    #[serde(untagged)]
    Other(Map<String, Value>),
}

/// Which parameter of a request cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{param}: {reason}")]
pub struct Invalid {
    /// `messages[2]`, `temperature`; empty when the body itself is wrong.
    pub param: String,
    pub reason: String,
}

impl ChatRequest {
    /// Reads a request body that is already JSON, and names the parameter that is wrong.
    pub fn from_value(body: Value) -> Result<Self, Invalid> {
        let Value::Object(mut fields) = body else {
            return Err(invalid("", "the body must be a JSON object"));
        };
        let request = Self {
            model: required(&mut fields, "model")?,
            messages: items(&mut fields, "messages")?,
            tools: items(&mut fields, "tools")?,
            tool_choice: optional(&mut fields, "tool_choice")?,
            parallel_tool_calls: optional(&mut fields, "parallel_tool_calls")?,
            response_format: optional(&mut fields, "response_format")?,
            temperature: optional(&mut fields, "temperature")?,
            top_p: optional(&mut fields, "top_p")?,
            frequency_penalty: optional(&mut fields, "frequency_penalty")?,
            presence_penalty: optional(&mut fields, "presence_penalty")?,
            max_tokens: optional(&mut fields, "max_tokens")?,
            max_completion_tokens: optional(&mut fields, "max_completion_tokens")?,
            n: optional(&mut fields, "n")?,
            stop: optional(&mut fields, "stop")?,
            seed: optional(&mut fields, "seed")?,
            stream: optional(&mut fields, "stream")?.unwrap_or_default(),
            stream_options: optional(&mut fields, "stream_options")?,
            extra: fields,
        };
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), Invalid> {
        if self.model.is_empty() {
            return Err(invalid("model", "name a model; GET /v1/models lists them"));
        }
        if self.messages.is_empty() {
            return Err(invalid("messages", "at least one message is needed"));
        }
        if self.n == Some(0) {
            return Err(invalid("n", "at least one choice must be asked for"));
        }
        for (at, message) in self.messages.iter().enumerate() {
            if message.role == Role::Tool && message.tool_call_id.is_none() {
                let param = format!("messages[{at}].tool_call_id");
                return Err(invalid(&param, "a tool message says which call it answers"));
            }
            if message.role != Role::Assistant && message.content.is_none() {
                return Err(invalid(&format!("messages[{at}].content"), "content is missing"));
            }
        }
        Ok(())
    }

    /// The text of the last message that a user wrote.
    #[must_use]
    pub fn last_user_text(&self) -> String {
        let last = self.messages.iter().rev().find(|message| message.role == Role::User);
        last.map(Message::text).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for ChatRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
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
    match fields.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value, name).map(Some),
    }
}

fn items<T: DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<Vec<T>, Invalid> {
    match fields.shift_remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values
            .into_iter()
            .enumerate()
            .map(|(at, value)| read(value, &format!("{name}[{at}]")))
            .collect(),
        Some(_) => Err(invalid(name, "this must be an array")),
    }
}

fn read<T: DeserializeOwned>(value: Value, param: &str) -> Result<T, Invalid> {
    serde_json::from_value(value).map_err(|error| invalid(param, &error.to_string()))
}
