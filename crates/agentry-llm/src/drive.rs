//! What every driver does with a request once it is encoded: sends it, and feeds a decoder what comes back.

use std::borrow::Cow;
use std::time::Duration;

use agentry_alarm::within;
use agentry_core::Pieces;
use agentry_core::model::{CallContext, ChatStream, ModelError, Waiting};
use agentry_http::{BodyStream, Client, Deadlines, Phase};
use agentry_wire::Decode;
use agentry_wire::error::from_response;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use memchr::memmem;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

mod frames;

pub(crate) use frames::frames;

/// A whole answer is not longer than this, the report of an error not longer than that.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;
const ERROR_BYTES_MAX: usize = 64 << 10;
/// How long an answer whose every choice has ended waits for what comes after: the bill, the word that says so.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(5);
/// For calls without a deadline of their own.
const TOTAL: Duration = Duration::from_secs(600);

/// Why an upstream cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misconfigured {
    #[error("`{url}` is no base_url: {reason}; write it like https://api.openai.com/v1")]
    BaseUrl { url: String, reason: String },
    #[error("the api_key has characters that no header may have; is there a line break in it?")]
    ApiKey,
    #[error("`{name}` has characters that no header may have; is there a line break in it?")]
    Header { name: &'static str },
    #[error("`{region}` is no region; write it like us-east-1")]
    Region { region: String },
}

/// `base_url` and `path` as one URL.
pub(crate) fn url(base_url: &str, path: &str) -> Result<Uri, Misconfigured> {
    let bad = |reason: String| Misconfigured::BaseUrl { url: base_url.to_owned(), reason };
    let url: Uri = format!("{}{path}", base_url.trim_end_matches('/'))
        .parse()
        .map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(bad("it must begin with http:// or https://".to_owned()));
    }
    if base_url.contains('?') {
        return Err(bad("it must not have a query".to_owned()));
    }
    Ok(url)
}

/// `{prefix}{key}` as a header that `Debug` does not show.
pub(crate) fn credential(prefix: &str, key: &SecretString) -> Result<HeaderValue, Misconfigured> {
    let mut value = HeaderValue::try_from(format!("{prefix}{}", key.expose_secret().trim()))
        .map_err(|_| Misconfigured::ApiKey)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What an upstream means by a status that is no good one, its headers and its body, when it was asked for a model.
pub(crate) type ReadError = fn(StatusCode, &HeaderMap, &[u8], &str) -> ModelError;

/// The response if its status is a good one, else what the upstream means by it.
pub(crate) async fn send(
    client: &Client,
    cx: &CallContext,
    request: Request<Pieces>,
    model: &str,
) -> Result<Response<BodyStream>, ModelError> {
    send_to(client, cx, request, model, from_response).await
}

/// The same for an upstream whose errors are of its own shape.
pub(crate) async fn send_to(
    client: &Client,
    cx: &CallContext,
    request: Request<Pieces>,
    model: &str,
    read_error: ReadError,
) -> Result<Response<BodyStream>, ModelError> {
    let secret = request.headers().values().find(|value| value.is_sensitive()).cloned();
    let response = client.send(request, &deadlines(cx)).await.map_err(|error| from_http(&error))?;
    if response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    // What matters is the status; a report that cannot be read is an empty one.
    let report = agentry_http::read(body, ERROR_BYTES_MAX).await.unwrap_or_default();
    let report = without(&report, secret.as_ref());
    Err(read_error(parts.status, &parts.headers, &report, model))
}

/// Upstreams repeat what they did not like, and whoever called us reads it: our credential is none of his business.
fn without<'a>(report: &'a [u8], secret: Option<&HeaderValue>) -> Cow<'a, [u8]> {
    let secret = secret.map(HeaderValue::as_bytes).unwrap_or_default();
    let secret = secret.strip_prefix(b"Bearer ").unwrap_or(secret);
    if secret.is_empty() || memmem::find(report, secret).is_none() {
        return Cow::Borrowed(report);
    }
    let mut left = Vec::with_capacity(report.len());
    let mut from = 0;
    for at in memmem::find_iter(report, secret) {
        left.extend_from_slice(report.get(from..at).unwrap_or_default());
        left.extend_from_slice(b"[our key]");
        from = at + secret.len();
    }
    left.extend_from_slice(report.get(from..).unwrap_or_default());
    Cow::Owned(left)
}

