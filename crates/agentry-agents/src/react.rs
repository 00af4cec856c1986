//! Reason and act: the model thinks and calls tools until it has an answer or a limit is reached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_core::chat::{ChatRequest, ChatResponse, Message, ResponseFormat, ToolChoice, Usage};
use agentry_core::model::{CallContext, ChatModel, ModelError};
use agentry_core::tool::{Effect, Tool, ToolContext, ToolError, ToolSpec};
use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::{timeout, timeout_at};

mod data;
mod progress;

pub use progress::{Step, Stop};

use progress::{Decision, Planned, Progress};

/// What is asked of whom.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The model's alias.
    pub model: &'a str,
    pub system: &'a str,
    pub user: &'a str,
}

/// Where the loop ends, whatever the model would like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Calls of the model. On the last one it may call no tool.
    pub steps_max: u32,
    /// On everything together.
    pub deadline: Instant,
    /// Over all calls, as the upstream counts them.
    pub tokens_max: Option<u64>,
    pub tool_timeout: Duration,
    /// Of one tool's output; the rest is cut off, and the model is told.
    pub tool_output_bytes_max: usize,
}

impl Limits {
    #[must_use]
    pub fn until(deadline: Instant) -> Self {
        Self {
            steps_max: 10,
            deadline,
            tokens_max: None,
            tool_timeout: Duration::from_secs(30),
            tool_output_bytes_max: 16 << 10,
        }
    }
}

/// What came of it. There is always one: a loop that fails says how far it got.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub stop: Stop,
    /// The last thing that the model said; the answer when `stop` is [`Stop::Finished`].
    pub text: String,
    /// Every tool call, in order.
    pub steps: Vec<Step>,
    pub usage: Usage,
}

/// Says what is wrong with an answer, if something is.
pub type Complaint<'a> = dyn Fn(&str) -> Option<String> + Send + Sync + 'a;

/// What is asked of whom, where it is more than one question.
pub struct Brief<'a> {
    /// The model's alias.
    pub model: &'a str,
    /// What the model reads first. What tools return follows.
    pub messages: Vec<Message>,
    pub temperature: Option<f64>,
    pub response_format: Option<ResponseFormat>,
    /// What is wrong with an answer, if something is: then the model may try again, as long as it has steps left.
    pub complaint: Option<&'a Complaint<'a>>,
}

/// A call of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// Counts all of them from 0, in the order in which the model wanted them.
    pub number: usize,
    /// What the model calls it by.
    pub id: &'a str,
    pub tool: &'a str,
}

/// Asks the model and calls the tools for a loop, which knows neither. A loop that begins anew asks the same things in the
/// same order as long as it gets the same answers, so whoever remembers them can go on from where it stood.
#[async_trait]
pub trait Hands: Send + Sync {
    /// `number` counts from 0.
    async fn ask(&self, number: u32, request: ChatRequest) -> Result<ChatResponse, ModelError>;

