//! Making, changing and removing threads.

use std::time::Duration;

use agentry_core::ThreadId;
use agentry_core::thread::{NewThread, Thread};
use agentry_core::threads::{At, Created};
use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::engine::{Place, StateView, Subgraphs, Update};
use super::wish::{CheckpointWish, checkpoint_id, invalid, unknown};
use super::{Face, dialect, messages, no_thread, show, thread_id};
use crate::{Body, Refusal};

/// Threads that are named in one request.
pub(super) const IDS_MAX: usize = 1_000;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct NewWish {
    thread_id: Option<String>,
    metadata: Option<Map<String, Value>>,
    if_exists: Option<String>,
    ttl: Option<Ttl>,
    supersteps: Option<Vec<Superstep>>,
}

/// In minutes, as the clients count.
#[derive(Deserialize)]
#[serde(untagged, expecting = "ttl is a number of minutes, or {\"ttl\": MINUTES}")]
enum Ttl {
    Minutes(f64),
    Full { ttl: f64 },
}

impl Ttl {
    fn read(&self) -> Result<Duration, Refusal> {
        let (Self::Minutes(minutes) | Self::Full { ttl: minutes }) = self;
        match Duration::try_from_secs_f64(minutes * 60.0) {
            Ok(span) if span >= Duration::from_secs(1) => Ok(span),
            Ok(_) | Err(_) => {
                Err(invalid("ttl", "it is a number of minutes, of a second at least"))
            }
        }
    }
}

#[derive(Deserialize)]
struct Superstep {
    updates: Vec<StepUpdate>,
}

#[derive(Deserialize)]
struct StepUpdate {
    #[serde(default)]
    values: Option<Value>,
    #[serde(default)]
    command: Option<Value>,
    #[serde(default)]
    as_node: Option<String>,
}

pub(crate) async fn create(face: Face, Body(wish): Body<NewWish>) -> Result<Json<Value>, Refusal> {
    let now = face.clock().now();
    let id = match &wish.thread_id {
        Some(id) => thread_id(id)?,
        None => ThreadId::new(now, face.app.random()),
    };
    let returns_known = match wish.if_exists.as_deref() {
        None | Some("raise") => false,
        Some("do_nothing") => true,
        Some(other) => return Err(unknown("if_exists", other, "raise, do_nothing")),
    };
    let mut metadata = wish.metadata.unwrap_or_default();
    metadata.retain(|_, value| !value.is_null());
    let thread = NewThread {
        id,
        tenant: face.who.tenant().to_owned(),
        metadata,
        created: now,
        keep_for: wish.ttl.as_ref().map(Ttl::read).transpose()?,
    };
    let graph = thread.metadata.get("graph_id").and_then(Value::as_str).map(str::to_owned);
    match face.threading.archive.create(thread).await? {
        Created::New => {}
        Created::Existing(known) if returns_known => return shown(&face, *known).await.map(Json),
        Created::Existing(_) => {
            let message = "there is a thread with this id already: leave `thread_id` out, or say if_exists: do_nothing";
            return Err(Refusal::new(StatusCode::CONFLICT, "thread_exists", message));
        }
        // What others have is not told.
        Created::Foreign => {
            let message = "this id is taken: leave `thread_id` out";
            return Err(Refusal::new(StatusCode::CONFLICT, "thread_exists", message));
        }
    }
    for superstep in wish.supersteps.iter().flatten() {
        for update in &superstep.updates {
            replay(&face, id, (graph.as_deref(), update)).await?;
        }
    }
    let thread = face.threading.archive.thread(id).await?.ok_or_else(no_thread)?;
    shown(&face, thread).await.map(Json)
}

/// One of the updates that a new thread begins with.
async fn replay(
    face: &Face,
    thread: ThreadId,
    (graph, update): (Option<&str>, &StepUpdate),
) -> Result<(), Refusal> {
    let StepUpdate { values, command, as_node } = update;
    let commanded = command.as_ref().and_then(|command| command.get("update")).cloned();
    let update = Update {
        tenant: face.who.tenant().to_owned(),
        actor: face.who.actor.clone(),
        graph: graph.map(str::to_owned),
        from: Place::head(),
        as_node: as_node.clone(),
        values: values.clone().or(commanded),
        now: face.clock().now(),
    };
    face.threading.engine.update(thread, update).await.map(|_| ())
}

async fn shown(face: &Face, thread: Thread) -> Result<Value, Refusal> {
    let state = head(face, thread.id).await?;
    Ok(show::thread(&thread, state.as_ref()))
}

