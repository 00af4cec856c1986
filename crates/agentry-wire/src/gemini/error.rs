//! What Gemini means by its refusals.

use std::time::Duration;

use agentry_core::model::ModelError;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::error::{Report, from_report, from_response};

/// The status, the reason among the details and the time to wait are in the body; an answer that should have been a stream may
/// have them in an array.
#[must_use]
pub fn error(status: StatusCode, headers: &HeaderMap, body: &[u8], model: &str) -> ModelError {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let first = value.get(0).unwrap_or(&value);
    match first.get("error") {
        Some(error) if error.is_object() => match from_error(status.as_u16(), error, model) {
            // A header may say what the body does not.
            ModelError::RateLimited { after: None, .. }
            | ModelError::Unavailable { after: None, .. } => {
                let body = first.to_string();
                from_response(status, headers, body.as_bytes(), model)
            }
            error => error,
        },
        _ => from_response(status, headers, body, model),
    }
}

/// An error inside an answer has its status in its code.
pub(super) fn from_error(status: u16, error: &Value, model: &str) -> ModelError {
    let mut report = Report::from_value(error);
    report.code = error.get("status").and_then(Value::as_str).map(str::to_owned);
    let details = || error.get("details").and_then(Value::as_array).into_iter().flatten();
    if details()
        .any(|detail| detail.get("reason").is_some_and(|reason| reason == "API_KEY_INVALID"))
    {
        return ModelError::Unauthorized { message: report.message };
    }
    let after = details().find_map(|detail| seconds(detail.get("retryDelay")?.as_str()?));
    from_report(status, report, after, model)
}

/// `34.5s`
fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_says_what_is_wrong() {
        let check = |status: u16, body: &str, expected: ModelError| {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(error(status, &HeaderMap::new(), body.as_bytes(), "m"), expected, "{body}");
        };
        let message = |text: &str| text.to_owned();
        check(
            404,
            r#"{"error":{"code":404,"message":"none","status":"NOT_FOUND"}}"#,
            ModelError::UnknownModel { model: message("m"), message: message("none") },
        );
        check(
            429,
            r#"[{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED","details":[
                {"@type":"x"},{"retryDelay":"34.5s"}]}}]"#,
            ModelError::RateLimited {
                message: message("slow"),
                after: Some(Duration::from_millis(34_500)),
            },
        );
        check(
            400,
            r#"{"error":{"code":400,"message":"bad key","status":"INVALID_ARGUMENT","details":[
                {"reason":"API_KEY_INVALID"}]}}"#,
            ModelError::Unauthorized { message: message("bad key") },
        );
        let too_long =
            "The input token count (9) exceeds the maximum number of tokens allowed (8).";
        check(
            400,
            &format!(r#"{{"error":{{"message":"{too_long}","status":"INVALID_ARGUMENT"}}}}"#),
            ModelError::Invalid {
                message: message(too_long),
                param: None,
                upstream_code: Some(message("context_length_exceeded")),
            },
        );
        check(503, "full", ModelError::Unavailable { message: message("full"), after: None });
    }
}