    /// `arguments` is an object.
    async fn call(&self, call: Call<'_>, arguments: Value) -> Result<String, ToolError>;
}

/// Runs the loop to its end. Dropping the future ends it at once.
pub async fn run(
    cx: &CallContext,
    model: &dyn ChatModel,
    tools: &[Arc<dyn Tool>],
    task: Task<'_>,
    limits: &Limits,
) -> Outcome {
    let deadline = cx.deadline.map_or(limits.deadline, |outer| outer.min(limits.deadline));
    let limits = Limits { deadline, ..limits.clone() };
    let cx = CallContext { deadline: Some(deadline), ..cx.clone() };
    let specs: Vec<&ToolSpec> = tools.iter().map(|tool| tool.spec()).collect();
    let brief = Brief {
        model: task.model,
        messages: vec![Message::system(task.system), Message::user(task.user)],
        temperature: None,
        response_format: None,
        complaint: None,
    };
    converse(&Direct { cx, model, tools }, &specs, brief, &limits).await
}

/// Runs the loop to its end with the hands of somebody else.
pub async fn converse(
    hands: &dyn Hands,
    tools: &[&ToolSpec],
    brief: Brief<'_>,
    limits: &Limits,
) -> Outcome {
    let until = tokio::time::Instant::from_std(limits.deadline);
    let mut progress = Progress::new(limits, tools.iter().map(|tool| tool.name.clone()).collect());
    let Brief { model, messages, temperature, response_format, complaint } = brief;
    let mut asked = ChatRequest {
        model: model.to_owned(),
        messages: data::explained(messages, !tools.is_empty()),
        temperature,
        response_format,
        tools: tools.iter().map(|tool| tool.definition()).collect(),
        ..ChatRequest::default()
    };
    loop {
        let is_last = progress.is_last_step() && !tools.is_empty();
        asked.tool_choice = is_last.then_some(ToolChoice::None);
        let answer = hands.ask(progress.asked(), asked.clone());
        let decision = match timeout_at(until, answer).await {
            Ok(Ok(response)) => progress.answered(response, complaint),
            Ok(Err(ModelError::TimedOut { .. })) if Instant::now() >= limits.deadline => {
                Decision::Stop(Stop::Deadline)
            }
            Ok(Err(error)) => Decision::Stop(Stop::ModelFailed(error)),
            Err(_) => Decision::Stop(Stop::Deadline),
        };
        let (said, calls) = match decision {
            Decision::Stop(stop) => return progress.into_outcome(stop),
            Decision::Again { said, complaint } => {
                asked.messages.extend([said, Message::user(complaint)]);
                continue;
            }
            Decision::Act { said, calls } => (said, calls),
        };
        asked.messages.push(said);
        let results = perform(hands, tools, (&calls, progress.called()), limits).await;
        for (call, result) in calls.into_iter().zip(results) {
            let shown = data::shown(&call.name, &result, limits.tool_output_bytes_max);
            asked.messages.push(Message::tool(call.id.clone(), shown));
            progress.record(call, result);
        }
    }
}

/// Calls that only read are made together; as soon as one changes something, they are made in their order.
async fn perform(
    hands: &dyn Hands,
    tools: &[&ToolSpec],
    (calls, before): (&[Planned], usize),
    limits: &Limits,
) -> Vec<Result<String, ToolError>> {
    let reads = |call: &Planned| {
        let tool = call.tool.and_then(|at| tools.get(at));
        tool.is_none_or(|tool| tool.effect == Effect::Read)
    };
    let performing = calls
        .iter()
        .zip(before..)
        .map(|(call, number)| perform_one(hands, tools, (call, number), limits));
    if calls.iter().all(reads) {
        return join_all(performing).await;
    }
    let mut results = Vec::new();
    for call in performing {
        results.push(call.await);
    }
    results
}

async fn perform_one(
    hands: &dyn Hands,
    tools: &[&ToolSpec],
    (call, number): (&Planned, usize),
    limits: &Limits,
) -> Result<String, ToolError> {
    let arguments = call.arguments.clone()?;
    if call.tool.is_none() {
        let names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
        let reason = format!("there is no tool `{}`; there are: {}", call.name, names.join(", "));
        return Err(ToolError::InvalidArguments { reason });
    }
    let left = limits.deadline.saturating_duration_since(Instant::now());
    let allowed = limits.tool_timeout.min(left);
    let timed_out = || {
        let after_ms = u64::try_from(allowed.as_millis()).unwrap_or(u64::MAX);
        ToolError::TimedOut { after_ms }
    };
    if allowed.is_zero() {
        // Not even begun: what changes something must not.
        return Err(timed_out());
    }
    let called = hands.call(Call { number, id: &call.id, tool: &call.name }, arguments);
    timeout(allowed, called).await.map_err(|_| timed_out())?
}

/// Remembers nothing.
struct Direct<'a> {
    cx: CallContext,
    model: &'a dyn ChatModel,
    tools: &'a [Arc<dyn Tool>],
}

#[async_trait]
impl Hands for Direct<'_> {
    async fn ask(&self, _: u32, request: ChatRequest) -> Result<ChatResponse, ModelError> {
        self.model.complete(&self.cx, request).await
    }

    async fn call(&self, call: Call<'_>, arguments: Value) -> Result<String, ToolError> {
        let tool = self.tools.iter().find(|tool| tool.spec().name == call.tool);
        let gone = || ToolError::Failed { reason: "the tool is gone".to_owned() };
        let CallContext { caller, deadline, .. } = &self.cx;
        let cx = ToolContext {
            call_id: call.id.to_owned(),
            tenant: caller.tenant.to_string(),
            caller: caller.name.to_string(),
            deadline: *deadline,
        };
        let output = tool.ok_or_else(gone)?.call(&cx, arguments).await?;
        Ok(output.text())
    }
}

#[cfg(test)]
mod tests;
