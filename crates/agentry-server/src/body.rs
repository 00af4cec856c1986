//! Reads a JSON body and says precisely what is wrong with it. Every face takes its input through [`Body`].

use std::time::Duration;

use agentry_alarm::within;
use agentry_core::chat::Invalid;
use agentry_http1::Arrived;
use agentry_wire::head;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::Refusal;
use crate::settings::BodyLimits;

mod by_name;

use by_name::ByName;

/// A request body that is JSON and reads as a `T`. Use `Body<serde_json::Value>` where the face names parameters itself.
#[derive(Debug, Clone)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let bytes = read(request).await?;
        parse(&bytes).map(Self)
    }
}

/// How bodies are read. The router puts it beside every request.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) limits: BodyLimits,
    /// Owns the tasks that swallow what is too much.
    pub(crate) tracker: TaskTracker,
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    /// JSON, line by line.
    Lines,
    /// A form of several parts.
    Form,
}

impl Kind {
    pub(crate) fn is_of(self, content_type: Option<&HeaderValue>) -> bool {
        let kind = content_type.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match self {
            Self::Json => {
                essence == "application/json"
                    || (essence.starts_with("application/") && essence.ends_with("+json"))
            }
            Self::Lines => matches!(
                essence.as_str(),
                "application/jsonl" | "application/x-ndjson" | "application/x-jsonlines"
            ),
            Self::Form => essence == "multipart/form-data",
        }
    }

    /// What to send.
    fn hint(self) -> &'static str {
        match self {
            Self::Json => "JSON with `content-type: application/json`",
            Self::Lines => "lines of JSON with `content-type: application/jsonl`",
            Self::Form => "a form with `content-type: multipart/form-data`",
        }
    }
}

/// All of a body of JSON, as it came.
pub(crate) async fn read(request: Request) -> Result<Bytes, Refusal> {
    take(request, Kind::Json, 0).await
}

/// All of a body, as it came. It may be as large as is usual, or have `bytes_max` if that is more.
pub(crate) async fn take(request: Request, kind: Kind, bytes_max: usize) -> Result<Bytes, Refusal> {
    let (parts, body) = request.into_parts();
    let reading = parts.extensions.get::<Reading>().cloned();
    let Reading { mut limits, tracker } = reading
        .unwrap_or_else(|| Reading { limits: BodyLimits::default(), tracker: TaskTracker::new() });
    limits.bytes_max = limits.bytes_max.max(bytes_max);
    if let Err(refusal) = check_headers(&parts.headers, kind) {
        tracker.spawn(swallow(body));
        return Err(refusal);
    }
    let arrived = parts.extensions.get::<Arrived>().cloned();
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = announced.and_then(|length| length.parse::<u64>().ok()).unwrap_or(0);
    if announced > limits.bytes_max as u64 {
        // A client that asked first has not sent it yet.
        if !parts.headers.contains_key(EXPECT) {
            tracker.spawn(swallow(body));
        }
        return Err(too_large(limits.bytes_max));
    }
    match gather(body, limits, arrived).await {
        Ok(bytes) => Ok(bytes),
        Err(Stopped::Refused(refusal)) => Err(refusal.ends_connection()),
        Err(Stopped::TooLarge(body)) => {
            tracker.spawn(swallow(body));
            Err(too_large(limits.bytes_max))
        }
    }
}

fn check_headers(headers: &HeaderMap, kind: Kind) -> Result<(), Refusal> {
    let unsupported = |message: String| {
        Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type_unsupported", message)
            .ends_connection())
    };
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return unsupported(format!(
            "content-encoding `{}` is not supported: send the body uncompressed",
            encoding.to_str().unwrap_or("?")
        ));
    }
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return unsupported(format!("the content-type header is missing: send {}", missing(kind)));
    };
    if !kind.is_of(Some(given)) {
        return unsupported(format!(
            "content-type `{}` is not supported: send {}",
            given.to_str().unwrap_or("?"),
            kind.hint()
        ));
    }
    Ok(())
}

/// The header alone, for whoever sends the right body without it.
fn missing(kind: Kind) -> &'static str {
    match kind {
        Kind::Json => "`content-type: application/json`",
        Kind::Lines => "`content-type: application/jsonl`",
        Kind::Form => "`content-type: multipart/form-data`",
    }
}

enum Stopped {
    Refused(Refusal),
    /// With what is left of the body.
    TooLarge(axum::body::Body),
}

/// What came in one piece is not copied, unless it is so small that it would hold on to much more than itself.
const LARGE: usize = 4096;

