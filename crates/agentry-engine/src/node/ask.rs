//! Questions, moments and messages that a task waits for.

use std::time::Duration;

use agentry_core::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parks a task until an answer, a moment or a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// What [`NodeContext::answer`](super::NodeContext::answer) finds it by.
    pub id: String,
    /// What a person is shown; without one nobody can answer.
    pub question: Option<Value>,
    pub deadline: Option<Timestamp>,
    /// The answer that counts when the deadline passes first.
    pub on_timeout: Value,
    pub on_message: OnMessage,
    /// JSON Schema that an answer must meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Who is asked next when the deadline passes, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate: Vec<Escalation>,
    /// What happens when the last one's time has passed as well.
    #[serde(default, skip_serializing_if = "AtEnd::is_answer")]
    pub at_end: AtEnd,
}

/// The next one who is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// A person, a team, a channel: whatever those who watch understand.
    pub to: String,
    /// How long that one has, from when the question is handed on.
    pub within_ms: u64,
}

/// What comes of a question that nobody has answered in time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtEnd {
    /// The answer that was agreed on counts.
    #[default]
    Answer,
    /// The node has failed.
    Fail,
    /// That node runs in the place of the one that asked; [`NodeContext::failure`](super::NodeContext::failure) tells it why.
    Route(String),
}

impl AtEnd {
    fn is_answer(&self) -> bool {
        *self == Self::Answer
    }
}

/// What a parked task does when a message has been folded into the run's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMessage {
    /// It goes on waiting.
    Wait,
    /// It runs again and may ask the same, ask anew or be done.
    Rerun,
}

impl Ask {
    /// Waits for a moment.
    #[must_use]
    pub fn until(id: &str, moment: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            question: None,
            deadline: Some(moment),
            on_timeout: Value::Null,
            on_message: OnMessage::Wait,
            schema: None,
            escalate: Vec::new(),
            at_end: AtEnd::Answer,
        }
    }

    /// Waits for a person.
    #[must_use]
    pub fn question(id: &str, question: impl Into<Value>) -> Self {
        Self {
            id: id.to_owned(),
            question: Some(question.into()),
            deadline: None,
            on_timeout: Value::Null,
            on_message: OnMessage::Wait,
            schema: None,
            escalate: Vec::new(),
            at_end: AtEnd::Answer,
        }
    }

    /// Waits for the next message.
    #[must_use]
    pub fn message(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            question: None,
            deadline: None,
            on_timeout: Value::Null,
            on_message: OnMessage::Rerun,
            schema: None,
            escalate: Vec::new(),
            at_end: AtEnd::Answer,
        }
    }

    #[must_use]
    pub fn deadline(mut self, deadline: Timestamp, on_timeout: impl Into<Value>) -> Self {
        self.deadline = Some(deadline);
        self.on_timeout = on_timeout.into();
        self
    }

    /// When nobody has answered by the deadline, `to` is asked, for so long; of several one after the other.
    #[must_use]
    pub fn escalate(mut self, to: &str, within: Duration) -> Self {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.escalate.push(Escalation { to: to.to_owned(), within_ms });
        self
    }

    /// The node fails when nobody has answered in time: no answer is made up.
    #[must_use]
    pub fn or_fail(mut self, deadline: Timestamp) -> Self {
        (self.deadline, self.at_end) = (Some(deadline), AtEnd::Fail);
        self
    }

    /// `node` runs in the place of this one when nobody has answered in time.
    #[must_use]
    pub fn or_route(mut self, deadline: Timestamp, node: &str) -> Self {
        (self.deadline, self.at_end) = (Some(deadline), AtEnd::Route(node.to_owned()));
        self
    }

    #[must_use]
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self
    }

    #[must_use]
    pub fn wake_on_message(mut self) -> Self {
        self.on_message = OnMessage::Rerun;
        self
    }
}

/// What came of an [`Ask`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    pub value: Value,
    /// Who answered; `None` when the deadline passed.
    pub actor: Option<String>,
    pub at: Timestamp,
}

impl Reply {
    #[must_use]
    pub fn expired(&self) -> bool {
        self.actor.is_none()
    }
}
