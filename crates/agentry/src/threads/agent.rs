//! The agent that is always there: a conversation, and a model that answers it.

use std::sync::Arc;

use agentry_core::chat::{Assembly, ChatRequest, Event};
use agentry_core::keys::Priority;
use agentry_core::model::{CallContext, ChatModel, ModelError};
use agentry_core::run::Values;
use agentry_core::threads::Threads;
use agentry_core::{Caller, Failure as _, Retry};
use agentry_engine::effect::{Error as EffectError, Undone};
use agentry_engine::graph::{END, Reducer, START};
use agentry_engine::version::Policy;
use agentry_engine::{
    Class, Error, Graph, Node, NodeContext, NodeError, NodeOutput, NodeSettings, Program,
};
use agentry_server::Callers;
use agentry_server::engine::Wanting;
use async_trait::async_trait;
use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};

use super::{message_id, messages};

/// What its callers know it by.
pub(crate) const NAME: &str = "agent";
/// The model that it asks unless it is told otherwise.
const MODEL: &str = "default";
const CHANNEL: &str = "messages";
/// The longest that one answer may take; aliases have deadlines of their own.
const ANSWER_MS_MAX: u64 = 600_000;
/// Pieces are told when they have this many bytes, or nothing more comes at once.
const PIECE_BYTES: usize = 24;

/// What it needs to speak.
pub(crate) struct Speaking {
    pub(crate) model: Arc<dyn ChatModel>,
    /// Where runs say on whose behalf they are.
    pub(crate) archive: Arc<dyn Threads>,
    pub(crate) callers: Arc<Callers>,
}

pub(crate) fn chat(speaking: Speaking) -> Result<Program, Error> {
    let settings = NodeSettings {
        deadline_ms: Some(ANSWER_MS_MAX),
        // The gateway has tried others already.
        attempts_max: 1,
        ..NodeSettings::default()
    };
    Graph::builder(NAME)
        .on_change(Policy::Migrate)
        .channel(CHANNEL, Reducer::Messages)
        .node_with("model", settings, speaking)
        .edge(START, "model")
        .edge("model", END)
        .build()
}

#[async_trait]
impl Node for Speaking {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let known = self.archive.run(cx.run()).await?;
        let wanting = known.as_ref().and_then(Wanting::of);
        let config = wanting.as_ref().map(|wanting| wanting.config.clone()).unwrap_or_default();
        let request = request(state, &config).map_err(NodeError::fatal)?;
        let caller = match &wanting {
            Some(wanting) => self
                .callers
                .caller(&wanting.owner, &request.model)
                .map_err(|refusal| NodeError::fatal(refusal.message()))?,
            None => Arc::new(Caller::named(NAME)),
        };
        let call = CallContext {
            run: Some(cx.run().to_string().into()),
            session: Some(cx.thread().to_string().into()),
            priority: Priority::Normal,
            trace: cx.call_trace(),
            meter: Some(cx.meter().clone()),
            ..CallContext::of(caller, cx.run().to_string(), "agent")
        };
        let id = message_id(cx.run(), state_len(state));
        let said = cx.effect("answer", Class::Idempotent, |_| self.ask(cx, &call, (request, id)));
        let Some(said) = cx.cancelled().run_until_cancelled(said).await else {
            return Err(NodeError::fatal("the run was cancelled"));
        };
        match said {
            Ok(message) => Ok(NodeOutput::done().update(CHANNEL, json!([message]))),
            Err(EffectError::NotDone(reason)) => Err(NodeError::transient(reason)),
            Err(refused) => Err(NodeError::fatal(refused)),
        }
    }
}

fn state_len(state: &Values) -> usize {
    state.get(CHANNEL).and_then(Value::as_array).map_or(0, Vec::len)
}

fn request(state: &Values, config: &Map<String, Value>) -> Result<ChatRequest, String> {
    let configured = |name: &str| {
        let in_configurable = config.get("configurable").and_then(|it| it.get(name));
        in_configurable.or_else(|| config.get("context").and_then(|it| it.get(name)))
    };
    let mut said = messages::asked(state.get(CHANNEL).unwrap_or(&Value::Null))?;
    if said.is_empty() {
        return Err("the thread has no messages: send some as input".to_owned());
    }
    if let Some(prompt) = configured("system_prompt").and_then(Value::as_str) {
        said.insert(0, agentry_core::chat::Message::system(prompt));
    }
    Ok(ChatRequest {
        model: configured("model").and_then(Value::as_str).unwrap_or(MODEL).to_owned(),
        messages: said,
        temperature: configured("temperature").and_then(Value::as_f64),
        max_tokens: configured("max_tokens").and_then(Value::as_u64),
        stream: true,
        ..ChatRequest::default()
    })
}

impl Speaking {
    /// The whole answer; its pieces are told as they come.
    async fn ask(
        &self,
        cx: &NodeContext,
        call: &CallContext,
        (request, id): (ChatRequest, String),
    ) -> Result<Value, Undone> {
        let mut stream = self.model.stream(call, request).await.map_err(|error| undone(&error))?;
        let mut assembly = Assembly::default();
        let mut piece = String::new();
        let told = |piece: &mut String| {
            if !piece.is_empty() {
                let chunk = messages::chunk(&id, piece);
                cx.tell("messages", json!([chunk, metadata(cx)]));
                piece.clear();
            }
        };
        while let Some(event) = stream.next().await {
            let event = event.map_err(|error| undone(&error))?;
            if let Event::Text { choice: 0, text } = &event {
                piece.push_str(text);
            }
            let over = matches!(event, Event::Done);
            assembly.push(event);
            if over || piece.len() >= PIECE_BYTES {
                told(&mut piece);
            }
        }
        if !assembly.is_done() {
            return Err(undone(&ModelError::Truncated));
        }
        Ok(messages::answer(&id, &assembly.into_response()))
    }
}

/// What stands beside each piece of a message.
fn metadata(cx: &NodeContext) -> Value {
    json!({
        "langgraph_node": cx.node(),
        "langgraph_step": cx.superstep(),
        "langgraph_checkpoint_ns": cx.namespace(),
        "run_id": cx.run(),
        "thread_id": cx.thread(),
        "graph_id": NAME,
        "tags": [],
    })
}

fn undone(error: &ModelError) -> Undone {
    match error.retry() {
        Retry::Never => Undone::Refused(error.to_string()),
        Retry::Now | Retry::After(_) => Undone::NotDone(error.to_string()),
    }
}
