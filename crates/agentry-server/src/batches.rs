//! Many calls at once, answered when there is time for them: OpenAI's batches, from a file or in one request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::batches::{Batch, Batches, NewBatch, NewItem, Owner, Page};
use agentry_core::keys::Terms;
use agentry_gateway::batches::Handle;
use agentry_identity::Caller;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::body::{self, Kind};
use crate::parameters::Parameters;
use crate::{App, Refusal};

mod lines;
mod perform;
pub(crate) mod results;
mod view;

pub use perform::BatchCalls;

/// What these faces work on.
pub struct Batching {
    pub store: Arc<dyn Batches>,
    /// Of the service that answers the items.
    pub handle: Handle,
    pub settings: BatchSettings,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSettings {
    /// How long batches, answers and files are kept after they were made or had to be done.
    pub retention: Duration,
    /// Of a file, or of a request that makes a batch.
    pub input_bytes_max: usize,
    pub items_max: usize,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(30 * 86_400),
            input_bytes_max: 32 << 20,
            items_max: 50_000,
        }
    }
}

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/batches", get(list).post(create))
        .route("/v1/batches/{id}", get(show))
        .route("/v1/batches/{id}/cancel", post(cancel))
        .route("/v1/batches/{id}/results", get(read_results))
}

pub(crate) const PATHS: &[&str] = &["/v1/batches"];

pub(crate) fn face(app: &App) -> Result<&Batching, Refusal> {
    app.batches
        .as_ref()
        .ok_or_else(|| Refusal::not_found("batches_off", "this instance takes no batches"))
}

/// A new batch, as JSON.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    input_file_id: Option<String>,
    #[serde(default)]
    requests: Option<Vec<Box<RawValue>>>,
    /// When it is given, all requests are for this path.
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    completion_window: Option<String>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    /// Of files, which follow the configuration here.
    #[serde(default, rename = "output_expires_after")]
    _output_expires_after: Option<Value>,
}

async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let bytes_max = face(&app)?.settings.input_bytes_max;
    let lines = Kind::Lines.is_of(request.headers().get(CONTENT_TYPE));
    let kind = if lines { Kind::Lines } else { Kind::Json };
    let body = body::take(request, kind, bytes_max).await?;
    let mut wish = if lines { Wish::default() } else { body::parse(&body)? };
    let source = match lines {
        true => Source::Lines(body),
        false => source(&app, &caller, &mut wish).await?,
    };
    let hours = window(wish.completion_window.as_deref())?;
    let metadata = metadata(wish.metadata.unwrap_or_default())?;
    let items = {
        let (app, caller) = (Arc::clone(&app), Arc::clone(&caller));
        let endpoint = wish.endpoint.clone();
        let check = move || lines::read(&app, &caller, (source, endpoint.as_deref()));
        let checked = tokio::task::spawn_blocking(check).await;
        checked.map_err(|_| internal())??
    };
    let batch = new(&app, &caller, (items, hours, metadata))?;
    let batch = NewBatch {
        input_file: wish.input_file_id,
        endpoint: wish.endpoint.unwrap_or(batch.endpoint),
        ..batch
    };
    let id = batch.id.clone();
    let face = face(&app)?;
    face.store.create(batch).await?;
    face.handle.nudge();
    find(&app, &caller, &id).await.map(|batch| Json(view::batch(&batch)))
}

/// Where the requests of a batch stand.
pub(crate) enum Source {
    Lines(Bytes),
    Inline(Vec<Box<RawValue>>),
}

async fn source(app: &App, caller: &Caller, wish: &mut Wish) -> Result<Source, Refusal> {
    let message = match (&wish.input_file_id, wish.requests.take()) {
        (Some(id), None) => {
            let content = face(app)?.store.content(&caller.tenant, id).await?;
            return content.map(Source::Lines).ok_or_else(|| {
                let shown: String = id.chars().take(100).collect();
                let message = format!("there is no file `{shown}`: send it to /v1/files first");
                Refusal::not_found("file_not_found", message).param("input_file_id")
            });
        }
        (None, Some(requests)) => return Ok(Source::Inline(requests)),
        (Some(_), Some(_)) => "send either `input_file_id` or `requests`, not both",
        (None, None) => "send `requests`, or the `input_file_id` of a file sent to /v1/files",
    };
    Err(Refusal::bad_request("batch_invalid", message).param("requests"))
}

