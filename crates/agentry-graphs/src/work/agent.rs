//! A named agent: its model and its tools, each call of either remembered, so that whatever happens none is made twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agentry_agents::definition::{Definition, Reasoning};
use agentry_agents::react::{self, Brief, Call, Hands, Limits, Stop};
use agentry_core::Caller;
use agentry_core::chat::{ChatRequest, ChatResponse, Message, ResponseFormat};
use agentry_core::model::ModelError;
use agentry_core::tool::{Effect, ToolContext, ToolError, ToolSpec, Toolbox};
use agentry_engine::{Class, NodeError, effect};
use async_trait::async_trait;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Came, Visit, Work, fatal, history, prompt, speech, undone};
use crate::definition::Agent;
use crate::view::View;

/// Of what was said last, as a failure shows it.
const SAID_LETTERS_MAX: usize = 200;

pub(crate) struct AgentWork {
    pub(crate) agent: Agent,
}

impl AgentWork {
    fn input(&self, view: &View<'_>) -> Result<Value, String> {
        self.agent.input.value.value(&|name: &str| view.get(name))
    }
}

#[async_trait]
impl Work for AgentWork {
    fn call(&self, view: &View<'_>) -> Result<Option<Value>, String> {
        Ok(Some(json!({ "agent": self.agent.agent.value, "input": self.input(view)? })))
    }

    async fn run(&self, visit: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError> {
        let name = &self.agent.agent.value;
        let definition = visit.ports.agents.get(name);
        let definition = definition.ok_or_else(|| fatal(format!("there is no agent `{name}`")))?;
        let input = self.input(view).map_err(fatal)?;
        let tools = visit.ports.tools.choose(definition.tools.iter().map(String::as_str));
        let tools = tools.map_err(|tool| {
            fatal(format!("the agent `{name}` needs the tool `{tool}`, which is not there"))
        })?;
        let specs: Vec<&ToolSpec> = tools.specs().collect();
        let item = view.item.map_or(0, |(_, index, _)| index);
        let (caller, asked) = (visit.caller().await?, AtomicU32::new(0));
        let hands = Remembering { visit, caller, tools: &tools, definition, item, asked };
        let complaint = |said: &str| read(definition, said).err();
        let brief = Brief {
            model: &definition.model,
            messages: messages(definition, input),
            temperature: definition.temperature,
            response_format: definition.schema.as_ref().map(|schema| ResponseFormat::JsonSchema {
                json_schema: json!({ "name": name, "strict": true, "schema": schema.source() }),
            }),
            complaint: Some(&complaint),
        };
        let outcome = react::converse(&hands, &specs, brief, &limits(definition, visit)).await;
        match outcome.stop {
            Stop::Finished => {
                let last = (item, hands.asked.load(Ordering::Relaxed));
                let value = read(definition, &outcome.text).map_err(fatal)?;
                Ok(Came::Said(value, speech::id(visit.node(), last)))
            }
            stop => Err(ended(definition, stop, &outcome.text)),
        }
    }
}

fn messages(definition: &Definition, input: Value) -> Vec<Message> {
    let persona = definition.persona.as_deref().map(Message::system);
    persona.into_iter().chain(history::messages(input)).collect()
}

fn limits(definition: &Definition, visit: &Visit<'_>) -> Limits {
    let within = definition.limits.timeout.min(visit.remaining());
    let limits = Limits::until((Instant::now() + within).into_std());
    Limits {
        steps_max: match definition.reasoning {
            Reasoning::Direct => 1,
            Reasoning::React => definition.limits.steps_max,
        },
        tokens_max: definition.limits.tokens_max,
        ..limits
    }
}

/// The answer's value: a text, or what the schema asks for.
fn read(definition: &Definition, said: &str) -> Result<Value, String> {
    let Some(schema) = &definition.schema else { return Ok(said.into()) };
    prompt::fitting(schema, said)
}

/// Why there is no answer, and what can be done about it.
fn ended(definition: &Definition, stop: Stop, said: &str) -> NodeError {
    let Definition { name, limits, .. } = definition;
    let said: String = said.chars().take(SAID_LETTERS_MAX).collect();
    let said = if said.is_empty() { said } else { format!("; it said last: {said}") };
    let why = match stop {
        Stop::ModelFailed(error) => {
            let NodeError { message, again } = NodeError::from(error);
            return NodeError { message: format!("the agent `{name}`: {message}"), again };
        }
        Stop::Deadline => {
            let reason = format!("the agent `{name}` had no answer in time; raise limits.timeout");
            return NodeError::transient(reason);
        }
        Stop::StepLimit => format!(
            "it asked its model {} times, as often as it may; raise limits.steps_max, or ask for less at once",
            limits.steps_max
        ),
        Stop::Budget => "it used up its tokens; raise limits.tokens_max".to_owned(),
        Stop::Cut(reason) => format!("its answer was cut off or does not fit: {reason}"),
        Stop::Stuck { tool } => format!("it went in circles calling `{tool}`"),
        Stop::Finished => "it has one".to_owned(),
    };
    fatal(format!("the agent `{name}` came to no answer: {why}{said}"))
}

/// Asks and calls through the journal of the run.
struct Remembering<'a> {
    visit: &'a Visit<'a>,
    caller: Arc<Caller>,
    tools: &'a Toolbox,
    definition: &'a Definition,
    item: usize,
    /// The number of the call of the model that was made last.
    asked: AtomicU32,
}

