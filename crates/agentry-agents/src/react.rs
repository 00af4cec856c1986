//! Reason and act: the model thinks and calls tools until it has an answer or a limit is reached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_core::chat::{ChatRequest, Message, ToolChoice, Usage};
use agentry_core::model::{CallContext, ChatModel, ModelError};
use agentry_core::tool::{Effect, Tool, ToolContext, ToolError};
use futures_util::future::join_all;
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

/// Runs the loop to its end. Dropping the future ends it at once.
pub async fn run(
    cx: &CallContext,
    model: &dyn ChatModel,
    tools: &[Arc<dyn Tool>],
    task: Task<'_>,
    limits: &Limits,
) -> Outcome {
    let deadline = cx.deadline.map_or(limits.deadline, |outer| outer.min(limits.deadline));
    let cx = CallContext { deadline: Some(deadline), ..cx.clone() };
    let until = tokio::time::Instant::from_std(deadline);
    let mut progress = Progress::new(limits, tools);
    let mut messages =
        vec![Message::system(data::explained(task.system)), Message::user(task.user)];
    loop {
        let request = request(task.model, tools, &messages, progress.is_last_step());
        let decision = match timeout_at(until, model.complete(&cx, request)).await {
            Ok(Ok(response)) => progress.answered(response),
            Ok(Err(ModelError::TimedOut { .. })) if Instant::now() >= deadline => {
                Decision::Stop(Stop::Deadline)
            }
            Ok(Err(error)) => Decision::Stop(Stop::ModelFailed(error)),
            Err(_) => Decision::Stop(Stop::Deadline),
        };
        let (said, calls) = match decision {
            Decision::Stop(stop) => return progress.into_outcome(stop),
            Decision::Act { said, calls } => (said, calls),
        };
        messages.push(said);
        let results = perform(&cx, tools, &calls, limits).await;
        for (call, result) in calls.into_iter().zip(results) {
            let shown = data::shown(&call.name, &result, limits.tool_output_bytes_max);
            messages.push(Message::tool(call.id.clone(), shown));
            progress.record(call, result);
        }
    }
}

fn request(
    model: &str,
    tools: &[Arc<dyn Tool>],
    messages: &[Message],
    is_last_step: bool,
) -> ChatRequest {
    ChatRequest {
        model: model.to_owned(),
        messages: messages.to_vec(),
        tools: tools.iter().map(|tool| tool.spec().definition()).collect(),
        tool_choice: (is_last_step && !tools.is_empty()).then_some(ToolChoice::None),
        ..ChatRequest::default()
    }
}

/// Calls that only read are made together; as soon as one changes something, they are made in their order.
async fn perform(
    cx: &CallContext,
    tools: &[Arc<dyn Tool>],
    calls: &[Planned],
    limits: &Limits,
) -> Vec<Result<String, ToolError>> {
    let reads = |call: &Planned| {
        let tool = call.tool.and_then(|at| tools.get(at));
        tool.is_none_or(|tool| tool.spec().effect == Effect::Read)
    };
    let performing = calls.iter().map(|call| perform_one(cx, tools, call, limits));
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
    cx: &CallContext,
    tools: &[Arc<dyn Tool>],
    call: &Planned,
    limits: &Limits,
) -> Result<String, ToolError> {
    let arguments = call.arguments.clone()?;
    let Some(tool) = call.tool.and_then(|at| tools.get(at)) else {
        let names: Vec<_> = tools.iter().map(|tool| tool.spec().name.as_str()).collect();
        let reason = format!("there is no tool `{}`; there are: {}", call.name, names.join(", "));
        return Err(ToolError::InvalidArguments { reason });
    };
    let deadline = cx.deadline;
    let start = Instant::now();
    let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(start));
    let allowed = limits.tool_timeout.min(left);
    let timed_out = || {
        let after_ms = u64::try_from(allowed.as_millis()).unwrap_or(u64::MAX);
        ToolError::TimedOut { after_ms }
    };
    if allowed.is_zero() {
        // Not even begun: what changes something must not.
        return Err(timed_out());
    }
    let (tenant, caller) = (cx.caller.tenant.to_string(), cx.caller.name.to_string());
    let cx = ToolContext { call_id: call.id.clone(), tenant, caller, deadline };
    let result = timeout(allowed, tool.call(&cx, arguments)).await;
    result.map_err(|_| timed_out())?.map(|output| output.text())
}

#[cfg(test)]
mod tests;
