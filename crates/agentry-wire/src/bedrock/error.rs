//! What Bedrock means by its refusals.

use agentry_core::model::ModelError;
use http::{HeaderMap, StatusCode};

use crate::error::{Report, from_report, from_response};
use crate::messages::refusal;

/// The exception's name is in a header, the text in the body.
#[must_use]
pub fn failed(status: StatusCode, headers: &HeaderMap, body: &[u8], model: &str) -> ModelError {
    let name = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()).unwrap_or("");
    // `ValidationException:http://…`.
    let name = name.split(':').next().unwrap_or_default();
    let status = match name {
        "ModelErrorException" | "ModelTimeoutException" | "ModelNotReadyException" => 503,
        "ThrottlingException" => 429,
        _ if status.as_u16() == 424 => 503,
        _ => status.as_u16(),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    known(from_response(status, headers, body, model), model)
}

/// An exception inside a stream.
pub(super) fn exception(name: &str, message: &str, payload: &[u8], model: &str) -> ModelError {
    let mut report = Report::from_bytes(payload);
    if report.message.is_empty() || payload.is_empty() {
        report.message = if message.is_empty() { name.to_owned() } else { message.to_owned() };
    }
    let status = match name {
        "validationException" => 400,
        "throttlingException" => 429,
        "accessDeniedException" => 403,
        "resourceNotFoundException" => 404,
        "serviceUnavailableException" | "modelTimeoutException" => 503,
        _ => 500,
    };
    known(from_report(status, report, None, model), model)
}

/// What is only said in words.
fn known(error: ModelError, model: &str) -> ModelError {
    match refusal(error) {
        ModelError::Invalid { message, .. } if message.contains("model identifier is invalid") => {
            ModelError::UnknownModel { model: model.to_owned(), message }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
