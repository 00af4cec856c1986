//! From what came of a model call to what its caller reads, in the caller's dialect.

use std::convert::Infallible;
use std::time::Duration;

use agentry_core::chat::{Event, Head};
use agentry_core::model::{ChatStream, ModelError};
use agentry_core::relay::FrameStream;
use agentry_gateway::{Answer, Error, Outcome};
use agentry_wire::chat::{Chunks, complete};
use agentry_wire::{Encode, KEEP_ALIVE};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;

use crate::Refusal;

/// Silence in a stream that has begun before a comment shows that it is alive.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

const X_TARGET: HeaderName = HeaderName::from_static("x-agentry-target");
const X_ATTEMPTS: HeaderName = HeaderName::from_static("x-agentry-attempts");
const X_COST: HeaderName = HeaderName::from_static("x-agentry-cost-usd");

/// What of a request its answer depends on.
pub(crate) struct Asked {
    /// Fills in what the upstream leaves out of its head.
    pub(crate) fallback: Head,
    pub(crate) include_usage: bool,
}

pub(crate) fn response(outcome: Outcome, asked: Asked) -> Response {
    let Outcome { answer, target, attempts, cost } = outcome;
    let mut response = match answer {
        Answer::WholeBytes(bytes) => json_bytes(bytes),
        Answer::Whole(mut response) => {
            response.head = complete(response.head, &asked.fallback);
            json(&response)
        }
        Answer::StreamedBytes(frames) => {
            let encoder = Chunks::new(asked.fallback, asked.include_usage);
            event_stream(frames_body(frames, encoder))
        }
        Answer::Streamed(events) => {
            let encoder = Chunks::new(asked.fallback, asked.include_usage);
            event_stream(events_body(events, encoder))
        }
    };
    let headers = response.headers_mut();
    if let Some(cost) = cost {
        set(headers, X_COST, &cost.to_string());
    }
    attribute(headers, &target, attempts);
    response
}

fn event_stream(
    events: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The stream as server-sent events. Dropping it drops the upstream's.
fn events_body<E: Encode>(
    stream: ChatStream,
    encoder: E,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold(Some((stream, encoder)), |state| async {
        let (mut stream, mut encoder) = state?;
        let mut out = Vec::new();
        while out.is_empty() {
            match timeout(KEEP_ALIVE_EVERY, stream.next()).await {
                Err(_) => out.extend_from_slice(KEEP_ALIVE),
                Ok(Some(Ok(event))) => {
                    let done = event == Event::Done;
                    encoder.encode(event, &mut out);
                    if done {
                        return Some((Ok(out.into()), None));
                    }
                }
                Ok(broken) => return Some((Ok(told(broken, &mut encoder)), None)),
            }
        }
        Some((Ok(out.into()), Some((stream, encoder))))
    })
}

/// The frames as they come. The encoder only says that they broke off, if they do.
fn frames_body<E: Encode>(
    stream: FrameStream,
    encoder: E,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold(Some((stream, encoder)), |state| async {
        let (mut stream, mut encoder) = state?;
        loop {
            match timeout(KEEP_ALIVE_EVERY, stream.next()).await {
                Err(_) => {
                    let comment = Bytes::from_static(KEEP_ALIVE);
                    return Some((Ok(comment), Some((stream, encoder))));
                }
                Ok(Some(Ok(frame))) if frame.marks.done => return Some((Ok(frame.bytes), None)),
                // Only marks: nothing to send.
                Ok(Some(Ok(frame))) if frame.bytes.is_empty() => {}
                Ok(Some(Ok(frame))) => return Some((Ok(frame.bytes), Some((stream, encoder)))),
                Ok(broken) => return Some((Ok(told(broken, &mut encoder)), None)),
            }
        }
    })
}

/// What a caller reads when a stream ends before the answer does.
fn told<T>(broken: Option<Result<T, ModelError>>, encoder: &mut impl Encode) -> Bytes {
    let error = broken.and_then(Result::err).unwrap_or(ModelError::Truncated);
    let mut out = Vec::new();
    encoder.fail(&of_model(&error).told(), &mut out);
    out.into()
}

pub(crate) fn refuse(error: Error) -> Response {
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

pub(crate) fn of_model(error: &ModelError) -> Refusal {
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

pub(crate) fn json(body: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => json_bytes(bytes.into()),
        Err(error) => {
            let unreadable = ModelError::Malformed { reason: error.to_string() };
            of_model(&unreadable).into_response()
        }
    }
}

fn json_bytes(bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Who answered, and after how many attempts.
fn attribute(headers: &mut HeaderMap, target: &str, attempts: u32) {
    set(headers, X_TARGET, target);
    headers.insert(X_ATTEMPTS, HeaderValue::from(attempts));
}

/// A value that cannot stand in a header is left out: it is only information.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
