//! The states that a thread has been in, newest first.

use agentry_core::CheckpointId;
use axum::Json;
use axum::extract::Path;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::engine::HistoryQuery;
use super::room::Room;
use super::wish::{CheckpointWish, checkpoint_id, invalid};
use super::{Face, dialect, show};
use crate::Refusal;
use crate::parameters::Parameters;

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 1_000;
/// States that are read before it is known whether there is room for more.
const PAGE: usize = 8;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Page {
    limit: Option<usize>,
    before: Option<String>,
}

pub(crate) async fn list(
    face: Face,
    Path(id): Path<String>,
    Parameters(Page { limit, before }): Parameters<Page>,
) -> Result<Json<Value>, Refusal> {
    let wish = Wish { limit, before: before.map(Value::String), ..Wish::default() };
    read(&face, &id, wish).await
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wish {
    limit: Option<usize>,
    before: Option<Value>,
    metadata: Option<Map<String, Value>>,
    checkpoint: Option<CheckpointWish>,
    select: Option<Vec<String>>,
}

pub(crate) async fn search(
    face: Face,
    Path(id): Path<String>,
    dialect::Maybe(wish): dialect::Maybe<Wish>,
) -> Result<Json<Value>, Refusal> {
    read(&face, &id, wish).await
}

async fn read(face: &Face, id: &str, wish: Wish) -> Result<Json<Value>, Refusal> {
    let thread = face.thread(id).await?;
    let max = wish.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&max) {
        return Err(invalid("limit", &format!("it is between 1 and {LIMIT_MAX}")));
    }
    let select = wish.select.as_deref();
    let mut query = HistoryQuery {
        ns: wish.checkpoint.and_then(|place| place.checkpoint_ns).unwrap_or_default(),
        before: wish.before.as_ref().map(before).transpose()?.flatten(),
        metadata: wish.metadata.unwrap_or_default(),
        max: PAGE.min(max),
    };
    let (mut room, mut shown) = (Room::default(), Vec::new());
    loop {
        let states = face.threading.engine.history(thread.id, query.clone()).await?;
        let (full, last) = (states.len() == query.max, states.last());
        query.before = last.and_then(|state| state.checkpoint.id);
        for state in &states {
            let one = dialect::select(show::state(thread.id, state), select);
            if one.get("values").is_some() {
                room.take(&state.values)?;
            }
            shown.push(one);
        }
        query.max = PAGE.min(max - shown.len());
        if !full || query.max == 0 || query.before.is_none() {
            return Ok(Json(Value::Array(shown)));
        }
    }
}

/// An id, a checkpoint, or a configuration that names one.
fn before(wish: &Value) -> Result<Option<CheckpointId>, Refusal> {
    let id = match wish {
        Value::Null => return Ok(None),
        Value::String(id) => Some(id.as_str()),
        _ => ["/checkpoint_id", "/configurable/checkpoint_id"]
            .iter()
            .find_map(|path| wish.pointer(path).and_then(Value::as_str)),
    };
    match id {
        Some(id) => checkpoint_id(id).map(Some),
        None => Err(invalid("before", "it is a checkpoint, or a checkpoint's id")),
    }
}
