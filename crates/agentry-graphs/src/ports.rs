//! What graphs need from outside: models, agents, tools, and a way to call other services.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentry_agents::definition::Definition;
use agentry_core::model::ChatModel;
use agentry_core::shared::Shared;
use agentry_core::tool::{Tool, ToolSpec, Toolbox};
use agentry_core::{Caller, RunId, outbound};
use agentry_engine::NodeError;
use async_trait::async_trait;
use serde::Serialize;

use crate::definition::Secret;
use crate::types::Type;

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
    /// By name.
    pub agents: BTreeMap<String, Definition>,
    pub tools: Toolbox,
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
        let tools = Toolbox::new();
        Self {
            model,
            agents: BTreeMap::new(),
            tools,
            http: None,
            cache: None,
            caller,
            payers: None,
        }
    }

    #[must_use]
    pub fn tool(mut self, tool: Arc<dyn Tool>) -> Self {
        self.tools = self.tools.with(tool);
        self
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").field("tools", &self.tools).finish_non_exhaustive()
    }
}

/// The names that there are, for checking. What is `None` is not known, and so not checked.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    pub models: Option<BTreeSet<String>>,
    /// By name, what they come to.
    pub agents: Option<BTreeMap<String, Type>>,
    pub tools: Option<BTreeMap<String, ToolSpec>>,
}

impl Catalogue {
    /// What agents are called, and what they come to.
    #[must_use]
    pub fn agents(agents: &BTreeMap<String, Definition>) -> BTreeMap<String, Type> {
        let of = |agent: &Definition| match &agent.schema {
            Some(schema) => Type::of_schema(schema.source()),
            None => Type::Text,
        };
        agents.iter().map(|(name, agent)| (name.clone(), of(agent))).collect()
    }

    /// What the tools of a box are called, and what they take.
    #[must_use]
    pub fn tools(tools: &Toolbox) -> BTreeMap<String, ToolSpec> {
        tools.specs().map(|spec| (spec.name.clone(), spec.clone())).collect()
    }
}

/// The model of prompts that name none.
pub const MODEL: &str = "default";
