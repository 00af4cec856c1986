//! From what came of a model call to what its caller reads, in the caller's dialect.

use std::convert::Infallible;
use std::time::Duration;

use agentry_alarm::within;
use agentry_core::MicroUsd;
use agentry_core::chat::Event;
use agentry_core::model::{CallContext, ChatStream, ModelError};
use agentry_core::relay::{Dialect, FrameStream};
use agentry_gateway::limit::Standings;
use agentry_gateway::{Answer, Error, Gateway, Outcome};
use agentry_wire::{Asked, Encode, KEEP_ALIVE, ingress};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::Refusal;
use crate::question::Complete;

/// Silence in a stream that has begun before a comment shows that it is alive.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

const X_TARGET: HeaderName = HeaderName::from_static("x-agentry-target");
const X_ATTEMPTS: HeaderName = HeaderName::from_static("x-agentry-attempts");
const X_CACHE: HeaderName = HeaderName::from_static("x-agentry-cache");
const X_COST: HeaderName = HeaderName::from_static("x-agentry-cost-usd");

/// `complete` is told when the last of the answer is handed out.
pub(crate) fn response(
    outcome: Outcome,
    dialect: Dialect,
    asked: &Asked,
    complete: Option<Complete>,
) -> Response {
    let Outcome { answer, target, attempts, cost, found } = outcome;
    let whole = |bytes: Bytes| {
        mark(complete.as_ref());
        json_bytes(bytes)
    };
    let mut response = match answer {
        Answer::WholeBytes(bytes) => whole(bytes),
        Answer::Whole(response) => whole(ingress::whole(dialect, *response, asked).into()),
        Answer::StreamedBytes(frames) => {
            event_stream(frames_body((frames, ingress::encoder(dialect, asked)), complete))
        }
        Answer::Streamed(events) => {
            event_stream(events_body((events, ingress::encoder(dialect, asked)), complete))
        }
    };
    let headers = response.headers_mut();
    headers.insert(X_CACHE, HeaderValue::from_static(found.as_str()));
    attribute(headers, &target, (attempts, cost));
    response
}

fn mark(complete: Option<&Complete>) {
    if let Some(complete) = complete {
        complete.mark();
    }
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
fn events_body(
    answer: (ChatStream, Box<dyn Encode>),
    complete: Option<Complete>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold(Some((answer, complete)), |state| async {
        let ((mut stream, mut encoder), complete) = state?;
        let mut out = Vec::new();
        while out.is_empty() {
            match within(Instant::now() + KEEP_ALIVE_EVERY, stream.next()).await {
                Err(_) => out.extend_from_slice(KEEP_ALIVE),
                Ok(Some(Ok(event))) => {
                    let done = event == Event::Done;
                    encoder.encode(event, &mut out);
                    if done {
                        mark(complete.as_ref());
                        return Some((Ok(out.into()), None));
                    }
                }
                Ok(broken) => return Some((Ok(told(broken, encoder.as_mut())), None)),
            }
        }
        Some((Ok(out.into()), Some(((stream, encoder), complete))))
    })
}

/// The frames as they come. The encoder only says that they broke off, if they do.
fn frames_body(
    answer: (FrameStream, Box<dyn Encode>),
    complete: Option<Complete>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold(Some((answer, complete)), |state| async {
        let ((mut stream, mut encoder), complete) = state?;
        loop {
            match within(Instant::now() + KEEP_ALIVE_EVERY, stream.next()).await {
                Err(_) => {
                    let comment = Bytes::from_static(KEEP_ALIVE);
                    return Some((Ok(comment), Some(((stream, encoder), complete))));
                }
                Ok(Some(Ok(frame))) if frame.marks.done => {
                    mark(complete.as_ref());
                    return Some((Ok(frame.bytes), None));
                }
                // Only marks: nothing to send.
                Ok(Some(Ok(frame))) if frame.bytes.is_empty() => {}
                Ok(Some(Ok(frame))) => {
                    return Some((Ok(frame.bytes), Some(((stream, encoder), complete))));
                }
                Ok(broken) => return Some((Ok(told(broken, encoder.as_mut())), None)),
            }
        }
    })
}

/// What a caller reads when a stream ends before the answer does.
fn told<T>(broken: Option<Result<T, ModelError>>, encoder: &mut dyn Encode) -> Bytes {
    let error = broken.and_then(Result::err).unwrap_or(ModelError::Truncated);
    let mut out = Vec::new();
    encoder.fail(&of_model(&error).told(), &mut out);
    out.into()
}

/// Why a call was not answered, in the caller's dialect.
pub(crate) fn refuse(
    gateway: &Gateway,
    cx: &CallContext,
    error: &Error,
    dialect: Dialect,
) -> Response {
    let (refusal, asked) = match error {
        Error::UnknownModel { .. } => (Refusal::of(error).param("model"), None),
        Error::Invalid(invalid) => (Refusal::of(error).param(&invalid.param), None),
        Error::Unbounded { .. } => (Refusal::of(error).param("max_tokens"), None),
        Error::Blocked(blocked) => (Refusal::of(error).param(blocked.place()), None),
        Error::Model { target, attempts, error: inner } => {
            let refusal = detail(Refusal::of(error), inner);
            let refusal = if *attempts > 1 { refusal.already_retried() } else { refusal };
            (refusal, Some((target, *attempts)))
        }
        Error::NobodyOpen { .. }
        | Error::Limited(_)
        | Error::Budget(_)
        | Error::Unpriced { .. }
        | Error::Books(_)
        | Error::Shed(_)
        | Error::Behind
        | Error::TooLate
        | Error::Internal { .. } => (Refusal::of(error), None),
    };
    let mut response = refusal.into_response_in(dialect, &cx.call_id);
    let headers = response.headers_mut();
    if let Some((target, attempts)) = asked {
        attribute(headers, target, (attempts, None));
    }
    tell_limits(headers, gateway.standings(&cx.caller));
    response
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

pub(crate) fn json_bytes(bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Who answered, after how many attempts, and for how much.
pub(crate) fn attribute(
    headers: &mut HeaderMap,
    target: &str,
    (attempts, cost): (u32, Option<MicroUsd>),
) {
    set(headers, X_TARGET, target);
    headers.insert(X_ATTEMPTS, HeaderValue::from(attempts));
    if let Some(cost) = cost {
        self::cost(headers, cost);
    }
}

pub(crate) fn cost(headers: &mut HeaderMap, cost: MicroUsd) {
    set(headers, X_COST, &cost.to_string());
}

/// Where the caller stands with its limits, in the words that clients know.
pub(crate) fn tell_limits(headers: &mut HeaderMap, standings: Standings) {
    const REQUESTS: [HeaderName; 3] = [
        HeaderName::from_static("x-ratelimit-limit-requests"),
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        HeaderName::from_static("x-ratelimit-reset-requests"),
    ];
    const TOKENS: [HeaderName; 3] = [
        HeaderName::from_static("x-ratelimit-limit-tokens"),
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        HeaderName::from_static("x-ratelimit-reset-tokens"),
    ];
    let Standings { requests, tokens } = standings;
    for (standing, [limit, remaining, reset]) in [(requests, REQUESTS), (tokens, TOKENS)] {
        if let Some(standing) = standing {
            headers.insert(limit, HeaderValue::from(standing.limit));
            headers.insert(remaining, HeaderValue::from(standing.remaining));
            // A duration as Go writes it, rounded up: clients wait for as long.
            set(headers, reset, &format!("{}s", standing.reset.as_millis().div_ceil(1000)));
        }
    }
}

/// A value that cannot stand in a header is left out: it is only information.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
