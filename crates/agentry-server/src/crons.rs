//! Runs that begin by the clock: making, finding and changing crons. What starts their runs is in [`mod@starting`].

use std::sync::Arc;

use agentry_core::Timestamp;
use agentry_core::crons::{Change, Cron, Crons, Definition, NewCron, Query, Search, Sort, Updated};
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{patch, post};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::assistants::{choose, order, paged, span};
use crate::threads::wish::{Wish, invalid, unknown};
use crate::threads::{Face, dialect};
use crate::{App, Body, Refusal};

pub(crate) mod starting;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/runs/crons", post(create))
        .route("/runs/crons/search", post(search))
        .route("/runs/crons/count", post(count))
        .route("/runs/crons/{id}", patch(change).delete(delete))
        .route("/threads/{id}/runs/crons", post(create_for_thread))
        .layer(middleware::map_response(dialect::translate))
}

pub(crate) const PATHS: &[&str] = &["/runs/crons", "/runs/crons/search"];

/// The member of a payload that says on whose behalf its runs are. Callers do not see it.
const OWNER: &str = "__owner";

/// What a cron says of itself; everything else is about its runs.
const OWN: [&str; 6] = ["schedule", "timezone", "end_time", "enabled", "metadata", "user_id"];

fn crons(face: &Face) -> &dyn Crons {
    face.threading.crons.as_ref()
}

async fn create(face: Face, Body(wish): Body<Map<String, Value>>) -> Result<Json<Value>, Refusal> {
    make(&face, (None, wish)).await
}

async fn create_for_thread(
    face: Face,
    Path(id): Path<String>,
    Body(wish): Body<Map<String, Value>>,
) -> Result<Json<Value>, Refusal> {
    let thread = face.thread(&id).await?;
    make(&face, (Some(thread.id.to_string()), wish)).await
}

async fn make(
    face: &Face,
    (thread, wish): (Option<String>, Map<String, Value>),
) -> Result<Json<Value>, Refusal> {
    let mut own = Own::default();
    let payload = own.take(wish)?;
    let run = check_payload(&payload)?;
    let assistant = choose(face, run.assistant()).await?;
    let schedule =
        own.schedule.ok_or_else(|| invalid("schedule", "say when, as in `0 9 * * 1-5`"))?;
    let mut payload = payload;
    payload.insert(OWNER.to_owned(), face.who.kept());
    let definition = Definition {
        assistant: assistant.id,
        thread,
        user: own.user.or_else(|| face.who.owner.user.clone()),
        schedule,
        timezone: own.timezone.flatten(),
        payload,
        metadata: own.metadata.unwrap_or_default(),
        end: own.end.flatten(),
        enabled: own.enabled.unwrap_or(true),
    };
    let id = uuid::Builder::from_random_bytes(face.app.random()).into_uuid().to_string();
    let new = NewCron::new(id, definition, face.clock().now())?;
    let made = crons(face).create(face.who.tenant(), new).await?;
    face.app.crons_changed.notify_one();
    Ok(Json(shown(&made)))
}

/// What is known of a cron beside its runs.
#[derive(Default)]
struct Own {
    schedule: Option<String>,
    timezone: Option<Option<String>>,
    end: Option<Option<Timestamp>>,
    enabled: Option<bool>,
    metadata: Option<Map<String, Value>>,
    user: Option<String>,
}

impl Own {
    /// Leaves what is about the runs.
    fn take(&mut self, mut wish: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
        wish.shift_remove(OWNER);
        for name in OWN {
            let Some(value) = wish.shift_remove(name) else { continue };
            let wrong = || invalid(name, "it is not of the right kind");
            let text = || value.as_str().map(str::to_owned).ok_or_else(wrong);
            match name {
                "schedule" => self.schedule = Some(text()?),
                "user_id" => self.user = Some(text()?),
                "timezone" => self.timezone = Some(nullable(&value, |_| text())?),
                "end_time" => self.end = Some(nullable(&value, moment)?),
                "enabled" => self.enabled = Some(value.as_bool().ok_or_else(wrong)?),
                _ => self.metadata = Some(value.as_object().cloned().ok_or_else(wrong)?),
            }
        }
        Ok(wish)
    }
}

fn nullable<T>(
    value: &Value,
    read: impl FnOnce(&Value) -> Result<T, Refusal>,
) -> Result<Option<T>, Refusal> {
    match value {
        Value::Null => Ok(None),
        value => read(value).map(Some),
    }
}

/// Python writes moments without a zone when they have none: those are meant as UTC.
fn moment(value: &Value) -> Result<Timestamp, Refusal> {
    let text = value.as_str().unwrap_or_default();
    let read = text.parse().or_else(|_| format!("{text}Z").parse());
    read.map_err(|_| invalid("end_time", "it is a moment such as 2030-01-31T08:00:00Z"))
}

