//! Threads and their runs, as the clients of LangGraph's servers and the Agent Protocol speak of them.
//!
//! What moves threads on is an [`Engine`]; what is kept of them is read from the archive. A caller sees its own tenant's.

use std::sync::Arc;

use agentry_core::assistants::Assistants;
use agentry_core::crons::Crons;
use agentry_core::items::Items;
use agentry_core::thread::{Run, Thread};
use agentry_core::threads::Threads;
use agentry_core::{Clock, RunId, ThreadId};
use agentry_identity::Caller;
use axum::extract::FromRequestParts;
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use http::request::Parts;

use crate::{App, Refusal};

pub(crate) mod dialect;
pub mod engine;
mod frames;
mod history;
mod manage;
mod messages;
mod modes;
mod outcome;
mod room;
pub(crate) mod runs;
mod search;
mod show;
mod stateless;
pub(crate) mod states;
mod streams;
pub(crate) mod submit;
mod summary;
pub(crate) mod upkeep;
mod webhook;
pub(crate) mod who;
pub(crate) mod wish;

use engine::Engine;
pub use webhook::{Promise, Then, Webhooks, announcement};
use who::Who;

/// What these faces work on.
#[derive(Clone)]
pub struct Threading {
    pub engine: Arc<dyn Engine>,
    pub archive: Arc<dyn Threads>,
    pub assistants: Arc<dyn Assistants>,
    pub items: Arc<dyn Items>,
    pub crons: Arc<dyn Crons>,
    /// Without it no run may name one.
    pub webhooks: Option<Arc<dyn Webhooks>>,
}

pub(crate) fn routes() -> Router<Arc<App>> {
    let thread = Router::new()
        .route("/threads", post(manage::create))
        .route("/threads/search", post(search::search))
        .route("/threads/count", post(search::count))
        .route("/threads/prune", post(manage::prune))
        .route("/threads/{id}", get(manage::show).patch(manage::patch).delete(manage::delete))
        .route("/threads/{id}/copy", post(manage::copy))
        .route(
            "/threads/{id}/state",
            get(states::head).post(states::update).patch(states::describe),
        )
        .route("/threads/{id}/state/checkpoint", post(states::at_checkpoint))
        .route("/threads/{id}/state/{checkpoint}", get(states::at))
        .route("/threads/{id}/history", get(history::list).post(history::search))
        .route("/threads/{id}/stream", get(streams::thread));
    let run = Router::new()
        .route("/threads/{id}/runs", get(runs::list).post(runs::create))
        .route("/threads/{id}/runs/stream", post(runs::stream))
        .route("/threads/{id}/runs/wait", post(runs::wait))
        .route("/threads/{id}/runs/{run}", get(runs::show).delete(runs::delete))
        .route("/threads/{id}/runs/{run}/cancel", post(runs::cancel))
        .route("/threads/{id}/runs/{run}/join", get(runs::join))
        .route("/threads/{id}/runs/{run}/wait", get(runs::join_whole))
        .route("/threads/{id}/runs/{run}/summary", get(summary::show))
        .route("/threads/{id}/runs/{run}/resume", post(runs::resume))
        .route("/threads/{id}/runs/{run}/stream", get(streams::run));
    let alone = Router::new()
        .route("/runs", get(runs::list_all).post(stateless::create))
        .route("/runs/stream", post(stateless::stream))
        .route("/runs/wait", post(stateless::wait))
        .route("/runs/batch", post(stateless::batch))
        .route("/runs/cancel", post(stateless::cancel))
        .route("/runs/{run}", get(runs::show_alone))
        .route("/runs/{run}/stream", get(streams::run_alone));
    let all = thread.merge(run).merge(alone);
    all.layer(middleware::map_response(dialect::translate)).merge(upkeep::routes())
}

pub(crate) const PATHS: &[&str] =
    &["/threads", "/threads/search", "/threads/count", "/runs", "/runs/stream", "/runs/wait"];

/// What a handler needs of these faces, and for whom.
pub(crate) struct Face {
    pub(crate) app: Arc<App>,
    pub(crate) threading: Threading,
    pub(crate) who: Who,
}

impl FromRequestParts<Arc<App>> for Face {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let caller = Extension::<Arc<Caller>>::from_request_parts(parts, app).await;
        let Ok(Extension(caller)) = caller else {
            return Err(Refusal::not_found("threads_off", "nobody was let in"));
        };
        let threading = app.threading.clone();
        let threading = threading
            .ok_or_else(|| Refusal::not_found("threads_off", "this instance keeps no threads"))?;
        Ok(Self { app: Arc::clone(app), threading, who: Who::of(&caller) })
    }
}

impl Face {
    pub(crate) fn clock(&self) -> &dyn Clock {
        self.app.clock.as_ref()
    }

    /// A thread of the caller's tenant.
    pub(crate) async fn thread(&self, id: &str) -> Result<Thread, Refusal> {
        let thread = self.threading.archive.thread(thread_id(id)?).await?;
        thread.filter(|thread| self.who.tenant() == thread.tenant).ok_or_else(no_thread)
    }

    /// A run of that thread.
    pub(crate) async fn run(&self, thread: &str, run: &str) -> Result<Run, Refusal> {
        let found = self.any_run(run).await?;
        match found.thread == thread_id(thread)? {
            true => Ok(found),
            false => Err(no_run()),
        }
    }

    /// A run of the caller's tenant.
    pub(crate) async fn any_run(&self, run: &str) -> Result<Run, Refusal> {
        let found = self.threading.archive.run(run_id(run)?).await?;
        found.filter(|run| self.who.tenant() == run.tenant).ok_or_else(no_run)
    }
}

pub(crate) fn thread_id(id: &str) -> Result<ThreadId, Refusal> {
    id.parse().map_err(|_| wish::invalid("thread_id", "a thread's id is a UUID"))
}

pub(crate) fn run_id(id: &str) -> Result<RunId, Refusal> {
    id.parse().map_err(|_| wish::invalid("run_id", "a run's id is a UUID"))
}

fn no_thread() -> Refusal {
    let message = "there is no such thread: POST /threads makes one, POST /threads/search finds those there are";
    Refusal::not_found("thread_not_found", message)
}

fn no_run() -> Refusal {
    let message = "there is no such run: GET /threads/{thread_id}/runs lists those there are";
    Refusal::not_found("run_not_found", message)
}
