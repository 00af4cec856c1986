//! What happens to one model call: the alias is resolved, a target answers or the next one does, time is bounded, and the
//! bill is settled exactly once.
//!
//! It knows no HTTP, no vendor and no database: targets are [`ChatModel`]s, and so is the [`Gateway`] itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::MicroUsd;
use agentry_core::chat::{ChatRequest, ChatResponse};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use async_trait::async_trait;
use tokio::time::Instant;

mod alias;
mod answer;
mod ask;
pub mod cache;
mod error;
mod observe;
mod plan;
mod request;
mod watch;

pub use alias::{Alias, Misconfigured, Price, Target};
pub use answer::{Answer, Outcome};
pub use error::Error;
pub use observe::{Call, Observer, Settled, Status};
pub use request::{Request, Wire};

use ask::{Asked, after, ask};
use observe::Settlement;
use plan::Plan;

/// Where every model call goes through. It is never changed: a new configuration is a new gateway.
pub struct Gateway {
    /// As configured, for listings.
    aliases: Vec<Arc<Alias>>,
    /// By alias, and by `provider/model` for each target.
    routes: HashMap<String, Arc<Alias>>,
    observer: Arc<dyn Observer>,
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

    /// Answers one call, streamed if the request says so. Once a piece was handed out, nothing is tried again.
    pub async fn call(
        &self,
        cx: &CallContext,
        request: impl Into<Request>,
    ) -> Result<Outcome, Error> {
        let request = request.into();
        let Some(alias) = self.routes.get(request.model()) else {
            observe::refused(&self.observer, cx.endpoint);
            return Err(self.unknown(request.model().to_owned()));
        };
        let mut settlement = Settlement::open(Arc::clone(&self.observer), &alias.name, cx.endpoint);
        let end = deadline(cx, alias);
        let cx = CallContext { deadline: Some(end.into_std()), ..cx.clone() };
        let mut plan = Plan::new(alias, &cx.call_id);
        loop {
            let target = plan.target(alias)?;
            settlement.asks(target);
            let error = match ask(target, alias, &cx, &request).await {
                Ok(asked) => {
                    let (answer, cost) = answer(asked, settlement, alias.idle_timeout, end);
                    let (target, attempts) = (target.name().into(), plan.attempts());
                    return Ok(Outcome { answer, target, attempts, cost });
                }
                Err(error) => error,
            };
            match plan.after(&error, end.saturating_duration_since(Instant::now())) {
                Some(wait) => {
                    let call_id = &*cx.call_id;
                    tracing::info!(call_id, target = target.name(), %error, "asking again");
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

/// Whole answers are settled here, streamed ones when they end.
fn answer(
    asked: Asked,
    mut settlement: Settlement,
    idle: Duration,
    end: Instant,
) -> (Answer, Option<MicroUsd>) {
    match asked {
        Asked::Whole(response) => {
            let cost = settlement.finish(response.usage.as_ref());
            (Answer::Whole(response), cost)
        }
        Asked::WholeBytes(whole) => {
            let cost = settlement.finish(whole.usage.as_ref());
            (Answer::WholeBytes(whole.body), cost)
        }
        Asked::Streaming(opening) => {
            settlement.first_token();
            (Answer::Streamed(watch::watch(opening, settlement, idle, end)), None)
        }
        Asked::StreamingBytes(opening) => {
            settlement.first_token();
            (Answer::StreamedBytes(watch::watch(opening, settlement, idle, end)), None)
        }
    }
}

fn deadline(cx: &CallContext, alias: &Alias) -> Instant {
    let ours = after(Instant::now(), alias.timeout);
    cx.deadline.map_or(ours, |theirs| ours.min(Instant::from_std(theirs)))
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
        let outcome = self.call(cx, request).await?;
        outcome.answer.into_stream().map_err(|_| answer::unexpected())
    }

    async fn complete(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        request.stream = false;
        let outcome = self.call(cx, request).await?;
        outcome.answer.into_whole().map_err(|_| answer::unexpected())
    }
}

#[cfg(test)]
mod tests;
