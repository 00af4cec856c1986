//! What graphs need from outside: models, agents, tools, and a way to call other services.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::model::{CallContext, ChatModel};
use agentry_core::shared::Shared;
use agentry_core::tool::{Tool, ToolSpec};
use agentry_core::{Caller, RunId, outbound};
use agentry_engine::NodeError;
use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use crate::definition::Secret;

/// The agents that there are, by name.
#[async_trait]
pub trait Agents: Send + Sync {
    /// `input` is a text, or whatever the agent understands. The call's deadline and its payer are in `cx`.
    async fn run(&self, cx: &CallContext, agent: &str, input: Value) -> Result<Value, NodeError>;
}

/// Calls other services.
#[async_trait]
pub trait Http: Send + Sync {
    /// Gives up after `within`, and refuses an answer of more than `request.bytes_max`. A status that means failure is
    /// an answer too: what to make of it is for the caller.
    async fn send(&self, request: &Request, within: Duration) -> Result<Response, outbound::Error>;
}

/// Says for whom a run is, where not all runs are for the same one.
#[async_trait]
pub trait Payers: Send + Sync {
    /// `None` when nobody in particular wanted it.
    async fn payer(&self, run: RunId) -> Result<Option<Arc<Caller>>, NodeError>;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    pub method: String,
    pub url: String,
    /// In lower case.
    pub headers: Vec<(String, HeaderValue)>,
    pub body: Option<String>,
    pub bytes_max: usize,
    /// Stays the same however often the request is repeated.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderValue {
    Text(String),
    /// To be read where the request is sent.
    Secret(Secret),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Everything outside. What a graph does not need may be missing.
#[derive(Clone)]
pub struct Ports {
    pub model: Arc<dyn ChatModel>,
    pub agents: Option<Arc<dyn Agents>>,
    pub tools: BTreeMap<String, Arc<dyn Tool>>,
    pub http: Option<Arc<dyn Http>>,
    /// Keeps what nodes with `cache` came to.
    pub cache: Option<Arc<dyn Shared>>,
    /// For whom the calls are made, unless `payers` knows better.
    pub caller: Arc<Caller>,
    pub payers: Option<Arc<dyn Payers>>,
}

impl Ports {
    /// A model and nothing else.
    #[must_use]
    pub fn new(model: Arc<dyn ChatModel>) -> Self {
        let caller = Arc::new(Caller::named("graphs"));
        let tools = BTreeMap::new();
        Self { model, agents: None, tools, http: None, cache: None, caller, payers: None }
    }

    #[must_use]
    pub fn tool(mut self, tool: Arc<dyn Tool>) -> Self {
        self.tools.insert(tool.spec().name.clone(), tool);
        self
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tools: Vec<&String> = self.tools.keys().collect();
        f.debug_struct("Ports").field("tools", &tools).finish_non_exhaustive()
    }
}

/// The names that there are, for checking. What is `None` is not known, and so not checked.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    pub models: Option<BTreeSet<String>>,
    pub agents: Option<BTreeSet<String>>,
    pub tools: Option<BTreeMap<String, ToolSpec>>,
}

/// The model of prompts that name none.
pub const MODEL: &str = "default";
