//! Telling somebody outside that a run is over.

use agentry_core::thread::Run;
use agentry_core::{RunId, Timestamp};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::engine::Engine;
use super::wish::invalid;
use super::{Face, outcome, show};
use crate::Refusal;

/// Keeps promises to tell somebody outside, where that is allowed.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Why nobody may be called there, in words that say what to do.
    async fn check(&self, url: &str) -> Result<(), String>;
    /// Durable when it answers: once the run is over it is told at least once, also after a restart, unless nobody takes it for
    /// long. A promise about a run that never begins comes to nothing.
    async fn promise(&self, promise: Promise) -> Result<(), Refusal>;
    /// The run is over. Without this hint that is noticed a little later.
    async fn hasten(&self, run: RunId);
}

/// Whom to tell of the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    pub run: RunId,
    pub url: String,
    /// What becomes of its thread then.
    pub then: Then,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Keep,
    /// It goes when what is to be told was read.
    Delete,
}

const URL_BYTES_MAX: usize = 2_048;

/// The address that is to be called, if there is one and it may be.
pub(super) async fn wanted(face: &Face, url: Option<&str>) -> Result<Option<String>, Refusal> {
    let Some(url) = url else { return Ok(None) };
    if url.len() > URL_BYTES_MAX {
        return Err(invalid("webhook", &format!("it is longer than {URL_BYTES_MAX} bytes")));
    }
    let Some(webhooks) = &face.threading.webhooks else {
        return Err(invalid("webhook", "this instance calls nobody: leave it out"));
    };
    match webhooks.check(url).await {
        Ok(()) => Ok(Some(url.to_owned())),
        Err(reason) => Err(Refusal::bad_request("webhook_forbidden", reason).param("webhook")),
    }
}

/// Waits for the end of the run, owned by the server. When the server stops before, it is noticed without this.
pub(super) fn hasten_after(face: &Face, run: &Run) {
    let (threading, run) = (face.threading.clone(), run.clone());
    let stopping = face.app.stopping.clone();
    let Some(webhooks) = threading.webhooks.clone() else { return };
    face.app.tracker.spawn(async move {
        let ended = outcome::of(threading.engine.as_ref(), &run);
        if let Some(Ok(_)) = stopping.run_until_cancelled(ended).await {
            webhooks.hasten(run.id).await;
        }
    });
}

/// What is told of a run: itself, and the state that it has left. Waits for its end.
pub async fn announcement(engine: &dyn Engine, run: &Run) -> Result<Value, Refusal> {
    let outcome = outcome::of(engine, run).await?;
    let run = Run { status: outcome.status, reason: outcome.reason.clone(), ..run.clone() };
    let mut body = show::run(&run);
    if let Some(members) = body.as_object_mut() {
        members.insert("values".to_owned(), json!(outcome.values));
    }
    Ok(body)
}
