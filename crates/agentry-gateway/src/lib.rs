//! What happens to one model call: the alias is resolved, a target answers or the next one does, time is bounded, and the
//! bill is settled exactly once.
//!
//! It knows no HTTP, no vendor and no database: targets are [`ChatModel`]s, and so is the [`Gateway`] itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::MicroUsd;
use agentry_core::chat::{ChatRequest, ChatResponse};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError, Waiting};
use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};

mod alias;
mod error;
mod observe;
mod plan;
mod watch;

pub use alias::{Alias, Misconfigured, Price, Target};
pub use error::Error;
pub use observe::{Call, Observer, Settled, Status};

use observe::Settlement;
use plan::Plan;
use watch::Opening;

/// Where every model call goes through. It is never changed: a new configuration is a new gateway.
pub struct Gateway {
    /// As configured, for listings.
    aliases: Vec<Arc<Alias>>,
    /// By alias, and by `provider/model` for each target.
    routes: HashMap<String, Arc<Alias>>,
    observer: Arc<dyn Observer>,
}

/// An answer, whole or as it is written.
pub enum Answer {
    Whole {
        response: Box<ChatResponse>,
        /// Nothing when the price or the usage is not known.
        cost: Option<MicroUsd>,
    },
    /// The call is settled when this ends or is dropped.
    Streamed(ChatStream),
}

pub struct Outcome {
    pub answer: Answer,
    /// `provider/model` that answered.
    pub target: String,
    /// How often a target was asked.
    pub attempts: u32,
}

impl Gateway {
    /// All that is wrong with `aliases` is reported at once.
    pub fn new(aliases: Vec<Alias>, observer: Arc<dyn Observer>) -> Result<Self, Misconfigured> {
        alias::check(&aliases)?;
        let aliases: Vec<_> = aliases.into_iter().map(Arc::new).collect();
        let mut routes = HashMap::new();
        for alias in &aliases {
            for target in &alias.targets {
                let only = Alias { targets: vec![target.clone()], ..alias.as_ref().clone() };
                routes.entry(target.name()).or_insert_with(|| Arc::new(only));
            }
        }
        for alias in &aliases {
            routes.insert(alias.name.clone(), Arc::clone(alias));
        }
        Ok(Self { aliases, routes, observer })
    }

    /// What callers may name as `model`.
    pub fn models(&self) -> impl Iterator<Item = &Alias> {
        self.aliases.iter().map(AsRef::as_ref)
    }

    /// Answers one call, streamed if `request.stream` says so. Once an event was handed out, nothing is tried again.
    pub async fn call(&self, cx: &CallContext, request: ChatRequest) -> Result<Outcome, Error> {
        let Some(alias) = self.routes.get(&request.model) else {
            observe::refused(&self.observer, cx.endpoint);
            return Err(self.unknown(request.model));
        };
        let mut settlement = Settlement::open(Arc::clone(&self.observer), &alias.name, cx.endpoint);
        let end = deadline(cx, alias);
        let cx = CallContext { deadline: Some(end.into_std()), ..cx.clone() };
        let mut plan = Plan::new(alias, &cx.call_id);
        loop {
            let target = plan.target(alias)?;
            settlement.asks(target);
            let request = ChatRequest { model: target.model.clone(), ..request.clone() };
            let error = match ask(target, alias, &cx, request).await {
                Ok(Asked::Whole(response)) => {
                    let cost = settlement.finish(response.usage.as_ref());
                    let answer = Answer::Whole { response, cost };
                    return Ok(outcome(answer, target, &plan));
                }
                Ok(Asked::Streaming(opening)) => {
                    settlement.first_token();
                    let stream = watch::watch(opening, settlement, alias.idle_timeout, end);
                    return Ok(outcome(Answer::Streamed(stream), target, &plan));
                }
                Err(error) => error,
            };
            match plan.after(&error, end.saturating_duration_since(Instant::now())) {
                Some(wait) => {
                    tracing::info!(call_id = cx.call_id, target = target.name(), %error, "asking again");
                    tokio::time::sleep(wait).await;
                }
                None => {
                    settlement.fail(&error);
                    let attempts = plan.attempts();
                    return Err(Error::Model { target: target.name(), attempts, error });
                }
            }
        }
    }

    fn unknown(&self, model: String) -> Error {
        let known = self.aliases.iter().map(|alias| alias.name.clone()).collect();
        Error::UnknownModel { model, known }
    }
}

enum Asked {
    Whole(Box<ChatResponse>),
    Streaming(Opening),
}

fn outcome(answer: Answer, target: &Target, plan: &Plan) -> Outcome {
    Outcome { answer, target: target.name(), attempts: plan.attempts() }
}

fn deadline(cx: &CallContext, alias: &Alias) -> Instant {
    let ours = after(Instant::now(), alias.timeout);
    cx.deadline.map_or(ours, |theirs| ours.min(Instant::from_std(theirs)))
}

/// A time that is too far away to be written down is as good as a year from now.
fn after(start: Instant, span: Duration) -> Instant {
    start.checked_add(span).unwrap_or_else(|| start + Duration::from_secs(365 * 86_400))
}

/// One attempt at one target: it is over when the whole answer is there, or the first token of a streamed one.
async fn ask(
    target: &Target,
    alias: &Alias,
    cx: &CallContext,
    request: ChatRequest,
) -> Result<Asked, ModelError> {
    let start = Instant::now();
    let end = cx.deadline.map_or_else(|| after(start, alias.timeout), Instant::from_std);
    let timed_out = |waiting| move |_| ModelError::TimedOut { waiting, after: start.elapsed() };
    if !request.stream {
        let whole = timeout_at(end, target.upstream.complete(cx, request));
        return whole
            .await
            .map_err(timed_out(Waiting::End))?
            .map(|response| Asked::Whole(Box::new(response)));
    }
    let first_by = end.min(after(start, alias.first_token_timeout));
    let waiting = if first_by < end { Waiting::FirstEvent } else { Waiting::End };
    let opening = async {
        let stream = target.upstream.stream(cx, request).await?;
        watch::open(stream).await
    };
    timeout_at(first_by, opening).await.map_err(timed_out(waiting))?.map(Asked::Streaming)
}

#[async_trait]
impl ChatModel for Gateway {
    /// What at least one target can do.
    fn capabilities(&self) -> Capabilities {
        let targets = self.aliases.iter().flat_map(|alias| &alias.targets);
        targets.fold(Capabilities::default(), |all, target| {
            let Capabilities { tools, images, json_schema } = target.upstream.capabilities();
            Capabilities {
                tools: all.tools || tools,
                images: all.images || images,
                json_schema: all.json_schema || json_schema,
            }
        })
    }

    async fn stream(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        request.stream = true;
        match self.call(cx, request).await?.answer {
            Answer::Streamed(stream) => Ok(stream),
            Answer::Whole { .. } => Err(internal("a streamed call was answered whole")),
        }
    }

    async fn complete(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        request.stream = false;
        match self.call(cx, request).await?.answer {
            Answer::Whole { response, .. } => Ok(*response),
            Answer::Streamed(stream) => agentry_core::model::collect(stream).await,
        }
    }
}

fn internal(reason: &str) -> ModelError {
    ModelError::Internal { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
