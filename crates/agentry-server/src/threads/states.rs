//! Where a thread stands, and changing it by hand.

use agentry_core::threads::At;
use axum::Json;
use axum::extract::Path;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::engine::{Place, Subgraphs, Update};
use super::manage::graph_of;
use super::wish::{CheckpointWish, checkpoint_id};
use super::{Face, dialect, no_thread, show};
use crate::parameters::Parameters;
use crate::{Body, Refusal};

/// What comes after the `?`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Look {
    subgraphs: Option<String>,
    select: Option<String>,
}

impl Look {
    fn subgraphs(&self) -> Subgraphs {
        open(self.subgraphs.as_deref().is_some_and(is_yes))
    }

    fn select(&self) -> Option<Vec<String>> {
        self.select.as_ref().map(|names| names.split(',').map(str::to_owned).collect())
    }
}

fn open(wanted: bool) -> Subgraphs {
    if wanted { Subgraphs::Open } else { Subgraphs::Closed }
}

/// Clients write it in several ways.
pub(crate) fn is_yes(word: &str) -> bool {
    matches!(word.to_ascii_lowercase().as_str(), "true" | "1" | "yes")
}

pub(crate) async fn head(
    face: Face,
    Path(id): Path<String>,
    Parameters(look): Parameters<Look>,
) -> Result<Json<Value>, Refusal> {
    read(&face, &id, (Place::head(), look.subgraphs(), look.select())).await
}

pub(crate) async fn at(
    face: Face,
    Path((id, checkpoint)): Path<(String, String)>,
    Parameters(look): Parameters<Look>,
) -> Result<Json<Value>, Refusal> {
    let place = Place { ns: String::new(), at: At::Checkpoint(checkpoint_id(&checkpoint)?) };
    read(&face, &id, (place, look.subgraphs(), look.select())).await
}

#[derive(Deserialize)]
pub(crate) struct AtWish {
    checkpoint: CheckpointWish,
    #[serde(default)]
    subgraphs: Option<bool>,
    #[serde(default)]
    select: Option<Vec<String>>,
}

pub(crate) async fn at_checkpoint(
    face: Face,
    Path(id): Path<String>,
    Body(wish): Body<AtWish>,
) -> Result<Json<Value>, Refusal> {
    let place = place(wish.checkpoint)?;
    read(&face, &id, (place, open(wish.subgraphs.unwrap_or(false)), wish.select)).await
}

pub(super) fn place(wish: CheckpointWish) -> Result<Place, Refusal> {
    let at = wish.checkpoint_id.as_deref().map(checkpoint_id).transpose()?;
    let ns = wish.checkpoint_ns.unwrap_or_default();
    Ok(Place { ns, at: at.map_or(At::Head, At::Checkpoint) })
}

async fn read(
    face: &Face,
    id: &str,
    (place, subgraphs, select): (Place, Subgraphs, Option<Vec<String>>),
) -> Result<Json<Value>, Refusal> {
    let thread = face.thread(id).await?;
    let at_head = place.at == At::Head;
    let ns = place.ns.clone();
    let state = face.threading.engine.state(thread.id, place, subgraphs).await?;
    let shown = match state {
        Some(state) => show::state(thread.id, &state),
        // Nothing has happened yet.
        None if at_head && ns.is_empty() => json!({
            "values": {},
            "next": [],
            "checkpoint": { "thread_id": thread.id, "checkpoint_ns": "", "checkpoint_id": null },
            "metadata": {},
            "created_at": null,
            "parent_checkpoint": null,
            "tasks": [],
            "interrupts": [],
        }),
        None => {
            let message =
                "the thread has no such checkpoint: GET its history lists those there are";
            return Err(Refusal::not_found("checkpoint_not_found", message));
        }
    };
    Ok(Json(dialect::select(shown, select.as_deref())))
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(crate) struct UpdateWish {
    values: Option<Value>,
    as_node: Option<String>,
    checkpoint: Option<CheckpointWish>,
    checkpoint_id: Option<String>,
}

pub(crate) async fn update(
    face: Face,
    Path(id): Path<String>,
    Body(wish): Body<UpdateWish>,
) -> Result<Json<Value>, Refusal> {
    let thread = face.thread(&id).await?;
    let UpdateWish { values, as_node, checkpoint, checkpoint_id } = wish;
    let mut named = checkpoint.unwrap_or_default();
    named.checkpoint_id = checkpoint_id.or(named.checkpoint_id);
    let update = Update {
        tenant: thread.tenant.clone(),
        actor: face.who.actor.clone(),
        graph: graph_of(&thread),
        from: place(named)?,
        as_node,
        values,
        now: face.clock().now(),
    };
    let made = face.threading.engine.update(thread.id, update).await?;
    let checkpoint = show::checkpoint(thread.id, &made);
    Ok(Json(json!({
        "checkpoint": checkpoint,
        "configurable": checkpoint,
        "checkpoint_id": made.id,
    })))
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct DescribeWish {
    metadata: Map<String, Value>,
}

/// The thread's metadata, by its state's path.
pub(crate) async fn describe(
    face: Face,
    Path(id): Path<String>,
    Body(wish): Body<DescribeWish>,
) -> Result<Json<Value>, Refusal> {
    let thread = face.thread(&id).await?;
    let now = face.clock().now();
    let described = face.threading.archive.describe(thread.id, wish.metadata, now).await?;
    let thread = described.ok_or_else(no_thread)?;
    Ok(Json(json!([{ "thread_id": thread.id, "metadata": thread.metadata }])))
}
