//! What the kinds of nodes do.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::model::{Caching, CallContext};
use agentry_core::{Caller, Failure, Retry, Timestamp};
use agentry_engine::{Ask, Class, NodeContext, NodeError, Reply, effect};
use async_trait::async_trait;
use serde_json::Value;
use tokio::time::Instant;

use crate::ports::Ports;
use crate::view::View;

mod agent;
mod history;
pub(crate) mod http;
pub(crate) mod human;
mod prompt;
mod set;
mod speech;
mod tool;

pub(crate) use agent::AgentWork;
pub(crate) use http::HttpWork;
pub(crate) use human::HumanWork;
pub(crate) use prompt::PromptWork;
pub(crate) use set::SetWork;
pub(crate) use tool::ToolWork;

/// The inside of a node.
#[async_trait]
pub(crate) trait Work: Send + Sync {
    /// What it asks of the outside. Where that is the same, so may be what it comes to.
    fn call(&self, view: &View<'_>) -> Result<Option<Value>, String> {
        let _ = view;
        Ok(None)
    }

    async fn run(&self, visit: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError>;
}

/// What a visit has come to.
#[derive(Debug, PartialEq)]
pub(crate) enum Came {
    To(Value),
    /// To what a model has said, and what the pieces of it were told under.
    Said(Value, String),
    /// To several keys at once.
    Writes(Vec<(String, Value)>),
    /// To a question, and to nothing before it is answered.
    Asks(Box<Ask>),
}

/// One attempt at a node, or at a node for an item of a list.
pub(crate) struct Visit<'a> {
    cx: &'a NodeContext,
    pub(crate) ports: &'a Ports,
    /// When this attempt is given up.
    until: Instant,
}

impl<'a> Visit<'a> {
    pub(crate) fn new(cx: &'a NodeContext, ports: &'a Ports, within: Duration) -> Self {
        Self { cx, ports, until: Instant::now() + within }
    }

    pub(crate) fn node(&self) -> &NodeContext {
        self.cx
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.cx.attempt()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.cx.now()
    }

    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    pub(crate) fn tell(&self, kind: &str, detail: Value) {
        self.cx.tell(kind, detail);
    }

    /// What came of the question of this name.
    pub(crate) fn answer(&self, name: &str) -> Option<&Reply> {
        self.cx.answer(name)
    }

    /// Remembered under its name: what is done is not done again, whatever becomes of this attempt.
    pub(crate) async fn effect<F, Done, E>(
        &self,
        name: &str,
        class: Class,
        f: F,
    ) -> Result<Value, effect::Error>
    where
        F: FnOnce(String) -> Done + Send,
        Done: Future<Output = Result<Value, E>> + Send,
        E: Into<effect::Undone>,
    {
        self.cx.effect(name, class, f).await
    }

    /// For whom it is.
    pub(crate) async fn caller(&self) -> Result<Arc<Caller>, NodeError> {
        let payer = match &self.ports.payers {
            Some(payers) => payers.payer(self.cx.run()).await?,
            None => None,
        };
        Ok(payer.unwrap_or_else(|| Arc::clone(&self.ports.caller)))
    }

    pub(crate) fn call_context(&self, caller: Arc<Caller>) -> CallContext {
        let run: Arc<str> = self.cx.run().to_string().into();
        let call = format!("{run}/{}", self.cx.node());
        CallContext {
            deadline: Some(self.until.into_std()),
            run: Some(run),
            caching: Caching::Allowed,
            trace: self.cx.call_trace(),
            meter: Some(self.cx.meter().clone()),
            ..CallContext::of(caller, call, "graph")
        }
    }
}

/// As an effect says it: what surely did not happen may be tried again if that can help.
pub(crate) fn undone<F: Failure>(failure: &F) -> effect::Undone {
    match failure.retry() {
        Retry::Never => effect::Undone::Refused(failure.to_string()),
        Retry::Now | Retry::After(_) => effect::Undone::NotDone(failure.to_string()),
    }
}

/// What a definition makes impossible, as nobody could know before.
pub(crate) fn fatal(problem: impl fmt::Display) -> NodeError {
    NodeError::fatal(problem)
}