#[async_trait]
impl Hands for Remembering<'_> {
    async fn ask(&self, number: u32, request: ChatRequest) -> Result<ChatResponse, ModelError> {
        let Self { visit, caller, item, asked, .. } = self;
        asked.store(number, Ordering::Relaxed);
        let cx = visit.call_context(Arc::clone(caller));
        let mut failed = None;
        let key = format!("model-{number}");
        let asked = visit.effect(&key, Class::Idempotent, |_| async {
            match speech::ask(visit, &cx, request, (*item, number)).await {
                Ok(response) => serde_json::to_value(&response)
                    .map_err(|error| effect::Undone::Refused(error.to_string())),
                Err(error) => {
                    let undone = undone(&error);
                    failed = Some(error);
                    Err(undone)
                }
            }
        });
        let unreadable = |reason: String| ModelError::Internal { reason };
        match asked.await {
            Ok(value) => {
                ChatResponse::deserialize(value).map_err(|error| unreadable(error.to_string()))
            }
            Err(error) => Err(failed.unwrap_or_else(|| unreadable(error.to_string()))),
        }
    }

    async fn call(&self, call: Call<'_>, arguments: Value) -> Result<String, ToolError> {
        let Self { visit, caller, tools, definition, .. } = self;
        let Call { number, id: _, tool } = call;
        let class = match tools.spec(tool).map(|spec| spec.effect) {
            Some(Effect::Once) => Class::Once,
            Some(Effect::Read | Effect::Idempotent) | None => Class::Idempotent,
        };
        let key = format!("tool-{number}");
        let done = visit.effect(&key, class, |key| async move {
            let cx = ToolContext {
                call_id: key,
                tenant: caller.tenant.to_string(),
                caller: caller.name.to_string(),
                deadline: Some(visit.until().into_std()),
            };
            match tools.call(&cx, tool, arguments).await {
                Ok(output) => Ok(json!({ "said": output.text() })),
                Err(error @ (ToolError::Failed { .. } | ToolError::TimedOut { .. }))
                    if class == Class::Once =>
                {
                    Err(effect::Undone::Unknown(error.to_string()))
                }
                // What the model was told once, it is told again.
                Err(error) => Ok(json!({ "error": error.to_string() })),
            }
        });
        let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
        let result = match done.await {
            Ok(value) => match text(&value, "said") {
                Some(said) => Ok(said),
                None => Err(text(&value, "error").unwrap_or_default()),
            },
            Err(error) => Err(error.to_string()),
        };
        let detail = json!({ "agent": definition.name, "tool": tool, "good": result.is_ok() });
        visit.tell("tool.called", detail);
        result.map_err(|reason| ToolError::Failed { reason })
    }
}
