//! The files of batches: what is sent to be read as requests, and what came of a batch as OpenAI's clients fetch it.
//!
//! Only what is sent is stored as a file. The files of a batch's answers are its results, read when they are asked for.

use std::sync::Arc;

use agentry_core::batches::{Batch, File, Page};
use agentry_identity::Caller;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use futures_util::TryStreamExt as _;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::batches::results::{self, Which};
use crate::batches::{Paging, face};
use crate::body::{self, Kind};
use crate::parameters::Parameters;
use crate::{App, Refusal};

mod multipart;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/files", get(list).post(create))
        .route("/v1/files/{id}", get(show).delete(delete))
        .route("/v1/files/{id}/content", get(content))
}

pub(crate) const PATHS: &[&str] = &["/v1/files"];

const OUTPUT: &str = "file-output-";
const ERRORS: &str = "file-errors-";
const NAME_BYTES_MAX: usize = 255;
/// Of one tenant at the same time.
const FILES_MAX: usize = 200;

/// Names the file of a batch's answers.
pub(crate) fn output_of(batch: &str) -> String {
    format!("{OUTPUT}{batch}")
}

/// Names the file of what a batch has not answered well.
pub(crate) fn errors_of(batch: &str) -> String {
    format!("{ERRORS}{batch}")
}

async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let face = face(&app)?;
    let boundary = multipart::boundary(request.headers().get(CONTENT_TYPE));
    // What frames the file counts for little.
    let bytes_max = face.settings.input_bytes_max.saturating_add(64 << 10);
    let body = body::take(request, Kind::Form, bytes_max).await?;
    let boundary =
        boundary.ok_or_else(|| wrong("content-type has no `boundary`", "content-type"))?;
    let parts = multipart::parts(&body, &boundary)
        .map_err(|problem| wrong(&format!("the form cannot be read: {problem}"), "file"))?;
    let purpose = parts.iter().find(|part| part.name == "purpose");
    if purpose.is_none_or(|purpose| &*purpose.content != b"batch") {
        return Err(wrong("files are for batches here: send `purpose` `batch`", "purpose"));
    }
    let sent = parts.into_iter().find(|part| part.name == "file");
    let sent = sent.ok_or_else(|| wrong("the form has no `file`", "file"))?;
    if sent.content.len() > face.settings.input_bytes_max {
        let message = format!("a file has at most {} bytes", face.settings.input_bytes_max);
        return Err(wrong(&message, "file"));
    }
    let all = Page { tenant: caller.tenant.to_string(), before: None, max: FILES_MAX };
    if face.store.files(all).await?.len() == FILES_MAX {
        let message =
            format!("there are {FILES_MAX} files already: delete those that are not needed");
        return Err(wrong(&message, "file"));
    }
    let now = app.clock.now();
    let name = sent.file_name.filter(|name| name.len() <= NAME_BYTES_MAX);
    let file = File {
        id: app.new_id("file-"),
        tenant: caller.tenant.to_string(),
        user: caller.user.as_deref().map(str::to_owned),
        name: name.unwrap_or_else(|| "requests.jsonl".to_owned()),
        bytes: sent.content.len() as u64,
        created: now,
        keep_until: now.plus(face.settings.retention),
    };
    face.store.put_file(file.clone(), sent.content).await?;
    Ok(Json(view(&file)))
}

fn wrong(message: &str, param: &str) -> Refusal {
    Refusal::bad_request("file_invalid", message).param(param)
}

fn view(file: &File) -> Value {
    let seconds = |at: agentry_core::Timestamp| at.as_millis() / 1_000;
    json!({
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": seconds(file.created),
        "expires_at": seconds(file.keep_until),
        "filename": file.name,
        "purpose": "batch",
        "status": "processed",
    })
}

#[derive(Deserialize)]
struct Wanted {
    purpose: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
    /// Newest first is all there is.
    #[serde(rename = "order")]
    _order: Option<String>,
}

async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<Value>, Refusal> {
    let Wanted { purpose, limit, after, _order: _ } = wanted;
    let paging = Paging { limit, after };
    if purpose.is_some_and(|purpose| purpose != "batch") {
        return Ok(Json(paging.list(Vec::new())));
    }
    let found = face(&app)?.store.files(paging.page(&caller)).await?;
    Ok(Json(paging.list(found.iter().map(view).collect())))
}

/// The batch whose results are the file of this id.
async fn batch_of(app: &App, caller: &Caller, id: &str) -> Result<Option<(Batch, Which)>, Refusal> {
    let output = id.strip_prefix(OUTPUT).map(|batch| (batch, Which::Good));
    let errors = || id.strip_prefix(ERRORS).map(|batch| (batch, Which::Bad));
    let Some((batch, which)) = output.or_else(errors) else { return Ok(None) };
    let found = face(app)?.store.batch(&caller.tenant, batch).await?;
    Ok(found.filter(|batch| batch.finished.is_some()).map(|batch| (batch, which)))
}

async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let store = &face(&app)?.store;
    if let Some(file) = store.file(&caller.tenant, &id).await? {
        return Ok(Json(view(&file)));
    }
    let (batch, which) = batch_of(&app, &caller, &id).await?.ok_or_else(unknown)?;
    let lines = std::pin::pin!(results::lines(Arc::clone(store), &batch, which));
    let bytes = lines.try_fold(0, |sum, line| async move { Ok(sum + line.len() as u64) }).await?;
    let file = File {
        name: format!("{id}.jsonl"),
        id,
        tenant: batch.owner.tenant,
        user: None,
        bytes,
        created: batch.finished.unwrap_or(batch.created),
        keep_until: batch.keep_until,
    };
    let mut shown = view(&file);
    if let Some(purpose) = shown.get_mut("purpose") {
        *purpose = "batch_output".into();
    }
    Ok(Json(shown))
}

async fn content(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let store = &face(&app)?.store;
    if let Some(content) = store.content(&caller.tenant, &id).await? {
        return Ok(([(CONTENT_TYPE, "application/octet-stream")], content).into_response());
    }
    let (batch, which) = batch_of(&app, &caller, &id).await?.ok_or_else(unknown)?;
    Ok(results::response(Arc::clone(store), &batch, which))
}

async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    if face(&app)?.store.delete_file(&caller.tenant, &id).await? {
        return Ok(Json(json!({ "id": id, "object": "file", "deleted": true })));
    }
    match batch_of(&app, &caller, &id).await? {
        Some(_) => Err(wrong("this file belongs to its batch, and goes when that goes", "id")),
        None => Err(unknown()),
    }
}

fn unknown() -> Refusal {
    Refusal::not_found(
        "file_not_found",
        "there is no such file: `GET /v1/files` lists what was sent",
    )
    .param("id")
}
