//! The port to what an agent can do, and the box that such tools are kept in.

use std::time::Instant;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chat::ToolDefinition;
use crate::{Code, Failure, Fault, Retry};

mod toolbox;

pub use toolbox::Toolbox;

/// What calling a tool again would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// The same call twice has the effect of one.
    Idempotent,
    /// Must not be repeated when its outcome is unknown.
    Once,
}

/// An agent that combines all three can be talked into leaking; two of them are the most that go without a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risks {
    /// What it returns may have been written by anybody.
    pub untrusted_input: bool,
    /// It sees what is private.
    pub private_data: bool,
    /// It changes state or talks to the outside.
    pub acts_outside: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    pub name: String,
    /// For the model: what it does and when to use it.
    pub description: String,
    /// A JSON Schema of an object.
    pub parameters: Value,
    pub effect: Effect,
    pub risks: Risks,
}

impl ToolSpec {
    #[must_use]
    pub fn definition(&self) -> ToolDefinition {
        ToolDefinition::function(&self.name, &self.description, self.parameters.clone())
    }
}

/// For whom a tool is called, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolContext {
    pub call_id: String,
    pub tenant: String,
    pub caller: String,
    pub deadline: Option<Instant>,
}

/// What a tool found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ToolOutput(pub Value);

impl ToolOutput {
    /// As the model reads it: a string as it is, anything else as JSON.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.0 {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// Why a tool call came to nothing. The model is told, and may try something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    #[error("the arguments are wrong: {reason}")]
    InvalidArguments { reason: String },
    #[error("not allowed: {reason}")]
    Refused { reason: String },
    #[error("{reason}")]
    Failed { reason: String },
    #[error("no result within {after_ms} ms")]
    TimedOut { after_ms: u64 },
}

impl Failure for ToolError {
    fn code(&self) -> Code {
        Code(match self {
            Self::InvalidArguments { .. } => "tool_arguments_invalid",
            Self::Refused { .. } => "tool_refused",
            Self::Failed { .. } => "tool_failed",
            Self::TimedOut { .. } => "tool_timed_out",
        })
    }

    fn fault(&self) -> Fault {
        match self {
            Self::InvalidArguments { .. } | Self::Refused { .. } => Fault::Caller,
            Self::Failed { .. } | Self::TimedOut { .. } => Fault::Upstream,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::InvalidArguments { .. } | Self::Refused { .. } => Retry::Never,
            Self::Failed { .. } | Self::TimedOut { .. } => Retry::Now,
        }
    }
}

#[async_trait]
pub trait Tool: Send + Sync {
    fn spec(&self) -> &ToolSpec;

    /// `arguments` is a JSON object. A [`Toolbox`] has held it against the schema; what that cannot say is for the tool to
    /// check.
    async fn call(&self, cx: &ToolContext, arguments: Value) -> Result<ToolOutput, ToolError>;
}