async fn gather(
    mut body: axum::body::Body,
    limits: BodyLimits,
    arrived: Option<Arrived>,
) -> Result<Bytes, Stopped> {
    let begun = Instant::now();
    let end = begun + limits.total;
    let mut gathered = BytesMut::new();
    // Of what comes in one piece, more may have come than is here.
    let came = |gathered: &BytesMut| match &arrived {
        Some(arrived) => arrived.bytes(),
        None => gathered.len() as u64,
    };
    loop {
        let until = end.min(Instant::now() + limits.idle);
        let Ok(frame) = within(until, body.frame()).await else {
            return Err(Stopped::Refused(too_slow(came(&gathered), "nothing more of it came")));
        };
        let data = match frame {
            None => return Ok(gathered.freeze()),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) => {
                return Err(Stopped::Refused(Refusal::bad_request(
                    "body_incomplete",
                    format!(
                        "the body broke off after {} bytes, or its framing is wrong",
                        came(&gathered)
                    ),
                )));
            }
        };
        if gathered.len() + data.len() > limits.bytes_max {
            return Err(Stopped::TooLarge(body));
        }
        if gathered.is_empty() && !data.is_empty() {
            if data.len() >= LARGE && body.is_end_stream() {
                return Ok(data);
            }
            let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
            gathered.reserve((data.len().saturating_add(announced)).min(limits.bytes_max));
        }
        gathered.extend_from_slice(&data);
        let elapsed = begun.elapsed();
        let expected = limits.bytes_per_second_min.saturating_mul(elapsed.as_secs());
        if elapsed > limits.idle && came(&gathered) < expected {
            return Err(Stopped::Refused(too_slow(came(&gathered), "it comes too slowly")));
        }
    }
}

fn too_slow(bytes: u64, how: &str) -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_too_slow",
        format!("gave up waiting for the body after {bytes} bytes: {how}"),
    )
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!(
            "the body is larger than the {bytes_max} bytes that are allowed: send less at once"
        ),
    )
    .ends_connection()
}

/// Reads on for a while: closing with bytes unread resets the connection, and the answer is lost with it.
/// Takes what still comes of a request that is refused unread, so that the answer is not lost with the connection.
pub(crate) fn leave(request: Request, tracker: &TaskTracker) {
    let asks_first = request.headers().contains_key(EXPECT);
    let body = request.into_body();
    if !asks_first && !body.is_end_stream() {
        tracker.spawn(swallow(body));
    }
}

async fn swallow(mut body: axum::body::Body) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whether it ended or not: from here on the connection may be closed.
    let _ = timeout(Duration::from_secs(5), all).await;
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = T::deserialize(ByName(&mut reader)).and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| not_json(bytes, &error))
}

/// Why a body cannot be read, in the words that say most.
fn not_json(bytes: &[u8], error: &serde_json::Error) -> Refusal {
    if bytes.is_empty() {
        return Refusal::bad_request("body_empty", "the body is empty: send a JSON object");
    }
    if std::str::from_utf8(bytes).is_err() {
        return not_utf8(bytes);
    }
    let message = error.to_string();
    if message.starts_with("invalid type: sequence, expected struct") {
        let message = "the body is a list: send a JSON object, whose members have names";
        return Refusal::bad_request("body_invalid", message);
    }
    match error.classify() {
        Category::Data => {
            let refusal =
                Refusal::bad_request("body_invalid", format!("the body does not fit: {message}"));
            match field(&message) {
                Some(field) => refusal.param(field),
                None => refusal,
            }
        }
        Category::Syntax | Category::Eof | Category::Io => {
            Refusal::bad_request("json_invalid", format!("the body is not valid JSON: {message}"))
        }
    }
}

/// Why a body is no request to a model.
pub(crate) fn no_request(bytes: &[u8], refused: head::Refused) -> Refusal {
    match refused {
        head::Refused::NotUtf8(_) => not_utf8(bytes),
        head::Refused::NotJson(error) => not_json(bytes, &error),
        head::Refused::Invalid(invalid) => parameter(invalid),
    }
}

/// Names the parameter that is wrong.
pub(crate) fn parameter(invalid: Invalid) -> Refusal {
    let message = match invalid.param.as_str() {
        "" => invalid.reason.clone(),
        _ => invalid.to_string(),
    };
    Refusal::bad_request("parameter_invalid", message).param(invalid.param)
}

fn not_utf8(bytes: &[u8]) -> Refusal {
    let good = std::str::from_utf8(bytes).err().map_or(0, |broken| broken.valid_up_to());
    let (line, column) = place(bytes.get(..good).unwrap_or_default());
    Refusal::bad_request(
        "body_not_utf8",
        format!("the body is not UTF-8: the byte at line {line} column {column} is invalid"),
    )
}

/// Line and column, from 1, of what comes after `good`.
fn place(good: &[u8]) -> (usize, usize) {
    let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = good.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}

/// The field that a reader's message is about, where it names one.
fn field(message: &str) -> Option<&str> {
    let rest = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start))?;
    rest.split('`').next()
}

#[cfg(test)]
mod tests;
