//! A conversation with a model: messages, the request, the answer whole, and the answer as it arrives.
//!
//! The serialised form is the one that the ecosystem shares, chat completions. What these types do not name they keep, so
//! that a request or an answer passes through without loss.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

mod assemble;
mod message;
mod request;
mod usage;

pub use assemble::{Assembly, REASONING, REASONING_DETAILS};
pub use message::{CallKind, Content, Message, Part, Role, ToolCall};
pub use request::{
    ChatRequest, Function, FunctionTool, Invalid, ResponseFormat, Stop, StreamOptions, ToolChoice,
    ToolDefinition,
};
pub use usage::Usage;

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    /// A word that is not one of the above, as the model said it.
    Other(String),
}

impl FinishReason {
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Other(word) => word,
        }
    }
}

impl From<&str> for FinishReason {
    fn from(word: &str) -> Self {
        match word {
            "stop" => Self::Stop,
            "length" => Self::Length,
            "tool_calls" => Self::ToolCalls,
            "content_filter" => Self::ContentFilter,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl Serialize for FinishReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for FinishReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|word| Self::from(word.as_str()))
    }
}

/// What is known of an answer before its first word.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    #[serde(default)]
    pub id: String,
    /// The model that really answers, as the upstream names it.
    #[serde(default)]
    pub model: String,
    /// Seconds since the Unix epoch.
    #[serde(default)]
    pub created: i64,
    /// Whatever else stands beside them: `system_fingerprint`, `service_tier`, …
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatResponse {
    pub head: Head,
    pub choices: Vec<Choice>,
    pub usage: Option<Usage>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub index: u32,
    pub message: Message,
    pub finish_reason: Option<FinishReason>,
    pub logprobs: Option<Value>,
    /// What else the upstream says of this choice.
    pub extra: Map<String, Value>,
}

impl ChatResponse {
    /// The text of the first choice; empty when it has none.
    #[must_use]
    pub fn text(&self) -> String {
        self.choices.first().map(|choice| choice.message.text()).unwrap_or_default()
    }
}

/// One step of an answer that is being written. Deltas of one choice come in order; choices may interleave.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Once, before everything else.
    Started(Head),
    Text {
        choice: u32,
        text: String,
    },
    /// What the model thinks aloud, where the upstream shows it.
    Reasoning {
        choice: u32,
        text: String,
    },
    Refusal {
        choice: u32,
        text: String,
    },
    /// A tool call begins; `index` tells parallel calls of one choice apart.
    ToolCall {
        choice: u32,
        index: u32,
        id: String,
        kind: CallKind,
        name: String,
    },
    /// A piece of the JSON text of a call's arguments.
    ToolArguments {
        choice: u32,
        index: u32,
        fragment: String,
    },
    Logprobs {
        choice: u32,
        value: Value,
    },
    /// Fields of a delta that have no event of their own.
    Extra {
        choice: u32,
        fields: Map<String, Value>,
    },
    Finished {
        choice: u32,
        reason: FinishReason,
    },
    Usage(Usage),
    /// The answer is complete. A stream that ends without this was cut.
    Done,
}

#[derive(Serialize, Deserialize)]
struct WireResponse<C> {
    #[serde(flatten)]
    head: Head,
    choices: Vec<C>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct WireChoice {
    #[serde(default)]
    index: u32,
    message: Message,
    #[serde(default)]
    finish_reason: Option<FinishReason>,
    #[serde(default)]
    logprobs: Option<Value>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl Serialize for ChatResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { head, choices, usage } = self;
        let mut head = head.clone();
        head.extra.insert("object".to_owned(), "chat.completion".into());
        WireResponse { head, choices: choices.iter().collect(), usage: usage.clone() }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ChatResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WireResponse { mut head, choices, usage } =
            WireResponse::<WireChoice>::deserialize(deserializer)?;
        head.extra.shift_remove("object");
        let choices = choices
            .into_iter()
            .map(|WireChoice { index, message, finish_reason, logprobs, extra }| Choice {
                index,
                message,
                finish_reason,
                logprobs,
                extra,
            })
            .collect();
        Ok(Self { head, choices, usage })
    }
}

impl Serialize for Choice {
    /// Clients demand that `refusal`, `logprobs` and `finish_reason` are there, though they be null.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error as _, SerializeMap as _};
        let Self { index, message, finish_reason, logprobs, extra } = self;
        let mut message = serde_json::to_value(message).map_err(S::Error::custom)?;
        if let Value::Object(fields) = &mut message {
            fields.entry("refusal").or_insert(Value::Null);
        }
        let mut map = serializer.serialize_map(Some(4 + extra.len()))?;
        map.serialize_entry("index", index)?;
        map.serialize_entry("message", &message)?;
        map.serialize_entry("logprobs", logprobs)?;
        map.serialize_entry("finish_reason", finish_reason)?;
        for (name, value) in extra {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
