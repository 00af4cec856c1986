//! What a node is given, and what it gives back.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::{Delta, Values};
use agentry_core::{Clock, Failure, Retry, RunId, Timestamp, audit};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::effect::{self, Class, Journal};
use crate::state::State;

/// A function of a graph. It may run more than once: what must not be repeated goes through [`NodeContext::effect`].
#[async_trait]
pub trait Node: Send + Sync {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError>;
}

/// A node from a function: `from_fn(|cx, state| Box::pin(async move { … }))`.
pub fn from_fn<F>(function: F) -> impl Node
where
    F: for<'a> Fn(&'a NodeContext, &'a Values) -> BoxFuture<'a, Result<NodeOutput, NodeError>>
        + Send
        + Sync,
{
    Function(function)
}

struct Function<F>(F);

#[async_trait]
impl<F> Node for Function<F>
where
    F: for<'a> Fn(&'a NodeContext, &'a Values) -> BoxFuture<'a, Result<NodeOutput, NodeError>>
        + Send
        + Sync,
{
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        (self.0)(cx, state).await
    }
}

#[async_trait]
impl<N: Node + ?Sized> Node for Arc<N> {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        N::run(self, cx, state).await
    }
}

/// Where a node stands: which run, which attempt, what was answered; and its only way to act once.
pub struct NodeContext {
    run: RunId,
    node: String,
    superstep: u32,
    attempt: u32,
    deadline: Option<Timestamp>,
    replies: BTreeMap<String, Reply>,
    clock: Arc<dyn Clock>,
    cancelled: CancellationToken,
    journal: Arc<Journal>,
}

impl NodeContext {
    pub(crate) fn new(
        node: &str,
        state: &State,
        cancelled: CancellationToken,
        (clock, journal): (Arc<dyn Clock>, Arc<Journal>),
    ) -> Self {
        let task = state.cursor.tasks.get(node);
        Self {
            run: state.run(),
            node: node.to_owned(),
            superstep: state.cursor.superstep,
            attempt: task.map_or(0, |task| task.failures) + 1,
            deadline: state.running.get(node).and_then(|running| running.deadline),
            replies: task.map(|task| task.replies.clone()).unwrap_or_default(),
            clock,
            cancelled,
            journal,
        }
    }

    #[must_use]
    pub fn run(&self) -> RunId {
        self.run
    }

    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Counts the run's supersteps from 1.
    #[must_use]
    pub fn superstep(&self) -> u32 {
        self.superstep
    }

    /// Counts the attempts at this node from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// When this attempt is given up.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// How long this attempt may still take.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(self.now()))
    }

    /// Cancelled when the run is to end: the node then has a few seconds to clean up.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// What came of the [`Ask`] with this id, if anything yet.
    #[must_use]
    pub fn answer(&self, id: &str) -> Option<&Reply> {
        self.replies.get(id)
    }

    /// Performs `f` and remembers its value: what is done is never done again, not by a retry and not after a crash.
    ///
    /// `f` is handed a key that stays the same however often it is tried, for the other side to recognise a repetition.
    /// Within one visit of a node the same `key` is the same effect.
    pub async fn effect<F, Done, E>(
        &self,
        key: &str,
        class: Class,
        f: F,
    ) -> Result<Value, effect::Error>
    where
        F: FnOnce(String) -> Done + Send,
        Done: Future<Output = Result<Value, E>> + Send,
        E: Into<effect::Undone>,
    {
        let place = format!("{}/{}/{key}", self.superstep, self.node);
        self.journal.perform(&place, class, f).await
    }
}

/// What a node has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeOutput {
    pub then: Then,
    /// Kind and detail; the engine adds the time.
    pub events: Vec<(String, Value)>,
    pub audit: Vec<audit::Entry>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// The node is done and has written this.
    Update(Vec<(String, Delta)>),
    /// The node runs again when this is answered or over.
    Ask(Ask),
}

impl NodeOutput {
    /// Done, with nothing written.
    #[must_use]
    pub fn done() -> Self {
        Self::then(Then::Update(Vec::new()))
    }

    #[must_use]
    pub fn ask(ask: Ask) -> Self {
        Self::then(Then::Ask(ask))
    }

    fn then(then: Then) -> Self {
        Self { then, events: Vec::new(), audit: Vec::new() }
    }

    /// Writes `value` to `channel`. An output that asks writes nothing.
    #[must_use]
    pub fn set(self, channel: &str, value: impl Into<Value>) -> Self {
        self.write(channel, Delta::Set(value.into()))
    }

    #[must_use]
    pub fn append(self, channel: &str, item: impl Into<Value>) -> Self {
        self.write(channel, Delta::Append(vec![item.into()]))
    }

    #[must_use]
    pub fn write(mut self, channel: &str, delta: Delta) -> Self {
        if let Then::Update(writes) = &mut self.then {
            writes.push((channel.to_owned(), delta));
        }
        self
    }

    #[must_use]
    pub fn event(mut self, kind: &str, detail: impl Into<Value>) -> Self {
        self.events.push((kind.to_owned(), detail.into()));
        self
    }

    #[must_use]
    pub fn audit(mut self, entry: audit::Entry) -> Self {
        self.audit.push(entry);
        self
    }
}

/// Parks a task until an answer, a moment or a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// What [`NodeContext::answer`] finds it by.
    pub id: String,
    /// What a person is shown; without one nobody can answer.
    pub question: Option<Value>,
    pub deadline: Option<Timestamp>,
    /// The answer that counts when the deadline passes first.
    pub on_timeout: Value,
    pub on_message: OnMessage,
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
        }
    }

    #[must_use]
    pub fn deadline(mut self, deadline: Timestamp, on_timeout: impl Into<Value>) -> Self {
        self.deadline = Some(deadline);
        self.on_timeout = on_timeout.into();
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

/// One attempt at a node has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeError {
    pub message: String,
    pub again: Again,
}

/// Whether another attempt can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    Never,
    /// After the node's backoff.
    Backoff,
    /// After this, at the earliest.
    AfterMs(u64),
}

impl NodeError {
    /// Another attempt would fail alike.
    #[must_use]
    pub fn fatal(message: impl Display) -> Self {
        Self { message: message.to_string(), again: Again::Never }
    }

    /// Another attempt may go well.
    #[must_use]
    pub fn transient(message: impl Display) -> Self {
        Self { message: message.to_string(), again: Again::Backoff }
    }
}

impl<F: Failure> From<F> for NodeError {
    fn from(failure: F) -> Self {
        let again = match failure.retry() {
            Retry::Never => Again::Never,
            Retry::Now => Again::Backoff,
            Retry::After(pause) => {
                Again::AfterMs(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
            }
        };
        Self { message: failure.to_string(), again }
    }
}
