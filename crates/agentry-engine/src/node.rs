//! What a node is given, and what it gives back.

use std::fmt::Display;
use std::sync::Arc;

use agentry_core::run::{Delta, Values};
use agentry_core::{Failure, Retry, audit};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod ask;

pub use crate::context::NodeContext;
pub use crate::reducer::Put;
pub use ask::{Ask, AtEnd, Escalation, OnMessage, Reply};

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

/// What a node has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeOutput {
    pub then: Then,
    /// Kind and detail; the engine adds the time.
    pub events: Vec<(String, Value)>,
    pub audit: Vec<audit::Entry>,
    /// Where to go beside what the node's edges say.
    pub goto: Vec<Goto>,
    /// The update and `goto` are meant for the graph around this one, which goes on with them at once.
    pub to_parent: bool,
}

/// A way that a node or a router takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Goto {
    Node(String),
    /// Runs a node on an argument instead of the state; the same node as often as it is sent something.
    Send {
        node: String,
        arg: Value,
    },
}

impl Goto {
    #[must_use]
    pub fn node(name: &str) -> Self {
        Self::Node(name.to_owned())
    }

    #[must_use]
    pub fn send(node: &str, arg: impl Into<Value>) -> Self {
        Self::Send { node: node.to_owned(), arg: arg.into() }
    }
}

#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost every node that asks nothing more to read"
)]
pub enum Then {
    /// The node is done and has written this.
    Update(Vec<(String, Put)>),
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
        Self { then, events: Vec::new(), audit: Vec::new(), goto: Vec::new(), to_parent: false }
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
    pub fn write(self, channel: &str, delta: Delta) -> Self {
        self.put(channel, delta.into())
    }

    /// Lets the channel's reducer take `value`: a list is appended, a number added, an object merged.
    #[must_use]
    pub fn update(self, channel: &str, value: impl Into<Value>) -> Self {
        self.put(channel, Put::Reduce(value.into()))
    }

    /// Replaces the channel's value, whatever its reducer.
    #[must_use]
    pub fn overwrite(self, channel: &str, value: impl Into<Value>) -> Self {
        self.put(channel, Put::Overwrite(value.into()))
    }

    #[must_use]
    pub fn put(mut self, channel: &str, put: Put) -> Self {
        if let Then::Update(writes) = &mut self.then {
            writes.push((channel.to_owned(), put));
        }
        self
    }

    /// Goes there, beside where the node's edges lead.
    #[must_use]
    pub fn goto(mut self, way: Goto) -> Self {
        self.goto.push(way);
        self
    }

    /// Ends the subgraph: what this output writes and where it goes is for the graph around it.
    #[must_use]
    pub fn for_parent(mut self) -> Self {
        self.to_parent = true;
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
    /// When the question that the node has just asked is answered: [`NodeContext::interrupt`] says this.
    Answered,
}

impl NodeError {
    /// Another attempt would fail alike.
    #[must_use]
    pub fn fatal(message: impl Display) -> Self {
        Self { message: message.to_string(), again: Again::Never }
    }

    pub(crate) fn interrupted() -> Self {
        Self { message: "it waits for an answer".to_owned(), again: Again::Answered }
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