pub(super) async fn head(face: &Face, thread: ThreadId) -> Result<Option<StateView>, Refusal> {
    face.threading.engine.state(thread, Place::head(), Subgraphs::Closed).await
}

pub(crate) async fn show(face: Face, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let thread = face.thread(&id).await?;
    shown(&face, thread).await.map(Json)
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct PatchWish {
    metadata: Option<Map<String, Value>>,
    values: Option<Map<String, Value>>,
    messages: Option<Vec<Map<String, Value>>>,
    checkpoint: Option<CheckpointWish>,
}

/// Metadata, and in the Agent Protocol's words also the state.
pub(crate) async fn patch(
    face: Face,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(wish): Body<PatchWish>,
) -> Result<Response, Refusal> {
    let mut thread = face.thread(&id).await?;
    let PatchWish { metadata, values, messages: given, checkpoint } = wish;
    let now = face.clock().now();
    if let Some(metadata) = metadata {
        let described = face.threading.archive.describe(thread.id, metadata, now).await?;
        thread = described.ok_or_else(no_thread)?;
    }
    if values.is_some() || given.is_some() {
        let mut values = values.unwrap_or_default();
        if let Some(given) = given {
            let given: Vec<Value> = given.into_iter().map(messages::of_role).collect();
            values.insert("messages".to_owned(), given.into());
        }
        let place = checkpoint.unwrap_or_default();
        let at = place.checkpoint_id.as_deref().map(checkpoint_id).transpose()?;
        let ns = place.checkpoint_ns.unwrap_or_default();
        let update = Update {
            tenant: face.who.tenant().to_owned(),
            actor: face.who.actor.clone(),
            graph: graph_of(&thread),
            from: Place { ns, at: at.map_or(At::Head, At::Checkpoint) },
            as_node: None,
            values: Some(Value::Object(values)),
            now,
        };
        face.threading.engine.update(thread.id, update).await?;
    }
    let minimal = headers.get("prefer").is_some_and(|prefer| prefer == "return=minimal");
    if minimal {
        return Ok(dialect::done());
    }
    Ok(Json(shown(&face, thread).await?).into_response())
}

/// Which graph the thread is for, as far as it is known.
pub(super) fn graph_of(thread: &Thread) -> Option<String> {
    let said = thread.metadata.get("graph_id").and_then(Value::as_str).map(str::to_owned);
    thread.program.as_ref().map(|program| program.graph.clone()).or(said)
}

pub(crate) async fn delete(face: Face, Path(id): Path<String>) -> Result<Response, Refusal> {
    let thread = face.thread(&id).await?;
    match face.threading.archive.delete(thread.id).await? {
        true => Ok(dialect::done()),
        false => Err(no_thread()),
    }
}

pub(crate) async fn copy(face: Face, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let thread = face.thread(&id).await?;
    let now = face.clock().now();
    let to = NewThread {
        id: ThreadId::new(now, face.app.random()),
        tenant: thread.tenant.clone(),
        metadata: thread.metadata.clone(),
        created: now,
        keep_for: thread.keep_for,
    };
    let copy = to.id;
    if !face.threading.archive.copy(thread.id, to).await? {
        return Err(no_thread());
    }
    let copy = face.threading.archive.thread(copy).await?.ok_or_else(no_thread)?;
    shown(&face, copy).await.map(Json)
}

#[derive(Deserialize)]
pub(crate) struct PruneWish {
    thread_ids: Vec<String>,
    #[serde(default)]
    strategy: Option<String>,
}

pub(crate) async fn prune(face: Face, Body(wish): Body<PruneWish>) -> Result<Json<Value>, Refusal> {
    let deletes = match wish.strategy.as_deref() {
        None | Some("delete") => true,
        Some("keep_latest") => false,
        Some(other) => return Err(unknown("strategy", other, "delete, keep_latest")),
    };
    if wish.thread_ids.len() > IDS_MAX {
        return Err(invalid("thread_ids", &format!("name at most {IDS_MAX} at once")));
    }
    let mut pruned = 0_u64;
    for id in &wish.thread_ids {
        let thread = match face.thread(id).await {
            Ok(thread) => thread,
            // What is gone already need not be removed.
            Err(refusal) if refusal == no_thread() => continue,
            Err(refusal) => return Err(refusal),
        };
        pruned += u64::from(match deletes {
            true => face.threading.archive.delete(thread.id).await?,
            false => {
                face.threading.engine.compact(thread.id).await?;
                true
            }
        });
    }
    Ok(Json(json!({ "pruned_count": pruned })))
}