/// The span in which a batch must be done, in hours.
fn window(text: Option<&str>) -> Result<u64, Refusal> {
    let text = text.unwrap_or("24h");
    let hours = text.strip_suffix('h').and_then(|hours| hours.parse().ok());
    hours.filter(|hours| (1..=168).contains(hours)).ok_or_else(|| {
        let message = "`completion_window` is a number of hours from `1h` to `168h`: send `24h`";
        Refusal::bad_request("batch_invalid", message).param("completion_window")
    })
}

fn metadata(metadata: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refusal> {
    let fits = metadata.len() <= 16
        && metadata.iter().all(|(key, value)| key.len() <= 64 && value.len() <= 512);
    fits.then_some(metadata).ok_or_else(|| {
        let message = "`metadata` has at most 16 keys of 64 bytes with values of 512 bytes";
        Refusal::bad_request("batch_invalid", message).param("metadata")
    })
}

fn new(
    app: &App,
    caller: &Caller,
    (items, hours, metadata): (Vec<NewItem>, u64, BTreeMap<String, String>),
) -> Result<NewBatch, Refusal> {
    let now = app.clock.now();
    let expires = now.plus(Duration::from_secs(hours * 3_600));
    Ok(NewBatch {
        id: app.new_id("batch_"),
        owner: owner(caller),
        endpoint: items.first().map(|item| item.url.clone()).unwrap_or_default(),
        input_file: None,
        metadata,
        created: now,
        expires,
        keep_until: expires.plus(face(app)?.settings.retention),
        items,
    })
}

/// On whose behalf something is done later.
pub(crate) fn owner(caller: &Caller) -> Owner {
    let limits = &caller.limits;
    Owner {
        tenant: caller.tenant.to_string(),
        key_id: caller.key_id.to_string(),
        name: caller.name.to_string(),
        team: caller.team.as_deref().map(str::to_owned),
        user: caller.user.as_deref().map(str::to_owned),
        terms: Terms {
            rpm: limits.rpm,
            tpm: limits.tpm,
            concurrency: limits.concurrency,
            budgets: limits.budgets.clone(),
            priority: limits.priority,
            ..Terms::default()
        },
    }
}

/// One page of a listing.
#[derive(Deserialize)]
pub(crate) struct Paging {
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<String>,
}

const PAGE: usize = 20;
const PAGE_MAX: usize = 100;

impl Paging {
    /// One more than is shown says whether there is more.
    pub(crate) fn page(&self, caller: &Caller) -> Page {
        let max = self.max() + 1;
        Page { tenant: caller.tenant.to_string(), before: self.after.clone(), max }
    }

    pub(crate) fn max(&self) -> usize {
        self.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)
    }

    pub(crate) fn list(&self, found: Vec<Value>) -> Value {
        let has_more = found.len() > self.max();
        let data: Vec<Value> = found.into_iter().take(self.max()).collect();
        let id = |one: Option<&Value>| one.and_then(|one| one.get("id")).cloned();
        let (first, last) = (id(data.first()), id(data.last()));
        json!({ "object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more })
    }
}

async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Value>, Refusal> {
    let found = face(&app)?.store.batches(paging.page(&caller)).await?;
    Ok(Json(paging.list(found.iter().map(view::batch).collect())))
}

async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    find(&app, &caller, &id).await.map(|batch| Json(view::batch(&batch)))
}

async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let face = face(&app)?;
    if !face.store.cancel(&caller.tenant, &id, app.clock.now()).await? {
        return Err(unknown());
    }
    face.handle.nudge();
    find(&app, &caller, &id).await.map(|batch| Json(view::batch(&batch)))
}

async fn read_results(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let batch = find(&app, &caller, &id).await?;
    let store = Arc::clone(&face(&app)?.store);
    Ok(results::response(store, &batch, results::Which::All).into_response())
}

pub(crate) async fn find(app: &App, caller: &Caller, id: &str) -> Result<Batch, Refusal> {
    face(app)?.store.batch(&caller.tenant, id).await?.ok_or_else(unknown)
}

fn unknown() -> Refusal {
    Refusal::not_found("batch_not_found", "there is no such batch: `GET /v1/batches` lists them")
        .param("id")
}

fn internal() -> Refusal {
    let message =
        "a defect in the server ended this request: the log has it under this x-request-id";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
}