/// Whether runs can be made of it.
fn check_payload(payload: &Map<String, Value>) -> Result<Wish, Refusal> {
    let wish: Wish = serde_json::from_value(Value::Object(payload.clone())).map_err(|problem| {
        Refusal::bad_request("body_invalid", format!("the body does not fit: {problem}"))
    })?;
    wish.work()?;
    wish.modes()?;
    wish.multitask()?;
    wish.breakpoints()?;
    match payload.get("on_run_completed").and_then(Value::as_str) {
        None | Some("delete" | "keep") => Ok(wish),
        Some(other) => Err(unknown("on_run_completed", other, "delete, keep")),
    }
}

fn shown(cron: &Cron) -> Value {
    let Cron { id, tenant: _, definition, next, created, updated, revision: _ } = cron;
    let Definition { assistant, thread, user, schedule, timezone, .. } = definition;
    let mut payload = definition.payload.clone();
    payload.shift_remove(OWNER);
    let completed = payload.get("on_run_completed").cloned();
    json!({
        "cron_id": id,
        "assistant_id": assistant,
        "thread_id": thread,
        "on_run_completed": completed.unwrap_or_else(|| if thread.is_some() { Value::Null } else { "delete".into() }),
        "end_time": definition.end,
        "schedule": schedule,
        "timezone": timezone,
        "created_at": created,
        "updated_at": updated,
        "payload": payload,
        "user_id": user,
        "next_run_date": next,
        "metadata": definition.metadata,
        "enabled": definition.enabled,
    })
}

async fn change(
    face: Face,
    Path(id): Path<String>,
    Body(wish): Body<Map<String, Value>>,
) -> Result<Json<Value>, Refusal> {
    let mut own = Own::default();
    let payload = own.take(wish)?;
    check_payload(&payload)?;
    let Own { schedule, timezone, end, enabled, metadata, user: _ } = own;
    let metadata = metadata.unwrap_or_default();
    let change = Change { schedule, timezone, end, enabled, payload, metadata };
    let now = face.clock().now();
    match crons(&face).update((face.who.tenant(), &id), &change, now).await? {
        Updated::Done(cron) => {
            face.app.crons_changed.notify_one();
            Ok(Json(shown(&cron)))
        }
        Updated::NotFound => Err(no_cron()),
        Updated::Invalid(invalid) => Err(invalid.into()),
    }
}

fn no_cron() -> Refusal {
    let message = "there is no such cron: POST /runs/crons/search finds those there are";
    Refusal::not_found("cron_not_found", message)
}

async fn delete(face: Face, Path(id): Path<String>) -> Result<Response, Refusal> {
    match crons(&face).delete(face.who.tenant(), &id).await? {
        true => Ok(dialect::done()),
        false => Err(no_cron()),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SearchWish {
    assistant_id: Option<String>,
    thread_id: Option<String>,
    enabled: Option<bool>,
    metadata: Option<Map<String, Value>>,
    limit: Option<usize>,
    offset: Option<usize>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    select: Option<Vec<String>>,
}

impl SearchWish {
    async fn query(&self, face: &Face) -> Result<Query, Refusal> {
        let assistant = match &self.assistant_id {
            Some(name) => Some(choose(face, name).await?.id),
            None => None,
        };
        Ok(Query {
            assistant,
            thread: self.thread_id.clone(),
            enabled: self.enabled,
            metadata: self.metadata.clone().unwrap_or_default(),
        })
    }

    fn sort(&self) -> Result<Sort, Refusal> {
        Ok(match self.sort_by.as_deref() {
            None | Some("created_at") => Sort::Created,
            Some("cron_id") => Sort::Id,
            Some("assistant_id") => Sort::Assistant,
            Some("thread_id") => Sort::Thread,
            Some("updated_at") => Sort::Updated,
            Some("next_run_date") => Sort::Next,
            Some(other) => {
                let known =
                    "cron_id, assistant_id, thread_id, created_at, updated_at, next_run_date";
                return Err(unknown("sort_by", other, known));
            }
        })
    }
}

async fn search(
    face: Face,
    dialect::Maybe(wish): dialect::Maybe<SearchWish>,
) -> Result<Response, Refusal> {
    let search = Search {
        query: wish.query(&face).await?,
        sort: wish.sort()?,
        order: order(wish.sort_order.as_deref())?,
        span: span(wish.offset, wish.limit)?,
    };
    let found = crons(&face).search(face.who.tenant(), &search).await?;
    let select = wish.select.as_deref();
    let page = found.iter().map(|cron| dialect::select(shown(cron), select)).collect();
    Ok(paged(page, search.span))
}

async fn count(
    face: Face,
    dialect::Maybe(wish): dialect::Maybe<SearchWish>,
) -> Result<Json<u64>, Refusal> {
    let query = wish.query(&face).await?;
    Ok(Json(crons(&face).count(face.who.tenant(), &query).await?))
}