/// The whole body of an answer.
pub(crate) async fn whole(response: Response<BodyStream>) -> Result<Bytes, ModelError> {
    agentry_http::read(response.into_body(), ANSWER_BYTES_MAX)
        .await
        .map_err(|error| from_http(&error))
}

/// Feeds the decoder what arrives, until it has said its last.
pub(crate) fn events(body: BodyStream, decoder: impl Decode + 'static) -> ChatStream {
    stream::unfold(Some((body, decoder)), async |state| {
        let (mut body, mut decoder) = state?;
        // What lacks only its last word does not wait for it for long.
        let next = if decoder.is_complete() {
            within(Instant::now() + LAST_WORD, body.next()).await.unwrap_or(None)
        } else {
            body.next().await
        };
        let events = match next {
            Some(Ok(bytes)) => decoder.push(&bytes),
            Some(Err(error)) => decoder.end(Some(from_http_midway(&error))),
            None => decoder.end(None),
        };
        if !decoder.is_over() {
            return Some((stream::iter(events), Some((body, decoder))));
        }
        if events.last().is_some_and(Result::is_ok) {
            body.let_end();
        }
        Some((stream::iter(events), None))
    })
    .flatten()
    .boxed()
}

/// A request whose body is JSON. It names the call's span, if the call is traced.
pub(crate) fn post(
    cx: &CallContext,
    url: Uri,
    headers: HeaderMap,
    body: impl Into<Pieces>,
) -> Request<Pieces> {
    let mut request = Request::new(body.into());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url;
    *request.headers_mut() = headers;
    if let Some(trace) = &cx.trace
        && let Ok(value) = HeaderValue::try_from(trace.to_string())
    {
        request.headers_mut().insert(TRACEPARENT, value);
    }
    request
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What is sent with every request. The credential is marked as sensitive: `Debug` does not show it.
pub(crate) fn headers(accept: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    headers
}

pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().starts_with("application/json"))
}

fn deadlines(cx: &CallContext) -> Deadlines {
    let total = cx.deadline.map_or(TOTAL, |deadline| {
        Instant::from_std(deadline).saturating_duration_since(Instant::now())
    });
    Deadlines::within(total)
}

/// A failure before anything was answered.
pub(crate) fn from_http(error: &agentry_http::Error) -> ModelError {
    match error {
        agentry_http::Error::TimedOut { phase, after } => {
            let waiting = match phase {
                Phase::Connect => Waiting::Connect,
                Phase::Head => Waiting::FirstEvent,
                Phase::Idle => Waiting::NextEvent,
                Phase::Total => Waiting::End,
            };
            ModelError::TimedOut { waiting, after: *after }
        }
        agentry_http::Error::Connect { .. } | agentry_http::Error::Broken { .. } => {
            ModelError::Unavailable { message: error.to_string(), after: None }
        }
        agentry_http::Error::TooLarge { .. } => ModelError::Malformed { reason: error.to_string() },
        agentry_http::Error::InvalidUrl { .. } => {
            ModelError::Internal { reason: error.to_string() }
        }
    }
}

/// A failure while the answer was being written.
pub(crate) fn from_http_midway(error: &agentry_http::Error) -> ModelError {
    match error {
        agentry_http::Error::Broken { .. } => ModelError::Truncated,
        agentry_http::Error::TimedOut { .. }
        | agentry_http::Error::Connect { .. }
        | agentry_http::Error::TooLarge { .. }
        | agentry_http::Error::InvalidUrl { .. } => from_http(error),
    }
}

#[cfg(test)]
mod tests;
