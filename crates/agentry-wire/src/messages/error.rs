//! Errors in Messages: what the vendor means by its own, and what callers are told.

use agentry_core::model::ModelError;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::error::{Refused, Report, from_report, from_response};

/// What the vendor means by a status that is no good one. Its support asks for the name of the request.
#[must_use]
pub fn failed(status: StatusCode, headers: &HeaderMap, body: &[u8], model: &str) -> ModelError {
    let mut error = refusal(from_response(status, headers, body, model));
    let named = headers.get("request-id").and_then(|value| value.to_str().ok());
    if let (
        Some(request_id),
        ModelError::Invalid { message, .. }
        | ModelError::UnknownModel { message, .. }
        | ModelError::Unauthorized { message }
        | ModelError::RateLimited { message, .. }
        | ModelError::QuotaExhausted { message }
        | ModelError::Unavailable { message, .. },
    ) = (named, &mut error)
    {
        message.push_str(&format!(" ({request_id})"));
    }
    error
}

/// An error inside an answer, where there is no status to go by.
pub(super) fn from_error(error: &Value, model: &str) -> ModelError {
    let report = Report::from_value(error);
    let status = match report.code.as_deref() {
        Some("invalid_request_error") => 400,
        Some("authentication_error") => 401,
        Some("billing_error") => 402,
        Some("permission_error") => 403,
        Some("not_found_error") => 404,
        Some("request_too_large") => 413,
        Some("rate_limit_error") => 429,
        Some("timeout_error") => 504,
        Some("overloaded_error") => 529,
        _ => 500,
    };
    refusal(from_report(status, report, None, model))
}

/// What the vendor says only in words: too long a conversation, content it will not write, no credit.
#[must_use]
pub fn refusal(error: ModelError) -> ModelError {
    let ModelError::Invalid { message, param, upstream_code } = error else { return error };
    let text = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["credit balance is too low"]) {
        return ModelError::QuotaExhausted { message };
    }
    let upstream_code = if says(&[
        "prompt is too long",
        "exceed context limit",
        "exceeds the context window",
        "input is too long",
        "too many input tokens",
        "too many total text bytes",
        "request_too_large",
    ]) {
        Some("context_length_exceeded".to_owned())
    } else if says(&["content filtering policy", "usage policy", "usage policies"]) {
        Some("content_policy_violation".to_owned())
    } else {
        upstream_code
    };
    ModelError::Invalid { message, param, upstream_code }
}

/// The vendor's word for a status.
pub(super) fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

pub(super) fn told(refused: &Refused<'_>) -> Value {
    let Refused { status, code, message, param } = *refused;
    let mut error = json!({ "type": kind(status), "message": message, "code": code });
    if let (Some(param), Value::Object(fields)) = (param, &mut error) {
        fields.insert("param".to_owned(), param.into());
    }
    error
}

/// The body of a response that refuses: the vendor's fields, and our code and parameter beside them.
#[must_use]
pub fn error(refused: &Refused<'_>, request_id: &str) -> Vec<u8> {
    json!({ "type": "error", "error": told(refused), "request_id": request_id })
        .to_string()
        .into_bytes()
}

#[cfg(test)]
mod tests;
