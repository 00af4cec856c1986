//! What an upstream means by its refusals, and what a caller is told.

use std::time::Duration;

use agentry_core::model::ModelError;
use http::{HeaderMap, StatusCode, header};
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
    let message = named.unwrap_or_else(|| Value::Object(fields.clone()).to_string());
    // Who only passes on what another server said has that beside its own words.
    match fields.get("metadata").and_then(|metadata| metadata.get("raw")?.as_str()) {
        Some(raw) => format!("{message}: {raw}"),
        None => message,
    }
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
        400..=499 => {
            let upstream_code = common_code(&message, code);
            ModelError::Invalid { message, param, upstream_code }
        }
        300..=399 => ModelError::Malformed {
            reason: format!("it redirects (status {status}): set base_url to where it really is"),
        },
        _ => ModelError::Malformed { reason: format!("status {status}: {message}") },
    }
}

/// Two reasons are worth knowing by one name, for another model may well answer; servers name them as they like.
fn common_code(message: &str, code: Option<String>) -> Option<String> {
    const TOO_LONG: [&str; 7] = [
        "context length",
        "context window",
        "context size",
        "maximum context",
        "prompt is too long",
        "input is too long",
        "exceeds the maximum number of tokens",
    ];
    let message = message.to_ascii_lowercase();
    match code.as_deref() {
        Some("context_length_exceeded" | "exceed_context_size_error") => {
            Some("context_length_exceeded".to_owned())
        }
        Some("content_filter" | "content_policy_violation" | "ResponsibleAIPolicyViolation") => {
            Some("content_policy_violation".to_owned())
        }
        _ if TOO_LONG.iter().any(|phrase| message.contains(phrase)) => {
            Some("context_length_exceeded".to_owned())
        }
        _ => code,
    }
}

/// An error that a server reports under a good status. Some of them say in its code what the status should have been.
pub(crate) fn from_good_status(error: &Value, model: &str) -> ModelError {
    let report = Report::from_value(error);
    let status = report.code.as_ref().and_then(|code| code.parse().ok());
    from_report(status.unwrap_or(500), report, None, model)
}

const AFTER_MAX: Duration = Duration::from_secs(86_400);

/// `retry-after-ms` is the more exact one.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number =
        |name: &str| -> Option<f64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
    let seconds = number("retry-after-ms").map(|ms| ms / 1e3).or_else(|| number("retry-after"));
    let after = match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        None => until(headers)?,
    };
    Some(after.min(AFTER_MAX))
}

/// A date to wait for means something only by the clock of the server that gives it: its `date` is the other end.
fn until(headers: &HeaderMap) -> Option<Duration> {
    let seconds = |name: header::HeaderName| -> Option<i64> {
        let text = headers.get(name)?.to_str().ok()?;
        Some(jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_second())
    };
    let wait = seconds(header::RETRY_AFTER)?.saturating_sub(seconds(header::DATE)?);
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)))
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
