//! Threads of all tenants, looked after by whoever operates the instance: moved to the version of their graph that is here, and
//! their histories cut.

use std::sync::Arc;
use std::time::Duration;

use agentry_identity::Caller;
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::engine::{Cut, Cutting, Migrate, Migrated, Upkeep};
use super::wish::invalid;
use super::{Face, thread_id};
use crate::{App, Body, Refusal};

/// So many threads are looked at in one request.
const THREADS_MAX: usize = 200;
const UNUSED_DAYS: u64 = 7;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/threads/migrate", post(migrate))
        .route("/v1/threads/compact", post(compact))
}

pub(crate) const PATHS: &[&str] = &["/v1/threads/migrate", "/v1/threads/compact"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MigrateWish {
    graph: String,
    thread_id: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

async fn migrate(
    face: Face,
    Extension(caller): Extension<Arc<Caller>>,
    Body(wish): Body<MigrateWish>,
) -> Result<Json<Value>, Refusal> {
    let MigrateWish { graph, thread_id: thread, dry_run, offset, limit } = wish;
    let max = limit.unwrap_or(THREADS_MAX);
    if !(1..=THREADS_MAX).contains(&max) {
        return Err(invalid("limit", &format!("it is from 1 to {THREADS_MAX}")));
    }
    let thread = thread.as_deref().map(thread_id).transpose()?;
    let upkeep = Upkeep { actor: caller.actor(), dry_run, offset };
    let wish = Migrate { upkeep, graph: graph.clone(), thread, max };
    let Migrated { version, counts, threads, next } = face.threading.engine.migrate(wish).await?;
    Ok(Json(json!({
        "object": "threads.migration", "graph": graph, "version": version, "dry_run": dry_run,
        "counts": counts, "threads": threads, "next_offset": next,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompactWish {
    thread_id: Option<String>,
    unused_days: Option<u64>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    offset: usize,
}

async fn compact(
    face: Face,
    Extension(caller): Extension<Arc<Caller>>,
    Body(wish): Body<CompactWish>,
) -> Result<Json<Value>, Refusal> {
    let CompactWish { thread_id: thread, unused_days, dry_run, offset } = wish;
    if thread.is_some() && unused_days.is_some() {
        let reason = "a thread that is named is cut whenever it was used: leave this out";
        return Err(invalid("unused_days", reason));
    }
    let days = unused_days.unwrap_or(UNUSED_DAYS);
    let cut = Cut {
        upkeep: Upkeep { actor: caller.actor(), dry_run, offset },
        thread: thread.as_deref().map(thread_id).transpose()?,
        unused: Duration::from_secs(days.saturating_mul(86_400)),
    };
    let Cutting { threads, entries, next } = face.threading.engine.cut(cut).await?;
    Ok(Json(json!({
        "object": "threads.compaction", "dry_run": dry_run, "threads": threads, "entries": entries,
        "next_offset": next,
    })))
}
