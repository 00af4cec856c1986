//! Telling somebody outside that a run is over.

use agentry_core::thread::Run;
use async_trait::async_trait;
use serde_json::{Value, json};
use tracing::warn;

use super::wish::invalid;
use super::{Face, Threading, outcome, show};
use crate::Refusal;

/// Calls outward, where that is allowed.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Why nobody may be called there, in words that say what to do.
    async fn check(&self, url: &str) -> Result<(), String>;
    /// Posts `body`, a few times if need be. It has deadlines of its own.
    async fn post(&self, url: &str, body: Value) -> Result<(), String>;
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

/// Waits for the end of the run, owned by the server. What was not told when the server stops is not told.
pub(super) fn call_after(face: &Face, run: &Run, url: String) {
    let (threading, run) = (face.threading.clone(), run.clone());
    let stopping = face.app.stopping.clone();
    face.app.tracker.spawn(async move {
        let called = stopping.run_until_cancelled(call(&threading, &run, &url)).await;
        if let Some(Err(problem)) = called {
            warn!(run_id = %run.id, problem, "nobody could be told that a run is over");
        }
    });
}

async fn call(threading: &Threading, run: &Run, url: &str) -> Result<(), String> {
    let Some(webhooks) = &threading.webhooks else { return Ok(()) };
    let outcome = outcome::of(threading, run).await;
    let outcome = outcome.map_err(|refusal| refusal.told().message.to_owned())?;
    let run = Run { status: outcome.status, reason: outcome.reason.clone(), ..run.clone() };
    let mut body = show::run(&run);
    if let Some(members) = body.as_object_mut() {
        members.insert("values".to_owned(), json!(outcome.values));
    }
    webhooks.post(url, body).await
}
