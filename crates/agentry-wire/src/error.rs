//! What an upstream means by its refusals, and what a caller is told.

use std::time::Duration;

use agentry_core::model::ModelError;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

const MESSAGE_CHARS_MAX: usize = 2_000;

/// What an upstream says about an error, in any of the shapes in which compatible servers say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub message: String,
    pub param: Option<String>,
    pub code: Option<String>,
}

impl Report {
    pub fn from_bytes(body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(value) => Self::from_value(&value),
            Err(_) => Self::from_message(&String::from_utf8_lossy(body)),
        }
    }

    /// `{"error": {...}}`, `{"error": "text"}`, `{"message": "text"}`, `{"detail": ...}`, or the error itself.
    pub fn from_value(value: &Value) -> Self {
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
        match error {
            Value::Object(fields) => Self {
                message: shorten(&message(fields)),
                param: text(fields, "param"),
                code: text(fields, "code").or_else(|| text(fields, "type")),
            },
            Value::String(message) => Self::from_message(message),
            other => Self::from_message(&other.to_string()),
        }
    }

    fn from_message(message: &str) -> Self {
        Self { message: shorten(message), ..Self::default() }
    }
}

fn message(fields: &Map<String, Value>) -> String {
    let named = ["message", "detail", "msg"].into_iter().find_map(|name| text(fields, name));
    named.unwrap_or_else(|| Value::Object(fields.clone()).to_string())
}

/// Codes are numbers with some servers.
fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    match fields.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(value @ (Value::Array(_) | Value::Object(_))) => Some(value.to_string()),
        Some(Value::Null | Value::Bool(_) | Value::String(_)) | None => None,
    }
}

fn shorten(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((at, _)) => text.get(..at).map(|head| format!("{head} …")).unwrap_or_default(),
        None => text.to_owned(),
    }
}

pub fn from_response(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    model: &str,
) -> ModelError {
    let mut report = Report::from_bytes(body);
    if report.message.is_empty() {
        report.message = format!("it answered {status}");
    }
    from_report(status.as_u16(), report, retry_after(headers), model)
}

pub fn from_report(
    status: u16,
    report: Report,
    after: Option<Duration>,
    model: &str,
) -> ModelError {
    let Report { message, param, code } = report;
    let named = |name: &str| code.as_deref() == Some(name);
    match status {
        _ if named("insufficient_quota") => ModelError::QuotaExhausted { message },
        402 => ModelError::QuotaExhausted { message },
        404 => ModelError::UnknownModel { model: model.to_owned(), message },
        _ if named("model_not_found") => {
            ModelError::UnknownModel { model: model.to_owned(), message }
        }
        401 | 403 => ModelError::Unauthorized { message },
        429 => ModelError::RateLimited { message, after },
        408 | 409 | 425 | 500.. => ModelError::Unavailable { message, after },
        400..=499 => ModelError::Invalid { message, param, upstream_code: code },
        300..=399 => ModelError::Malformed {
            reason: format!("it redirects (status {status}): set base_url to where it really is"),
        },
        _ => ModelError::Malformed { reason: format!("status {status}: {message}") },
    }
}

/// `retry-after-ms` is the more exact one. A date is not understood: it would need a clock that both sides share.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number =
        |name: &str| -> Option<f64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
    let seconds = number("retry-after-ms").map(|ms| ms / 1e3).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok().map(|after| after.min(Duration::from_secs(86_400)))
}

/// What a caller is told when something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The HTTP status, also where there is none any more because a stream has begun.
    pub status: u16,
    pub code: &'a str,
    pub message: &'a str,
    pub param: Option<&'a str>,
}

impl Refused<'_> {
    /// The body in OpenAI's shape, with all four fields.
    #[must_use]
    pub fn openai(&self) -> Vec<u8> {
        let Self { status, code, message, param } = *self;
        let kind = match status {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        let error = Body { message, kind, param, code };
        // Strings and options only: this cannot fail.
        serde_json::to_vec(&Envelope { error }).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: &'a str,
}

#[cfg(test)]
mod tests;
