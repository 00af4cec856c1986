//! The face that OpenAI's clients speak to: chat completions and models.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::chat::{ChatRequest, Head};
use agentry_core::model::{CallContext, ChatStream, ModelError};
use agentry_gateway::{Answer, Error, Outcome};
use agentry_wire::chat::{Chunks, complete};
use agentry_wire::{Encode as _, KEEP_ALIVE};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::edge::RequestId;
use crate::{App, Body, Refusal};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
}

pub(crate) const PATHS: &[&str] = &["/v1/chat/completions", "/v1/models"];

/// Silence in a stream that has begun before a comment shows that it is alive.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

async fn chat_completions(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    Body(body): Body<Value>,
) -> Result<Response, Response> {
    let request = ChatRequest::from_value(body).map_err(|invalid| {
        let message = match invalid.param.as_str() {
            "" => invalid.reason.clone(),
            _ => invalid.to_string(),
        };
        Refusal::bad_request("parameter_invalid", message).param(invalid.param).into_response()
    })?;
    let include_usage =
        request.stream_options.as_ref().is_some_and(|options| options.include_usage);
    let fallback = Head {
        id: format!("chatcmpl-{}", id.as_str()),
        model: request.model.clone(),
        created: app.clock.now().as_millis() / 1000,
        ..Head::default()
    };
    let cx = CallContext::new(id.as_str(), "chat_completions");
    let Outcome { answer, target, attempts } =
        app.gateway.call(&cx, request).await.map_err(refuse)?;

    let mut response = match answer {
        Answer::Whole { mut response, cost } => {
            response.head = complete(response.head, &fallback);
            let mut answer = json_response(&response);
            if let Some(cost) = cost {
                set(answer.headers_mut(), "x-agentry-cost-usd", &cost.to_string());
            }
            answer
        }
        Answer::Streamed(stream) => {
            let events = events(stream, Chunks::new(fallback, include_usage));
            let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
            (headers, axum::body::Body::from_stream(events)).into_response()
        }
    };
    attribute(response.headers_mut(), &target, attempts);
    Ok(response)
}

/// The stream as server-sent events. Dropping it drops the upstream's.
fn events(
    stream: ChatStream,
    chunks: Chunks,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    stream::unfold(Some((stream, chunks)), |state| async {
        let (mut stream, mut chunks) = state?;
        let mut out = Vec::new();
        while out.is_empty() {
            match timeout(KEEP_ALIVE_EVERY, stream.next()).await {
                Err(_) => out.extend_from_slice(KEEP_ALIVE),
                Ok(Some(Ok(event))) => {
                    let done = event == agentry_core::chat::Event::Done;
                    chunks.encode(event, &mut out);
                    if done {
                        return Some((Ok(out.into()), None));
                    }
                }
                Ok(Some(Err(error))) => {
                    chunks.fail(&of_model(&error).told(), &mut out);
                    return Some((Ok(out.into()), None));
                }
                Ok(None) => {
                    chunks.fail(&of_model(&ModelError::Truncated).told(), &mut out);
                    return Some((Ok(out.into()), None));
                }
            }
        }
        Some((Ok(out.into()), Some((stream, chunks))))
    })
}

fn refuse(error: Error) -> Response {
    match &error {
        Error::UnknownModel { .. } => Refusal::of(&error).param("model").into_response(),
        Error::Model { target, attempts, error: inner } => {
            let mut refusal = detail(Refusal::of(&error), inner);
            if *attempts > 1 {
                refusal = refusal.already_retried();
            }
            let mut response = refusal.into_response();
            attribute(response.headers_mut(), target, *attempts);
            response
        }
        Error::Internal { .. } => Refusal::of(&error).into_response(),
    }
}

fn of_model(error: &ModelError) -> Refusal {
    detail(Refusal::of(error), error)
}

/// What only the upstream could know.
fn detail(mut refusal: Refusal, error: &ModelError) -> Refusal {
    if let ModelError::Invalid { message: _, param, upstream_code } = error {
        if let Some(param) = param {
            refusal = refusal.param(param);
        }
        if let Some(code) = upstream_code {
            refusal = refusal.code(code.clone());
        }
    }
    refusal
}

async fn models(State(app): State<Arc<App>>) -> Response {
    let created = app.started.as_millis() / 1000;
    let data: Vec<_> = app.gateway.models().map(|alias| shown(&alias.name, created)).collect();
    json_response(&json!({ "object": "list", "data": data }))
}

async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let known: Vec<&str> = app.gateway.models().map(|alias| alias.name.as_str()).collect();
    if known.contains(&id.as_str()) {
        return json_response(&shown(&id, app.started.as_millis() / 1000));
    }
    let known = known.into_iter().map(ToOwned::to_owned).collect();
    refuse(Error::UnknownModel { model: id, known })
}

fn shown(id: &str, created: i64) -> Value {
    json!({ "id": id, "object": "model", "created": created, "owned_by": "agentry" })
}

fn json_response(body: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => ([(CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => {
            let unreadable = ModelError::Malformed { reason: error.to_string() };
            of_model(&unreadable).into_response()
        }
    }
}

/// Who answered, and after how many attempts.
fn attribute(headers: &mut HeaderMap, target: &str, attempts: u32) {
    set(headers, "x-agentry-target", target);
    headers.insert("x-agentry-attempts", HeaderValue::from(attempts));
}

/// A value that cannot stand in a header is left out: it is only information.
fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
